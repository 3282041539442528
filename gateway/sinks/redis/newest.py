"""The newest row of each table, as a hash that expires: for whoever wants to know how things are.

``latest:{gateway}:{device}:{table}`` has fields ``time_ns`` and ``row``, a batch of one row as in
`gateway.wire`. It is written beside the batches and is not spooled: after an outage the newest
counts.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Final

from gateway.model import OWN_TABLES, Row, Selected, Table
from gateway.sinks.naming import name_of
from gateway.sinks.redis.client import Command
from gateway.wire import encode_batch

KEY: Final = "latest:{gateway}:{device}:{table}"


class Newest:
    """Noted by the thread that encodes, written by the one that delivers."""

    def __init__(self, ttl_s: int) -> None:
        self._ttl_s = ttl_s
        self._rows: dict[Table, Row] = {}
        self._lock = threading.Lock()

    def note(self, rows: Sequence[Selected]) -> None:
        """These rows come after those so far."""
        newest = {s.row.table: s.row for s in rows if s.row.table.name not in OWN_TABLES}
        with self._lock:
            self._rows.update(newest)

    def take(self) -> dict[Table, Row]:
        """What was noted since the last call."""
        with self._lock:
            rows, self._rows = self._rows, {}
        return rows

    def put_back(self, rows: dict[Table, Row]) -> None:
        """They were not written; what came meanwhile is newer."""
        with self._lock:
            self._rows = {**rows, **self._rows}

    def commands(self, rows: dict[Table, Row]) -> list[Command]:
        """What writes them. A table that is slow to come lives three times its interval."""
        out: list[Command] = []
        for table, row in rows.items():
            key = name_of(KEY, table)
            ttl_s = max(self._ttl_s, int(3 * table.interval_s))
            body = encode_batch([Selected(row)])
            out.append(("HSET", key, "time_ns", row.time_ns, "row", body))
            out.append(("EXPIRE", key, ttl_s))
        return out
