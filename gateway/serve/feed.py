"""Keeps what Redis has of all gateways: their status, and the newest row of each table.

A row that is newer than the one before is published to the node's own hub, so that page and
WebSockets see it as on a gateway. What nobody vouches for any more is BAD: ``gateway_gone`` where
its gateway gives no sign of life, ``no_redis`` where Redis is away, ``stale`` where its newest row
has expired.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import orjson

from gateway.driver import Driver
from gateway.errors import GatewayError
from gateway.hub import Hub
from gateway.model import Row, Table, bad_row
from gateway.serve.devices import devices_of, fleet_table
from gateway.serve.polling import Polling
from gateway.serve.settings import ServeFile
from gateway.sinks.redis.client import Command, RedisClient, Refusal
from gateway.wire import decode_batch

log = logging.getLogger(__name__)

STATUS_EVERY_S: Final = 1.0
AWAY_S: Final = 5.0
"""Redis may be away for so long before its values are BAD."""

FORGET_S: Final = 86_400.0
"""A gateway that is gone is shown for so long."""

MAX_TABLES: Final = 50_000
MAX_GATEWAYS: Final = 10_000
AT_ONCE: Final = 1_000
"""Commands of one pipeline."""


@dataclass
class Known:
    """One gateway."""

    document: Mapping[str, Any]
    """Its last status."""
    text: bytes
    gone_since_s: float | None = None
    """Monotonic; None while it gives signs of life."""


@dataclass
class Watched:
    """One table of one gateway."""

    gateway: str
    own: Table
    """As it came."""
    table: Table
    """As it is shown."""
    time_ns: bytes
    lost: str | None = None
    """Why its row is BAD here; None while it is as it came."""


class Feed(Polling):
    """Asks Redis, in a thread of its own; what it knows may be looked at from any thread."""

    def __init__(self, file: ServeFile, hub: Hub, on_change: Callable[[], None]) -> None:
        """``on_change`` is called in that thread when a status came or went."""
        self.gateways: Mapping[str, Known] = {}
        self.devices: Mapping[str, Driver] = {}
        self.error: str | None = "Redis was not asked yet"
        self.faults = 0
        """Rows and documents that could not be read."""
        self.tables_left_out = False
        self._file = file
        self._hub = hub
        self._on_change = on_change
        self._watched: dict[bytes, Watched | None] = {}
        """By key; None: of a gateway that is not shown, or not read yet."""
        self._shown: dict[str, dict[str, Any]] = {}
        self._good_s = time.monotonic()
        self._found_s = self._status_s = float("-inf")
        super().__init__(RedisClient(file.redis, f"gateway-serve:{file.node}", raw=True), "feed")

    @property
    def away_s(self) -> float:
        """Since when Redis was not answering, in seconds."""
        return time.monotonic() - self._good_s

    # -- the thread ---------------------------------------------------------------------------

    def _run(self) -> None:
        while not self._over.is_set():
            begun_s = time.monotonic()
            try:
                self._look()
                if self.error is not None:
                    self.error = None
                    self._on_change()
                self._good_s = time.monotonic()
            except Exception as error:
                if self._over.is_set():
                    return
                self._failed(error)
            self._over.wait(max(0.02, self._file.poll_s - (time.monotonic() - begun_s)))

    def _failed(self, error: Exception) -> None:
        if not isinstance(error, GatewayError):
            log.error("a fault of the feed", exc_info=error)
        elif self.error is None:
            log.warning("Redis does not answer", extra={"error": str(error)})
        is_news = self.error is None
        self.error = str(error)
        if is_news:
            self._on_change()
        if self.away_s > AWAY_S:
            for watched in self._watched.values():
                self._lose(watched, "no_redis")

    def _look(self) -> None:
        now_s = time.monotonic()
        if now_s - self._found_s >= self._file.find_every_s:
            self._find()
            self._found_s = now_s
        if now_s - self._status_s >= STATUS_EVERY_S:
            self._read_statuses()
            self._status_s = now_s
        self._read_rows()

    def _find(self) -> None:
        keys = set(self._scan(b"latest:*", MAX_TABLES + 1))
        self.tables_left_out = len(keys) > MAX_TABLES
        for key in keys:
            if key not in self._watched and len(self._watched) < MAX_TABLES:
                self._watched[key] = None
        for key in [k for k, w in self._watched.items() if w is None and k not in keys]:
            del self._watched[key]
        gateways = dict(self.gateways)
        for key in self._scan(b"status:*", MAX_GATEWAYS):
            name = key[7:].decode("utf-8", "replace")
            if self._file.shows(name) and len(gateways) < MAX_GATEWAYS:
                gateways.setdefault(name, Known({}, b""))
        self.gateways = gateways

    def _scan(self, pattern: bytes, most: int) -> Iterator[bytes]:
        cursor, found = b"0", 0
        while True:
            cursor, keys = self._client.call("SCAN", cursor, "MATCH", pattern, "COUNT", 1000)
            yield from keys
            found += len(keys)
            if cursor == b"0" or found >= most or self._over.is_set():
                return

    # -- statuses -----------------------------------------------------------------------------

    def _read_statuses(self) -> None:
        names = list(self.gateways)
        texts = self._run_all([("GET", f"status:{name}") for name in names])
        gateways, now_s, changed = dict(self.gateways), time.monotonic(), False
        for name, text in zip(names, texts, strict=True):
            known = gateways[name]
            if isinstance(text, bytes):
                if text == known.text and known.gone_since_s is None:
                    continue
                document = self._document(text)
                gateways[name], changed = Known(document or known.document, text), True
            elif known.gone_since_s is None:
                gateways[name] = Known(known.document, known.text, now_s)
                changed = True
                log.warning("gateway gives no sign of life", extra={"gateway": name})
            elif now_s - known.gone_since_s > FORGET_S:
                del gateways[name]
                changed = True
        self.gateways = gateways
        if changed:
            self._changed()

    def _document(self, text: bytes) -> Mapping[str, Any] | None:
        try:
            document = orjson.loads(text)
        except orjson.JSONDecodeError:
            document = None
        if not isinstance(document, dict) or not isinstance(document.get("devices"), dict):
            self.faults += 1
            return None
        return document

    def _changed(self, *, tables: bool = False) -> None:
        shown = {
            gateway: {d: s.get("driver") for d, s in known.document.get("devices", {}).items()}
            for gateway, known in self.gateways.items()
        }
        if tables or shown != self._shown:
            self._shown = shown
            watched = [w.table for w in self._watched.values() if w is not None]
            self.devices = devices_of(shown, watched)
        self._on_change()

    # -- rows ---------------------------------------------------------------------------------

    def _read_rows(self) -> None:
        keys = list(self._watched)
        times = self._run_all([("HGET", key, "time_ns") for key in keys])
        newer, shape_changed = [], False
        for key, time_ns in zip(keys, times, strict=True):
            watched = self._watched[key]
            if not isinstance(time_ns, bytes):
                shape_changed |= self._expired(key, watched)
                continue
            if watched is None or watched.time_ns != time_ns:
                newer.append(key)
            elif self._is_gone(watched.gateway):
                self._lose(watched, "gateway_gone")
            elif watched.lost is not None:
                newer.append(key)  # it is vouched for again
        bodies = self._run_all([("HMGET", key, "time_ns", "row") for key in newer])
        for key, answer in zip(newer, bodies, strict=True):
            if isinstance(answer, list) and all(isinstance(part, bytes) for part in answer):
                shape_changed |= self._take(key, answer[0], answer[1])
        if shape_changed:
            self._changed(tables=True)

    def _take(self, key: bytes, time_ns: bytes, body: bytes) -> bool:
        """Publish a row; whether its table is new."""
        try:
            row = decode_batch(body)[0].row
        except (ValueError, IndexError):
            self.faults += 1
            return False
        gateway = dict(row.table.labels).get("gateway", "")
        if not self._file.shows(gateway):
            return False
        watched = self._watched.get(key)
        is_new = watched is None or watched.own is not row.table
        if watched is not None and is_new:  # a reload has given the table a new shape
            self._hub.latest.drop(watched.table)
        if watched is None or is_new:
            table = fleet_table(row.table, gateway)
            watched = self._watched[key] = Watched(gateway, row.table, table, time_ns)
        watched.time_ns, watched.lost = time_ns, None
        self._hub.publish(Row(watched.table, row.time_ns, row.parts, row.marks))
        if self._is_gone(gateway):
            self._lose(watched, "gateway_gone")
        return is_new

    def _expired(self, key: bytes, watched: Watched | None) -> bool:
        """The newest row of a table is gone; whether the table is, too."""
        if watched is None:
            return False
        known = self.gateways.get(watched.gateway)
        devices = known.document.get("devices", {}) if known is not None else {}
        if known is not None and watched.own.device in devices:
            self._lose(watched, "stale" if known.gone_since_s is None else "gateway_gone")
            return False
        del self._watched[key]
        self._hub.latest.drop(watched.table)
        return True

    def _lose(self, watched: Watched | None, reason: str) -> None:
        if watched is None or watched.lost == reason:
            return
        watched.lost = reason
        self._hub.publish(bad_row(watched.table, time.time_ns(), reason))

    def _is_gone(self, gateway: str) -> bool:
        known = self.gateways.get(gateway)
        return known is not None and known.gone_since_s is not None

    def _run_all(self, commands: Sequence[Command]) -> list[Any]:
        answers: list[Any] = []
        for first in range(0, len(commands), AT_ONCE):
            answers += self._client.run(commands[first : first + AT_ONCE])
        for answer in answers:
            if isinstance(answer, Exception) and not isinstance(answer, Refusal):
                raise answer
        return answers
