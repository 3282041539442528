"""The one seam between those who make rows and those who use them: bounded fan-out."""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple, Protocol

from gateway.errors import GatewayError
from gateway.latest import Latest
from gateway.model import OWN_TABLES, Row, Table

DEFAULT_CELLS = 4_000_000
"""Most that one subscription holds, in cells of 4 bytes: a row costs 80, and 2 a column."""

ROW_CELLS = 80
LUMP = 16
"""A full queue gives up a sixteenth at once, so that being full costs little."""

TELL_S = 3600.0
"""What a full queue gives up is told when it has room again, one range a table. Told while it is
full, the rows that tell would fill it themselves in a long outage. But at least once an hour."""


LOST_KEPT = 64
"""Ranges of positions that a queue gave up; of more, the oldest become one."""


class NotStored(GatewayError):
    """Rows were given up before they were on disk in every sink: send them again."""


class Dropped(NamedTuple):
    """Rows of one table that a full subscription gave up."""

    subscription: str
    table: Table
    first_ns: int
    last_ns: int
    rows: int


def cells(row: Row) -> int:
    """What a row costs in memory, in units of 4 bytes."""
    size = ROW_CELLS + 2 * len(row.table.columns)
    if row.parts and isinstance(row.parts[-1], list):
        size += sum(map(len, filter(None, row.parts[-1])))
    return size


class Published(NamedTuple):
    """Where rows stand in the queues of the sinks: (queue, first position, one after the last)."""

    spans: tuple[tuple[Subscription, int, int], ...]


class Receiver(Protocol):
    """What takes every row as it is published: at once, never waiting, never raising."""

    def put(self, row: Row) -> None:
        """Take a row; from any thread."""


class Subscription:
    """A bounded queue of rows for one consumer. `publish` never waits: the oldest rows go.

    A consumer takes rows from its own thread with `wait` and `drain`; ``wake_at`` rows wake it
    before its time.
    """

    def __init__(self, name: str, max_cells: int, wake_at: int) -> None:
        self.name = name
        self.dropped_rows = 0
        self._rows: deque[Row] = deque()
        self._cells = 0
        self._max_cells = max_cells
        self._wake_at = wake_at
        self._lock = threading.Lock()
        self._wake = threading.Event()
        self._dropped: dict[Table, Dropped] = {}
        self._untold_since_s = 0.0
        """When the first of these was given up."""
        self._first = 0
        """Position of the oldest row in the queue: so many left it before."""
        self.drained = 0
        """Position up to which the consumer has taken rows."""
        self.settled = 0
        """Position up to which rows are on disk or were given up."""
        self._lost: deque[tuple[int, int]] = deque()
        self._hurried = False
        self.on_settled: Callable[[], None] = lambda: None

    def __len__(self) -> int:
        return len(self._rows)

    @property
    def end(self) -> int:
        """Position of the next row that is put."""
        return self._first + len(self._rows)

    def put(self, row: Row) -> None:
        """Add a row; where the queue is full, the oldest go and are noted."""
        cost = cells(row)
        with self._lock:
            self._rows.append(row)
            self._cells += cost
            if self._cells > self._max_cells:
                self._make_room()
            if len(self._rows) >= self._wake_at:
                self._wake.set()

    def put_all(self, rows: Sequence[Row]) -> tuple[int, int]:
        """Add rows at once; the position of the first, and the one after the last."""
        cost = sum(map(cells, rows))
        with self._lock:
            first = self.end
            self._rows.extend(rows)
            self._cells += cost
            if self._cells > self._max_cells:
                self._make_room()
            if len(self._rows) >= self._wake_at:
                self._wake.set()
            return first, first + len(rows)

    def _make_room(self) -> None:
        """The oldest go; of alarms, events and losses only what is more than half of the queue."""
        keep = self._max_cells - self._max_cells // LUMP
        spared: list[Row] = []
        spared_cells = popped = 0
        if not self._dropped:
            self._untold_since_s = time.monotonic()
        while self._cells > keep and len(self._rows) > 1:
            old = self._rows.popleft()
            popped += 1
            cost = cells(old)
            if old.table.name in OWN_TABLES and spared_cells + cost <= self._max_cells // 2:
                spared.append(old)
                spared_cells += cost
                continue
            self._cells -= cost
            self.dropped_rows += 1
            known = self._dropped.get(old.table)
            first_ns = known.first_ns if known else old.time_ns
            rows = known.rows + 1 if known else 1
            self._dropped[old.table] = Dropped(self.name, old.table, first_ns, old.time_ns, rows)
        self._rows.extendleft(reversed(spared))
        self._note_lost(self._first, self._first + popped)
        self._first += popped - len(spared)

    def _note_lost(self, first: int, end: int) -> None:
        if self._lost and self._lost[-1][0] <= first <= self._lost[-1][1]:
            last_first, last_end = self._lost.pop()
            first, end = last_first, max(last_end, end)
        self._lost.append((first, end))
        if len(self._lost) > LOST_KEPT:
            one, two = self._lost.popleft(), self._lost.popleft()
            self._lost.appendleft((min(one[0], two[0]), max(one[1], two[1])))

    def lost_of(self, first: int, end: int) -> bool:
        """Whether a row of these positions was given up before it was on disk."""
        if not self._lost:
            return False
        with self._lock:
            return any(a < end and first < b for a, b in self._lost)

    def settle(self, upto: int, *, lost: bool) -> None:
        """The consumer: what it took up to there is on disk, or (some of it) was given up."""
        with self._lock:
            if lost and upto > self.settled:
                self._note_lost(self.settled, upto)
            self.settled = max(self.settled, upto)
        self.on_settled()

    def hurry(self) -> None:
        """Somebody waits for rows to be on disk: the consumer is to take its time no longer."""
        self._hurried = True
        self._wake.set()

    def take_hurry(self) -> bool:
        """Whether somebody has waited since the last call."""
        hurried, self._hurried = self._hurried, False
        return hurried

    def is_to_tell(self) -> bool:
        """Whether there is room to tell what was given up, or it has waited long."""
        with self._lock:
            waited_s = time.monotonic() - self._untold_since_s
            return self._cells <= self._max_cells // 2 or waited_s >= TELL_S

    def take_dropped(self) -> list[Dropped]:
        """What was given up since the last call, by table."""
        with self._lock:
            dropped = list(self._dropped.values())
            self._dropped.clear()
        return dropped

    def drain(self) -> list[Row]:
        """All rows so far, oldest first."""
        with self._lock:
            rows = list(self._rows)
            self._rows.clear()
            self._first += len(rows)
            self.drained = self._first
            self._cells = 0
            self._wake.clear()
        return rows

    def wait(self, timeout_s: float) -> bool:
        """Wait until there are ``wake_at`` rows or `wake` was called; False after the time-out."""
        return self._wake.wait(timeout_s)

    def wake(self) -> None:
        """Wake the consumer now (stop, flush)."""
        self._wake.set()


class Hub:
    """One way in, ``publish``; one way out, ``subscribe``; and the latest row of each table."""

    def __init__(self, on_drop: Callable[[Dropped], None] | None = None) -> None:
        self.latest = Latest()
        self._subscriptions: tuple[Receiver, ...] = ()
        self._accountable: tuple[Subscription, ...] = ()
        self._on_drop = on_drop
        self._waiting: list[tuple[Published, Callable[[bool], None]]] = []
        self._lock = threading.Lock()

    def subscribe(
        self, name: str, *, max_cells: int = DEFAULT_CELLS, wake_at: int = 5000
    ) -> Subscription:
        """A queue of all rows published from now on."""
        subscription = Subscription(name, max_cells, wake_at)
        subscription.on_settled = self._look
        self._accountable = (*self._accountable, subscription)
        self.attach(subscription)
        return subscription

    def attach(self, receiver: Receiver) -> None:
        """Give a queue of one's own making all rows published from now on.

        What it has to give up is its owner's business, and no loss.
        """
        self._subscriptions = (*self._subscriptions, receiver)

    def unsubscribe(self, receiver: Receiver) -> None:
        """Take no more rows; what a full queue gave up before is told."""
        self._tell([s for s in self._accountable if s is receiver])
        self._subscriptions = tuple(s for s in self._subscriptions if s is not receiver)
        self._accountable = tuple(s for s in self._accountable if s is not receiver)

    def publish(self, row: Row) -> None:
        """Hand a row to every subscriber; from any thread, never waiting for one."""
        self.latest.put(row)
        for subscription in self._subscriptions:
            subscription.put(row)

    def publish_all(self, rows: Sequence[Row], *, late: bool = False) -> Published:
        """Hand rows to every subscriber at once; where they then stand, for `stored`.

        ``late``: they are not the newest of their tables, so only the sinks get them.
        """
        accountable = self._accountable
        if not late:
            for row in rows:
                self.latest.put(row)
            for receiver in self._subscriptions:
                if receiver not in accountable:
                    for row in rows:
                        receiver.put(row)
        return Published(tuple((queue, *queue.put_all(rows)) for queue in accountable))

    def when_stored(self, published: Published, tell: Callable[[bool], None]) -> None:
        """Have it told, from any thread, when the rows are on disk in every sink.

        False: some were given up before.
        """
        state = _state(published)
        if state is None:
            with self._lock:
                self._waiting.append((published, tell))
            for queue, _, end in published.spans:
                if queue.settled < end:
                    queue.hurry()
            state = _state(published)
            if state is None:
                return  # whoever settles it from now on finds it
            with self._lock:
                try:
                    self._waiting.remove((published, tell))
                except ValueError:
                    return  # told already
        tell(state)

    async def stored(self, published: Published) -> None:
        """Wait until the rows are on disk in every sink. NotStored: some were given up before."""
        loop = asyncio.get_running_loop()
        told: asyncio.Future[bool] = loop.create_future()

        def settle(good: bool) -> None:
            if not told.done():
                told.set_result(good)

        def tell(good: bool) -> None:
            with contextlib.suppress(RuntimeError):  # whoever waited has gone, with its loop
                loop.call_soon_threadsafe(settle, good)

        self.when_stored(published, tell)
        if not await told:
            raise NotStored("rows were given up before they were on disk; send them again")

    def _look(self) -> None:
        """Tell those whose rows are on disk or lost."""
        if not self._waiting:
            return
        done: list[tuple[Callable[[bool], None], bool]] = []
        with self._lock:
            waiting, self._waiting = self._waiting, []
            for published, tell in waiting:
                state = _state(published)
                if state is None:
                    self._waiting.append((published, tell))
                else:
                    done.append((tell, state))
        for tell, good in done:
            tell(good)

    def report_drops(self, *, ending: bool = False) -> None:
        """Tell what full queues gave up; now and then, and never from within `publish`.

        The report is itself a row: made there, it would push out the next one, without end.
        ``ending``: all of it now, and what the reports themselves push out.
        """
        self._look()
        if ending:
            self._tell(self._accountable * 2)
        else:
            self._tell(s for s in self._accountable if s.is_to_tell())

    def _tell(self, subscriptions: Iterable[Subscription]) -> None:
        for subscription in subscriptions:
            for dropped in subscription.take_dropped():
                if self._on_drop is not None:
                    self._on_drop(dropped)

    def close(self) -> int:
        """The consumers have ended: how many rows lie in their queues, or came too late."""
        return sum(len(subscription) for subscription in self._accountable)


def _state(published: Published) -> bool | None:
    """True: all rows are on disk; False: some were given up before; None: not known yet."""
    if any(queue.lost_of(first, end) for queue, first, end in published.spans):
        return False
    return True if all(queue.settled >= end for queue, _, end in published.spans) else None
