"""The numbers of sources, series and qualities: known ones from memory, new ones made at once."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
import orjson

from gateway.model import OWN_TABLES, Array, Mark, Table
from gateway.sinks.postgres.arrays import KIND_NAMES, clean
from gateway.sinks.postgres.client import Connection

MAX_KNOWN = 50_000
"""Tables that are remembered; then all are asked for again."""

MAX_REASON = 200
"""Longest reason of a quality, in characters."""


class Known(NamedTuple):
    """What the database knows of a table."""

    source_id: int
    series: Array
    """The number of each column's series, int32."""
    conflicts: dict[int, str]
    """Columns whose series is of another kind, each with the words for it."""


class Registry:
    """For one thread; forgets everything where the database may be another one."""

    def __init__(self) -> None:
        self._tables: dict[Table, Known] = {}
        self._qualities: dict[Mark, int] = {}
        self._generation: tuple[Any, ...] | None = None
        self.any_conflicts = False
        """Whether a column of any table is refused."""

    def forget(self) -> None:
        """The database may be another one."""
        self._tables.clear()
        self._qualities.clear()
        self._generation = None
        self.any_conflicts = False

    def begin(self, db: Connection) -> None:
        """Before a batch: look again where a series went, or its kind was changed."""
        # a table that was made anew, or restored, has another row, even of the same number
        found = db.execute("SELECT generation, tableoid, xmin::text FROM layout").fetchone()
        if found is None or found != self._generation or len(self._tables) > MAX_KNOWN:
            self.forget()
            self._generation = found

    def known(self, table: Table) -> Known:
        """What `learn` found."""
        return self._tables[table]

    def conflicts(self) -> list[str]:
        """What is refused, for people."""
        return sorted(
            {w for known in list(self._tables.values()) for w in known.conflicts.values()}
        )

    def conflicts_of(self, table: Table) -> dict[int, str]:
        """Columns of a table that are known to be refused."""
        known = self._tables.get(table)
        return known.conflicts if known is not None else {}

    # -- tables

    def learn(self, db: Connection, tables: Iterable[Table]) -> None:
        """Find or make sources and series."""
        new = list(dict.fromkeys(t for t in tables if t not in self._tables))
        if not new:
            return
        digests = {table: digest_of(table) for table in new}
        sources = _sources(db, digests)
        wanted = [(sources[digests[table]], table) for table in new]
        series = self._series(db, [pair for pair in wanted if pair[1].name not in OWN_TABLES])
        for source_id, table in wanted:
            its = series.get(source_id, {})
            ids = np.zeros(len(table.columns), "i4")
            conflicts: dict[int, str] = {}
            for column, (name, kind) in enumerate(zip(table.columns, table.kinds, strict=True)):
                if table.name in OWN_TABLES:
                    break
                ids[column], has = its[clean(name)]
                if has != KIND_NAMES[kind]:
                    about = f"{table.device}/{table.key}.{name}"
                    conflicts[column] = f"{about} is a series of {has}, not of {KIND_NAMES[kind]}"
            self.any_conflicts |= bool(conflicts)
            self._tables[table] = Known(source_id, ids, conflicts)

    def _series(
        self, db: Connection, wanted: Sequence[tuple[int, Table]]
    ) -> dict[int, dict[str, tuple[int, str]]]:
        if not wanted:
            return {}
        found = _read_series(db, [source_id for source_id, _ in wanted])
        missing, units = [], []
        for source_id, table in wanted:
            its = found.get(source_id, {})
            for name, kind, unit in zip(table.columns, table.kinds, table.units, strict=True):
                said = None if unit is None else clean(unit)
                known = its.get(clean(name))
                if known is None:
                    missing.append((source_id, clean(name), KIND_NAMES[kind], said))
                elif known[2] != said:
                    units.append((known[0], said))
        if missing:
            missing.sort(key=lambda line: line[:2])  # two writers at once wait in one order
            db.execute(
                "INSERT INTO series (source_id, tag, kind, unit)"
                " SELECT * FROM unnest(%s::integer[], %s::text[], %s::text[], %s::text[])"
                " ON CONFLICT DO NOTHING",
                [list(column) for column in zip(*missing, strict=True)],
            )
            found = _read_series(db, [source_id for source_id, _ in wanted])
        if units:
            db.execute(
                "UPDATE series AS s SET unit = n.unit"
                " FROM unnest(%s::integer[], %s::text[]) AS n (id, unit) WHERE s.id = n.id",
                [list(column) for column in zip(*units, strict=True)],
            )
        return {
            source_id: {tag: (number, kind) for tag, (number, kind, _) in its.items()}
            for source_id, its in found.items()
        }

    # -- qualities

    def learn_marks(self, db: Connection, marks: Iterable[Mark]) -> None:
        """Find or make qualities."""
        new = sorted({_short(mark) for mark in marks} - self._qualities.keys())
        if not new:
            return
        if len(self._qualities) > MAX_KNOWN:
            self._qualities.clear()
        columns = [[m.quality.name for m in new], [m.reason for m in new]]
        for again in (False, True):
            rows = db.execute(
                "SELECT q.severity, q.reason, q.id FROM quality AS q"
                " JOIN unnest(%s::text[], %s::text[]) AS n (severity, reason)"
                " ON q.severity = n.severity AND q.reason = n.reason",
                columns,
            ).fetchall()
            if again or len(rows) == len(new):
                break
            db.execute(
                "INSERT INTO quality (severity, reason)"
                " SELECT * FROM unnest(%s::text[], %s::text[]) ON CONFLICT DO NOTHING",
                columns,
            )
        numbers = {(severity, reason): number for severity, reason, number in rows}
        for mark in new:
            self._qualities[mark] = numbers[mark.quality.name, mark.reason]

    def quality_id(self, mark: Mark) -> int:
        """The number that `learn_marks` found."""
        return self._qualities[_short(mark)]


def digest_of(table: Table) -> bytes:
    """What tells sources apart: the table's name and labels, whatever their order."""
    said = [clean(table.name), sorted((clean(k), clean(v)) for k, v in table.labels)]
    return hashlib.sha256(orjson.dumps(said)).digest()[:16]


def _short(mark: Mark) -> Mark:
    return Mark(mark.quality, clean(mark.reason)[:MAX_REASON])


def _sources(db: Connection, digests: dict[Table, bytes]) -> dict[bytes, int]:
    found = _read_sources(db, digests.values())
    lines = {}
    for table, digest in digests.items():
        if digest not in found and digest not in lines:
            labels = {clean(k): clean(v) for k, v in table.labels}
            lines[digest] = (
                digest,
                clean(table.name),
                labels.get("gateway"),
                clean(table.device),
                labels.get("module"),
                labels.get("channel"),
                orjson.dumps(labels).decode(),
                table.interval_s or None,
            )
    if lines:
        db.execute(
            "INSERT INTO source"
            " (digest, table_name, gateway, device, module, channel, labels, interval_s)"
            " SELECT d, t, g, v, m, c, l::jsonb, i FROM unnest(%s::bytea[], %s::text[], %s::text[],"
            " %s::text[], %s::text[], %s::text[], %s::text[], %s::double precision[])"
            " AS n (d, t, g, v, m, c, l, i) ON CONFLICT DO NOTHING",
            [list(column) for column in zip(*(lines[d] for d in sorted(lines)), strict=True)],
        )
        found = _read_sources(db, digests.values())
    return found


def _read_sources(db: Connection, digests: Iterable[bytes]) -> dict[bytes, int]:
    rows = db.execute("SELECT digest, id FROM source WHERE digest = ANY(%s)", (list(digests),))
    return {bytes(digest): int(number) for digest, number in rows}


def _read_series(
    db: Connection, sources: Sequence[int]
) -> dict[int, dict[str, tuple[int, str, str | None]]]:
    rows = db.execute(
        "SELECT source_id, tag, id, kind, unit FROM series WHERE source_id = ANY(%s)",
        (list(sources),),
    )
    found: dict[int, dict[str, tuple[int, str, str | None]]] = {}
    for source_id, tag, number, kind, unit in rows:
        found.setdefault(source_id, {})[tag] = (number, kind, unit)
    return found
