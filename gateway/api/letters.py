"""Dead letters: listed, exported, and, by operators, put into the spool of their sink once more."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Annotated, Any

import orjson
from fastapi import APIRouter, Depends, Query
from starlette.responses import Response, StreamingResponse

from gateway.api import lossschemas, schemas
from gateway.api.access import operator
from gateway.api.answers import json_answer, only
from gateway.api.blocking import Blocking
from gateway.api.problems import Problem, unknown
from gateway.api.view import GatewayView
from gateway.errors import GatewayError
from gateway.writer.deadletters import Letter
from gateway.writer.replay import LetterBox, UnknownLetter

NDJSON = "application/x-ndjson"
MAX_LISTED = 1000
MAX_IDS = 500
LINE_CHARS = 2000
"""Most of a line in a list; the export has it whole."""

Name = Annotated[str | None, Query(description="Only of this sink.", min_length=1)]
Most = Annotated[
    int, Query(alias="max", ge=1, le=MAX_LISTED, description="List at most so many, the newest.")
]
Ids = Annotated[
    str | None,
    Query(description=f"Only these, by number: 3,17,18 (at most {MAX_IDS}); needs `sink`."),
]


def add_letters(
    router: APIRouter, view: GatewayView, blocking: Blocking, errors: dict[int | str, Any]
) -> None:
    """Add the routes."""

    @router.get(
        "/v1/dead-letters",
        dependencies=[Depends(only("sink", "max"))],
        response_model=lossschemas.DeadLetters,
        responses=errors,
    )
    async def letters(sink: Name = None, most: Most = 100) -> Response:
        """Lines that a sink refused for good, with its words; the newest first."""
        boxes = _boxes(view, sink)
        found = await _ask(blocking, _newest, boxes, most)
        counts = {name: box.count for name, box in boxes.items()}
        return json_answer({"counts": counts, "letters": found})

    @router.get(
        "/v1/dead-letters.ndjson",
        dependencies=[Depends(only("sink"))],
        response_class=Response,
        responses={
            200: {
                "description": "All of them, oldest first: a DeadLetter a line.",
                "content": {NDJSON: {"schema": schemas.reference(lossschemas.DeadLetter)}},
            },
            **errors,
        },
    )
    async def export(sink: Name = None) -> Response:
        """All dead letters, whole, one JSON object a line."""
        boxes = _boxes(view, sink)
        await _ask(blocking, _newest, boxes, 1)  # what cannot be read is told before it begins
        return StreamingResponse(_lines(boxes), media_type=NDJSON)

    @router.post(
        "/v1/dead-letters/replay",
        dependencies=[Depends(operator), Depends(only("sink", "ids"))],
        response_model=lossschemas.Replayed,
        responses=errors,
    )
    async def replay(sink: Name = None, ids: Ids = None) -> Response:
        """Send dead letters once more; each leaves when its sink has stored it. No body."""
        if ids is not None and sink is None:
            raise Problem(400, "'ids' without 'sink'", "each sink counts its own letters")
        chosen = None if ids is None else _numbers(ids)
        boxes = _boxes(view, sink)
        return json_answer({"sinks": await _ask(blocking, _replay, boxes, chosen)})


def _boxes(view: GatewayView, sink: str | None) -> Mapping[str, LetterBox]:
    try:
        boxes = view.letter_boxes()
    except GatewayError as error:  # a node of many gateways has none
        what, _, expected = str(error).partition("; ")
        raise Problem(404, what, expected or None) from error
    if sink is None:
        return boxes
    if sink not in boxes:
        raise unknown("sink that refuses lines", sink, boxes)
    return {sink: boxes[sink]}


async def _ask(blocking: Blocking, function: Any, *args: Any) -> Any:
    try:
        return await blocking.call("the dead letters", function, *args)
    except UnknownLetter as error:
        raise Problem(404, str(error), "a number of GET /v1/dead-letters") from error
    except GatewayError as error:
        raise Problem(503, str(error), "try again; the status says more") from error


def _numbers(text: str) -> list[int]:
    parts = text.split(",")
    if len(parts) > MAX_IDS or not all(re.fullmatch(r"[0-9]{1,18}", part) for part in parts):
        raise Problem(400, "'ids' are no numbers", f"e.g. 3,17,18; at most {MAX_IDS}")
    return [int(part) for part in parts]


def _newest(boxes: Mapping[str, LetterBox], most: int) -> list[dict[str, Any]]:
    found = [
        (letter.time, letter.id, name, letter)
        for name, box in boxes.items()
        for letter in box.newest(most)
    ]
    found.sort(key=lambda item: item[:3], reverse=True)
    shown = [_letter(name, boxes[name], letter) for *_, name, letter in found[:most]]
    return [{**item, "line": item["line"][:LINE_CHARS]} for item in shown]


def _lines(boxes: Mapping[str, LetterBox]) -> Iterator[bytes]:
    for name, box in boxes.items():
        for letter in box.all():
            yield orjson.dumps(_letter(name, box, letter)) + b"\n"


def _letter(name: str, box: LetterBox, letter: Letter) -> dict[str, Any]:
    about = box.describe(letter.line)
    return {
        "sink": name,
        "id": letter.id,
        "refused": letter.time,
        "reason": letter.reason,
        "device": about.device,
        "table": about.table,
        "column": about.column,
        "time_ns": about.time_ns,
        "on_its_way": letter.on_its_way,
        "whole": letter.whole,
        "line": letter.line.rstrip("\n"),
    }


def _replay(boxes: Mapping[str, LetterBox], ids: list[int] | None) -> dict[str, Any]:
    return {name: box.replay(ids)._asdict() for name, box in boxes.items() if ids or box.count}
