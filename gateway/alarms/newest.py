"""What conditions see: the newest row of each table, and how long ago it came."""

from __future__ import annotations

import math
from collections.abc import Collection

from gateway.alarms.conditions import Stale
from gateway.alarms.rules import Rule
from gateway.analysis.ingested import is_ingested
from gateway.analysis.livetags import LiveTag, Reading
from gateway.latest import Latest
from gateway.model import Row, Table

_NO_DATA = Reading(None, "no_data")
_STALE = Reading(None, "stale")


class Newest:
    """Rows in the order in which they came: each is judged, also where the next one is there.

    A value's age counts from when its row came, on the monotonic clock: a step of the wall clock
    makes nothing old. A BAD value stays BAD however old it is, because after a loss none follows.
    What another program sent may have waited there: its age counts from the time that it says.
    """

    __slots__ = ("_came", "_latest", "fresh", "max_age_s", "now_s", "time_ns")

    def __init__(self) -> None:
        self._latest = Latest()
        self._came: dict[Table, float] = {}
        self.now_s = 0.0
        self.fresh = False
        self.time_ns = 0
        self.max_age_s = math.inf

    def put(self, row: Row, old_s: float = 0.0) -> None:
        """A row that came now; ``old_s``: so old was it then."""
        self._latest.put(row)
        self._came[row.table] = self.now_s - old_s

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

    def is_sent_and_old(self, rule: Rule, now_s: float) -> bool:
        """Whether what it judges is sent by other programs, and too old now. From any thread."""
        if isinstance(rule.condition, Stale):
            return False
        came = [self._came.get(t.table) for t in rule.condition.tags if is_ingested(t.table)]
        return any(at is not None and now_s - at > rule.max_age_s for at in came)

    def keep(self, tables: Collection[Table]) -> None:
        """Forget the rows of all other tables.

        A declared tag that other programs send has a new table after a reload: its row stays.
        """
        known = {_shape(t): t for t in self._came if is_ingested(t)}
        for table in tables:
            old = known.get(_shape(table)) if known and is_ingested(table) else None
            row = self._latest.get(old) if old is not None and old is not table else None
            if row is not None and old is not None:
                self._latest.put(Row(table, row.time_ns, row.parts, row.marks))
                self._came[table] = self._came[old]
        for table in self._came.keys() - tables:
            del self._came[table]
            self._latest.drop(table)


def _shape(table: Table) -> tuple[object, ...]:
    return table.device, table.key, table.columns, table.kinds, table.units
