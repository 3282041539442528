"""How many bytes a second a sink's spool takes: of the running gateway, or of invented values."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from gateway.config import Plant
from gateway.model import Row, Selected, Table, make_parts
from gateway.sinks import RemoteSink, SinkConfig, find_sink

MAX_ROUNDS = 20
MAX_VALUES = 40_000
"""Values that are encoded at most; the rest is reckoned from those."""
BATCH_BYTES = 100
TABLE_BYTES = 130
"""What a batch takes in the spool besides its rows, and for each of its tables: the manifest,
twice. Measured on spools of 3 and 6 tables, 2-core VM, 2026-11-26."""
OVERHEAD = 1.3
"""Pages of SQLite that are not full; measured there, too."""


def rows_per_s(plant: Plant) -> float:
    """Of the intervals in the maps, without dead bands: the most that can come."""
    return sum(1 / every_s for _, every_s in _tables(plant))


def shortest_s(plant: Plant) -> float | None:
    """The shortest interval of a poll; None where nothing is polled."""
    return min((every_s for _, every_s in _tables(plant)), default=None)


def bytes_per_s(
    plant: Plant, name: str, config: SinkConfig, folder: Path, rows_a_second: float
) -> float:
    """What the spool of one sink grows by, all values changing, as its own encoder packs them.

    ``folder`` is one to write into.
    """
    rows, tables = _batch(plant), _tables(plant)
    sink = find_sink(config.type)(name, config, folder)
    try:
        if not rows or rows_a_second <= 0 or not isinstance(sink, RemoteSink):
            return 0.0
        body = sum(len(p.body) for p in sink.encode([Selected(row) for row in rows])) / len(rows)
    finally:
        sink.close()
    flush_s = plant.writer.flush_interval_s
    every_s = max(flush_s, min(interval_s for _, interval_s in tables))
    in_batch = sum(min(1.0, every_s / interval_s) for _, interval_s in tables)
    return OVERHEAD * (body * rows_a_second + (BATCH_BYTES + TABLE_BYTES * in_batch) / every_s)


def _batch(plant: Plant) -> list[Row]:
    """The rows of one batch, with digits that hardly pack."""
    import numpy as np

    random = np.random.default_rng(1)
    tables = _tables(plant)
    if not tables:
        return []
    shortest = min(every_s for _, every_s in tables)
    rounds = min(MAX_ROUNDS, max(1, round(plant.writer.flush_interval_s / shortest)))
    rows: list[Row] = []
    values, now = 0, time.time_ns()
    for number in range(rounds):
        for table, every_s in tables:
            due, before = number * shortest // every_s, (number - 1) * shortest // every_s
            if due == before:
                continue
            rows.append(_row(table, now + int(number * shortest * 1e9), random))
            values += len(table.columns)
            if values > MAX_VALUES:
                return rows
    return rows


def _tables(plant: Plant) -> list[tuple[Table, float]]:
    """Each table and its interval, in seconds."""
    return [
        (table, table.interval_s or group.interval_s or 1.0)
        for driver in plant.devices.values()
        if driver.config.enabled
        for group in driver.groups
        for table in group.tables
    ]


def _row(table: Table, time_ns: int, random: Any) -> Row:
    values: Sequence[Any] = [
        f"text {random.integers(10)}" if kind == "str" else _number(kind, random)
        for kind in table.kinds
    ]
    return Row(table, time_ns, make_parts(table, values))


def _number(kind: str, random: Any) -> Any:
    if kind == "b1":
        return bool(random.integers(2))
    if kind in ("i8", "u8"):
        return int(random.integers(10_000))
    return round(float(random.normal(100, 10)), 3)
