"""The forms of an answer: a JSON document, and the values of many rows encoded row by row."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Iterable
from typing import Any

import anyio
import anyio.lowlevel
import orjson
from fastapi import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from gateway.api.problems import Problem, unknown
from gateway.model import Row
from gateway.rowjson import row_lines

JSON = "application/json"


def json_answer(document: Any, status: int = 200) -> Response:
    """A JSON document."""
    body = orjson.dumps(document, option=orjson.OPT_SERIALIZE_NUMPY | orjson.OPT_NON_STR_KEYS)
    return Response(body, status, media_type=JSON)


class ValuesAnswer(Response):
    """A JSON object whose last member ``values`` has all tags of these rows."""

    media_type = JSON

    def __init__(self, rows: Iterable[Row], **members: Any) -> None:
        super().__init__()
        del self.headers["content-length"]
        self._rows = rows
        self._members = members

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send it, one row at a time."""

        async def out(body: bytes, more: bool = True) -> None:
            await send({"type": "http.response.body", "body": body, "more_body": more})

        await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
        await out(orjson.dumps(self._members)[:-1] + b',"values":[\n')
        separator = b""
        for row in self._rows:
            if lines := row_lines(row):
                await out(separator + b",\n".join(lines))
                separator = b",\n"
                await anyio.lowlevel.checkpoint()  # others have their turn between two rows
        await out(b"\n]}\n", more=False)


def values_now(rows: Iterable[Row]) -> ValuesAnswer:
    """The newest values, with the gateway's time."""
    return ValuesAnswer(rows, time_ns=time.time_ns())


def only(*names: str) -> Callable[[Request], Awaitable[None]]:
    """A dependency that refuses misspelt query parameters instead of ignoring them."""

    async def check(request: Request) -> None:
        seen: set[str] = set()
        for name, _ in request.query_params.multi_items():
            if name not in names:
                problem = unknown("parameter", name, names)
                raise Problem(400, problem.error, problem.expected)
            if name in seen:
                raise Problem(400, f"the parameter '{name}' comes twice", "once")
            seen.add(name)

    return check
