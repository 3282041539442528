"""``/ws/live``: the newest values, pushed as they come. The messages are in docs/websockets.md."""

from __future__ import annotations

import secrets
import time
from collections import deque
from collections.abc import Callable
from typing import Annotated, Any

import orjson
from fastapi import APIRouter, WebSocket
from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError
from starlette.responses import Response

from gateway import __version__
from gateway.api.answers import JSON
from gateway.api.livechoice import MAX_NAMES, Choice, unknown_names
from gateway.api.livehub import MAX_HZ, MIN_HZ, LiveHub
from gateway.api.livetext import frame
from gateway.api.problems import Problem, unknown
from gateway.api.view import GatewayView
from gateway.api.wsprotocol import CONNECTION, FULL, MAX_WEBSOCKETS, PING_S, LimitedWebSocket
from gateway.model import Table

MAX_PROBLEMS = 20
MAX_ID_BYTES = 256
RUN = secrets.token_hex(8)
"""Differs from run to run: a client that sees another one starts anew."""

Name = Annotated[str, StringConstraints(min_length=1, max_length=400)]


class _Message(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class _Names(_Message):
    type: str
    tables: list[Name] = Field([], max_length=MAX_NAMES)
    tags: list[Name] = Field([], max_length=MAX_NAMES)


class _Subscribe(_Names):
    history: bool | None = None


class _Rate(_Message):
    type: str
    max_hz: float = Field(ge=MIN_HZ, le=MAX_HZ)


class _Ping(_Message):
    type: str
    id: Any = None


_SHAPES: dict[str, type[_Message]] = {
    "subscribe": _Subscribe,
    "unsubscribe": _Names,
    "rate": _Rate,
    "ping": _Ping,
}


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

    async def messages(self) -> Any:
        """The client's messages until it is gone: bytes of JSON."""
        while (message := await self._socket.receive())["type"] == "websocket.receive":
            text = message.get("text")
            yield message.get("bytes") if text is None else text.encode()

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


def live_status(view: GatewayView) -> dict[str, Any]:
    """The message that is told every second."""
    status = view.status()
    keys = ("state", "reason", "since_s", "lateness_ms", "tags_bad")
    return {
        "type": "status",
        "time_ns": time.time_ns(),
        "state": status["state"],
        "problems": status["problems"][:MAX_PROBLEMS],
        "devices": {n: {k: d[k] for k in keys} for n, d in status["devices"].items()},
        "alarms": dict(view.alarms.status()),
    }


class _Client(Wire):
    """A client of `/ws/live`."""

    def __init__(self, socket: WebSocket, view: GatewayView, hub: LiveHub) -> None:
        super().__init__(socket)
        self._view = view
        self._hub = hub
        self.on_ready = hub.nudge
        self.seen = -1
        self._missed = 0
        self._choice = Choice()
        self._max_hz = MAX_HZ
        self._every_row = False

    @property
    def missed(self) -> int:
        """Rows that it was too slow for and has not been told of yet."""
        return self._missed

    @missed.setter
    def missed(self, rows: int) -> None:
        self.connection.dropped += max(0, rows - self._missed)
        self._missed = rows

    async def run(self) -> None:
        """Serve it until it is gone. Problem where it cannot be served."""
        query = read_query(self._socket, "tables", "tags", "max_hz")
        if rate := query.get("max_hz"):
            self._max_hz = _rate(rate[-1])
        await self.open()
        self.hand([frame(orjson.dumps(hello(self._view, self._max_hz)))])
        self._hub.join(self)
        try:
            if "tables" in query or "tags" in query:
                await self._subscribe(query.get("tables", []), query.get("tags", []))
            async for text in self.messages():
                await self._obey(text)
        finally:
            self._hub.leave(self)

    async def _obey(self, text: bytes) -> None:
        try:
            message = parse(text, _SHAPES)
        except Problem as problem:
            await self.answer({"type": "error", **orjson.loads(problem.body)})
            return
        if isinstance(message, _Ping):
            await self.answer({"type": "pong", "id": message.id})
        elif isinstance(message, _Rate):
            self._max_hz = message.max_hz
            self._chosen()
        elif isinstance(message, _Subscribe):
            if message.history is not None:
                self._every_row = message.history
            await self._subscribe(message.tables, message.tags)
        elif isinstance(message, _Names):
            self._choice = self._choice.minus(message.tables, message.tags)
            self._chosen()

    async def _subscribe(self, tables: list[str], tags: list[str]) -> None:
        choice = self._choice.plus(tables, tags)
        if len(choice.tables) + len(choice.tags) > MAX_NAMES:
            problem = {"error": "too many tables and tags", "expected": f"at most {MAX_NAMES}"}
            await self.answer({"type": "error", **problem})
            return
        for error, expected in unknown_names(tables, tags, known_tables(self._view)):
            await self.answer({"type": "error", "error": error, "expected": expected})
        self._choice = choice
        self._chosen()

    def _chosen(self) -> None:
        self._hub.choose(self, self._choice, self._max_hz, self._every_row)


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


def known_tables(view: GatewayView) -> list[Table]:
    """Tables of the configuration, and those that rows came for (averages, losses, alarms)."""
    drivers = list(view.devices().values())
    tables = [table for driver in drivers for group in driver.groups for table in group.tables]
    return [*tables, *(row.table for row in view.latest.rows())]


def parse(text: bytes, shapes: dict[str, type[_Message]]) -> _Message:
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
    if isinstance(message, _Ping) and len(orjson.dumps(message.id)) > MAX_ID_BYTES:
        raise Problem(400, "the 'id' of ping is too long", f"at most {MAX_ID_BYTES} bytes")
    return message


def _rate(text: str) -> float:
    try:
        rate = float(text)
    except ValueError:
        rate = 0.0
    if not MIN_HZ <= rate <= MAX_HZ:
        raise Problem(400, f"'max_hz' is wrong: '{text}'", f"a number from {MIN_HZ} to {MAX_HZ:g}")
    return rate


def live_router(view: GatewayView) -> APIRouter:
    """The route."""
    router = APIRouter()
    hub = LiveHub(view.hub, lambda: live_status(view))

    @router.websocket("/ws/live")
    async def live(socket: WebSocket) -> None:
        try:
            await _Client(socket, view, hub).run()
        except Problem as problem:
            await refuse(socket, problem)

    return router
