"""``stream:`` and ``analysis:`` of a device map: what is computed of a channel, and when told."""

from __future__ import annotations

from typing import Annotated, Literal, TypeAlias

from pydantic import Field, model_validator

from gateway.features.spec import THRESHOLD
from gateway.settings import ChannelConfig, Settings

Hz: TypeAlias = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Band: TypeAlias = Annotated[list[Hz], Field(min_length=2, max_length=2)]
NAME = r"^[A-Za-z][A-Za-z0-9_]{0,39}$"
Name: TypeAlias = Annotated[str, Field(pattern=NAME)]
Mode: TypeAlias = Literal["linear", "exponential", "peak_hold"]
Function: TypeAlias = Literal["mean", "std", "min", "max", "slope", "count"]

SAMPLES_UP_TO_HZ = 100.0
"""At most this rate, every sample may be a row."""


class GeometryConfig(Settings):
    """A rolling bearing in numbers, as in its data sheet."""

    elements: Annotated[int, Field(ge=3, le=200)] = Field(description="Number of rolling elements.")
    ball_mm: Annotated[float, Field(gt=0, le=1000)] = Field(
        description="Diameter of a rolling element, in mm."
    )
    pitch_mm: Annotated[float, Field(gt=0, le=10_000)] = Field(description="Pitch diameter, in mm.")
    angle_deg: Annotated[float, Field(ge=0, lt=90)] = Field(
        0.0, description="Contact angle, in degrees."
    )

    @model_validator(mode="after")
    def _fits(self) -> GeometryConfig:
        if self.ball_mm >= self.pitch_mm:
            raise ValueError(f"ball_mm: {self.ball_mm:g} is not less than pitch_mm")
        return self


class ZonesConfig(Settings):
    """Boundaries of vibration zones, and where they come from."""

    boundaries_mm_s: Annotated[
        list[Annotated[float, Field(gt=0, allow_inf_nan=False)]], Field(min_length=3, max_length=3)
    ] = Field(description="A/B, B/C and C/D, in mm/s RMS.")
    provenance: Annotated[str, Field(min_length=3)] = Field(
        description="Source of the numbers: standard, edition, machine group, or who set them."
    )

    @model_validator(mode="after")
    def _rise(self) -> ZonesConfig:
        low, middle, high = self.boundaries_mm_s
        if not low < middle < high:
            raise ValueError("the boundaries must rise: A/B < B/C < C/D")
        return self


class AverageConfig(Settings):
    """How a feature is averaged over time."""

    mode: Mode = Field(
        description="linear: mean of the last over_s; exponential: time constant over_s; "
        "peak_hold: maximum of the last over_s. RMS values are averaged as powers."
    )
    over_s: Annotated[float, Field(gt=0, le=3600)] = Field(description="In seconds.")


class AnalysisConfig(Settings):
    """``analysis:`` of a stream, or of one channel where it differs."""

    window_s: Annotated[float, Field(ge=0.05, le=60)] = Field(
        1.0, description="Length of the window that features are computed of, in seconds."
    )
    hop_s: Annotated[float, Field(ge=0.02, le=60)] = Field(
        0.1, description="From one window to the next, in seconds. The window is a multiple of it."
    )
    publish_every_s: Annotated[float, Field(ge=0.02, le=3600)] = Field(
        1.0, description="How often a row of features is stored, in seconds."
    )
    history_s: Annotated[float, Field(ge=0, le=120)] = Field(
        3.0, description="Raw samples that are kept for a waveform with its past, in seconds."
    )
    features: list[str] | None = Field(
        None, description="Names of the features to store; left out: all that apply."
    )
    speed: float | str | None = Field(
        None,
        description="Speed of the shaft: a number in rpm, or a tag that has it in rpm: "
        "device.table.tag.",
    )
    speed_ratio: Annotated[float, Field(gt=0, le=1000)] = Field(
        1.0, description="Speed at this channel's bearing / `speed`, e.g. behind a gear."
    )
    speed_max_age_s: Annotated[float, Field(gt=0, le=3600)] = Field(
        5.0, description="A speed that is older than this is not used, in seconds."
    )
    velocity_band_hz: Band | None = Field(
        None,
        description="Band of velocity_rms and displacement_rms. Left out: 10 to 1000 Hz, and 2 to "
        "1000 Hz where `speed` is a number of at most 600 rpm.",
    )
    bands_hz: dict[str, Band] = Field(
        default_factory=dict, description="Further bands by name, each a feature band_NAME."
    )
    envelope_band_hz: Band | None = Field(
        None, description="Band that is demodulated. Left out: all above 500 Hz."
    )
    bearing: str | int | GeometryConfig | None = Field(
        None, description="Designation of the rolling bearing, e.g. 6205, or its geometry."
    )
    slip: Annotated[float, Field(ge=0, le=0.1)] = Field(
        0.02, description="A bearing line is sought within this part of its frequency."
    )
    harmonics: Annotated[int, Field(ge=1, le=6)] = Field(
        3, description="Harmonics of each bearing line that are looked at."
    )
    line_threshold: Annotated[float, Field(gt=1, le=1000)] = Field(
        THRESHOLD, description="A line counts from this ratio of its peak to its neighbourhood on."
    )
    zones: str | ZonesConfig | None = Field(
        None, description="Zone table of velocity_rms by name, e.g. iso_20816_3_group_2_rigid."
    )
    averages: dict[str, AverageConfig] | None = Field(
        None,
        description="Feature -> average, stored as FEATURE_avg. Left out: velocity_rms "
        "exponential and ratios of bearing lines linear, over 10 s.",
    )
    inputs: dict[str, str] = Field(
        default_factory=dict, description="Short name -> live tag, for use in `states`."
    )
    states: dict[str, str] = Field(
        default_factory=dict,
        description="Operating state -> rule, e.g. running and 1450 < speed < 1550. "
        "The first rule that holds names the state.",
    )
    otherwise: Name = Field("stopped", description="State where no rule holds.")
    publish_in: list[Name] | None = Field(
        None, description="Store features only in these states; left out: in every one."
    )
    inputs_max_age_s: Annotated[float, Field(gt=0, le=3600)] = Field(
        5.0, description="A tag that is older than this is unknown, in seconds."
    )


class StreamConfig(Settings):
    """``stream:``, channels that are sampled together."""

    rate_hz: Annotated[float, Field(ge=0.1, le=10_000_000, allow_inf_nan=False)] = Field(
        description="Samples of each channel a second. A card may come near to it only."
    )
    measurement: str = Field("vibration", description="Table to write to.")
    publish: Literal["features", "samples"] | None = Field(
        None,
        description="samples: every sample is a row, up to 100 Hz. Left out: samples up to 100 Hz, "
        "features above.",
    )
    channels: dict[str, ChannelConfig] = Field(description="The channels, by name.")
    analysis: AnalysisConfig | None = Field(None, description="What is computed of every channel.")


class AggregateConfig(Settings):
    """One entry of a group's ``aggregates:``, statistics of tags over a sliding window."""

    tags: Annotated[list[str], Field(min_length=1, max_length=1000)] = Field(
        description="Tags of the group."
    )
    functions: Annotated[list[Function], Field(min_length=1)] = Field(
        ["mean", "std", "min", "max", "slope"],
        description="What is computed; slope is in the tag's unit a second.",
    )
    window_s: Annotated[float, Field(gt=0, le=86_400)] = Field(
        60.0, description="Length of the window, in seconds."
    )
    every_s: Annotated[float, Field(gt=0, le=86_400)] = Field(
        10.0, description="How often a row is stored, in seconds."
    )
