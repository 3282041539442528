"""The shapes of what the API says of alarms, and of what it is asked to do to them.

`gateway.alarms.model.Alarms` gives documents of these shapes.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from gateway.alarms.model import Severity, State

MAX_SHELVE_S = 30 * 86_400.0
"""Longest that an alarm can be put aside at once: it shall come back by itself."""


class _Shape(BaseModel):
    model_config = ConfigDict(extra="allow", defer_build=True)  # only described


class ActiveAlarm(_Shape):
    """An alarm that is not normal."""

    id: str = Field(description="device/alarm; what acknowledge and shelve take.")
    device: str
    alarm: str = Field(description="Name of the rule, or rule.high where it has several limits.")
    severity: Severity
    state: State
    condition: str = Field(description="What was looked at: high, rate, stale, zone D...")
    message: str
    value: float | None = Field(description="What it was when the state began; null: no number.")
    limit: float | None
    unit: str
    since_ns: int = Field(description="Begin of this state, ns since 1970 UTC.")
    active_since_ns: int | None = Field(description="When its condition came; null: it is gone.")
    first_out: bool = Field(description="The first of its device since all were normal.")
    number: int = Field(description="Of its last transition.")
    shelved_until_ns: int | None
    acknowledged_by: str = Field(description="Empty where nobody has.")
    why: str = Field(description="What that person gave as the reason.")
    latch: bool = Field(description="It stays until a person resets it by acknowledging.")
    capture: str | None = Field(description="Name of the stored raw window around it.")


class StoreStatus(_Shape):
    """The file that keeps alarms over a restart."""

    state: str = Field(description="good, or what is wrong in a word.")
    error: str | None
    waiting: int = Field(description="Transitions that are not on disk yet.")
    dropped: int = Field(description="Transitions that were given up.")


class CapturesStatus(_Shape):
    """Raw windows around alarms."""

    stored: int
    waiting: int
    dropped: int
    error: str | None


class Milliseconds(_Shape):
    """Durations in milliseconds: of the last ones, and the longest since the start."""

    p50: float
    p99: float
    max: float


class AlarmStatus(_Shape):
    """Counts of alarms, and how the engine does."""

    active: dict[str, int] = Field(description="Severity -> active alarms.")
    unacknowledged: int
    shelved: int
    rules: int = Field(0, description="Alarms that there are, by all rules.")
    suppressed: int = Field(0, description="Kept quiet by the state of their machine.")
    flood: bool = Field(False, description="Alarms come faster than a person can read them.")
    rows_missed: int = Field(0, description="Rows that were not judged: the engine was too slow.")
    faulty_rules: int = Field(0, description="Rules that failed in themselves, which is a bug.")
    latency_ms: Milliseconds | None = Field(None, description="From a row to its transition.")
    database: StoreStatus | None = None
    captures: CapturesStatus | None = None


class NotifierStatus(_Shape):
    """One of those who are told of alarms."""

    type: str
    state: Literal["good", "retrying", "refusing"]
    error: str | None
    waiting: int
    sent: int
    failed: int = Field(0, description="Tries to send that failed, since the start.")
    dropped: dict[str, int] = Field(description="Messages that were given up, by cause.")
    last_dropped_s: float | None = Field(None, description="Seconds since the last of these.")
    last_sent_s: float | None = Field(description="Seconds since the last one went out.")
    retry_in_s: float | None


class ActiveAlarms(_Shape):
    """All alarms that are not normal: the most severe first, then the oldest."""

    alarms: list[ActiveAlarm]
    status: AlarmStatus


class AlarmRule(_Shape):
    """An alarm, its rule, and how it stands."""

    id: str
    device: str
    alarm: str
    severity: Severity
    state: State
    condition: str
    text: str = Field(description="The rule in words.")
    tags: list[str] = Field(description="What it looks at, as device.table.tag.")
    value: float | None = Field(description="The newest; null: none, BAD, or no number.")
    limit: float | None = Field(description="As it is now: a learned one moves.")
    unit: str
    on_delay_s: float
    off_delay_s: float
    hysteresis: float
    states: list[str] | None = Field(description="Operating states it holds in; null: all.")
    baseline: float | None
    latch: bool
    not_known: str = Field(
        "", description="Why it cannot be judged now: stale, no_data, timeout...; empty: it can."
    )


class AlarmRules(_Shape):
    """All alarms of the configuration."""

    rules: list[AlarmRule]


class AlarmTransition(_Shape):
    """A change of an alarm's state."""

    number: int = Field(description="Rises with every transition of this gateway.")
    time_ns: int = Field(description="ns since 1970 UTC.")
    id: str
    device: str
    alarm: str
    severity: Severity
    from_state: State
    state: State
    condition: str
    message: str
    value: float | None
    limit: float | None
    unit: str
    who: str = Field(description="Who acknowledged, shelved...; empty where the machine did it.")
    why: str
    first_out: bool


class AlarmHistory(_Shape):
    """Transitions, the newest first."""

    transitions: list[AlarmTransition]


class AlarmCapture(_Shape):
    """A stored raw window around an alarm."""

    name: str = Field(description="What /v1/alarms/capture.npz takes.")
    id: str = Field(description="The alarm's.")
    time_ns: int = Field(description="Of the alarm, ns since 1970 UTC.")
    bytes: int


class AlarmCaptures(_Shape):
    """Stored raw windows, the newest first."""

    captures: list[AlarmCapture]


class Changed(_Shape):
    """What the request did."""

    transition: AlarmTransition


class Sent(_Shape):
    """A test message was delivered."""

    notifier: str
    took_s: float


# -- what is asked ------------------------------------------------------------------------------

Id = Annotated[
    str,
    StringConstraints(min_length=3, max_length=400, pattern=r"^[^/]+/.+$"),
    Field(description="device/alarm, as GET /v1/alarms has it."),
]
Who = Annotated[
    str,
    StringConstraints(strip_whitespace=True, min_length=1, max_length=100),
    Field(
        description="Who does it. Only on the Unix socket: with a token it is the token's holder."
    ),
]
Why = Annotated[
    str,
    StringConstraints(strip_whitespace=True, min_length=1, max_length=500),
    Field(description="The reason, for those who read it later."),
]


class _Asked(BaseModel):
    """A body that is asked with: other keys are refused."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    who: Who | None = None


class Acknowledge(_Asked):
    """Acknowledge an alarm, or reset one that is latched."""

    id: Id
    why: Why


class Shelve(_Asked):
    """Put an alarm aside for a time."""

    id: Id
    why: Why
    for_s: float = Field(
        gt=0, le=MAX_SHELVE_S, allow_inf_nan=False, description="For so long, in seconds."
    )


class Unshelve(_Asked):
    """Bring an alarm back before its time."""

    id: Id
    why: Why


class TestNotifier(_Asked):
    """Send a message through a notifier, to see whether it comes."""

    __test__ = False  # no test of pytest's

    notifier: Annotated[str, StringConstraints(min_length=1, max_length=64)] = Field(
        description="Its name in `notify:`."
    )
