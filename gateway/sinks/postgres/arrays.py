"""From rows to arrays for ``sample``: one line a value, in the column of its kind."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TypeAlias

import numpy as np

from gateway.model import Array, Kind, Mark, Quality, Selected, Table, Values, plain
from gateway.sinks.postgres.copybytes import GOOD, Lines
from gateway.wire import Columns

Groups: TypeAlias = dict[str | None, list[Lines]]
"""Column of ``sample`` -> what goes there; None: nothing but a quality."""

QualityId: TypeAlias = Callable[[Mark], int]

MAX_INT = 2**63 - 1

COLUMNS: dict[Kind, str] = {
    "f4": "f8",
    "f8": "f8",
    "i8": "i8",
    "u8": "i8",
    "b1": "b1",
    "str": "str",
}
"""Where values of a kind stand in ``sample``."""

KIND_NAMES: dict[Kind, str] = {
    "f4": "float",
    "f8": "float",
    "i8": "integer",
    "u8": "integer",
    "b1": "bool",
    "str": "text",
}
"""What the kind of a series is called."""


def clean(text: str) -> str:
    """The text as PostgreSQL takes it: without the character NUL."""
    return text.replace("\0", "\ufffd") if "\0" in text else text


def add_columns(groups: Groups, given: Columns, series: Array, quality_id: QualityId) -> None:
    """Add the rows of one table. ``series``: the number of each column's series, int32."""
    if not given.is_plain:
        add_rows(groups, given.table, given.rows(), series, quality_id)
        return
    times = np.array(given.times, "i8")
    for part, values in zip(given.table.parts, given.parts, strict=True):
        ids = np.tile(series[list(part.columns)], len(times))
        flat = np.repeat(times, len(part.columns))
        good = np.full(len(flat), GOOD, "i4")
        if isinstance(values, np.ndarray):
            _add_values(groups, part.kind, flat, ids, good, values.ravel())
        else:
            texts = [clean(text) for row in values for text in row]
            _add_values(groups, part.kind, flat, ids, good, texts)


def add_rows(
    groups: Groups, table: Table, rows: Sequence[Selected], series: Array, quality_id: QualityId
) -> None:
    """The same, of rows of which not all is there, or GOOD."""
    whole = [selected for selected in rows if selected.row.parts]
    empty = [selected for selected in rows if not selected.row.parts]
    if whole:
        _add_whole(groups, table, whole, series, quality_id)
    columns = range(len(table.columns))
    for row, _ in empty:
        marks = [row.mark(c) for c in columns]
        known = [(c, m) for c, m in enumerate(marks) if m is not None]
        if known:
            ids = np.array([quality_id(m) for _, m in known], "i4")
            chosen = series[[c for c, _ in known]]
            times = np.full(len(known), row.time_ns, "i8")
            groups.setdefault(None, []).append(Lines(times, chosen, ids, None))


def _add_whole(
    groups: Groups, table: Table, rows: Sequence[Selected], series: Array, quality_id: QualityId
) -> None:
    times = np.array([row.time_ns for row, _ in rows], "i8")
    marked = [(at, s.row.marks) for at, s in enumerate(rows) if s.row.marks]
    qualities: Array | None = None
    bad: Array | None = None
    if marked:
        qualities = np.full((len(rows), len(table.columns)), GOOD, "i4")
        bad = np.zeros(qualities.shape, bool)
        for at, marks in marked:
            for column, mark in sorted(marks.items()):  # ALL is -1: first
                where = slice(None) if column < 0 else slice(column, column + 1)
                own = rows[at].row.mark(column) if column >= 0 else mark
                if own is not None and own.quality is not Quality.GOOD:
                    qualities[at, where] = quality_id(own)
                    bad[at, where] = own.quality is Quality.BAD
    masked = any(s.masks is not None for s in rows)
    for number, part in enumerate(table.parts):
        columns = np.asarray(part.columns, "i8")
        width = len(columns)
        keep = _kept(rows, number, width) if masked else np.ones((len(rows), width), bool)
        values = [s.row.parts[number] for s in rows]
        its = None if qualities is None else qualities[:, columns]
        if bad is not None and its is not None:
            none = bad[:, columns] & keep
            keep = keep & ~none
            if none.any():
                line, place = np.nonzero(none)
                gone = Lines(times[line], series[columns[place]], its[none], None)
                groups.setdefault(None, []).append(gone)
        if keep.any():
            line, place = np.nonzero(keep)
            marks_of = np.full(len(line), GOOD, "i4") if its is None else its[keep]
            ids = series[columns[place]]
            _add_values(groups, part.kind, times[line], ids, marks_of, _picked(values, keep))


def _kept(rows: Sequence[Selected], number: int, width: int) -> Array:
    whole = np.ones(width, bool)
    masks = [whole if m is None or m[number] is None else m[number] for _, m in rows]
    made: Array = np.array(masks, bool).reshape(len(rows), width)
    return made


def _picked(values: Sequence[Values], keep: Array) -> Values:
    if isinstance(values[0], list):
        flat = [text for row in values for text in row]
        return [clean(flat[i]) for i in np.flatnonzero(keep.ravel()).tolist()]
    made: Array = np.concatenate(values).reshape(keep.shape)[keep]
    return made


def _add_values(
    groups: Groups, kind: Kind, times: Array, ids: Array, marks: Array, values: Values
) -> None:
    if isinstance(values, np.ndarray):
        if kind == "f4":  # with the digits that a person expects: 408.35, not 408.3500061035156
            values = np.array(plain(values.astype("f4")), "f8")
        elif kind == "u8" and (large := values > MAX_INT).any():
            huge = Lines(times[large], ids[large], marks[large], values[large])
            groups.setdefault("u8", []).append(huge)
            small = ~large
            times, ids, marks, values = times[small], ids[small], marks[small], values[small]
        if kind == "u8":  # beside int64 of another part numpy would make floats of both
            values = np.asarray(values).astype("i8")
    if len(times):
        groups.setdefault(COLUMNS[kind], []).append(Lines(times, ids, marks, values))


def all_times(groups: Iterable[Sequence[Lines]]) -> Array:
    """The times of all values, ns."""
    found = [group.times for several in groups for group in several]
    return np.concatenate(found) if found else np.empty(0, "i8")
