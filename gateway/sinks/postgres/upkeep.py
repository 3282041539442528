"""Partitions made before their time comes, dropped after it; and when each source was seen last."""

from __future__ import annotations

import logging
import time

import psycopg
from psycopg import errors

from gateway.model import Array
from gateway.sinks.postgres.client import Connection, words_of
from gateway.sinks.postgres.schema import DAY_NS

log = logging.getLogger(__name__)

EVERY_S = 3600.0
AGAIN_S = 60.0
"""A partition that could not be made (somebody held a lock) is tried again after so long."""

SEEN_EVERY_S = 2.0
AHEAD = 2
"""Partitions beside the present one."""

PAST_NS = 20 * 365 * DAY_NS
FUTURE_NS = 30 * DAY_NS
"""Times further off than these get no partition of their own: a clock that is far out must not make
thousands. They are in `sample_other`."""

AT_ONCE = 20
LOCK_MS = 2000


class Upkeep:
    """For one thread. Errors of the server are logged: rows that come meanwhile are not lost."""

    def __init__(self, sink: str, retention_days: int) -> None:
        self.too_old_ns: int | None = None
        """Rows before this time would be dropped at once; None: nothing is dropped."""
        self.dropped: list[str] = []
        self._sink = sink
        self._retention_ns = retention_days * DAY_NS
        self._width_ns = 0
        self._timescale = False
        self._made: set[int] = set()
        self._failed_s: dict[int, float] = {}
        self._locked_s = 0.0
        """Until then the locks that a new partition needs are not asked for."""
        self._next_s = 0.0
        self._seen: dict[int, int] = {}
        self._seen_s = 0.0

    def forget(self) -> None:
        """The database may be another one."""
        self._width_ns = 0
        self._made.clear()
        self._failed_s.clear()
        self._next_s = 0.0

    def begin(self, db: Connection) -> None:
        """Before a batch: what is due."""
        now = time.monotonic()
        if now < self._next_s:
            return
        found = db.execute(
            "SELECT partition_ns, kind, to_ns(now()), (SELECT max(last_ns) FROM source) FROM layout"
        ).fetchone()
        if found is None:
            return
        self._width_ns, kind, now_ns, newest_ns = found
        self._timescale = kind == "timescale"
        self._next_s = now + EVERY_S
        if not self._timescale:
            for ahead in range(AHEAD + 1):
                self._make(db, now_ns // self._width_ns + ahead)
            self._bring_home(db, now_ns)
        if self._retention_ns and newest_ns is not None:
            # a clock that is far ahead, the server's or a gateway's, must not delete the history
            self.too_old_ns = min(now_ns, newest_ns) - self._retention_ns
            self._drop(db, self.too_old_ns)

    def make_room(self, db: Connection, times: Array) -> None:
        """Before values of these times come: their partitions."""
        if not self._width_ns or self._timescale or not len(times):
            return
        now_ns = time.time_ns()
        first, last = int(times.min()) // self._width_ns, int(times.max()) // self._width_ns
        wanted = {first, last}
        if last - first > 1:
            wanted = set((times // self._width_ns).tolist())
        low, high = (now_ns - PAST_NS) // self._width_ns, (now_ns + FUTURE_NS) // self._width_ns
        new = sorted(n for n in wanted - self._made if low <= n <= high)
        for number in new[:AT_ONCE]:
            if time.monotonic() > self._failed_s.get(number, 0.0):
                self._make(db, number)

    def _make(self, db: Connection, number: int) -> None:
        if time.monotonic() < self._locked_s:
            return  # each wait costs the batch of its time
        try:
            self._with_patience(db, "SELECT make_partition(%s)", number * self._width_ns)
        except psycopg.Error as error:
            if isinstance(error, psycopg.OperationalError) and db.broken:
                raise
            self._failed_s[number] = time.monotonic() + AGAIN_S
            if isinstance(error, errors.LockNotAvailable):
                self._locked_s = self._failed_s[number]
            text = "sink %s: no partition yet, its rows go to sample_other: %s"
            log.warning(text, self._sink, words_of(error), extra={"sink": self._sink})
        else:
            self._made.add(number)
            self._failed_s.pop(number, None)

    def _bring_home(self, db: Connection, now_ns: int) -> None:
        """Rows that went to `sample_other` for want of a partition."""
        rows = db.execute(
            "SELECT DISTINCT floor(time_ns::numeric / %s)::bigint FROM sample_other"
            " WHERE time_ns BETWEEN %s AND %s LIMIT %s",
            (self._width_ns, now_ns - PAST_NS, now_ns + FUTURE_NS, AT_ONCE),
        ).fetchall()
        for (number,) in rows:
            self._make(db, number)

    def _drop(self, db: Connection, limit_ns: int) -> None:
        try:
            gone = self._with_patience(db, "SELECT drop_before(%s)", limit_ns)
        except psycopg.Error as error:
            if isinstance(error, psycopg.OperationalError) and db.broken:
                raise
            log.warning("sink %s: nothing dropped: %s", self._sink, words_of(error))
            return
        for (name,) in gone:
            self.dropped.append(str(name))
            text = "sink %s: dropped %s, older than retention_days"
            log.info(text, self._sink, name, extra={"sink": self._sink})
        del self.dropped[:-100]

    @staticmethod
    def _with_patience(db: Connection, text: str, argument: int) -> list[tuple[object, ...]]:
        """Run it, but do not let others wait long behind our wait for a lock."""
        with db.transaction():
            db.execute(f"SET LOCAL lock_timeout TO {LOCK_MS}")
            return list(db.execute(text, (argument,)).fetchall())

    def seen(self, newest: dict[int, int]) -> None:
        """These sources had rows until these times, ns."""
        for source_id, time_ns in newest.items():
            self._seen[source_id] = max(time_ns, self._seen.get(source_id, time_ns))

    def tell_seen(self, db: Connection, *, at_once: bool = False) -> None:
        """Write it down now and then; whoever writes the same source now does not wait for us."""
        now = time.monotonic()
        if not self._seen or (not at_once and now - self._seen_s < SEEN_EVERY_S):
            return
        self._seen_s = now
        ids, times = list(self._seen), list(self._seen.values())
        try:
            db.execute(
                "UPDATE source AS s SET last_ns = greatest(s.last_ns, n.last_ns)"
                " FROM (SELECT o.id, m.last_ns FROM source AS o"
                "       JOIN unnest(%s::integer[], %s::bigint[]) AS m (id, last_ns) ON m.id = o.id"
                "       ORDER BY o.id FOR NO KEY UPDATE OF o SKIP LOCKED) AS n WHERE n.id = s.id",
                (ids, times),
            )
        except errors.OperationalError as error:
            if db.broken:
                raise
            log.debug("sink %s: last times not noted: %s", self._sink, words_of(error))
            return
        self._seen.clear()
