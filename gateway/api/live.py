"""``/ws/live``: the newest values, pushed as they come. The messages are in docs/websockets.md."""

from __future__ import annotations

import functools
import time
from typing import Annotated, Any

import anyio.to_thread
import orjson
from fastapi import APIRouter, WebSocket
from pydantic import Field, StringConstraints

from gateway.api.livealarms import alarms_router
from gateway.api.livechoice import MAX_NAMES, Choice, unknown_names
from gateway.api.livefeed import NOTHING
from gateway.api.livehub import MAX_HZ, MIN_HZ, LiveHub
from gateway.api.livetext import frame
from gateway.api.problems import Problem
from gateway.api.problems import unknown as no_such
from gateway.api.view import GatewayView
from gateway.api.wire import Message, Ping, Wire, hello, parse, read_query, refuse
from gateway.model import Table

MAX_PROBLEMS = 20

Name = Annotated[str, StringConstraints(min_length=1, max_length=400)]


class _Names(Message):
    type: str
    tables: list[Name] = Field([], max_length=MAX_NAMES)
    tags: list[Name] = Field([], max_length=MAX_NAMES)


class _Subscribe(_Names):
    history: bool | None = None


class _Rate(Message):
    type: str
    max_hz: float = Field(ge=MIN_HZ, le=MAX_HZ)


_SHAPES: dict[str, type[Message]] = {
    "subscribe": _Subscribe,
    "unsubscribe": _Names,
    "rate": _Rate,
    "ping": Ping,
}


def live_status(view: GatewayView) -> dict[str, Any]:
    """The message that is told every second."""
    status = view.status()
    keys = ("state", "reason", "since_s", "lateness_ms", "tags_bad")
    sent = status["ingest"]["devices"] if status.get("ingest") else {}
    return {
        "type": "status",
        "time_ns": time.time_ns(),
        "state": status["state"],
        "problems": status["problems"][:MAX_PROBLEMS],
        "devices": {
            n: {k: d.get(k) for k in keys} for n, d in (*sent.items(), *status["devices"].items())
        },
        "alarms": dict(view.alarms.status()),
    }


class _Client(Wire):
    """A client of `/ws/live`."""

    def __init__(self, socket: WebSocket, view: GatewayView, hub: LiveHub) -> None:
        super().__init__(socket)
        self._view = view
        self._hub = hub
        self.on_ready = functools.partial(hub.nudge, self)
        self.seen = NOTHING
        self.missed = 0
        self._choice = Choice()
        self._max_hz = MAX_HZ
        self._every_row = False

    @property
    def dropped(self) -> int:
        """Rows that it was too slow for, all told."""
        return self.connection.dropped

    @dropped.setter
    def dropped(self, rows: int) -> None:
        self.connection.dropped = rows

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
        if isinstance(message, Ping):
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
        known = known_tables(self._view)
        unknown = await anyio.to_thread.run_sync(unknown_names, tables, tags, known)
        for error, expected in unknown:
            await self.answer({"type": "error", "error": error, "expected": expected})
        self._choice = choice
        self._chosen()

    def _chosen(self) -> None:
        self._hub.choose(self, self._choice, self._max_hz, self._every_row)


def known_tables(view: GatewayView) -> list[Table]:
    """Tables of the configuration, and those that rows came for (averages, losses, alarms)."""
    drivers = list(view.devices().values())
    tables = [table for driver in drivers for group in driver.groups for table in group.tables]
    return [*tables, *(row.table for row in view.latest.rows())]


def _rate(text: str) -> float:
    try:
        rate = float(text)
    except ValueError:
        rate = 0.0
    if not MIN_HZ <= rate <= MAX_HZ:
        raise Problem(400, f"'max_hz' is wrong: '{text}'", f"a number from {MIN_HZ} to {MAX_HZ:g}")
    return rate


def live_router(view: GatewayView) -> APIRouter:
    """All WebSockets."""
    router = APIRouter()
    hub = LiveHub(view.hub, lambda: live_status(view))

    @router.websocket("/ws/live")
    async def live(socket: WebSocket) -> None:
        try:
            await _Client(socket, view, hub).run()
        except Problem as problem:
            await refuse(socket, problem)

    router.include_router(alarms_router(view))

    @router.websocket("/{path:path}")
    async def none(socket: WebSocket) -> None:
        await refuse(socket, no_such("WebSocket", socket.url.path, ("/ws/live", "/ws/alarms")))

    return router
