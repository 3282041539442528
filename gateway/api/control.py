"""Switching a device off and on while the gateway runs: it is not asked, and nothing is written."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Depends
from starlette.responses import Response

from gateway.api import accessschemas
from gateway.api.access import operator
from gateway.api.answers import json_answer
from gateway.api.blocking import Blocking
from gateway.api.bodies import action, body_of
from gateway.api.problems import Problem, unknown
from gateway.api.view import GatewayView
from gateway.errors import DeviceUnavailable, GatewayError

By = Annotated[str, Depends(operator)]
Body = Annotated[accessschemas.SwitchRequest, Depends(body_of(accessschemas.SwitchRequest))]


def add_control(
    router: APIRouter, view: GatewayView, blocking: Blocking, errors: dict[int | str, Any]
) -> None:
    """Add the routes."""
    shapes = accessschemas.SwitchRequest, accessschemas.Switched

    async def switch(body: accessschemas.SwitchRequest, who: str, enabled: bool) -> Response:
        name = body.device
        if name not in view.devices():
            raise unknown("device", name, view.devices())
        try:
            await blocking.call(f"device {name}", view.switch_device, name, enabled, who, body.why)
        except DeviceUnavailable as error:
            raise Problem(503, f"device {name}: {error}", "try again") from error
        except GatewayError as error:
            raise Problem(409, str(error), None) from error
        return json_answer({"device": name, "enabled": enabled, "who": who, "why": body.why})

    @action(router, "/v1/devices/disable", *shapes, errors)
    async def disable(who: By, body: Body) -> Response:
        """Stop asking a device until it is enabled again; its tags become BAD `disabled`.

        Neither a reload nor a restart of the gateway enables it.
        """
        return await switch(body, who, False)

    @action(router, "/v1/devices/enable", *shapes, errors)
    async def enable(who: By, body: Body) -> Response:
        """Ask a device again."""
        return await switch(body, who, True)
