"""Makes batches for the sink out of entries: what they hold is looked at once, here."""

from __future__ import annotations

import time
from collections.abc import Sequence
from itertools import chain
from pathlib import Path
from typing import ClassVar, Final, NamedTuple

from gateway.errors import GatewayError, Rejected
from gateway.model import Selected
from gateway.relay.entries import Entry, Held, HeldBatch
from gateway.sinks import DurableSink, Payload, RemoteSink, SinkConfig, find_sink
from gateway.spool.manifest import Span, merge_spans
from gateway.spool.segment import Stored
from gateway.wire import FORMAT, decode_batch, decode_tables, encode_batch, unpack

MAX_VALUES: Final = 50_000
"""Values after which a batch is full, however few rows it has."""


class Opened(NamedTuple):
    """An entry that was looked into."""

    entry: Entry
    text: bytes
    """Its rows as `gateway.wire` has them, not packed."""
    tables: list[list[Selected]]
    rows: int
    values: int


def opened(entry: Entry) -> Opened:
    """The rows of an entry. ValueError says what is wrong with it."""
    if entry.body is None:
        raise ValueError("it has no field `b`; expected a batch of rows in it")
    text = unpack(entry.body)
    tables = [rows for rows in decode_tables(text) if rows]
    count = sum(map(len, tables))
    values = sum(len(rows) * len(rows[0].row.table.columns) for rows in tables)
    return Opened(entry, text, tables, count, values)


class Maker:
    """Collects entries until they make a batch."""

    def __init__(self, sink: RemoteSink, max_rows: int) -> None:
        self._sink = sink
        self._max_rows = max_rows
        self._waiting: list[Opened] = []
        self._rows = self._values = 0
        self.since_s: float | None = None
        """Monotonic time since which rows wait here."""

    @property
    def is_full(self) -> bool:
        """Whether what waits makes a batch."""
        return self._rows >= self._max_rows or self._values >= MAX_VALUES

    def add(self, found: Opened) -> None:
        """One more."""
        self._waiting.append(found)
        self._rows += found.rows
        self._values += found.values
        if self.since_s is None:
            self.since_s = time.monotonic()

    def take(self) -> list[HeldBatch]:
        """What waits, as batches of the same entries; mostly one."""
        waiting, self._waiting = self._waiting, []
        self._rows = self._values = 0
        self.since_s = None
        return self.batches(waiting, is_claimed=False) if waiting else []

    def batches(self, waiting: Sequence[Opened], *, is_claimed: bool) -> list[HeldBatch]:
        """Batches of these entries alone."""
        held = Held([found.entry for found in waiting], is_claimed=is_claimed)
        spans = tuple(merge_spans(chain.from_iterable(_spans(found) for found in waiting)))
        # a dead letter that is tried once more was counted when it was refused
        counts = not any(found.entry.stream.startswith(b"replay:") for found in waiting)
        now = time.monotonic()
        return [
            HeldBatch(held, Stored(p.body, p.format, p.rows * counts, p.values, spans), now)
            for p in self._payloads(waiting)
        ]

    def _payloads(self, waiting: Sequence[Opened]) -> list[Payload]:
        if self._sink.letter_format == FORMAT:  # the sink's own format is that of the entries
            rows = sum(found.rows for found in waiting)
            values = sum(found.values for found in waiting)
            return [Payload(b"".join(found.text for found in waiting), FORMAT, rows, values)]
        rows_of = [found.tables for found in waiting]
        return self._sink.encode(list(chain.from_iterable(chain.from_iterable(rows_of))))

    def again(self, entry: Entry) -> list[HeldBatch]:
        """A dead letter in the sink's own format, which is sent as it is. ValueError."""
        if entry.format != self._sink.letter_format:
            expected = f"expected {FORMAT} or {self._sink.letter_format}"
            raise ValueError(f"format {entry.format}; {expected}")
        if entry.body is None:
            raise ValueError("it has no field `b`")
        held = Held([entry], is_claimed=False)
        stored = Stored(entry.body, entry.format, 0, 0, ())
        return [HeldBatch(held, stored, time.monotonic())]


def _spans(found: Opened) -> list[Span]:
    out = []
    for rows in found.tables:
        table = rows[0].row.table
        times = [row.time_ns for row, _ in rows]
        out.append(Span(table.device, table.key, len(rows), min(times), max(times)))
    return out


class Straight(RemoteSink):
    """A sink that is durable itself, spoken to as if it were far away."""

    letter_format: ClassVar[str] = FORMAT

    def __init__(self, inner: DurableSink) -> None:
        super().__init__(inner.name, inner.config, inner.state_dir)
        self._inner = inner

    def encode(self, rows: Sequence[Selected]) -> list[Payload]:
        """The rows as they come."""
        values = sum(len(s.row.table.columns) for s in rows)
        return [Payload(encode_batch(rows), FORMAT, len(rows), values)]

    def deliver(self, body: bytes, format: str) -> None:
        """Store them; they are on disk on return."""
        try:
            rows = decode_batch(body)
        except ValueError as error:
            raise Rejected(f"no rows: {error}") from error
        self._inner.store(rows)

    def split(self, body: bytes, format: str, words: str = "") -> list[bytes]:
        """In halves."""
        try:
            rows = decode_batch(body)
        except ValueError:
            return [body]
        middle = len(rows) // 2
        return [encode_batch(rows[:middle]), encode_batch(rows[middle:])] if middle else [body]

    def status(self) -> dict[str, object]:
        """That of the sink."""
        return self._inner.status()

    def close(self) -> None:
        """Close the sink."""
        self._inner.close()


def made_sink(config: SinkConfig, state_dir: Path) -> RemoteSink:
    """The sink that the rows go to. GatewayError where it cannot be used here."""
    sink = find_sink(config.type)("writer", config, state_dir)
    if isinstance(sink, RemoteSink):
        return sink
    if isinstance(sink, DurableSink):
        try:
            state_dir.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise GatewayError(f"state_dir {state_dir}: {error.strerror}") from error
        return Straight(sink)
    raise GatewayError(f"sink type {config.type} is not for `gateway writer`")
