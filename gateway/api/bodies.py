"""Bodies of requests that change something: small JSON objects, checked key by key.

They must say that they are JSON: a form on a page of another site cannot, and what can is asked
about first by the browser (a CORS preflight, which nobody answers here). The guard looks at that
and at their size before one is read, so the routes get whole bodies.
"""

from __future__ import annotations

import difflib
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any, TypeVar

import anyio
import orjson
from fastapi import APIRouter, Depends, Request
from pydantic import BaseModel, ValidationError
from starlette.types import Receive

from gateway.api.answers import only
from gateway.api.headers import RequestHeaders
from gateway.api.problems import Problem

MAX_BODY_BYTES = 16_384
BODY_S = 10.0
"""A body has to be there this long after its headers."""

READ_AWAY_BYTES = 4_194_304
READ_AWAY_S = 2.0
"""What is read at the most of a body that nobody wants."""

B = TypeVar("B", bound=BaseModel)
F = TypeVar("F", bound=Callable[..., Any])

_BODIES = ("POST",)
_KNOWN = ("GET", "HEAD", "OPTIONS", "DELETE", *_BODIES)
_NO_BODY = "no body: parameters stand in the address"


def body_size(method: str, headers: RequestHeaders) -> int:
    """Bytes of the body that is to come. Problem where it may not come, or is not JSON.

    Of other methods 0: they are refused, whatever they bring.
    """
    if method not in _KNOWN:
        return 0
    length = headers.one("content-length")
    if headers.one("transfer-encoding"):
        if method in _BODIES:
            raise Problem(411, "a body of unknown length", "Content-Length")
        raise Problem(413, "a request with a body", _NO_BODY)
    if length in ("", "0"):
        return 0
    if method not in _BODIES:
        raise Problem(413, "a request with a body", _NO_BODY)
    if not (length.isascii() and length.isdigit()) or int(length) > MAX_BODY_BYTES:
        raise Problem(413, "the body is too large", f"at most {MAX_BODY_BYTES} bytes")
    media = headers.one("content-type").partition(";")[0].strip().lower()
    if media != "application/json":
        found = f"a body of type '{media}'" if media else "a body without a Content-Type"
        raise Problem(415, found, "Content-Type: application/json")
    return int(length)


async def read_body(receive: Receive, size: int) -> bytes | None:
    """The whole body; None where there is none. Problem where it does not come in time."""
    if not size:
        return None
    body = b""
    with anyio.move_on_after(BODY_S):
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                raise Problem(400, "the body broke off", f"{size} bytes")
            body += bytes(message.get("body", b""))
            if not message.get("more_body", False):
                return body
    raise Problem(408, f"the body did not come within {BODY_S:g} s", f"{size} bytes")


async def read_away(receive: Receive) -> None:
    """Read what little of a body is on its way, so that its sender reads why it is refused.

    A connection that is closed before that is reset, and the answer with it.
    """
    size = 0
    with anyio.move_on_after(READ_AWAY_S):
        while size < READ_AWAY_BYTES:
            message = await receive()
            size += len(message.get("body", b""))
            if message["type"] == "http.disconnect" or not message.get("more_body", False):
                return


def document_in(body: bytes | None) -> Any:
    """What the body says, for those that note it; None where it says nothing."""
    try:
        return orjson.loads(body) if body else None
    except orjson.JSONDecodeError:
        return None  # the route says what it expected


def body_of(shape: type[B]) -> Callable[[Request], Awaitable[B]]:
    """A dependency: the request's body as this shape. Problem 400 where it is none."""

    async def read(request: Request) -> B:
        raw = await request.body()
        if not raw:
            raise Problem(400, "the body is missing", _expected(shape))
        try:
            document = orjson.loads(raw)
        except orjson.JSONDecodeError as error:
            raise Problem(400, f"the body is not JSON: {error}", _expected(shape)) from error
        if not isinstance(document, dict):
            raise Problem(400, "the body is not an object", _expected(shape))
        try:
            return shape.model_validate(document)
        except ValidationError as error:
            raise _fault(error, shape) from error

    return read


def action(
    router: APIRouter,
    path: str,
    body: type[BaseModel],
    answer: type[BaseModel],
    errors: Mapping[int | str, dict[str, Any]],
) -> Callable[[F], F]:
    """A route that does something: a POST with such a body, and no parameters."""
    return router.post(
        path,
        dependencies=[Depends(only())],
        response_model=answer,
        responses=dict(errors),
        openapi_extra=described(body),
    )


def described(shape: type[BaseModel], *, required: bool = True) -> dict[str, Any]:
    """How /openapi.json describes such a body (``openapi_extra``)."""
    content = {"application/json": {"schema": shape.model_json_schema()}}
    return {"requestBody": {"required": required, "content": content}}


def _fault(error: ValidationError, shape: type[BaseModel]) -> Problem:
    first = error.errors()[0]
    name = ".".join(map(str, first["loc"]))
    if first["type"] == "missing":
        return Problem(400, f"'{name}' is missing", _expected(shape))
    if first["type"] == "extra_forbidden":
        near = difflib.get_close_matches(name, _names(shape), 1)
        expected = f"did you mean '{near[0]}'?" if near else _expected(shape)
        return Problem(400, f"unknown key '{name}'", expected)
    expected = first["msg"].removeprefix("Input should be ").removeprefix("Value error, ")
    return Problem(400, f"'{name}' is wrong", expected)


def _names(shape: type[BaseModel]) -> Iterable[str]:
    return list(shape.model_fields)


def _expected(shape: type[BaseModel]) -> str:
    fields = shape.model_fields.items()
    names = sorted(fields, key=lambda item: not item[1].is_required())
    words = [name if field.is_required() else f"{name} (optional)" for name, field in names]
    return f"a JSON object with {', '.join(words)}"
