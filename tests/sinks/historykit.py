"""A historian with a virtual clock, and tables to fill it."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from gateway.model import Column, Kind, Mark, Row, Scalar, Table, make_parts
from gateway.sinks import Selected
from gateway.sinks.historian import HistorianConfig, HistorianSink

START_NS = 1_790_000_040_000_000_000
"""A whole minute."""
SECOND_NS = 1_000_000_000
MINUTE_NS = 60 * SECOND_NS
DAY_NS = 86_400 * SECOND_NS


class Clock:
    """Wall time that stands until it is set; the monotonic clock goes with it."""

    def __init__(self, now_ns: int = START_NS) -> None:
        self.now_ns = now_ns
        self._jumped_ns = 0

    def jump(self, by_ns: int) -> None:
        """Set the wall clock while no time goes by."""
        self.now_ns += by_ns
        self._jumped_ns += by_ns

    def monotonic_ns(self) -> int:
        return self.now_ns - self._jumped_ns

    def __call__(self) -> int:
        return self.now_ns


def historian(folder: Path, clock: Clock | None = None, **settings: Any) -> HistorianSink:
    config = HistorianConfig.model_validate({"type": "sqlite", "store_every_s": 0, **settings})
    clock = clock or Clock()
    return HistorianSink("history", config, folder, clock=clock, monotonic_ns=clock.monotonic_ns)


def table(
    columns: Sequence[Column] | int = 3,
    name: str = "process",
    device: str = "hopper",
    module: str | None = None,
    kind: Kind = "f8",
    interval_s: float = 1.0,
) -> Table:
    if isinstance(columns, int):
        columns = [Column(f"c{i}", kind, "kW") for i in range(columns)]
    labels = [("gateway", "hall"), ("device", device)]
    labels += [("module", module)] if module else []
    return Table(name, device, columns, labels, "g", interval_s)


def row(
    shape: Table, time_ns: int, values: Sequence[Scalar], marks: dict[int, Mark] | None = None
) -> Selected:
    return Selected(Row(shape, time_ns, make_parts(shape, values), marks))


def ramp(shape: Table, count: int, from_ns: int = START_NS, step_ns: int = SECOND_NS) -> list[Any]:
    """Rows of 0, 1, 2, ... in every column."""
    kind = shape.parts[0].kind
    width = len(shape.columns)
    return [
        Selected(Row(shape, from_ns + i * step_ns, (np.full(width, i, kind),)))
        for i in range(count)
    ]


def sql(folder: Path, query: str, *values: Any) -> list[tuple[Any, ...]]:
    """Ask the closed file."""
    connection = sqlite3.connect(folder / "history.db")
    try:
        return connection.execute(query, values).fetchall()
    finally:
        connection.close()
