"""A batch on its way to the sink, and where it lies on disk."""

from __future__ import annotations

from typing import Literal, NamedTuple, TypeAlias

from gateway.losses import Cause
from gateway.model import OWN_TABLES
from gateway.spool.segment import Stored

Family: TypeAlias = Literal["events", "data"]
Lane: TypeAlias = Literal["live", "late", "backlog"]
FAMILIES: tuple[Family, ...] = ("events", "data")


class Key(NamedTuple):
    """Where a batch lies on disk."""

    family: Family
    number: int
    id: int


class Batch:
    """A batch on its way to the sink. ``key`` None: it is not on disk."""

    __slots__ = ("given_up", "key", "lane", "since_s", "stored", "unsent")

    def __init__(self, key: Key | None, stored: Stored, since_s: float) -> None:
        self.key = key
        self.stored = stored
        self.since_s = since_s
        """Monotonic time at which it was spooled (of its segment, when read back)."""
        self.unsent: list[bytes] = [stored.body]
        """What of it is still to be sent: more pieces once it had to be split."""
        self.lane: Lane = "live"
        """Which way it came to be sent."""
        self.given_up: tuple[Cause, str] | None = None
        """Why it is in memory only, where it is not on disk: if it is lost, that is the cause."""

    @property
    def family(self) -> Family:
        """Where it belongs; it holds rows of one kind only."""
        spans = self.stored.spans
        return "events" if spans and spans[0].table in OWN_TABLES else "data"
