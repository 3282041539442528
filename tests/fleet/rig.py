"""8 gateways, a Redis, two writers and a PostgreSQL, each a process that may be killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from gateway.api.client import Client, NotRunning
from gateway.errors import GatewayError
from tests.faults.ledger import LossRange, StoredRow, Verdict, reconcile
from tests.fleet.kit import to_postgres
from tests.sims.counting import Answered, read_log
from tests.sims.postgres_server import PostgresServer
from tests.sims.redis_server import RedisPeer
from tests.sinks.postgreskit import Plant
from tests.support import ROOT, free_port, until

INTERVAL_S = 0.05
SINK = "fleet"

_MAP = (
    'driver: modbus\ngroups: {counts: {interval_s: %s, tags: {n: {address: "holding:0", '
    "type: uint32, store: int}}}}\n"
)


class Process:
    """A command that is started again after it was killed."""

    def __init__(self, name: str, folder: Path, words: Sequence[str], socket: str) -> None:
        self.name = name
        self.folder = folder
        self.socket = folder / socket
        self.cuts_ns: list[int] = []
        self._words = words
        self._process: subprocess.Popen[bytes] | None = None

    def launch(self) -> None:
        """Start it, and do not wait."""
        with (self.folder / f"{self.name}.log").open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "gateway", *self._words],
                cwd=self.folder,
                stdout=log,
                stderr=log,
                env={**os.environ, "PYTHONPATH": str(ROOT), "GATEWAY_LOG": "json"},
            )

    def kill(self) -> None:
        """SIGKILL, and remember when. Idempotent."""
        if self._process is None:
            return
        assert self._process.poll() is None, self.log()[-3000:]
        self._process.kill()
        self._process.wait()
        self._process = None
        self.cuts_ns.append(time.time_ns())

    def freeze(self) -> None:
        """SIGSTOP: none of its threads does anything."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """SIGCONT: it goes on as if nothing had been."""
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    def stop(self, within_s: float = 30.0) -> None:
        """SIGTERM: it must end by itself, with code 0, and never have logged a traceback."""
        assert self._process is not None
        self._process.send_signal(signal.SIGTERM)
        code = self._process.wait(within_s)
        self._process = None
        assert code == 0, self.log()[-3000:]
        assert "Traceback" not in self.log(), self.log()[-6000:]

    def status(self) -> dict[str, Any] | None:
        """Its status document; None while it does not answer."""
        assert self._process is not None
        assert self._process.poll() is None, self.log()[-3000:]
        try:
            document: dict[str, Any] = Client(self.socket).get_json("/v1/status")
        except (NotRunning, GatewayError):
            return None
        return document

    def log(self) -> str:
        """All that it said."""
        return (self.folder / f"{self.name}.log").read_text("utf-8", "replace")

    def close(self) -> None:
        """End it, however it is."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None


class Fleet:
    """All of it in a folder; `close` ends everything that it started."""

    def __init__(self, folder: Path, gateways: int = 8, writers: int = 2) -> None:
        self.folder = folder
        self.redis = RedisPeer(folder / "redis", port=free_port())
        self.postgres = PostgresServer()
        self.plant: Plant | None = None
        self.ports = [free_port() for _ in range(gateways)]
        self.gateways = [
            Process(f"gateway-{n}", self._folder(f"g{n}"), ["run", "gateway.yaml"], "s")
            for n in range(gateways)
        ]
        self.writers = [
            Process(
                f"writer-{n}",
                self._folder(f"w{n}"),
                ["writer", "writer.yaml", "--worker", f"w{n}"],
                "s",
            )
            for n in range(writers)
        ]
        self._machines: subprocess.Popen[bytes] | None = None

    def _folder(self, name: str) -> Path:
        made = self.folder / name
        made.mkdir()
        return made

    def start(self) -> None:
        """Servers, machines, writers and gateways; returns when all gateways answer."""
        self.redis.start()
        self.postgres.start()
        self.plant = Plant(self.postgres, self.folder)
        self.plant.upgrade()
        words = [w for n, port in enumerate(self.ports) for w in (str(port), str(self._answers(n)))]
        self._machines = subprocess.Popen(
            [sys.executable, "-m", "tests.sims.counting_many", *words],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        assert self._machines.stdout is not None
        assert self._machines.stdout.readline() == b"ready\n", "the machines have ended"
        for process in self.writers:
            (process.folder / "writer.yaml").write_text(
                f"redis: {{host: 127.0.0.1, port: {self.redis.port}, timeout_s: 2}}\n"
                "group: store\nclaim_after_s: 2\nfind_every_s: 0.5\nbatch: {max_wait_s: 0.05}\n"
                f"api: {{socket: s}}\nsink: {to_postgres(self.plant)}\n"
            )
            process.launch()
        for n, process in enumerate(self.gateways):
            (process.folder / "map.yaml").write_text(_MAP % INTERVAL_S)
            (process.folder / "gateway.yaml").write_text(
                f"gateway: {{name: hall-{n}}}\nstate_dir: state\napi: {{socket: s}}\n"
                "writer: {flush_interval_s: 0.2, shutdown_s: 5}\n"
                f"sinks: {{{SINK}: {{type: redis, host: 127.0.0.1, port: {self.redis.port}, "
                "timeout_s: 2, trim_every_s: 2}}\n"
                f"devices: {{plc{n}: {{driver: modbus, host: 127.0.0.1, port: {self.ports[n]}, "
                "timeout_s: 20, map: map.yaml}}\n"
            )
            process.launch()
        for process in self.gateways:
            until(process.status, 240, f"{process.name} to answer")

    def _answers(self, gateway: int) -> Path:
        return self.folder / f"plc{gateway}.answers"

    def answered(self, gateway: int) -> list[Answered]:
        """What the machine of a gateway has answered."""
        return read_log(self._answers(gateway))

    def drained(self, deadline_s: float = 120.0) -> None:
        """Wait until the writers have nothing more to do."""
        with self.redis.client() as client:

            def calm() -> bool:
                for stream in client.scan_iter("readings:*"):
                    groups = client.xinfo_groups(stream)
                    if not groups or groups[0]["pending"] or groups[0]["lag"]:
                        return False
                return True

            until(calm, deadline_s, "the writers to have stored all")

    def settled(self, deadline_s: float = 120.0) -> None:
        """Wait until nothing but the newest rows is in any gateway's spool."""

        def calm(process: Process) -> bool:
            status = process.status()
            if status is None:
                return False
            sink = status["sinks"][SINK]
            return bool(sink["state"] == "good" and sink["pending_rows"] < 50)

        for process in self.gateways:
            until(lambda p=process: calm(p), deadline_s, f"{process.name} to have delivered all")

    def stop(self) -> None:
        """The gateways end, the writers store what is left, and end."""
        for process in self.gateways:
            process.stop()
        self.drained()
        for process in self.writers:
            process.stop()

    def verdicts(self) -> list[Verdict]:
        """The comparison of each machine's answers with the database."""
        assert self.plant is not None
        stored = [
            StoredRow(*line)
            for line in self.plant.ask(
                "SELECT device, i8, time_ns FROM sample JOIN series ON series.id = series_id"
                " JOIN source ON source.id = source_id WHERE table_name = 'counts' AND tag = 'n'"
                " AND i8 IS NOT NULL"
            )
        ]
        losses = [
            LossRange(*line)
            for line in self.plant.ask(
                "SELECT sink, device_lost, table_lost, first_ns, last_ns, rows, cause"
                " FROM gateway_loss"
            )
        ]
        return [
            reconcile(
                {f"plc{n}": self.answered(n)},
                [row for row in stored if row.device == f"plc{n}"],
                losses,
                SINK,
                cuts_ns=process.cuts_ns,
                same_clock=False,  # machines answer late where ten processes start at once
            )
            for n, process in enumerate(self.gateways)
        ]

    def close(self) -> None:
        """End everything that was started."""
        for process in (*self.gateways, *self.writers):
            process.close()
        if self._machines is not None:
            self._machines.kill()
            self._machines.wait()
            for pipe in (self._machines.stdin, self._machines.stdout):
                assert pipe is not None
                pipe.close()
        self.redis.kill()
        self.postgres.remove()
