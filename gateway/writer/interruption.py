"""What an unclean stop may have cost a sink, found out by the start after it."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

from gateway.model import OWN_TABLES, Row
from gateway.spool.manifest import Note, Span
from gateway.writer.alive import Alive

ALARM_TABLE = "gateway_alarm"
COMPARABLE_NS = 7 * 86_400_000_000_000
"""Further apart, the clock of the rows and the one that a file's time came from differ."""


class StoredAlarms(NamedTuple):
    """Up to when a sink has the alarms of each device."""

    by_device: Mapping[str, int]
    since_ns: int
    """Of all others: when the first run began that was killed."""

    @property
    def first_ns(self) -> int:
        """Up to then it has all alarms of all devices."""
        return min([self.since_ns, *self.by_device.values()])

    def has(self, row: Row) -> bool:
        """Whether the row of an alarm is stored."""
        return row.time_ns <= self.by_device.get(row.table.device, self.since_ns)


class Interruption:
    """Of one writer; used by its thread."""

    def __init__(self, alive: Alive, flush_interval_s: float) -> None:
        self._alive = alive
        self._within_ns = int(2e9 * flush_interval_s)
        """How long it may have run after its last row, where no file tells."""
        self._last_ns: dict[tuple[str, str], int] = {}
        """The last stored time of each table that has no rows since."""
        self._nothing_since_ns: int | None = None
        """When a run began that was killed, for tables of which it has stored no row."""
        self._begun: set[tuple[str, str]] = set()
        """Tables with rows since the start after it."""

    def found(self, last_ns: Mapping[tuple[str, str], int], *, nothing: bool = False) -> None:
        """What the outlet found at its opening. ``nothing``: earlier runs stored no row."""
        self._last_ns.update(last_ns)
        if self._last_ns or nothing:  # a table of which nothing was stored is not among these
            self._nothing_since_ns = self._alive.since_ns

    def alarms(self) -> StoredAlarms | None:
        """What is stored of alarms; None where there was no unclean stop, or nothing is known."""
        since_ns = self._nothing_since_ns or max(self._last_ns.values(), default=None)
        if since_ns is None:
            return None
        by_device = {
            device: ns for (device, table), ns in self._last_ns.items() if table == ALARM_TABLE
        }
        return StoredAlarms(by_device, since_ns)

    def missing(self, rows: Iterable[Row]) -> Iterator[Note]:
        """What each table may have lost before its first new row.

        At most what came between the last stored row and the time until which the gateway may
        have run.
        """
        if not self._last_ns and self._nothing_since_ns is None:
            return
        for row in rows:
            table = row.table
            key = (table.device, table.key)
            if key in self._begun:
                continue
            self._begun.add(key)
            last_ns = self._last_ns.pop(key, self._nothing_since_ns)
            if last_ns is None or table.name in OWN_TABLES or not table.interval_s:
                continue
            interval_ns = table.interval_s * 1e9
            ended = self._alive.before
            if not table.steady and ended:  # what came long before the end was stored
                last_ns = max(last_ns, min(ended.from_ns, row.time_ns - 1))
            end_ns = ended.until_ns if ended else 0
            if not 0 < end_ns - last_ns < COMPARABLE_NS:
                end_ns = last_ns + self._within_ns
            missing = int((row.time_ns - last_ns) / interval_ns - 0.5)
            at_most = min(missing, math.ceil((end_ns - last_ns) / interval_ns))
            if at_most > 0:
                span = Span(table.device, table.key, at_most, last_ns + 1, row.time_ns - 1)
                yield "unclean_stop", span, "at most; the gateway was not stopped cleanly"
