"""The routes about access: sessions, the audit, and switching devices off and on."""

from __future__ import annotations

import time
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Request
from starlette.responses import Response

from gateway.api import accessschemas, schemas
from gateway.api.access import Access, operator
from gateway.api.answers import json_answer, only
from gateway.api.audit import Action
from gateway.api.blocking import Blocking
from gateway.api.control import add_control
from gateway.api.settings import ApiConfig
from gateway.api.signin import add_sessions
from gateway.api.view import GatewayView
from gateway.errors import GatewayError

MAX_LISTED = 1000
DAYS_BACK = 30

Most = Annotated[
    int, Query(alias="max", ge=1, le=MAX_LISTED, description="List at most so many, the newest.")
]


def _errors(*statuses: int) -> dict[int | str, dict[str, Any]]:
    texts = {
        400: "A parameter or the body is wrong.",
        401: "The token is missing or wrong (TCP only).",
        403: "Not an operator, or asked by a page of another site or under a foreign name.",
        404: "There is no such device.",
        409: "It cannot be done as things are; the text says why.",
        413: "The body is too large.",
        415: "The body is not said to be JSON.",
        429: "Too many actions, or too many wrong tokens; Retry-After says when to try again.",
        503: "It cannot be done now; the text says why.",
    }
    content = {"application/json": {"schema": schemas.reference(schemas.ErrorBody)}}
    return {s: {"description": texts[s], "content": content} for s in (400, *statuses)}


def access_router(view: GatewayView, access: Access, api: ApiConfig) -> APIRouter:
    """All of them."""
    router = APIRouter()
    blocking = Blocking()
    add_sessions(router, access, api, _errors(401, 403, 409, 413, 415, 429))
    add_control(router, view, blocking, _errors(401, 403, 404, 409, 413, 415, 429, 503))

    @router.get(
        "/v1/audit",
        dependencies=[Depends(only("max")), Depends(operator)],
        response_model=accessschemas.Audit,
        responses=_errors(401, 403, 429, 503),
    )
    async def audit(request: Request, most: Most = 200) -> Response:
        """Who changed something, or was refused, the newest first; for operators."""
        found, notes = await blocking.call("the audit", _listed, view, most)
        return json_answer({"actions": [a._asdict() for a in found], "notes": notes})

    return router


def _listed(view: GatewayView, most: int) -> tuple[list[Action], list[str]]:
    """Newest first: those of the historian, and those of this run that are not in it yet."""
    notes = []
    # of one gateway, no two rows of the audit have the same time
    found = {action.time_ns: action for action in view.audit.kept()}
    from_ns = time.time_ns() - DAYS_BACK * 86_400 * 1_000_000_000
    try:
        earlier = view.stored_actions(from_ns, most)
    except GatewayError as error:
        notes.append(f"actions of earlier runs are not listed: {error}")
    else:
        if earlier is None:
            notes.append("no sink of type sqlite: actions of earlier runs are not listed")
        found |= {action.time_ns: action for action in earlier or ()}
    return [found[time_ns] for time_ns in sorted(found, reverse=True)][:most], notes
