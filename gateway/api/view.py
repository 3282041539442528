"""What the HTTP app sees of the running gateway; the daemon implements it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from gateway.alarms.model import Alarms
from gateway.api.audit import Action, AuditLog
from gateway.driver import Driver, Probe
from gateway.hub import Hub
from gateway.ingest.intake import Intake
from gateway.latest import Latest
from gateway.losses import LossLedger, Told
from gateway.model import Array, Row, Scalar
from gateway.writer.replay import LetterBox


class HistoryResult(Protocol):
    """What the historian found for one tag: `gateway.sinks.historian.query.History`."""

    @property
    def table(self) -> str:
        """Key of the tag's table."""

    @property
    def unit(self) -> str | None:
        """Engineering unit, None where there is none."""

    @property
    def resolution(self) -> str:
        """What a point is: ``raw`` or ``minute``."""

    @property
    def truncated(self) -> bool:
        """Whether the beginning of the range is not kept any more."""

    @property
    def decimated(self) -> bool:
        """Whether there is more than was asked for."""

    @property
    def points(self) -> Sequence[tuple[int, Scalar, str]]:
        """(time_ns, value, quality) of each point, oldest first."""


class WaveformResult(Protocol):
    """The newest samples of a channel: `gateway.analysis.looks.Waveform`."""

    device: str
    channel: str
    unit: str
    rate_hz: float
    time_ns: int
    samples: Array
    setup: dict[str, Any]


class SpectraResult(Protocol):
    """The spectra of a channel's newest window: `gateway.analysis.looks.Spectra`."""

    @property
    def waveform(self) -> WaveformResult:
        """The window."""

    line_hz: float
    amplitude: Array
    envelope: Array
    features: dict[str, float | None]


class Notifying(Protocol):
    """Those who are told of alarms: `gateway.alarms.notify.Notifiers`."""

    def names(self) -> Sequence[str]:
        """Of all notifiers. No I/O."""

    def test(self, name: str, who: str) -> None:
        """Send a test message through one. Blocks until it is out; GatewayError where not."""


class GatewayView(Protocol):
    """The running gateway. Only those that say so may block, or change something."""

    hub: Hub
    ledger: LossLedger
    audit: AuditLog

    @property
    def name(self) -> str:
        """The gateway's."""

    @property
    def intake(self) -> Intake | None:
        """Where rows of other programs go in; None where none are taken."""

    @property
    def alarms(self) -> Alarms:
        """The alarms."""

    @property
    def notifiers(self) -> Notifying:
        """Those who are told of them."""

    @property
    def latest(self) -> Latest:
        """The newest row of every table."""

    def status(self) -> dict[str, Any]:
        """The status document in the shape of `gateway.api.schemas.StatusDocument`.

        Durations ``since_s``, ``spool_age_s`` and ``last_stored_s`` are seconds ago, None where
        there is none. No I/O.
        """

    def ready(self) -> tuple[bool, str]:
        """Whether data flows, and the reason. No I/O."""

    def devices(self) -> Mapping[str, Driver]:
        """All configured devices by name."""

    def read_device(self, name: str) -> list[Row]:
        """Read all groups once, between two polls. Blocks; raises GatewayError."""

    def probe_device(self, name: str, address: str) -> Probe:
        """Read one address once. Blocks; raises GatewayError, or ValueError for the address."""

    @property
    def state_dir(self) -> Path:
        """Where the gateway may write."""

    def copy_history(self, path: Path) -> bool:
        """Write a copy of the historian's file; False without a historian. Blocks."""

    def history(
        self, device: str, tag: str, from_ns: int, to_ns: int, max_points: int
    ) -> HistoryResult | None:
        """Points of one tag; None without a historian. Blocks.

        GatewayError for a name that the historian does not know, SinkUnavailable where it cannot
        answer now.
        """

    def fingerprints(self) -> Mapping[str, Mapping[str, str]]:
        """Hashes of the parts of the running configuration: kind, name, hash. No I/O."""

    def settings(self) -> Mapping[str, Any]:
        """The running configuration by section, as plain values; it may have secrets. No I/O."""

    def stored_losses(self, from_ns: int, max_rows: int) -> Sequence[Told] | None:
        """The newest losses that the historian has, of all runs; None without a historian. Blocks.

        GatewayError where it cannot answer now.
        """

    def stored_actions(self, from_ns: int, max_rows: int) -> Sequence[Action] | None:
        """The newest actions that the historian has, of all runs; None without one. Blocks.

        GatewayError where it cannot answer now.
        """

    def switch_device(self, name: str, enabled: bool, who: str, why: str) -> None:
        """Poll a device or do not. Blocks until its thread has done it; GatewayError."""

    def letter_boxes(self) -> Mapping[str, LetterBox]:
        """Dead letters of each sink that can refuse a line. No I/O; replaying them changes it."""

    def waveform(self, device: str, channel: str, seconds: float | None) -> WaveformResult:
        """The newest samples of a channel. Blocks; GatewayError, or DeviceUnavailable: none yet."""

    def spectra(self, device: str, channel: str) -> SpectraResult:
        """The spectra of a channel's newest window. Blocks; raises as `waveform`."""

    def capture(self, device: str, channel: str, seconds: float | None) -> bytes:
        """The newest samples as an ``.npz`` file. Blocks; raises as `waveform`."""
