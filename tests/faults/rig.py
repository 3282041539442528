"""The proof machine: real machines, the gateway as a process, real servers; then the comparison.

The machines' own log of what they answered is the ledger. Faults are injected from outside.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from gateway.api.client import Client, NotRunning
from gateway.errors import GatewayError
from tests.faults import stores
from tests.faults.ledger import GivenUp, LossRange, StoredRow, Verdict, reconcile
from tests.faults.peers import CountingPeer
from tests.sims.influx_peer import BUCKET, TOKEN, InfluxPeer, VictoriaPeer
from tests.support import ROOT, free_port, until

INTERVAL_S = 0.05
FLUSH_S = 0.2
DEVICES = {"plc": "s7", "meter": "modbus"}

_MAPS = {
    "s7": 'driver: s7\ngroups: {counts: {interval_s: %s, tags: {n: {address: "DB1.DBD0", '
    "type: dword, store: int}}}}\n",
    "modbus": 'driver: modbus\ngroups: {counts: {interval_s: %s, tags: {n: {address: "holding:0", '
    "type: uint32, store: int}}}}\n",
}

_STREAM = """driver: mock
stream:
  rate_hz: 12800
  channels: {a: {unit: g, signal: {kind: shaft, speed_rpm: 1480, imbalance: 0.05, noise: 0.02}}}
  analysis: {features: [rms, peak]}
"""

_LOAD_TAG = "{type: real, signal: {kind: sine, mean: 50, amplitude: 10, period_s: %d, noise: 1}}"


def passed(seconds: float) -> None:
    """Let something go on for so long."""
    end = time.monotonic() + seconds
    until(lambda: time.monotonic() >= end, seconds + 10)


class Rig:
    """Peers, servers and one gateway in a folder; `close` ends everything that it started."""

    def __init__(
        self,
        folder: Path,
        *,
        influx_url: str = "",
        victoria: bool = False,
        sinks: Mapping[str, str] | None = None,
        load_tags: int = 0,
        timeout_s: float = 2.0,
        device_timeout_s: float = 5.0,
        state_dir: Path | None = None,
        flush_s: float = FLUSH_S,
        listens: bool = False,
        streams: bool = False,
    ) -> None:
        self.folder = folder
        self.state_dir = state_dir or folder / "state"
        self.sinks = dict(sinks or {})
        """More sinks: name, which is its bucket too, and URL."""
        self.deleted: dict[str, list[StoredRow]] = {}
        """Rows that a sink's server had, and that somebody deleted there."""
        self.load_tags = load_tags
        """Of a device that makes work, ten times a second; `write_config` takes a change."""
        self._streams = streams
        self.tcp = f"127.0.0.1:{free_port()}" if listens else ""
        """Where the API is on TCP, too."""
        self.peers = {name: CountingPeer(kind, folder) for name, kind in DEVICES.items()}
        self.influx: InfluxPeer | None = None
        self.victoria: VictoriaPeer | None = None
        if not influx_url:
            (folder / "influxd").mkdir()
            self.influx = InfluxPeer(folder / "influxd")
            influx_url = self.influx.url
        if victoria:
            (folder / "victoria").mkdir()
            self.victoria = VictoriaPeer(folder / "victoria")
        self.process: subprocess.Popen[bytes] | None = None
        self.cuts_ns: list[int] = []
        self.backs_ns: list[int] = []
        self.prefix: list[str] = []
        """Words before the gateway's command, e.g. ``unshare``."""
        self.environment: dict[str, str] = {}
        self._timeout_s = timeout_s
        self._device_timeout_s = device_timeout_s
        self._url = influx_url
        self._flush_s = flush_s
        self.write_config()

    def write_config(self) -> None:
        """Write the gateway's files."""
        (self.folder / "token").write_text(TOKEN)
        (self.folder / "token").chmod(0o600)
        for kind, text in _MAPS.items():
            (self.folder / f"{kind}.yaml").write_text(text % INTERVAL_S)
        devices = "".join(
            f"  {name}: {{driver: {peer.kind}, host: 127.0.0.1, port: {peer.port}, "
            f"timeout_s: {self._device_timeout_s}, map: {peer.kind}.yaml}}\n"
            for name, peer in self.peers.items()
        )
        if self.load_tags:
            tags = "".join(
                f"      T{i}: {_LOAD_TAG % (i % 17 + 3)}\n" for i in range(self.load_tags)
            )
            text = f"driver: mock\ngroups:\n  load:\n    interval_s: 0.1\n    tags:\n{tags}"
            (self.folder / "load.yaml").write_text(text)
            devices += "  load: {driver: mock, map: load.yaml}\n"
        if self._streams:
            (self.folder / "stream.yaml").write_text(_STREAM)
            devices += "  stream: {driver: mock, map: stream.yaml}\n"
        more_sinks = [("influx", self._url, BUCKET), *((n, u, n) for n, u in self.sinks.items())]
        sinks = "".join(
            f"  {name}: {{type: influxdb, url: '{at}', org: o, bucket: {bucket}, "
            f"token_file: token, timeout_s: {self._timeout_s}}}\n"
            for name, at, bucket in more_sinks
        )
        sinks += "  history: {type: sqlite, store_every_s: 0}\n"
        if self.victoria is not None:
            sinks += f"  victoria: {{type: influxdb, url: '{self.victoria.url}', bucket: b}}\n"
        (self.folder / "gateway.yaml").write_text(
            f"gateway: {{name: rig}}\nstate_dir: {self.state_dir}\n"
            f"api: {{socket: s{self.tcp and f', listen: {self.tcp!r}'}}}\n"
            f"writer: {{flush_interval_s: {self._flush_s}, shutdown_s: 5}}\n"
            f"sinks:\n{sinks}devices:\n{devices}"
        )

    # -- what runs ----------------------------------------------------------------------------

    def start(self) -> None:
        """All servers, all machines, and the gateway until it answers."""
        self.start_others()
        self.start_gateway()

    def start_others(self) -> None:
        """All servers and machines."""
        for server in (self.influx, self.victoria):
            if server is not None:
                server.start()
        for name in self.sinks:
            assert self.influx is not None
            self.influx.query(f"CREATE DATABASE {name}", database="")
        for peer in self.peers.values():
            peer.start()

    def launch(self) -> None:
        """Start the gateway and do not wait for it."""
        with (self.folder / "gateway.log").open("ab") as log:
            self.process = subprocess.Popen(
                [*self.prefix, sys.executable, "-m", "gateway", "run", "gateway.yaml"],
                cwd=self.folder,
                stdout=log,
                stderr=log,
                env={
                    **os.environ,
                    "PYTHONPATH": str(ROOT),
                    "PYTHONFAULTHANDLER": "1",
                    **self.environment,
                },
            )

    def start_gateway(self) -> None:
        """Start the gateway and wait until it answers."""
        self.launch()
        until(lambda: self.status() is not None, 30, "the gateway to answer")

    def status(self) -> dict[str, Any] | None:
        """The status document; None while it does not answer."""
        assert self.process is not None
        assert self.process.poll() is None, self.log()[-3000:]
        try:
            document: dict[str, Any] = Client(self.folder / "s").get_json("/v1/status")
        except (NotRunning, GatewayError):
            return None
        return document

    def ask(self, path: str) -> dict[str, Any]:
        """The JSON of a route."""
        document: dict[str, Any] = Client(self.folder / "s").get_json(path)
        return document

    def told(self) -> dict[str, Any]:
        """The status document, waited for."""
        status = until(self.status, 10, "the status")
        assert status is not None
        return status

    def sink(self, name: str = "influx") -> dict[str, Any]:
        """What the status says of a sink."""
        found: dict[str, Any] = self.told()["sinks"][name]
        return found

    def kill(self) -> None:
        """SIGKILL, and remember when."""
        assert self.process is not None
        self.process.kill()
        self.process.wait()
        self.process = None
        self.cuts_ns.append(time.time_ns())

    def stop(self, within_s: float = 15.0, *, unharmed: bool = True) -> None:
        """SIGTERM: it must end by itself, with code 0.

        ``unharmed``: no traceback was logged in any run.
        """
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        try:
            code = self.process.wait(within_s)
        except subprocess.TimeoutExpired:
            self.process.send_signal(signal.SIGABRT)  # all stacks go to the log
            self.process.wait(10)
            self.process = None
            raise AssertionError(f"no end within {within_s} s:\n{self.log()[-8000:]}") from None
        self.process = None
        assert code == 0, self.log()[-3000:]
        assert not unharmed or "Traceback" not in self.log(), self.log()[-6000:]

    def log(self) -> str:
        """All that the gateway said."""
        return (self.folder / "gateway.log").read_text("utf-8", "replace")

    def uses(self) -> tuple[int, int]:
        """Resident memory in kB, and open descriptors."""
        assert self.process is not None
        folder = Path(f"/proc/{self.process.pid}")
        pages = int((folder / "statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGESIZE") // 1024, len(list((folder / "fd").iterdir()))

    def answered(self) -> int:
        """Answers of all machines so far."""
        return sum(len(peer.answered()) for peer in self.peers.values())

    def run_for(self, answers: int, deadline_s: float = 60.0) -> None:
        """Wait for so many more answers of every machine."""
        wanted = {name: len(peer.answered()) + answers for name, peer in self.peers.items()}

        def done() -> bool:
            assert self.process is None or self.process.poll() is None, self.log()[-3000:]
            return all(len(self.peers[n].answered()) >= k for n, k in wanted.items())

        until(done, deadline_s, f"{answers} answers more")

    def settled(self, deadline_s: float = 60.0, name: str = "influx") -> None:
        """Wait until the sink is good and nothing but the newest rows waits for it."""
        fresh = len(DEVICES) * int(3 * self._flush_s / INTERVAL_S) + 10

        def calm() -> bool:
            sink = self.sink(name)
            return bool(sink["state"] == "good" and sink["pending_rows"] <= fresh)

        until(calm, deadline_s, f"sink {name} to have delivered all")

    def close(self) -> None:
        """End everything that was started."""
        if self.process is not None:
            self.process.send_signal(signal.SIGCONT)
            self.process.kill()
            self.process.wait()
            self.process = None
        for peer in self.peers.values():
            peer.kill()
        for server in (self.influx, self.victoria):
            if server is not None:
                server.kill()

    # -- what was stored ----------------------------------------------------------------------

    def losses(self) -> list[LossRange]:
        """The loss ledger; of a gateway that was stopped."""
        return stores.losses(self.influx, self.state_dir / "history.db")

    def verdict(self, sink: str = "influx", *, same_clock: bool = True) -> Verdict:
        """The comparison for one sink; of a gateway that was stopped."""
        ledger = {name: peer.answered() for name, peer in self.peers.items()}
        losses = self.losses()

        def compare(store: Sequence[StoredRow], late: Sequence[GivenUp]) -> Verdict:
            return reconcile(
                ledger,
                store,
                losses,
                sink,
                cuts_ns=self.cuts_ns,
                backs_ns=self.backs_ns,
                given_up=late,
                patience_ns=int(self._device_timeout_s * 1e9),
                same_clock=same_clock,
            )

        if sink == "history":
            history = self.state_dir / "history.db"
            return compare(stores.in_history(history), stores.given_up_in_history(history))
        assert self.influx is not None
        bucket = sink if sink in self.sinks else BUCKET
        late = stores.given_up(self.influx, bucket)
        if sink != "victoria":
            store = [*self.deleted.get(sink, ()), *stores.in_influx(self.influx, bucket)]
            return compare(store, late)
        # it keeps no text, so that the other store says what was late; a point may stay
        # invisible there for more than a second
        assert self.victoria is not None
        victoria, end = self.victoria, time.monotonic() + 5.0

        def seen() -> Verdict:
            return compare(stores.in_victoria(victoria), late)

        until(lambda: not seen().faults or time.monotonic() > end)
        return seen()
