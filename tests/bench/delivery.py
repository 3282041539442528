"""(c) Encode, spool and deliver, against the official client's Point and batching API.

Both send the same values to the same server, which takes everything at once. Ours is on disk (FULL)
before it is sent; the client's batching keeps it in memory.
"""

from __future__ import annotations

import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
from influxdb_client import InfluxDBClient, Point, WriteOptions

from gateway.driver import Settings
from gateway.hub import Hub
from gateway.losses import Loss
from gateway.model import Column, Row, Table
from gateway.sinks import find_sink
from gateway.spool import Spool, SpoolConfig
from gateway.writer import Writer, WriterConfig
from tests.bench.null_server import null_server
from tests.support import until

COLUMNS = 1_000


def _rows(table: Table, count: int) -> list[Row]:
    random = np.random.default_rng(1)
    now = time.time_ns()
    return [
        Row(table, now + i * 1_000_000, (random.uniform(-1e3, 1e3, COLUMNS).astype("f4"),))
        for i in range(count)
    ]


def _config(kind: type[Settings], **values: Any) -> Any:
    return kind.model_validate(values)


def gateway(url: str, rows: int) -> float:
    """Values a second from the hub to stored."""
    hub = Hub()
    losses: list[Loss] = []
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        kind = find_sink("influxdb")
        config = _config(kind.config_class, type="influxdb", url=url, org="o", bucket="b")
        sink = kind("influx", config, Path(folder))
        queue = hub.subscribe("influx", max_cells=1 << 30, wake_at=200)
        spool = Spool(Path(folder) / "spool", _config(SpoolConfig), "influx", losses.append)
        settings = _config(WriterConfig, flush_interval_s=0.05, batch_rows=200)
        writer = Writer("influx", sink, queue, settings, spool, on_loss=losses.append)
        table = Table("ours", "plc", [Column(f"T{i:04d}", "f4") for i in range(COLUMNS)])
        made = _rows(table, rows)
        writer.start()
        begun = time.monotonic()
        for row in made:
            hub.publish(row)
        until(lambda: writer.status()["rows_stored"] >= rows, 120, "all rows stored")
        seconds = time.monotonic() - begun
        writer.stop(10)
        sink.close()
    assert not losses
    return rows * COLUMNS / seconds


def official(url: str, rows: int, *, fields: int) -> float:
    """Values a second with Points of so many fields through the batching WriteApi."""
    table = Table("theirs", "plc", [Column(f"T{i:04d}", "f4") for i in range(COLUMNS)])
    made = _rows(table, rows)
    sent = threading.Semaphore(0)
    points = rows * COLUMNS // fields
    client = InfluxDBClient(url=url, token="t", org="o", timeout=60_000)
    writer = client.write_api(
        WriteOptions(batch_size=max(1, 5000 // fields), flush_interval=1000),
        success_callback=lambda *_: sent.release(),
    )
    begun = time.monotonic()
    for row in made:
        values = row.parts[0]
        for at in range(0, COLUMNS, fields):
            point = Point("theirs").tag("device", "plc").time(row.time_ns)
            for i in range(at, at + fields):
                point.field(table.columns[i], float(values[i]))
            writer.write("b", "o", point)
    batches = -(-points // max(1, 5000 // fields))
    for _ in range(batches):
        assert sent.acquire(timeout=120)
    seconds = time.monotonic() - begun
    writer.close()
    client.close()
    return rows * COLUMNS / seconds


def table() -> list[str]:
    """The result as lines of a Markdown table."""
    with null_server() as url:
        gateway(url, 200)
        runs: dict[str, list[float]] = {"ours": [], "single": [], "wide": []}
        for _ in range(5):
            runs["ours"].append(gateway(url, 3000))
            runs["single"].append(official(url, 60, fields=1))
            runs["wide"].append(official(url, 600, fields=COLUMNS))
    ours, single, wide = (float(np.median(figures)) for figures in runs.values())
    return [
        "| from rows to 204, a server that keeps nothing | values/s | ours is |",
        "|---|---|---|",
        f"| gateway: encode, gzip, spool (FULL), deliver | {ours:,.0f} | |",
        f"| official client, batching, a Point a value | {single:,.0f} "
        f"| **{ours / single:.0f} times** |",
        f"| official client, batching, a Point of {COLUMNS:,} fields | {wide:,.0f} "
        f"| **{ours / wide:.1f} times** |",
    ]
