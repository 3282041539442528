"""One-minute roll-ups: min, mean, max and count of every value that the historian was given.

They count rows that thinning and dead bands left out, too, so a peak between two stored rows is
in them. Held in memory while the minute lasts; what a crash leaves out is made from stored rows.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator
from typing import Any, Final, NamedTuple

import numpy as np

from gateway.model import Array, Kind, Row, Table
from gateway.sinks.historian.file import SPAN, State, write_state
from gateway.sinks.historian.rows import Source, all_bad, bad_columns, storable, usable

MINUTE_NS: Final = 60_000_000_000


class MinuteValue(NamedTuple):
    """One tag in one minute; ``low``, ``mean`` and ``high`` are None where it had no value."""

    low: Any
    mean: float | None
    high: Any
    good: int
    bad: int


class _PartStats:
    """Running figures of the columns of one kind."""

    def __init__(self, kind: Kind, width: int) -> None:
        self.kind = kind
        self.count = np.zeros(width, "i8")
        self.bad = np.zeros(width, "i8")
        self.low: Array | None = None
        if kind == "str":
            return
        dtype = np.dtype(kind)
        least: Any
        most: Any
        if dtype.kind == "f":
            least, most = -np.inf, np.inf
        elif dtype.kind == "b":
            least, most = False, True
        else:
            least, most = np.iinfo(dtype).min, np.iinfo(dtype).max
        self.low = np.full(width, most, dtype)
        self.high = np.full(width, least, dtype)
        self.mean = np.zeros(width, "f8")

    def add(self, values: Any, good: Array | None) -> None:
        if good is None:
            self.count += 1
        else:
            self.count += good
            self.bad += ~good
        if self.low is None:
            return
        where: Any = True if good is None else good
        np.minimum(self.low, values, out=self.low, where=where)
        np.maximum(self.high, values, out=self.high, where=where)
        n = np.maximum(self.count, 1)
        # a sum of values near the largest double would overflow
        step = np.divide(values, n, dtype="f8") - self.mean / n
        np.add(self.mean, step, out=self.mean, where=where)

    def result(self) -> list[MinuteValue]:
        counts, bads = self.count.tolist(), self.bad.tolist()
        if self.low is None:
            return [MinuteValue(None, None, None, *n) for n in zip(counts, bads, strict=True)]
        # float32 means have no more digits than their values; rounding must not leave the range
        within = np.clip(self.mean, self.low.astype("f8"), self.high.astype("f8"))
        means = storable(within.astype("f4") if self.kind == "f4" else within)
        figures = zip(storable(self.low), means, storable(self.high), counts, bads, strict=True)
        return [
            MinuteValue(low, mean, high, n, bad) if n else MinuteValue(None, None, None, 0, bad)
            for low, mean, high, n, bad in figures
        ]


class Minute:
    """A minute of one source that is still open, or closed and not yet on disk."""

    def __init__(self, table: Table, source: Source, minute: int) -> None:
        self.source = source
        self.minute = minute
        self.first_row: int | None = None
        self.last_row: int | None = None
        self._parts = [_PartStats(part.kind, len(part.columns)) for part in table.parts]

    def add(self, row: Row, row_id: int | None) -> None:
        """Count a row; ``row_id`` None where it was not stored itself."""
        self.stored(row_id)
        if all_bad(row):
            for part in self._parts:
                part.bad += 1
            return
        bad = bad_columns(row)
        for i, part in enumerate(self._parts):
            part.add(row.parts[i], usable(row, i, bad))

    def stored(self, row_id: int | None) -> None:
        """A row of this minute has this number."""
        if row_id is not None:
            self.first_row = row_id if self.first_row is None else min(self.first_row, row_id)
            self.last_row = row_id if self.last_row is None else max(self.last_row, row_id)

    def values(self) -> Iterator[tuple[int, MinuteValue]]:
        """(position, figures) of every tag that was in a row."""
        for positions, part in zip(self.source.positions, self._parts, strict=True):
            for position, value in zip(positions, part.result(), strict=True):
                if value.good or value.bad:
                    yield position, value


def write_minutes(connection: sqlite3.Connection, minutes: Iterable[Minute]) -> int:
    """Write closed minutes, within a transaction; how many figures they were."""
    written = 0
    for minute in minutes:
        (key,) = connection.execute(
            "INSERT INTO minute_time (source, minute, first_row, last_row) VALUES (?, ?, ?, ?)"
            " RETURNING id",
            (minute.source.id, minute.minute, minute.first_row, minute.last_row),
        ).fetchone()
        cursor = connection.executemany(
            "INSERT INTO minute_sample (id, min, mean, max, count, bad) VALUES (?, ?, ?, ?, ?, ?)",
            sorted((key * SPAN + position, *value) for position, value in minute.values()),
        )
        written += cursor.rowcount
        connection.execute(
            "UPDATE source SET rolled_to = max(rolled_to, ?) WHERE id = ?",
            (minute.last_row or 0, minute.source.id),
        )
    return written


# a text of digits is an integer above 2^63-1: as 20 digits it sorts after every number and right
_NUMBER = (
    "CASE WHEN s.kind = 'str' THEN NULL WHEN typeof(v.value) = 'text'"
    " THEN substr('00000000000000000000' || v.value, -20) ELSE v.value END"
)
_LOW, _HIGH = (
    f"CASE typeof({f}({_NUMBER})) WHEN 'text' THEN ltrim({f}({_NUMBER}), '0')"
    f" ELSE {f}({_NUMBER}) END"
    for f in ("min", "max")
)
_RECOVER_TIMES = f"""
INSERT INTO minute_time (source, minute, first_row, last_row)
SELECT r.source, r.time_ns / {MINUTE_NS}, min(r.id), max(r.id)
FROM row_time r JOIN source o ON o.id = r.source
WHERE r.id >= ? AND r.id > o.rolled_to GROUP BY 1, 2
"""
_RECOVER_SAMPLES = f"""
INSERT INTO minute_sample (id, min, mean, max, count, bad)
SELECT m.id * {SPAN} + s.position, {_LOW}, avg({_NUMBER}), {_HIGH},
       count(v.value), count(*) - count(v.value)
FROM minute_time m
CROSS JOIN row_time r ON r.id BETWEEN m.first_row AND m.last_row
    AND r.source = m.source AND r.time_ns / {MINUTE_NS} = m.minute
CROSS JOIN series s ON s.source = m.source
CROSS JOIN sample v ON v.id = r.id * {SPAN} + s.position
WHERE m.id > ? GROUP BY m.id, s.position
"""


def recover_minutes(connection: sqlite3.Connection, state: State) -> State:
    """After an unclean stop: make the missing minutes of what is stored; the new state."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        (newest,) = connection.execute("SELECT coalesce(max(id), 0) FROM minute_time").fetchone()
        connection.execute(_RECOVER_TIMES, (state.rolled_from,))
        made = connection.execute(_RECOVER_SAMPLES, (newest,)).rowcount
        connection.execute(
            "UPDATE source SET rolled_to = max(rolled_to, (SELECT coalesce(max(last_row), 0)"
            " FROM minute_time m WHERE m.source = source.id AND m.id > ?))",
            (newest,),
        )
        state = state._replace(
            rolled_from=state.next_row, minute_samples=state.minute_samples + made
        )
        write_state(connection, state)
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise
    return state
