"""The one seam between those who make rows and those who use them: bounded fan-out."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterable
from typing import NamedTuple, Protocol

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

    def __len__(self) -> int:
        return len(self._rows)

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

    def _make_room(self) -> None:
        """The oldest go; of alarms, events and losses only what is more than half of the queue."""
        keep = self._max_cells - self._max_cells // LUMP
        spared: list[Row] = []
        spared_cells = 0
        if not self._dropped:
            self._untold_since_s = time.monotonic()
        while self._cells > keep and len(self._rows) > 1:
            old = self._rows.popleft()
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

    def subscribe(
        self, name: str, *, max_cells: int = DEFAULT_CELLS, wake_at: int = 5000
    ) -> Subscription:
        """A queue of all rows published from now on."""
        subscription = Subscription(name, max_cells, wake_at)
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

    def report_drops(self, *, ending: bool = False) -> None:
        """Tell what full queues gave up; now and then, and never from within `publish`.

        The report is itself a row: made there, it would push out the next one, without end.
        ``ending``: all of it now, and what the reports themselves push out.
        """
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
