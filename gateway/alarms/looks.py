"""When alarms are due to be judged though no row comes: delays, silences, shelves that end."""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Iterable, Iterator

from gateway.alarms.alarm import Alarm


class Looks:
    """A heap of times (monotonic seconds). What it holds too much of is passed over when due."""

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, Alarm]] = []
        self._count = itertools.count()
        self._bound = 64

    def __len__(self) -> int:
        return len(self._heap)

    def keep(self, alarms: Iterable[Alarm]) -> None:
        """Forget the looks of all other alarms."""
        live = set(alarms)
        self._bound = 64 + 4 * len(live)
        self._heap = [look for look in self._heap if look[2] in live]
        heapq.heapify(self._heap)

    def schedule(self, alarm: Alarm, now_s: float) -> None:
        """Have the alarm looked at when it asks for it."""
        due_s = alarm.look_at_s(now_s)
        if due_s is None or (alarm.scheduled_s is not None and alarm.scheduled_s <= due_s):
            return  # a look that comes too early schedules the right one
        alarm.scheduled_s = due_s
        heapq.heappush(self._heap, (due_s, next(self._count), alarm))
        if len(self._heap) > self._bound:
            self._heap = [look for look in self._heap if look[2].scheduled_s == look[0]]
            heapq.heapify(self._heap)

    def due(self, now_s: float) -> Iterator[Alarm]:
        """Alarms to be looked at by now; any may be scheduled again meanwhile."""
        while self._heap and self._heap[0][0] <= now_s:
            due_s, _, alarm = heapq.heappop(self._heap)
            if alarm.scheduled_s == due_s:  # else it is scheduled for another time
                alarm.scheduled_s = None
                yield alarm

    @property
    def next_s(self) -> float | None:
        """When the next one is due."""
        return self._heap[0][0] if self._heap else None
