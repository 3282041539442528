"""All gateways as the HTTP app sees one: a `GatewayView` from Redis and a database."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from gateway import __version__
from gateway.api.audit import Action, AuditLog, action_of
from gateway.api.view import HistoryResult, SpectraResult, WaveformResult
from gateway.driver import Driver, Probe
from gateway.errors import GatewayError
from gateway.health import clock_synchronised, process_status
from gateway.hub import Hub
from gateway.ingest.intake import Intake
from gateway.latest import Latest
from gateway.losses import LossLedger, Told, loss_of
from gateway.model import Row
from gateway.serve import status as fleet
from gateway.serve.alarms import FleetAlarms
from gateway.serve.devices import RemoteDevice, elsewhere
from gateway.serve.feed import Feed
from gateway.serve.names import ask_the, fleet_name
from gateway.serve.operating import Operating
from gateway.serve.settings import ServeFile
from gateway.sinks.postgres.query import Reader
from gateway.writer.replay import LetterBox

AHEAD_NS = 366 * 86_400 * 10**9
"""Rows of gateways whose clock is ahead are found, too."""

CLOCK_EVERY_S = 10.0


class NoNotifiers:
    """Those who are told of alarms are told by the gateways."""

    def names(self) -> Sequence[str]:
        """None."""
        return ()

    def test(self, name: str, who: str) -> None:
        """There is none."""
        raise GatewayError(f"no notifier '{name}' here: the gateways have them")


class FleetLedger(LossLedger):
    """The losses of all gateways, as their statuses count them; this node itself loses nothing."""

    def __init__(self, hub: Hub, node: str, count: Mapping[str, Any]) -> None:
        super().__init__(hub.publish, node)
        self._count = count

    def status(self) -> dict[str, Any]:
        """Rows lost by cause, since each gateway's start."""
        return dict(self._count.get("losses", {}))


class FleetView:
    """What one node shows. Its two threads begin with `start`."""

    def __init__(self, file: ServeFile, path: Path) -> None:
        self._file = file
        self._path = path
        self._started = time.monotonic()
        self._merged: dict[str, Any] = fleet.merged({})
        self.hub = Hub()
        self.ledger: LossLedger = FleetLedger(self.hub, file.node, self._merged)
        self.audit = AuditLog(lambda _: None, file.node)
        self.reader = None if file.history is None else Reader(file.history)
        self.feed = Feed(file, self.hub, self._changed)
        operate = Operating(file.redis, file.node)
        self._alarms = FleetAlarms(file, lambda: self.feed.gateways, self.reader, operate)
        self._clock: tuple[float, bool | None] = (float("-inf"), None)

    def start(self) -> None:
        """Begin to read."""
        self.feed.start()
        self._alarms.start()

    def stop(self) -> None:
        """End. Never raises."""
        self._alarms.interrupt()
        self.feed.interrupt()
        self._alarms.stop()
        self.feed.stop()
        if self.reader is not None:
            self.reader.close()

    def is_whole(self) -> bool:
        """Whether its threads run."""
        return self.feed.is_alive() and self._alarms.is_alive()

    def _changed(self) -> None:
        self._merged.update(fleet.merged(self.feed.gateways))

    # -- what there is ------------------------------------------------------------------------

    @property
    def name(self) -> str:
        """The node's."""
        return self._file.node

    @property
    def intake(self) -> Intake | None:
        """None: rows go to gateways."""
        return None

    @property
    def alarms(self) -> FleetAlarms:
        """The alarms of all gateways."""
        return self._alarms

    @property
    def notifiers(self) -> NoNotifiers:
        """None: the gateways tell of alarms."""
        return NoNotifiers()

    @property
    def latest(self) -> Latest:
        """The newest row of every table."""
        return self.hub.latest

    def devices(self) -> Mapping[str, Driver]:
        """The devices of all gateways, as ``gateway:device``."""
        return self.feed.devices

    def status(self) -> dict[str, Any]:
        """The status of all gateways as one."""
        shown = self._merged
        problems = [*self._own_problems(), *shown["problems"]]
        return {
            "gateway": {
                "name": self.name,
                "version": __version__,
                "pid": os.getpid(),
                "uptime_s": round(time.monotonic() - self._started, 1),
                "config": str(self._path),
                "state_dir": "",
                **process_status(),
            },
            "state": "degraded" if problems else "good",
            "problems": problems,
            "gateways": shown["gateways"],
            "devices": shown["devices"],
            "sinks": shown["sinks"],
            "alarms": self._alarms.status(),
            "notifiers": shown["notifiers"],
            "losses": shown["losses"],
            "ingest": None,
            "clock": {"synchronised": self._synchronised()},
            "reload": None,
        }

    def _own_problems(self) -> list[str]:
        problems = []
        if self.feed.error is not None:
            problems.append(fleet.away("Redis", self.feed.error, self.feed.away_s))
        elif self._alarms.error is not None:
            problems.append(f"alarms: {self._alarms.error}")
        if self.reader is not None and self.reader.error is not None:
            problems.append(f"history: {self.reader.error}")
        if self.feed.tables_left_out:
            problems.append("there are more tables than this node shows")
        if faults := self.feed.faults + self._alarms.faults:
            problems.append(f"{faults} entries in Redis could not be read")
        return problems

    def _synchronised(self) -> bool | None:
        now_s = time.monotonic()
        if now_s - self._clock[0] > CLOCK_EVERY_S:
            self._clock = (now_s, clock_synchronised())
        return self._clock[1]

    def ready(self) -> tuple[bool, str]:
        """Whether Redis answers."""
        if self.feed.error is not None:
            return False, f"Redis: {self.feed.error}"
        if self._alarms.error is not None:
            return False, f"alarms: {self._alarms.error}"
        return True, "ready"

    @property
    def state_dir(self) -> Path:
        """Where files may be for a moment; the node keeps none."""
        return Path(tempfile.gettempdir())

    def fingerprints(self) -> Mapping[str, Mapping[str, str]]:
        """None."""
        return {}

    def settings(self) -> Mapping[str, Any]:
        """The node's file."""
        document: dict[str, Any] = self._file.model_dump(mode="json", by_alias=True)
        return document

    # -- what the database has ----------------------------------------------------------------

    def history(
        self, device: str, tag: str, from_ns: int, to_ns: int, max_points: int
    ) -> HistoryResult | None:
        """Points of one tag; None without a database."""
        if self.reader is None:
            return None
        gateway, own = self._own(device)
        return self.reader.history(gateway, own, tag, from_ns, to_ns, max_points)

    def stored_losses(self, from_ns: int, max_rows: int) -> Sequence[Told] | None:
        """The newest losses of all gateways."""
        if self.reader is None:
            return None
        rows = self.reader.newest("gateway_loss", from_ns, time.time_ns() + AHEAD_NS, max_rows)
        told = []
        for row in rows:
            if self._file.shows(row.gateway):
                loss = loss_of(row.columns)
                sink = fleet_name(row.gateway, loss.sink) if loss.sink else ""
                full = loss._replace(sink=sink, device=fleet_name(row.gateway, loss.device))
                told.append(Told(row.time_ns, full))
        return told

    def stored_actions(self, from_ns: int, max_rows: int) -> Sequence[Action] | None:
        """The newest actions at all gateways, also those of people at this node."""
        if self.reader is None:
            return None
        rows = self.reader.newest("gateway_audit", from_ns, time.time_ns() + AHEAD_NS, max_rows)
        return [
            action_of(row.time_ns, {**row.columns, "about": _about(row.gateway, row.columns)})
            for row in rows
            if self._file.shows(row.gateway)
        ]

    def _own(self, device: str) -> tuple[str, str]:
        """The gateway of a device, and its name there. GatewayError."""
        known = self.devices().get(device)
        if isinstance(known, RemoteDevice):
            return known.gateway, device[len(known.gateway) + 1 :]
        gateway, mark, own = device.partition(":")
        if not mark or not self._file.shows(gateway):
            near = ", ".join(list(self.devices())[:5])
            raise GatewayError(f"unknown device '{device}'; gateway:device, as {near or 'none is'}")
        return gateway, own

    # -- what only a gateway can do -----------------------------------------------------------

    def _elsewhere(self, device: str) -> GatewayError:
        known = self.devices().get(device)
        return elsewhere(known.gateway if isinstance(known, RemoteDevice) else "its gateway")

    def read_device(self, name: str) -> list[Row]:
        """Only its gateway reads it."""
        raise self._elsewhere(name)

    def probe_device(self, name: str, address: str) -> Probe:
        """Only its gateway reads it."""
        raise self._elsewhere(name)

    def switch_device(self, name: str, enabled: bool, who: str, why: str) -> None:
        """Only its gateway does."""
        raise self._elsewhere(name)

    def waveform(self, device: str, channel: str, seconds: float | None) -> WaveformResult:
        """Only its gateway has samples."""
        raise self._elsewhere(device)

    def spectra(self, device: str, channel: str) -> SpectraResult:
        """Only its gateway has samples."""
        raise self._elsewhere(device)

    def capture(self, device: str, channel: str, seconds: float | None) -> bytes:
        """Only its gateway has samples."""
        raise self._elsewhere(device)

    def letter_boxes(self) -> Mapping[str, LetterBox]:
        """GatewayError: a gateway's sinks have theirs, and `gateway writer` its own."""
        raise GatewayError(f"no dead letters here; {ask_the(self.feed.gateways)}")

    def copy_history(self, path: Path) -> bool:
        """There is no file."""
        return False


def _about(gateway: str, columns: Mapping[str, Any]) -> str:
    about = str(columns.get("about") or "")
    return fleet_name(gateway, about) if about else gateway
