"""PostgreSQL, with or without TimescaleDB: one line a value, stored once however often it comes."""

from __future__ import annotations

import logging
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar

import psycopg

from gateway.errors import Rejected, SinkUnavailable
from gateway.sinks import Payload, RemoteSink, Selected
from gateway.sinks.payload import Described, TooSlow, plain_body
from gateway.sinks.postgres import parts
from gateway.sinks.postgres.client import Connection, Watch, connect, end_standing, translated
from gateway.sinks.postgres.registry import Registry
from gateway.sinks.postgres.schema import REVISION, expect_schema
from gateway.sinks.postgres.settings import PostgresConfig
from gateway.sinks.postgres.store import Store
from gateway.sinks.postgres.upkeep import Upkeep
from gateway.wire import FORMAT, Columns, decode_columns, decode_tables, encode_batch

log = logging.getLogger(__name__)

GZIP = f"{FORMAT}+gzip"
PAYLOAD_VALUES = 50_000
"""Values that make a payload."""


class PostgresSink(RemoteSink):
    """Writes to the tables that `gateway db` made. One thread encodes, another delivers."""

    config_class = PostgresConfig
    config: PostgresConfig
    letter_format: ClassVar[str] = FORMAT

    def __init__(self, name: str, config: PostgresConfig, state_dir: Path) -> None:
        super().__init__(name, config, state_dir)
        self._registry = Registry()
        self._upkeep = Upkeep(name, config.retention_days)
        self._store = Store(self._registry, self._upkeep)
        self._db: Connection | None = None
        self._watch = Watch()
        self._closed = False
        self._connections = 0
        self._schema_is_known = False
        self._was_slow = False

    # -- encoding

    def encode(self, rows: Sequence[Selected]) -> list[Payload]:
        """The rows as lines of JSON that say what they hold."""
        out = []
        for some, values in _portions(rows):
            text = encode_batch(some)
            packed = self.config.gzip
            body = _compress(text) if packed else text
            out.append(Payload(body, GZIP if packed else FORMAT, len(some), values))
        return out

    def pieces(self, body: bytes, format: str) -> list[bytes]:
        """The rows without the columns that are known to be refused, and those apart."""
        if format not in (FORMAT, GZIP) or not self._registry.any_conflicts:
            return [body]
        return self._apart(body, format)

    def split(self, body: bytes, format: str, words: str = "") -> list[bytes]:
        """What is refused apart from the rest, or two halves."""
        if format not in (FORMAT, GZIP):
            return [body]
        try:
            tables = _tables(body, format)
        except ValueError:
            return [body]
        if words:
            divided = self._apart(body, format)
            if len(divided) > 1 or self._all_refused(tables):
                return divided
        first, second = parts.halves(tables)
        if not second:
            return [body]
        return [self._packed(first, format), self._packed(second, format)]

    def _apart(self, body: bytes, format: str) -> list[bytes]:
        try:
            tables = _tables(body, format)
        except ValueError:
            return [body]
        good, bad = parts.apart(tables, self._registry.conflicts_of, self._upkeep.too_old_ns)
        if not good or not bad:
            return [body]
        return [self._packed(good, format), self._packed(bad, format)]

    def _all_refused(self, tables: parts.Tables) -> bool:
        good, _ = parts.apart(tables, self._registry.conflicts_of, self._upkeep.too_old_ns)
        return not good

    @staticmethod
    def _packed(tables: parts.Tables, format: str) -> bytes:
        text = parts.encoded(tables)
        return _compress(text) if format == GZIP else text

    def describe_each(self, body: bytes, format: str) -> list[tuple[bytes, Described]]:
        """Each row of a payload, and what it is about."""
        if format not in (FORMAT, GZIP):
            return []
        try:
            tables = _tables(body, format)
        except ValueError:
            return []
        return [(encode_batch([s]), parts.described(s)) for rows in tables for s in rows]

    def describe(self, body: bytes, format: str) -> Described:
        """What a payload of one row is about."""
        found = self.describe_each(body, format)
        return found[0][1] if found else Described("?", "?", 0, 0)

    def vouches(self, words: str) -> bool:
        """Whatever is refused was looked at: nothing stands between us and the database."""
        return True

    # -- delivering

    def deliver(self, body: bytes, format: str) -> None:
        """Store one payload; returning means that it is committed."""
        if format not in (FORMAT, GZIP):
            raise Rejected(f"a payload of format {format} is not for PostgreSQL")
        try:
            tables = [given for given in decode_columns(_text(body, format)) if given.times]
        except ValueError as error:
            raise Rejected(f"no rows: {error}") from error
        try:
            db = self._connected()
            with translated(self._watch), self._watch.over(db, self.config.timeout_s):
                if self._was_slow:  # perhaps it waited for one that stands still
                    end_standing(db, self.config.timeout_s)
                self._deliver(db, tables)
            self._was_slow = False
        except SinkUnavailable as error:
            self._was_slow = isinstance(error, TooSlow)
            # whether it was committed nobody can tell
            self._forget()
            self._store.be_careful()
            raise
        finally:
            if self._closed:
                self._forget()

    def check(self) -> bool:
        """Connect, sign in and look for the tables."""
        db = connect(self.config, "edge-gateway check")
        try:
            with translated(self._watch), self._watch.over(db, self.config.timeout_s):
                expect_schema(db)
        finally:
            db.close()
        return True

    def _deliver(self, db: Connection, tables: Sequence[Columns]) -> None:
        if not self._schema_is_known:
            expect_schema(db)
            self._schema_is_known = True
        self._registry.begin(db)
        self._upkeep.begin(db)
        self._registry.learn(db, (given.table for given in tables))
        self._judge(tables)
        self._store.store(db, tables)
        self._upkeep.tell_seen(db)

    def _judge(self, tables: Sequence[Columns]) -> None:
        """Rejected where something of it cannot be stored."""
        oldest_ns = self._upkeep.too_old_ns
        for given in tables:
            if words := self._registry.known(given.table).conflicts:
                raise Rejected(f"{next(iter(words.values()))}; see README: a tag changes its type")
            if oldest_ns is not None and min(given.times) < oldest_ns:
                days = self.config.retention_days
                raise Rejected(f"older than retention_days: {days}, it would be dropped at once")

    def _connected(self) -> Connection:
        if self._closed:
            raise SinkUnavailable("closed")
        if self._db is None:
            self._db = connect(self.config, f"edge-gateway {self.name}"[:63])
            self._registry.forget()
            self._upkeep.forget()
            self._schema_is_known = False
            self._connections += 1
        return self._db

    def _forget(self) -> None:
        db, self._db = self._db, None
        if db is not None:
            db.close()

    def close(self) -> None:
        """End what is under way and close the connection."""
        self._closed = True
        self._watch.interrupt()
        db = self._db
        if db is not None and not self._watch.is_busy:
            try:
                if db.info.transaction_status == psycopg.pq.TransactionStatus.IDLE:
                    with self._watch.over(db, 1.0):
                        self._upkeep.tell_seen(db, at_once=True)
            except psycopg.Error as error:
                log.debug("sink %s: last times not noted: %s", self.name, error)
            self._forget()

    def status(self) -> dict[str, Any]:
        """Where it writes to, what it refuses, and what was there already."""
        config = self.config
        return {
            "database": f"{config.host}:{config.port}/{config.database}",
            "schema": config.schema_,
            "schema_version": REVISION,
            "connections": self._connections,
            "values_known_already": self._store.values_known,
            "partitions_dropped": list(self._upkeep.dropped),
            "columns_refused": self._registry.conflicts(),
        }


def _portions(rows: Sequence[Selected]) -> Iterator[tuple[Sequence[Selected], int]]:
    first = values = 0
    for at, selected in enumerate(rows):
        count = parts.values_in(selected)
        if values and values + count > PAYLOAD_VALUES:
            yield rows[first:at], values
            first, values = at, 0
        values += count
    if first < len(rows):
        yield rows[first:], values


def _tables(body: bytes, format: str) -> parts.Tables:
    """The rows of a payload. ValueError."""
    return [rows for rows in decode_tables(_text(body, format)) if rows]


def _text(body: bytes, format: str) -> bytes:
    try:
        return plain_body(body, format)
    except zlib.error as error:
        raise ValueError(f"damaged gzip: {error}") from error


def _compress(text: bytes) -> bytes:
    packer = zlib.compressobj(1, wbits=31)
    return packer.compress(text) + packer.flush()
