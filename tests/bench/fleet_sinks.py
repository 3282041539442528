"""Rows a second out to Redis and MQTT: hub, batches, spool (FULL), delivery; beside plain scripts.

The plain scripts keep nothing on disk: redis-py with an
entry a row, pipelined by a thousand; paho-mqtt with QoS 1 and its own loop.
"""

from __future__ import annotations

import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import orjson
from paho.mqtt.client import Client
from paho.mqtt.enums import CallbackAPIVersion

from gateway.hub import Hub
from gateway.losses import Loss
from gateway.model import Column, Row, Table
from gateway.sinks import find_sink
from gateway.spool import Spool, SpoolConfig
from gateway.writer import Writer, WriterConfig
from tests.sims.mosquitto import broker
from tests.sims.redis_server import redis_server
from tests.support import until

RUNS = 3


def _rows(columns: int, count: int) -> list[Row]:
    labels = (("gateway", "bench"), ("device", "plc"))
    table = Table("load", "plc", [Column(f"T{i:03d}", "f4") for i in range(columns)], labels)
    random = np.random.default_rng(1)
    now = time.time_ns()
    values = random.uniform(-1e3, 1e3, (count, columns)).astype("f4")
    return [Row(table, now + i * 1000, (values[i],)) for i in range(count)]


def gateway(kind: str, port: int, columns: int, count: int) -> float:
    """Rows a second from the hub to stored."""
    hub = Hub()
    losses: list[Loss] = []
    rows = _rows(columns, count)
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        found = find_sink(kind)
        config = found.config_class.model_validate(
            {"type": kind, "host": "127.0.0.1", "port": port, "timeout_s": 60.0}
        )
        sink = found("fleet", config, Path(folder))
        queue = hub.subscribe("fleet", max_cells=1 << 30, wake_at=5000)
        spool = Spool(Path(folder) / "spool", SpoolConfig(), "fleet", losses.append)
        settings = WriterConfig(flush_interval_s=0.05)
        writer = Writer("fleet", sink, queue, settings, spool, on_loss=losses.append)
        writer.start()
        begun = time.monotonic()
        for row in rows:
            hub.publish(row)
        until(lambda: writer.status()["rows_stored"] >= count, 120, "all rows stored")
        seconds = time.monotonic() - begun
        writer.stop(10)
        sink.close()
    assert not losses
    return count / seconds


def plain_redis(client: Any, columns: int, count: int) -> float:
    """Rows a second, an entry a row, pipelined by a thousand."""
    rows = _rows(columns, count)
    begun = time.monotonic()
    for at in range(0, count, 1000):
        with client.pipeline(transaction=False) as pipeline:
            for row in rows[at : at + 1000]:
                values = dict(zip(row.table.columns, row.parts[0].tolist(), strict=True))  # type: ignore[union-attr]
                pipeline.xadd("plain", {"device": "plc", "time_ns": row.time_ns, **values})
            pipeline.execute()
    return count / (time.monotonic() - begun)


def plain_mqtt(port: int, columns: int, count: int) -> float:
    """Rows a second, a message a row, until each is acknowledged."""
    rows = _rows(columns, count)
    left = threading.Semaphore(0)
    client = Client(CallbackAPIVersion.VERSION2)
    client.on_publish = lambda *_: left.release()
    client.connect("127.0.0.1", port)
    client.loop_start()
    begun = time.monotonic()
    for row in rows:
        values = dict(zip(row.table.columns, row.parts[0].tolist(), strict=True))  # type: ignore[union-attr]
        client.publish("plain/plc", orjson.dumps({"time_ns": row.time_ns, "values": values}), 1)
    for _ in rows:
        assert left.acquire(timeout=60)
    seconds = time.monotonic() - begun
    client.disconnect()
    client.loop_stop()
    return count / seconds


def table() -> list[str]:
    """The result as lines of a Markdown table."""
    lines = [
        "| rows out, of so many REALs | gateway, rows/s | plain script, rows/s |",
        "|---|---|---|",
    ]
    with (
        tempfile.TemporaryDirectory(prefix="bench-") as folder,
        redis_server(Path(folder), "--appendfsync", "everysec") as peer,
        peer.client() as plain,
    ):
        for columns, count in ((1, 200_000), (10, 100_000), (100, 20_000)):
            ours, theirs = [], []
            for _ in range(RUNS):
                ours.append(gateway("redis", peer.port, columns, count))
                theirs.append(plain_redis(plain, columns, count // 10))
                plain.flushall()
            lines.append(_line(f"Redis, {columns}", ours, theirs))
    with (
        tempfile.TemporaryDirectory(prefix="bench-") as folder,
        broker(Path(folder), "max_inflight_messages 100", "max_queued_messages 0") as made,
    ):
        for columns, count in ((1, 20_000), (10, 20_000)):
            ours, theirs = [], []
            for _ in range(RUNS):
                ours.append(gateway("mqtt", made.port, columns, count))
                theirs.append(plain_mqtt(made.port, columns, count))
            lines.append(_line(f"MQTT, QoS 1, {columns}", ours, theirs))
    return lines


def _line(what: str, ours: list[float], theirs: list[float]) -> str:
    return f"| {what} | **{np.median(ours):,.0f}** | {np.median(theirs):,.0f} |"
