"""Redis, PostgreSQL and workers between them, as tests start and stop them."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import redis

from gateway.model import Column, Kind, Row, Selected, Table
from gateway.relay.loading import load_writer
from gateway.relay.settings import WriterFile
from gateway.relay.worker import Worker
from gateway.sinks.packing import compress
from gateway.wire import encode_batch
from tests.sims.redis_server import RedisPeer
from tests.sinks.postgreskit import Plant
from tests.support import until

T0 = time.time_ns() // 1_000_000_000 * 1_000_000_000


def table(gateway: str = "hall-1", columns: int = 1, kind: Kind = "f8") -> Table:
    """A table of one device."""
    labels = (("gateway", gateway), ("device", "plc"))
    return Table("load", "plc", [Column(f"n{i}", kind) for i in range(columns)], labels)


def rows(of: Table, first: int, count: int) -> list[Selected]:
    """Rows whose values are their number, a millisecond apart."""
    width = len(of.columns)
    kind = of.kinds[0]
    return [
        Selected(Row(of, T0 + n * 1_000_000, (np.full(width, n, kind),)))
        for n in range(first, first + count)
    ]


def add(client: redis.Redis, given: list[Selected], stream: str = "", *, pack: bool = True) -> Any:
    """One entry, as a gateway's Redis sink adds it."""
    body = encode_batch(given)
    name = stream or f"readings:{dict(given[0].row.table.labels)['gateway']}"
    return client.xadd(name, {"b": compress(body) if pack else body, "n": len(given)})


def write_file(folder: Path, port: int, sink: str, **more: str) -> Path:
    """The file of a writer; ``more`` are top-level settings."""
    path = folder / "writer.yaml"
    given = {
        "group": "store",
        "batch": "{max_wait_s: 0.02}",
        "claim_after_s": "1",
        "find_every_s": "0.2",
        "state_dir": "wstate",
        **more,
    }
    text = "".join(f"{key}: {value}\n" for key, value in given.items() if value)
    path.write_text(f"redis: {{host: 127.0.0.1, port: {port}, timeout_s: 2}}\n{text}sink: {sink}\n")
    return path


def to_postgres(plant: Plant, **changes: object) -> str:
    """The ``sink:`` for a database."""
    config = plant.config(**changes)
    return (
        f"{{type: postgres, host: 127.0.0.1, port: {config.port}, database: {config.database}, "
        f"user: {config.user}, password_file: {config.password_file}, timeout_s: 5, "
        f"tls: '{config.tls}'}}"
    )


@contextmanager
def running(file: Path | WriterFile, name: str = "w1") -> Iterator[Worker]:
    """A worker in this process."""
    settings = load_writer(file) if isinstance(file, Path) else file
    made = Worker(settings.model_copy(update={"worker": name}))
    made.start()
    try:
        yield made
    finally:
        made.stop()


def settled(worker: Worker, rows_stored: int, within_s: float = 60.0) -> dict[str, Any]:
    """The status once so many rows are stored or refused, and nothing is in hand."""

    def is_through() -> bool:
        sink = worker.status()["sink"]
        if sink["rows_stored"] + sink["rows_rejected"] < rows_stored:
            return False
        # a later look: in the one above this may be from before they were read
        return not worker.status()["redis"]["entries_in_hand"]

    try:
        until(is_through, within_s, f"{rows_stored} rows")
    except AssertionError:
        raise AssertionError(worker.status()) from None
    return worker.status()


def pending(client: redis.Redis, stream: str, group: str = "store") -> int:
    """Entries of a group that nobody has acknowledged."""
    return int(client.xpending(stream, group)["pending"])


__all__ = ["RedisPeer"]
