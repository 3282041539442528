"""The forms of an answer: a JSON document, and the values of many rows encoded row by row."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from typing import Any

import anyio
import anyio.lowlevel
import anyio.to_thread
import numpy as np
import orjson
from fastapi import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from gateway.api.problems import Problem, unknown
from gateway.model import Array, Row
from gateway.rowjson import row_lines

JSON = "application/json"

WIDE = 500
"""Rows of more columns are made text in a thread."""

LIST_PIECE = 32
"""Documents that are encoded at one go: 0.2 ms."""

ARRAY_PIECE = 4096
"""Numbers that are encoded at one go: 0.3 ms."""


def json_answer(document: Any, status: int = 200) -> Response:
    """A JSON document."""
    body = orjson.dumps(document, option=orjson.OPT_SERIALIZE_NUMPY | orjson.OPT_NON_STR_KEYS)
    return Response(body, status, media_type=JSON)


async def list_answer(
    name: str, documents: Sequence[Mapping[str, Any]], **members: Any
) -> Response:
    """A JSON object with a list that may be long; encoded in pieces, so that others have a turn."""
    pieces = []
    for start in range(0, len(documents), LIST_PIECE):
        pieces.append(orjson.dumps(list(documents[start : start + LIST_PIECE]))[1:-1])
        await anyio.lowlevel.checkpoint()
    last = b"".join(b",%b:%b" % (orjson.dumps(k), orjson.dumps(v)) for k, v in members.items())
    body = b"{%b:[%b]%b}" % (orjson.dumps(name), b",".join(pieces), last)
    return Response(body, media_type=JSON)


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
            # a wide row costs 15 ms: too long for the loop that all others wait for
            is_wide = len(row.table.columns) > WIDE
            lines = await anyio.to_thread.run_sync(row_lines, row) if is_wide else row_lines(row)
            if lines:
                await out(separator + b",\n".join(lines))
                separator = b",\n"
                await anyio.lowlevel.checkpoint()  # others have their turn between two rows
        await out(b"\n]}\n", more=False)


def with_arrays(members: Mapping[str, Any], arrays: Mapping[str, Array]) -> bytes:
    """A JSON object, the arrays after the members; made in pieces, so that others have a turn."""
    pieces = [orjson.dumps(members, option=orjson.OPT_NON_STR_KEYS)[:-1]]
    for name, array in arrays.items():
        pieces.append(b",%b:[" % orjson.dumps(name))
        for start in range(0, len(array), ARRAY_PIECE):
            some = np.ascontiguousarray(array[start : start + ARRAY_PIECE])
            text = orjson.dumps(some, option=orjson.OPT_SERIALIZE_NUMPY)[1:-1]
            pieces.append(b"," + text if start else text)
        pieces.append(b"]")
    return b"".join([*pieces, b"}"])


def values_now(rows: Iterable[Row]) -> ValuesAnswer:
    """The newest values, with the gateway's time."""
    return ValuesAnswer(rows, time_ns=time.time_ns())


def only(*names: str, many: Collection[str] = ()) -> Callable[[Request], Awaitable[None]]:
    """A dependency that refuses misspelt query parameters instead of ignoring them.

    Those of ``many`` may come several times.
    """
    known = (*names, *many)

    async def check(request: Request) -> None:
        seen: set[str] = set()
        for name, _ in request.query_params.multi_items():
            if name not in known:
                problem = unknown("parameter", name, known)
                raise Problem(400, problem.error, problem.expected)
            if name in seen and name not in many:
                raise Problem(400, f"the parameter '{name}' comes twice", "once")
            seen.add(name)

    return check


def prefers(request: Request, media: str, other: str) -> bool:
    """Whether the Accept header likes ``media`` better than ``other``, which is the default."""
    likes = {media: (0.0, 0), other: (0.0, 0)}
    for part in request.headers.get("accept", "*/*").lower().split(","):
        name, *parameters = (piece.strip() for piece in part.split(";"))
        quality = 1.0
        for parameter in parameters:
            if parameter.startswith("q="):
                with contextlib.suppress(ValueError):
                    quality = min(1.0, max(0.0, float(parameter[2:])))
        for each, (_, known) in likes.items():
            family = f"{each.partition('/')[0]}/*"
            exact = 3 if name == each else 2 if name == family else 1 if name == "*/*" else 0
            if exact > known:
                likes[each] = (quality, exact)
    return likes[media][0] > likes[other][0]
