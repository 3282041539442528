"""Two lanes between the thread that spools and the one that delivers: live first, then backlog."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterable

from gateway.spool.batch import Batch, Lane

LIVE_BYTES = 6_000_000
BACKLOG_BYTES = 2_000_000
BACKLOG_BATCHES = 64
FRESH_S = 1.0
"""A batch that has waited longer is live no more: what is newer goes before it."""
SHARE = 4
"""Live batches that may go while backlog waits, until one of that goes: its least share is 1 in
5. All of the time that no live batch needs is its own, too."""


class Lanes:
    """What is in memory on its way to the sink, bounded in bytes."""

    def __init__(
        self,
        ask: Callable[[], None],
        *,
        live_bytes: int = LIVE_BYTES,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._ask = ask
        """Called when the backlog lane runs low and there was more on disk."""
        self._live_bytes = live_bytes
        self._clock = clock
        self._live: deque[Batch] = deque()
        self._late: deque[Batch] = deque()
        """Live ones that have waited too long, as in an outage: backlog that is in memory."""
        self._backlog: deque[Batch] = deque()
        self._hand: list[Batch] = []
        """What is being sent; the last one has overtaken the first."""
        self._done: list[Batch] = []
        self._size = 0
        self._own_size = 0
        """Of that alarms, events and losses."""
        self._run = 0
        """Live batches that went before the backlog since one of that did."""
        self._more = False
        self._ready = threading.Condition()

    def add_live(self, batches: Iterable[Batch]) -> list[Batch]:
        """Batches just spooled; returns the oldest ones, for which there is no room any more."""
        out: list[Batch] = []
        with self._ready:
            for batch in batches:
                self._live.append(batch)
                self._weigh(batch, +1)
            while self._size > self._live_bytes and len(self._live) + len(self._late) > 1:
                out.append(self._pop_oldest())
                self._weigh(out[-1], -1)
            self._ready.notify()
        return out

    def _pop_oldest(self) -> Batch:
        """Of alarms, events and losses only what is more than half of the room."""
        wanted = "events" if 2 * self._own_size > self._live_bytes else "data"
        for lane in (self._late, self._live):
            for index, batch in enumerate(lane):
                if batch.family == wanted:
                    del lane[index]
                    return batch
        return (self._late or self._live).popleft()

    def _weigh(self, batch: Batch, sign: int) -> None:
        """A batch came into memory, or went."""
        size = sign * len(batch.stored.body)
        self._size += size
        self._own_size += size if batch.family == "events" else 0

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
            if not self._live and not self._late and (live_only or not self._backlog):
                self._ready.wait(timeout_s)
            batch = self._choose(live_only=live_only)
            self._hand += [batch] if batch is not None else []
            ask = self._more and not live_only and self.wants_backlog()
            if ask:
                self._more = False
        if ask:
            self._ask()
        return batch

    def overtaker(self) -> Batch | None:
        """A live batch that may go between two pieces of another one."""
        with self._ready:
            self._sort_out()
            if not self._live or self._run >= SHARE:
                return None
            self._run += 1
            batch = self._out_of("live")
            self._hand.append(batch)
            return batch

    def goes_on(self) -> None:
        """A piece of what was overtaken goes now."""
        with self._ready:
            self._run = 0

    def put_back(self, batch: Batch) -> None:
        """A batch in hand is not to be sent now: it is the first to go after what is live."""
        with self._ready:
            self._hand.remove(batch)
            if batch.lane == "backlog":
                self._backlog.appendleft(batch)
            else:
                self._late.appendleft(batch)
                self._weigh(batch, +1)

    @property
    def in_hand(self) -> Batch | None:
        """The batch that is being sent."""
        with self._ready:
            return self._hand[-1] if self._hand else None

    def _choose(self, *, live_only: bool) -> Batch | None:
        """Live first, and within its share the backlog, oldest first.

        ``live_only``: only what came in this run, in the order in which it came.
        """
        self._sort_out()
        late, backlog = self._late, () if live_only else self._backlog
        if self._live and not (live_only and late):
            waits = bool(late or backlog)
            if not waits or self._run < SHARE:
                self._run = self._run + 1 if waits else 0
                return self._out_of("live")
        if not late and not backlog:
            return None
        self._run = 0
        if backlog and not (late and late[0].since_s < backlog[0].since_s):
            return self._out_of("backlog")
        return self._out_of("late")

    def _sort_out(self) -> None:
        now = self._clock()
        while self._live and now - self._live[0].since_s > FRESH_S:
            self._late.append(self._live.popleft())

    def _out_of(self, lane: Lane) -> Batch:
        batch = {"live": self._live, "late": self._late, "backlog": self._backlog}[lane].popleft()
        batch.lane = lane
        if lane != "backlog":
            self._weigh(batch, -1)
        return batch

    def finished(self, batch: Batch) -> None:
        """A batch was delivered, dead-lettered or given up."""
        with self._ready:
            self._hand.remove(batch)
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
        """Batches in memory that are not on disk, oldest first; also what is in hand."""
        with self._ready:
            lanes = (*self._hand, *self._late, *self._live, *self._backlog)
            return [batch for batch in lanes if batch.key is None]

    def oldest_s(self) -> float | None:
        """Monotonic time of the oldest batch in memory."""
        with self._ready:
            heads = [lane[0] for lane in (self._late, self._live, self._backlog) if lane]
            return min((b.since_s for b in (*heads, *self._hand)), default=None)
