"""Every open connection, HTTP or WebSocket: what is known of it, for the bound and the list."""

from __future__ import annotations

import abc
import asyncio
import time
from collections.abc import Iterable
from typing import Any, ClassVar, Literal

from starlette.types import Scope

ANSWERED = "is_answered"
"""In the state of a request: its answer is out, though what it brought is still being read."""


class Counted(abc.ABC):
    """A connection that counts; the base of the protocols of HTTP and of WebSockets."""

    kind: ClassVar[Literal["http", "ws"]]

    transport: asyncio.Transport

    is_local = False
    """Whether it came in on the Unix socket."""

    since_ns = 0
    sent = 0
    """Answers or messages that were handed over to be sent."""

    dropped = 0
    """Rows that its client was too slow for."""

    @property
    @abc.abstractmethod
    def is_idle(self) -> bool:
        """Whether it may make way for a new one."""

    @property
    @abc.abstractmethod
    def current(self) -> Scope | None:
        """The request that is or was answered last, None before the first."""

    def begin(self, is_local: bool) -> None:
        """Note that it has begun."""
        self.is_local = is_local
        self.since_ns = time.time_ns()

    @abc.abstractmethod
    def abort(self) -> None:
        """Cut it off now; what was not sent is dropped."""


def listed(connections: Iterable[object]) -> list[dict[str, Any]]:
    """One document for each that counts, the oldest first."""
    found = [c for c in connections if isinstance(c, Counted)]
    return [_document(connection) for connection in sorted(found, key=lambda c: c.since_ns)]


def _document(connection: Counted) -> dict[str, Any]:
    scope = connection.current or {}
    state = scope.get("state") or {}
    peer = connection.transport.get_extra_info("peername")
    return {
        "kind": connection.kind,
        "via": "socket" if connection.is_local else "tcp",
        "peer": f"{peer[0]}:{peer[1]}" if isinstance(peer, tuple) else None,
        "since_ns": connection.since_ns,
        "path": scope.get("path"),
        "role": state.get("role"),
        "who": state.get("who"),
        "sent": connection.sent,
        "dropped": connection.dropped,
    }
