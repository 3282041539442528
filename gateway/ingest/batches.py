"""From messages of a gRPC stream to rows: the shapes that it declared, and the rows of each."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable
from typing import Any, Final

import numpy as np

from gateway.ingest.messages import FIELDS, KINDS
from gateway.ingest.points import MAX_AHEAD_NS, check_time, reason_text, rows_of
from gateway.ingest.shapes import Refused, Shape, Shapes
from gateway.model import ALL, Array, Column, Mark, Quality, Row, Table

MAX_SHAPES: Final = 10_000


class Malformed(Exception):
    """The stream does not keep to the protocol; says how."""


class BatchReader:
    """Reads the batches of one stream."""

    def __init__(self, shapes: Shapes) -> None:
        self._shapes = shapes
        self._known: dict[int, Table | Refused] = {}
        self.seq = 0
        """Of the last batch."""
        self.refused_by: Counter[str] = Counter()
        """Rows by reason, since this was taken."""

    def read(self, batches: Iterable[Any], refused: list[tuple[int, int, str]]) -> list[Row]:
        """The rows of batches; adds (seq, rows, why) to ``refused`` for those that are not taken.

        Rows of one shape are made together, however many batches they came in. Malformed where the
        stream cannot go on.
        """
        latest_ns = time.time_ns() + MAX_AHEAD_NS
        gathered: dict[Table, _Gathered] = {}
        by_number: dict[int, _Gathered] = {}
        for batch in batches:
            seq = batch.seq
            if seq <= self.seq:
                raise Malformed(f"batch {seq} after batch {self.seq}; expected a higher number")
            self.seq = seq
            if shapes := batch.shapes:
                by_number.clear()  # a number may stand for another shape from here on
                for shape in shapes:
                    self._declare(shape)
            for some in batch.rows:
                times = list(some.time_ns)
                if times:
                    try:
                        number = some.shape
                        of = by_number.get(number)
                        if of is None:
                            of = by_number[number] = self._opened(number, gathered)
                        of.add(some, times, latest_ns)
                    except Refused as error:
                        refused.append((seq, len(times), str(error)))
                        self.refused_by[error.reason] += len(times)
        return [row for of in gathered.values() for row in of.made()]

    def _declare(self, shape: Any) -> None:
        if len(self._known) >= MAX_SHAPES and shape.number not in self._known:
            raise Malformed(f"more than {MAX_SHAPES} shapes")
        labels = dict(shape.labels)
        if shape.module:
            labels["module"] = shape.module
        columns = []
        try:
            if not shape.number:
                raise Refused("a shape 0; expected numbers from 1")
            for column in shape.columns:
                kind = KINDS[column.kind] if 0 < column.kind < len(KINDS) else None
                if kind is None:
                    raise Refused(f"column '{column.name}': no such kind: {column.kind}")
                unit = column.unit or None
                columns.append(Column(column.name, kind, unit, store_int=column.store_int))
            items = tuple(sorted(labels.items()))
            made = Shape(shape.device, shape.table, items, tuple(columns))
            self._known[shape.number] = self._shapes.table(made)
        except Refused as error:
            self._known[shape.number] = error

    def _opened(self, number: int, gathered: dict[Table, _Gathered]) -> _Gathered:
        """Where rows of a shape go. Refused where none of it are taken."""
        table = self._known.get(number)
        if table is None:
            raise Refused(f"shape {number} was not declared in this stream")
        if isinstance(table, Refused):
            raise table
        self._shapes.check_device(table.device)
        of = gathered.get(table)
        if of is None:
            of = gathered[table] = _Gathered(table)
        return of


class _Gathered:
    """Rows of one table that came together: flat lists of values, one for each part."""

    __slots__ = ("_fields", "_marks", "_table", "_times")

    def __init__(self, table: Table) -> None:
        self._table = table
        self._times: list[int] = []
        self._fields: list[tuple[str, int, list[Any]]] = [
            (FIELDS[part.kind], len(part.columns), []) for part in table.parts
        ]
        """Name in the message, columns, values."""
        self._marks: dict[int, dict[int, Mark]] = {}

    def add(self, some: Any, times: list[int], latest_ns: int) -> None:
        """Add the rows of a message, all or (Refused) none of them."""
        if min(times) <= 0 or max(times) > latest_ns:
            for time_ns in times:
                check_time(time_ns)
        rows = len(times)
        given = []
        for name, width, _ in self._fields:
            values = getattr(some, name)
            if len(values) != rows * width:
                expected = f"{rows * width}, {width} a row"
                raise Refused(f"{name}: {len(values)} values; expected {expected}")
            given.append(values)
        # set are: the shape, the times, each declared kind; what else there is are marks, or wrong
        if len(some.ListFields()) > 2 + len(given):
            self._add_marks(some)
        for (_, _, into), values in zip(self._fields, given, strict=True):
            into += values
        self._times += times

    def _add_marks(self, some: Any) -> None:
        marks = _marks(some.marks, self._table, len(some.time_ns))
        if len(some.ListFields()) > 2 + len(self._fields) + bool(marks):
            raise Refused(f"values of kinds that {self._table.name} has not declared")
        for row, of_row in marks.items():
            self._marks[len(self._times) + row] = of_row

    def made(self) -> list[Row]:
        """The rows."""
        parts: list[Array | list[list[str]]] = []
        for part, (_, width, values) in zip(self._table.parts, self._fields, strict=True):
            if part.kind == "str":
                parts.append([values[at : at + width] for at in range(0, len(values), width)])
            else:
                parts.append(np.array(values, part.kind).reshape(len(self._times), width))
        return rows_of(self._table, self._times, parts, self._marks)


def _marks(given: Any, table: Table, rows: int) -> dict[int, dict[int, Mark]]:
    out: dict[int, dict[int, Mark]] = {}
    for mark in given:
        column = mark.column if mark.HasField("column") else ALL
        if mark.row >= rows or not ALL <= column < len(table.columns):
            raise Refused(
                f"a mark of row {mark.row}, column {column}, which there is not", "quality"
            )
        if mark.quality not in (Quality.UNCERTAIN, Quality.BAD):
            raise Refused(f"a mark of quality {mark.quality}; expected UNCERTAIN or BAD", "quality")
        out.setdefault(mark.row, {})[column] = Mark(Quality(mark.quality), reason_text(mark.reason))
    return out
