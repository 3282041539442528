"""What conditions see: the newest row of each table, and how long ago it came."""

from __future__ import annotations

import math
from collections.abc import Collection

from gateway.analysis.livetags import LiveTag, Reading
from gateway.latest import Latest
from gateway.model import Row, Table

_NO_DATA = Reading(None, "no_data")
_STALE = Reading(None, "stale")


class Newest:
    """Rows in the order in which they came: each is judged, also where the next one is there.

    A value's age counts from when its row came, on the monotonic clock: a step of the wall clock
    makes nothing old. A BAD value stays BAD however old it is, because after a loss none follows.
    """

    __slots__ = ("_came", "_latest", "fresh", "max_age_s", "now_s", "time_ns")

    def __init__(self) -> None:
        self._latest = Latest()
        self._came: dict[Table, float] = {}
        self.now_s = 0.0
        self.fresh = False
        self.time_ns = 0
        self.max_age_s = math.inf

    def put(self, row: Row) -> None:
        """A row that came now."""
        self._latest.put(row)
        self._came[row.table] = self.now_s

    def read(self, tag: LiveTag) -> Reading:
        """The newest value of a tag, unless it is BAD or older than ``max_age_s``."""
        came_s = self._came.get(tag.table)
        if came_s is None:
            return _NO_DATA
        row = self._latest.get(tag.table)
        if row is None:
            return _NO_DATA
        found = tag.read(self._latest, row.time_ns, math.inf)
        if found.value is not None and self.now_s - came_s > self.max_age_s:
            return _STALE
        return found

    def keep(self, tables: Collection[Table]) -> None:
        """Forget the rows of all other tables."""
        for table in self._came.keys() - tables:
            del self._came[table]
            self._latest.drop(table)
