"""(e) From a row to the clients of the live WebSocket, and questions while machines are polled.

A hundred clients in a process of their own read all values of machines that are polled ten times a
second; each row carries the time at which it was read. Questions are asked one after the other on
one connection, while the gateway polls 10,000 S7 tags a second and stores them all.
"""

from __future__ import annotations

import asyncio
import http.client
import json
import socket
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

import orjson

from tests.bench.daemon import running
from tests.bench.loads import LOADS, write_config
from tests.bench.measure import Usage, watch
from tests.sims.influx_peer import VictoriaPeer
from tests.sims.s7_peer import S7Peer

CLIENTS = 100
SETTLE_S = 3.0
HANDSHAKE = (
    b"GET /ws/live?tables=* HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\n"
    b"Connection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
    b"Sec-WebSocket-Version: 13\r\n\r\n"
)


class Fanout(NamedTuple):
    """Machines of so many tags, each polled ten times a second."""

    name: str
    machines: int
    tags: int


FANOUTS = (
    Fanout("1 machine, 16 tags at 10 Hz", 1, 16),
    Fanout("10 machines, 16 tags each at 10 Hz", 10, 16),
)


class _Reader(asyncio.Protocol):
    """One client: how late each row came, in seconds."""

    def __init__(self, since: list[float], late_s: list[float]) -> None:
        self._since, self._late_s = since, late_s
        self._buffer = b""
        self._is_open = False
        self.dropped = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.WriteTransport)
        self._transport = transport
        transport.write(HANDSHAKE)

    def data_received(self, data: bytes) -> None:
        now_s = time.time()
        self._buffer += data
        if not self._is_open:
            head, end, self._buffer = self._buffer.partition(b"\r\n\r\n")
            if not end:
                self._buffer = head
                return
            assert b" 101 " in head.split(b"\r\n")[0], head
            self._is_open = True
        while (frame := self._frame()) is not None:
            code, text = frame
            if code == 9:  # a ping: answered, masked with zeros
                self._transport.write(bytes((0x8A, 0x80 | len(text), 0, 0, 0, 0)) + text)
            elif text.startswith(b'{"type":"values"') and now_s >= self._since[0]:
                message = orjson.loads(text)
                self.dropped += message.get("dropped", 0)
                self._late_s += [now_s - row["time_ns"] / 1e9 for row in message["rows"]]

    def _frame(self) -> tuple[int, bytes] | None:
        buffer = self._buffer
        if len(buffer) < 2:
            return None
        size, start = buffer[1], 2
        if size >= 126:
            start = 4 if size == 126 else 10
            size = int.from_bytes(buffer[2:start], "big")
        if len(buffer) < start + size:
            return None
        self._buffer = buffer[start + size :]
        return buffer[0] & 15, buffer[start : start + size]


async def _read(path: str, clients: int, seconds: float) -> dict[str, Any]:
    loop = asyncio.get_running_loop()
    since, late_s = [float("inf")], list[float]()
    readers = []
    for _ in range(clients):
        _, reader = await loop.create_unix_connection(lambda: _Reader(since, late_s), path)
        readers.append(reader)
    await asyncio.sleep(SETTLE_S)
    since[0] = time.time()
    await asyncio.sleep(seconds)
    for reader in readers:
        reader._transport.close()
    late_s.sort()
    return {
        "rows": len(late_s),
        "p50_ms": late_s[len(late_s) // 2] * 1e3,
        "p99_ms": late_s[int(len(late_s) * 0.99)] * 1e3,
        "max_ms": late_s[-1] * 1e3,
        "dropped": sum(reader.dropped for reader in readers),
    }


def _machines(folder: Path, fanout: Fanout) -> Path:
    signal = "{kind: sine, mean: 50, amplitude: 10, period_s: 5}"
    tags = "".join(
        f"      t{i}: {{type: real, unit: kW, signal: {signal}}}\n" for i in range(fanout.tags)
    )
    (folder / "map.yaml").write_text(
        f"driver: mock\ngroups:\n  load:\n    interval_s: 0.1\n    tags:\n{tags}"
    )
    devices = "".join(f"  m{i}: {{driver: mock, map: map.yaml}}\n" for i in range(fanout.machines))
    file = folder / "gateway.yaml"
    file.write_text(
        "gateway: {name: bench}\nstate_dir: state\napi: {socket: s}\n"
        f"sinks: {{history: {{type: sqlite}}}}\ndevices:\n{devices}"
    )
    return file


def fan_out(fanout: Fanout, seconds: float) -> tuple[dict[str, Any], Usage]:
    """Let all clients read for that long; what they saw, and what the gateway needed."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-")))
        gateway = stack.enter_context(running(_machines(folder, fanout), 5))
        command = [sys.executable, "-m", "tests.bench.live", str(folder / "s"), str(seconds)]
        with subprocess.Popen(command, stdout=subprocess.PIPE) as reader:
            watch(gateway.pid, SETTLE_S)
            usage = watch(gateway.pid, seconds)
            out, _ = reader.communicate(timeout=seconds + 30)
        assert reader.returncode == 0
        return json.loads(out), usage


QUESTIONS = (
    "/v1/status",
    "/v1/alarms",
    "/v1/devices",
    "/v1/latest",
    "/v1/history?device=plc_0&tag=T00000&from=-1m",
    "/v1/trends?tag=plc_0.load.T00000&tag=plc_0.load.T00001&tag=plc_0.load.T00002&from=-1m",
)


class _Socket(http.client.HTTPConnection):
    def __init__(self, path: Path) -> None:
        super().__init__("localhost", timeout=30)
        self._path = str(path)

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.connect(self._path)


def questions(rounds: int) -> dict[str, list[float]]:
    """Each question so often, while the gateway polls at full load: seconds of each."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-")))
        (folder / "store").mkdir()
        server = VictoriaPeer(folder / "store")
        server.start()
        stack.callback(server.kill)
        load = LOADS[0]
        peer = stack.enter_context(S7Peer())
        peer.db(1, 4 * load.tags)
        peer.move(1, "ramp")
        file = write_config(folder, load, peer.port, server.url)
        text = file.read_text().replace("sinks: {", "sinks: {history: {type: sqlite}, ")
        file.write_text(text)
        gateway = stack.enter_context(running(file, 5))
        watch(gateway.pid, SETTLE_S)
        connection = _Socket(folder / "s")
        stack.callback(connection.close)
        took_s: dict[str, list[float]] = {path: [] for path in QUESTIONS}
        for _ in range(rounds):
            for path in QUESTIONS:
                begun = time.perf_counter()
                connection.request("GET", path)
                answer = connection.getresponse()
                answer.read()
                took_s[path].append(time.perf_counter() - begun)
                assert answer.status == 200, (path, answer.status)
                time.sleep(0.02)  # a person's programs, not a flood
        return took_s


def table(seconds: float = 20.0, rounds: int = 150) -> list[str]:
    """Both as lines of Markdown tables."""
    lines = [
        f"| {CLIENTS} clients of /ws/live | row to client p50 / p99 / max | rows each, a second "
        "| rows dropped | CPU of one core |",
        "|---|---|---|---|---|",
    ]
    for fanout in FANOUTS:
        seen, usage = fan_out(fanout, seconds)
        lines.append(
            f"| {fanout.name} | {seen['p50_ms']:.1f} / **{seen['p99_ms']:.1f}** / "
            f"{seen['max_ms']:.1f} ms | {seen['rows'] / CLIENTS / seconds:.1f} "
            f"| {seen['dropped']} | {usage.cpu_percent:.1f} % |"
        )
    lines += [
        "",
        f"| question, while {LOADS[0].name} are polled and stored | p50 / p99 / max |",
        "|---|---|",
    ]
    for path, took_s in questions(rounds).items():
        took_s.sort()
        p50, p99 = took_s[len(took_s) // 2] * 1e3, took_s[int(len(took_s) * 0.99)] * 1e3
        shown = path.partition("&from")[0]
        lines.append(f"| `{shown}` | {p50:.1f} / **{p99:.1f}** / {took_s[-1] * 1e3:.1f} ms |")
    return lines


if __name__ == "__main__":
    print(json.dumps(asyncio.run(_read(sys.argv[1], CLIENTS, float(sys.argv[2])))))
