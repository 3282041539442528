"""Where rows of others go in: in order, within bounds, and with a word when they are on disk."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from gateway.hub import DEFAULT_CELLS, Hub, Published, Subscription, cells
from gateway.ingest.counts import Counts, Via
from gateway.ingest.senders import sent_states
from gateway.ingest.settings import IngestConfig
from gateway.ingest.shapes import Shapes
from gateway.model import Mark, Row, Table

SHARE_CELLS = DEFAULT_CELLS // 2
"""Of the queue of each sink: rows of others wait until there is room, and never push out those
that the gateway reads itself."""

PIECE_CELLS = SHARE_CELLS // 8

STORED_S = 30.0
"""A sender is told to send again where rows are not on disk after this."""


class Busy(Exception):
    """There is no room for rows now, or none are taken any more; the sender tries again."""


class Room:
    """Cells that rows of others may take in the queues. From any thread."""

    def __init__(self, max_cells: int = SHARE_CELLS) -> None:
        self._max = max_cells
        self._used = 0
        self._condition = threading.Condition()
        self._closed = False

    @property
    def used(self) -> int:
        """Cells taken now."""
        return self._used

    @property
    def is_closed(self) -> bool:
        """Whether nobody gets any more."""
        return self._closed

    def take(self, wanted: int, timeout_s: float) -> None:
        """Take cells, more than there are only where nobody has any. Busy after the time-out."""
        with self._condition:
            fits = self._condition.wait_for(
                lambda: self._closed or not self._used or self._used + wanted <= self._max,
                timeout_s,
            )
            if self._closed:
                raise Busy("the gateway is stopping")
            if not fits:
                raise Busy("rows wait for the disk; there is no room for more")
            self._used += wanted

    def give_back(self, cells_: int) -> None:
        """They are free again."""
        with self._condition:
            self._used -= cells_
            self._condition.notify_all()

    def close(self) -> None:
        """Nobody gets any more."""
        with self._condition:
            self._closed = True
            self._condition.notify_all()


class Intake:
    """Publishes rows of others. From any thread."""

    def __init__(
        self,
        hub: Hub,
        gateway: str,
        config: IngestConfig,
        is_configured: Callable[[str], bool],
        clock_mark: Callable[[], Mark | None] = lambda: None,
    ) -> None:
        self.config = config
        self.shapes = Shapes(gateway, config.max_tables, config.max_columns, is_configured)
        self.room = Room()
        self.hub = hub
        self.clock_mark = clock_mark
        """What rows are marked with that get their time here."""
        self._last_ns: dict[Table, int] = {}
        self._lock = threading.Lock()
        self.counts = Counts()

    def stamp(self, table: Table) -> int:
        """The time of a row that came without: now, and later than the one before."""
        return max(time.time_ns(), self._last_ns.get(table, 0) + 1)

    def publish(self, rows: Sequence[Row], timeout_s: float) -> Published:
        """Publish rows, which must be of `shapes`; where they stand in the queues.

        A row that is not newer than the newest of its table goes to the sinks alone: it changes
        nothing that is live. Waits for room. Busy where there is none in time: some may have been
        published.
        """
        ends_s = time.monotonic() + timeout_s
        return joined([self._publish(*piece, ends_s - time.monotonic()) for piece in _pieces(rows)])

    def _publish(self, rows: Sequence[Row], cost: int, timeout_s: float) -> Published:
        self.room.take(cost, max(0.0, timeout_s))
        fresh: list[Row] = []
        late: list[Row] = []
        with self._lock:
            last_ns = self._last_ns
            for row in rows:
                if row.time_ns > last_ns.get(row.table, 0):
                    last_ns[row.table] = row.time_ns
                    fresh.append(row)
                else:
                    late.append(row)
            # within the lock, so that rows of a table reach the queues in the order of their times
            published = self.hub.publish_all(fresh) if fresh else Published(())
            if late:
                published = joined([published, self.hub.publish_all(late, late=True)])
        self.counts.published(len(rows), len(late))

        def settled(_: bool) -> None:
            self.room.give_back(cost)
            self.counts.settled(len(rows))

        self.hub.when_stored(published, settled)
        return published

    def note(
        self, sender: str, rows: int, refused: Mapping[str, int] | None = None, messages: int = 1,
        via: Via = "http",
    ) -> None:  # fmt: skip
        """Count what came of a sender. ``refused``: lines or rows by reason."""
        self.counts.note(sender, rows, refused or {}, messages, via)

    def close(self) -> None:
        """Take no more rows: the writers are about to end."""
        self.room.close()

    def status(self) -> dict[str, Any]:
        """Counters since the start, and what waits now."""
        return {
            **self.counts.status(),
            "tables": len(self.shapes),
            "max_tables": self.config.max_tables,
            "waiting_cells": self.room.used,
            "devices": sent_states(self.shapes.tables(), self.config.devices, self.hub.latest),
        }


def _pieces(rows: Sequence[Row]) -> Iterator[tuple[Sequence[Row], int]]:
    """The rows in pieces that are small beside a queue, each with its cells."""
    begin = cost = 0
    for at, row in enumerate(rows):
        of_row = cells(row)
        if cost and cost + of_row > PIECE_CELLS:
            yield rows[begin:at], cost
            begin, cost = at, 0
        cost += of_row
    if begin < len(rows):
        yield rows[begin:], cost


def joined(published: Sequence[Published]) -> Published:
    """All of them as one."""
    spans: dict[Subscription, tuple[int, int]] = {}
    for each in published:
        for queue, first, end in each.spans:
            low, high = spans.get(queue, (first, end))
            spans[queue] = min(low, first), max(high, end)
    return Published(tuple((queue, *span) for queue, span in spans.items()))
