"""Serves the app on the Unix socket and on TCP in one event loop, without waking up while idle."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
from collections.abc import Generator, Sequence

import anyio
import anyio.abc
import anyio.lowlevel
import uvicorn

from gateway.api.app import Api
from gateway.api.connections import Counted
from gateway.api.protocol import (
    KEEP_ALIVE_S,
    MAX_HEADER_BYTES,
    Connections,
    LimitedProtocol,
)
from gateway.api.settings import ApiConfig
from gateway.api.sockets import BACKLOG, Listeners, inherited_sockets
from gateway.api.tls import Tls
from gateway.api.tlsdoor import TlsDoor
from gateway.api.wsprotocol import MAX_MESSAGE_BYTES, PING_S, PONG_S, LimitedWebSocket

log = logging.getLogger("gateway.api")

GRACE_S = 2.0
"""An answer that is not out this long after the stop is cut off."""

CANCEL_S = 0.5

ACCEPTED_AT_ONCE = 32
"""Well below the bound on connections: in a flood, each still has its request read before those
that come after it make the oldest go. Three times as many are on their way in or out at most."""


class _Quiet(uvicorn.Server):
    """uvicorn's server without its 10 wake-ups a second, its signal handlers and its exit calls.

    The Date header, for which uvicorn wakes up, is set by `gateway.api.guard` on each answer.
    """

    server_state: Connections

    def __init__(self, config: uvicorn.Config, stop: anyio.Event, tls: Tls | None) -> None:
        super().__init__(config)
        self.server_state = Connections()
        self._tls = tls
        self._stop = stop
        self.began: anyio.Event = anyio.Event()

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        """The daemon has the signals."""
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listen; uvicorn would do it alike on all, but only TCP has TLS."""
        loop = asyncio.get_running_loop()
        self.servers = []
        for sock in sockets or ():
            made = (
                self._protocol if sock.family == socket.AF_UNIX or self._tls is None else self._door
            )
            server = await loop.create_server(made, sock=sock, backlog=self.config.backlog)
            self.servers.append(server)
        self.started = True

    def _protocol(self) -> LimitedProtocol:
        return LimitedProtocol(self.config, self.server_state, {})

    def _door(self) -> TlsDoor:
        assert self._tls is not None  # noqa: S101
        return TlsDoor(self._tls.context, self.server_state, self._protocol)

    async def main_loop(self) -> None:
        """Sleep until the end."""
        self.began.set()
        await self._stop.wait()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Accept no more, let running answers end within GRACE_S, cut off the rest."""
        for server in self.servers:
            server.close()
        for connection in list(self.server_state.connections):
            if not connection.transport.is_closing():
                connection.shutdown()
        with anyio.move_on_after(GRACE_S):
            # uvicorn tells nobody when the last one is gone
            while self.server_state.connections or self.server_state.tasks:  # noqa: ASYNC110
                await anyio.sleep(0.02)
        self.cut_off()
        await anyio.lowlevel.checkpoint()  # the connections learn that they are lost
        for task in list(self.server_state.tasks):
            task.cancel()
        if self.server_state.tasks:
            await asyncio.wait(self.server_state.tasks, timeout=CANCEL_S)

    def cut_off(self) -> None:
        """Close all listeners and connections that are left, now. Idempotent."""
        for server in getattr(self, "servers", []):
            server.close()
        for connection in {*self.server_state.connections, *self.server_state.remote}:
            if isinstance(connection, Counted):
                connection.abort()


class Server:
    """The HTTP server of one gateway."""

    def __init__(
        self, app: Api, api: ApiConfig, inherited: Sequence[socket.socket] | None = None
    ) -> None:
        """``inherited``: already listening sockets; None: those that systemd passed, if any."""
        self._app = app
        self._api = api
        self._inherited = inherited
        self._listeners: Listeners | None = None

    @property
    def endpoints(self) -> list[str]:
        """Where clients reach the app while it runs."""
        return [] if self._listeners is None else self._listeners.endpoints

    async def run(
        self,
        stop: anyio.Event,
        *,
        task_status: anyio.abc.TaskStatus[None] = anyio.TASK_STATUS_IGNORED,
    ) -> None:
        """Serve until ``stop``; started (for a task group's ``start``) once clients can connect.

        Raises:
            GatewayError: an address cannot be listened on, or the certificate cannot be used; says
                which, why and what to do.
        """
        given = inherited_sockets() if self._inherited is None else self._inherited
        tls = None if self._api.tls is None else Tls(self._api.tls)
        self._listeners = Listeners(self._api, given)
        config = uvicorn.Config(
            self._app,
            http=LimitedProtocol,
            ws=LimitedWebSocket,
            ws_max_size=MAX_MESSAGE_BYTES,
            ws_ping_interval=PING_S,
            ws_ping_timeout=PONG_S,
            ws_per_message_deflate=False,
            lifespan="off",
            interface="asgi3",
            log_config=None,
            log_level="error",
            access_log=False,
            proxy_headers=False,
            server_header=False,
            date_header=False,
            backlog=ACCEPTED_AT_ONCE,
            timeout_keep_alive=KEEP_ALIVE_S,
            h11_max_incomplete_event_size=MAX_HEADER_BYTES,
        )
        server = _Quiet(config, stop, tls)
        self._app.connections = server.server_state.connections
        self._app.cut_off = server.server_state.cut_off
        try:
            async with anyio.create_task_group() as group:
                group.start_soon(server.serve, list(self._listeners.sockets))
                if tls is not None:
                    group.start_soon(tls.watch)
                await server.began.wait()
                for listening in self._listeners.sockets:
                    listening.listen(BACKLOG)  # asyncio has set it to what it accepts at once
                task_status.started()
                log.info("listening", extra={"at": ", ".join(self.endpoints)})
                await stop.wait()
                self._app.stop()
                if tls is not None:
                    tls.stop()
        finally:
            server.cut_off()
            self._listeners.close()
