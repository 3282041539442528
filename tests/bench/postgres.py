"""Values into PostgreSQL, each once, against the usual script: psycopg's executemany.

Both commit to the same server (fsync on) and table; the script has no spool, and its series numbers
for nothing.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from gateway.hub import Hub
from gateway.losses import Loss
from gateway.model import Column, Row, Selected, Table
from gateway.sinks.postgres import PostgresConfig, PostgresSink, migrate
from gateway.spool import Spool, SpoolConfig
from gateway.writer import Writer, WriterConfig
from tests.sims.postgres_server import OWNER, PostgresServer, postgres_server
from tests.support import until

VALUES = 200_000
RUNS = 3


@contextmanager
def _sink(server: PostgresServer, folder: Path) -> Iterator[tuple[PostgresSink, str]]:
    password = folder / "password"
    password.write_text(server.password)
    password.chmod(0o600)
    config = PostgresConfig.model_validate(
        {
            "type": "postgres",
            "host": "127.0.0.1",
            "port": server.port,
            "database": server.new_database(),
            "user": OWNER,
            "password_file": password,
        }
    )
    migrate.upgrade(config, OWNER)
    sink = PostgresSink("plant", config, folder)
    yield sink, config.database
    sink.close()


def _rows(width: int) -> list[Row]:
    random = np.random.default_rng(1)
    columns = [Column(f"T{i:04d}", "f4") for i in range(width)]
    tables = [
        Table("t", f"d{n}", columns, (("gateway", "g"), ("device", f"d{n}"))) for n in range(10)
    ]
    now = time.time_ns()
    return [
        Row(tables[i % 10], now + i * 1000, (random.uniform(-1e3, 1e3, width).astype("f4"),))
        for i in range(VALUES // width)
    ]


def through_the_writer(server: PostgresServer, folder: Path, width: int) -> float:
    """Values a second from the hub to committed, by way of the spool (FULL)."""
    with _sink(server, folder) as (sink, _):
        hub = Hub()
        losses: list[Loss] = []
        queue = hub.subscribe("plant", max_cells=1 << 30, wake_at=5000)
        spool = Spool(folder / "spool", SpoolConfig(), "plant", losses.append)
        settings = WriterConfig(flush_interval_s=0.05, batch_rows=20_000)
        writer = Writer("plant", sink, queue, settings, spool, on_loss=losses.append)
        rows = _rows(width)
        writer.start()
        begun = time.monotonic()
        for row in rows:
            hub.publish(row)
        until(lambda: writer.status()["rows_stored"] >= len(rows), 300, "all rows stored")
        seconds = time.monotonic() - begun
        writer.stop(10)
    assert not losses
    return VALUES / seconds


def delivered(server: PostgresServer, folder: Path, width: int, *, again: bool = False) -> float:
    """Values a second of batches that were encoded before; ``again``: all are there already."""
    with _sink(server, folder) as (sink, _):
        payloads = sink.encode([Selected(row) for row in _rows(width)])
        for _ in range(2 if again else 1):
            begun = time.monotonic()
            for payload in payloads:
                sink.deliver(payload.body, payload.format)
            seconds = time.monotonic() - begun
    return VALUES / seconds


def script(server: PostgresServer, folder: Path, width: int) -> float:
    """Values a second by INSERT .. ON CONFLICT with executemany, 5,000 values a commit."""
    with _sink(server, folder) as (_, database), server.connect(database, autocommit=False) as db:
        rows = _rows(width)
        begun = time.monotonic()
        lines = [(row.time_ns, c, float(v)) for row in rows for c, v in enumerate(row.parts[0])]
        for at in range(0, len(lines), 5000):
            db.cursor().executemany(
                "INSERT INTO gateway.sample (time_ns, series_id, f8) VALUES (%s, %s, %s)"
                " ON CONFLICT DO NOTHING",
                lines[at : at + 5000],
            )
            db.commit()
        return VALUES / (time.monotonic() - begun)


def _median(
    server: PostgresServer, run: Callable[[PostgresServer, Path, int], float], width: int
) -> float:
    found = []
    for _ in range(RUNS):
        with tempfile.TemporaryDirectory(prefix="bench-") as folder:
            found.append(run(server, Path(folder), width))
    return float(np.median(found))


def table() -> list[str]:
    """The result as lines of a Markdown table."""
    ways = {
        "gateway: hub, encode, spool (FULL), deliver": through_the_writer,
        "gateway: deliver alone": delivered,
        "gateway: deliver what is there already": lambda s, f, w: delivered(s, f, w, again=True),
        "script: executemany, `ON CONFLICT DO NOTHING`": script,
    }
    lines = [
        "| into PostgreSQL, each value once, values/s | rows of 1 | rows of 20 |",
        "|---|---|---|",
    ]
    with postgres_server("fsync=on", "shared_buffers=256MB", "max_wal_size=4GB") as server:
        for name, run in ways.items():
            one, twenty = (_median(server, run, width) for width in (1, 20))
            lines.append(f"| {name} | {one:,.0f} | {twenty:,.0f} |")
    return lines
