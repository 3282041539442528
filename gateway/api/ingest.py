"""``POST /v1/ingest``: rows of other programs, answered when they are on disk.

And ``/api/v2/write`` and ``/write``, where clients of InfluxDB send to: the same, without the words
that these would not understand. The guard lets such requests pass for senders alone; their bodies
are larger than others, so they are read here, within bounds of their own.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Annotated, Any, Final, Literal

import anyio
import anyio.to_thread
import orjson
from fastapi import APIRouter, Query, Request
from pydantic import BaseModel, Field
from starlette.responses import Response

from gateway.api import schemas
from gateway.api.access import Access, Caller, caller_of
from gateway.api.answers import JSON, only
from gateway.api.bodies import read_away
from gateway.api.headers import RequestHeaders
from gateway.api.problems import Problem
from gateway.api.view import GatewayView
from gateway.hub import NotStored
from gateway.ingest.bodies import MAX_PACKED, Form, Taken, TooMuch, take_body
from gateway.ingest.counts import Outcome
from gateway.ingest.intake import STORED_S, Busy, Intake
from gateway.ingest.lineprotocol import UNITS
from gateway.ingest.shapes import Refused

PATH: Final = "/v1/ingest"
PATHS: Final = frozenset({PATH, "/api/v2/write", "/write"})

BODY_S: Final = 30.0
"""A body has to be there this long after its headers."""

MAX_IN_FLIGHT: Final = 33_554_432
"""Bytes of all bodies that are being read."""

READERS: Final = 2
"""Bodies that are made rows at the same time."""

_FORMS: Final[dict[str, Form]] = {
    "": "lines",
    "text/plain": "lines",
    "application/octet-stream": "lines",
    "application/x-www-form-urlencoded": "lines",  # what curl calls everything
    "application/json": "json",
    "application/x-ndjson": "ndjson",
    "application/jsonl": "ndjson",
}
_BUSY: Final = {"retry-after": "1"}

_Precision = Annotated[
    str, Query(description="Unit of the times of line protocol: ns, us, ms or s.")
]


class RefusedLine(BaseModel):
    """A line, or an item of a JSON list, that is no row."""

    line: int = Field(description="From 1; of a JSON list the item.")
    col: int = Field(description="From 1.")
    error: str


class PartlyRefused(schemas.ErrorBody):
    """Some lines were refused; all others are on disk."""

    rows: int = Field(description="Rows that are on disk.")
    refused: int = Field(description="Lines that were refused.")
    lines: list[RefusedLine] = Field(description="The first of them.")
    code: Literal["invalid"] = Field(description="For clients of InfluxDB.")
    message: str = Field(description="All of it in a line, which clients of InfluxDB show.")


def check_sender(caller: Caller) -> None:
    """Problem where whoever asks may not send rows."""
    if caller.via in ("socket", "token") and caller.role in ("operator", "ingest"):
        return
    expected = (
        "Authorization: Bearer TOKEN, of a token made by `gateway token add --role ingest`; or "
        "the gateway's Unix socket"
    )
    if caller.via == "token":
        raise Problem(403, f"'{caller.who}' is a {caller.role} and may not send rows", expected)
    raise Problem(
        401, "rows are taken from known senders only", expected, {"www-authenticate": "Bearer"}
    )


def check_reach(caller: Caller, path: str) -> None:
    """Problem where a token that only sends rows is used for something else."""
    if caller.role == "ingest" and path not in PATHS:
        raise Problem(403, f"the token '{caller.who}' only sends rows", f"POST {PATH}")


def identified_by(access: Access) -> Callable[[str, str], str]:
    """For gRPC: (authorization, peer) -> the sender's name. PermissionError where it is not one."""

    def identify(authorization: str, peer: str) -> str:
        scope: dict[str, Any] = {"client": (peer, 0), "state": {}}
        headers = [(b"authorization", authorization.encode("latin-1", "replace"))]
        try:
            caller = access.identify(scope, RequestHeaders(headers))
            check_sender(caller)
        except Problem as problem:
            raise PermissionError(f"{problem.error}; expected {problem.expected}") from None
        return caller.who

    return identify


def ingest_size(headers: RequestHeaders) -> int:
    """Bytes of a body of rows. Problem where it is too large, or nobody knows."""
    length = headers.one("content-length")
    if headers.one("transfer-encoding"):
        raise Problem(411, "a body of unknown length", "Content-Length")
    if not (length or "0").isascii() or not (length or "0").isdigit():
        raise Problem(400, "Content-Length is no number", "bytes")
    if int(length or 0) > MAX_PACKED:
        raise Problem(413, "the body is too large", f"at most {MAX_PACKED} bytes, gzip or not")
    return int(length or 0)


def ingest_router(view: GatewayView, errors: dict[int | str, Any]) -> APIRouter:
    """The routes."""
    router = APIRouter()
    door = _Door(view)
    content = {
        "text/plain": {"schema": {"type": "string"}},
        "application/x-ndjson": {"schema": {"type": "string"}},
        "application/json": {"schema": {}},
    }
    partly = {
        "description": "A parameter is wrong, or lines were refused.",
        "model": PartlyRefused | schemas.ErrorBody,
    }

    @router.post(
        PATH,
        status_code=204,
        response_class=Response,
        responses={**errors, 400: partly},
        openapi_extra={"requestBody": {"required": True, "content": content}},
    )
    async def ingest(request: Request, precision: _Precision = "ns") -> Response:
        """Take rows: InfluxDB's line protocol, or JSON rows, also gzip; 204 once all are on disk.

        400 names the lines that were refused; all others are on disk. For senders: the Unix socket,
        or a token of role ingest or operator.
        """
        await only("precision")(request)
        media = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        return await door.take(request, media, precision)

    @router.post("/api/v2/write", include_in_schema=False)
    @router.post("/write", include_in_schema=False)
    async def write(request: Request) -> Response:
        return await door.take(request, "", request.query_params.get("precision", "ns"))

    return router


class _Door:
    """Takes bodies, a few at the same time."""

    def __init__(self, view: GatewayView) -> None:
        self._view = view
        self._in_flight = 0
        self._limiter: anyio.CapacityLimiter | None = None

    async def take(self, request: Request, media: str, precision: str) -> Response:
        """The answer to a body of that type."""
        outcome: Outcome = "again"  # also where the sender hangs up
        try:
            answer = await self._taken(request, media, precision)
            outcome = "stored" if answer.status_code == 204 else "partly"
            return answer
        except Problem as problem:
            if problem.status not in (408, 503):
                outcome = "refused"
            if not request.scope["state"].get("has_body"):
                await read_away(request.receive)
            raise
        finally:
            if (intake := self._view.intake) is not None:
                intake.counts.answered("http", outcome)

    async def _taken(self, request: Request, media: str, precision: str) -> Response:
        form = _FORMS.get(media)
        if form is None:
            raise Problem(415, f"a body of type '{media}'", f"one of {', '.join(_FORMS)[2:]}")
        intake = self._view.intake
        if intake is None or not intake.config.http:
            raise Problem(
                403, "this gateway takes no rows", "`ingest: {http: true}` in its configuration"
            )
        if precision not in UNITS:
            raise Problem(400, f"precision '{precision}'", "ns, us, ms or s")
        size = int(request.headers.get("content-length") or 0)
        coding = request.headers.get("content-encoding", "identity").strip().lower()
        if coding not in ("gzip", "identity"):
            raise Problem(415, f"a body packed as '{coding}'", "gzip, or nothing")
        if not size:
            raise Problem(400, "the body is missing", "rows, in line protocol or JSON")
        if self._in_flight + size > MAX_IN_FLIGHT:
            raise Problem(503, "too many bodies at once", "try again", _BUSY)
        self._in_flight += size
        try:
            return await self._answer(request, intake, form, precision, coding == "gzip")
        finally:
            self._in_flight -= size

    async def _answer(
        self, request: Request, intake: Intake, form: Form, precision: str, is_gzip: bool
    ) -> Response:
        caller = caller_of(request.scope)
        with anyio.move_on_after(BODY_S) as limit:
            request.scope["state"]["has_body"] = True
            body = await request.body()
        if limit.cancelled_caught:
            raise Problem(408, f"the body did not come within {BODY_S:g} s", "all of it")
        if self._limiter is None:
            self._limiter = anyio.CapacityLimiter(READERS)
        work = functools.partial(
            take_body,
            intake,
            caller.who if caller.via == "token" else "local",
            body,
            form=form,
            is_gzip=is_gzip,
            precision=precision,
            timeout_s=STORED_S,
        )
        try:
            taken = await anyio.to_thread.run_sync(work, limiter=self._limiter)
            with anyio.fail_after(STORED_S):
                await intake.hub.stored(taken.published)
        except TooMuch as error:
            raise Problem(413, str(error), f"at most {MAX_PACKED} bytes, gzip or not") from error
        except Refused as error:
            raise Problem(400, str(error)) from error
        except (Busy, NotStored) as error:
            raise Problem(503, str(error), "send the same again", _BUSY) from error
        except TimeoutError as error:
            text = f"the rows are not on disk after {STORED_S:g} s"
            raise Problem(503, text, "send the same again", _BUSY) from error
        return _told(taken) if taken.faults.count else Response(status_code=204)


def _told(taken: Taken) -> Response:
    """What was refused. InfluxDB's clients show ``message``."""
    faults = taken.faults
    lines = f"{faults.count} line{'s' * (faults.count != 1)}"
    first = faults.told[0]
    error = f"{lines} of {faults.count + taken.rows} refused"
    if taken.rows:
        error += ", the others are on disk"
    words = f"{error}; line {first.line}:{first.col}: {first.what}"
    document = {
        "error": error,
        "expected": f"line {first.line}:{first.col}: {first.what}",
        "rows": taken.rows,
        "refused": faults.count,
        "lines": [{"line": f.line, "col": f.col, "error": f.what} for f in faults.told],
        "code": "invalid",
        "message": words,
    }
    return Response(orjson.dumps(document), 400, media_type=JSON)
