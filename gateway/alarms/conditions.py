"""What is judged: each kind of rule as a condition on the newest values of some tags.

A condition is fixed and can be pickled; what it has to remember from row to row lies in the memory
that `begin` gives. A value that is not known (BAD, missing, too old) decides nothing: the verdict
is None, and the alarm stays as it is.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields, is_dataclass, replace
from typing import Any, NamedTuple, Protocol, TypeVar

from gateway.alarms.slope import Slope
from gateway.analysis.livetags import LiveTag, Reading
from gateway.expr import Expression
from gateway.model import Scalar, Table

C = TypeVar("C")

OF_ZONE = 0.25
"""How far above its baseline a vibration is alarmed, as part of the boundary B/C (ISO 10816-3:2009,
5.4.1, which ISO 20816 goes on with; read in a secondary source)."""
MOST_OF_ZONE = 1.25
"""But at most at this part of the boundary B/C (the same)."""


class Verdict(NamedTuple):
    """Whether the condition holds; None: that is not known, and ``why`` says why."""

    holds: bool | None
    value: float | None = None
    limit: float | None = None
    why: str = ""
    """Of a verdict: why a value that counted is UNCERTAIN, if one is."""


class View(Protocol):
    """What a condition may see at a time."""

    now_s: float
    """Monotonic clock, seconds."""
    fresh: bool
    """Whether a row of the condition's own table just came; else something around it changed."""
    time_ns: int
    """Time of the row that came, UTC."""

    def read(self, tag: LiveTag) -> Reading:
        """The newest value, unless it is BAD or came too long ago."""


class Condition(Protocol):
    """One kind of rule."""

    @property
    def word(self) -> str:
        """What is looked at, in a word or two: ``high``, ``zone D``..."""

    @property
    def tags(self) -> tuple[LiveTag, ...]:
        """What it reads; the first is the one that the alarm is about."""

    def begin(self) -> Any:
        """A memory without memories; None where it needs none."""

    def judge(self, view: View, memory: Any, *, active: bool) -> Verdict:
        """The verdict now; ``active``: whether the alarm is raised, so that hysteresis counts."""

    def look_at_s(self, memory: Any) -> float | None:
        """When to judge again although no row came, on the monotonic clock; None: never."""


class Plain:
    """A condition without memory or clock."""

    __slots__ = ()

    def begin(self) -> Any:
        """It has no memory."""
        return None

    def look_at_s(self, memory: Any) -> float | None:
        """It waits for nothing."""
        return None


def beyond(value: float, limit: float, hysteresis: float, *, upper: bool, active: bool) -> bool:
    """Whether the value is beyond the limit; an active alarm holds on to its hysteresis."""
    if upper:
        return value > (limit - hysteresis if active else limit)
    return value < (limit + hysteresis if active else limit)


def numeric(reading: Reading) -> float | None:
    """The value as a number; None where there is none."""
    value = reading.value
    return None if value is None or isinstance(value, str) else float(value)


@dataclass(slots=True, frozen=True)
class Limit(Plain):
    """``limits`` and ``zone``: one limit of one tag."""

    tag: LiveTag
    word: str
    limit: float
    upper: bool
    hysteresis: float = 0.0

    @property
    def tags(self) -> tuple[LiveTag, ...]:
        """The tag."""
        return (self.tag,)

    def judge(self, view: View, memory: Any, *, active: bool) -> Verdict:
        """Beyond the limit, or not."""
        reading = view.read(self.tag)
        value = numeric(reading)
        if value is None:
            return Verdict(None, None, self.limit, reading.reason)
        holds = beyond(value, self.limit, self.hysteresis, upper=self.upper, active=active)
        return Verdict(holds, value, self.limit, reading.reason)


@dataclass(slots=True, frozen=True)
class Rate:
    """``rate``: the slope of a tag."""

    tag: LiveTag
    rising: float | None
    """Per second."""
    falling: float | None
    per_s: float
    """Seconds of the unit of time in which the rate is told."""
    window_s: float
    hysteresis: float = 0.0
    word: str = "rate"

    @property
    def tags(self) -> tuple[LiveTag, ...]:
        """The tag."""
        return (self.tag,)

    def begin(self) -> Slope:
        """An empty window."""
        return Slope(self.window_s)

    def look_at_s(self, memory: Slope) -> float | None:
        """It waits for nothing."""
        return None

    def judge(self, view: View, memory: Slope, *, active: bool) -> Verdict:
        """Faster than the limit, or not; value and limit are per ``per_s``."""
        reading = view.read(self.tag)
        value = numeric(reading)
        if value is None:
            memory.clear()  # a line through what was not read would be a guess
            return Verdict(None, None, None, reading.reason)
        if view.fresh:
            memory.add(view.time_ns, value)
        slope = memory.per_s()
        if slope is None:
            return Verdict(None, None, None, "window_not_full")
        rate = slope * self.per_s
        sides = ((self.rising, True), (self.falling, False))
        given = [(side if up else -side, up) for side, up in sides if side is not None]
        for limit, upper in given:
            if beyond(rate, limit, self.hysteresis, upper=upper, active=active):
                return Verdict(True, rate, limit, reading.reason)
        nearest = min(given, key=lambda side: abs(side[0] - rate))[0]
        return Verdict(False, rate, nearest, reading.reason)


@dataclass(slots=True, frozen=True)
class Bad(Plain):
    """``bad``: the tag's quality."""

    tag: LiveTag
    uncertain: bool
    word: str = "bad"

    @property
    def tags(self) -> tuple[LiveTag, ...]:
        """The tag."""
        return (self.tag,)

    def judge(self, view: View, memory: Any, *, active: bool) -> Verdict:
        """BAD, or not. That a value is old, or that there is none yet, is not judged here."""
        reading = view.read(self.tag)
        if reading.value is None:
            # a device that was off until now did not fail: its next row decides
            known = reading.reason not in ("no_data", "stale", "disabled")
            return Verdict(True if known else None, why=reading.reason)
        value = numeric(reading)
        return Verdict(self.uncertain and bool(reading.reason), value, why=reading.reason)


@dataclass(slots=True)
class Seen:
    """When a value came last, on the monotonic clock; None: not since the start."""

    at_s: float | None = None


@dataclass(slots=True, frozen=True)
class Stale:
    """``stale``: for how long no value came."""

    tag: LiveTag
    after_s: float
    word: str = "stale"

    @property
    def tags(self) -> tuple[LiveTag, ...]:
        """The tag."""
        return (self.tag,)

    def begin(self) -> Seen:
        """Nothing was seen yet."""
        return Seen()

    def look_at_s(self, memory: Seen) -> float | None:
        """When it becomes stale if nothing comes."""
        return None if memory.at_s is None else memory.at_s + self.after_s

    def judge(self, view: View, memory: Seen, *, active: bool) -> Verdict:
        """Too long, or not; the value is the silence in seconds."""
        if memory.at_s is None or (view.fresh and view.read(self.tag).value is not None):
            memory.at_s = view.now_s
        silent_s = view.now_s - memory.at_s
        return Verdict(silent_s >= self.after_s, silent_s, self.after_s)


@dataclass(slots=True, frozen=True)
class Expressed(Plain):
    """``expression``: a condition on several tags."""

    expression: Expression
    named: tuple[tuple[str, LiveTag], ...]
    word: str = "expression"

    @property
    def tags(self) -> tuple[LiveTag, ...]:
        """The tags in the order of the text."""
        return tuple(tag for _, tag in self.named)

    def judge(self, view: View, memory: Any, *, active: bool) -> Verdict:
        """True or false; not known where the expression is not."""
        values: dict[str, Scalar] = {}
        doubt = ""
        for name, tag in self.named:
            reading = view.read(tag)
            values[name] = reading.value
            doubt = doubt or reading.reason
        holds = self.expression.evaluate(values)
        if holds is None or isinstance(holds, str):
            return Verdict(None, why=doubt or "unknown")
        return Verdict(bool(holds), why=doubt)


@dataclass(slots=True, frozen=True)
class BearingLine(Plain):
    """``bearing``: a line and its harmonics."""

    level: LiveTag
    """Ratio or amplitude of the line."""
    count: LiveTag
    """Harmonics in a row that stand out."""
    limit: float
    harmonics: int
    word: str
    hysteresis: float = 0.0

    @property
    def tags(self) -> tuple[LiveTag, ...]:
        """Level and count."""
        return (self.level, self.count)

    def judge(self, view: View, memory: Any, *, active: bool) -> Verdict:
        """Whether it stands out, and enough harmonics do."""
        reading, counted = view.read(self.level), view.read(self.count)
        level, count = numeric(reading), numeric(counted)
        if level is None or count is None:
            why = reading.reason if level is None else counted.reason
            return Verdict(None, level, self.limit, why)
        above = beyond(level, self.limit, self.hysteresis, upper=True, active=active)
        doubt = reading.reason or counted.reason
        return Verdict(above and count >= self.harmonics, level, self.limit, doubt)


@dataclass(slots=True, frozen=True)
class Gone(Plain):
    """Stands for the condition of a rule that is not there any more."""

    word: str

    @property
    def tags(self) -> tuple[LiveTag, ...]:
        """None."""
        return ()

    def judge(self, view: View, memory: Any, *, active: bool) -> Verdict:
        """It is never known."""
        return Verdict(None)


def live_tags(part: object) -> Iterator[LiveTag]:
    """All live tags in a condition or a rule, at any depth."""
    if isinstance(part, LiveTag):
        yield part
    elif isinstance(part, tuple):
        for each in part:
            yield from live_tags(each)
    elif is_dataclass(part) and not isinstance(part, type):
        for field in fields(part):
            yield from live_tags(getattr(part, field.name))


def rebound(part: C, tables: dict[tuple[str, str], Table]) -> C:
    """The same, its live tags read from these tables, by (device, key)."""
    return _rebound(part, tables)  # type: ignore[no-any-return]


def _rebound(part: Any, tables: dict[tuple[str, str], Table]) -> Any:
    if isinstance(part, LiveTag):
        table = tables.get((part.table.device, part.table.key), part.table)
        return part if table is part.table else LiveTag(part.text, table, part.column)
    if isinstance(part, tuple):
        made = [_rebound(each, tables) for each in part]
        if all(new is old for new, old in zip(made, part, strict=True)):
            return part
        return tuple(made)
    if is_dataclass(part) and not isinstance(part, type):
        changes = {}
        for field in fields(part):
            old = getattr(part, field.name)
            if (new := _rebound(old, tables)) is not old:
                changes[field.name] = new
        return replace(part, **changes) if changes else part
    return part
