"""Time stamps of samples: counted on the sample clock, disciplined to the wall clock.

The wall clock tells when a block was there, late by anything from 0.1 ms to 100 ms; the sample
clock is even, but off by up to 100 ppm. So time runs on the sample clock, and its rate follows the
earliest arrivals: a second-order loop, as in NTP's clock discipline (RFC 5905, section 11.3).

Whether the wall clock stepped is asked of the monotonic clock, which does not: samples that were
read seconds late, because the computer was busy, have their own time all the same.
"""

from __future__ import annotations

from typing import NamedTuple

STEP_NS = 1_000_000_000
"""A step of the wall clock from here on is followed at once, with a gap; a smaller one slowly."""

INTERVAL_NS = 4_000_000_000
"""The earliest arrival of each interval counts, and the rate is set anew after it."""

MAX_SLEW = 500e-6
"""Most that time may run faster or slower than the sample clock (as adjtime(3) does)."""

GAIN, RATE_GAIN = 0.5, 0.06
"""Part of an offset that is made up in the next interval; part of it that is laid to the rate."""


class Stamp(NamedTuple):
    """Time of a block's first sample, and the step of the wall clock that was found at it."""

    t0_ns: int
    step_ns: int | None = None


class SampleClock:
    """Gives each block the time of its first sample, without steps where the wall clock has none.

    A step of the wall clock of a second or more moves the count, at the edge of a block. The last
    sample of a block was taken when the block was there.
    """

    def __init__(self) -> None:
        self.drift = 0.0
        """How much faster the wall clock runs than the sample clock says, e.g. 1e-4."""
        self._slope = 0.0
        self._anchor_ns: int | None = None
        self._anchor_sample = 0
        self._earliest: int | None = None
        self._begun_ns = self._interval_end_ns = 0
        self._wall_ns = 0
        """Wall clock less monotonic clock: constant but for steps."""
        self.end_ns: int | None = None
        """Time of the sample after the last block; None before the first."""

    def restart(self) -> None:
        """Samples are missing: the next block is timed by its arrival. The drift is kept."""
        self._anchor_ns = None

    def stamp(
        self, first: int, samples: int, rate_hz: float, arrival_ns: int, elapsed_ns: int
    ) -> Stamp:
        """Time of sample ``first`` of a block that was there at ``arrival_ns`` (wall clock).

        ``elapsed_ns`` is the monotonic clock at the same moment.
        """
        period_ns = 1e9 / rate_hz
        wall_ns, before_ns = arrival_ns - elapsed_ns, self._wall_ns
        self._wall_ns = wall_ns
        if self._anchor_ns is None:
            return Stamp(self._anchor(first, samples, period_ns, arrival_ns))
        step_ns = wall_ns - before_ns
        if abs(step_ns) >= STEP_NS:
            self._set(first, self._time(first, period_ns) + step_ns)
        else:
            step_ns = 0
        late_ns = arrival_ns - self._time(first + samples - 1, period_ns)
        if late_ns <= -STEP_NS:  # nothing comes before its time: the count began too late
            return Stamp(self._anchor(first, samples, period_ns, arrival_ns), step_ns + late_ns)
        t0_ns = self._time(first, period_ns)
        self.end_ns = end_ns = self._time(first + samples, period_ns)
        if self._earliest is None or late_ns < self._earliest:
            self._earliest = late_ns
        if end_ns >= self._interval_end_ns:
            self._steer(first + samples, end_ns)
        return Stamp(t0_ns, step_ns or None)

    def _anchor(self, first: int, samples: int, period_ns: float, arrival_ns: int) -> int:
        period_ns *= 1 + self.drift
        t0_ns = arrival_ns - round((samples - 1) * period_ns)
        if self.end_ns is not None and 0 <= self.end_ns - t0_ns < STEP_NS:
            t0_ns = self.end_ns  # no sample comes before one that was there already
        self._set(first, t0_ns)
        self._slope = self.drift
        self.end_ns = t0_ns + round(samples * period_ns)
        return t0_ns

    def _set(self, sample: int, time_ns: int) -> None:
        self._anchor_sample, self._anchor_ns = sample, time_ns
        self._earliest = None
        self._begun_ns, self._interval_end_ns = time_ns, time_ns + INTERVAL_NS

    def _time(self, sample: int, period_ns: float) -> int:
        if self._anchor_ns is None:
            raise ValueError("no block was timed yet")
        passed = (sample - self._anchor_sample) * period_ns * (1 + self._slope)
        return self._anchor_ns + round(passed)

    def _steer(self, sample: int, end_ns: int) -> None:
        """Set the rate for the next interval by the earliest arrival of the last."""
        # an interval is as long as a block where that is longer
        offset = (self._earliest or 0) / max(INTERVAL_NS, end_ns - self._begun_ns)
        wanted = self.drift + (GAIN + RATE_GAIN) * offset
        self._slope = _bounded(wanted)
        if (
            self._slope == wanted
        ):  # else an offset that is still being made up would look like drift
            self.drift += RATE_GAIN * offset
        self._set(sample, end_ns)


def _bounded(slew: float) -> float:
    return min(MAX_SLEW, max(-MAX_SLEW, slew))
