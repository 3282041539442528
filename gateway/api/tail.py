"""`/v1/tail`: rows as they come, one JSON object a line, to clients that may be slow or stuck."""

from __future__ import annotations

import time

import anyio
import anyio.lowlevel
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from gateway.api.problems import Problem
from gateway.hub import Hub, Subscription
from gateway.model import Row
from gateway.rowjson import row_json

MAX_CLIENTS = 32
MAX_CELLS = 400_000
"""Most values that wait for one client: 40 rows of 10,000 tags."""

LOOK_S = 0.2
"""How often new rows are looked for while somebody listens, in seconds."""

HEARTBEAT_S = 15.0
"""An empty line after this much silence, so that both sides notice a dead line."""


class _Wanted(Subscription):
    """Only the rows that a client asked for, the newest MAX_CELLS of them.

    What it gives up is told to the client and is no loss of the gateway's.
    """

    def __init__(self, device: str | None, table: str | None) -> None:
        super().__init__("tail", MAX_CELLS, wake_at=1 << 30)
        self._device = device
        self._table = table

    def put(self, row: Row) -> None:
        """Add a row if it is wanted."""
        table = row.table
        if self._device in (None, table.device) and self._table in (None, table.key, table.name):
            super().put(row)


class Tails:
    """All listening clients: their number is bounded, and a stop ends them."""

    def __init__(self, hub: Hub) -> None:
        self.hub = hub
        self.clients = 0
        self.stopped = anyio.Event()

    def stop(self) -> None:
        """End all streams."""
        self.stopped.set()

    def open(self, device: str | None, table: str | None) -> Response:
        """The endless answer; Problem where too many listen already."""
        if self.clients >= MAX_CLIENTS:
            raise Problem(503, f"{self.clients} clients listen already", "close one of them")
        return _TailResponse(self, device, table)


class _TailResponse(Response):
    media_type = "application/x-ndjson"

    def __init__(self, tails: Tails, device: str | None, table: str | None) -> None:
        super().__init__()
        del self.headers["content-length"]
        self._tails = tails
        self._subscription = _Wanted(device, table)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        start = {"type": "http.response.start", "status": 200, "headers": self.raw_headers}
        tails = self._tails
        tails.clients += 1
        tails.hub.attach(self._subscription)
        try:
            await send(start)
            if not scope.get("state", {}).get("is_head"):
                async with anyio.create_task_group() as group:

                    async def until_gone() -> None:
                        while (await receive())["type"] != "http.disconnect":
                            pass
                        group.cancel_scope.cancel()

                    group.start_soon(until_gone)
                    await self._stream(send)
                    group.cancel_scope.cancel()
            await send({"type": "http.response.body", "body": b"", "more_body": False})
        finally:
            tails.hub.unsubscribe(self._subscription)
            tails.clients -= 1

    async def _stream(self, send: Send) -> None:
        async def out(body: bytes) -> None:
            await send({"type": "http.response.body", "body": body, "more_body": True})

        told = 0
        spoken = time.monotonic()
        await out(b"\n")  # the headers go out with it: the client knows that it listens
        while not self._tails.stopped.is_set():
            rows = self._subscription.drain()
            for row in rows:
                await out(row_json(row))
                await anyio.lowlevel.checkpoint()
            dropped = self._subscription.dropped_rows
            if dropped > told:
                await out(b'{"dropped_rows":%d}\n' % (dropped - told))
                told = dropped
            if rows:
                spoken = time.monotonic()
            elif time.monotonic() - spoken >= HEARTBEAT_S:
                spoken = time.monotonic()
                await out(b"\n")
            with anyio.move_on_after(LOOK_S):
                await self._tails.stopped.wait()
