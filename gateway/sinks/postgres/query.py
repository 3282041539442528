"""Reading back: points of one tag, and the gateways' own rows, for those who show many gateways.

One connection, made when it is needed; one question at a time. SinkUnavailable where the database
does not answer now, GatewayError for names that it does not know.
"""

from __future__ import annotations

import difflib
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple, TypeVar

from gateway.errors import GatewayError, SinkUnavailable
from gateway.model import Scalar
from gateway.sinks.postgres.client import Connection, Watch, connect, translated
from gateway.sinks.postgres.own import COLUMNS
from gateway.sinks.postgres.schema import DAY_NS, expect_schema
from gateway.sinks.postgres.settings import PostgresConfig

T = TypeVar("T")

GOOD: Final = "GOOD"

_VALUES = "f8, i8, b1, u8, str"
_RAW = (
    f"SELECT time_ns, quality_id, {_VALUES} FROM sample"
    " WHERE series_id = ANY(%(ids)s) AND time_ns BETWEEN %(from_ns)s AND %(to_ns)s"
    " ORDER BY time_ns LIMIT %(most)s"
)
# of each stretch of time the least, the greatest, and the first that is not GOOD
_PICK = f"SELECT DISTINCT ON (b) time_ns, quality_id, {_VALUES} FROM v"
_DECIMATED = (
    f"WITH v AS MATERIALIZED (SELECT time_ns, quality_id, {_VALUES},"
    " coalesce(f8, i8::float8, u8::float8, b1::integer::float8) AS n,"
    " (time_ns - %(from_ns)s) / %(width_ns)s AS b FROM sample"
    " WHERE series_id = ANY(%(ids)s) AND time_ns BETWEEN %(from_ns)s AND %(to_ns)s)"
    f" ({_PICK} ORDER BY b, n NULLS LAST, time_ns)"
    f" UNION ({_PICK} ORDER BY b, n DESC NULLS LAST, time_ns)"
    f" UNION ({_PICK} WHERE quality_id IS NOT NULL ORDER BY b, time_ns) ORDER BY time_ns"
)
_OF_A_STRETCH = 3


@dataclass(frozen=True)
class History:
    """Points of one tag; `gateway.api.view.HistoryResult`."""

    table: str
    unit: str | None
    resolution: str
    truncated: bool
    decimated: bool
    points: Sequence[tuple[int, Scalar, str]]


class OwnRow(NamedTuple):
    """A row of one of the gateways' own tables."""

    time_ns: int
    gateway: str
    device: str
    columns: Mapping[str, Any]


class _Series(NamedTuple):
    number: int
    key: str
    tag: str
    unit: str | None


class Reader:
    """Asks one database, from any thread."""

    def __init__(self, config: PostgresConfig, program: str = "edge-gateway serve") -> None:
        self._config = config
        self._program = program[:63]
        self._lock = threading.Lock()
        self._watch = Watch()
        self._db: Connection | None = None
        self._qualities: dict[int, str] = {}
        self._closed = False
        self.error: str | None = None
        """Why the last question was not answered."""

    def close(self) -> None:
        """End what is under way. Idempotent, never raises."""
        self._closed = True
        self._watch.interrupt()
        with self._lock:
            self._forget()

    # -- points -------------------------------------------------------------------------------

    def history(
        self, gateway: str, device: str, tag: str, from_ns: int, to_ns: int, max_points: int
    ) -> History:
        """Points of one tag (``table:tag`` where several tables have it), oldest first."""
        return self._asked(
            lambda db: self._history(db, gateway, device, tag, (from_ns, to_ns), max_points)
        )

    def _history(
        self,
        db: Connection,
        gateway: str,
        device: str,
        tag: str,
        span: tuple[int, int],
        max_points: int,
    ) -> History:
        found = _find(db, gateway, device, tag)
        from_ns, to_ns = span
        ids = [series.number for series in found]
        asked = {"ids": ids, "from_ns": from_ns, "to_ns": to_ns, "most": max_points + 1}
        rows = db.execute(_RAW, asked).fetchall()
        decimated = len(rows) > max_points
        if decimated:
            stretches = max(1, max_points // _OF_A_STRETCH)
            width_ns = (to_ns - from_ns) // stretches + 1
            rows = db.execute(_DECIMATED, {**asked, "width_ns": width_ns}).fetchall()
        self._learn(db, {row[1] for row in rows if row[1] is not None})
        qualities = self._qualities
        points = [
            (row[0], _value(row[2:]), GOOD if row[1] is None else qualities.get(row[1], "BAD"))
            for row in rows
        ]
        days = self._config.retention_days
        truncated = bool(days) and from_ns < time.time_ns() - days * DAY_NS
        newest = found[-1]
        return History(newest.key, newest.unit, "raw", truncated, decimated, points)

    def _learn(self, db: Connection, numbers: set[int]) -> None:
        if missing := list(numbers - self._qualities.keys()):
            found = db.execute(
                "SELECT id, severity, reason FROM quality WHERE id = ANY(%s)", (missing,)
            )
            self._qualities |= {number: f"{severity}:{why}" for number, severity, why in found}

    # -- the gateways' own rows ---------------------------------------------------------------

    def newest(
        self,
        table: str,
        from_ns: int,
        to_ns: int,
        most: int,
        where: Mapping[str, str] | None = None,
    ) -> list[OwnRow]:
        """Rows of ``gateway_alarm``, ``gateway_loss``... between two times, the newest first.

        ``where``: column (also ``gateway``, ``device``) and the text it must be.
        """
        columns = COLUMNS[table]
        names = {"gateway": "o.gateway", "device": "o.device"}
        conditions, values = "", list[Any]()
        for column, text in (where or {}).items():
            conditions += f" AND {names.get(column) or _quoted(columns, column)} = %s"
            values.append(text)
        listed = ", ".join(_quoted(columns, column) for column in columns)
        query = (
            f"SELECT a.time_ns, coalesce(o.gateway, ''), o.device, {listed} FROM {table} AS a"
            " JOIN source AS o ON o.id = a.source_id"
            f" WHERE a.time_ns BETWEEN %s AND %s{conditions} ORDER BY a.time_ns DESC LIMIT %s"
        )
        arguments = (from_ns, to_ns, *values, most)
        rows = self._asked(lambda db: db.execute(query, arguments).fetchall())
        return [
            OwnRow(row[0], row[1], row[2], dict(zip(columns, row[3:], strict=True))) for row in rows
        ]

    # -- the connection -----------------------------------------------------------------------

    def _asked(self, ask: Callable[[Connection], T]) -> T:
        with self._lock:
            try:
                found = self._ask(ask)
            except SinkUnavailable as error:
                self._forget()
                self.error = str(error)
                raise
            self.error = None
            return found

    def _ask(self, ask: Callable[[Connection], T]) -> T:
        if self._closed:
            raise SinkUnavailable("closed")
        if self._db is not None and self._db.closed:
            self._forget()
        again = self._db is not None
        try:
            return self._once(ask)
        except SinkUnavailable:
            # a connection that was good before may have been closed while nobody asked
            if not again or self._db is None or not self._db.broken:
                raise
            self._forget()
            return self._once(ask)

    def _once(self, ask: Callable[[Connection], T]) -> T:
        if self._db is None:
            db = connect(self._config, self._program)
            try:
                with translated(self._watch), self._watch.over(db, self._config.timeout_s):
                    db.execute("SET default_transaction_read_only TO on")
                    expect_schema(db)
            except BaseException:
                db.close()
                raise
            self._db, self._qualities = db, {}
        db = self._db
        with translated(self._watch), self._watch.over(db, self._config.timeout_s):
            return ask(db)

    def _forget(self) -> None:
        db, self._db = self._db, None
        if db is not None:
            db.close()


def _quoted(columns: Sequence[str], column: str) -> str:
    if column not in columns:
        raise ValueError(f"no column {column}")
    return f'a."{column}"'


def _value(columns: Sequence[Any]) -> Scalar:
    found = next((value for value in columns if value is not None), None)
    if found is None or isinstance(found, (bool, int, float, str)):
        return found
    return int(found)  # numeric: an integer above 2^63


def _find(db: Connection, gateway: str, device: str, tag: str) -> list[_Series]:
    """The series of a tag, oldest first: several where its labels or its table changed."""
    after = tag.partition(":")[2]
    names = [tag, after] if after else [tag]
    ends = [tag[i + 1 :] for i, c in enumerate(tag) if c == ":"]
    found = [
        series
        for series in _series(db, gateway, device, [*names, *ends])
        if tag in (series.tag, f"{series.key}:{series.tag}")
    ]
    if not found:
        raise GatewayError(_nothing(db, gateway, device, tag))
    keys = sorted({series.key for series in found})
    if len(keys) > 1:
        raise GatewayError(
            f"device '{device}': tag '{tag}' is in {', '.join(keys)}; say which, e.g. "
            f"'{keys[0]}:{tag}'"
        )
    return found


def _series(db: Connection, gateway: str, device: str, tags: Sequence[str] | None) -> list[_Series]:
    rows = db.execute(
        "SELECT series_id, table_name, coalesce(module, channel), tag, unit FROM tags"
        " WHERE gateway = %s AND device = %s AND (%s::text[] IS NULL OR tag = ANY(%s))"
        " ORDER BY series_id",
        (gateway, device, tags, tags),
    )
    return [
        _Series(number, f"{name}.{part}" if part else name, tag, unit)
        for number, name, part, tag, unit in rows
    ]


def _nothing(db: Connection, gateway: str, device: str, tag: str) -> str:
    known = _series(db, gateway, device, None)
    if known:
        names = {s.tag for s in known} | {f"{s.key}:{s.tag}" for s in known}
        return f"device '{device}': {_unknown('tag', tag, names)}"
    found = db.execute("SELECT DISTINCT device FROM source WHERE gateway = %s", (gateway,))
    return f"gateway '{gateway}': {_unknown('device', device, [d for (d,) in found])}"


def _unknown(what: str, name: str, names: Iterable[str]) -> str:
    known = sorted(set(names))
    near = difflib.get_close_matches(name, known, 1)
    hint = f"did you mean '{near[0]}'?" if near else f"there are: {', '.join(known[:20])}"
    return f"unknown {what} '{name}'; {hint if known else 'nothing is stored yet'}"
