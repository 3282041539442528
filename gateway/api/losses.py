"""``/v1/losses``: what was lost, when and why; with a historian also in earlier runs."""

from __future__ import annotations

import time
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query
from starlette.responses import Response

from gateway.api import lossschemas
from gateway.api.answers import json_answer, only
from gateway.api.blocking import Blocking
from gateway.api.problems import Problem
from gateway.api.times import EXPECTED, parse_time
from gateway.api.view import GatewayView
from gateway.errors import GatewayError
from gateway.losses import Told

RECENT = 200
MAX_LISTED = 10_000

From = Annotated[
    str | None,
    Query(alias="from", description=f"Also list what was told since this time: {EXPECTED}."),
]
Most = Annotated[
    int, Query(alias="max", ge=1, le=MAX_LISTED, description="List at most so many, the newest.")
]


def add_losses(
    router: APIRouter, view: GatewayView, blocking: Blocking, errors: dict[int | str, Any]
) -> None:
    """Add the route."""

    @router.get(
        "/v1/losses",
        dependencies=[Depends(only("from", "max"))],
        response_model=lossschemas.Losses,
        responses=errors,
    )
    async def losses(from_: From = None, most: Most = 1000) -> Response:
        """What was lost since the start, by cause; with `from`, also by earlier runs."""
        ledger = view.ledger
        recent = [told.loss._asdict() for told in ledger.told()[-RECENT:]]
        answer: dict[str, Any] = {"rows_by_cause": ledger.status(), "recent": recent}
        if from_ is not None:
            from_ns = _time(from_)
            listed, notes = await blocking.call("the losses", _listed, view, from_ns, most)
            answer["losses"] = [{"time_ns": t.time_ns, **t.loss._asdict()} for t in listed]
            answer["notes"] = notes
        return json_answer(answer)


def _listed(view: GatewayView, from_ns: int, most: int) -> tuple[list[Told], list[str]]:
    """Newest first: those of the historian, and those of this run that are not in it yet."""
    notes = []
    told = {t.time_ns: t for t in view.ledger.told() if t.time_ns >= from_ns}
    try:
        earlier = view.stored_losses(from_ns, most + 1)
    except GatewayError as error:
        notes.append(f"what earlier runs lost is not listed: {error}")
    else:
        if earlier is None:
            notes.append("no sink of type sqlite: what earlier runs lost is not listed")
        # of one gateway, no two rows of the ledger have the same time
        told |= {t.time_ns: t for t in earlier or ()}
    listed = [told[time_ns] for time_ns in sorted(told, reverse=True)]
    if len(listed) > most:
        notes.append(f"there are more than {most}: only the newest are listed")
    return listed[:most], notes


def _time(text: str) -> int:
    try:
        return parse_time(text, time.time_ns())
    except (ValueError, ArithmeticError) as error:
        raise Problem(400, f"'from' is no time: '{text}'", EXPECTED) from error
