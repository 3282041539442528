"""One device on its bus: what it does now, when its groups are due, and its counters."""

from __future__ import annotations

import logging
import time
from typing import Any, Literal

from gateway.driver import Driver
from gateway.health import Rolling
from gateway.model import ALL, Group, Quality, Row

log = logging.getLogger("gateway.device")

State = Literal["connecting", "good", "lost", "disabled"]


LOOK_BACK = 100
"""The last so many polls of a group, up to twice as many, say whether its interval is too short."""

TOO_MANY = 5
"""More of them than this that are not over when the next is due are no single stall."""


class GroupClock:
    """When a group is due: a fixed grid on the monotonic clock, late ticks skipped and counted."""

    __slots__ = ("_lately", "_over", "_over_before", "due", "group", "missed", "polls")

    def __init__(self, group: Group, first_due: float) -> None:
        self.group = group
        self.due = first_due
        self.polls = 0
        self.missed = 0
        self._lately = 0
        """Polls since the last look."""
        self._over = self._over_before = 0
        """Of these, and of the LOOK_BACK before: not over when the next was due."""

    @property
    def is_too_short(self) -> bool:
        """Whether the interval is: polls are skipped again and again."""
        return self._over + self._over_before > TOO_MANY

    def start(self, now: float) -> None:
        """To the first tick that is not over yet; those before it were nobody's fault."""
        missed, over = self.missed, self._over
        if self.due <= now:
            self.advance(now)
        self.missed, self._over = missed, over

    def advance(self, now: float) -> None:
        """To the next tick that is not over yet."""
        interval = self.group.interval_s
        self.due += interval
        if self._lately == LOOK_BACK:
            self._lately, self._over, self._over_before = 0, 0, self._over
        self._lately += 1
        if now >= self.due:
            late = int((now - self.due) // interval) + 1
            self.missed += late
            self._over += 1
            self.due += late * interval


class DeviceState:
    """One device on its bus: what it does now, its schedule and its counters."""

    def __init__(self, driver: Driver, enabled: bool, phase: float, start: float) -> None:
        self.driver = driver
        self.name = driver.name
        self.state: State = "connecting" if enabled else "disabled"
        self.reason = ""
        self.since = time.monotonic()
        self.clocks = [
            # staggered: groups of many devices shall not all be due in the same millisecond
            GroupClock(g, start + ((phase + i / len(driver.groups)) % 1.0) * g.interval_s)
            for i, g in enumerate(driver.groups)
        ]
        self.connects = 0
        self.polls = 0
        self.errors = 0
        self.lateness = Rolling()
        self.reading = Rolling()
        self.pause_s = 0.0
        self.allowance_s = 0.0
        """Longest that a poll may take: every request waits for its time-out."""
        self.attempted = not enabled
        """Whether the first round is done or has failed with a reason."""
        self.facts: dict[str, Any] = {}
        self.quarantined: list[tuple[str, str, str]] = []
        self.facts_at = 0.0
        self._faulty = False

    def turn(self, state: State, reason: str = "") -> None:
        """Note a change of state."""
        if (state, reason) != (self.state, self.reason):
            self.since = time.monotonic()
        self.state, self.reason = state, reason

    def refresh(self, now: float) -> None:
        """Copy what others may read of the driver, at most once a second, in its own thread."""
        if now - self.facts_at >= 1.0:
            self.facts_at = now
            try:
                self.facts = self.driver.status()
                self.quarantined = self.driver.quarantined()
            except Exception as error:
                # its values are worth more than what it says of itself
                self.facts = {"fault": repr(error)}
                if not self._faulty:
                    self._faulty = True
                    log.exception("status failed; a bug of the driver", extra={"device": self.name})


def count_bad(row: Row) -> int:
    """How many columns of the row are BAD."""
    if row.marks is None:
        return 0
    whole = row.marks.get(ALL)
    if whole is not None and whole.quality is Quality.BAD:
        return len(row.table.columns)
    return sum(1 for i, mark in row.marks.items() if i != ALL and mark.quality is Quality.BAD)
