"""One HTTP connection with the limits that uvicorn's own lacks: who is slow or idle has to go."""

from __future__ import annotations

import asyncio
import socket
from itertools import count
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

MAX_CONNECTIONS = 200
"""On TCP, and as many again on the Unix socket: neither can lock out the other."""

REQUEST_S = 10.0
"""A request has to be there this long after its connection or its first byte."""

STALL_S = 10.0
"""A client that reads nothing for this long is cut off."""

MAX_HEADER_BYTES = 16384
KEEP_ALIVE_S = 60

_BUSY = b'{"error":"too many connections","expected":"try again, or close idle connections"}'
_INVALID = b'{"error":"not a valid HTTP request","expected":"HTTP/1.1, headers below 16 KiB"}'

_order = count()


class LimitedProtocol(H11Protocol):
    """uvicorn's HTTP/1.1 connection with time limits and a bound on the number of connections.

    Where the bound is reached, the oldest idle connection makes way for the new one.
    """

    is_local = False
    """Whether it came in on the Unix socket."""

    order = 0
    """Position among all connections so far."""

    _request_timer: asyncio.TimerHandle | None = None
    _stall_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Count it, make room for it, and start waiting for its request."""
        super().connection_made(transport)
        self.order = next(_order)
        self.is_local = transport.get_extra_info("socket").family == socket.AF_UNIX
        self.app_state = {"is_local": self.is_local}
        self._request_timer = self.loop.call_later(REQUEST_S, transport.abort)
        alike = [
            c
            for c in self.connections
            if isinstance(c, LimitedProtocol) and c.is_local == self.is_local
        ]
        if len(alike) > MAX_CONNECTIONS:
            idle = [c for c in alike if c.is_idle and c is not self]
            if idle:
                min(idle, key=lambda c: c.order).abort()
            else:
                self._answer(503, _BUSY)

    @property
    def is_idle(self) -> bool:
        """Whether no request is being answered."""
        return self.cycle is None or self.cycle.response_complete

    def abort(self) -> None:
        """Cut it off now; what was not sent is dropped."""
        self.connections.discard(self)
        self.transport.abort()

    def data_received(self, data: bytes) -> None:
        """Feed the parser; a request that has begun has to be complete in time."""
        super().data_received(data)
        if not self.is_idle or self.transport.is_closing():
            self._expect_no_request()
        elif self._request_timer is None and self.timeout_keep_alive_task is None:
            self._request_timer = self.loop.call_later(REQUEST_S, self.transport.abort)

    def pause_writing(self) -> None:
        """The client does not read as fast as we send."""
        super().pause_writing()
        self._watch_for_stall()

    def resume_writing(self) -> None:
        """The client has read."""
        super().resume_writing()
        self._expect_no_reading()

    def on_response_complete(self) -> None:
        """The answer is handed over; it still has to be read."""
        super().on_response_complete()
        if self.transport.is_closing() and self.transport.get_write_buffer_size():
            self._watch_for_stall()

    def timeout_keep_alive_handler(self) -> None:
        """Nothing came for long: close, without waiting for a client that does not read."""
        if self.transport.get_write_buffer_size():
            self.abort()
        else:
            super().timeout_keep_alive_handler()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget it."""
        self._expect_no_request()
        self._expect_no_reading()
        self._unset_keepalive_if_required()
        super().connection_lost(exc)

    def send_400_response(self, msg: str) -> None:
        """The parser refuses the request."""
        self._answer(400, _INVALID)

    def _expect_no_request(self) -> None:
        if self._request_timer is not None:
            self._request_timer.cancel()
            self._request_timer = None

    def _expect_no_reading(self) -> None:
        if self._stall_timer is not None:
            self._stall_timer.cancel()
            self._stall_timer = None

    def _watch_for_stall(self) -> None:
        if self._stall_timer is None:
            self._stall_timer = self.loop.call_later(STALL_S, self.transport.abort)

    def _answer(self, status: int, body: bytes) -> None:
        if self.conn.our_state in (h11.IDLE, h11.SEND_RESPONSE):
            headers = [
                (b"content-type", b"application/json"),
                (b"content-length", b"%d" % len(body)),
                (b"connection", b"close"),
            ]
            events: list[Any] = [
                h11.Response(status_code=status, headers=headers),
                h11.Data(data=body),
                h11.EndOfMessage(),
            ]
            for event in events:
                self.transport.write(self.conn.send(event) or b"")
        self.transport.close()
