"""One batch into the database, once: by COPY into the table, or past what is there already."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

from psycopg import errors

from gateway.model import OWN_TABLES, Mark, Selected
from gateway.sinks.postgres.arrays import Groups, add_columns, all_times
from gateway.sinks.postgres.client import Connection
from gateway.sinks.postgres.copybytes import copy_bytes, copy_text, joined
from gateway.sinks.postgres.own import store_own
from gateway.sinks.postgres.registry import Registry
from gateway.sinks.postgres.upkeep import Upkeep
from gateway.wire import Columns

CAREFUL_S = 30.0
"""After a value that was there already, so long no batch is tried the quick way."""

_INCOMING = (
    "CREATE TEMP TABLE IF NOT EXISTS incoming (time_ns bigint, series_id integer,"
    " quality_id integer, f8 double precision, i8 bigint, b1 boolean, u8 numeric, str text)"
    " ON COMMIT DELETE ROWS"
)
_TAKE = (
    "INSERT INTO sample (time_ns, series_id, quality_id, f8, i8, b1, u8, str)"
    " SELECT time_ns, series_id, quality_id, f8, i8, b1, u8, str FROM incoming"
    " ORDER BY series_id, time_ns ON CONFLICT DO NOTHING"
)


class Store:
    """For one thread."""

    def __init__(self, registry: Registry, upkeep: Upkeep) -> None:
        self.values_known = 0
        """Values that were there already: their answer was lost, or they were sent again."""
        self._registry = registry
        self._upkeep = upkeep
        self._careful_until_s = 0.0

    def be_careful(self) -> None:
        """What comes next may be there already."""
        self._careful_until_s = time.monotonic() + CAREFUL_S

    def store(self, db: Connection, tables: Sequence[Columns]) -> None:
        """Store rows, table by table; all of them or none. `Registry.learn` knows the tables."""
        registry = self._registry
        registry.learn_marks(db, _marks(tables))
        groups: Groups = {}
        own: dict[str, list[tuple[int, Selected]]] = {}
        newest: dict[int, int] = {}
        for given in tables:
            name, known = given.table.name, registry.known(given.table)
            if name in OWN_TABLES:
                own.setdefault(name, []).extend((known.source_id, row) for row in given.rows())
                continue
            add_columns(groups, given, known.series, registry.quality_id)
            last_ns = max(given.times)
            newest[known.source_id] = max(last_ns, newest.get(known.source_id, last_ns))
        self._upkeep.make_room(db, all_times(groups.values()))
        ordered: Groups = {column: [joined(found)] for column, found in groups.items()}
        if time.monotonic() >= self._careful_until_s:
            try:
                with db.transaction():
                    _copy(db, "sample", ordered)
                    _store_own(db, own)
            except errors.UniqueViolation:
                self.be_careful()
            else:
                self._upkeep.seen(newest)
                return
        self._store_carefully(db, ordered, own)
        self._upkeep.seen(newest)

    def _store_carefully(self, db: Connection, groups: Groups, own: dict[str, Any]) -> None:
        if groups:
            db.execute(_INCOMING)
        with db.transaction():
            if groups:
                _copy(db, "incoming", groups)
                taken = db.execute(_TAKE).rowcount
                given = sum(len(g.times) for found in groups.values() for g in found)
            _store_own(db, own)
        if groups:
            self.values_known += given - taken
            if taken < given:
                self.be_careful()


def _copy(db: Connection, target: str, groups: Groups) -> None:
    for column, found in groups.items():
        with db.cursor().copy(copy_text(target, column)) as copy:
            for piece in copy_bytes(column, found):
                copy.write(piece)


def _store_own(db: Connection, own: dict[str, list[tuple[int, Selected]]]) -> None:
    for name, rows in own.items():
        store_own(db, name, rows)


def _marks(tables: Sequence[Columns]) -> set[Mark]:
    return {mark for t in tables for marks in t.marks.values() for mark in marks.values()}
