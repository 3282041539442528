"""Rows cut smaller: what the database refuses apart from the rest, halves, single lines."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from functools import lru_cache
from typing import TypeAlias

import numpy as np

from gateway.model import ALL, Column, Row, Selected, Table, Values
from gateway.sinks.payload import Described
from gateway.wire import encode_batch

Tables: TypeAlias = list[list[Selected]]
"""Rows, those of one table together."""

Refuses: TypeAlias = Callable[[Table], Collection[int]]
"""Columns of a table that are refused."""


def encoded(tables: Iterable[Sequence[Selected]]) -> bytes:
    """The rows as text."""
    return b"".join(encode_batch(rows) for rows in tables if rows)


def apart(tables: Tables, refuses: Refuses, too_old_ns: int | None) -> tuple[Tables, Tables]:
    """What may be stored, and what is refused: its columns, or rows that are too old."""
    good: Tables = []
    bad: Tables = []
    for rows in tables:
        table = rows[0].row.table
        if too_old_ns is not None and min(row.time_ns for row, _ in rows) < too_old_ns:
            bad.append([s for s in rows if s.row.time_ns < too_old_ns])
            rows = [s for s in rows if s.row.time_ns >= too_old_ns]
        refused = frozenset(refuses(table))
        if not refused or not rows:
            good.append(rows)
            continue
        rest = frozenset(range(len(table.columns))) - refused
        bad.append([only(selected, refused) for selected in rows])
        if rest:
            good.append([only(selected, rest) for selected in rows])
    return [rows for rows in good if rows], [rows for rows in bad if rows]


def halves(tables: Tables) -> tuple[Tables, Tables]:
    """Two halves of the rows, or of the columns of the only row; or all, and nothing."""
    count = sum(map(len, tables))
    if count > 1:
        first: Tables = []
        second: Tables = []
        left = count // 2
        for rows in tables:
            first.append(rows[:left])
            second.append(rows[left:])
            left = max(0, left - len(rows))
        return [rows for rows in first if rows], [rows for rows in second if rows]
    selected = tables[0][0]
    columns = len(selected.row.table.columns)
    if columns < 2 or not selected.row.parts:
        return tables, []
    middle = frozenset(range(columns // 2))
    rest = frozenset(range(columns)) - middle
    return [[only(selected, middle)]], [[only(selected, rest)]]


@lru_cache(4096)
def _narrowed(table: Table, chosen: frozenset[int]) -> tuple[Table, tuple[int, ...]]:
    """A table of some columns of another: of the same name and labels it is the same to a store."""
    order = tuple(sorted(chosen))
    columns = [
        Column(table.columns[c], table.kinds[c], table.units[c], store_int=c in table.stores_int)
        for c in order
    ]
    made = Table(
        table.name,
        table.device,
        columns,
        table.labels,
        table.group,
        table.interval_s,
        steady=table.steady,
    )
    return made, order


def only(selected: Selected, chosen: frozenset[int]) -> Selected:
    """The row with some of its columns."""
    row, masks = selected
    table, order = _narrowed(row.table, chosen)
    new_place = {column: place for place, column in enumerate(order)}
    marks = {
        (ALL if column == ALL else new_place[column]): mark
        for column, mark in (row.marks or {}).items()
        if column == ALL or column in new_place
    }
    if not row.parts:
        return Selected(Row(table, row.time_ns, (), marks))
    parts: list[Values] = []
    kept = []
    for number, part in enumerate(row.table.parts):
        places = [i for i, column in enumerate(part.columns) if column in chosen]
        if not places:
            continue
        values = row.parts[number]
        is_list = isinstance(values, list)
        parts.append([values[i] for i in places] if is_list else np.asarray(values)[places])
        mask = masks[number] if masks is not None else None
        kept.append(None if mask is None else mask[places])
    none = all(mask is None for mask in kept)
    return Selected(Row(table, row.time_ns, tuple(parts), marks), None if none else tuple(kept))


def values_in(selected: Selected) -> int:
    """How many values go out with a row."""
    row, masks = selected
    if masks is None:
        return len(row.table.columns)
    parts = zip(row.table.parts, masks, strict=True)
    return sum(len(part.columns) if mask is None else int(mask.sum()) for part, mask in parts)


def described(selected: Selected) -> Described:
    """What a row is about."""
    table = selected.row.table
    column = table.columns[0] if len(table.columns) == 1 else None
    return Described(table.device, table.key, selected.row.time_ns, values_in(selected), column)
