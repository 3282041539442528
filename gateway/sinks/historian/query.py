"""Reading the historian back: one tag over a range of time, as raw values or as minutes."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain
from typing import Any, Final, Literal, NamedTuple

from gateway.errors import GatewayError, SinkUnavailable
from gateway.sinks.historian.file import SPAN
from gateway.sinks.historian.minutes import MINUTE_NS, Minute, MinuteValue
from gateway.sinks.historian.names import Target, common_kind, find_targets
from gateway.sinks.historian.points import Collector, Point

RAW_ROWS: Final = 2_000_000
"""So many rows of all tables are looked through at most before minutes answer instead."""
RAW_S: Final = 1.2
MINUTES_S: Final = 0.8
"""A query holds up storing no longer than both together, in seconds."""

_STEPS_BETWEEN_LOOKS: Final = 10_000
_FETCH: Final = 10_000
MAX_NS: Final = 2**63 - 1
_NEAR: Final = 10_000
"""Runs of rows with fewer rows between them are read in one go."""


@dataclass(frozen=True, slots=True)
class History:
    """What was stored of one tag from ``from_ns`` to ``to_ns``, both included.

    resolution: ``raw``; or ``minute`` where raw rows are deleted or too many: then a minute is two
    points at its first moment, its least and its greatest value.
    decimated: there is more than ``max_points``; each stretch of time keeps its extremes and gaps.
    truncated: the beginning of the range is not kept any more, or not reached.
    """

    device: str
    table: str
    tag: str
    unit: str | None
    kind: str
    resolution: Literal["raw", "minute"]
    truncated: bool
    decimated: bool
    points: list[Point]


class _Run(NamedTuple):
    """Numbers of rows, both included."""

    first: int
    last: int


class Reader:
    """Queries on the historian's own connection; its lock must be held.

    ``minutes`` are those that are not in the file yet.
    """

    def __init__(self, connection: sqlite3.Connection, minutes: Sequence[Minute]) -> None:
        self.connection = connection
        self._minutes = minutes

    def query(self, device: str, tag: str, from_ns: int, to_ns: int, max_points: int) -> History:
        """A tag's points; ``tag`` may name its table: ``electricity.meter:Pt``.

        GatewayError where there is none of that name, or more than one; SinkUnavailable where it
        takes too long.
        """
        if max_points < 2:
            raise GatewayError(f"max_points is {max_points}; at least 2 are needed")
        if from_ns > to_ns:
            raise GatewayError("the range ends before it begins: `from` must not be after `to`")
        targets = find_targets(self.connection, device, tag)
        newest, kind = targets[-1], common_kind(targets)
        first_ns, last_ns = self._span(targets, from_ns, to_ns)
        collector = Collector(kind, first_ns, last_ns, max_points)
        truncated = from_ns // MINUTE_NS <= self._deleted_to()
        resolution: Literal["raw", "minute"] = "raw"
        try:
            runs, reached = self._runs(targets, first_ns, last_ns, whole=kind != "str")
            if runs is None:
                resolution = "minute"
            else:
                truncated |= not reached
                with self._within(RAW_S):
                    for target, run in runs:
                        self._raw(target, run, first_ns, last_ns, collector)
        except _TooLong:
            if kind == "str":
                raise SinkUnavailable("too many rows to look through: ask for less time") from None
            resolution = "minute"
        if resolution == "minute":
            first_ns -= first_ns % MINUTE_NS
            collector = Collector(kind, first_ns, last_ns, max_points)
            try:
                with self._within(MINUTES_S):
                    for target in targets:
                        collector.add(self._of_minutes(target, first_ns, last_ns))
            except _TooLong:
                raise SinkUnavailable(
                    "too many minutes to look through: ask for less time"
                ) from None
        points = collector.result()
        return History(
            device,
            newest.table,
            newest.tag,
            newest.unit,
            kind,
            resolution,
            truncated,
            collector.decimated,
            points,
        )

    def newest_rows(
        self, device: str, table: str, from_ns: int, max_rows: int
    ) -> list[tuple[int, dict[str, Any]]]:
        """Whole rows of a table, by tag, with their times, newest first; for tables of few rows.

        SinkUnavailable where it takes too long.
        """
        found: list[tuple[int, int, int]] = []
        query = "SELECT id FROM source WHERE device = ? AND table_name = ?"
        try:
            with self._within(RAW_S):
                for (source,) in self.connection.execute(query, (device, table)).fetchall():
                    target = Target(source, 0, table, "", None, "str")
                    left = max_rows
                    for run in reversed(self._runs_of(target, from_ns, MAX_NS)):
                        rows = self.connection.execute(
                            "SELECT id, source, time_ns FROM row_time WHERE id BETWEEN ? AND ?"
                            " AND source = ? AND time_ns >= ? ORDER BY id DESC LIMIT ?",
                            (*run, source, from_ns, left),
                        ).fetchall()
                        found += rows
                        left -= len(rows)
                        if left <= 0:
                            break
                found.sort(key=lambda row: row[2], reverse=True)
                return [(time_ns, self._values(*row)) for *row, time_ns in found[:max_rows]]
        except _TooLong:
            raise SinkUnavailable("too many rows to look through: ask for less time") from None

    def _values(self, row: int, source: int) -> dict[str, Any]:
        return dict(
            self.connection.execute(
                f"SELECT s.tag, v.value FROM series s JOIN sample v ON v.id = ? * {SPAN}"
                " + s.position WHERE s.source = ?",
                (row, source),
            ).fetchall()
        )

    def _pending(self, target: Target) -> Iterator[Minute]:
        return (m for m in self._minutes if m.source.id == target.source)

    def _span(self, targets: Sequence[Target], from_ns: int, to_ns: int) -> tuple[int, int]:
        """The part of the range in which there can be points."""
        minutes: list[int] = []
        for target in targets:
            minutes += [m.minute for m in self._pending(target)]
            found = self.connection.execute(
                "SELECT (SELECT min(minute) FROM minute_time WHERE source = ?1),"
                " (SELECT max(minute) FROM minute_time WHERE source = ?1)",
                (target.source,),
            ).fetchone()
            minutes += [m for m in found if m is not None]
        if not minutes:
            return from_ns, to_ns
        last_ns = (max(minutes) + 1) * MINUTE_NS - 1
        # outside of what there is nothing will be found anyway
        if from_ns > last_ns or to_ns < min(minutes) * MINUTE_NS:
            return from_ns, to_ns
        return max(from_ns, min(minutes) * MINUTE_NS), min(to_ns, last_ns)

    def _deleted_to(self) -> int:
        (minute,) = self.connection.execute("SELECT minutes_deleted_to FROM state").fetchone()
        return int(minute)

    def _runs(
        self, targets: Sequence[Target], from_ns: int, to_ns: int, *, whole: bool
    ) -> tuple[list[tuple[Target, _Run]] | None, bool]:
        """The runs of rows to look through, oldest first; None where minutes must answer.

        Not ``whole``: as many as may be, the newest; and whether that is all.
        """
        (oldest,) = self.connection.execute(
            "SELECT coalesce(min(id), 1 << 60) FROM row_time"
        ).fetchone()
        runs: list[tuple[Target, _Run]] = []
        left = RAW_ROWS
        for target in reversed(targets):
            for run in reversed(self._runs_of(target, from_ns, to_ns)):
                rows = run.last - run.first + 1
                if whole and (rows > left or run.first < oldest):
                    return None, False
                if rows > left:
                    runs.append((target, _Run(run.last - left + 1, run.last)))
                    return runs[::-1], False
                runs.append((target, run))
                left -= rows
        return runs[::-1], not runs or runs[-1][1].first >= oldest

    def _runs_of(self, target: Target, from_ns: int, to_ns: int) -> list[_Run]:
        """Where the source's rows of that time are, in order, near ones in one run."""
        first, last = from_ns // MINUTE_NS, to_ns // MINUTE_NS
        found = [
            _Run(m.first_row, m.last_row)
            for m in self._pending(target)
            if m.first_row is not None and m.last_row is not None and first <= m.minute <= last
        ]
        found += map(
            _Run._make,
            self.connection.execute(
                "SELECT first_row, last_row FROM minute_time"
                " WHERE source = ? AND minute BETWEEN ? AND ? AND first_row IS NOT NULL",
                (target.source, first, last),
            ),
        )
        runs: list[_Run] = []
        for run in sorted(found):
            if runs and run.first <= runs[-1].last + _NEAR:
                runs[-1] = _Run(runs[-1].first, max(run.last, runs[-1].last))
            else:
                runs.append(run)
        return runs

    def _raw(
        self, target: Target, run: _Run, from_ns: int, to_ns: int, collector: Collector
    ) -> None:
        cursor = self.connection.execute(
            "SELECT r.time_ns, v.value, coalesce(v.quality, 'GOOD') FROM row_time r"
            f" CROSS JOIN sample v ON v.id = r.id * {SPAN} + ?"
            " WHERE r.id BETWEEN ? AND ? AND r.source = ? AND r.time_ns BETWEEN ? AND ?"
            " ORDER BY r.id",
            (target.position, *run, target.source, from_ns, to_ns),
        )
        while rows := cursor.fetchmany(_FETCH):
            collector.add(map(Point._make, rows))

    def _of_minutes(self, target: Target, from_ns: int, to_ns: int) -> Iterator[Point]:
        first, last = from_ns // MINUTE_NS, to_ns // MINUTE_NS
        stored: Iterable[tuple[Any, ...]] = self.connection.execute(
            "SELECT m.minute, v.min, v.mean, v.max, v.count, v.bad FROM minute_time m"
            f" CROSS JOIN minute_sample v ON v.id = m.id * {SPAN} + ?"
            " WHERE m.source = ? AND m.minute BETWEEN ? AND ? ORDER BY m.minute, m.id",
            (target.position, target.source, first, last),
        )
        pending = (
            (m.minute, *value)
            for m in self._pending(target)
            if first <= m.minute <= last
            for position, value in m.values()
            if position == target.position
        )
        for minute, *figures in chain(stored, pending):
            value = MinuteValue(*figures)
            at_ns = minute * MINUTE_NS
            if value.low is not None:
                yield Point(at_ns, value.low)
                yield Point(at_ns, value.high)
            elif value.bad:
                yield Point(at_ns, None, "BAD")

    @contextmanager
    def _within(self, longest_s: float) -> Iterator[None]:
        """_TooLong where SQLite is still at it after that time."""
        end_s = time.monotonic() + longest_s
        self.connection.set_progress_handler(lambda: time.monotonic() > end_s, _STEPS_BETWEEN_LOOKS)
        try:
            yield
        except sqlite3.OperationalError as error:
            if getattr(error, "sqlite_errorcode", 0) != sqlite3.SQLITE_INTERRUPT:
                raise
            raise _TooLong from error
        finally:
            self.connection.set_progress_handler(None, 0)


class _TooLong(Exception):
    """A query ran into its time limit."""
