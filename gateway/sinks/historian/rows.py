"""Rows as the historian stores them: which sources and series they are, and their samples."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from functools import cache
from typing import Any, Final, NamedTuple, TypeAlias

import numpy as np
import orjson

from gateway.errors import GatewayError
from gateway.model import ALL, Array, Quality, Row, Table, Values, plain
from gateway.sinks import Selected
from gateway.sinks.historian.file import SPAN

LARGEST_INTEGER: Final = 2**63 - 1
"""SQLite's; above it an integer is stored as its decimal digits, as text."""

VALUES_PER_INSERT: Final = 50
"""Rows of one INSERT: three times faster than one by one, and more do not help."""

TEXT_BYTES_PER_VALUE: Final = 16
"""So many bytes of text count as one more value when room is made."""

Sample: TypeAlias = tuple[int, Any, str | None]


class Source(NamedTuple):
    """Where a table's values go: its number and the positions of each part's series."""

    id: int
    positions: tuple[Sequence[int], ...]
    """A range where they follow each other, which is the quick way."""


class Run(NamedTuple):
    """Values that are all GOOD, of positions that follow each other."""

    first_id: int
    values: list[Any]


class Samples(NamedTuple):
    """A row's samples, in order; how many they are; and their weight (texts count for more)."""

    pieces: list[Run | list[Sample]]
    values: int
    weight: int


def register(connection: sqlite3.Connection, table: Table) -> Source:
    """The table's source and series, made where they are new. Within a transaction."""
    labels = orjson.dumps(dict(table.labels)).decode()
    key = (table.device, table.name, labels)
    found = connection.execute(
        "SELECT id FROM source WHERE device = ? AND table_name = ? AND labels = ?", key
    ).fetchone()
    if found is None:
        gateway = dict(table.labels).get("gateway")
        found = connection.execute(
            "INSERT INTO source (device, table_name, labels, gateway, module)"
            " VALUES (?, ?, ?, ?, ?) RETURNING id",
            (*key, gateway, table.part),
        ).fetchone()
    (source,) = found
    known: dict[tuple[str, str | None, str], int] = {
        (tag, unit, kind): position
        for position, tag, unit, kind in connection.execute(
            "SELECT position, tag, unit, kind FROM series WHERE source = ?", (source,)
        )
    }
    following = max(known.values(), default=-1) + 1
    positions: list[Sequence[int]] = []
    for part in table.parts:
        found_here: list[int] = []
        for column in part.columns:
            named = (table.columns[column], table.units[column], part.kind)
            if named not in known:
                if following >= SPAN:
                    raise GatewayError(f"{table!r} has had more than {SPAN} different tags")
                connection.execute(
                    "INSERT INTO series (source, position, tag, unit, kind) VALUES (?, ?, ?, ?, ?)",
                    (source, following, *named),
                )
                known[named] = following
                following += 1
            found_here.append(known[named])
        first = found_here[0]
        run = range(first, first + len(found_here))
        positions.append(run if list(run) == found_here else found_here)
    return Source(source, tuple(positions))


def last_times(connection: sqlite3.Connection) -> dict[tuple[str, str], int]:
    """The time of the last row of each (device, table key), once all rows are in minutes."""
    found = connection.execute(
        "SELECT o.device, o.table_name, o.module, r.time_ns FROM source o"
        " JOIN row_time r ON r.id = o.rolled_to ORDER BY o.rolled_to"
    )
    return {(d, f"{t}.{m}" if m else t): time_ns for d, t, m, time_ns in found}


def all_bad(row: Row) -> bool:
    """Whether no value of the row may be used."""
    whole = row.marks.get(ALL) if row.marks else None
    return row.all_bad or (whole is not None and whole.quality is Quality.BAD)


def bad_columns(row: Row) -> list[int]:
    """The columns with a BAD mark of their own."""
    return [c for c, m in (row.marks or {}).items() if c != ALL and m.quality is Quality.BAD]


def usable(row: Row, part: int, bad: Sequence[int]) -> Array | None:
    """Which values of a part are there and finite, ``bad`` columns left out; None where all."""
    values = row.parts[part]
    mask: Array | None = None
    if not isinstance(values, list) and values.dtype.kind == "f":
        finite = np.isfinite(values)
        if not finite.all():
            mask = finite
    for column in bad:
        its_part, place = row.table.position(column)
        if its_part == part:
            mask = np.ones(len(values), "b1") if mask is None else mask
            mask[place] = False
    return mask


def storable(values: Values) -> list[Any]:
    """The values as what SQLite stores: numbers, text, and text for what is above 2^63-1."""
    if isinstance(values, list):
        # half a surrogate pair cannot be stored
        return [v if v.isascii() else v.encode("utf-8", "replace").decode() for v in values]
    listed = plain(values)
    if values.dtype.kind == "u" and (values > LARGEST_INTEGER).any():
        return [v if v <= LARGEST_INTEGER else str(v) for v in listed]
    return listed


def samples(selected: Selected, source: Source, row_id: int) -> Samples:
    """The samples of a row: (id, value, quality)."""
    row, masks = selected
    base = row_id * SPAN
    count = weight = 0
    pieces: list[Run | list[Sample]] = []
    nothing = all_bad(row)
    bad = [] if nothing else bad_columns(row)
    for part, positions in enumerate(source.positions):
        mask = None if masks is None or nothing else masks[part]
        if mask is not None and not mask.any():
            continue
        good = None if nothing else usable(row, part, bad)
        values: list[Any] = [None] * len(positions) if nothing else storable(row.parts[part])
        plainly = row.marks is None and good is None and mask is None
        if plainly and isinstance(positions, range):
            pieces.append(Run(base + positions.start, values))
            count += len(values)
        else:
            listed = list(_marked(row, part, values, good, mask, base, positions))
            pieces.append(listed)
            count += len(listed)
        if row.table.parts[part].kind == "str" and not nothing:
            weight += sum(map(len, values)) // TEXT_BYTES_PER_VALUE
    return Samples(pieces, count, count + weight)


def insert_samples(connection: sqlite3.Connection, made: Samples) -> None:
    """Write a row's samples, within a transaction."""
    for piece in made.pieces:
        if not isinstance(piece, Run):
            connection.executemany(
                "INSERT INTO sample (id, value, quality) VALUES (?, ?, ?)", piece
            )
            continue
        first, values = piece
        whole = len(values) // VALUES_PER_INSERT * VALUES_PER_INSERT
        connection.executemany(
            _insert(VALUES_PER_INSERT),
            (
                [first + at, *values[at : at + VALUES_PER_INSERT]]
                for at in range(0, whole, VALUES_PER_INSERT)
            ),
        )
        if whole < len(values):
            rest = values[whole:]
            connection.execute(_insert(len(rest)), [first + whole, *rest])


@cache
def _insert(count: int) -> str:
    places = ", ".join(f"(?1 + {i}, ?{i + 2})" for i in range(count))
    return f"INSERT INTO sample (id, value) VALUES {places}"


def _marked(
    row: Row,
    part: int,
    values: list[Any],
    good: Array | None,
    mask: Array | None,
    base: int,
    positions: Sequence[int],
) -> Iterator[Sample]:
    columns = row.table.parts[part].columns
    for place, (column, value) in enumerate(zip(columns, values, strict=True)):
        if mask is not None and not mask[place]:
            continue
        mark = row.mark(column)
        quality = None if mark is None or mark.quality is Quality.GOOD else str(mark)
        if good is not None and not good[place]:
            value = None
            if mark is None or mark.quality is not Quality.BAD:
                quality = "BAD:nan" if np.isnan(row.parts[part][place]) else "BAD:infinite"
        yield base + positions[place], value, quality
