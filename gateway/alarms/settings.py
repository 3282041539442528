"""``alarms:`` of the gateway's file, and the rules that it and device maps have."""

from __future__ import annotations

from itertools import pairwise
from typing import Annotated, ClassVar, Literal, TypeAlias

from pydantic import ByteSize, Field, model_validator

from gateway.alarms.model import Severity
from gateway.analysis.settings import ZonesConfig
from gateway.settings import Settings

Finite: TypeAlias = Annotated[float, Field(allow_inf_nan=False)]
NotNegative: TypeAlias = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Delay: TypeAlias = Annotated[float, Field(ge=0, le=86_400)]
SeverityName: TypeAlias = Literal["low", "medium", "high", "critical"]
LineName: TypeAlias = Literal["ftf", "bpfo", "bpfi", "bsf2", "bsf"]

DEFAULT_SEVERITY = Severity.MEDIUM
EXTREME_SEVERITY = Severity.HIGH
"""Of low_low, high_high and zone D, where the rule does not say."""

MAX_CAPTURE_S = 60.0


class CaptureConfig(Settings):
    """``capture:`` of a rule: raw samples of its channel around the time it is raised."""

    pre_s: Annotated[float, Field(ge=0, le=MAX_CAPTURE_S)] = Field(
        2.0, description="Samples of before, in seconds."
    )
    post_s: Annotated[float, Field(ge=0, le=MAX_CAPTURE_S)] = Field(
        1.0, description="Samples of after, in seconds."
    )


class LearnConfig(Settings):
    """``learn:`` of a baseline: the mean of so many rows while the rule's `states` hold."""

    rows: Annotated[int, Field(ge=2, le=10_000_000)] = Field(
        600,
        description="Rows that the baseline is the mean of; BAD and UNCERTAIN ones do not count.",
    )
    least_s: Annotated[float, Field(ge=0, le=31_536_000)] = Field(
        0.0, description="And at least so long, in seconds, from the first of them to the last."
    )
    again: int = Field(0, description="Another number: what was learned is learned anew.")


class RuleConfig(Settings):
    """What all rules have."""

    kind: str = Field(description="What is judged.")
    severity: SeverityName | None = Field(
        None,
        description="How urgent it is. Left out: medium; high for low_low, high_high and zone D.",
    )
    message: Annotated[str, Field(min_length=1, max_length=500)] | None = Field(
        None,
        description="Text of the alarm. {value}, {limit}, {unit}, {tag}, {device}, {alarm}, "
        "{condition}, {state}, and other tags by name: {plc_1.process.speed_rpm:.0f}.",
    )
    on_delay_s: Delay = Field(
        0.0, description="It has to hold so long without a break before the alarm is raised."
    )
    off_delay_s: Delay = Field(
        0.0, description="It has to be gone so long without a break before the alarm returns."
    )
    states: Annotated[list[str], Field(min_length=1)] | None = Field(
        None,
        description="Operating states of the stream in which it is judged; left out: in all. In "
        "others the alarm is suppressed.",
    )
    while_: str | None = Field(
        None,
        alias="while",
        description="Expression; where it does not hold, the alarm is suppressed.",
    )
    latch: bool = Field(
        False, description="true: once raised it stays until a person acknowledges its end."
    )
    capture: CaptureConfig | None = Field(
        None, description="Store the raw samples around it; for tags of channels of a stream."
    )
    notify: list[str] | None = Field(
        None, description="Names of the notifiers that are told; left out: all."
    )
    max_age_s: Annotated[float, Field(gt=0, le=86_400)] | None = Field(
        None,
        description="A value older than this is not judged. Left out: 3 intervals of its table, at "
        "least 5 s.",
    )

    keys_of_names: ClassVar[tuple[str, ...]] = ()
    """Keys that hold the name of a tag or a channel."""


class _TagRule(RuleConfig):
    tag: str = Field(
        description="device.table.tag; in a device map table.tag, of the device itself."
    )
    keys_of_names: ClassVar[tuple[str, ...]] = ("tag",)


class _NumberRule(_TagRule):
    unit: str | None = Field(
        None, description="Unit of the numbers here; where it is not the tag's, that is a fault."
    )
    hysteresis: NotNegative = Field(
        0.0,
        description="The value has to come back by so much, in its unit, before the alarm returns.",
    )


class LimitsRule(_NumberRule):
    """``kind: limits``, each limit an alarm of its own: RULE.high..."""

    kind: Literal["limits"] = Field(description="What is judged.")
    low_low: Finite | None = Field(None, description="Raised below this.")
    low: Finite | None = Field(None, description="Raised below this.")
    high: Finite | None = Field(None, description="Raised above this.")
    high_high: Finite | None = Field(None, description="Raised above this.")

    @model_validator(mode="after")
    def _rise(self) -> LimitsRule:
        given = {k: getattr(self, k) for k in ("low_low", "low", "high", "high_high")}
        named = [(k, v) for k, v in given.items() if v is not None]
        if not named:
            raise ValueError("no limit is given; expected low_low, low, high or high_high")
        for (below, less), (above, more) in pairwise(named):
            if not less < more:
                raise ValueError(f"{below}: {less:g} is not less than {above}: {more:g}")
        lows = [v for k, v in named if k.startswith("low")]
        highs = [v for k, v in named if k.startswith("high")]
        if lows and highs and max(lows) + self.hysteresis >= min(highs) - self.hysteresis:
            raise ValueError(
                f"hysteresis: {self.hysteresis:g} is too wide; between "
                f"{max(lows):g} and {min(highs):g} no value would be normal"
            )
        return self


class RateRule(_TagRule):
    """``kind: rate``, how fast a value changes: the slope of a straight line through a window."""

    kind: Literal["rate"] = Field(description="What is judged.")
    rising: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = Field(
        None, description="Raised where it rises faster than this."
    )
    falling: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = Field(
        None, description="Raised where it falls faster than this (a positive number)."
    )
    per: Literal["s", "min", "h"] = Field("min", description="Time that rates are told in.")
    window_s: Annotated[float, Field(gt=0, le=86_400)] = Field(
        60.0, description="Length of the window, in seconds."
    )
    hysteresis: NotNegative = Field(
        0.0, description="The rate has to come back by so much before the alarm returns."
    )

    @model_validator(mode="after")
    def _some(self) -> RateRule:
        if self.rising is None and self.falling is None:
            raise ValueError("no rate is given; expected rising or falling")
        return self


class DeviationRule(_NumberRule):
    """``kind: deviation``, how far a value is from its baseline, given or learned."""

    kind: Literal["deviation"] = Field(description="What is judged.")
    baseline: Finite | None = Field(
        None, description="The value of the sound machine, in its unit."
    )
    learn: LearnConfig | None = Field(None, description="Learn the baseline; in place of it.")
    above: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = Field(
        None, description="Raised more than this above the baseline, in the tag's unit."
    )
    above_percent: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = Field(
        None, description="Raised more than this above the baseline, in percent of it."
    )
    below: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = Field(
        None, description="Raised more than this below the baseline, in the tag's unit."
    )
    below_percent: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = Field(
        None, description="Raised more than this below the baseline, in percent of it."
    )
    zones: str | ZonesConfig | None = Field(
        None,
        description="Raised above baseline + 0.25 (B/C), at most 1.25 (B/C), of these zones: a "
        "name, or boundaries of your own. For velocities in mm/s RMS.",
    )

    @model_validator(mode="after")
    def _complete(self) -> DeviationRule:
        if (self.baseline is None) == (self.learn is None):
            raise ValueError("expected either baseline or learn")
        upper = [k for k in ("above", "above_percent", "zones") if getattr(self, k) is not None]
        lower = [k for k in ("below", "below_percent") if getattr(self, k) is not None]
        if len(upper) > 1 or len(lower) > 1:
            raise ValueError(
                f"{' and '.join(upper if len(upper) > 1 else lower)} exclude each other"
            )
        if not upper and not lower:
            raise ValueError("no distance is given; expected above, above_percent, below or zones")
        return self


class ZoneRule(_NumberRule):
    """``kind: zone``, in which zone a vibration is: an alarm RULE.C, and one RULE.D."""

    kind: Literal["zone"] = Field(description="What is judged.")
    zones: str | ZonesConfig = Field(
        description="Zone table by name, e.g. iso_20816_3_group_2_rigid, or boundaries of your own."
    )
    at: Annotated[list[Literal["C", "D"]], Field(min_length=1)] = Field(
        ["C", "D"], description="Zones that raise an alarm."
    )


class StaleRule(_TagRule):
    """``kind: stale``, no value has come for too long: no row, or only BAD ones."""

    kind: Literal["stale"] = Field(description="What is judged.")
    after_s: Annotated[float, Field(gt=0, le=31_536_000)] = Field(
        description="Raised so long after the last value, in seconds."
    )


class BadRule(_TagRule):
    """``kind: bad``, the value is BAD: the machine did not return it."""

    kind: Literal["bad"] = Field(description="What is judged.")
    uncertain: bool = Field(False, description="true: UNCERTAIN values count, too.")


class ExpressionRule(RuleConfig):
    """``kind: expression``, a condition on several tags."""

    kind: Literal["expression"] = Field(description="What is judged.")
    when: Annotated[str, Field(min_length=1)] = Field(
        description="Raised while this holds, e.g. press_1.process.running and not fan_on."
    )
    inputs: dict[str, str] = Field(
        default_factory=dict, description="Short name -> tag, for use in the expression."
    )
    device: str | None = Field(
        None, description="Device that the alarm is of; left out: that of the first tag."
    )


class BearingRule(RuleConfig):
    """``kind: bearing``, a line of a rolling bearing stands out, with its harmonics."""

    kind: Literal["bearing"] = Field(description="What is judged.")
    channel: str = Field(
        description="device.table.channel of a stream; in its device map table.channel."
    )
    line: LineName = Field(
        description="ftf (cage), bpfo (outer race), bpfi (inner race), bsf2 or bsf (ball)."
    )
    ratio: Annotated[float, Field(gt=1, allow_inf_nan=False)] | None = Field(
        None, description="Raised where the line stands out of its neighbourhood by more than this."
    )
    amplitude: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = Field(
        None, description="Raised where its amplitude in the envelope is more than this."
    )
    harmonics: Annotated[int, Field(ge=2, le=6)] = Field(
        2, description="Only where at least so many harmonics stand out, the first counted."
    )
    hysteresis: NotNegative = Field(
        0.0, description="Ratio or amplitude have to come back by so much before it returns."
    )
    keys_of_names: ClassVar[tuple[str, ...]] = ("channel",)

    @model_validator(mode="after")
    def _one(self) -> BearingRule:
        if (self.ratio is None) == (self.amplitude is None):
            raise ValueError("expected either ratio or amplitude")
        return self


AnyRule: TypeAlias = Annotated[
    LimitsRule
    | RateRule
    | DeviationRule
    | ZoneRule
    | StaleRule
    | BadRule
    | ExpressionRule
    | BearingRule,
    Field(discriminator="kind"),
]

RULES: dict[str, type[RuleConfig]] = {
    "limits": LimitsRule,
    "rate": RateRule,
    "deviation": DeviationRule,
    "zone": ZoneRule,
    "stale": StaleRule,
    "bad": BadRule,
    "expression": ExpressionRule,
    "bearing": BearingRule,
}
"""Kind -> its settings."""


class FloodConfig(Settings):
    """``flood:``, when there are more alarms than a person can follow."""

    alarms: Annotated[int, Field(ge=2, le=100_000)] = Field(
        10, description="More new alarms than this in the window are a flood."
    )
    window_s: Annotated[float, Field(gt=0, le=86_400)] = Field(
        600.0, description="Length of the window, in seconds."
    )
    ends_below: Annotated[int, Field(ge=1, le=100_000)] = Field(
        5, description="The flood ends when there are fewer in the window."
    )
    push: SeverityName = Field(
        "high", description="Least severity that notifiers are told of while it lasts."
    )

    @model_validator(mode="after")
    def _ends(self) -> FloodConfig:
        if self.ends_below > self.alarms:
            raise ValueError(f"ends_below: {self.ends_below} is more than alarms: {self.alarms}")
        return self


class HistoryConfig(Settings):
    """``history:``, how long the alarm database keeps transitions."""

    days: Annotated[float, Field(gt=0, le=36_500)] = Field(
        400.0, description="Older transitions are deleted."
    )
    max_rows: Annotated[int, Field(ge=1000, le=100_000_000)] = Field(
        200_000, description="Most transitions; the oldest go first."
    )


class CapturesConfig(Settings):
    """``captures:``, bounds of the raw windows that alarms store."""

    max_bytes: ByteSize = Field(
        ByteSize(1_000_000_000), description="Most bytes on disk, e.g. 1GB; the oldest go first."
    )
    max_files: Annotated[int, Field(ge=1, le=100_000)] = Field(
        500, description="Most files; the oldest go first."
    )


class AlarmsConfig(Settings):
    """``alarms:`` of the gateway's file."""

    rules: dict[str, AnyRule] = Field(
        default_factory=dict, description="Rules by name; device maps may have more."
    )
    flood: FloodConfig = Field(
        default_factory=lambda: FloodConfig.model_validate({}),
        description="When there are more alarms than a person can follow.",
    )
    history: HistoryConfig = Field(
        default_factory=lambda: HistoryConfig.model_validate({}),
        description="How long transitions are kept.",
    )
    captures: CapturesConfig = Field(
        default_factory=lambda: CapturesConfig.model_validate({}),
        description="Bounds of stored raw windows.",
    )
