"""The channels of a mock stream, as they stand in YAML: what they show and how they fail."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, TypeAlias

from pydantic import Field, model_validator

from drivers.mock.signals import Noisy, Number, Positive, Seconds, Window
from gateway.driver import ChannelConfig, Settings

Above0: TypeAlias = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class Tone(Settings):
    """One sine: amplitude x sin(2 pi hz t + phase)."""

    hz: Above0 = Field(description="Frequency, in Hz.")
    amplitude: Number = Field(1.0, description="From the middle to the crest, in the unit.")
    phase_deg: Number = Field(0.0, description="Phase at the first sample, in degrees.")


class Sines(Noisy):
    """A mean and a mixture of sines."""

    kind: Literal["sines"]
    tones: list[Tone] = Field(description="The sines to add.", min_length=1, max_length=64)
    mean: Number = Field(0.0, description="What the sines swing about.")


class Noise(Settings):
    """White gaussian noise."""

    kind: Literal["noise"]
    rms: Positive = Field(1.0, description="Root mean square, in the unit.")


class Degradation(Settings):
    """Damage that grows: from the onset on, amplitudes double every `doubling_s`."""

    onset_s: Positive = Field(0.0, description="When the growth begins, in s after the start.")
    doubling_s: Above0 = Field(description="Time in which the amplitude doubles, in seconds.")
    max_factor: Annotated[float, Field(ge=1, allow_inf_nan=False)] = Field(
        100.0, description="The growth ends at this multiple of the amplitude."
    )


class Turning(Noisy):
    """What goes with a shaft."""

    speed_rpm: Above0 | None = Field(None, description="Shaft speed, in revolutions per minute.")
    speed_hz: Above0 | None = Field(None, description="Shaft speed, in Hz; instead of speed_rpm.")
    wander: Annotated[float, Field(ge=0, le=0.2)] = Field(
        0.0, description="The speed swings by this part of it, up and down, e.g. 0.01."
    )
    wander_period_s: Seconds = Field(20.0, description="Length of one such swing, in seconds.")
    degradation: Degradation | None = Field(None, description="How the amplitudes grow.")

    @model_validator(mode="after")
    def _has_one_speed(self) -> Turning:
        if (self.speed_rpm is None) == (self.speed_hz is None):
            raise ValueError("expected either speed_rpm or speed_hz")
        return self

    @property
    def hz(self) -> float:
        """The speed in Hz."""
        return self.speed_hz if self.speed_hz is not None else (self.speed_rpm or 0.0) / 60.0


class Shaft(Turning):
    """Imbalance and misalignment: sines at once, twice and three times the shaft's speed."""

    kind: Literal["shaft"]
    imbalance: Positive = Field(1.0, description="Amplitude at the speed (1x), in the unit.")
    misalignment_2x: Positive = Field(0.0, description="Amplitude at twice the speed.")
    misalignment_3x: Positive = Field(0.0, description="Amplitude at three times the speed.")


class Bearing(Turning):
    """A local fault of a rolling bearing: an impact each time that something rolls over it."""

    kind: Literal["bearing"]
    fault: Literal["outer", "inner", "ball"] = Field(description="Where the fault is.")
    elements: Annotated[int, Field(ge=3, le=200)] | None = Field(
        None, description="Number of balls or rollers."
    )
    ball_mm: Above0 | None = Field(None, description="Diameter of a ball or roller, in mm.")
    pitch_mm: Above0 | None = Field(None, description="Pitch diameter, in mm.")
    angle_deg: Annotated[float, Field(ge=0, lt=90)] = Field(
        0.0, description="Contact angle, in degrees."
    )
    impacts_per_rev: Above0 | None = Field(
        None, description="Impacts in one turn of the shaft, instead of the geometry."
    )
    slip: Annotated[float, Field(ge=0, le=0.05)] = Field(
        0.01, description="Standard deviation of the time between impacts, as a part of it."
    )
    amplitude: Positive = Field(1.0, description="Height of the strongest impact, in the unit.")
    resonance_hz: Above0 = Field(3000.0, description="What an impact makes ring, in Hz.")
    damping: Annotated[float, Field(ge=0.005, le=0.5)] = Field(
        0.05, description="Damping ratio of that resonance."
    )
    load_zone: Annotated[float, Field(gt=0, le=1)] = Field(
        0.5, description="Part of the ring that carries load; impacts outside it are not felt."
    )

    @model_validator(mode="after")
    def _has_one_geometry(self) -> Bearing:
        given = [v for v in (self.elements, self.ball_mm, self.pitch_mm) if v is not None]
        if len(given) not in (0, 3) or (self.impacts_per_rev is None) != (len(given) == 3):
            raise ValueError("expected either elements, ball_mm and pitch_mm, or impacts_per_rev")
        if self.ball_mm and self.pitch_mm and self.ball_mm >= self.pitch_mm:
            raise ValueError(f"ball_mm: {self.ball_mm:g} is not less than pitch_mm")
        return self


Part: TypeAlias = Annotated[Sines | Noise | Shaft | Bearing, Field(discriminator="kind")]


class Mixture(Settings):
    """The sum of other signals."""

    kind: Literal["sum"]
    of: list[Part] = Field(description="The signals to add.", min_length=1, max_length=16)


StreamSignal: TypeAlias = Annotated[
    Sines | Noise | Shaft | Bearing | Mixture, Field(discriminator="kind")
]


class Replay(Settings):
    """Plays a recording, sample for sample."""

    file: Path = Field(
        description="The recording (.npz, .npy, .wav, .tdms, .csv), relative to this map.",
        strict=False,
    )
    channel: str | None = Field(None, description="Its channel; may be left out where it has one.")
    rate_hz: Above0 | None = Field(
        None, description="Its rate, where the file does not say it; must be the stream's."
    )
    loop: bool = Field(True, description="true: begin again at the end; false: the device is lost.")
    scale: Number = Field(1.0, description="Sample = recorded number x scale.")


class OpenCircuit(Window):
    """A broken cable: the input sits at its full scale."""

    kind: Literal["open"]


class ShortCircuit(Window):
    """A shorted cable or a dead sensor: zero."""

    kind: Literal["short"]


class Clipping(Window):
    """An overload: the signal is `gain` times as large and cut off at the full scale."""

    kind: Literal["clipping"]
    gain: Above0 = Field(100.0, description="How many times too large the signal is.")


class DcShift(Window):
    """The bias of the sensor jumps."""

    kind: Literal["dc_shift"]
    shift: Number = Field(description="What is added, in the unit.")


SensorFault: TypeAlias = Annotated[
    OpenCircuit | ShortCircuit | Clipping | DcShift, Field(discriminator="kind")
]


class MockChannel(ChannelConfig):
    """One channel of a mock stream."""

    signal: StreamSignal | None = Field(
        None, description="What the channel shows; left out: what its unit suggests."
    )
    replay: Replay | None = Field(None, description="A recording to play, instead of a signal.")
    fault: SensorFault | None = Field(None, description="Times in which the sensor is faulty.")

    @model_validator(mode="after")
    def _has_one_source(self) -> MockChannel:
        if self.signal is not None and self.replay is not None:
            raise ValueError("expected either signal or replay, not both")
        return self
