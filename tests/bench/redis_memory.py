"""What rows take in the memory of Redis: the gateway of docs/scale.md, 10 machines with 10 REAL.

An entry holds what a gateway gathers before it sends: 1 s in running, more in `batch` of a slower
one. Values move by some percent, with all digits of a float32.
"""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

import numpy as np

from gateway.model import Column, Row, Selected, Table
from gateway.sinks.packing import compress
from gateway.wire import encode_batch
from tests.sims.redis_server import redis_server

MACHINES = 10
TAGS = 10
ENTRIES_S = 600


def _tables() -> list[Table]:
    columns = [Column(f"tag_{n:02d}", "f4", "degC") for n in range(TAGS)]
    return [
        Table("process", f"plc_{n}", columns, (("gateway", "hall-3"), ("device", f"plc_{n}")))
        for n in range(MACHINES)
    ]


def table() -> list[str]:
    """The result as lines of a Markdown table."""
    lines = ["| an entry is of | bytes a row, gzip | bytes a row in Redis |", "|---|---|---|"]
    random = np.random.default_rng(1)
    means = random.uniform(0, 100, (MACHINES, TAGS))
    tables, now = _tables(), time.time_ns()
    with (
        tempfile.TemporaryDirectory(prefix="bench-") as folder,
        redis_server(Path(folder)) as peer,
        peer.client() as client,
    ):
        for seconds in (1, 10, 60):
            key, sent = f"readings:{seconds}", 0
            for at in range(0, ENTRIES_S, seconds):
                rows = [
                    Selected(Row(each, now + (at + i) * 10**9, (values.astype("f4"),)))
                    for n, each in enumerate(tables)
                    for i, values in enumerate(random.normal(means[n], 0.5, (seconds, TAGS)))
                ]
                body = compress(encode_batch(rows))
                sent += len(body)
                client.xadd(key, {"b": body, "n": len(rows)})
            rows_sent = ENTRIES_S * MACHINES
            memory = client.memory_usage(key, samples=0)
            lines.append(f"| {seconds} s | {sent / rows_sent:.0f} | {memory / rows_sent:.0f} |")
    return lines
