"""(a) The S7 read path against a bare loop of the client library over the same plan."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

import numpy as np
from snap7 import Client
from snap7.type import Parameter

from tests.sims.s7_peer import S7Peer, s7_device

ROUNDS = 6


def values_per_cpu_s(read: Callable[[], int], seconds: float = 1.5) -> float:
    """Values a second of this thread's CPU time."""
    read()
    begun, values, end = time.thread_time(), 0, time.monotonic() + seconds
    while time.monotonic() < end:
        values += read()
    return values / (time.thread_time() - begun)


def values_per_s(read: Callable[[], int], seconds: float = 1.5) -> float:
    """Values a second of wall time."""
    read()
    begun, values = time.monotonic(), 0
    while time.monotonic() - begun < seconds:
        values += read()
    return values / (time.monotonic() - begun)


def measure(tags: int = 10_000) -> dict[str, float]:
    """Both paths in turns; medians, so that a busy moment of the machine spoils neither."""
    logging.getLogger("snap7").setLevel(logging.WARNING)
    with S7Peer() as peer:
        peer.db(1, 4 * tags)
        peer.move(1, "ramp")
        device = s7_device([("T", "DB1.DBD0", f"real[{tags}]")], peer.port)
        client = Client()
        client.set_param(Parameter.PDURequest, 960)
        client.connect("127.0.0.1", 0, 1, peer.port)
        device.connect()
        try:
            group = device.groups[0]
            device.read(group)
            plan = [(request.bytes, request.tags) for request in device.plan(group)]
            blocks, at = [], 0
            for size, count in plan:
                blocks.append((at, size, count))
                at += size

            def ours() -> int:
                (row,) = device.read(group)
                return len(row.parts[0])

            def bare() -> int:
                return sum(
                    len(np.frombuffer(client.db_read(1, start, size), ">f4").astype("f4"))
                    for start, size, _ in blocks
                )

            runs: dict[str, list[float]] = {"ours": [], "bare": [], "ours_cpu": [], "bare_cpu": []}
            for _ in range(ROUNDS):
                runs["ours"].append(values_per_s(ours))
                runs["bare"].append(values_per_s(bare))
                runs["ours_cpu"].append(values_per_cpu_s(ours, 0.5))
                runs["bare_cpu"].append(values_per_cpu_s(bare, 0.5))
        finally:
            device.close()
            client.disconnect()
    return {name: float(np.median(figures)) for name, figures in runs.items()}


def table() -> list[str]:
    """The result as lines of a Markdown table."""
    m = measure()
    return [
        "| S7 read path, 10,000 REAL | values/s | values/s of CPU time |",
        "|---|---|---|",
        f"| gateway: read, check, decode | {m['ours']:,.0f} | {m['ours_cpu']:,.0f} |",
        f"| bare loop of python-snap7, same blocks | {m['bare']:,.0f} | {m['bare_cpu']:,.0f} |",
        f"| ratio (at least 0.9 is asked) | **{m['ours'] / m['bare']:.2f}** "
        f"| {m['ours_cpu'] / m['bare_cpu']:.2f} |",
    ]
