"""Two lanes between the thread that spools and the one that delivers: live first, then backlog."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterable

from gateway.spool.shelf import Batch

LIVE_BYTES = 6_000_000
BACKLOG_BYTES = 2_000_000
BACKLOG_BATCHES = 64
SHARE = 4
"""Backlog batches that may go between two live ones; all go while no live one waits."""


class Lanes:
    """What is in memory on its way to the sink, bounded in bytes."""

    def __init__(self, ask: Callable[[], None], *, live_bytes: int = LIVE_BYTES) -> None:
        self._ask = ask
        """Called when the backlog lane runs low and there was more on disk."""
        self._live_bytes = live_bytes
        self._live: deque[Batch] = deque()
        self._backlog: deque[Batch] = deque()
        self._done: list[Batch] = []
        self._size = 0
        self._credit = 0
        self._more = False
        self._ready = threading.Condition()

    def add_live(self, batches: Iterable[Batch]) -> list[Batch]:
        """Batches just spooled; returns the oldest ones, for which there is no room any more."""
        out: list[Batch] = []
        with self._ready:
            for batch in batches:
                self._live.append(batch)
                self._size += len(batch.stored.body)
            while self._size > self._live_bytes and len(self._live) > 1:
                out.append(self._live.popleft())
                self._size -= len(out[-1].stored.body)
            self._ready.notify()
        return out

    def wants_backlog(self) -> bool:
        """Whether the backlog lane runs low."""
        return len(self._backlog) < BACKLOG_BATCHES // 4

    def add_backlog(self, batches: Iterable[Batch], more: bool) -> None:
        """Batches read from disk, oldest first; ``more``: there are others."""
        with self._ready:
            self._backlog.extend(batches)
            self._more = more
            self._ready.notify()

    def next(self, timeout_s: float, *, live_only: bool = False) -> Batch | None:
        """The next batch to deliver; None after the time-out."""
        with self._ready:
            if not self._live and (live_only or not self._backlog):
                self._ready.wait(timeout_s)
            batch: Batch | None = None
            backlog = not live_only and bool(self._backlog)
            if self._live and not (backlog and self._credit):
                batch = self._live.popleft()
                self._size -= len(batch.stored.body)
                self._credit = SHARE
            elif backlog:
                batch = self._backlog.popleft()
                self._credit = max(0, self._credit - 1)
            ask = self._more and not live_only and self.wants_backlog()
            if ask:
                self._more = False
        if ask:
            self._ask()
        return batch

    def finished(self, batch: Batch) -> None:
        """A batch was delivered, dead-lettered or given up."""
        with self._ready:
            self._done.append(batch)

    def take_finished(self) -> list[Batch]:
        """Batches finished since the last call."""
        with self._ready:
            done, self._done = self._done, []
        return done

    def wake(self) -> None:
        """End a wait of `next`."""
        with self._ready:
            self._ready.notify_all()

    def unkept(self) -> list[Batch]:
        """At the end: batches in memory that are not on disk."""
        with self._ready:
            return [b for b in (*self._live, *self._backlog) if b.key is None]

    def oldest_s(self) -> float | None:
        """Monotonic time of the oldest batch in memory."""
        with self._ready:
            heads = [lane[0].since_s for lane in (self._live, self._backlog) if lane]
        return min(heads, default=None)
