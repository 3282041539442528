"""``/v1/connections``: how the connections do, those to the machines and those of clients."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Any, Literal

from fastapi import APIRouter, Depends
from pydantic import BaseModel, Field
from starlette.responses import Response

from gateway.api import schemas
from gateway.api.answers import json_answer, only
from gateway.api.connections import listed
from gateway.api.view import GatewayView

KEPT = (
    *("driver", "endpoint", "state", "reason", "since_s", "connects", "polls", "errors"),
    *("late_ticks", "lateness_ms", "read_ms"),
)
"""Members of a device's status that are about its connection."""


class DeviceConnection(BaseModel):
    """The connection to one machine, since the start."""

    driver: str
    endpoint: str | None = Field(description="Address; empty before the first connection.")
    state: Literal["connecting", "good", "degraded", "lost", "disabled"]
    reason: str | None
    since_s: float | None = Field(description="Seconds since it came into this state.")
    connects: int = Field(description="Connections that were made.")
    polls: int
    errors: int = Field(description="Polls and connections that failed.")
    late_ticks: int = Field(description="Polls that were skipped: the one before was late.")
    lateness_ms: schemas.Spread = Field(description="How late polls began.")
    read_ms: schemas.Spread = Field(description="How long polls took.")


class ClientConnection(BaseModel):
    """One open connection of a client of this API."""

    kind: Literal["http", "ws"]
    via: Literal["socket", "tcp"]
    peer: str | None = Field(description="Address and port; null on the Unix socket.")
    since_ns: int = Field(description="When it was opened, ns since 1970 UTC.")
    path: str | None = Field(description="What it asks for, or asked for last.")
    role: Literal["none", "viewer", "operator", "ingest"] | None
    who: str | None = Field(description="Name of the token, or user of the socket.")
    sent: int = Field(description="Answers or messages that went out.")
    dropped: int = Field(description="Rows or transitions that the client was too slow for.")


class Connections(BaseModel):
    """All connections."""

    devices: dict[str, DeviceConnection]
    clients: list[ClientConnection] = Field(description="The oldest first.")
    cut_off: dict[str, int] = Field(
        description="Clients that were cut off since the start: `made_way` (idle, one of too "
        "many), `refused` (too many, none idle), `no_request` (none in time), `not_reading`."
    )


def connections_router(
    view: GatewayView,
    clients: Callable[[], Collection[object]],
    cut_off: Callable[[], Mapping[str, int]],
    errors: dict[int | str, Any],
) -> APIRouter:
    """The route; ``clients`` gives all open connections of the server, ``cut_off`` its counts."""
    router = APIRouter()

    @router.get(
        "/v1/connections",
        dependencies=[Depends(only())],
        response_model=Connections,
        responses=errors,
    )
    async def connections() -> Response:
        """Connections to the machines with their errors and times, and who is connected here."""
        devices = view.status()["devices"].items()
        shown = {name: {key: device.get(key) for key in KEPT} for name, device in devices}
        found = {"devices": shown, "clients": listed(clients()), "cut_off": dict(cut_off())}
        return json_answer(found)

    return router
