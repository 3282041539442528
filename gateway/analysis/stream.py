"""From the blocks of one device to its rows: windows, gaps, operating states, publishing."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from gateway.analysis.plan import StreamPlan
from gateway.analysis.ring import Ring
from gateway.analysis.section import SectionAnalysis
from gateway.errors import DeviceUnavailable
from gateway.features.spec import fast_length
from gateway.health import Rolling
from gateway.hub import Hub
from gateway.model import Array, Block, Mark, Row, bad_row, make_parts, marked

SETUP_EVERY_S = 3600.0
"""What a table's numbers depend on is told at the start and again so often."""


class StreamAnalysis:
    """Takes the blocks of a device in its thread; publishes rows of features."""

    def __init__(
        self,
        plan: StreamPlan,
        hub: Hub,
        whole_mark: Callable[[], Mark | None] = lambda: None,
        *,
        now_ns: Callable[[], int] = time.time_ns,
    ) -> None:
        self.plan = plan
        self._hub = hub
        self._whole_mark = whole_mark
        self._now_ns = now_ns
        self._sections: list[SectionAnalysis] = []
        self._spans: list[slice] = []
        self._order: list[int] = [c for s in plan.sections for c in s.channels]
        self._tables = plan.tables
        self._in_order = self._order == list(range(len(plan.channels)))
        self.ring = Ring(len(plan.channels), 1)
        self._rate_hz = 0.0
        self._samples = 0
        self._hop = 0
        self._since_hop = 0
        self._hops = 0
        self._publish_every = 1
        self._state = ""
        self._setups: dict[int, tuple[str, str]] = {}
        self._setup_at = 0.0
        self.latency = Rolling()
        """From a window's last sample to its published rows, in seconds."""
        self.busy = Rolling()
        """Computing the features of one hop, in seconds."""
        self._lock = threading.Lock()

    def status(self) -> dict[str, Any]:
        """What is known of the analysis; no I/O."""
        return {
            "channels": len(self.plan.channels),
            "rate_hz": self._rate_hz or self.plan.rate_hz,
            "hops": self._hops,
            "state": self._state,
            "latency_ms": self.latency.milliseconds(),
            "busy_ms": self.busy.milliseconds(),
        }

    def feed(self, block: Block) -> None:
        """Take a block whose ``t0_ns`` is set."""
        if block.rate_hz != self._rate_hz:
            self._prepare(block.rate_hz)
        if block.gap is not None:
            self._begin_anew(block.gap, block.t0_ns)
        data = block.data if self._in_order else block.data[self._order]
        at = 0
        period_ns = 1e9 / block.rate_hz
        while at < block.samples:
            take = min(self._hop - self._since_hop, block.samples - at)
            end_ns = block.t0_ns + round((at + take - 1) * period_ns)
            self.ring.write(data[:, at : at + take], end_ns)
            at += take
            self._since_hop += take
            if self._since_hop == self._hop:
                self._since_hop = 0
                self._complete_hop(end_ns)

    def lost(self) -> None:
        """The device is lost; its tables were marked BAD already."""
        self._forget()

    def _prepare(self, rate_hz: float) -> None:
        """At the first block, and when the device has another rate than before."""
        plan = self.plan
        samples, hop = fast_length(rate_hz, plan.window_s, plan.hop_s)
        history = max(samples, round(plan.history_s * rate_hz))
        ring = Ring(len(plan.channels), -(-history // hop) * hop)
        self._publish_every = max(1, round(plan.publish_every_s * rate_hz / hop))
        self._setups = plan.setups_at(rate_hz)
        sections: list[SectionAnalysis] = []
        self._spans = []
        at = 0
        for section in plan.sections:
            try:
                spec = replace(section.recipe.spec, rate_hz=rate_hz, samples=samples, hop=hop)
            except ValueError as error:
                detail = f"at the card's rate of {rate_hz:g} Hz: {error}"
                raise DeviceUnavailable("rate", detail) from None
            channels = [plan.channels[i] for i in section.channels]
            setups = [self._setups[i][0] for i in section.channels]
            sections.append(SectionAnalysis(section, spec, channels, setups))
            self._spans.append(slice(at, at + len(channels)))
            at += len(channels)
        with self._lock:
            self.ring, self._sections = ring, sections
            self._rate_hz, self._samples, self._hop = rate_hz, samples, hop
        self._forget()
        self._setup_at = 0.0

    def _forget(self) -> None:
        self.ring.clear()
        self._since_hop = 0
        self._hops = 0
        for section in self._sections:
            section.reset()

    def _begin_anew(self, reason: str, time_ns: int) -> None:
        """Samples are missing: no window may reach over the gap."""
        self._forget()
        for table in self._tables:
            self._hub.publish(bad_row(table, time_ns, reason))

    def _complete_hop(self, time_ns: int) -> None:
        begun = time.perf_counter()
        older, _ = self.ring.pieces(self._hop)  # never divided: the ring is a multiple of hops
        for section, span in zip(self._sections, self._spans, strict=True):
            section.push(older[span])
        if not all(section.moments.settled for section in self._sections):
            return
        publish = self._hops % self._publish_every == 0
        self._hops += 1
        if not self._judge_state(time_ns):
            return
        if publish:
            self._tell_setup(time_ns)
        older, newer = self.ring.pieces(self._samples)
        mark = self._whole_mark()
        hand_over = self._hub.publish if publish else self._hub.latest.put
        for section, span in zip(self._sections, self._spans, strict=True):
            latest = self._hub.latest
            for row in section.rows(older[span], newer[span], time_ns, self._state, latest):
                hand_over(marked(row, mark))
        self.busy.add(time.perf_counter() - begun)
        if publish:
            self.latency.add((self._now_ns() - time_ns) / 1e9)

    def _judge_state(self, time_ns: int) -> bool:
        """Find the operating state at a window's end; whether features are told in it."""
        rules = self.plan.states
        if rules is None:
            return True
        state = rules.evaluate(self._hub.latest, time_ns)
        if state != self._state:
            self._state = state
            for section in self._sections:
                section.restart_averages()
        told = rules.publishes(state)
        if not told:  # nor is a gap or a loss of before the newest that is known
            for table in self._tables:
                self._hub.latest.drop(table)
        return told

    def _tell_setup(self, time_ns: int) -> None:
        now = time.monotonic()
        if self._setup_at and now - self._setup_at < SETUP_EVERY_S:
            return
        self._setup_at = now
        plan = self.plan
        window_s, hop_s = self._samples / self._rate_hz, self._hop / self._rate_hz
        for channel, (digest, text) in self._setups.items():
            table = plan.setup_table[channel]
            values = (digest, self._rate_hz, window_s, hop_s, text)
            self._hub.publish(Row(table, time_ns, make_parts(table, values)))

    # -- for people, from other threads -------------------------------------------------------

    def waveform(self, channel: int, seconds: float | None) -> tuple[Array, int, float]:
        """The newest samples (the window, or ``seconds``), time of the last, ns, and the rate."""
        with self._lock:
            ring, rate_hz, window = self.ring, self._rate_hz, self._samples
        count = window if seconds is None else max(1, round(seconds * rate_hz))
        samples, end_ns = ring.copy(self._order.index(channel), count)
        return samples, end_ns, rate_hz

    def section_of(self, channel: int) -> SectionAnalysis:
        """The section that a channel is computed in."""
        for section in self._sections:
            if channel in section.section.channels:
                return section
        raise DeviceUnavailable("no_data", "no samples came yet")

    def speed_hz(self, channel: int) -> float | None:
        """The shaft's speed at a channel now; None where it is not known."""
        speed_hz, _, _ = self.section_of(channel).speed(self._hub.latest, self._now_ns())
        return speed_hz

    def setup(self, channel: int) -> dict[str, Any]:
        """What the channel's numbers depend on."""
        found: dict[str, Any] = json.loads(self._setups[channel][1])
        return found
