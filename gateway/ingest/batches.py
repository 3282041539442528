"""From messages of a gRPC stream to rows: the shapes that it declared, and the rows of each."""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import Any, Final

import numpy as np

from gateway.ingest.messages import FIELDS, KINDS
from gateway.ingest.points import check_time, reason_text, rows_of
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

    def read(self, batches: Iterable[Any], refused: list[tuple[int, int, str]]) -> list[Row]:
        """The rows of batches; adds (seq, rows, why) to ``refused`` for those that are not taken.

        Rows of one shape are made together, however many batches they came in. Malformed where the
        stream cannot go on.
        """
        now_ns = time.time_ns()
        gathered: dict[Table, _Gathered] = {}
        for batch in batches:
            seq = batch.seq
            if seq <= self.seq:
                raise Malformed(f"batch {seq} after batch {self.seq}; expected a higher number")
            self.seq = seq
            for shape in batch.shapes:
                self._declare(shape)
            for some in batch.rows:
                times = list(some.time_ns)
                if times:
                    try:
                        self._gather(some, times, now_ns, gathered)
                    except Refused as error:
                        refused.append((seq, len(times), str(error)))
        rows: list[Row] = []
        for table, of in gathered.items():
            rows += of.made(table)
        return rows

    def _declare(self, shape: Any) -> None:
        if len(self._known) >= MAX_SHAPES and shape.number not in self._known:
            raise Malformed(f"more than {MAX_SHAPES} shapes")
        labels = dict(shape.labels)
        if shape.module:
            labels["module"] = shape.module
        columns = []
        try:
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

    def _gather(
        self, some: Any, times: list[int], now_ns: int, gathered: dict[Table, _Gathered]
    ) -> None:
        table = self._known.get(some.shape)
        if table is None:
            raise Refused(f"shape {some.shape} was not declared in this stream")
        if isinstance(table, Refused):
            raise table
        self._shapes.check_device(table.device)
        check_time(min(times), now_ns)
        check_time(max(times), now_ns)
        marks = _marks(some.marks, table, len(times)) if some.marks else {}
        rows = len(times)
        given = [list(getattr(some, FIELDS[part.kind])) for part in table.parts]
        for part, values in zip(table.parts, given, strict=True):
            width = len(part.columns)
            if len(values) != rows * width:
                expected = f"{rows * width}, {width} a row"
                raise Refused(f"{FIELDS[part.kind]}: {len(values)} values; expected {expected}")
        if len(some.ListFields()) > 2 + len(table.parts) + bool(some.marks):
            raise Refused(f"values of kinds that {table.name} has not declared")
        of = gathered.get(table)
        if of is None:
            of = gathered[table] = _Gathered(len(table.parts))
        for row, of_row in marks.items():
            of.marks[len(of.times) + row] = of_row
        of.times += times
        for into, values in zip(of.parts, given, strict=True):
            into += values


class _Gathered:
    """Rows of one table that came together: flat lists of values, one for each part."""

    __slots__ = ("marks", "parts", "times")

    def __init__(self, parts: int) -> None:
        self.times: list[int] = []
        self.parts: list[list[Any]] = [[] for _ in range(parts)]
        self.marks: dict[int, dict[int, Mark]] = {}

    def made(self, table: Table) -> list[Row]:
        parts: list[Array | list[list[str]]] = []
        for part, values in zip(table.parts, self.parts, strict=True):
            width = len(part.columns)
            if part.kind == "str":
                parts.append([values[at : at + width] for at in range(0, len(values), width)])
            else:
                parts.append(np.array(values, part.kind).reshape(len(self.times), width))
        return rows_of(table, self.times, parts, self.marks)


def _marks(given: Any, table: Table, rows: int) -> dict[int, dict[int, Mark]]:
    out: dict[int, dict[int, Mark]] = {}
    for mark in given:
        column = mark.column if mark.HasField("column") else ALL
        if mark.row >= rows or not ALL <= column < len(table.columns):
            raise Refused(f"a mark of row {mark.row}, column {column}, which there is not")
        if mark.quality not in (Quality.UNCERTAIN, Quality.BAD):
            raise Refused(f"a mark of quality {mark.quality}; expected UNCERTAIN or BAD")
        out.setdefault(mark.row, {})[column] = Mark(Quality(mark.quality), reason_text(mark.reason))
    return out
