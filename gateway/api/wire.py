"""What all WebSockets share: how messages go out, and how those of clients are read."""

from __future__ import annotations

import secrets
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any

import orjson
from fastapi import WebSocket
from pydantic import BaseModel, ConfigDict, ValidationError
from starlette.responses import Response

from gateway import __version__
from gateway.api.answers import JSON
from gateway.api.livetext import frame
from gateway.api.problems import Problem, unknown
from gateway.api.view import GatewayView
from gateway.api.wsprotocol import CONNECTION, FULL, MAX_WEBSOCKETS, PING_S, LimitedWebSocket

MAX_ID_BYTES = 256
RUN = secrets.token_hex(8)
"""Differs from run to run: a client that sees another one starts anew."""


class Message(BaseModel):
    """What a client sends: an object with a ``type``."""

    model_config = ConfigDict(extra="forbid", strict=True)


class Ping(Message):
    """Asks for a sign of life; the answer has its ``id``."""

    type: str
    id: Any = None


class Wire:
    """One client's connection: messages go out at once while it reads, and wait while not."""

    def __init__(self, socket: WebSocket) -> None:
        self._socket = socket
        self.connection: LimitedWebSocket = socket.scope["state"][CONNECTION]
        self._waiting: deque[bytes] = deque()
        self.on_ready: Callable[[], None] = lambda: None

    @property
    def is_ready(self) -> bool:
        """Whether all that it was given is on its way."""
        return not self._waiting and self.connection.is_writable

    def hand(self, frames: list[bytes]) -> None:
        """Take messages; they go out as the client reads them."""
        self._waiting.extend(frames)
        self._flush()

    def end(self) -> None:
        """Close the connection: the gateway cannot go on."""
        self.connection.shutdown()

    async def open(self) -> None:
        """Accept the client; Problem where it is one too many."""
        if self._socket.scope["state"].get(FULL):
            raise Problem(503, f"{MAX_WEBSOCKETS} WebSockets are open already", "close one of them")
        await self._socket.accept()
        self.connection.on_writable = self._resume

    async def answer(self, document: dict[str, Any]) -> None:
        """Send a message of this client alone; waits for it to read, so it cannot flood us."""
        await self.connection.writable.wait()
        self.hand([frame(orjson.dumps(document))])

    async def messages(self) -> AsyncIterator[bytes]:
        """The client's messages until it is gone: bytes of JSON."""
        while (message := await self._socket.receive())["type"] == "websocket.receive":
            text = message.get("text")
            yield message.get("bytes") or b"" if text is None else text.encode()

    def _flush(self) -> None:
        while self._waiting and self.connection.is_writable:
            self.connection.write_frame(self._waiting.popleft())

    def _resume(self) -> None:
        self._flush()
        if self.is_ready:
            self.on_ready()


async def refuse(socket: WebSocket, problem: Problem) -> None:
    """Answer the request to open a WebSocket with an error, as every other request."""
    body = Response(problem.body, problem.status, problem.headers, JSON)
    await socket.send_denial_response(body)


def read_query(socket: WebSocket, *names: str) -> dict[str, list[str]]:
    """Query parameters, their values separated by commas; Problem for one that is none."""
    found: dict[str, list[str]] = {}
    for name, value in socket.query_params.multi_items():
        if name not in names:
            problem = unknown("parameter", name, names)
            raise Problem(400, problem.error, problem.expected)
        found.setdefault(name, []).extend(v for v in value.split(",") if v)
    return found


def hello(view: GatewayView, max_hz: float | None = None) -> dict[str, Any]:
    """The first message."""
    document: dict[str, Any] = {
        "type": "hello",
        "gateway": view.name,
        "version": __version__,
        "run": RUN,
        "time_ns": time.time_ns(),
        "heartbeat_s": PING_S,
    }
    return document if max_hz is None else {**document, "max_hz": max_hz}


def parse(text: bytes, shapes: Mapping[str, type[Message]]) -> Message:
    """A client's message; Problem where it is none."""
    try:
        document = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise Problem(400, f"not JSON: {error}", '{"type":"ping"}') from error
    kind = document.get("type") if isinstance(document, dict) else None
    if not isinstance(kind, str):
        raise Problem(400, "no object with a 'type'", f"one of: {', '.join(shapes)}")
    if kind not in shapes:
        problem = unknown("type", kind[:100], shapes)
        raise Problem(400, problem.error, problem.expected)
    try:
        message = shapes[kind].model_validate(document)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        expected = first["msg"].removeprefix("Input should be ")
        raise Problem(400, f"'{where}' of {kind} is wrong", expected) from error
    if isinstance(message, Ping) and len(orjson.dumps(message.id)) > MAX_ID_BYTES:
        raise Problem(400, "the 'id' of ping is too long", f"at most {MAX_ID_BYTES} bytes")
    return message
