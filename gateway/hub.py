"""The one seam between those who make rows and those who use them: bounded fan-out."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from typing import NamedTuple

from gateway.latest import Latest
from gateway.model import Row, Table

DEFAULT_CELLS = 4_000_000
"""Most values that one subscription holds: 16 MB of float32."""


class Dropped(NamedTuple):
    """Rows of one table that a full subscription gave up, oldest first."""

    subscription: str
    table: Table
    first_ns: int
    last_ns: int
    rows: int


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

    def __len__(self) -> int:
        return len(self._rows)

    def put(self, row: Row) -> list[Row]:
        """Add a row; returns the rows that had to go for it."""
        dropped: list[Row] = []
        with self._lock:
            self._rows.append(row)
            self._cells += len(row.table.columns)
            while self._cells > self._max_cells and len(self._rows) > 1:
                old = self._rows.popleft()
                self._cells -= len(old.table.columns)
                dropped.append(old)
            if len(self._rows) >= self._wake_at:
                self._wake.set()
        self.dropped_rows += len(dropped)
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
        self._subscriptions: tuple[Subscription, ...] = ()
        self._on_drop = on_drop
        self.closed = False

    def subscribe(
        self, name: str, *, max_cells: int = DEFAULT_CELLS, wake_at: int = 5000
    ) -> Subscription:
        """A queue of all rows published from now on."""
        subscription = Subscription(name, max_cells, wake_at)
        self.attach(subscription)
        return subscription

    def attach(self, subscription: Subscription) -> None:
        """Give a queue of one's own making all rows published from now on."""
        self._subscriptions = (*self._subscriptions, subscription)

    def unsubscribe(self, subscription: Subscription) -> None:
        """Take no more rows."""
        self._subscriptions = tuple(s for s in self._subscriptions if s is not subscription)

    def publish(self, row: Row) -> None:
        """Hand a row to every subscriber; from any thread, never waiting for one."""
        self.latest.put(row)
        for subscription in self._subscriptions:
            dropped = subscription.put(row)
            if dropped and self._on_drop is not None:
                for table in {r.table: None for r in dropped}:
                    times = [r.time_ns for r in dropped if r.table is table]
                    self._on_drop(
                        Dropped(subscription.name, table, times[0], times[-1], len(times))
                    )
