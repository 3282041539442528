"""Bodies of requests that change something: small JSON objects, checked key by key.

They must say that they are JSON: a form on a page of another site cannot, and what can is asked
about first by the browser (a CORS preflight, which nobody answers here).
"""

from __future__ import annotations

import difflib
from collections.abc import Awaitable, Callable, Iterable
from typing import Any, TypeVar

import orjson
from fastapi import Request
from pydantic import BaseModel, ValidationError

from gateway.api.problems import Problem

MAX_BODY_BYTES = 16_384

B = TypeVar("B", bound=BaseModel)


def body_of(shape: type[B]) -> Callable[[Request], Awaitable[B]]:
    """A dependency: the request's body as this shape. Problem 400, 413 or 415 where it is none."""

    async def read(request: Request) -> B:
        media = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        if media != "application/json":
            found = f"a body of type '{media}'" if media else "a body without a Content-Type"
            raise Problem(415, found, "Content-Type: application/json")
        raw = b""
        async for part in request.stream():
            raw += part
            if len(raw) > MAX_BODY_BYTES:
                raise Problem(413, "the body is too large", f"at most {MAX_BODY_BYTES} bytes")
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


def described(shape: type[BaseModel]) -> dict[str, Any]:
    """How /openapi.json describes such a body (``openapi_extra``)."""
    content = {"application/json": {"schema": shape.model_json_schema()}}
    return {"requestBody": {"required": True, "content": content}}


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
