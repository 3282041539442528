"""What of a table's lines does not change from row to row: names, templates, and their order."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Set
from itertools import groupby
from typing import NamedTuple

import numpy as np

from gateway.model import OWN_TABLES, Kind, Table
from gateway.sinks.influxdb import lineprotocol as lp
from gateway.sinks.influxdb.refusals import Column

MAX_LINE = 65_536
"""Longest line in bytes; a row of more goes out as several lines of one series and time."""

_NUMBER = 27
"""Longest text of a number: 24 digits and signs of a double, its ``i``, ``=`` and comma."""


class Form(NamedTuple):
    """Columns that are written as one line."""

    cut: int
    opens_cut: bool
    """The ``_quality`` of the cut is written with it."""
    quality_apart: bool
    """That ``_quality`` is a line of its own: one of the two is known to be refused."""
    prefix: bytes
    slices: tuple[tuple[int, int, int], ...]
    """(part, first, end): the columns of a run that are of one part lie together in it."""
    template: bytes


class Prepared:
    """What does not change from row to row of one table."""

    def __init__(self, table: Table, max_columns: int, refused: Set[Column]) -> None:
        self._table = table
        self._names = names = lp.unique_keys(table.columns, taken=["_quality"])
        self.columns = table.columns
        self.fields = [
            [_field(names[c], c in table.stores_int) for c in part.columns] for part in table.parts
        ]
        ints = sorted(table.stores_int)
        as_text = lp.unique_keys((f"{table.columns[c]}_text" for c in ints), names)
        self.text_fields = {
            c: _field(text, False).replace(b"=%b", b'="%b"')
            for c, text in zip(ints, as_text, strict=True)
        }
        self.ints = [
            np.array([c in table.stores_int for c in part.columns], bool)
            if part.kind == "u8" and not table.stores_int.isdisjoint(part.columns)
            else None
            for part in table.parts
        ]
        total = len(table.columns)
        width = max_columns or total or 1
        self.cuts = [(c, min(c + width, total)) for c in range(0, total, width)]
        self.wrote_quality = [may_have_quality(table)] * len(self.cuts)
        names_of_cuts = [
            f"{table.name}_{n + 1}" if n else table.name for n in range(len(self.cuts))
        ]
        self.measured = [lp.measurement(name).encode() for name in names_of_cuts]
        """The measurement of each cut, as it is written."""
        self._heads = [lp.prefix(name, table.labels) for name in names_of_cuts]
        self.lines: list[Form] = []
        self.arrange(refused)

    def arrange(self, refused: Set[Column]) -> None:
        """Choose the lines anew: a column that is known to be refused has its own."""
        table, names = self._table, self._names
        kinds = {c: field_kind(part.kind, c in table.stores_int)
                 for part in table.parts for c in part.columns}  # fmt: skip
        self.lines = []
        for cut, (first, end) in enumerate(self.cuts):
            measured, head = self.measured[cut], self._heads[cut]
            alone = {
                c
                for c in range(first, end)
                if refused and Column(measured, names[c].encode(), kinds[c]) in refused
            }
            apart = Column(measured, b"_quality", "string") in refused
            runs = self._runs(head, [c for c in range(first, end) if c not in alone])
            for number, run in enumerate(runs + [[c] for c in sorted(alone)]):
                lonely = apart or number >= len(runs)
                self.lines.append(self._form(cut, number == 0, lonely, head, run))

    def _runs(self, head: bytes, columns: list[int]) -> list[list[int]]:
        """The columns in runs that fit into a line."""
        runs: list[list[int]] = []
        size = MAX_LINE
        for column in columns:
            width = len(self._names[column].encode()) + _NUMBER
            if not runs or size + width > MAX_LINE:
                runs.append([])
                size = len(head) + 24 + lp.MAX_QUALITY
            runs[-1].append(column)
            size += width
        return runs

    def _form(self, cut: int, opens: bool, apart: bool, head: bytes, run: list[int]) -> Form:
        chosen = set(run)
        slices = []
        for number, part in enumerate(self._table.parts):
            low = bisect_left(part.columns, run[0])
            high = bisect_right(part.columns, run[-1])
            places = [i for i in range(low, high) if part.columns[i] in chosen]
            for _, together in groupby(enumerate(places), lambda pair: pair[1] - pair[0]):
                found = [place for _, place in together]
                slices.append((number, found[0], found[-1] + 1))
        fields = b",".join(f for p, a, b in slices for f in self.fields[p][a:b])
        escaped = head.replace(b"%", b"%%")
        template = b"%b %b %%d\n" % (escaped, fields)
        return Form(cut, opens, apart, escaped, tuple(slices), template)


def field_kind(kind: Kind, store_int: bool) -> str:
    """InfluxDB's name for the type that a column is written as."""
    if store_int:
        return "integer"
    return {"b1": "boolean", "str": "string"}.get(kind, "float")


def may_have_quality(table: Table) -> bool:
    """Whether the last ``_quality`` in the database may be one that is not empty, at the start.

    Rows that the gateway writes of itself have none.
    """
    return table.name not in OWN_TABLES


def _field(escaped: str, store_int: bool) -> bytes:
    return escaped.replace("%", "%%").encode() + (b"=%bi" if store_int else b"=%b")
