"""Sends rows to a gateway by gRPC, and again until they are on its disk: the client side.

gRPC is imported only here and in `gateway.ingest.rpc`.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

import grpc  # type: ignore[import-untyped]
import numpy as np

from gateway.errors import GatewayError
from gateway.ingest.messages import FIELDS, KINDS, MAX_MESSAGE, METHOD, SERVICE, messages
from gateway.model import ALL, VIA, Row, Table

WINDOW: Final = 5_000
WINDOW_ROWS: Final = 50_000
"""Messages, and their rows, that may be on their way without an acknowledgement."""

PAUSES_S: Final = (0.2, 0.5, 1.0, 2.0, 5.0)

_FAULTS: Final = (
    grpc.StatusCode.UNAUTHENTICATED,
    grpc.StatusCode.PERMISSION_DENIED,
    grpc.StatusCode.INVALID_ARGUMENT,
    grpc.StatusCode.UNIMPLEMENTED,
)
"""Answers that stay the same however often one asks."""


class Sent(NamedTuple):
    """What came of all rows."""

    rows: int
    """On disk, or refused for good."""
    refused: int
    words: list[str]
    """Why, the first of them."""


class Credentials(NamedTuple):
    """How a sender shows who it is; files in PEM."""

    token: str | None = None
    ca_file: Path | None = None
    """Of the gateway's certificate; None: no TLS."""
    certificate_file: Path | None = None
    key_file: Path | None = None


class Sender:
    """Sends groups of rows, in order."""

    def __init__(self, address: str, credentials: Credentials, give_up_s: float = 60.0) -> None:
        """``give_up_s``: longest time without a gateway that answers."""
        self._address = address
        self._credentials = credentials
        self._give_up_s = give_up_s
        self._pending: deque[Sequence[Row]] = deque()
        """Groups that are not acknowledged, oldest first."""
        self._changed = threading.Condition()
        self._rows = 0
        self._refused = 0
        self._words: list[str] = []
        self._sessions = 0
        self._under_way = 0
        """Groups of those that were sent in this session."""
        self._rows_under_way = 0
        self._done = False

    def send(self, groups: Iterator[Sequence[Row]]) -> Sent:
        """Send all groups; returns when all are on disk, or refused for good.

        A group should have some 500 rows: it is one message. GatewayError where the gateway does
        not know the sender, or does not answer for long.
        """
        failures, good_s = 0, time.monotonic()
        while True:
            before = self._rows
            try:
                self._session(groups)
            except grpc.RpcError as error:
                if error.code() in _FAULTS:
                    raise GatewayError(f"{self._address}: {error.details()}") from error
                words = error.details() or error.code().name
            else:
                if self._done and not self._pending:
                    return Sent(self._rows, self._refused, self._words)
                words = "the stream ended early"
            if self._rows > before:
                failures, good_s = 0, time.monotonic()
            elif time.monotonic() - good_s > self._give_up_s:
                raise GatewayError(
                    f"{self._address}: {words}; given up after {self._give_up_s:g} s, "
                    f"{sum(map(len, self._pending))} rows are not known to be on disk"
                )
            time.sleep(PAUSES_S[min(failures, len(PAUSES_S) - 1)])
            failures += 1

    def _session(self, groups: Iterator[Sequence[Row]]) -> None:
        """One stream: what is pending first, then new groups."""
        with self._changed:
            self._sessions += 1
            number = self._sessions
            self._under_way = self._rows_under_way = 0
        channel = self._channel()
        try:
            method = channel.stream_stream(f"/{SERVICE}/{METHOD}")
            token = self._credentials.token
            metadata = [("authorization", f"Bearer {token}")] if token else []
            call = method(self._bodies(groups, number), metadata=metadata)
            acked = 0
            for body in call:
                ack = messages().ack.FromString(body)
                with self._changed:
                    for _ in range(ack.seq - acked):
                        rows = len(self._pending.popleft())
                        self._rows += rows
                        self._rows_under_way -= rows
                        self._under_way -= 1
                    acked = ack.seq
                    self._changed.notify_all()
                for refused in ack.refused:
                    self._refused += refused.rows
                    if len(self._words) < 10:
                        self._words.append(f"{refused.rows} rows: {refused.why}")
        finally:
            with self._changed:
                self._sessions += 1  # the thread that asks for more is to end
                self._changed.notify_all()
            channel.close()

    def _bodies(self, groups: Iterator[Sequence[Row]], number: int) -> Iterator[bytes]:
        """Messages of a session, called in a thread of gRPC's."""
        encoder = Encoder()
        while True:
            with self._changed:
                if not self._has_room():
                    self._changed.wait_for(lambda: self._sessions != number or self._has_room())
                if self._sessions != number:
                    return
                is_new = self._under_way == len(self._pending)
            if is_new:
                try:
                    group = next(groups)
                except StopIteration:
                    self._done = True
                    return
            with self._changed:
                if is_new:
                    self._pending.append(group)
                if self._sessions != number:
                    return  # the next session begins with it
                group = self._pending[self._under_way]
                self._under_way += 1
                self._rows_under_way += len(group)
            yield encoder.encode(group)

    def _has_room(self) -> bool:
        """Whether one more message may go: with it the rows may be more than the window."""
        return self._under_way < WINDOW and self._rows_under_way < WINDOW_ROWS

    def _channel(self) -> Any:
        options = [("grpc.max_send_message_length", MAX_MESSAGE)]
        of = self._credentials
        if of.ca_file is None:
            return grpc.insecure_channel(self._address, options)
        try:
            ca = of.ca_file.read_bytes()
            key = of.key_file.read_bytes() if of.key_file else None
            chain = of.certificate_file.read_bytes() if of.certificate_file else None
        except OSError as error:
            raise GatewayError(f"{error.filename}: {error.strerror}") from error
        return grpc.secure_channel(
            self._address, grpc.ssl_channel_credentials(ca, key, chain), options
        )


class Encoder:
    """Rows as messages of one stream: each table is declared once."""

    def __init__(self) -> None:
        self._numbers: dict[Table, int] = {}
        self._seq = 0

    def encode(self, rows: Sequence[Row]) -> bytes:
        """The next message. ValueError where the rows are more than one may hold."""
        self._seq += 1
        batch = messages().batch(seq=self._seq)
        by_table: dict[Table, list[Row]] = {}
        for row in rows:
            by_table.setdefault(row.table, []).append(row)
        for table, of_table in by_table.items():
            if table not in self._numbers:
                self._declare(batch, table)
            self._add(batch.rows.add(shape=self._numbers[table]), table, of_table)
        body: bytes = batch.SerializeToString()
        if len(body) > MAX_MESSAGE:
            raise ValueError(f"a message of {len(body)} bytes; at most {MAX_MESSAGE}")
        return body

    def _declare(self, batch: Any, table: Table) -> None:
        number = self._numbers[table] = len(self._numbers) + 1
        shape = batch.shapes.add(number=number, device=table.device, table=table.name)
        own = ("gateway", "device", VIA[0])
        shape.labels.update({k: v for k, v in table.labels if k not in own})
        columns = zip(table.columns, table.kinds, table.units, strict=True)
        for at, (name, kind, unit) in enumerate(columns):
            shape.columns.add(
                name=name,
                kind=KINDS.index(kind),
                unit=unit or "",
                store_int=at in table.stores_int,
            )

    @staticmethod
    def _add(made: Any, table: Table, rows: Sequence[Row]) -> None:
        made.time_ns.extend([row.time_ns for row in rows])
        for number, part in enumerate(table.parts):
            width = len(part.columns)
            into = getattr(made, FIELDS[part.kind])
            for row in rows:
                values = row.parts[number] if row.parts else None
                if values is None:
                    into.extend([""] * width if part.kind == "str" else [0] * width)
                else:
                    into.extend(values.tolist() if isinstance(values, np.ndarray) else values)
        for at, row in enumerate(rows):
            for column, mark in (row.marks or {}).items():
                told = made.marks.add(row=at, quality=int(mark.quality), reason=mark.reason)
                if column != ALL:
                    told.column = column
