"""``deviation``: the distance of a value from that of the sound machine, given or learned."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from gateway.alarms.conditions import MOST_OF_ZONE, OF_ZONE, Verdict, View, beyond, numeric
from gateway.analysis.livetags import LiveTag


@dataclass(slots=True)
class Learned:
    """A baseline in the making, or made: running mean and spread (Welford 1962)."""

    print: str
    """Of what it is the baseline: tag, states, how it is learned."""
    count: int = 0
    mean: float = 0.0
    squares: float = 0.0
    """Sum of squared distances from the mean."""
    first_ns: int = 0
    last_ns: int = 0
    done: bool = False
    saved: int = 0
    """Rows that are on disk."""

    @property
    def deviation(self) -> float:
        """Standard deviation of the rows that were learned of."""
        return math.sqrt(self.squares / (self.count - 1)) if self.count > 1 else 0.0

    def add(self, value: float, time_ns: int, rows: int, least_s: float) -> None:
        """Learn of one more row."""
        self.count += 1
        step = value - self.mean
        self.mean += step / self.count
        self.squares += step * (value - self.mean)
        self.first_ns = self.first_ns or time_ns
        self.last_ns = max(self.last_ns, time_ns)
        lasted_s = (self.last_ns - self.first_ns) * 1e-9
        self.done = self.count >= rows and lasted_s >= least_s


@dataclass(slots=True, frozen=True)
class Deviation:
    """A tag against its baseline."""

    tag: LiveTag
    baseline: float | None
    """None: it is learned."""
    rows: int = 0
    least_s: float = 0.0
    print: str = ""
    above: float | None = None
    above_percent: float | None = None
    below: float | None = None
    below_percent: float | None = None
    boundary: float | None = None
    """B/C of the zones that say how far above is too far."""
    hysteresis: float = 0.0
    word: str = "deviation"

    @property
    def tags(self) -> tuple[LiveTag, ...]:
        """The tag."""
        return (self.tag,)

    def begin(self) -> Learned:
        """Nothing is learned yet."""
        if self.baseline is None:
            return Learned(self.print)
        return Learned(self.print, mean=self.baseline, done=True)

    def look_at_s(self, memory: Any) -> float | None:
        """It waits for nothing."""
        return None

    def upper(self, baseline: float) -> float | None:
        """The upper limit at this baseline; None where there is none."""
        if self.boundary is not None:
            return min(baseline + OF_ZONE * self.boundary, MOST_OF_ZONE * self.boundary)
        if self.above_percent is not None:
            return baseline + abs(baseline) * self.above_percent / 100
        return None if self.above is None else baseline + self.above

    def lower(self, baseline: float) -> float | None:
        """The lower limit at this baseline; None where there is none."""
        if self.below_percent is not None:
            return baseline - abs(baseline) * self.below_percent / 100
        return None if self.below is None else baseline - self.below

    def judge(self, view: View, memory: Learned, *, active: bool) -> Verdict:
        """Too far, or not; while it is learned that is not known."""
        reading = view.read(self.tag)
        value = numeric(reading)
        if value is None:
            return Verdict(None, None, None, reading.reason)
        if not memory.done:
            if view.fresh and not reading.reason:
                memory.add(value, view.time_ns, self.rows, self.least_s)
            return Verdict(None, value, None, "learning")
        sides = [
            (limit, upper)
            for limit, upper in ((self.upper(memory.mean), True), (self.lower(memory.mean), False))
            if limit is not None
        ]
        for limit, upper in sides:
            if beyond(value, limit, self.hysteresis, upper=upper, active=active):
                return Verdict(True, value, limit, reading.reason)
        nearest = min(sides, key=lambda side: abs(side[0] - value))[0]
        return Verdict(False, value, nearest, reading.reason)
