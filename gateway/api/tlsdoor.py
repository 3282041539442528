"""A connection on TCP from its first byte until its TLS handshake is done: counted like any other.

asyncio's own server makes a connection known after the handshake only; thousands that never shake
hands would take all descriptors of the process, those of the spool among them.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable
from typing import cast

from starlette.types import Scope

from gateway.api.connections import Counted
from gateway.api.protocol import Connections

HANDSHAKE_S = 5.0
"""Longest that a TLS handshake may take."""


class TlsDoor(asyncio.Protocol, Counted):
    """Stands before a protocol that is given the connection once it is encrypted."""

    kind = "http"
    is_idle = True
    """It may make way for a new one."""

    current: Scope | None = None

    def __init__(
        self, context: ssl.SSLContext, state: Connections, inside: Callable[[], asyncio.Protocol]
    ) -> None:
        self._context = context
        self._state = state
        self._inside = inside
        self._early = bytearray()
        """What came with the end of the handshake; at most one read of asyncio."""
        self._is_lost = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Count it, make room for it, and wait for the handshake."""
        self.transport = cast(asyncio.Transport, transport)
        self.transport.pause_reading()
        self.begin(is_local=False)
        if not self._state.admit(self):
            self.abort()  # without a handshake there are no words for it
            return
        self._task = asyncio.get_running_loop().create_task(self._shake_hands())

    async def _shake_hands(self) -> None:
        loop = asyncio.get_running_loop()
        try:
            transport = await loop.start_tls(
                self.transport,
                self,
                self._context,
                server_side=True,
                ssl_handshake_timeout=HANDSHAKE_S,
                ssl_shutdown_timeout=HANDSHAKE_S,
            )
        except OSError:  # of TLS, too: no handshake, none in time or none that is right
            return
        finally:
            self._state.remote.pop(self, None)
        if transport is None or self._is_lost:
            return
        inside = self._inside()
        transport.set_protocol(inside)
        inside.connection_made(transport)
        if self._early:
            inside.data_received(bytes(self._early))

    def data_received(self, data: bytes) -> None:
        """Its first request was there at once."""
        self._early += data

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget it."""
        self._is_lost = True
        self._state.remote.pop(self, None)

    def abort(self) -> None:
        """Cut it off now."""
        self._state.remote.pop(self, None)
        self.transport.abort()
