"""A look at one channel of a stream: ``/v1/waveform``, ``/v1/spectrum`` and ``/v1/capture.npz``."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query
from starlette.responses import Response

from gateway.api import schemas
from gateway.api.answers import json_answer, only
from gateway.api.blocking import Blocking
from gateway.api.problems import Problem
from gateway.api.view import GatewayView
from gateway.errors import DeviceUnavailable, GatewayError

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
        "/v1/waveform",
        dependencies=[Depends(only(*names, "seconds"))],
        response_model=schemas.Waveform,
        responses=errors,
    )
    async def waveform(device: Device, channel: Channel, seconds: Seconds = None) -> Response:
        """The newest samples of a channel: the window that its features are computed of."""
        found = await _ask(blocking, device, view.waveform, device, channel, seconds)
        if len(found.samples) > MAX_SAMPLES:
            what = f"{len(found.samples)} samples are too many for JSON"
            raise Problem(400, what, "fewer seconds, or /v1/capture.npz")
        return json_answer(
            {
                "device": found.device,
                "channel": found.channel,
                "unit": found.unit,
                "rate_hz": found.rate_hz,
                "time_ns": found.time_ns,
                "samples": found.samples,
                "setup": found.setup,
            }
        )

    @router.get(
        "/v1/spectrum",
        dependencies=[Depends(only(*names))],
        response_model=schemas.Spectrum,
        responses=errors,
    )
    async def spectrum(device: Device, channel: Channel) -> Response:
        """Spectrum and envelope spectrum of the newest window, and its features."""
        found = await _ask(blocking, device, view.spectra, device, channel)
        return json_answer(
            {
                "device": device,
                "channel": channel,
                "unit": found.waveform.unit,
                "rate_hz": found.waveform.rate_hz,
                "time_ns": found.waveform.time_ns,
                "line_hz": found.line_hz,
                "amplitude": found.amplitude,
                "envelope": found.envelope,
                "features": found.features,
                "setup": found.waveform.setup,
            }
        )

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


async def _ask(blocking: Blocking, device: str, function: Any, *args: Any) -> Any:
    try:
        return await blocking.call(f"device {device}", function, *args)
    except DeviceUnavailable as error:
        raise Problem(503, f"device {device}: {error}", "try again; see the status") from error
    except GatewayError as error:
        what, _, expected = str(error).partition("; ")
        raise Problem(404, what, expected or None) from error


def _file(device: str, channel: str) -> str:
    text = f"{device}-{channel}"
    return "".join(c if c.isascii() and (c.isalnum() or c in "-_.") else "_" for c in text) + ".npz"
