"""One HTTP connection with the limits that uvicorn's own lacks: who is slow or idle has to go."""

from __future__ import annotations

import asyncio
import socket
from collections import Counter
from typing import Any, Literal, TypeAlias, get_args

import h11
from starlette.types import Scope
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.server import ServerState

from gateway.api.connections import ANSWERED, Counted
from gateway.api.sockets import peer_uid

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


Why: TypeAlias = Literal["made_way", "refused", "no_request", "not_reading"]
"""Why a client was cut off: the oldest idle one of too many, a new one where none is idle, one
without a request in time, one that reads nothing."""


class Connections(ServerState):
    """All connections of a server, each kind in the order in which they came."""

    def __init__(self) -> None:
        super().__init__()
        self.local: dict[Counted, None] = {}
        self.remote: dict[Counted, None] = {}
        self.cut_off: Counter[str] = Counter(dict.fromkeys(get_args(Why), 0))
        """Clients by why they were cut off, since the start."""

    def admit(self, connection: Counted) -> bool:
        """Count a new one; the oldest idle one of too many makes way. False: none is idle."""
        alike = self.local if connection.is_local else self.remote
        alike[connection] = None
        if len(alike) <= MAX_CONNECTIONS:
            return True
        oldest_idle = next((c for c in alike if c.is_idle and c is not connection), None)
        self.count("refused" if oldest_idle is None else "made_way")
        if oldest_idle is not None:
            oldest_idle.abort()
        return oldest_idle is not None

    def count(self, why: Why) -> None:
        """A client is cut off."""
        self.cut_off[why] += 1


class LimitedProtocol(H11Protocol, Counted):
    """uvicorn's HTTP/1.1 connection with time limits and a bound on the number of connections.

    Where the bound is reached, the oldest idle connection makes way for the new one.
    """

    kind = "http"
    _is_upgraded = False
    _alike: dict[Counted, None]
    """The connections of its kind, itself among them."""

    _request_timer: asyncio.TimerHandle | None = None
    _stall_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Count it, make room for it, and start waiting for its request."""
        super().connection_made(transport)
        connected = transport.get_extra_info("socket")
        self.begin(is_local=connected.family == socket.AF_UNIX)
        self.app_state = {"is_local": self.is_local, "peer_uid": peer_uid(connected)}
        self._request_timer = self.loop.call_later(REQUEST_S, self._cut_off, "no_request")
        assert isinstance(self.server_state, Connections)  # noqa: S101
        self._count = self.server_state.count
        self._alike = self.server_state.local if self.is_local else self.server_state.remote
        if not self.server_state.admit(self):
            self._answer(503, _BUSY)

    @property
    def is_idle(self) -> bool:
        """Whether no request is being answered."""
        if self._is_upgraded:
            return False
        if self.cycle is None or self.cycle.response_complete:
            return True
        return bool(self.cycle.scope["state"].get(ANSWERED))

    @property
    def current(self) -> Scope | None:
        """The request that is or was answered last, None before the first."""
        return None if self.cycle is None else self.cycle.scope  # type: ignore[return-value]

    def abort(self) -> None:
        """Cut it off now; what was not sent is dropped."""
        self.connections.discard(self)
        self._alike.pop(self, None)
        self.transport.abort()

    def data_received(self, data: bytes) -> None:
        """Feed the parser; a request that has begun has to be complete in time."""
        # h11 bounds only headers that are not complete yet: what came at one go it takes whole
        for start in range(0, len(data), MAX_HEADER_BYTES):
            super().data_received(data[start : start + MAX_HEADER_BYTES])
            if self._is_upgraded or self.transport.is_closing():
                break
        if not self.is_idle or self.transport.is_closing():
            self._expect_no_request()
        elif self._request_timer is None and self.timeout_keep_alive_task is None:
            self._request_timer = self.loop.call_later(REQUEST_S, self._cut_off, "no_request")

    def handle_websocket_upgrade(self, event: h11.Request) -> None:
        """From now on it is a WebSocket, with a protocol of its own that goes on from here."""
        self._is_upgraded = True
        del self._alike[self]
        super().handle_websocket_upgrade(event)

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
        self.sent += 1
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
        self._alike.pop(self, None)
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
            self._stall_timer = self.loop.call_later(STALL_S, self._cut_off, "not_reading")

    def _cut_off(self, why: Why) -> None:
        self._count(why)
        self.transport.abort()

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
