"""Declared tags of other programs: each has a table of its own, filled from whatever is sent.

A sender may send the columns of a table together or one by one, and each combination is a table.
So that a rule can name one tag and know its age, each declared tag is a table with one column; a
row that comes makes a row of it for each declared tag that it has.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Iterable, Iterator
from typing import NamedTuple

import numpy as np

from gateway.analysis.livetags import age_limit_s
from gateway.analysis.plan import StreamPlan
from gateway.latest import Latest
from gateway.model import VIA, Column, Kind, Mark, Row, Table, Values, bad

KINDS: dict[str, Kind] = {"number": "f8", "bool": "b1", "text": "str"}
"""Declared type -> how its values are kept."""

_TYPES = {kind: name for name, kind in KINDS.items()}
_WRONG_TYPE = bad("type")
_WRONG_UNIT = bad("unit")


def is_ingested(table: Table) -> bool:
    """Whether other programs fill it."""
    return VIA in table.labels


def tag_table(
    gateway: str, device: str, key: str, name: str, kind: Kind, unit: str | None, interval_s: float
) -> Table:
    """The table of one declared tag; ``key``: ``process``, with a module ``process.zone_1``."""
    table, _, module = key.partition(".")
    labels = [("gateway", gateway), ("device", device)]
    labels += [("module", module)] if module else []
    columns = [Column(name, kind, unit)]
    return Table(table, device, columns, [*labels, VIA], "ingest", interval_s, steady=False)


class _Picked(NamedTuple):
    """Where a sender's table has the value of a declared tag."""

    table: Table
    """Of the tag."""
    column: int
    part: int
    at: int
    fault: Mark | None
    """Why its values are not those that were declared."""
    found: str
    """And what they are."""

    def row(self, row: Row) -> Row:
        """The tag's own row."""
        mark = self.fault or row.mark(self.column)
        if self.fault is not None or not row.parts:
            return Row(self.table, row.time_ns, (), {0: mark} if mark else None)
        value = row.parts[self.part][self.at]
        values: Values = [value] if isinstance(value, str) else np.array([value], self.kind)
        return Row(self.table, row.time_ns, (values,), {0: mark} if mark else None)

    @property
    def kind(self) -> Kind:
        """How the tag's values are kept."""
        return self.table.kinds[0]


class Ingested:
    """Finds declared tags in the rows of senders. Rows go in from one thread."""

    def __init__(self, tables: Collection[Table] = ()) -> None:
        """``tables``: those of declared tags, see `tag_table`; others are not looked at."""
        self._of_key: dict[tuple[str, str], list[Table]] = {}
        for table in filter(is_ingested, tables):
            self._of_key.setdefault((table.device, table.key), []).append(table)
        self._picked: dict[Table, tuple[_Picked, ...]] = {}
        self._last_ns: dict[Table, int] = {}
        self._far: dict[Table, float] = {}
        """Tag -> how far its newest row was behind the clock, in seconds, where it was too far."""

    def wants(self, table: Table) -> bool:
        """Whether rows of this table have a declared tag. From any thread."""
        return bool(self._of_key) and bool(self._of(table))

    def rows(self, row: Row, now_ns: int) -> Iterator[tuple[Row, float]]:
        """The rows of declared tags that it makes, each with its age in seconds.

        None of a tag that has a newer one, and none whose time is too far from the clock, behind
        or ahead: what waited at its sender is no news.
        """
        old_s = abs(now_ns - row.time_ns) / 1e9
        for picked in self._of(row.table):
            table = picked.table
            if row.time_ns <= self._last_ns.get(table, 0):
                continue
            if old_s > age_limit_s(table.interval_s):
                self._far[table] = (now_ns - row.time_ns) / 1e9
                continue
            self._far.pop(table, None)
            self._last_ns[table] = row.time_ns
            yield picked.row(row), old_s

    def problems(self) -> Iterator[str]:
        """Tags whose rows come and cannot be judged, in words. From any thread."""
        for table, behind_s in list(self._far.items()):
            side = "behind" if behind_s > 0 else "ahead of"
            yield (
                f"rows of '{_name(table)}' come, but their time is {abs(behind_s):,.0f} s {side} "
                "this gateway's clock: they are not judged"
            )
        for found in list(self._picked.values()):
            for picked in found:
                if picked.fault is not None:
                    yield f"'{_name(picked.table)}' does not come as declared: {picked.found}"

    def _of(self, table: Table) -> tuple[_Picked, ...]:
        found = self._picked.get(table)
        if found is None:  # as many as there are tables, which are bounded
            found = self._picked[table] = tuple(self._find(table))
        return found

    def _find(self, table: Table) -> Iterator[_Picked]:
        if not is_ingested(table):
            return
        for declared in self._of_key.get((table.device, table.key), ()):
            if declared is table or declared.columns[0] not in table.columns:
                continue
            column = table.columns.index(declared.columns[0])
            kind, unit = table.kinds[column], table.units[column]
            fault = _fault(declared, kind, unit)
            found = f"unit {unit}" if fault is _WRONG_UNIT else _TYPES.get(kind, "number")
            yield _Picked(declared, column, *table.position(column), fault, found)


class LatestIngested:
    """Receiver of the hub: keeps the newest value of each declared tag where live tags look."""

    def __init__(self, latest: Latest) -> None:
        self._latest = latest
        self._ingested = Ingested()

    def follow(self, plans: Iterable[StreamPlan]) -> None:
        """Look for the declared tags that these streams need from now on."""
        self.update({tag.table for plan in plans for tag in plan.live_tags()})

    def update(self, tables: Collection[Table]) -> None:
        """Look for these declared tags from now on."""
        self._latest.keep_aside(tables)
        self._ingested = Ingested(tables)

    def put(self, row: Row) -> None:
        """Take a row, as one of the hub's receivers; ingest hands over one at a time."""
        ingested = self._ingested
        if ingested.wants(row.table):
            for own, _ in ingested.rows(row, time.time_ns()):
                self._latest.put_aside(own)


def _name(table: Table) -> str:
    return f"{table.device}.{table.key}.{table.columns[0]}"


def _fault(declared: Table, kind: Kind, unit: str | None) -> Mark | None:
    expected, wanted = declared.kinds[0], declared.units[0]
    if (expected == "str") is not (kind == "str") or (expected == "b1" and kind[0] == "f"):
        return _WRONG_TYPE
    if unit is not None and wanted is not None and unit != wanted:
        return _WRONG_UNIT
    return None
