"""``/v1/config``: the running configuration without secrets, and prints to compare a file with."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Depends
from starlette.responses import Response

from gateway.api import schemas
from gateway.api.answers import json_answer, only
from gateway.api.scrub import scrubbed
from gateway.api.view import GatewayView


def add_config(router: APIRouter, view: GatewayView, errors: dict[int | str, Any]) -> None:
    """Add the route."""

    @router.get(
        "/v1/config",
        dependencies=[Depends(only())],
        response_model=schemas.RunningConfig,
        responses=errors,
    )
    async def config() -> Response:
        """The running configuration: a hash of each part, and its settings without secrets."""
        settings = scrubbed(view.settings())
        return json_answer({"fingerprints": view.fingerprints(), "settings": settings})
