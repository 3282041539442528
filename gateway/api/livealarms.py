"""``/ws/alarms``: every transition of an alarm, as it happens. The messages: docs/websockets.md."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import time
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any

import anyio.to_thread
import orjson
from fastapi import APIRouter, WebSocket

from gateway.alarms.model import Transition
from gateway.api.alarms import as_document
from gateway.api.livetext import frame
from gateway.api.problems import Problem
from gateway.api.view import GatewayView
from gateway.api.wire import Message, Ping, Wire, hello, parse, read_query, refuse
from gateway.errors import GatewayError

MAX_WAITING = 1000
"""Transitions that wait for a client; more are dropped, and it is told how things stand."""

MAX_RESUMED = 1000
"""Most transitions that are sent again to a client that comes back."""

AHEAD_NS = 366 * 86_400 * 10**9
"""Transitions of before a clock was set back are found, too."""

_SHAPES: Mapping[str, type[Message]] = {"ping": Ping}


class _Client(Wire):
    """A client of `/ws/alarms`."""

    def __init__(self, socket: WebSocket, view: GatewayView, hub: AlarmHub) -> None:
        super().__init__(socket)
        self._view = view
        self._hub = hub
        self._queue: deque[tuple[int, bytes]] = deque()
        self._dropped = 0
        self._number = 0
        """Of the last transition that it has."""
        self._is_set = False
        """Whether it knows how things stand; until then transitions wait."""
        self.on_ready = self._send

    def put(self, number: int, told: bytes) -> None:
        """A transition."""
        self._queue.append((number, told))
        if len(self._queue) > MAX_WAITING:
            self._queue.popleft()
            self._dropped += 1
            self.connection.dropped += 1
        self._send()

    async def run(self) -> None:
        """Serve it until it is gone. Problem where it cannot be served."""
        since = _since(read_query(self._socket, "since"))
        await self.open()
        self._hub.join(self)
        try:
            await self._begin(since)
            async for text in self.messages():
                await self._obey(text)
        finally:
            self._hub.leave(self)

    async def _begin(self, since: int | None) -> None:
        """Send what happened since a number, or how things stand where that is not known."""
        newest, missed = await anyio.to_thread.run_sync(_looked_up, self._view, since)
        number = self._hub.number = max(self._hub.number, newest)
        self.hand([frame(orjson.dumps({**hello(self._view), "number": number}))])
        if since is None or missed is None:
            self._reset(0)
        else:
            self._number = max((m["number"] for m in missed), default=since)
            self.hand([_alarm(document) for document in missed])
        self._is_set = True
        self._send()

    def _reset(self, dropped: int) -> None:
        """Tell all alarms that are not normal now; transitions from here on follow."""
        self._number = self._hub.number  # its effect is among what is read next
        alarms = [dict(alarm) for alarm in self._view.alarms.active()]
        document: dict[str, Any] = {
            "type": "reset",
            "time_ns": time.time_ns(),
            "number": self._number,
            "alarms": alarms,
        }
        if dropped:
            document["dropped"] = dropped
        self.hand([frame(orjson.dumps(document))])

    def _send(self) -> None:
        """Send what waits, while the client reads."""
        if not self._is_set or not self.is_ready:
            return
        if self._dropped:
            dropped, self._dropped = self._dropped + len(self._queue), 0
            self.connection.dropped += len(self._queue)
            self._queue.clear()
            self._reset(dropped)
        while self._queue and self.is_ready:
            number, told = self._queue.popleft()
            if number > self._number:
                self._number = number
                self.hand([told])

    async def _obey(self, text: bytes) -> None:
        try:
            message = parse(text, _SHAPES)
        except Problem as problem:
            await self.answer({"type": "error", **orjson.loads(problem.body)})
            return
        if isinstance(message, Ping):
            await self.answer({"type": "pong", "id": message.id})


class AlarmHub:
    """All clients: each transition is made a message once. Listens only while there are some."""

    def __init__(self, view: GatewayView) -> None:
        self._view = view
        self._clients: dict[_Client, None] = {}
        self._stop: Callable[[], None] | None = None
        self.number = 0
        """Of the newest transition that is known."""

    def join(self, client: _Client) -> None:
        """A client comes."""
        self._clients[client] = None
        if self._stop is None:
            loop = asyncio.get_running_loop()
            self._stop = self._view.alarms.listen(functools.partial(self._hand_over, loop))

    def leave(self, client: _Client) -> None:
        """A client is gone."""
        self._clients.pop(client, None)
        if not self._clients and self._stop is not None:
            self._stop()
            self._stop = None

    def _hand_over(self, loop: asyncio.AbstractEventLoop, transition: Transition) -> None:
        """Called by the engine in its thread; never waits, never raises."""
        with contextlib.suppress(RuntimeError):  # the loop has ended, and all clients with it
            loop.call_soon_threadsafe(self._take, transition)

    def _take(self, transition: Transition) -> None:
        self.number = max(self.number, transition.number)
        told = _alarm(as_document(transition))
        for client in list(self._clients):
            client.put(transition.number, told)


def _alarm(document: Mapping[str, Any]) -> bytes:
    return frame(orjson.dumps({"type": "alarm", **document}))


def _looked_up(view: GatewayView, since: int | None) -> tuple[int, list[Mapping[str, Any]] | None]:
    """Number of the newest transition, and those after ``since``, oldest first.

    None where not all of them are known.
    """
    most = 1 if since is None else MAX_RESUMED + 1
    try:
        found = view.alarms.history(0, time.time_ns() + AHEAD_NS, most)
    except GatewayError:
        return 0, None
    numbers = [document["number"] for document in found]
    newest = max(numbers, default=0)
    if since is None or since > newest:
        return newest, None  # a number of another gateway, or of a database that is gone
    later = [document for document in found if document["number"] > since]
    if len(later) > MAX_RESUMED or (later and min(numbers) > since + 1):
        return newest, None
    return newest, sorted(later, key=lambda document: document["number"])


def _since(query: Mapping[str, list[str]]) -> int | None:
    given = query.get("since")
    if not given:
        return None
    if len(given) != 1 or not (given[0].isascii() and given[0].isdigit()) or len(given[0]) > 18:
        expected = "the number of the last transition that you have"
        raise Problem(400, f"'since' is wrong: '{','.join(given)[:100]}'", expected)
    return int(given[0])


def alarms_router(view: GatewayView) -> APIRouter:
    """The route."""
    router = APIRouter()
    hub = AlarmHub(view)

    @router.websocket("/ws/alarms")
    async def alarms(socket: WebSocket) -> None:
        try:
            await _Client(socket, view, hub).run()
        except Problem as problem:
            await refuse(socket, problem)

    return router
