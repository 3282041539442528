"""The running gateway as one object: builds every part from a Plant and tells how it does.

It is what the HTTP app sees (`gateway.api.view.GatewayView`); `gateway.daemon` owns its life.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from concurrent.futures import TimeoutError as FutureTimeout
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from gateway.acquire import BusWorker
from gateway.alarms.captures import Captures
from gateway.alarms.engine import Engine
from gateway.alarms.notify import Notifiers
from gateway.analysis.aggregates import Aggregator
from gateway.analysis.ingested import LatestIngested
from gateway.api.alarms import as_document
from gateway.api.audit import Action, AuditLog, action_of
from gateway.api.view import HistoryResult
from gateway.config import BusPlan, Plant
from gateway.driver import Driver, PolledDriver, Probe, StreamDriver
from gateway.errors import DeviceUnavailable, GatewayError
from gateway.events import EventLog
from gateway.fleet import RemoteOperators
from gateway.health import Heartbeats, clock_synchronised
from gateway.hub import Dropped, Hub, Subscription
from gateway.ingest.intake import Intake
from gateway.latest import Latest
from gateway.losses import Loss, LossLedger, Told, loss_of
from gateway.model import Mark, Quality, Row, marked
from gateway.runstatus import status_of
from gateway.sinks import DurableSink, RemoteSink, Sink, find_sink
from gateway.sinks.telling import Facts, Tells
from gateway.spool import Spool
from gateway.streaming import StreamWorker
from gateway.streams import Streams
from gateway.switching import Switches
from gateway.worker import Worker
from gateway.writer import Writer
from gateway.writer.replay import LetterBox

if TYPE_CHECKING:  # loaded only where there is a stream, and a historian
    from gateway.analysis.looks import Spectra, Waveform
    from gateway.sinks.historian import HistorianSink

T = TypeVar("T")

TURN_S = 30.0
"""Longest wait for a turn on a bus, for a reading or a probe that a person asked for."""

UNCERTAIN_CLOCK = Mark(Quality.UNCERTAIN, "clock")


class Runtime:
    """All parts of a running gateway. Building it does no I/O on the network."""

    def __init__(self, plant: Plant, config_path: Path) -> None:
        self.plant = plant
        self.config_path = config_path
        self.started = time.monotonic()
        self.heartbeats = Heartbeats()
        self.hub = Hub(self._dropped)
        self.ledger = LossLedger(self.hub.publish, plant.name)
        self.events = EventLog(self.hub.publish, plant.name)
        self.audit = AuditLog(self.hub.publish, plant.name)
        self.clock_synchronised: bool | None = clock_synchronised()
        self.reload_status: Callable[[], dict[str, Any]] | None = None
        """How the last reload went; the daemon gives it."""
        self.sinks: dict[str, Sink] = {}
        self.writers: dict[str, Writer] = {}
        for name, config in plant.sinks.items():
            sink = find_sink(config.type)(name, config, plant.state_dir)
            self.sinks[name] = sink
            self.writers[name] = self._writer(name, sink, self._subscription(name))
        self.intake: Intake | None = None
        if plant.ingest.is_on:
            self.intake = Intake(
                self.hub, plant.name, plant.ingest, lambda n: n in self.plant.devices,
                self._clock_mark,
            )  # fmt: skip
        self.aggregator = Aggregator(plant.aggregates, self.hub.publish)
        self.hub.attach(self.aggregator)
        self.latest_ingested = LatestIngested(self.hub.latest)
        self.latest_ingested.follow(plant.streams.values())
        self.hub.attach(self.latest_ingested)
        self.streams = Streams(plant.streams, self.hub, self._clock_mark)
        self.alarms = Engine(
            plant.alarms,
            self.hub.publish,
            plant.name,
            plant.state_dir,
            Captures(plant.state_dir, self.streams.find),
            heartbeats=self.heartbeats,
            on_event=self.events.record,
        )
        self.hub.attach(self.alarms)
        self.notifiers = Notifiers(
            plant.notify,
            plant.name,
            plant.state_dir,
            history=self.alarms.history,
            on_event=self.events.record,
        )
        self.alarms.listen(self.notifiers.put)
        self.switches = Switches(plant.state_dir)
        self.workers: dict[str, Worker] = {}
        for i, bus in enumerate(plant.buses):
            self.add_worker(bus, i / len(plant.buses))

    def add_worker(self, bus: BusPlan, phase: float = 0.0) -> Worker:
        """Make the worker of a bus; it is not started yet."""
        worker = self.workers[bus.name] = self._worker(bus, phase)
        self.switches.hold(worker)
        return worker

    def exchange_sink(self, name: str, sink: Sink, stop_s: float) -> None:
        """Add a sink, or put it in the place of the running one of that name.

        Rows that come meanwhile wait in the queue, and what was spooled is the new one's.
        """
        writer = self.writers.pop(name, None)
        if writer is None:
            subscription = self._subscription(name)
        else:
            subscription = writer.hand_over(stop_s)
            self.sinks.pop(name).close()
        self.sinks[name] = sink
        self.writers[name] = self._writer(name, sink, subscription)
        self.writers[name].start()
        self._tell(sink)

    def _tell(self, sink: Sink) -> None:
        """Have a sink pass on the status and the alarms, where it does."""
        if isinstance(sink, Tells):
            alarms = self.alarms
            listen = lambda to: alarms.listen(lambda t: to(as_document(t)))  # noqa: E731
            operate = RemoteOperators(alarms, self.audit)
            sink.tell(Facts(self.name, self.status, alarms.active, listen, operate))

    def drop_sink(self, name: str, stop_s: float) -> None:
        """End a sink: its rows so far are delivered or stay on disk, and it gets no more."""
        writer = self.writers.pop(name)
        self.hub.unsubscribe(writer.subscription)
        writer.stop(stop_s)
        self.sinks.pop(name).close()

    def _subscription(self, name: str) -> Subscription:
        return self.hub.subscribe(name, wake_at=self.plant.writer.batch_rows)

    def _worker(self, bus: BusPlan, phase: float) -> Worker:
        publish, heartbeats = self.hub.publish, self.heartbeats
        first = bus.devices[0]
        if isinstance(first, StreamDriver):
            consumer = self.streams.consumer(first.name)
            return StreamWorker(
                first,
                consumer,
                publish,
                heartbeats,
                on_event=self.events.record,
                on_loss=self.ledger.record,
            )
        polled = [d for d in bus.devices if isinstance(d, PolledDriver)]
        mark = self._clock_mark
        return BusWorker(bus.name, polled, publish, heartbeats, phase=phase, whole_mark=mark)

    def _writer(self, name: str, sink: Sink, subscription: Subscription) -> Writer:
        spool = None
        if isinstance(sink, RemoteSink):
            folder = self.plant.state_dir / "spool" / name
            spool = Spool(folder, self.plant.spool, name, self.ledger.record)
        elif not isinstance(sink, DurableSink):
            raise GatewayError(f"sink '{name}': neither remote nor durable")
        return Writer(
            name,
            sink,
            subscription,
            self.plant.writer,
            spool,
            on_loss=self.ledger.record,
            loss_row=self.ledger.row_again,
            heartbeats=self.heartbeats,
        )

    def _dropped(self, dropped: Dropped) -> None:
        table = dropped.table
        if table is self.ledger.table:
            return  # a loss row that is lost itself cannot be told in another one
        self.ledger.record(
            Loss(
                dropped.subscription,
                table.device,
                table.key,
                dropped.first_ns,
                dropped.last_ns,
                dropped.rows,
                "hub_overflow",
            )
        )

    def _clock_mark(self) -> Mark | None:
        if self.plant.require_clock and self.clock_synchronised is False:
            return UNCERTAIN_CLOCK
        return None

    def start_alarms(self) -> None:
        """Read what was kept of alarms, judge them from now on, and tell who is to be told."""
        self.alarms.disable(self.disabled())
        self.alarms.start()
        for writer in self.writers.values():  # what a kill may have cost is in their own database
            if (stored := writer.alarms) is not None:
                for row in self.alarms.rows_from(stored.first_ns):
                    if not stored.has(row):
                        writer.subscription.put(row)
        self.notifiers.start()
        for sink in self.sinks.values():
            self._tell(sink)

    def stop_alarms(self, timeout_s: float) -> None:
        """Judge the rows that have come, and keep and tell what came of them."""
        end_s = time.monotonic() + timeout_s
        self.alarms.stop(timeout_s * 0.7)
        self.notifiers.stop(max(0.2, end_s - time.monotonic()))

    # -- what the HTTP app sees ---------------------------------------------------------------

    @property
    def name(self) -> str:
        """The gateway's."""
        return self.plant.name

    @property
    def latest(self) -> Latest:
        """The latest row of every table."""
        return self.hub.latest

    @property
    def state_dir(self) -> Path:
        """The folder of spools and historian."""
        return self.plant.state_dir

    def devices(self) -> Mapping[str, Driver]:
        """All configured devices by name."""
        return self.plant.devices

    def read_device(self, name: str) -> list[Row]:
        """Read every group once, in the thread of the device's bus, between two polls.

        Of a device that streams: the newest rows, which are not older than a hop.
        """
        if isinstance(self.plant.devices.get(name), StreamDriver):
            self._call(name, lambda _: None)  # raises where it is not connected
            return list(self.latest.rows(name))
        rows = self._call(
            name, lambda driver: [row for group in driver.groups for row in driver.read(group)]
        )
        mark = self._clock_mark()
        return [marked(row, mark) for row in rows]

    def probe_device(self, name: str, address: str) -> Probe:
        """Read one address once, in the thread of the device's bus."""
        found: Probe = self._call(name, lambda driver: driver.probe(address))
        return found

    def switch_device(self, name: str, enabled: bool, who: str, why: str) -> None:
        """Ask a device or leave it alone, from now on and after a restart; see `view`."""
        worker = self._worker_of(name)
        if worker is None or not self.plant.devices[name].config.enabled:
            raise GatewayError(f"device '{name}' is disabled in the configuration")
        known = self.plant.devices
        if not enabled:  # before its values are BAD and its rows end
            self.alarms.disable(self.disabled() | {name})
        try:
            self.switches.switch(worker, name, enabled, who, why, known=known, within_s=TURN_S)
        finally:
            self.alarms.disable(self.disabled())

    def disabled(self) -> frozenset[str]:
        """Devices that are not asked: by the configuration, or switched off by somebody."""
        devices = self.plant.devices
        off = {name for name, device in devices.items() if not device.config.enabled}
        return self.switches.names() | off

    def _worker_of(self, name: str) -> Worker | None:
        workers = list(self.workers.values())
        return next((w for w in workers if any(d.name == name for d in w.devices)), None)

    def _call(self, name: str, work: Callable[[Any], T]) -> T:
        worker = self._worker_of(name)
        if worker is None:
            raise GatewayError(f"device '{name}' is disabled in the configuration")
        future = worker.call(name, work)
        try:
            return future.result(TURN_S)
        except FutureTimeout:
            future.cancel()
            raise DeviceUnavailable("busy", f"no turn on its bus within {TURN_S:g} s") from None

    def history(
        self, device: str, tag: str, from_ns: int, to_ns: int, max_points: int
    ) -> HistoryResult | None:
        """Read back from the historian; None where there is none."""
        historian = self._historian()
        if historian is None:
            return None
        return historian.query(device, tag, from_ns, to_ns, max_points)

    def stored_losses(self, from_ns: int, max_rows: int) -> list[Told] | None:
        """The newest losses that the historian has; None where there is none."""
        historian = self._historian()
        if historian is None:
            return None
        table = self.ledger.table
        rows = historian.newest_rows(table.device, table.name, from_ns, max_rows)
        return [Told(time_ns, loss_of(row)) for time_ns, row in rows]

    def stored_actions(self, from_ns: int, max_rows: int) -> list[Action] | None:
        """The newest actions that the historian has; None where there is none."""
        historian = self._historian()
        if historian is None:
            return None
        table = self.audit.table
        rows = historian.newest_rows(table.device, table.name, from_ns, max_rows)
        return [action_of(time_ns, row) for time_ns, row in rows]

    def letter_boxes(self) -> Mapping[str, LetterBox]:
        """Dead letters by sink."""
        boxes = {name: writer.letters for name, writer in list(self.writers.items())}
        return {name: box for name, box in boxes.items() if box is not None}

    def copy_history(self, path: Path) -> bool:
        """Write a copy of the historian's file; False where there is none."""
        historian = self._historian()
        if historian is not None:
            historian.copy_to(path)
        return historian is not None

    def _historian(self) -> HistorianSink | None:
        durable = [s for s in list(self.sinks.values()) if isinstance(s, DurableSink)]
        if not durable:
            return None
        from gateway.sinks.historian import HistorianSink  # which is there: its sink was made

        return next((s for s in durable if isinstance(s, HistorianSink)), None)

    def waveform(self, device: str, channel: str, seconds: float | None) -> Waveform:
        """The newest samples of a channel that streams."""
        return self.streams.waveform(device, channel, seconds)

    def spectra(self, device: str, channel: str) -> Spectra:
        """The spectra of the newest window of a channel."""
        return self.streams.spectra(device, channel)

    def capture(self, device: str, channel: str, seconds: float | None) -> bytes:
        """The newest samples of a channel as a file."""
        return self.streams.capture(device, channel, seconds)

    def settings(self) -> Mapping[str, Any]:
        """The running configuration, as plain values."""
        return self.plant.settings()

    def fingerprints(self) -> Mapping[str, Mapping[str, str]]:
        """Hashes of the parts of the running configuration."""
        return self.plant.fingerprints

    def first_round_done(self) -> bool:
        """Whether every device has been read once, or has failed with a reason."""
        return all(d.attempted for w in list(self.workers.values()) for d in w.devices)

    def ready(self) -> tuple[bool, str]:
        """Whether every device has had its first round, or a reason why not."""
        waiting = [
            d.name for w in list(self.workers.values()) for d in w.devices if not d.attempted
        ]
        if waiting:
            return False, f"first round not done: {', '.join(waiting)}"
        states = [d.state for w in list(self.workers.values()) for d in w.devices]
        if states and "good" not in states and any(s != "disabled" for s in states):
            return False, "no device answers"
        return True, "ready"

    def status(self) -> dict[str, Any]:
        """The status document; see `gateway.api.view`."""
        return status_of(self)
