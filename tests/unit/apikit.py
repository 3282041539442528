"""A small plant behind the real HTTP app, served on real sockets for the tests of the API."""

from __future__ import annotations

import http.client
import json
import socket
import threading
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import anyio
import anyio.from_thread
import anyio.lowlevel
import numpy as np

from gateway.api.app import make_app
from gateway.api.audit import Action, AuditLog, action_of
from gateway.api.client import Client
from gateway.api.server import Server
from gateway.api.settings import ApiConfig
from gateway.driver import DeviceConfig, DeviceMap, PlannedRequest, PolledDriver, Probe
from gateway.errors import DeviceUnavailable, GatewayError
from gateway.hub import Dropped, Hub
from gateway.losses import Loss, LossLedger, Told, loss_of
from gateway.model import Column, Group, Mark, Quality, Row, Table, bad
from gateway.sinks.historian import HistorianSink
from gateway.sinks.historian.query import History
from gateway.streams import Streams
from gateway.writer.replay import LetterBox
from tests.support import until
from tests.unit.alarmkit import Bell, StandingAlarms

TIME_NS = 1_772_000_000_123_456_789


def process_table(device: str) -> Table:
    columns = [
        Column("pm10", "f4", "ug/m3"),
        Column("count", "u8"),
        Column("running", "b1"),
        Column("text", "str"),
    ]
    labels = [("gateway", "hall-3"), ("device", device), ("line", 'kiln "2"')]
    return Table("process", device, columns, labels, "process", 0.5)


def process_row(table: Table, pm10: float = 408.35, time_ns: int = TIME_NS) -> Row:
    parts = (
        np.array([pm10], "f4"),
        np.array([2**64 - 1], "u8"),
        np.array([True]),
        ["Grüße, \n"],
    )
    return Row(table, time_ns, parts, {1: bad("address"), 2: Mark(Quality.UNCERTAIN, "cpu_stop")})


class Hopper(PolledDriver):
    """A machine with a table of its own and a placed module."""

    def __init__(self, name: str, host: str = "127.0.0.1") -> None:
        config = DeviceConfig(driver="hopper", map=Path("hopper.yaml"))
        super().__init__(name, config, DeviceMap("hopper.yaml"))
        self.host = host
        meter_labels = [("gateway", "hall-3"), ("device", name), ("module", "meter")]
        meter = Table("electricity", name, [Column("Pt", "f8", "kW")], meter_labels, "process", 0.5)
        self.groups = (Group("process", 0.5, (process_table(name), meter)),)

    def connect(self) -> None: ...

    def close(self) -> None: ...

    def plan(self, group: Group) -> list[PlannedRequest]:
        return []

    def read(self, group: Group) -> list[Row]:
        process, meter = group.tables
        return [process_row(process), Row(meter, TIME_NS, (np.array([12.5]),))]

    def probe(self, address: str) -> Probe:
        if not address.startswith("DB"):
            raise ValueError("expected e.g. DB4.DBD0")
        return Probe(address, b"\x43\xcc\x2c\xcd", (("real ABCD", "408.35"),))


@dataclass
class Plant:
    """Two machines, one of which does not answer; see `gateway.api.view.GatewayView`."""

    historian: HistorianSink | None = None
    not_ready: str = ""
    name: str = "hall-3"
    hold_reads: threading.Event = field(default_factory=threading.Event)
    """Set: reads are let through at once."""
    boxes: dict[str, LetterBox] = field(default_factory=dict)
    intake: Any = None

    def __post_init__(self) -> None:
        self.dropped: list[Dropped] = []
        self.hub = Hub(self.dropped.append)
        self.ledger = LossLedger(self.hub.publish, "hall-3")
        self.audit = AuditLog(self.hub.publish, "hall-3")
        self.alarms = StandingAlarms()
        self.notifiers = Bell()
        self.switched: dict[str, bool] = {}
        self.drivers = {name: Hopper(name) for name in ("hopper_4", "press_1")}
        self.hold_reads.set()
        self.reads_waiting = 0
        self.streams = Streams({}, self.hub)

    @property
    def latest(self) -> Any:
        return self.hub.latest

    def publish(self, device: str = "hopper_4", pm10: float = 408.35) -> None:
        self.hub.publish(process_row(self.drivers[device].groups[0].tables[0], pm10))

    def poll(self) -> None:
        for driver in self.drivers.values():
            for row in driver.read(driver.groups[0]):
                self.hub.publish(row)

    def devices(self) -> Mapping[str, Hopper]:
        return self.drivers

    def ready(self) -> tuple[bool, str]:
        return not self.not_ready, self.not_ready or "ready"

    def read_device(self, name: str) -> list[Row]:
        self.reads_waiting += 1
        try:
            assert self.hold_reads.wait(20)
        finally:
            self.reads_waiting -= 1
        if name == "press_1":
            raise DeviceUnavailable("timeout", "no answer within 3 s")
        driver = self.drivers[name]
        return [row for group in driver.groups for row in driver.read(group)]

    def probe_device(self, name: str, address: str) -> Probe:
        return self.drivers[name].probe(address)

    def history(
        self, device: str, tag: str, from_ns: int, to_ns: int, max_points: int
    ) -> History | None:
        if self.historian is None:
            return None
        return self.historian.query(device, tag, from_ns, to_ns, max_points)

    @property
    def state_dir(self) -> Path:
        assert self.historian is not None
        return self.historian.state_dir

    def copy_history(self, path: Path) -> bool:
        if self.historian is None:
            return False
        self.historian.copy_to(path)
        return True

    def stored_losses(self, from_ns: int, max_rows: int) -> list[Told] | None:
        if self.historian is None:
            return None
        rows = self.historian.newest_rows("gateway", "gateway_loss", from_ns, max_rows)
        return [Told(time_ns, loss_of(row)) for time_ns, row in rows]

    def stored_actions(self, from_ns: int, max_rows: int) -> list[Action] | None:
        if self.historian is None:
            return None
        rows = self.historian.newest_rows("gateway", "gateway_audit", from_ns, max_rows)
        return [action_of(time_ns, row) for time_ns, row in rows]

    def switch_device(self, name: str, enabled: bool, who: str, why: str) -> None:
        self.switched[name] = enabled

    def letter_boxes(self) -> Mapping[str, LetterBox]:
        return self.boxes

    def settings(self) -> Mapping[str, Any]:
        return {"sinks": {"influx": {"url": "http://u:pw@host/x?k=1", "token": "t"}}}

    def fingerprints(self) -> Mapping[str, Mapping[str, str]]:
        return {"device": {"hopper_4": "00", "press_1": "01"}}

    def waveform(self, device: str, channel: str, seconds: float | None) -> Any:
        return self.streams.waveform(device, channel, seconds)

    def spectra(self, device: str, channel: str) -> Any:
        return self.streams.spectra(device, channel)

    def capture(self, device: str, channel: str, seconds: float | None) -> bytes:
        return self.streams.capture(device, channel, seconds)

    def lose(self, cause: Any = "spool_bound", rows: int = 7) -> None:
        self.ledger.record(Loss("influx", "hopper_4", "process", 1, 2, rows, cause, "full"))

    def status(self) -> dict[str, Any]:
        spread = {"p50": 0.17, "p99": 0.25, "max": 2.0}
        group = {"name": "process", "interval_s": 0.5, "polls": 12, "missed": 1, "too_short": False}
        device: dict[str, Any] = {
            "driver": "hopper",
            "bus": "bus",
            "state": "good",
            "reason": None,
            "since_s": 12.0,
            "endpoint": "127.0.0.1:102",
            "connects": 1,
            "polls": 12,
            "errors": 1,
            "late_ticks": 1,
            "lateness_ms": spread,
            "read_ms": spread,
            "tags": 5,
            "tags_bad": 1,
            "quarantined": [{"table": "process", "tag": "count", "reason": "address"}],
            "facts": {"pdu": 960},
            "groups": [group],
        }
        sink = {
            "type": "influxdb",
            "state": "retrying",
            "error": 'HTTP 503: "later"\n',
            "rows_accepted": 24,
            "rows_stored": 20,
            "rows_rejected": 1,
            "rows_lost": 0,
            "values_stored": 100,
            "pending_rows": 3,
            "pending_batches": 2,
            "spool_bytes": 40960,
            "spool_age_s": 1.25,
            "last_stored_s": None,
            "dead_letters": 4,
            "dead_letters_replayed": 2,
        }
        return {
            "gateway": {
                "name": self.name,
                "version": "0.1.0",
                "pid": 1,
                "uptime_s": 60.5,
                "cpu_s": 1.5,
                "threads": 12,
                "config": "gateway.yaml",
                "state_dir": "var",
            },
            "state": "degraded",
            "problems": ["sink influx: HTTP 503"],
            "devices": {"hopper_4": device, "press_1": {**device, "state": "lost"}},
            "sinks": {"influx": sink, 'odd"\\\nname': {**sink, "spool_bytes": None}},
            "alarms": self.alarms.status(),
            "notifiers": {},
            "losses": self.ledger.status(),
            "clock": {"synchronised": True},
            "reload": None,
        }


class Served:
    """The app as it runs in a thread of its own."""

    def __init__(self, plant: Plant, api: ApiConfig, server: Server) -> None:
        self.plant = plant
        self.api = api
        self.server = server
        self.client = Client(api.socket)
        self.stop_event: anyio.Event | None = None
        self.loop_token: Any = None
        self.thread: threading.Thread | None = None

    @property
    def tcp(self) -> Client:
        assert self.api.listen is not None
        return Client(self.api.listen)

    @property
    def connections(self) -> Collection[object]:
        """All that are open."""
        return self.server._app.connections

    def stop(self) -> None:
        """Tell the server to stop; does not wait."""
        assert self.stop_event is not None
        anyio.from_thread.run_sync(self.stop_event.set, token=self.loop_token)

    def connect(self, timeout_s: float = 5.0) -> socket.socket:
        """A bare connection to the Unix socket."""
        return unix_connection(self.api.socket, timeout_s)


def unix_connection(path: Path, timeout_s: float = 5.0) -> socket.socket:
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    sock.settimeout(timeout_s)
    try:
        sock.connect(str(path))
    except OSError:
        sock.close()
        raise
    return sock


@contextmanager
def served(api: ApiConfig, plant: Plant | None = None, inherited: Any = None) -> Iterator[Served]:
    """The app served for the length of the block; GatewayError where it cannot start."""
    plant = plant or Plant()
    server = Server(make_app(plant, api), api, inherited)
    running = Served(plant, api, server)
    started = threading.Event()
    failed: list[BaseException] = []

    async def main() -> None:
        stop = running.stop_event = anyio.Event()
        running.loop_token = anyio.lowlevel.current_token()
        async with anyio.create_task_group() as group:
            try:
                await group.start(server.run, stop)
                started.set()
            except GatewayError as error:
                failed.append(error)

    def run() -> None:
        try:
            anyio.run(main)
        except BaseException as error:
            failed.append(error)

    thread = running.thread = threading.Thread(target=run, name="api")
    thread.start()
    try:
        until(lambda: started.is_set() or not thread.is_alive(), what="the server")
        if not started.is_set():
            raise failed[0]
        yield running
    finally:
        if thread.is_alive():
            running.stop()
        thread.join(15)
        assert not thread.is_alive(), "the server did not stop"
    if failed:
        raise failed[0]


def ask(
    listen: str, path: str, headers: Mapping[str, str] | None = None, method: str = "GET"
) -> tuple[int, dict[str, str], Any]:
    """Status, headers and JSON of one request on TCP with exactly these headers."""
    host, _, port = listen.rpartition(":")
    connection = http.client.HTTPConnection(host.strip("[]"), int(port), timeout=10)
    try:
        connection.putrequest(method, path, skip_host=True)
        for key, value in {"Host": listen, **(headers or {})}.items():
            if value:
                connection.putheader(key, value)
        connection.endheaders()
        response = connection.getresponse()
        raw = response.read()
    finally:
        connection.close()
    found = {k.lower(): v for k, v in response.getheaders()}
    is_json = raw and found.get("content-type", "").startswith("application/json")
    return response.status, found, json.loads(raw) if is_json else raw
