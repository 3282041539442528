"""What is made of the streams of a running gateway, and what people may ask of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from gateway.analysis.plan import StreamPlan
from gateway.errors import GatewayError
from gateway.hub import Hub
from gateway.model import Mark

if TYPE_CHECKING:  # scipy is loaded only where there is a stream
    from gateway.analysis.looks import Spectra, Waveform
    from gateway.analysis.samples import SampleRows
    from gateway.analysis.stream import StreamAnalysis


class Streams:
    """The analyses of all devices that stream, by name."""

    def __init__(
        self,
        plans: Mapping[str, StreamPlan],
        hub: Hub,
        whole_mark: Callable[[], Mark | None] = lambda: None,
    ) -> None:
        self._hub = hub
        self._whole_mark = whole_mark
        self._analyses: dict[str, StreamAnalysis] = {}
        self._samples: dict[str, SampleRows] = {}
        self.update(plans)

    def update(self, plans: Mapping[str, StreamPlan]) -> None:
        """Have these streams: those of the same plan go on as they are."""
        running = {**self._analyses, **self._samples}
        mark = self._whole_mark
        analyses: dict[str, StreamAnalysis] = {}
        samples: dict[str, SampleRows] = {}
        for name, plan in plans.items():
            kept = running.get(name)
            if plan.samples is not None:
                from gateway.analysis.samples import SampleRows

                same = isinstance(kept, SampleRows) and kept.plan is plan
                samples[name] = self._samples[name] if same else SampleRows(plan, self._hub, mark)
            else:
                from gateway.analysis.stream import StreamAnalysis

                same = isinstance(kept, StreamAnalysis) and kept.plan is plan
                analyses[name] = (
                    self._analyses[name] if same else StreamAnalysis(plan, self._hub, mark)
                )
        self._analyses, self._samples = analyses, samples

    def consumer(self, device: str) -> StreamAnalysis | SampleRows:
        """What takes the blocks of a device."""
        return self._analyses.get(device) or self._samples[device]

    def waveform(self, device: str, channel: str, seconds: float | None) -> Waveform:
        """The newest window of a channel, or the newest seconds."""
        from gateway.analysis import looks

        return looks.waveform(*self.find(device, channel), seconds)

    def spectra(self, device: str, channel: str) -> Spectra:
        """The spectra of a channel's newest window."""
        from gateway.analysis import looks

        return looks.spectra(*self.find(device, channel))

    def capture(self, device: str, channel: str, seconds: float | None) -> bytes:
        """The newest samples of a channel as an ``.npz`` file."""
        from gateway.analysis import looks

        return looks.capture(self.waveform(device, channel, seconds))

    def find(self, device: str, channel: str) -> tuple[StreamAnalysis, int]:
        """The analysis of a device, the index of its channel; GatewayError with what there is."""
        analysis = self._analyses.get(device)
        if analysis is None:
            known = ", ".join(sorted(self._analyses)) or "none"
            raise GatewayError(f"device '{device}' has no waveforms; devices that have: {known}")
        names = [c.name for c in analysis.plan.channels]
        if channel not in names:
            raise GatewayError(
                f"device '{device}' has no channel '{channel}'; channels: {', '.join(names)}"
            )
        return analysis, names.index(channel)
