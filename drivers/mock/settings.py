"""Settings of a mock device: its seed, and the faults of its connection."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from drivers.mock.signals import Delay, Dropout, Window
from gateway.driver import DeviceConfig

POLLED_ONLY = ("latency_s", "jitter_s")
"""Settings that mean nothing where the device streams."""

STREAM_ONLY = ("rate_error_ppm", "buffer_s")
"""Settings that mean nothing where the device is polled."""


class MockConfig(DeviceConfig):
    """A device of the mock driver. Its faults come in windows that depend on seed and time."""

    seed: int = Field(1, description="Another seed gives other phases, noise and random values.")
    latency_s: Annotated[float, Field(ge=0, le=60)] = Field(
        0.0, description="Time that every poll takes, in seconds."
    )
    jitter_s: Annotated[float, Field(ge=0, le=60)] = Field(
        0.0, description="A random part of this is added to the latency, in seconds."
    )
    disconnect: Window | None = Field(
        None, description="Times without a connection: it is closed, and new ones are refused."
    )
    delay: Delay | None = Field(
        None, description="Times in which polls, or the blocks of a stream, come later."
    )
    dropout: Dropout | None = Field(
        None,
        description="Times in which polls are answered without values, or samples are lost.",
    )
    rate_error_ppm: Annotated[float, Field(ge=-10_000, le=10_000)] = Field(
        0.0, description="Of a stream: how much faster its sample clock runs than it says, in ppm."
    )
    buffer_s: Annotated[float, Field(ge=0.1, le=600)] = Field(
        10.0, description="Of a stream: samples that wait longer than this are overrun, in seconds."
    )
