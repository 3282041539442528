"""A look at one channel of a stream: its newest features, waveform, spectra, and a file."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query
from starlette.responses import Response

from gateway.api import valueschemas
from gateway.api.answers import JSON, json_answer, only, with_arrays
from gateway.api.blocking import Blocking
from gateway.api.problems import Problem, unknown
from gateway.api.view import GatewayView, WaveformResult
from gateway.errors import DeviceUnavailable, GatewayError
from gateway.rowjson import row_objects

MAX_SAMPLES = 262_144
"""Most samples in a JSON document (2.5 MB); a capture takes more."""

NPZ = "application/x-npz"

Device = Annotated[str, Query(description="A device that streams.", min_length=1)]
Channel = Annotated[str, Query(description="A channel of the device.", min_length=1)]
Seconds = Annotated[
    float | None,
    Query(gt=0, le=120, description="The newest seconds, as far as kept; else the window."),
]


def add_waveforms(
    router: APIRouter, view: GatewayView, blocking: Blocking, errors: dict[int | str, Any]
) -> None:
    """Add the routes."""
    names = ("device", "channel")

    @router.get(
        "/v1/features",
        dependencies=[Depends(only(*names))],
        response_model=valueschemas.Features,
        responses=errors,
    )
    async def features(device: Device, channel: Channel) -> Response:
        """The newest features of a channel, as they went to the sinks."""
        return json_answer(_features(view, device, channel))

    @router.get(
        "/v1/waveform",
        dependencies=[Depends(only(*names, "seconds"))],
        response_model=valueschemas.Waveform,
        responses=errors,
    )
    async def waveform(device: Device, channel: Channel, seconds: Seconds = None) -> Response:
        """The newest samples of a channel: the window that its features are computed of."""
        body = await _ask(blocking, device, _waveform, view, device, channel, seconds)
        return Response(body, media_type=JSON)

    @router.get(
        "/v1/spectrum",
        dependencies=[Depends(only(*names))],
        response_model=valueschemas.Spectrum,
        responses=errors,
    )
    async def spectrum(device: Device, channel: Channel) -> Response:
        """Spectrum and envelope spectrum of the newest window, and its features."""
        body = await _ask(blocking, device, _spectrum, view, device, channel)
        return Response(body, media_type=JSON)

    @router.get(
        "/v1/capture.npz",
        dependencies=[Depends(only(*names, "seconds"))],
        response_class=Response,
        responses={
            200: {
                "description": "A file for numpy.load: samples under the channel's name, rate_hz, "
                "time_ns of the last sample, meta as JSON.",
                "content": {NPZ: {"schema": {"type": "string", "format": "binary"}}},
            },
            **errors,
        },
    )
    async def capture(device: Device, channel: Channel, seconds: Seconds = None) -> Response:
        """The newest samples of a channel with all that they depend on, as a file."""
        body = await _ask(blocking, device, view.capture, device, channel, seconds)
        headers = {"content-disposition": f'attachment; filename="{_file(device, channel)}"'}
        return Response(body, media_type=NPZ, headers=headers)


def _features(view: GatewayView, device: str, channel: str) -> dict[str, Any]:
    driver = view.devices().get(device)
    if driver is None:
        raise unknown("device", device, view.devices())
    tables = {t.channel: t for group in driver.groups for t in group.tables if t.channel}
    table = tables.get(channel)
    if table is None:
        raise unknown(f"channel of {device} with features", channel, tables)
    row = view.latest.get(table)
    if row is None:
        expected = "try again; its state may tell none, or no samples came yet"
        raise Problem(503, f"device {device}: no features of '{channel}' now", expected)
    kept = ("tag", "value", "unit", "quality", "reason")
    return {
        "device": device,
        "channel": channel,
        "table": table.key,
        "time_ns": row.time_ns,
        "features": [{key: tag[key] for key in kept} for tag in row_objects(row)],
    }


def _waveform(view: GatewayView, device: str, channel: str, seconds: float | None) -> bytes:
    found = view.waveform(device, channel, seconds)
    if len(found.samples) > MAX_SAMPLES:
        what = f"{len(found.samples)} samples are too many for JSON"
        raise Problem(400, what, "fewer seconds, or /v1/capture.npz")
    return with_arrays(_about(found), {"samples": found.samples})


def _spectrum(view: GatewayView, device: str, channel: str) -> bytes:
    found = view.spectra(device, channel)
    members = {**_about(found.waveform), "line_hz": found.line_hz, "features": found.features}
    return with_arrays(members, {"amplitude": found.amplitude, "envelope": found.envelope})


def _about(found: WaveformResult) -> dict[str, Any]:
    return {
        "device": found.device,
        "channel": found.channel,
        "unit": found.unit,
        "rate_hz": found.rate_hz,
        "time_ns": found.time_ns,
        "setup": found.setup,
    }


async def _ask(blocking: Blocking, device: str, function: Any, *args: Any) -> Any:
    try:
        return await blocking.heavy(f"device {device}", function, *args)
    except DeviceUnavailable as error:
        raise Problem(503, f"device {device}: {error}", "try again; see the status") from error
    except GatewayError as error:
        what, _, expected = str(error).partition("; ")
        raise Problem(404, what, expected or None) from error


def _file(device: str, channel: str) -> str:
    text = f"{device}-{channel}"
    return "".join(c if c.isascii() and (c.isalnum() or c in "-_.") else "_" for c in text) + ".npz"
