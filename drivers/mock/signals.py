"""The signals and fault windows of a mock device, as they stand in YAML."""

from __future__ import annotations

from typing import Annotated, Literal, TypeAlias

from pydantic import Field, model_validator

from gateway.driver import Settings

Seconds: TypeAlias = Annotated[float, Field(ge=1e-3, le=1e9, allow_inf_nan=False)]
Number: TypeAlias = Annotated[float, Field(allow_inf_nan=False)]
Positive: TypeAlias = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Share: TypeAlias = Annotated[float, Field(ge=0, le=1)]
Phase: TypeAlias = Annotated[float, Field(ge=0, lt=1)]
Literals: TypeAlias = Annotated[list[bool | int | float | str], Field(min_length=1)]
Reason: TypeAlias = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,39}$")]

PHASE = "Part of the cycle that had passed at 1970-01-01; drawn from the seed where left out."


class Noisy(Settings):
    """A shape to which noise is added."""

    noise: Positive = Field(0.0, description="Standard deviation of gaussian noise to add.")


class Periodic(Noisy):
    """A shape that repeats."""

    period_s: Seconds = Field(60.0, description="Length of one cycle, in seconds.")
    phase: Phase | None = Field(None, description=PHASE)


class Constant(Noisy):
    """The same value for ever; .nan and .inf too."""

    kind: Literal["constant"]
    value: bool | int | float | str = Field(description="The value: number, true, false, text.")


class Sine(Periodic):
    """Mean + amplitude x sin(2 pi t / period)."""

    kind: Literal["sine"]
    mean: Number = Field(0.0, description="Middle of the wave.")
    amplitude: Number = Field(1.0, description="Distance from the middle to the crest.")


class Ramp(Periodic):
    """A sawtooth: from low to high, then low again at once."""

    kind: Literal["ramp"]
    low: Number = Field(0.0, description="First value of the cycle.")
    high: Number = Field(1.0, description="Value that the end of the cycle comes near to.")


class Triangle(Periodic):
    """From low to high and back, each in half a period."""

    kind: Literal["triangle"]
    low: Number = Field(0.0, description="First value of the cycle.")
    high: Number = Field(1.0, description="Value in the middle of the cycle.")


class Square(Periodic):
    """High for the first part of the period, then low."""

    kind: Literal["square"]
    low: Number = Field(0.0, description="Value in the rest of the cycle.")
    high: Number = Field(1.0, description="Value at the beginning of the cycle.")
    duty: Share = Field(0.5, description="Part of the period that is high.")


class Steps(Noisy):
    """The values of a list in turn, each for a while; also texts and booleans."""

    kind: Literal["steps"]
    values: Literals = Field(description="The values in their order.")
    hold_s: Seconds = Field(10.0, description="How long each value stays, in seconds.")
    phase: Phase | None = Field(None, description=PHASE)


class Choice(Noisy):
    """A value drawn at random from a list, again and again; also texts and booleans."""

    kind: Literal["choice"]
    values: Literals = Field([False, True], description="What is drawn from.")
    hold_s: Seconds = Field(10.0, description="How long each value stays, in seconds.")
    phase: Phase | None = Field(None, description=PHASE)


class Walk(Noisy):
    """Wanders between low and high: smoothly to a new random value every few seconds."""

    kind: Literal["walk"]
    low: Number = Field(0.0, description="Lowest value.")
    high: Number = Field(1.0, description="Highest value.")
    hold_s: Seconds = Field(10.0, description="Time from one random value to the next, in seconds.")
    phase: Phase | None = Field(None, description=PHASE)


class Counter(Settings):
    """Only rises: start + rate x seconds since 2025-01-01 UTC; rolls over as a register does."""

    kind: Literal["counter"]
    start: Positive = Field(0.0, description="Count at 2025-01-01T00:00Z and before.")
    rate_per_s: Positive = Field(1.0, description="Counts a second.")
    rollover: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = Field(
        None, description="The count that is 0 again; left out: one above an integer's highest."
    )


class Gaussian(Settings):
    """A new normally distributed value at every read."""

    kind: Literal["gaussian"]
    mean: Number = Field(0.0, description="Mean of the values.")
    deviation: Positive = Field(1.0, description="Standard deviation.")


class Uniform(Settings):
    """A new evenly distributed value at every read."""

    kind: Literal["uniform"]
    low: Number = Field(0.0, description="Lowest value.")
    high: Number = Field(1.0, description="Highest value, not reached.")


Term: TypeAlias = Annotated[
    Constant
    | Sine
    | Ramp
    | Triangle
    | Square
    | Steps
    | Choice
    | Walk
    | Counter
    | Gaussian
    | Uniform,
    Field(discriminator="kind"),
]


class Sum(Settings):
    """The sum of other signals, of numbers only."""

    kind: Literal["sum"]
    of: list[Term] = Field(description="The signals to add.", min_length=1, max_length=16)


Signal: TypeAlias = Annotated[
    Constant
    | Sine
    | Ramp
    | Triangle
    | Square
    | Steps
    | Choice
    | Walk
    | Counter
    | Gaussian
    | Uniform
    | Sum,
    Field(discriminator="kind"),
]


class Window(Settings):
    """A fault that comes again: ``for_s`` seconds in every ``every_s``."""

    every_s: Seconds = Field(description="From one beginning to the next, in seconds.")
    for_s: Annotated[float, Field(ge=0, le=1e9)] = Field(
        description="How long it lasts, in seconds."
    )
    phase: Phase | None = Field(None, description=PHASE)

    @model_validator(mode="after")
    def _fits(self) -> Window:
        if self.for_s > self.every_s:
            raise ValueError(f"for_s: {self.for_s:g} is longer than every_s: {self.every_s:g}")
        return self


class BadWindow(Window):
    """Times in which one tag is not GOOD."""

    reason: Reason = Field("simulated", description="Reason that stands beside the quality.")
    quality: Literal["bad", "uncertain"] = Field("bad", description="Quality meanwhile.")


class GroupWindow(Window):
    """Times in which polls of some groups, or of all, go wrong."""

    groups: list[str] = Field(
        default_factory=list, description="Names of the groups; left out: every group."
    )


class Dropout(GroupWindow):
    """Times in which the device answers, but without values: all of them BAD."""

    reason: Reason = Field("dropout", description="Reason that stands beside the quality.")


class Delay(GroupWindow):
    """Times in which polls take longer; longer than timeout_s: the device is lost (timeout)."""

    by_s: Annotated[float, Field(gt=0, le=3600)] = Field(
        description="How much longer a poll takes, in seconds."
    )
