"""How rows get into the historian's file: planned, written in one transaction, then counted."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

from gateway.model import Row, Table
from gateway.sinks import Selected
from gateway.sinks.historian.file import State, read_state, write_state
from gateway.sinks.historian.known import Known
from gateway.sinks.historian.minutes import MINUTE_NS, Minute, recover_minutes, write_minutes
from gateway.sinks.historian.retention import Retention
from gateway.sinks.historian.rows import (
    TEXT_BYTES_PER_VALUE,
    Samples,
    Source,
    insert_samples,
    last_times,
    register,
    samples,
)
from gateway.sinks.historian.thin import Thin, after_held, overdue, thin

VALUES_PER_COMMIT: Final = 100_000
"""Bounds the WAL, and the time for which a query waits."""
_IDLE_MINUTES: Final = 2


class _Slot:
    """What is remembered of one table."""

    __slots__ = ("minute", "source", "thin")

    def __init__(self, source: Source) -> None:
        self.source = source
        self.thin = Thin()
        self.minute: Minute | None = None


class _Planned(NamedTuple):
    """A row of a chunk: its number (None: thinned away), and whether the minutes count it."""

    slot: _Slot
    row: Row
    row_id: int | None
    counted: bool


class _Line(NamedTuple):
    """A row as it is stored."""

    row_id: int
    source: int
    time_ns: int
    samples: Samples


@dataclass(slots=True)
class _Attempt:
    """A chunk on its way. ``after`` is the state in the file if its commit came through."""

    rows: list[Row]
    planned: list[_Planned]
    lines: list[_Line]
    thinned: dict[_Slot, Thin]
    minutes: list[Minute]
    after: State | None = None


class Recorder:
    """Writes chunks of rows. It outlives connections: what failed is settled on the next one."""

    def __init__(self, every_ns: int, retention: Retention) -> None:
        self.state: State | None = None
        """As in the file; None before it was first opened."""
        self.left: dict[tuple[str, str], int] | None = None
        """The last time of each (device, table) when a file was first opened, ns."""
        self.clean = True
        """Whether it had been closed."""
        self._every_ns = every_ns
        self._retention = retention
        self._slots: dict[Table, _Slot] = {}
        self._closed: list[Minute] = []
        self._attempt: _Attempt | None = None
        self._newest_minute = 0
        self.rows_known = 0
        """Rows that were there already: their answer was lost, or they were sent again."""
        self._in_file = Known(every_ns)

    def attach(self, connection: sqlite3.Connection) -> list[Row]:
        """Begin on a fresh connection; the rows of a failed chunk that are in the file after all.

        The first time, the minutes that an unclean stop left out are made.
        """
        in_file = read_state(connection)
        self._in_file.forget()
        if self.state is None:
            clean = in_file.rolled_from >= in_file.next_row
            if not clean:
                in_file = recover_minutes(connection, in_file)
            if self.left is None:
                self.left, self.clean = last_times(connection), clean
            self.state = in_file
            self._retention.begin(connection, in_file)
            return []
        attempt, self._attempt = self._attempt, None
        self.state = in_file
        if attempt is None:
            return []
        if attempt.after == in_file:
            self._count(attempt)
            return attempt.rows
        for slot, thinned in attempt.thinned.items():
            slot.thin = thinned
        return []

    def forget(self) -> None:
        """Another file follows: nothing that is remembered holds for it."""
        self.state = None
        self._slots.clear()
        self._closed.clear()
        self._attempt = None

    def minutes(self) -> list[Minute]:
        """The minutes that are not in the file yet."""
        return self._closed + [s.minute for s in self._slots.values() if s.minute is not None]

    def register(self, connection: sqlite3.Connection, tables: Iterable[Table]) -> None:
        """Make the sources and series of tables that are new here, in a transaction of its own."""
        unknown = [t for t in tables if t not in self._slots]
        if unknown:
            connection.execute("BEGIN IMMEDIATE")
            made = {table: _Slot(register(connection, table)) for table in unknown}
            connection.execute("COMMIT")
            self._slots.update(made)

    def write(self, connection: sqlite3.Connection, chunk: Sequence[Selected], now_ns: int) -> None:
        """Store a chunk; it is on disk on return. ``now_ns``: what retention calls now."""
        newest_ns = max((s.row.time_ns for s in chunk), default=0)
        slots = self._slots
        sources = [slots[s.row.table].source for s in chunk]
        fresh = self._in_file.sift(connection, chunk, sources, self.minutes)
        attempt = self._plan(fresh, newest_ns)
        attempt.minutes = self._closed
        self._commit(connection, attempt, now_ns)
        self.rows_known += len(chunk) - len(fresh)

    def finish(self, connection: sqlite3.Connection, now_ns: int) -> None:
        """Store what was held back and the open minutes."""
        last_due_ns = max((s.thin.due_ns for s in self._slots.values()), default=0)
        attempt = self._plan((), last_due_ns)
        attempt.minutes = self._closed
        self._commit(connection, attempt, now_ns)
        self._close_minutes(lambda _: True)
        self._commit(connection, _Attempt([], [], [], {}, self._closed), now_ns)

    def _plan(self, chunk: Sequence[Selected], newest_ns: int) -> _Attempt:
        next_row = self._known().next_row
        attempt = _Attempt([s.row for s in chunk], [], [], {}, [])
        self._attempt = attempt

        def put(slot: _Slot, selected: Selected | None) -> int | None:
            if selected is None:
                return None
            row_id = next_row + len(attempt.lines)
            made = samples(selected, slot.source, row_id)
            if not made.values:
                return None
            attempt.lines.append(_Line(row_id, slot.source.id, selected.row.time_ns, made))
            return row_id

        for selected in chunk:
            slot = self._slots[selected.row.table]
            attempt.thinned.setdefault(slot, slot.thin)
            taken, slot.thin = thin(slot.thin, selected, self._every_ns)
            attempt.planned.append(_Planned(slot, selected.row, put(slot, taken), counted=True))
        for slot in self._slots.values():
            held = overdue(slot.thin, newest_ns)
            if held is not None:
                attempt.thinned.setdefault(slot, slot.thin)
                slot.thin = after_held(slot.thin, self._every_ns)
                attempt.planned.append(_Planned(slot, held.row, put(slot, held), counted=False))
        return attempt

    def _commit(self, connection: sqlite3.Connection, attempt: _Attempt, now_ns: int) -> None:
        before = self._known()
        lines = attempt.lines
        connection.execute("BEGIN IMMEDIATE")
        weight = sum(line.samples.weight for line in lines)
        state = self._retention.make_room(connection, before, weight, now_ns)
        figures = write_minutes(connection, attempt.minutes)
        connection.executemany(
            "INSERT INTO row_time (id, source, time_ns) VALUES (?, ?, ?)",
            [line[:3] for line in lines],
        )
        for line in lines:
            insert_samples(connection, line.samples)
        still_open = [s.minute.first_row for s in self._slots.values() if s.minute is not None]
        state = state._replace(
            next_row=before.next_row + len(lines),
            samples=state.samples + sum(line.samples.values for line in lines),
            minute_samples=state.minute_samples + figures,
            rolled_from=min(before.next_row, *(r for r in still_open if r is not None), 1 << 62),
        )
        write_state(connection, state)
        attempt.after = state
        connection.execute("COMMIT")
        self._attempt = None
        self.state = state
        self._count(attempt)

    def _count(self, attempt: _Attempt) -> None:
        """After the commit: the minutes written are done, the rows go into theirs."""
        done = set(map(id, attempt.minutes))
        self._closed = [m for m in self._closed if id(m) not in done]
        for slot, row, row_id, counted in attempt.planned:
            minute = row.time_ns // MINUTE_NS
            if slot.minute is not None and slot.minute.minute != minute:
                self._closed.append(slot.minute)
                slot.minute = None
            if slot.minute is None:
                slot.minute = Minute(row.table, slot.source, minute)
            if counted:
                slot.minute.add(row, row_id)
            else:
                slot.minute.stored(row_id)
            self._newest_minute = minute
        # the clock may have been set back: then a minute is idle that seems to be in the future
        self._close_minutes(lambda m: abs(self._newest_minute - m.minute) > _IDLE_MINUTES)

    def _close_minutes(self, condition: Callable[[Minute], bool]) -> None:
        for slot in self._slots.values():
            if slot.minute is not None and condition(slot.minute):
                self._closed.append(slot.minute)
                slot.minute = None

    def _known(self) -> State:
        if self.state is None:
            raise RuntimeError("the file is not open")
        return self.state


def chunks(rows: Sequence[Selected]) -> Iterator[list[Selected]]:
    """The batch in pieces of at most about VALUES_PER_COMMIT values, in order."""
    chunk: list[Selected] = []
    values = 0
    for selected in rows:
        row = selected.row
        values += len(row.table.columns)
        for part in row.parts:
            if isinstance(part, list):
                values += sum(map(len, part)) // TEXT_BYTES_PER_VALUE
        chunk.append(selected)
        if values >= VALUES_PER_COMMIT:
            yield chunk
            chunk, values = [], 0
    if chunk:
        yield chunk
