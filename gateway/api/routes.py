"""The routes. Those here only read; what changes something is in `gateway.api.letters`."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from typing import Annotated, Any

import anyio.to_thread
from fastapi import APIRouter, Depends, Query
from starlette.responses import PlainTextResponse, Response

from gateway.api import metrics, schemas, valueschemas
from gateway.api.alarms import add_alarms
from gateway.api.answers import JSON, ValuesAnswer, json_answer, only, values_now
from gateway.api.blocking import Blocking
from gateway.api.config import add_config
from gateway.api.deviceshapes import devices_body
from gateway.api.history import add_history
from gateway.api.letters import add_letters
from gateway.api.losses import add_losses
from gateway.api.noanswer import no_answer
from gateway.api.problems import Problem, unknown
from gateway.api.snapshot import add_snapshot
from gateway.api.tail import Tails
from gateway.api.view import GatewayView
from gateway.api.waveforms import add_waveforms
from gateway.errors import AddressRefused, GatewayError
from gateway.model import Table

Device = Annotated[str, Query(description="A device of the configuration.", min_length=1)]
AnyDevice = Annotated[str | None, Query(description="Only this device.", min_length=1)]
AnyTable = Annotated[
    str | None,
    Query(description="Only this table: its key, such as electricity.meter, or its name."),
]
ProbeAddress = Annotated[
    str, Query(description="An address in the driver's notation.", min_length=1, max_length=200)
]


def errors_of(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Descriptions of 400 and of these."""
    texts = {
        400: "A parameter is wrong.",
        401: "The token is missing or wrong (TCP only).",
        403: "Asked by a page of another site, or under a foreign name (TCP only).",
        404: "There is no such device, table or tag.",
        409: "The machine refuses the address.",
        413: "The body is too large.",
        415: "The body does not say that it is JSON.",
        429: "Too many wrong tokens or actions; Retry-After says when to try again (TCP only).",
        503: "It cannot be answered now; the text says why.",
    }
    # not by "model": that would take the media type of the good answer
    content = {"application/json": {"schema": schemas.reference(schemas.ErrorBody)}}
    more = (429,) if 401 in statuses else ()  # whoever presents wrong tokens is told to wait
    return {s: {"description": texts[s], "content": content} for s in (400, *statuses, *more)}


def make_router(
    view: GatewayView,
    tails: Tails,
    blocking: Blocking,
    cut_off: Callable[[], Mapping[str, int]] = dict,
) -> APIRouter:
    """All routes over one gateway."""
    router = APIRouter()
    _health(router, view, cut_off)
    _values(router, view, tails)
    _questions(router, view, blocking)
    add_history(router, view, blocking, errors_of(401, 403, 404, 503))
    add_losses(router, view, blocking, errors_of(401, 403, 503))
    add_letters(router, view, blocking, errors_of(401, 403, 404, 503))
    add_snapshot(router, view, blocking, errors_of(401, 403, 404, 503))
    add_config(router, view, errors_of(401, 403))
    add_waveforms(router, view, blocking, errors_of(401, 403, 404, 503))
    add_alarms(router, view, blocking, errors_of(401, 403, 404, 503))
    return router


def _health(router: APIRouter, view: GatewayView, cut_off: Callable[[], Mapping[str, int]]) -> None:
    @router.get(
        "/healthz",
        dependencies=[Depends(only())],
        response_model=schemas.Alive,
        responses=errors_of(),
    )
    async def healthz() -> Response:
        """Whether the process answers. Says nothing about the machines; asks for no token."""
        return json_answer({"alive": True})

    @router.get(
        "/readyz",
        dependencies=[Depends(only())],
        response_model=schemas.Ready,
        responses=errors_of(401, 403, 503),
    )
    async def readyz() -> Response:
        """Whether data flows; 503 with the reason where it does not."""
        ready, reason = view.ready()
        if not ready:
            raise Problem(503, reason or "not ready", "data from the devices")
        return json_answer({"ready": True, "reason": reason})

    @router.get(
        "/metrics",
        dependencies=[Depends(only())],
        response_class=PlainTextResponse,
        responses={200: {"description": metrics.CONTENT_TYPE}, **errors_of(401, 403)},
    )
    async def prometheus() -> Response:
        """The status in Prometheus' text format, version 0.0.4."""
        text = metrics.render(view.status(), view.ready()[0], cut_off())
        return Response(text, headers={"content-type": metrics.CONTENT_TYPE})

    @router.get(
        "/v1/status",
        dependencies=[Depends(only())],
        response_model=schemas.StatusDocument,
        responses=errors_of(401, 403),
    )
    async def status() -> Response:
        """How everything is: devices, sinks, losses, clock, and the problems in words."""
        return json_answer(view.status())


def _values(router: APIRouter, view: GatewayView, tails: Tails) -> None:
    @router.get(
        "/v1/devices",
        dependencies=[Depends(only())],
        response_model=schemas.Devices,
        responses=errors_of(401, 403),
    )
    async def devices() -> Response:
        """All devices with their groups, tables, tags and units; also those that others send."""
        states = view.status()["devices"]
        shown = [(n, d, states.get(n, {})) for n, d in view.devices().items()]
        # 1 ms for 1,000 tags
        body = await anyio.to_thread.run_sync(devices_body, shown, view.intake)
        return Response(body, media_type=JSON)

    @router.get(
        "/v1/latest",
        dependencies=[Depends(only("device", "table"))],
        response_model=valueschemas.Latest,
        responses=errors_of(401, 403, 404),
    )
    async def latest(device: AnyDevice = None, table: AnyTable = None) -> Response:
        """The newest value of each tag, with unit, quality, reason and time."""
        _check_names(view, device, table)
        rows = [r for r in view.latest.rows(device) if _is_named(r.table, table)]
        return values_now(rows)

    @router.get(
        "/v1/tail",
        dependencies=[Depends(only("device", "table"))],
        response_class=Response,
        responses={
            200: {
                "description": "Endless NDJSON: a TagValue or a Dropped a line; empty lines "
                "are a heartbeat. A client that stops reading is cut off.",
                "content": {"application/x-ndjson": {"schema": schemas.TAIL_LINE}},
            },
            **errors_of(401, 403, 404, 503),
        },
    )
    async def tail(device: AnyDevice = None, table: AnyTable = None) -> Response:
        """Values as they come, one JSON object a line for each tag, until you hang up."""
        _check_names(view, device, table)
        return tails.open(device, table)


def _questions(router: APIRouter, view: GatewayView, blocking: Blocking) -> None:
    @router.get(
        "/v1/read",
        dependencies=[Depends(only("device"))],
        response_model=valueschemas.ReadResult,
        responses=errors_of(401, 403, 404, 503),
    )
    async def read(device: Device) -> Response:
        """Read all groups of a device once, between two polls."""
        _check_device(view, device)
        begun = time.monotonic()
        try:
            rows = await blocking.call(f"device {device}", view.read_device, device)
        except GatewayError as error:
            raise no_answer(view, device, error, begun) from error
        return ValuesAnswer(rows, device=device)

    @router.get(
        "/v1/probe",
        dependencies=[Depends(only("device", "address"))],
        response_model=valueschemas.ProbeResult,
        responses=errors_of(401, 403, 404, 409, 503),
    )
    async def probe(device: Device, address: ProbeAddress) -> Response:
        """Read one address once: its bytes, and what they are under several types and orders."""
        _check_device(view, device)
        begun = time.monotonic()
        try:
            found = await blocking.call(f"device {device}", view.probe_device, device, address)
        except AddressRefused as error:
            raise Problem(409, f"device {device}: {error}") from error
        except ValueError as error:
            # the driver's own words say what it expected
            raise Problem(400, f"address '{address}': {error}") from error
        except GatewayError as error:
            raise no_answer(view, device, error, begun) from error
        readings = [{"as": how, "value": value} for how, value in found.readings]
        return json_answer(
            {
                "device": device,
                "address": found.address,
                "raw": found.raw.hex(" "),
                "readings": readings,
            }
        )


def _devices(view: GatewayView) -> set[str]:
    return {*view.devices(), *(row.table.device for row in view.latest.rows())}


def _tables(view: GatewayView, device: str | None) -> Iterator[Table]:
    """Of the configuration, and those that rows came for (losses, events)."""
    for name, driver in view.devices().items():
        if device in (None, name):
            for group in driver.groups:
                yield from group.tables
    yield from (row.table for row in view.latest.rows(device))


def _is_named(table: Table, name: str | None) -> bool:
    return name is None or name in (table.key, table.name)


def _check_device(view: GatewayView, name: str) -> None:
    if name not in view.devices():
        raise unknown("device", name, view.devices())


def _check_names(view: GatewayView, device: str | None, table: str | None) -> None:
    if device is not None and device not in (known := _devices(view)):
        raise unknown("device", device, known)
    if table is not None:
        names = {n for t in _tables(view, device) for n in (t.key, t.name)}
        if table not in names:
            raise unknown("table", table, names)
