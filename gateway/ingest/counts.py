"""What came of the rows of others since the start, and what of them waits now."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Mapping
from typing import Any, Final, Literal, Protocol

from gateway.ingest.shapes import REASONS

MAX_SENDERS: Final = 200

Via = Literal["http", "grpc"]
Outcome = Literal["stored", "partly", "refused", "again"]
VIAS: Final[tuple[Via, ...]] = ("http", "grpc")
OUTCOMES: Final[tuple[Outcome, ...]] = ("stored", "partly", "refused", "again")
"""Of a body, or a stream at its end: all rows are on disk; all but those that were refused; it was
not taken at all, or broke the protocol; it is to be sent again."""


class OpenStream(Protocol):
    """A stream of batches."""

    waiting: int
    """Batches that came and are not acknowledged."""


class Counts:
    """Counters and gauges. From any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._totals: Counter[str] = Counter()
        self._refused: Counter[str] = Counter()
        self._requests: Counter[tuple[Via, Outcome]] = Counter()
        self._messages: Counter[Via] = Counter()
        self._senders: dict[str, Counter[str]] = {}
        self._streams: set[OpenStream] = set()

    def note(
        self, sender: str, rows: int, refused: Mapping[str, int], messages: int, via: Via
    ) -> None:
        """Messages of a sender were read. ``refused``: lines or rows by reason."""
        total = sum(refused.values())
        with self._lock:
            if sender not in self._senders and len(self._senders) >= MAX_SENDERS:
                sender = "others"
            of = self._senders.setdefault(sender, Counter())
            for name, count in (("messages", messages), ("rows", rows), ("refused", total)):
                of[name] += count
            self._totals["refused"] += total
            self._refused.update(refused)
            self._messages[via] += messages

    def published(self, rows: int, late: int) -> None:
        """Rows went into the queues; ``late`` of them for the sinks alone. They wait."""
        with self._lock:
            self._totals["rows"] += rows
            self._totals["rows_late"] += late
            self._totals["waiting"] += rows

    def settled(self, rows: int) -> None:
        """Rows are on disk, or were given up: they wait no more."""
        with self._lock:
            self._totals["waiting"] -= rows

    def answered(self, via: Via, outcome: Outcome) -> None:
        """A body was answered, or a stream has ended."""
        with self._lock:
            self._requests[via, outcome] += 1

    def opened(self, stream: OpenStream) -> None:
        """A stream began."""
        with self._lock:
            self._streams.add(stream)

    def closed(self, stream: OpenStream) -> None:
        """It has ended."""
        with self._lock:
            self._streams.discard(stream)

    def status(self) -> dict[str, Any]:
        """For `gateway.api.schemas.IngestStatus`.

        Every reason and outcome is there from the start: a rate needs the 0 before the first.
        """
        with self._lock:
            return {
                "messages": sum(self._messages.values()),
                "messages_by": {via: self._messages[via] for via in VIAS},
                "requests": {
                    via: {outcome: self._requests[via, outcome] for outcome in OUTCOMES}
                    for via in VIAS
                },
                "rows": self._totals["rows"],
                "rows_late": self._totals["rows_late"],
                "refused": self._totals["refused"],
                "refused_by": {reason: self._refused[reason] for reason in REASONS},
                "waiting_rows": self._totals["waiting"],
                "waiting_batches": sum(stream.waiting for stream in self._streams),
                "streams": len(self._streams),
                "senders": {name: dict(counts) for name, counts in self._senders.items()},
            }
