"""Rolling aggregates of polled tags: mean, spread, extremes and trend over a sliding window."""

from __future__ import annotations

import difflib
import logging
import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from gateway.analysis.rolling import FUNCTIONS, LEAST, aggregate
from gateway.errors import GatewayError
from gateway.model import (
    ALL,
    OWN_PREFIX,
    RESERVED,
    Array,
    Column,
    Mark,
    Quality,
    Row,
    Table,
    bad,
    bad_row,
    plain,
)

log = logging.getLogger("gateway.aggregates")

MAX_VALUES = 200_000
"""Most values of one window, tags x samples: 3.6 MB, and some 5 ms for all functions."""

_MARGIN = 2
"""Samples more than the window should have, for polls that are early."""


@dataclass(slots=True, frozen=True)
class AggregatePlan:
    """Which tags of one table are aggregated into which table. Can be pickled, with the tables."""

    source: Table
    columns: tuple[int, ...]
    """Columns of the source."""
    target: Table
    """Its columns: for each column of the source, each of the functions."""
    functions: tuple[str, ...]
    window_s: float
    every_s: float

    @property
    def samples(self) -> int:
        """Samples of each tag in a whole window."""
        return max(1, round(self.window_s / self.source.interval_s))


def plan_aggregate(
    tables: Iterable[Table],
    tags: Sequence[str],
    name: str,
    functions: Sequence[str],
    window_s: float,
    every_s: float,
) -> list[AggregatePlan]:
    """Plan the aggregates of a group's tags, one plan for each of its tables that has some.

    ``tags`` are names of the group's own tags, or ``module.tag`` of a module that is placed in it.
    The table to be is called TABLE_NAME and has the columns TAG_FUNCTION. GatewayError tells all
    that is wrong, one fault a line.
    """
    tables = list(tables)
    faults = [
        f"unknown function '{f}'; {_hint(f, FUNCTIONS)}" for f in functions if f not in FUNCTIONS
    ]
    if not tags or not functions:
        faults.append("there is nothing to aggregate; expected at least one tag and one function")
    for key, value in (("window_s", window_s), ("every_s", every_s)):
        if not 0 < value < math.inf:
            faults.append(f"{key}: {value:g} is out of range; expected more than 0")
    by_name: dict[str, list[tuple[Table, int]]] = defaultdict(list)
    for table in tables:
        for i, column in enumerate(table.columns):
            by_name[f"{table.module}.{column}" if table.module else column].append((table, i))
    chosen: dict[Table, list[int]] = defaultdict(list)
    for tag in dict.fromkeys(tags):
        if tag not in by_name:
            faults.append(f"the group has no tag '{tag}'; {_hint(tag, by_name)}")
        elif len(by_name[tag]) > 1:
            faults.append(f"'{tag}' is a tag of the group and one of a module; rename one of them")
        else:
            table, i = by_name[tag][0]
            chosen[table].append(i)
            if table.kinds[i] == "str":
                faults.append(f"'{tag}' is a text; expected a number or a bit")
    plans: list[AggregatePlan] = []
    if not faults:
        each = tuple(dict.fromkeys(functions))
        for table, columns in chosen.items():
            target = _target(table, columns, name, each, every_s)
            plan = AggregatePlan(table, tuple(columns), target, each, window_s, every_s)
            faults += _faults(plan, tables)
            plans.append(plan)
    if faults:
        raise GatewayError("\n".join(faults))
    return plans


def _target(
    source: Table, columns: Iterable[int], name: str, functions: Iterable[str], every_s: float
) -> Table:
    made = []
    for i in columns:
        unit = source.units[i]
        units = {"count": None, "slope": f"{unit or '1'}/s"}
        made += [Column(f"{source.columns[i]}_{f}", "f8", units.get(f, unit)) for f in functions]
    table_name = f"{source.name}_{name}"
    return Table(table_name, source.device, made, source.labels, source.group, every_s)


def _faults(plan: AggregatePlan, tables: Iterable[Table]) -> list[str]:
    source, target = plan.source, plan.target
    faults = []
    if source.interval_s <= 0:
        return [f"the table '{source.key}' is not polled at an interval; it has no windows"]
    if plan.window_s < source.interval_s:
        faults.append(f"window_s: {plan.window_s:g} is less than one poll; "
                      f"expected at least {source.interval_s:g}")  # fmt: skip
    values = plan.samples * len(plan.columns)
    if values > MAX_VALUES:
        faults.append(f"{len(plan.columns)} tags x {plan.samples} samples are {values} values; "
                      f"expected at most {MAX_VALUES}: fewer tags or a shorter window")  # fmt: skip
    if any(target.key == table.key for table in tables):
        faults.append(f"there is a table '{target.key}' already; choose another name")
    if target.name.startswith(OWN_PREFIX):
        faults.append(f"the table '{target.name}': so begin names of the gateway's own tables; "
                      "expected another `measurement` of the group")  # fmt: skip
    labels = dict(target.labels)
    seen: set[str] = set()
    for column in target.columns:
        if column in seen:
            faults.append(f"two tags make the column '{column}'; leave one out")
        elif column in RESERVED or column in labels:
            faults.append(f"the column '{column}' has the name of a label")
        seen.add(column)
    return faults


def _hint(word: str, known: Iterable[str]) -> str:
    names = sorted(known)
    near = difflib.get_close_matches(word, names, 1, 0.6)
    more = ", ..." if len(names) > 20 else ""
    return f"did you mean '{near[0]}'?" if near else f"known: {', '.join(names[:20])}{more}"


class Aggregator:
    """Takes all rows from the hub and publishes the aggregates.

    Rows of one table come from one thread, those of different tables from several.
    """

    def __init__(self, plans: Iterable[AggregatePlan], publish: Callable[[Row], None]) -> None:
        self._windows: Mapping[Table, list[_Window]] = {}
        self._publish = publish
        self.update(plans)

    def update(self, plans: Iterable[AggregatePlan]) -> None:
        """Have these aggregates: the windows of a plan that is there already go on."""
        running = {w.plan: w for windows in self._windows.values() for w in windows}
        windows: dict[Table, list[_Window]] = defaultdict(list)
        for plan in plans:
            windows[plan.source].append(running.get(plan) or _Window(plan))
        self._windows = dict(windows)

    def put(self, row: Row) -> None:
        """Take a row; where it is time, publish the aggregates with its time. Never raises."""
        for window in self._windows.get(row.table, ()):
            try:
                made = window.put(row)
                if made is not None:
                    self._publish(made)
            except Exception:
                # a bug here may cost an aggregate, but never a poll
                log.exception("an aggregate failed", extra={"table": window.plan.target.key})
                window.clear()


class _Window:
    """The newest samples of one plan's tags, in the order of time.

    They are appended to arrays of twice the length of a window; at their end the newest half moves
    to the front. So the window is always one slice.
    """

    def __init__(self, plan: AggregatePlan) -> None:
        self.plan = plan
        self._window_ns = round(plan.window_s * 1e9)
        self._every_ns = max(1, round(plan.every_s * 1e9))
        self._length = plan.samples + _MARGIN
        self._times = np.zeros(2 * self._length, "i8")
        self._values = np.zeros((2 * self._length, len(plan.columns)), "f8")
        self._doubts = np.zeros(self._values.shape, "?")
        self._reasons = [""] * len(plan.columns)
        """Reason of each tag's newest UNCERTAIN sample."""
        self._slot = {column: i for i, column in enumerate(plan.columns)}
        positions = [plan.source.position(column) for column in plan.columns]
        self._picks = [
            (part, plan.source.parts[part].kind,
             np.array([index for p, index in positions if p == part]),
             np.array([i for i, (p, _) in enumerate(positions) if p == part]))
            for part in sorted({p for p, _ in positions})
        ]  # fmt: skip
        self.clear()

    def clear(self) -> None:
        """Begin anew, without samples."""
        self._end = 0
        self._last_ns: int | None = None
        self._is_lost = False

    def put(self, row: Row) -> Row | None:
        """Take a row of the source; the row of aggregates where it is time for one.

        The window begins anew where the time steps back; a row of the same time is left out.
        """
        time_ns = row.time_ns
        last_ns = self._last_ns
        if last_ns is not None and time_ns < last_ns:
            self.clear()
            last_ns = None
        elif time_ns == last_ns:
            return None
        self._last_ns = time_ns
        is_due = last_ns is not None and time_ns // self._every_ns != last_ns // self._every_ns
        was_lost, self._is_lost = self._is_lost, row.all_bad
        if row.all_bad:
            # after it there may be none for long: the loss is told at once
            mark = row.mark(ALL)
            reason = mark.reason if mark else "no_data"
            return bad_row(self.plan.target, time_ns, reason) if is_due or not was_lost else None
        self._append(row)
        return self._aggregate(time_ns) if is_due else None

    def _append(self, row: Row) -> None:
        if self._end == len(self._times):
            kept = slice(self._end - self._length, self._end)
            self._end = self._length
            for array in (self._times, self._values, self._doubts):
                array[: self._length] = array[kept]
        values, doubts = self._values[self._end], self._doubts[self._end]
        self._times[self._end] = row.time_ns
        self._end += 1
        for part, kind, indexes, slots in self._picks:
            # as they are shown, with the shortest digits of a float32: 45.2
            picked = np.asarray(row.parts[part])[indexes]
            values[slots] = np.array(plain(picked), "f8") if kind == "f4" else picked
        doubts[:] = False
        if row.marks is not None:
            self._mark(row, values, doubts)

    def _mark(self, row: Row, values: Array, doubts: Array) -> None:
        marks = row.marks or {}
        columns = self._slot if ALL in marks else self._slot.keys() & marks.keys()
        for column in columns:
            mark, slot = row.mark(column), self._slot[column]
            if mark is not None and mark.quality is Quality.BAD:
                values[slot] = np.nan
            elif mark is not None:
                doubts[slot] = True
                self._reasons[slot] = mark.reason

    def _aggregate(self, time_ns: int) -> Row:
        plan = self.plan
        times = self._times[: self._end]
        first = int(np.searchsorted(times, time_ns - self._window_ns, side="right"))
        first = max(first, self._end - self._length)
        seconds = (times[first:] - time_ns) * 1e-9
        values = self._values[first : self._end]
        counts, results = aggregate(seconds, values, plan.functions)
        doubtful = np.any(self._doubts[first : self._end], axis=0)
        marks = self._marks(counts, results, doubtful)
        flat = np.where(np.isfinite(results), results, 0.0).ravel()
        return Row(plan.target, time_ns, (flat,), marks)

    def _marks(self, counts: Array, results: Array, doubtful: Array) -> dict[int, Mark]:
        """Quality of each aggregate; how many samples there are is certain in any case."""
        functions = self.plan.functions
        few = 2 * counts < self.plan.samples
        fine = np.isfinite(results)
        marks: dict[int, Mark] = {}
        for i in np.flatnonzero(doubtful | few | ~fine.all(axis=1)).tolist():
            for k, function in enumerate(functions):
                if function == "count":
                    continue
                if not fine[i, k]:
                    mark = bad("overflow" if counts[i] >= LEAST[function] else "no_data")
                elif doubtful[i]:
                    mark = Mark(Quality.UNCERTAIN, self._reasons[i])
                elif few[i]:
                    mark = Mark(Quality.UNCERTAIN, "few_samples")
                else:
                    continue
                marks[i * len(functions) + k] = mark
        return marks
