"""Whole rows back out of a historian's file, in the order of their time: to try rules on them."""

from __future__ import annotations

import heapq
import sqlite3
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

from gateway.errors import GatewayError
from gateway.model import Mark, Quality, Row, Scalar, Table, bad, make_parts
from gateway.sinks.historian.file import SPAN

_NOT_YET = bad("no_data")


def play_back(path: Path, tables: Iterable[Table], from_ns: int, to_ns: int) -> Iterator[Row]:
    """The rows of these tables of that time. No gateway may be writing to the file.

    A value that was not stored, because it did not change, is the last one that was. GatewayError
    where the file cannot be read.
    """
    if not path.exists():
        raise GatewayError(f"{path}: there is no history yet")
    try:
        connection = sqlite3.connect(f"file:{quote(str(path))}?mode=ro", uri=True, timeout=2.0)
    except sqlite3.Error as error:
        raise GatewayError(f"{path} cannot be read: {error}") from error
    try:
        each = [_rows(connection, table, from_ns, to_ns) for table in tables]
        yield from heapq.merge(*each, key=lambda row: row.time_ns)
    except sqlite3.Error as error:
        raise GatewayError(f"{path} cannot be read: {error}") from error
    finally:
        connection.close()


def _rows(connection: sqlite3.Connection, table: Table, from_ns: int, to_ns: int) -> Iterator[Row]:
    sources = connection.execute(
        "SELECT id FROM source WHERE device = ? AND table_name = ? AND module IS ? ORDER BY id",
        (table.device, table.name, table.part),
    ).fetchall()
    for (source,) in sources:  # other labels make another one, and they follow each other in time
        yield from _of_source(connection, source, table, from_ns, to_ns)


def _of_source(
    connection: sqlite3.Connection, source: int, table: Table, from_ns: int, to_ns: int
) -> Iterator[Row]:
    index = {name: at for at, name in enumerate(table.columns)}
    columns = {
        position: index[tag]
        for position, tag in connection.execute(
            "SELECT position, tag FROM series WHERE source = ?", (source,)
        )
        if tag in index
    }
    values: list[Scalar] = [None] * len(table.columns)
    marks: dict[int, Mark] = dict.fromkeys(range(len(values)), _NOT_YET)
    cursor = connection.execute(
        "SELECT r.id, r.time_ns, v.id - r.id * ?1, v.value, v.quality FROM row_time r"
        " CROSS JOIN sample v ON v.id BETWEEN r.id * ?1 AND r.id * ?1 + ?1 - 1"
        " WHERE r.source = ?2 AND r.time_ns BETWEEN ?3 AND ?4 ORDER BY r.id, v.id",
        (SPAN, source, from_ns, to_ns),
    )
    at: int | None = None
    time_ns = 0
    for row, its_ns, position, value, quality in cursor:
        if at is not None and row != at:
            yield Row(table, time_ns, make_parts(table, values), dict(marks))
        at, time_ns = row, its_ns
        if (column := columns.get(position)) is not None:
            _set(table, values, marks, column, value, quality)
    if at is not None:
        yield Row(table, time_ns, make_parts(table, values), dict(marks))


def _set(
    table: Table,
    values: list[Scalar],
    marks: dict[int, Mark],
    column: int,
    value: Any,
    quality: str | None,
) -> None:
    name, _, reason = (quality or "GOOD").partition(":")
    marks.pop(column, None)
    if value is None or name == "BAD":
        marks[column] = bad(reason or "no_data")
        values[column] = None
        return
    if name == "UNCERTAIN":
        marks[column] = Mark(Quality.UNCERTAIN, reason)
    is_number = table.kinds[column] != "str"
    values[column] = float(value) if isinstance(value, str) and is_number else value
