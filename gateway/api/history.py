"""``/v1/history`` and ``/v1/trends``: what the historian has, as JSON or, where asked, as CSV."""

from __future__ import annotations

import csv
import io
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from itertools import islice
from typing import Annotated, Any, NamedTuple

import orjson
from fastapi import APIRouter, Depends, Query, Request
from starlette.responses import Response

from gateway.api import valueschemas
from gateway.api.answers import JSON, only, prefers
from gateway.api.blocking import Blocking
from gateway.api.live import known_tables
from gateway.api.livechoice import TagIndex
from gateway.api.problems import Problem
from gateway.api.times import EXPECTED, parse_time
from gateway.api.view import GatewayView, HistoryResult
from gateway.errors import DeviceUnavailable, GatewayError, SinkUnavailable

CSV = "text/csv"
COLUMNS = ("time", "time_ns", "device", "table", "tag", "value", "quality", "unit")

MIN_POINTS = 6
MAX_POINTS = 10_000
MAX_TAGS = 16
MAX_ALL_POINTS = 40_000
"""Of all tags of one question together: 2 MB of JSON."""

_AT_ONCE = 500
"""Points that are encoded at one go: others have their turn between."""
_FORMULA = ("=", "+", "-", "@", "\t", "\r")

Device = Annotated[str, Query(description="A device, also of the past.", min_length=1)]
Tag = Annotated[
    str,
    Query(
        description="A tag; table:tag where several tables have it, e.g. electricity.meter:Pt.",
        min_length=1,
    ),
]
Tags = Annotated[
    list[Annotated[str, Query(min_length=1, max_length=400)]],
    Query(
        alias="tag",
        description=f"Up to {MAX_TAGS} tags, as device.table.tag; `tag=` once for each.",
        min_length=1,
        max_length=MAX_TAGS,
    ),
]
From = Annotated[str, Query(alias="from", description=f"First time: {EXPECTED}.")]
To = Annotated[str, Query(description=f"Last time: {EXPECTED}.")]
Points = Annotated[
    int,
    Query(
        ge=MIN_POINTS, le=MAX_POINTS, description="Decimated to at most this many points (min/max)."
    ),
]


class _Asked(NamedTuple):
    """One tag and what is said of it in the answer."""

    device: str
    tag: str
    name: str


class _Nothing(NamedTuple):
    """A `HistoryResult` without points."""

    table: str
    unit: str | None
    resolution: str = "raw"
    truncated: bool = False
    decimated: bool = False
    points: tuple[()] = ()


class _Range(NamedTuple):
    from_ns: int
    to_ns: int
    max_points: int


def _answers(shape: type[Any], errors: dict[int | str, Any]) -> dict[int | str, Any]:
    text = (
        f"As JSON; with `Accept: {CSV}` as a table ({', '.join(COLUMNS)}), the time in UTC. A text "
        "that a spreadsheet would take for a formula begins with an apostrophe there."
    )
    content = {CSV: {"schema": {"type": "string"}}}
    return {200: {"model": shape, "description": text, "content": content}, **errors}


def add_history(
    router: APIRouter, view: GatewayView, blocking: Blocking, errors: dict[int | str, Any]
) -> None:
    """Add the routes."""

    async def ask(
        request: Request, find: Callable[[], list[_Asked]], span: _Range, *, single: bool
    ) -> Response:
        as_csv = prefers(request, CSV, JSON)
        work = _table if as_csv else (_one if single else _all)
        body = await blocking.heavy("the historian", lambda: work(view, find(), span))
        headers = {"vary": "accept"}
        if as_csv:
            headers["content-disposition"] = 'attachment; filename="history.csv"'
        media = f"{CSV}; charset=utf-8; header=present" if as_csv else JSON
        return Response(body, media_type=media, headers=headers)

    @router.get(
        "/v1/history",
        dependencies=[Depends(only("device", "tag", "from", "to", "max_points"))],
        response_model=valueschemas.History,
        responses=_answers(valueschemas.History, errors),
    )
    async def history(
        request: Request,
        device: Device,
        tag: Tag,
        from_: From = "-1h",
        to: To = "now",
        max_points: Points = 1000,
    ) -> Response:
        """What the embedded historian has of one tag, decimated by minimum and maximum."""
        span = _range(from_, to, max_points)
        return await ask(request, lambda: [_Asked(device, tag, tag)], span, single=True)

    @router.get(
        "/v1/trends",
        dependencies=[Depends(only("from", "to", "max_points", many=("tag",)))],
        response_model=valueschemas.Trends,
        responses=_answers(valueschemas.Trends, errors),
    )
    async def trends(
        request: Request,
        tags: Tags,
        from_: From = "-1h",
        to: To = "now",
        max_points: Points = 1000,
    ) -> Response:
        """The same of several tags that the gateway has now, also of several devices."""
        span = _range(from_, to, max_points)
        if len(tags) * max_points > MAX_ALL_POINTS:
            most = MAX_ALL_POINTS // len(tags)
            what = f"{len(tags)} tags of {max_points} points are too many"
            raise Problem(400, what, f"max_points up to {most}, or fewer tags")
        return await ask(request, lambda: _found(view, tags), span, single=False)


def _range(from_: str, to: str, max_points: int) -> _Range:
    now_ns = time.time_ns()
    from_ns, to_ns = _time("from", from_, now_ns), _time("to", to, now_ns)
    if from_ns >= to_ns:
        raise Problem(400, f"'from' ({from_}) is not before 'to' ({to})", "from < to")
    return _Range(from_ns, to_ns, max_points)


def _time(name: str, text: str, now_ns: int) -> int:
    try:
        return parse_time(text, now_ns)
    except (ValueError, ArithmeticError) as error:
        raise Problem(400, f"'{name}' is no time: '{text}'", EXPECTED) from error


# -- in a thread ------------------------------------------------------------------------------


def _found(view: GatewayView, tags: Sequence[str]) -> list[_Asked]:
    index = TagIndex(known_tables(view))
    return [_find(index, tag) for tag in tags]


def _find(index: TagIndex, tag: str) -> _Asked:
    found = index.find(tag)
    if found is None:
        raise Problem(404, f"no tag '{tag}'", index.expected(tag))
    table, column = found
    return _Asked(table.device, f"{table.key}:{column}", column)


def _one(view: GatewayView, asked: Sequence[_Asked], span: _Range) -> bytes:
    return b"".join(_document(asked[0], _query(view, asked[0], span), span))


def _all(view: GatewayView, asked: Sequence[_Asked], span: _Range) -> bytes:
    head = orjson.dumps({"from_ns": span.from_ns, "to_ns": span.to_ns})[:-1]
    series = [b"".join(_document(each, _query(view, each, span), span)) for each in asked]
    return head + b',"series":[' + b",".join(series) + b"]}"


def _query(view: GatewayView, asked: _Asked, span: _Range) -> HistoryResult:
    try:
        found = view.history(asked.device, asked.tag, *span)
    except (SinkUnavailable, DeviceUnavailable) as error:
        raise Problem(503, f"the historian: {error}", "try again; the status says more") from error
    except GatewayError as error:
        if (nothing := _not_yet(view, asked)) is not None:
            return nothing
        what, _, expected = str(error).partition("; ")
        raise Problem(404, what, expected or None) from error
    if found is None:
        raise Problem(404, "no history is kept here", "a sink of type sqlite, on a node `history`")
    return found


def _not_yet(view: GatewayView, asked: _Asked) -> HistoryResult | None:
    """Of a tag that the gateway has, but of which nothing was stored so far; None of another."""
    found = {
        table.key: unit
        for table in known_tables(view)
        if table.device == asked.device
        for name, unit in zip(table.columns, table.units, strict=True)
        if asked.tag in (name, f"{table.key}:{name}", f"{table.key}.{name}")
    }
    return _Nothing(*found.popitem()) if len(found) == 1 else None


def _document(asked: _Asked, found: HistoryResult, span: _Range) -> Iterator[bytes]:
    about = {
        "device": asked.device,
        "table": found.table,
        "tag": asked.name,
        "unit": found.unit,
        "resolution": found.resolution,
        "truncated": found.truncated,
        "decimated": found.decimated,
        "from_ns": span.from_ns,
        "to_ns": span.to_ns,
    }
    yield orjson.dumps(about)[:-1] + b',"points":['
    points = iter(found.points)
    separator = b""
    while some := list(map(list, islice(points, _AT_ONCE))):
        yield separator + orjson.dumps(some)[1:-1]
        separator = b","
    yield b"]}"


def _table(view: GatewayView, asked: Sequence[_Asked], span: _Range) -> bytes:
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\r\n")  # RFC 4180
    writer.writerow(COLUMNS)
    for each in asked:
        found = _query(view, each, span)
        names = tuple(_cell(name) for name in (each.device, found.table, each.name))
        unit = _cell(found.unit or "")
        for time_ns, value, quality in found.points:
            writer.writerow((_utc(time_ns), time_ns, *names, _cell(value), quality, unit))
    return text.getvalue().encode()


def _utc(time_ns: int) -> str:
    """ISO 8601 with all nine digits."""
    whole, rest = divmod(time_ns, 10**9)
    return f"{datetime.fromtimestamp(whole, UTC):%Y-%m-%dT%H:%M:%S}.{rest:09d}Z"


def _cell(value: Any) -> Any:
    """A text that does nothing in a spreadsheet; numbers as JSON has them."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str) and value.startswith(_FORMULA):
        return f"'{value}"
    return value
