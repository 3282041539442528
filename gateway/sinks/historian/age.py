"""What time it is for deletion by age: a clock that jumps must not delete the history.

The wall clock is compared with a line of its own: the time that was trusted last, which the file
keeps, plus the time that has run since by the monotonic clock. Where the wall clock is more than a
day off that line, the earlier of both counts, until the clock has gone on like this for a day of
running; a gateway that was off for weeks catches up then.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Final, NamedTuple

log = logging.getLogger(__name__)

JUMP_NS: Final = 86_400_000_000_000
"""The wall clock is doubted when it is further from the trusted time."""
BELIEVED_AFTER_NS: Final = 86_400_000_000_000
"""Running time after which a doubted clock is believed."""


class Ages(NamedTuple):
    """As the file keeps it: the trusted time, and the one that is doubted and for how long."""

    trusted_ns: int = 0
    doubted_ns: int = 0
    doubted_for_ns: int = 0


class AgeClock:
    """Tells the time for retention. It outlives connections and files."""

    def __init__(self, name: str, monotonic_ns: Callable[[], int] = time.monotonic_ns) -> None:
        self.ages = Ages()
        self._name = name
        self._monotonic_ns = monotonic_ns
        self._at_ns = monotonic_ns()

    def begin(self, kept: Ages, newest_row_ns: int | None) -> None:
        """Go on from what the file keeps; a file without it is as old as its newest row."""
        if not self.ages.trusted_ns:
            self.ages = kept if kept.trusted_ns else Ages(newest_row_ns or 0)
            self._at_ns = self._monotonic_ns()

    def now_ns(self, wall_ns: int) -> int:
        """The time by which age is told; never later than ``wall_ns``."""
        before_ns, self._at_ns = self._at_ns, self._monotonic_ns()
        elapsed_ns = self._at_ns - before_ns
        trusted_ns, doubted_ns, doubted_for_ns = self.ages
        if not trusted_ns:
            self.ages = Ages(wall_ns)
            return wall_ns
        trusted_ns += elapsed_ns
        if abs(wall_ns - trusted_ns) <= JUMP_NS:
            if doubted_ns:
                log.info("historian %s: the clock is right again", self._name)
            self.ages = Ages(wall_ns)
            return wall_ns
        doubted_ns += elapsed_ns
        if abs(wall_ns - doubted_ns) > JUMP_NS:
            doubted_for_ns = 0
            log.warning(
                "historian %s: the clock is %+.1f days off the last stored time; it is believed, "
                "and values are deleted by age, after %.0f h of running",
                self._name,
                (wall_ns - trusted_ns) / JUMP_NS,
                BELIEVED_AFTER_NS / 3.6e12,
            )
        else:
            doubted_for_ns += elapsed_ns
        if doubted_for_ns >= BELIEVED_AFTER_NS:
            log.warning("historian %s: the clock is believed from now on", self._name)
            self.ages = Ages(wall_ns)
            return wall_ns
        self.ages = Ages(trusted_ns, wall_ns, doubted_for_ns)
        return min(wall_ns, trusted_ns)
