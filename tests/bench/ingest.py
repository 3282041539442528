"""Rows from other programs into a running gateway: how many a second, and what it costs it.

The gateway polls a mock at 10 ms meanwhile and delivers to a write API that keeps nothing; all rows
are on its disk when the clock is stopped. The sender has the other core. Python's gRPC client needs
more CPU for a message than the gateway does, so a lean one (`h2_sender`) sends, too.
"""

from __future__ import annotations

import http.client
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.bench.daemon import running, status
from tests.bench.measure import cpu_s, rss_mib
from tests.bench.null_server import null_server
from tests.support import ROOT, free_port

MAP = """\
driver: mock
groups:
  fast:
    interval_s: 0.01
    tags: {a: {type: real, unit: A}, b: {type: real, unit: V}, c: {type: int}}
"""
CONFIG = """\
gateway: {{name: bench}}
state_dir: state
api: {{socket: s, listen: "127.0.0.1:{http}", tokens_file: tokens}}
ingest: {{http: true, grpc: {{listen: "127.0.0.1:{grpc}"}}}}
sinks: {{influx: {{type: influxdb, url: "{url}", bucket: b}}}}
devices: {{press: {{driver: mock, map: map.yaml}}}}
"""
SECONDS = 10.0

SENDER = """
import sys, time
import numpy as np
from gateway.ingest.client import Credentials, Sender
from gateway.model import Column, Row, Table
address, token, size, seconds = sys.argv[1], sys.argv[2], int(sys.argv[3]), float(sys.argv[4])
table = Table("press", "other", [Column("force", "f8", "kN"), Column("on", "b1")])
def groups():
    time_ns, end_s = time.time_ns(), time.monotonic() + seconds
    parts = (np.array([12.5]), np.array([True]))
    while time.monotonic() < end_s:
        yield [Row(table, time_ns + i, parts) for i in range(size)]
        time_ns += size
begun = time.monotonic()
sent = Sender(address, Credentials(token)).send(groups())
print(sent.rows, time.monotonic() - begun, sent.refused)
"""


def table() -> list[str]:
    """The table, line by line."""
    out = [
        "| rows come by | rows/s, on disk | messages/s | gateway, one core | gateway, a message "
        "| memory | polls late |",
        "|---|---|---|---|---|---|---|",
    ]
    out.append(_line("nothing", _nothing, 1))
    for size, words in ((1, "one row"), (500, "500 rows")):
        out.append(_line(f"gRPC, {words} a message, a lean client", _by_lean_grpc, size))
        out.append(_line(f"gRPC, {words} a message, Python's client", _by_grpc, size))
    out.append(_line("HTTP, 5,000 lines a body", _by_http, 5000))
    return out


def _line(words: str, send: Any, size: int) -> str:
    with tempfile.TemporaryDirectory() as name, null_server() as url:
        folder = Path(name)
        ports = {"http": free_port(), "grpc": free_port()}
        (folder / "map.yaml").write_text(MAP)
        file = folder / "gateway.yaml"
        file.write_text(CONFIG.format(url=url, **ports))
        made = subprocess.run(
            [sys.executable, "-m", "gateway", "token", "add", file, "bench", "--role", "ingest"],
            capture_output=True, text=True, check=True, cwd=ROOT,
        )  # fmt: skip
        with running(file, 10) as gateway:
            cpu, begun = cpu_s(gateway.pid), time.monotonic()
            rows, took_s = send(ports, made.stdout.strip(), size)
            spent_s, lasted_s = cpu_s(gateway.pid) - cpu, time.monotonic() - begun
            memory = rss_mib(gateway.pid)
            found = status(folder)
    assert found is not None
    lateness = found["devices"]["press"]["lateness_ms"]
    assert found["ingest"]["rows"] == rows, (found["ingest"], rows)
    assert not found["losses"], found["losses"]
    messages = rows // size
    each = f"{1e6 * spent_s / messages:,.0f} us" if messages else "-"
    return (
        f"| {words} | {rows / took_s:,.0f} | {messages / took_s:,.0f} | "
        f"{100 * spent_s / lasted_s:.0f} % | {each} | {memory:.0f} MiB | "
        f"p99 {lateness['p99']} ms |"
    )


def _nothing(ports: dict[str, int], token: str, size: int) -> tuple[int, float]:
    time.sleep(SECONDS)
    return 0, SECONDS


def _by_grpc(ports: dict[str, int], token: str, size: int) -> tuple[int, float]:
    return _sent(["-c", SENDER], ports, token, size)


def _by_lean_grpc(ports: dict[str, int], token: str, size: int) -> tuple[int, float]:
    return _sent(["-m", "tests.bench.h2_sender"], ports, token, size)


def _sent(program: list[str], ports: dict[str, int], token: str, size: int) -> tuple[int, float]:
    at = f"127.0.0.1:{ports['grpc']}"
    done = subprocess.run(
        [sys.executable, *program, at, token, str(size), str(SECONDS)],
        capture_output=True, text=True, check=True, cwd=ROOT,
    )  # fmt: skip
    rows, took_s, refused = done.stdout.split()[:3]
    assert refused == "0"
    return int(rows), float(took_s)


def _by_http(ports: dict[str, int], token: str, size: int) -> tuple[int, float]:
    connection = http.client.HTTPConnection("127.0.0.1", ports["http"], timeout=60)
    rows, begun = 0, time.monotonic()
    for body in _bodies(size, begun + SECONDS):
        connection.request("POST", "/v1/ingest", body, {"Authorization": f"Bearer {token}"})
        answer = connection.getresponse()
        told = answer.read()
        assert answer.status == 204, told
        rows += size
    connection.close()
    return rows, time.monotonic() - begun


def _bodies(size: int, end_s: float) -> Iterator[bytes]:
    time_ns = time.time_ns()
    while time.monotonic() < end_s:
        line = b"press,device=other force=12.5,on=t %d\n"
        yield b"".join([line % (time_ns + i) for i in range(size)])
        time_ns += size
