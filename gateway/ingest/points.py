"""What was read of a message, on its way to rows: values by table, and what was refused."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from gateway.ingest.shapes import Reason, Refused
from gateway.model import ALL, Array, Mark, Quality, Row, Scalar, Table

MAX_AHEAD_NS = 86_400_000_000_000
"""A time is refused that lies further ahead of the gateway's own clock: it would stay the newest
for ever."""

FAULTS_TOLD = 20
"""Refused lines that an answer names; of more it says how many."""


class Fault(NamedTuple):
    """A line that was refused: where it is wrong (from 1), and what is."""

    line: int
    col: int
    what: str


class Faults:
    """What was refused of a message."""

    def __init__(self) -> None:
        self.count = 0
        self.by_reason: Counter[str] = Counter()
        self.told: list[Fault] = []

    def add(self, line: int, col: int, what: str, reason: Reason = "form") -> None:
        """A line was refused."""
        self.count += 1
        self.by_reason[reason] += 1
        if len(self.told) < FAULTS_TOLD:
            self.told.append(Fault(line, col, what[:500]))


class _Lines:
    """Values of one table, a line each."""

    __slots__ = ("marks", "times", "values")

    def __init__(self) -> None:
        self.times: list[int] = []
        self.values: list[Sequence[Scalar]] = []
        self.marks: dict[int, dict[int, Mark]] = {}


class Points:
    """Lines of values, gathered by table."""

    def __init__(self) -> None:
        self._by_table: dict[Table, _Lines] = {}
        self.rows = 0

    def add(
        self,
        table: Table,
        time_ns: int | None,
        values: Sequence[Scalar],
        marks: dict[int, Mark] | None = None,
    ) -> None:
        """A line: ``values`` in column order, those that are marked BAD may be None.

        ``time_ns`` None: when it is made a row.
        """
        lines = self._by_table.get(table)
        if lines is None:
            lines = self._by_table[table] = _Lines()
        if marks:
            lines.marks[len(lines.times)] = marks
        # 0 comes in no message: there nothing was measured in 1970
        lines.times.append(time_ns or 0)
        lines.values.append(values)
        self.rows += 1

    def made(self, stamp: Callable[[Table], int], mark: Mark | None = None) -> list[Row]:
        """The rows, those of one table in their order.

        ``stamp`` gives a time where none came, ``mark`` is for those rows.
        """
        out: list[Row] = []
        for table, lines in self._by_table.items():
            times = lines.times
            if 0 in times:
                times = _stamped(table, lines, stamp, mark)
            parts = [_part(table, number, lines.values) for number in range(len(table.parts))]
            out += rows_of(table, times, parts, lines.marks)
        self._by_table = {}
        self.rows = 0
        return out


def _stamped(
    table: Table, lines: _Lines, stamp: Callable[[Table], int], mark: Mark | None
) -> list[int]:
    """The times, with one for each line that came without: each later than the one before."""
    times: list[int] = []
    next_ns = stamp(table)
    for at, time_ns in enumerate(lines.times):
        if not time_ns:
            time_ns, next_ns = next_ns, next_ns + 1
            if mark is not None:
                lines.marks.setdefault(at, {}).setdefault(ALL, mark)
        times.append(time_ns)
    return times


def _part(table: Table, number: int, values: list[Sequence[Scalar]]) -> Array | list[list[str]]:
    kind, columns = table.parts[number]
    chosen: Sequence[Sequence[Scalar]] = values
    if len(table.parts) > 1:
        chosen = [[line[i] for i in columns] for line in values]
    if kind == "str":
        return [["" if v is None else str(v) for v in line] for line in chosen]
    if any(None in line for line in chosen):
        chosen = [[0 if v is None else v for v in line] for line in chosen]
    made: Array = np.array(chosen, kind)
    return made


def rows_of(
    table: Table,
    times: Sequence[int],
    parts: Sequence[Array | list[list[str]]],
    marks: dict[int, dict[int, Mark]],
) -> list[Row]:
    """Rows of one table; each part is an array [row, column], or texts a list a row.

    Values that are not finite are marked BAD. The last row has arrays of its own: whoever keeps
    the newest row must not keep all of the message.
    """
    for number, part in enumerate(table.parts):
        values = parts[number]
        if isinstance(values, np.ndarray) and part.kind[0] == "f":
            finite = np.isfinite(values)
            if not finite.all():
                _mark_not_finite(part.columns, values, finite, marks)
    made = zip(times, zip(*parts, strict=True), strict=True)
    if marks:
        out = [Row(table, t, p, marks.get(at)) for at, (t, p) in enumerate(made)]
    else:
        out = [Row(table, t, p) for t, p in made]
    if len(out) > 1:
        last = out[-1]
        last.parts = tuple(v if isinstance(v, list) else v.copy() for v in last.parts)
    return out


def _mark_not_finite(
    columns: Sequence[int], values: Array, finite: Array, marks: dict[int, dict[int, Mark]]
) -> None:
    for at, place in np.argwhere(~finite).tolist():
        reason = "nan" if np.isnan(values[at, place]) else "infinite"
        marks.setdefault(at, {}).setdefault(columns[place], Mark(Quality.BAD, reason))


def check_time(time_ns: int, now_ns: int | None = None) -> int:
    """The time. Refused where it is before 1970 or lies ahead by more than a day."""
    if time_ns <= 0:
        raise Refused(f"a time of {time_ns} ns; expected one after 1970", "time")
    ahead_ns = time_ns - (time.time_ns() if now_ns is None else now_ns)
    if ahead_ns > MAX_AHEAD_NS:
        raise Refused(
            f"a time {ahead_ns / 8.64e13:,.1f} days ahead of this gateway's clock; expected at "
            "most 1 (is the precision right?)",
            "time",
        )
    return time_ns


def parse_quality(text: str, columns: dict[str, int]) -> dict[int, Mark]:
    """The marks of a ``_quality`` as this gateway writes it: ``level=BAD:timeout,pm=...``.

    ``columns``: name -> column. ``*`` is all of them. Refused where it is none.
    """
    marks: dict[int, Mark] = {}
    for item in text.split(",") if text else ():
        name, equals, mark = item.rpartition("=")
        quality, colon, reason = mark.partition(":")
        known = ALL if name == "*" else columns.get(name)
        if not equals or not colon or quality not in ("UNCERTAIN", "BAD") or known is None:
            raise Refused(
                f"_quality: '{item[:60]}'; expected COLUMN=UNCERTAIN:REASON or COLUMN=BAD:REASON",
                "quality",
            )
        marks[known] = Mark(Quality[quality], reason_text(reason))
    return marks


def reason_text(reason: str) -> str:
    """A short reason of a mark. Refused where it is not one."""
    if not reason or len(reason) > 60 or not reason.isprintable() or set(reason) & set(',"='):
        raise Refused(f"a reason {reason[:60]!r}; expected a short word, e.g. timeout", "quality")
    return reason
