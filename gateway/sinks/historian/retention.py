"""What the historian deletes: by age, and by size, which wins. Little at a time, with each store.

Freed pages are used again, so the file stays at its bound. Raw rows go first until they hold half
of it, then the one-minute roll-ups go: otherwise minutes kept ten times longer would in the end
leave no room for raw rows at all.
"""

from __future__ import annotations

import logging
import sqlite3
import time
from typing import Final

from gateway.sinks.historian.age import AgeClock, Ages
from gateway.sinks.historian.file import PAGE, SPAN, WAL_BYTES, State
from gateway.sinks.historian.minutes import MINUTE_NS

log = logging.getLogger(__name__)

BYTES_PER_VALUE: Final = 22.4
"""A float in the file, measured in tables of 200 columns; and per row of a table:"""
BYTES_PER_ROW: Final = 20.0
BYTES_PER_MINUTE: Final = 43.0
"""One tag's roll-up of one minute in the file, measured."""
RAW_SHARE: Final = 0.5
MINUTES_KEPT: Final = 10
"""Roll-ups are kept so many times longer than raw rows."""

LEAST_DELETED: Final = 20_000
"""Values that one store deletes at least, where something is due: about 10 ms of work."""
_DAY_NS: Final = 86_400_000_000_000
_ROUNDS: Final = 8
_SPARE_PAGES: Final = 64


def days_that_fit(values_per_s: float, max_bytes: int, columns_per_row: float = 50) -> float:
    """How many days of raw values at least fit, while the roll-ups hold their half of the file.

    ``values_per_s`` is what is stored, after `store_every_s` and dead bands.
    """
    bytes_per_value = BYTES_PER_VALUE + BYTES_PER_ROW / max(columns_per_row, 1)
    return max_bytes * RAW_SHARE / (max(values_per_s, 1e-9) * bytes_per_value * 86_400)


def minute_days_that_fit(tags: int, max_bytes: int) -> float:
    """How many days of one-minute roll-ups fit in their half of the file."""
    return max_bytes * (1 - RAW_SHARE) / (max(tags, 1) * BYTES_PER_MINUTE * 1440)


class Retention:
    """Deletes what is too old or does not fit. Every call is within the caller's transaction."""

    def __init__(self, retention_days: float, max_bytes: int, age: AgeClock) -> None:
        self._age = age
        self._catching_up = False
        self._keep_ns = int(retention_days * _DAY_NS)
        # the WAL of one store comes on top of the file
        self._most_pages = (max_bytes - min(4 * WAL_BYTES, max_bytes // 4)) // PAGE

    def begin(self, connection: sqlite3.Connection, state: State) -> None:
        """A file was opened."""
        newest = connection.execute(
            "SELECT time_ns FROM row_time ORDER BY id DESC LIMIT 1"
        ).fetchone()
        kept = Ages(state.trusted_ns, state.doubted_ns, state.doubted_for_ns)
        self._age.begin(kept, newest[0] if newest else None)

    def make_room(
        self, connection: sqlite3.Connection, state: State, values: int, wall_ns: int
    ) -> State:
        """Delete what is due before so many values are added; the new state."""
        most = max(LEAST_DELETED, 2 * values)
        now_ns = self._age.now_ns(wall_ns)
        state = state._replace(**self._age.ages._asdict())
        state = self._delete_old(connection, state, most, now_ns)
        incoming = int(values * (BYTES_PER_VALUE + BYTES_PER_ROW) / PAGE) + _SPARE_PAGES
        for _ in range(_ROUNDS):
            if used_pages(connection) + incoming <= self._most_pages:
                break
            before = state
            state = self._delete_oldest(connection, state, most)
            if state == before:
                break
        return state

    def shrink(self, connection: sqlite3.Connection) -> None:
        """Give free pages back where the file is above its bound (it was made smaller)."""
        (pages,) = connection.execute("PRAGMA page_count").fetchone()
        if pages > self._most_pages:
            # execute() would make one step, which frees one page
            connection.executescript("PRAGMA incremental_vacuum(512)")

    def _delete_old(
        self, connection: sqlite3.Connection, state: State, most: int, now_ns: int
    ) -> State:
        horizon_ns = now_ns - self._keep_ns
        oldest = connection.execute(
            "SELECT id, time_ns FROM row_time ORDER BY id LIMIT 1"
        ).fetchone()
        self._tell_of_much(oldest[1] if oldest else horizon_ns, horizon_ns)
        if oldest is not None and oldest[1] < horizon_ns:
            (kept,) = connection.execute(
                "SELECT coalesce(min(CASE WHEN time_ns >= ? THEN id END), max(id) + 1)"
                " FROM (SELECT id, time_ns FROM row_time ORDER BY id LIMIT ?)",
                (horizon_ns, most),
            ).fetchone()
            state = _delete_raw(connection, state, min(kept, _raw_cut(connection, most)))
        horizon = (now_ns - MINUTES_KEPT * self._keep_ns) // MINUTE_NS
        oldest = connection.execute("SELECT minute FROM minute_time ORDER BY id LIMIT 1").fetchone()
        if oldest is not None and oldest[0] < horizon:
            (kept,) = connection.execute(
                "SELECT coalesce(min(CASE WHEN minute >= ? THEN id END), max(id) + 1)"
                " FROM (SELECT id, minute FROM minute_time ORDER BY id LIMIT ?)",
                (horizon, most),
            ).fetchone()
            state = _delete_minutes(connection, state, min(kept, _minute_cut(connection, most)))
        return state

    def _tell_of_much(self, oldest_ns: int, horizon_ns: int) -> None:
        """Deletion is said where it is more than what time brings: a day or more at once."""
        overdue_ns = horizon_ns - oldest_ns
        if overdue_ns > _DAY_NS and not self._catching_up:
            log.warning(
                "historian: %.1f days of raw values before %s are older than retention_days and "
                "are deleted now",
                overdue_ns / _DAY_NS,
                time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(horizon_ns // 1_000_000_000)),
            )
        self._catching_up = overdue_ns > _DAY_NS

    def _delete_oldest(self, connection: sqlite3.Connection, state: State, most: int) -> State:
        raw = state.samples * BYTES_PER_VALUE
        too_many_minutes = raw < self._most_pages * PAGE * RAW_SHARE and state.minute_samples
        if state.samples and not too_many_minutes:
            return _delete_raw(connection, state, _raw_cut(connection, most))
        return _delete_minutes(connection, state, _minute_cut(connection, most))


def used_pages(connection: sqlite3.Connection) -> int:
    """Pages of the file that hold something."""
    (pages,) = connection.execute("PRAGMA page_count").fetchone()
    (free,) = connection.execute("PRAGMA freelist_count").fetchone()
    return int(pages - free)


def _cut(connection: sqlite3.Connection, table: str, most: int) -> int:
    """The first row (or minute) that stays when about ``most`` samples go."""
    found = connection.execute(
        f"SELECT id FROM {table} ORDER BY id LIMIT 1 OFFSET ?",
        (most,),
    ).fetchone()
    first, last = connection.execute(
        f"SELECT (SELECT min(id) FROM {table}), (SELECT max(id) FROM {table})"
    ).fetchone()
    if first is None:
        return 1 << 40
    if found is None:
        return int(last) // SPAN + 1
    return max(int(found[0]) // SPAN, int(first) // SPAN + 1)


def _raw_cut(connection: sqlite3.Connection, most: int) -> int:
    return _cut(connection, "sample", most)


def _minute_cut(connection: sqlite3.Connection, most: int) -> int:
    return _cut(connection, "minute_sample", most)


def _delete_raw(connection: sqlite3.Connection, state: State, kept: int) -> State:
    gone = connection.execute("DELETE FROM sample WHERE id < ?", (kept * SPAN,)).rowcount
    connection.execute("DELETE FROM row_time WHERE id < ?", (kept,))
    return state._replace(samples=state.samples - gone)


def _delete_minutes(connection: sqlite3.Connection, state: State, kept: int) -> State:
    (youngest,) = connection.execute(
        "SELECT max(minute) FROM minute_time WHERE id < ?", (kept,)
    ).fetchone()
    gone = connection.execute("DELETE FROM minute_sample WHERE id < ?", (kept * SPAN,)).rowcount
    # a minute whose raw rows are still there is how they are found
    connection.execute(
        "DELETE FROM minute_time WHERE id < ? AND (last_row IS NULL OR last_row <"
        " (SELECT coalesce(min(id), ?) FROM row_time))",
        (kept, state.next_row),
    )
    return state._replace(
        minute_samples=state.minute_samples - gone,
        minutes_deleted_to=max(state.minutes_deleted_to, youngest or 0),
    )
