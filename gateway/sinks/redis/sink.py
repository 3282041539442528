"""Redis Streams: one entry a batch and stream, spooled here until Redis has it."""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

from pydantic import Field, field_validator

from gateway.errors import GatewayError, Rejected, SinkUnavailable
from gateway.model import Table
from gateway.sinks import Payload, RemoteSink, Selected, SinkConfig
from gateway.sinks.naming import name_of, pattern_fault
from gateway.sinks.payload import Described
from gateway.sinks.redis.client import RedisClient, RedisServer, Refusal, refused
from gateway.sinks.redis.frames import (
    FORMAT,
    Entry,
    entries_of,
    framed,
    rows_of,
    unframed,
)
from gateway.sinks.redis.mirror import Mirror
from gateway.sinks.redis.newest import Newest
from gateway.sinks.redis.operators import Operators
from gateway.sinks.redis.trim import trim
from gateway.sinks.telling import Facts
from gateway.wire import FORMAT as WIRE
from gateway.wire import decode_batch, encode_batch

log = logging.getLogger(__name__)

MAX_CELLS = 200_000
"""A payload ends with the row that takes it past so many values; each row counts as four more."""

MAX_STREAMS = 10_000
"""Streams that are looked at for trimming."""

FORGET_S = 86_400.0
_ID = re.compile(rb"\d+-\d+")


class RedisConfig(SinkConfig, RedisServer):
    """A sink of type ``redis``."""

    type: str = Field("redis", description="redis")
    stream: str = Field(
        "readings:{gateway}",
        min_length=1,
        max_length=400,
        description="Name of the stream; {gateway}, {device} and {table} stand for a row's own.",
    )
    gzip: bool = Field(True, description="Compress the entries, and what is spooled.")
    trim_every_s: float = Field(
        30.0,
        ge=0,
        le=86_400,
        description="So often entries go that every consumer group has acknowledged; 0: never.",
    )
    keep_s: float = Field(
        0.0, ge=0, le=31_536_000, description="Entries younger than this stay, in seconds."
    )
    latest_ttl_s: int = Field(
        300,
        ge=0,
        le=86_400,
        description="The newest row of each table is kept as a hash for so long; 0: not at all.",
    )
    publish: bool = Field(
        True, description="Publish alarms and the status, for those who show many gateways."
    )
    remote_operators: bool = Field(
        False,
        description="Let operators of `gateway serve` acknowledge and shelve alarms of this "
        "gateway. Whoever may write to commands:{gateway} in Redis may do so, too.",
    )

    @field_validator("stream")
    @classmethod
    def _is_pattern(cls, value: str) -> str:
        if (fault := pattern_fault(value)) is not None:
            raise ValueError(fault)
        return value


class RedisSink(RemoteSink):
    """Adds entries ``{b: body, n: rows}``. Used by two threads: one encodes, one delivers."""

    config_class = RedisConfig
    config: RedisConfig
    letter_format: ClassVar[str] = WIRE

    def __init__(self, name: str, config: RedisConfig, state_dir: Path) -> None:
        super().__init__(name, config, state_dir)
        self._client = RedisClient(config, f"edge-gateway:{name}")
        self._newest = Newest(config.latest_ttl_s)
        self._mirror: Mirror | None = None
        self._operators: Operators | None = None
        self._entries_added = 0
        self._trimmed = 0
        self._trim_error: str | None = None
        self._lengths: dict[str, tuple[float, int, int]] = {}
        """By stream: when rows went there last (monotonic), its length, most pending."""
        self._looked_s = time.monotonic()
        self._refused: set[str] = set()
        """Streams that Redis said no to last: what goes to them goes apart."""

    def check(self) -> bool:
        """Connect, sign in and ask for a sign of life."""
        try:
            self._client.call("PING")
        except Refusal as error:
            raise SinkUnavailable(str(error), operator=True) from error
        return True

    def tell(self, facts: Facts) -> None:
        """Keep status and alarms in Redis from now on."""
        if self.config.publish and self._mirror is None:
            client = RedisClient(self.config, f"edge-gateway:{self.name}:mirror")
            self._mirror = Mirror(client, facts, self.name)
        may_operate = self.config.remote_operators and self._operators is None
        if may_operate and facts.operate is not None:
            client = RedisClient(self.config, f"edge-gateway:{self.name}:operators", raw=True)
            self._operators = Operators(client, facts.name, facts.operate, self.config.timeout_s)

    def _stream(self, table: Table) -> str:
        return name_of(self.config.stream, table)

    # -- encoding

    def encode(self, rows: Sequence[Selected]) -> list[Payload]:
        """The rows in payloads of bounded size, each with one entry a stream."""
        if self.config.latest_ttl_s:
            self._newest.note(rows)
        out = []
        first = cells = values = 0
        for at, selected in enumerate(rows, 1):
            width = len(selected.row.table.columns)
            values += width
            cells += width + 4
            if cells >= MAX_CELLS or at == len(rows):
                body = self._framed(rows[first:at])
                out.append(Payload(body, FORMAT, at - first, values))
                first, cells, values = at, 0, 0
        return out

    def _framed(self, rows: Sequence[Selected]) -> bytes:
        return framed(entries_of(rows, self._stream, pack=self.config.gzip))

    def _entries(self, body: bytes, format: str) -> list[Entry]:
        """The entries of a payload. Rejected where it is none of ours."""
        try:
            if format == FORMAT:
                return unframed(body)
            if format == WIRE:
                return entries_of(decode_batch(body), self._stream, pack=self.config.gzip)
        except ValueError as error:
            raise Rejected(f"a damaged payload: {error}") from error
        raise Rejected(f"a payload of format {format} is not for Redis")

    def pieces(self, body: bytes, format: str) -> list[bytes]:
        """Apart what goes to a stream that was refused: the others would be stored twice."""
        if not self._refused or format != FORMAT:
            return [body]
        try:
            entries = self._entries(body, format)
        except Rejected:
            return [body]
        good = [e for e in entries if e.stream not in self._refused]
        apart = [[e] for e in entries if e.stream in self._refused]
        parts = [part for part in (good, *apart) if part]
        return [framed(part) for part in parts] if len(parts) > 1 else [body]

    def split(self, body: bytes, format: str, words: str = "") -> list[bytes]:
        """By stream; the rows of one stream in halves, where it was too much at once."""
        try:
            entries = self._entries(body, format)
            if len(entries) > 1:
                middle = len(entries) // 2
                parts: list[Sequence[Entry]] = [entries[:middle], entries[middle:]]
                if format == FORMAT:
                    return [framed(part) for part in parts]
                return [encode_batch(rows_of(part)) for part in parts]
            rows = rows_of(entries)
        except (Rejected, ValueError):
            return [body]
        if words or len(rows) < 2:  # Redis does not look into an entry: all of it was refused
            return [body]
        halves = (rows[: len(rows) // 2], rows[len(rows) // 2 :])
        return [self._framed(h) if format == FORMAT else encode_batch(h) for h in halves]

    def describe_each(self, body: bytes, format: str) -> list[tuple[bytes, Described]]:
        """Each row of a payload, as a batch of its own."""
        try:
            rows = rows_of(self._entries(body, format))
        except (Rejected, ValueError):
            return []
        return [(encode_batch([s]), _described(s)) for s in rows]

    def describe(self, body: bytes, format: str) -> Described:
        """What a batch of one row is about."""
        found = self.describe_each(body, format)
        return found[0][1] if found else Described("?", "?", 0, 0)

    # -- delivering

    def deliver(self, body: bytes, format: str) -> None:
        """Add the entries in one transaction; returning means that Redis has them."""
        entries = self._entries(body, format)
        answers = self._client.run(
            [("XADD", e.stream, "*", "b", e.body, "n", e.rows) for e in entries],
            atomic=len(entries) > 1,
        )
        for entry, answer in zip(entries, answers, strict=True):
            if isinstance(answer, Refusal):
                self._refused.add(entry.stream)
            else:
                self._refused.discard(entry.stream)
        try:
            refused(answers)
        except Rejected as error:
            if "{" not in self.config.stream.replace("{gateway}", ""):
                # one stream for all: it is a key that a person must mend, and not the rows
                raise SinkUnavailable(
                    f"stream {entries[0].stream}: {error}", operator=True
                ) from error
            raise
        if not all(isinstance(a, bytes) and _ID.fullmatch(a) for a in answers):
            # something between us and Redis answered: nobody said that the rows are stored
            raise SinkUnavailable(f"{self._client.where}: the answer is not that of XADD")
        now = time.monotonic()
        self._entries_added += len(entries)
        for entry in entries:
            _, length, pending = self._lengths.get(entry.stream, (0.0, 0, 0))
            self._lengths[entry.stream] = (now, length, pending)
        self._beside()

    def _beside(self) -> None:
        """What is done beside the batches: if it fails, they are stored all the same."""
        newest = self._newest.take()
        try:
            refused(self._client.run(self._newest.commands(newest)))
        except GatewayError as error:
            self._newest.put_back(newest)
            self._trim_error = f"latest rows: {error}"
            return
        every_s, now = self.config.trim_every_s, time.monotonic()
        if not every_s or now - self._looked_s < every_s:
            return
        self._looked_s = now
        try:
            self._trim(now)
            self._trim_error = None
        except GatewayError as error:
            if self._trim_error is None:
                extra = {"sink": self.name, "error": str(error)}
                log.warning("streams cannot be trimmed", extra=extra)
            self._trim_error = f"trimming: {error}"

    def _trim(self, now: float) -> None:
        for stream, (since_s, _, _) in list(self._lengths.items()):
            if now - since_s > FORGET_S or len(self._lengths) > MAX_STREAMS:
                del self._lengths[stream]
                continue
            found = trim(self._client, stream, self.config.keep_s)
            self._trimmed += found.removed
            self._lengths[stream] = (since_s, found.length, found.pending)

    def close(self) -> None:
        """End a request that is under way and close the connections."""
        self._client.close()
        operators, self._operators = self._operators, None
        if operators is not None:
            operators.close()
        mirror, self._mirror = self._mirror, None
        if mirror is not None:
            mirror.close()

    def status(self) -> dict[str, Any]:
        """Where it writes to, and how the streams were at the last look."""
        known, mirror, operators = list(self._lengths.values()), self._mirror, self._operators
        return {
            "server": self._client.where,
            "stream": self.config.stream,
            "streams": len(known),
            "entries_added": self._entries_added,
            "entries_in_streams": sum(length for _, length, _ in known),
            "entries_pending": max((pending for _, _, pending in known), default=0),
            "entries_trimmed": self._trimmed,
            "beside_error": self._trim_error
            or (mirror.error if mirror else None)
            or (operators.error if operators else None),
            "remote_commands": operators.done if operators else 0,
            "alarms_not_published": mirror.dropped if mirror else 0,
        }


def _described(selected: Selected) -> Described:
    row = selected.row
    return Described(row.table.device, row.table.key, row.time_ns, len(row.table.columns))
