"""An independent S7 peer for tests and benches: the C library's server, in its own process."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

from drivers.s7.driver import S7Config, S7Driver
from gateway.driver import DeviceMap, GroupSpec, TableSpec, Tag
from gateway.errors import Place
from gateway.model import Scalar
from tests.support import S7_PEER_PACKAGE, free_port, missing

SCRIPT = Path(__file__).with_name("s7_cserver.py")


class S7Peer:
    """A running peer. See `s7_cserver` for what it can be told."""

    def __init__(self) -> None:
        if not (S7_PEER_PACKAGE / "snap7").is_dir():
            missing("the C library's S7 server", "run `make peers`")
        self.port = free_port()
        self._process = subprocess.Popen(
            [sys.executable, str(SCRIPT), str(self.port)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": str(S7_PEER_PACKAGE), "OPENBLAS_NUM_THREADS": "1"},
        )
        self._answer("start")

    def __enter__(self) -> S7Peer:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    @property
    def pid(self) -> int:
        """Process id of the peer (benches measure it apart)."""
        return self._process.pid

    def _answer(self, what: str) -> str:
        assert self._process.stdout is not None
        line = self._process.stdout.readline().strip()
        if not line.startswith("ok"):
            raise RuntimeError(f"the S7 peer on '{what}': {line or 'it ended'}")
        return line.removeprefix("ok").strip()

    def tell(self, command: str) -> str:
        """Send one command; what it answers behind ``ok``."""
        assert self._process.stdin is not None
        self._process.stdin.write(command + "\n")
        self._process.stdin.flush()
        return self._answer(command)

    def area(self, area: str, number: int, size: int) -> None:
        """Serve an area (DB MK PE PA TM CT)."""
        self.tell(f"area {area} {number} {size}")

    def db(self, number: int, size: int) -> None:
        """Serve a data block."""
        self.area("DB", number, size)

    def drop(self, area: str, number: int) -> None:
        """Serve it no more."""
        self.tell(f"drop {area} {number}")

    def write(self, number: int, at: int, data: bytes, area: str = "DB") -> None:
        """Put bytes into an area, in one piece."""
        self.tell(f"write {area} {number} {at} {data.hex()}")

    def move(self, number: int, how: str) -> None:
        """Change a data block every 50 ms: ``same``, ``ramp`` or ``none``."""
        self.tell(f"move {number} {how}")

    def ticks(self) -> int:
        """How often the moving blocks have moved."""
        return int(self.tell("ticks"))

    def cpu(self, *, running: bool) -> None:
        """RUN or STOP."""
        self.tell(f"cpu {8 if running else 4}")

    def close(self) -> None:
        """End the process."""
        if self._process.stdin is not None:
            self._process.stdin.close()
        if self._process.stdout is not None:
            self._process.stdout.close()
        try:
            self._process.wait(5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


def serve_s7() -> Iterator[S7Peer]:
    """For a fixture: ``peer = pytest.fixture(scope="module")(serve_s7)``."""
    with S7Peer() as peer:
        yield peer


def s7_device(
    tags: Sequence[tuple[str, str, str]], port: int, *, timeout_s: float = 2.0, **config: Any
) -> S7Driver:
    """A driver for (name, address, type) tags, all in one group of one table."""
    place = Place("map.yaml", 1, 1, "tags")
    made = [
        Tag(name, S7Driver.tag_class(address=address, type=kind), place)
        for name, address, kind in tags
    ]
    table = TableSpec("process", (("gateway", "g"), ("device", "plc")), made, place)
    device_map = DeviceMap("map.yaml", [GroupSpec("process", 1.0, [table], place)])
    settings = S7Config(
        map=Path("map.yaml"), host="127.0.0.1", port=port, timeout_s=timeout_s, **config
    )
    return S7Driver("plc", settings, device_map)


def read_values(driver: S7Driver) -> dict[str, tuple[Scalar, str]]:
    """One poll of its only table: tag -> (value, mark as text or GOOD)."""
    (row,) = driver.read(driver.groups[0])
    return {name: (value, str(mark or "GOOD")) for name, value, mark in row.items()}
