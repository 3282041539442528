"""What is computed of one channel."""

from __future__ import annotations

import math
from dataclasses import dataclass

from gateway.features.bearings import Geometry

STANDARD_GRAVITY = 9.80665
"""m/s2 in one g (CGPM 1901)."""

ACCELERATIONS = {"g": STANDARD_GRAVITY, "m/s2": 1.0, "m/s^2": 1.0, "m/s²": 1.0}
"""Unit of an acceleration -> how many m/s2 it is."""

ENVELOPE_FROM_HZ = 500.0
"""Lower end of the envelope's band unless given: above the shaft's orders of most machines."""

THRESHOLD = 8.0
"""Ratio of a line to its neighbourhood from which it counts as found.

In windows of 1 s of sound machines (Case Western 97, IMS test 2, MFS Normal) no line has two
harmonics in a row above 6.6, and every recorded race fault has two above 14 at the bearing itself.
"""

ENVELOPE_EDGE_HZ = 200.0
"""Width of the edges of the envelope's band; they lie outside of it, but below half the rate."""

_FEWEST_BINS = 32


@dataclass(frozen=True, slots=True)
class Spec:
    """What is computed of one channel; channels with equal specs share one Engine.

    ValueError says in words what can not be computed so.
    """

    rate_hz: float
    samples: int
    """N of the window; even."""
    hop: int
    """Samples from one window to the next, N is a multiple of it; N for a whole record."""
    unit: str
    """Of the samples; ``g`` and ``m/s2`` are accelerations."""
    velocity_band_hz: tuple[float, float] = (10.0, 1000.0)
    bands_hz: tuple[tuple[str, float, float], ...] = ()
    """Name, lower and upper end of each band whose energy is wanted."""
    envelope_band_hz: tuple[float, float] | None = None
    """None: all above 500 Hz."""
    has_speed: bool = False
    """Whether there is a shaft speed: orders, and with a bearing its lines, are columns."""
    bearing: Geometry | None = None
    slip: float = 0.02
    """How far a line may lie from the calculated one, as part of it."""
    harmonics: int = 3
    threshold: float = THRESHOLD
    """Ratio of a line to its neighbourhood from which it counts as found."""

    def __post_init__(self) -> None:
        if not 0.0 < self.rate_hz < math.inf:
            raise ValueError(f"rate_hz {self.rate_hz:g}; expected more than 0")
        if self.samples < 2 * _FEWEST_BINS or self.samples % 2:
            raise ValueError(
                f"a window of {self.samples} samples; expected an even number from "
                f"{2 * _FEWEST_BINS}"
            )
        if self.hop < 1 or self.samples % self.hop:
            raise ValueError(
                f"a hop of {self.hop} samples; expected a divisor of the window's {self.samples}"
            )
        if self.is_acceleration:
            self._check("velocity_band_hz", *self.velocity_band_hz, 1)
        for name, low, high in self.bands_hz:
            self._check(f"band {name}", low, high, 1)
        if self.envelope_band_hz is not None:
            self._check("envelope_band_hz", *self.envelope_band_hz, _FEWEST_BINS)
            low, high = self._below_edge(*self.envelope_band_hz)
            if (high - low) / self.line_hz < _FEWEST_BINS:
                raise ValueError(
                    f"envelope_band_hz {low:g} to {self.envelope_band_hz[1]:g} Hz; expected at "
                    f"least {_FEWEST_BINS} lines of it below {high:g} Hz, where the filter's edge "
                    "up to half the rate begins"
                )
        if not 0.0 <= self.slip <= 0.1:
            raise ValueError(f"slip {self.slip:g}; expected 0 to 0.1")
        if not 1 <= self.harmonics <= 10:
            raise ValueError(f"harmonics {self.harmonics}; expected 1 to 10")
        if self.threshold <= 1.0:
            raise ValueError(f"threshold {self.threshold:g}; expected more than 1")

    @property
    def line_hz(self) -> float:
        """Distance of two lines of the spectrum: one over the window's length."""
        return self.rate_hz / self.samples

    @property
    def hops(self) -> int:
        """Hops in a window."""
        return self.samples // self.hop

    @property
    def is_acceleration(self) -> bool:
        """Whether the samples can be integrated to a velocity."""
        return self.unit in ACCELERATIONS

    @property
    def envelope_hz(self) -> tuple[float, float] | None:
        """The envelope's band; None where the rate leaves none above 500 Hz."""
        if self.envelope_band_hz is not None:
            return self._below_edge(*self.envelope_band_hz)
        low, high = self._below_edge(ENVELOPE_FROM_HZ, self.rate_hz / 2)
        return (low, high) if (high - low) / self.line_hz >= _FEWEST_BINS else None

    @property
    def envelope_edge_hz(self) -> float:
        """Width of the edges of the envelope's band."""
        low = ENVELOPE_FROM_HZ if self.envelope_band_hz is None else self.envelope_band_hz[0]
        return min(ENVELOPE_EDGE_HZ, 0.4 * low)

    def bins(self, low_hz: float, high_hz: float) -> slice:
        """The lines of the spectrum from ``low_hz`` to ``high_hz``, both ends included."""
        first = math.ceil(low_hz / self.line_hz * (1 - 1e-9))
        last = math.floor(high_hz / self.line_hz * (1 + 1e-9))
        return slice(first, min(last, self.samples // 2) + 1)

    def _below_edge(self, low_hz: float, high_hz: float) -> tuple[float, float]:
        return low_hz, min(high_hz, self.rate_hz / 2 - self.envelope_edge_hz)

    def _check(self, what: str, low: float, high: float, fewest: int) -> None:
        top = self.rate_hz / 2
        if not 0.0 < low < high:
            raise ValueError(f"{what} {low:g} to {high:g} Hz; expected 0 < lower < upper")
        if high > top * (1 + 1e-9):
            raise ValueError(
                f"{what} {low:g} to {high:g} Hz; expected at most half the rate, {top:g} Hz"
            )
        lines = self.bins(low, high)
        if lines.start < 1 or lines.stop - lines.start < fewest:
            raise ValueError(
                f"{what} {low:g} to {high:g} Hz is too narrow or too low for lines "
                f"{self.line_hz:g} Hz apart; expected at least {fewest} of them: a longer window"
            )


def fast_length(rate_hz: float, window_s: float, hop_s: float) -> tuple[int, int]:
    """(N, H): samples of window and hop near the wanted times whose FFT is fast.

    N = k H is even and has only the factors 2, 3 and 5; k is ``window_s / hop_s`` rounded to the
    nearest such number. ValueError where a time is not more than 0.
    """
    if not (rate_hz > 0 and hop_s > 0 and window_s > 0):
        raise ValueError("rate, window and hop; expected more than 0")
    k = _nearest_smooth(window_s / hop_s, 1)
    wanted = min(hop_s, window_s) * rate_hz
    hop = _nearest_smooth(wanted, 1 if k % 2 == 0 else 2)
    return k * hop, hop


def next_smooth(wanted: float) -> int:
    """The smallest number from ``wanted`` on with no factor above 5: the FFT is fastest there."""
    number = max(1, math.ceil(wanted))
    while not _is_smooth(number):
        number += 1
    return number


def _nearest_smooth(wanted: float, multiple_of: int) -> int:
    """The nearest multiple with no factor above 5 (the larger of two as near)."""
    above = multiple_of * next_smooth(wanted / multiple_of)
    below = max(1, math.floor(wanted / multiple_of))
    while not _is_smooth(below):
        below -= 1
    below *= multiple_of
    return below if wanted - below < above - wanted else above


def _is_smooth(number: int) -> bool:
    for factor in (2, 3, 5):
        while number % factor == 0:
            number //= factor
    return number == 1
