"""One WebSocket connection with the limits that uvicorn's own lacks."""

from __future__ import annotations

import asyncio
import socket
from asyncio.transports import BaseTransport
from collections.abc import Callable
from typing import Any, cast

import uvicorn
from starlette.types import Scope
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from uvicorn.server import ServerState

from gateway.api import protocol
from gateway.api.connections import Counted

MAX_WEBSOCKETS = 160
"""On TCP, and as many again on the Unix socket: those that stay leave room for questions."""

MAX_MESSAGE_BYTES = 65536
"""Of a client; a longer one ends the connection with code 1009."""

PING_S = 15.0
PONG_S = 30.0
"""A client that answers no ping is cut off 45 s after its last sign of life."""

CONNECTION = "connection"
"""In the state of a request: its connection."""

FULL = "is_one_too_many"
"""In the state of a request that is one too many; its handler refuses it."""


class LimitedWebSocket(WebSocketsSansIOProtocol, Counted):
    """uvicorn's WebSocket connection: counted with the others, cut off where nobody reads."""

    kind = "ws"
    _alike: dict[Counted, None]
    """The connections of its kind, itself among them."""

    _stall_timer: asyncio.TimerHandle | None = None

    def __init__(
        self,
        config: uvicorn.Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self._server_state = server_state
        self.on_writable: Callable[[], None] = lambda: None
        """Called when a client that was slow reads again."""

    def connection_made(self, transport: BaseTransport) -> None:
        """Count it; one too many is refused by its handler, in words."""
        super().connection_made(transport)
        self.begin(is_local=transport.get_extra_info("socket").family == socket.AF_UNIX)
        assert isinstance(self._server_state, protocol.Connections)  # noqa: S101
        state = self._server_state
        self._alike = state.local if self.is_local else state.remote
        self._alike[self] = None
        is_one_too_many = sum(c.kind == "ws" for c in self._alike) > MAX_WEBSOCKETS
        if is_one_too_many:
            state.count("refused")
        self.app_state = {**self.app_state, CONNECTION: self, FULL: is_one_too_many}

    @property
    def is_idle(self) -> bool:
        """Never: what stays open does not make way."""
        return False

    @property
    def current(self) -> Scope | None:
        """The request that opened it."""
        return cast("Scope | None", getattr(self, "scope", None))

    @property
    def is_writable(self) -> bool:
        """Whether a message would go out now."""
        is_open = self.handshake_complete and not (self.close_sent or self.disconnected)
        return is_open and self.writable.is_set() and not self.transport.is_closing()

    def write_frame(self, frame: bytes) -> None:
        """Send a message that is framed already, for all clients alike."""
        self.sent += 1
        self.transport.write(frame)

    def abort(self) -> None:
        """Cut it off now; what was not sent is dropped."""
        self.connections.discard(self)
        self._alike.pop(self, None)
        self.transport.abort()

    def pause_writing(self) -> None:
        """The client does not read as fast as we send."""
        super().pause_writing()
        if self._stall_timer is None:
            self._stall_timer = self.loop.call_later(protocol.STALL_S, self._cut_off)

    def _cut_off(self) -> None:
        assert isinstance(self._server_state, protocol.Connections)  # noqa: S101
        self._server_state.count("not_reading")
        self.transport.abort()

    def resume_writing(self) -> None:
        """The client has read."""
        super().resume_writing()
        self._forget_stall()
        self.on_writable()

    def keepalive_timeout(self) -> None:
        """No sign of life: there is nobody to say goodbye to."""
        self.transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget it."""
        self._forget_stall()
        self.connections.add(self)  # the base takes it out, and must find it
        self._alike.pop(self, None)
        super().connection_lost(exc)

    def _forget_stall(self) -> None:
        if self._stall_timer is not None:
            self._stall_timer.cancel()
            self._stall_timer = None
