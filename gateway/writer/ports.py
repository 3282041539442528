"""What a `Deliverer` takes its batches from, and where it leaves what was refused for good."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from gateway.spool.batch import Batch


class Source(Protocol):
    """Batches in the order in which they go: of a spool, or of Redis Streams."""

    @property
    def in_hand(self) -> Batch | None:
        """The batch that is being sent."""

    def next(self, timeout_s: float, *, live_only: bool = False) -> Batch | None:
        """The next batch to deliver; None after the time-out."""

    def overtaker(self) -> Batch | None:
        """A batch that may go between two pieces of another one."""

    def goes_on(self) -> None:
        """A piece of what was overtaken goes now."""

    def put_back(self, batch: Batch) -> None:
        """A batch in hand is not to be sent now."""

    def finished(self, batch: Batch) -> None:
        """A batch was delivered, dead-lettered or given up."""

    def wake(self) -> None:
        """End a wait of `next`."""


class Letters(Protocol):
    """Lines that were refused for good, with the words for them."""

    def add_all(self, lines: Sequence[bytes], reason: str) -> bool:
        """Keep them; False where that failed."""

    def close(self) -> None:
        """No more come."""
