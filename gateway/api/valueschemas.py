"""The shapes of the answers about what was read and what was made of it, for /openapi.json."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field


class _Shape(BaseModel):
    model_config = ConfigDict(extra="allow", defer_build=True)  # only described


class TagValue(_Shape):
    """One value of one tag, the same here, in /v1/tail and in `gateway read --json`."""

    table: str
    labels: dict[str, str]
    tag: str
    value: bool | int | float | str | None = Field(description="null where the tag is BAD.")
    quality: Literal["GOOD", "UNCERTAIN", "BAD"]
    reason: str | None = Field(description="Why it is not GOOD.")
    unit: str | None
    time_ns: int = Field(description="When it was read: UTC, ns since 1970.")


class Dropped(_Shape):
    """A line of /v1/tail: the client was too slow for this many rows, the oldest that waited."""

    dropped_rows: int


class Latest(_Shape):
    """The newest value of each tag."""

    time_ns: int = Field(description="The gateway's clock at the answer, ns since 1970.")
    values: list[TagValue]


class ReadResult(_Shape):
    """What one read of a device gave."""

    device: str
    values: list[TagValue]


class Reading(BaseModel):
    """The bytes read as one type."""

    as_: str = Field(alias="as", description="Type and byte order.")
    value: str


class ProbeResult(_Shape):
    """What stands at one address."""

    device: str
    address: str
    raw: str = Field(description="The bytes, in hex.")
    readings: list[Reading]


HistoryPoint = Annotated[list[bool | int | float | str | None], Field(min_length=3, max_length=3)]


class History(_Shape):
    """Points of one tag, oldest first."""

    device: str
    table: str
    tag: str
    unit: str | None
    resolution: Literal["raw", "minute"] = Field(
        description="minute: two points a minute, its least and its greatest value."
    )
    truncated: bool = Field(description="The beginning of the range is not kept any more.")
    decimated: bool = Field(
        description="There is more than max_points: each stretch of time keeps its extremes."
    )
    from_ns: int
    to_ns: int
    points: list[HistoryPoint] = Field(
        description="[time_ns, value, quality] of each point; quality as in BAD:timeout."
    )


class Trends(_Shape):
    """Points of several tags, in the order in which they were asked for."""

    from_ns: int
    to_ns: int
    series: list[History]


class FeatureValue(_Shape):
    """One feature of one window."""

    tag: str = Field(description="Its name, e.g. velocity_rms; zone and state are texts.")
    value: bool | int | float | str | None = Field(description="null where it is BAD.")
    unit: str | None
    quality: Literal["GOOD", "UNCERTAIN", "BAD"]
    reason: str | None = Field(description="Why it is not GOOD.")


class Features(_Shape):
    """The newest features of one channel."""

    device: str
    channel: str
    table: str = Field(description="Key of the table that has their history.")
    time_ns: int = Field(description="Time of the window's last sample, ns since 1970 UTC.")
    features: list[FeatureValue]


class Waveform(_Shape):
    """The newest samples of one channel."""

    device: str
    channel: str
    unit: str
    rate_hz: float
    time_ns: int = Field(description="Time of the last sample, ns since 1970 UTC.")
    samples: list[float]
    setup: dict[str, Any] = Field(description="What the numbers depend on besides the machine.")


class Spectrum(_Shape):
    """Spectrum and envelope spectrum of the newest window of one channel."""

    device: str
    channel: str
    unit: str
    rate_hz: float
    time_ns: int = Field(description="Time of the last sample, ns since 1970 UTC.")
    line_hz: float = Field(description="Distance of two lines; the first is 0 Hz.")
    amplitude: list[float] = Field(description="Peak amplitude of each line, Hann window.")
    envelope: list[float] = Field(
        description="Amplitude of each line of the squared envelope, in the unit squared."
    )
    features: dict[str, float | None] = Field(description="The features of this window.")
    setup: dict[str, Any] = Field(description="What the numbers depend on besides the machine.")
