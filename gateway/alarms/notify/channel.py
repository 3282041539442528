"""What a way out must do, and how long is waited after it failed."""

from __future__ import annotations

import random
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import NamedTuple

from gateway.alarms.notify.notice import Notice, Undelivered

MAX_RETRY_AFTER_S = 300.0


class Channel(ABC):
    """A way out. Its constructor does no I/O; all but `interrupt` is called by one thread."""

    most_at_once = 1
    """Notices that one `send` takes at most."""
    pace_s = 0.0
    """Shortest time between two sends; what comes meanwhile goes with the next."""
    longest_s = 30.0
    """A send is over within this time, whatever the other side does."""

    @abstractmethod
    def send(self, notices: Sequence[Notice]) -> None:
        """Send them; returning means that they are out. Undelivered: again. Refused: for good."""

    def idle(self) -> None:  # noqa: B027 - most keep nothing open
        """Nothing more waits: close what was kept open. Never raises."""

    @abstractmethod
    def interrupt(self) -> None:
        """End a send that is under way, and let none begin. From another thread; never raises."""


class Retry(NamedTuple):
    """Pauses between tries: doubling, with jitter; slow where only a person can help."""

    first_s: float = 1.0
    max_s: float = 60.0
    operator_s: float = 30.0

    def pause_s(self, failures: int, error: Undelivered) -> float:
        """The pause after the n-th failure in a row."""
        doubled = self.first_s * 2.0 ** min(failures - 1, 30)
        base = min(self.operator_s if error.operator else doubled, self.max_s)
        jittered = base * random.uniform(0.75, 1.25)
        return max(jittered, min(error.retry_after_s, MAX_RETRY_AFTER_S))
