"""The bounded queue before one receiver: the oldest is dropped, counted, and told later."""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from gateway.alarms.model import Transition


class Entry(NamedTuple):
    """A transition that waits."""

    transition: Transition
    expires_s: float
    """Monotonic time at which it is too old to be told."""
    is_late: bool = False


class Waiting:
    """Entries, oldest first, and what was dropped. Its owner holds a lock around every call."""

    def __init__(self, most: int, max_age_s: float) -> None:
        self._most = most
        self._max_age_s = max_age_s
        self._entries: deque[Entry] = deque()
        self._recalled: frozenset[int] = frozenset()
        self.dropped: Counter[str] = Counter()
        """Since the start, by cause: overflow, too_old, refused."""
        self.dropped_s: float | None = None
        """Monotonic time of the last drop."""
        self._untold: Counter[str] = Counter()

    def __len__(self) -> int:
        return len(self._entries)

    def __bool__(self) -> bool:
        return bool(self._entries)

    def put(self, transition: Transition) -> None:
        """Let it wait at the end, if it was not recalled from the history already."""
        if transition.number in self._recalled:
            return
        self._entries.append(Entry(transition, time.monotonic() + self._max_age_s))
        self._bound()

    def put_first(self, entries: Iterable[Entry]) -> None:
        """Let these, oldest first, wait before all others."""
        self._entries.extendleft(reversed(list(entries)))
        self._bound()

    def recall(self, newest_first: Iterable[Transition]) -> int:
        """Let transitions of an earlier run wait before all others; how many are new here."""
        known = {entry.transition.number for entry in self._entries}
        now_ns, now_s = time.time_ns(), time.monotonic()
        late = []
        for transition in newest_first:
            if transition.number in known:
                continue
            age_s = (now_ns - transition.time_ns) / 1e9
            late.append(Entry(transition, now_s + self._max_age_s - age_s, is_late=True))
        self._recalled = frozenset(entry.transition.number for entry in late)
        self.put_first(reversed(late))
        return len(late)

    def take(self, most: int) -> list[Entry]:
        """The oldest that are not too old, and drop those that are."""
        now_s = time.monotonic()
        taken: list[Entry] = []
        while self._entries and len(taken) < most:
            entry = self._entries.popleft()
            if entry.expires_s <= now_s:
                self.count("too_old")
            else:
                taken.append(entry)
        return taken

    def take_all(self) -> list[Entry]:
        """All that wait."""
        entries = list(self._entries)
        self._entries.clear()
        return entries

    def count(self, cause: str, how_many: int = 1) -> None:
        """So many were dropped."""
        self.dropped[cause] += how_many
        self.dropped_s = time.monotonic()
        self._untold[cause] += how_many

    def untold(self) -> Mapping[str, int]:
        """What was dropped since the receiver was last told."""
        return dict(self._untold)

    def told(self, causes: Mapping[str, int]) -> None:
        """The receiver knows of these."""
        self._untold -= Counter(causes)

    def _bound(self) -> None:
        while len(self._entries) > self._most:
            self._entries.popleft()
            self.count("overflow")
