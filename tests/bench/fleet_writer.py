"""Rows a second from Redis Streams into PostgreSQL, each once: 1 and 2 writers, and a plain script.

Entries of 1,000 rows of one REAL stand in 8 streams before the clock starts. The script reads
entries of one row, as such scripts write them, with redis-py (and hiredis), and stores by psycopg's
executemany with ON CONFLICT; it has no dead letters and takes nothing over.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np

from gateway.api.client import Client
from gateway.model import Column, Row, Selected, Table
from gateway.sinks.packing import compress
from gateway.sinks.postgres import PostgresConfig, migrate
from gateway.wire import encode_batch
from tests.sims.postgres_server import OWNER, PostgresServer, postgres_server
from tests.sims.redis_server import redis_server
from tests.support import ROOT, until

STREAMS = 8
PER_ENTRY = 1_000
ROWS = 800_000
SCRIPT_ROWS = 40_000
RUNS = 3


def _fill(client: Any, rows: int, columns: int) -> None:
    random = np.random.default_rng(1)
    now = time.time_ns()
    for n in range(STREAMS):
        labels = (("gateway", f"g{n}"), ("device", "plc"))
        table = Table("load", "plc", [Column(f"T{i}", "f4") for i in range(columns)], labels)
        values = random.uniform(-1e3, 1e3, (rows // STREAMS, columns)).astype("f4")
        for at in range(0, len(values), PER_ENTRY):
            some = values[at : at + PER_ENTRY]
            body = encode_batch(
                [Selected(Row(table, now + (at + i) * 1000, (v,))) for i, v in enumerate(some)]
            )
            client.xadd(f"readings:g{n}", {"b": compress(body), "n": len(some)})


def _database(server: PostgresServer, folder: Path) -> PostgresConfig:
    password = folder / "password"
    password.write_text(server.password)
    password.chmod(0o600)
    document = {
        "type": "postgres",
        "host": "127.0.0.1",
        "port": server.port,
        "database": server.new_database(),
        "user": OWNER,
        "password_file": password,
    }
    config = PostgresConfig.model_validate(document)
    migrate.upgrade(config, OWNER)
    return config


def writers(server: PostgresServer, peer: Any, count: int, columns: int, rows: int) -> float:
    """Rows a second while both ends are full: from a tenth to all of them stored."""
    with (
        tempfile.TemporaryDirectory(prefix="bench-") as name,
        ExitStack() as stack,
        peer.client() as client,
    ):
        folder = Path(name)
        client.flushall()
        _fill(client, rows, columns)
        config = _database(server, folder)
        sockets = []
        for n in range(count):
            file = folder / f"w{n}.yaml"
            file.write_text(
                f"redis: {{host: 127.0.0.1, port: {peer.port}}}\ngroup: store\n"
                f"batch: {{max_rows: 10000}}\napi: {{socket: s{n}}}\n"
                f"sink: {{type: postgres, host: 127.0.0.1, port: {server.port}, "
                f"database: {config.database}, user: {OWNER}, password_file: password}}\n"
            )
            process = subprocess.Popen(
                [sys.executable, "-m", "gateway", "writer", str(file), "--worker", f"w{n}"],
                cwd=ROOT,
                stderr=subprocess.DEVNULL,
            )
            stack.callback(process.wait)
            stack.callback(process.terminate)
            sockets.append(folder / f"s{n}")

        def stored() -> int:
            total = 0
            for socket in sockets:
                if socket.exists():
                    total += Client(socket).get_json("/v1/status")["sink"]["rows_stored"]
            return total

        until(lambda: stored() >= rows // 10, 120, "the first rows")
        begun, first = time.monotonic(), stored()
        until(lambda: stored() >= rows, 300, "all rows")
        seconds = time.monotonic() - begun
        with server.connect(config.database) as db:
            found = db.execute("SELECT count(*) FROM gateway.sample").fetchone()
        assert found == (rows * columns,), found
    return (rows - first) / seconds


def script(server: PostgresServer, peer: Any, rows: int) -> float:
    """The same by a plain script."""
    with (
        tempfile.TemporaryDirectory(prefix="bench-") as name,
        peer.client(decode_responses=True) as client,
    ):
        client.flushall()
        config = _database(server, Path(name))
        now = time.time_ns()
        with client.pipeline(transaction=False) as pipeline:
            for n in range(rows):
                fields = {"series": n % STREAMS, "time_ns": now + n * 1000, "value": n / 7}
                pipeline.xadd("plain", fields)  # type: ignore[arg-type]
            pipeline.execute()
        client.xgroup_create("plain", "store", "0")
        begun = time.monotonic()
        with server.connect(config.database, autocommit=False) as db:
            while True:
                answer = client.xreadgroup("store", "w", {"plain": ">"}, count=5000)
                if not answer:
                    break
                entries = answer[0][1]
                lines = [(int(f["time_ns"]), int(f["series"]), float(f["value"]))
                         for _, f in entries]  # fmt: skip
                db.cursor().executemany(
                    "INSERT INTO gateway.sample (time_ns, series_id, f8) VALUES (%s, %s, %s)"
                    " ON CONFLICT DO NOTHING",
                    lines,
                )
                db.commit()
                client.xack("plain", "store", *[id_ for id_, _ in entries])
        return rows / (time.monotonic() - begun)


def table() -> list[str]:
    """The result as lines of a Markdown table."""
    lines = [
        "| Redis to PostgreSQL, rows/s | 1 writer | 2 writers | plain script |",
        "|---|---|---|---|",
    ]
    with (
        tempfile.TemporaryDirectory(prefix="bench-") as name,
        postgres_server("fsync=on", "shared_buffers=256MB", "max_wal_size=2GB") as server,
        redis_server(Path(name), "--appendfsync", "everysec") as peer,
    ):
        for columns, rows in ((1, ROWS), (10, ROWS // 8)):
            found = [
                [writers(server, peer, count, columns, rows) for _ in range(RUNS)]
                for count in (1, 2)
            ]
            plain = [script(server, peer, SCRIPT_ROWS) for _ in range(RUNS)] if columns == 1 else []
            said = f"{np.median(plain):,.0f}" if plain else ""
            one, two = (f"**{np.median(runs):,.0f}**" for runs in found)
            lines.append(f"| rows of {columns} REAL | {one} | {two} | {said} |")
    return lines
