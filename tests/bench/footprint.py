"""(f) From start to READY, memory at rest, and what a day writes to the disk.

A gateway with one S7 device of 100 tags, every second, and the InfluxDB sink: what most plants
begin with. READY is what systemd is told (sd_notify): the first round has been read.
"""

from __future__ import annotations

import os
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import NamedTuple

from gateway.api.client import Client
from gateway.errors import GatewayError
from tests.bench.loads import Load, write_config
from tests.bench.measure import cpu_s, rss_mib, watch
from tests.sims.influx_peer import VictoriaPeer
from tests.sims.s7_peer import S7Peer
from tests.support import ROOT, free_port

STARTS = 7
REST_S = 30.0
LOAD = Load("100 S7 tags at 1 s", "s7", 1, 100, 1.0, "", "")


class Footprint(NamedTuple):
    """What one configuration needs."""

    name: str
    ready_s: list[float]
    """From exec to READY=1, each start with a state folder that is there already."""
    start_cpu_s: float
    """CPU time spent until then."""
    rss_mib: float
    used_rss_mib: float
    """After the page, the values, the metrics and a path that there is not were asked for."""
    cpu_percent: float
    written_mb_a_day: float
    """To the disk, from write_bytes of /proc/PID/io (proc(5)), scaled to a day."""


def _start(file: Path, folder: Path) -> tuple[subprocess.Popen[bytes], float, float]:
    """The process, and seconds and CPU seconds until it is READY."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as told:
        address = folder / "notify"
        address.unlink(missing_ok=True)
        told.bind(str(address))
        told.settimeout(0.5)
        begun = time.monotonic()
        gateway = subprocess.Popen(
            [sys.executable, "-m", "gateway", "run", str(file)],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            cwd=ROOT,
            env={**os.environ, "NOTIFY_SOCKET": str(address), "GATEWAY_LOG_LEVEL": "error"},
        )
        said = b""
        while b"READY=1" not in said:
            if gateway.poll() is not None or time.monotonic() - begun > 60:
                gateway.kill()
                raise AssertionError(f"not ready, exit code {gateway.wait()}")
            with suppress(TimeoutError):
                said = told.recv(4096)
        return gateway, time.monotonic() - begun, cpu_s(gateway.pid)


def _written(pid: int) -> int:
    lines = Path(f"/proc/{pid}/io").read_text().splitlines()
    return next(int(x.split()[1]) for x in lines if x.startswith("write_bytes"))


def _stop(gateway: subprocess.Popen[bytes]) -> None:
    gateway.send_signal(signal.SIGTERM)
    gateway.wait(30)


def measure(name: str, file: Path, folder: Path, starts: int, rest_s: float) -> Footprint:
    """Start it so many times, and watch the last one at rest."""
    ready, cpu = [], []
    for number in range(starts):
        gateway, seconds, used = _start(file, folder)
        ready.append(seconds)
        cpu.append(used)
        if number < starts - 1:
            _stop(gateway)
    try:
        watch(gateway.pid, 5.0)
        before, begun = _written(gateway.pid), time.monotonic()
        usage = watch(gateway.pid, rest_s)
        a_day = (_written(gateway.pid) - before) / (time.monotonic() - begun) * 86400
        at_rest = rss_mib(gateway.pid)
        _use(folder)
        used = watch(gateway.pid, 5.0).rss_mib
    finally:
        _stop(gateway)
    start_cpu_s = statistics.median(cpu)
    return Footprint(name, ready, start_cpu_s, at_rest, used, usage.cpu_percent, a_day / 1e6)


def _use(folder: Path) -> None:
    client = Client(folder / "s")
    for path in ("/", "/metrics", "/v1/status", "/v1/latest", "/v1/devices"):
        client.get_text(path)
    with suppress(GatewayError):
        client.get_text("/favicon.ico")


def with_s7(starts: int = STARTS, rest_s: float = REST_S, sink: str = "influx") -> Footprint:
    """S7 and InfluxDB, or S7 and the historian."""
    with ExitStack() as stack:
        folder = Path(
            stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-", dir="/var/tmp"))
        )
        peer = stack.enter_context(S7Peer())
        peer.db(1, 4 * LOAD.tags)
        peer.move(1, "ramp")
        (folder / "store").mkdir()
        server = VictoriaPeer(folder / "store")
        server.start()
        stack.callback(server.kill)
        file = write_config(folder, LOAD, peer.port, server.url)
        name = f"{LOAD.name}, InfluxDB"
        if sink == "sqlite":
            text = file.read_text()
            begin = text.index("sinks:")
            rest = text[text.index("\n", begin) :]
            file.write_text(text[:begin] + "sinks: {history: {type: sqlite}}" + rest)
            name = f"{LOAD.name}, historian"
        return measure(name, file, folder, starts, rest_s)


def with_demo(starts: int = STARTS, rest_s: float = REST_S) -> Footprint:
    """The demo: five devices, one of them streaming, alarms, the historian, the live page."""
    with tempfile.TemporaryDirectory(prefix="bench-", dir="/var/tmp") as name:
        folder = Path(name)
        text = (ROOT / "configs/demo.yaml").read_text("utf-8")
        text = text.replace("state_dir: ../var", f"state_dir: {folder}/state")
        text = text.replace("socket: ../var/gateway.sock", f"socket: {folder}/s")
        text = text.replace('listen: "127.0.0.1:8080"', f'listen: "127.0.0.1:{free_port()}"')
        text = text.replace("map: maps/", f"map: {ROOT}/configs/maps/")
        file = folder / "demo.yaml"
        file.write_text(text, "utf-8")
        return measure("the demo (`make run`)", file, folder, starts, rest_s)


CASES: tuple[Callable[[], Footprint], ...] = (
    with_s7,
    lambda: with_s7(sink="sqlite"),
    with_demo,
)


def table() -> list[str]:
    """The cases as lines of a Markdown table."""
    lines = [
        "| gateway | start to READY, median of 7 (worst) | CPU until then | RSS at rest, API used "
        "| CPU of one core | written to disk a day |",
        "|---|---|---|---|---|---|",
    ]
    for case in CASES:
        f = case()
        lines.append(
            f"| {f.name} | {statistics.median(f.ready_s):.2f} s ({max(f.ready_s):.2f} s) "
            f"| {f.start_cpu_s:.2f} s | {f.rss_mib:.1f}, {f.used_rss_mib:.1f} MiB "
            f"| {f.cpu_percent:.1f} % | {f.written_mb_a_day:,.0f} MB |"
        )
    return lines
