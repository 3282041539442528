"""``/v1/config``: what the running configuration is made of, to compare a file with."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Depends
from starlette.responses import Response

from gateway.api import schemas
from gateway.api.answers import json_answer, only
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
        """A hash of each part of the running configuration; no setting and no secret."""
        return json_answer({"fingerprints": view.fingerprints()})
