"""When a loss is told: the first of its kind at once, those that follow as ranges, now and then.

A server that refuses a column refuses it in every batch, and a row for each would be a flood of
its own in every sink.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable

from gateway.spool.manifest import Note

TELL_EVERY_S = 60.0
"""While a loss goes on, what came after its first is told so often."""
CALM_S = 5.0
"""After such a time without more of it, the rest is told."""

DETAILS = 5
"""So many different words of one cause and table are told at once."""
PLACES = 1000
"""Of so many causes and tables it is known what was told; of more, those that are quiet are not."""


class Repeats:
    """What was told lately; used by one thread."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._known: dict[tuple[str, str, str], tuple[float, set[str]]] = {}
        self._seen_s = -math.inf
        self._told_s = -math.inf
        self._since_s: float | None = None
        """Since when there are some that follow."""
        self._was_ending = False

    def is_new(self, note: Note) -> bool:
        """Whether to tell this loss at once; else it is one of those that follow."""
        cause, span, detail = note
        now = self._clock()
        self._seen_s = now
        if len(self._known) >= PLACES:
            self._known = {k: v for k, v in self._known.items() if now - v[0] < TELL_EVERY_S}
        place = (cause, *span[:2])
        since_s, details = self._known.get(place, (-math.inf, set()))
        if now - since_s >= TELL_EVERY_S:
            details = set()
        self._known[place] = (now, details)
        if detail in details or len(details) >= DETAILS:
            self._since_s = now if self._since_s is None else self._since_s
            return False
        details.add(detail)
        return True

    def is_due(self, *, growing: bool = False, ending: bool = False) -> bool:
        """Whether it is time to tell those that follow.

        Args:
            growing: More of them are to come, whether or not one has come just now.
            ending: The writer stops: they are told once more, and what comes later is told by the
                next start, as its rows may have no room any more.
        """
        is_first, self._was_ending = ending and not self._was_ending, ending
        if ending:
            return is_first
        if self._since_s is None:
            return False
        now = self._clock()
        is_over = not growing and now - self._seen_s >= CALM_S
        return is_over or now - self._since_s >= TELL_EVERY_S

    @property
    def is_calm(self) -> bool:
        """Whether the last were told a while ago."""
        return self._clock() - self._told_s >= CALM_S

    def told(self) -> None:
        """Those that follow are told now."""
        self._told_s = self._clock()
        self._since_s = None
