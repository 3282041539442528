"""How the envelope of a hop is reduced in rate: lengths of transforms, responses of filters.

The analytic signal of the band needs fewer points than the signal, and its squared magnitude, of
which only the low end is wanted, fewer still. Both steps are FIR filters whose response is applied
to the lines of a transform of the hop and of some samples on both sides of it (overlap-save;
Oppenheim and Schafer, Discrete-Time Signal Processing, section 8.7): the middle of the result is
that of the endless signal.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import scipy.fft  # type: ignore[import-untyped]

from gateway.features.spec import Spec, next_smooth
from gateway.model import Array

LIMIT_HZ = 1500.0
"""Highest frequency of the envelope's spectrum: three harmonics of an inner race at 3600 rpm."""

_ATTENUATION_DB = 90.0
"""Of both filters beyond their edges; their ripple in the band is then 3e-5."""

_COARSEST = 256


class Reduction(NamedTuple):
    """Lengths in samples, of the stream unless said.

    ``grain`` samples of the stream are ``first`` of the analytic signal and ``second`` of the
    squared envelope.
    """

    low_hz: float
    high_hz: float
    edge_hz: float
    limit_hz: float
    rate_hz: float
    hop: int
    grain: int
    first: int
    second: int
    grains: int
    """Of the segment: the hop and as much on both of its sides."""

    @property
    def length(self) -> int:
        """Of the segment."""
        return self.grains * self.grain

    @property
    def side(self) -> int:
        """What the segment has on each side of the hop."""
        return (self.length - self.hop) // 2

    @property
    def smooth_edge_hz(self) -> float:
        """Width of the edge of the second filter: from the limit to half the last rate."""
        return self.rate_hz * self.second / self.grain / 2 - self.limit_hz

    def reach(self, edge_hz: float) -> int:
        """Half length of a Kaiser-windowed filter with edges of that width (Kaiser 1974)."""
        turn = 4 * math.pi * edge_hz / self.rate_hz
        return math.ceil((_ATTENUATION_DB - 7.95) / (2.285 * turn))

    def middle(self, per_grain: int) -> slice:
        """Where the hop lies in a segment of so many points a grain."""
        start = self.side // self.grain * per_grain
        return slice(start, start + self.hop // self.grain * per_grain)

    def band(self) -> tuple[slice, Array]:
        """Lines of the segment's spectrum that become the analytic signal, and their response."""
        step = self.rate_hz / self.length
        lines = slice(
            math.floor((self.low_hz - self.edge_hz) / step),
            min(math.ceil((self.high_hz + self.edge_hz) / step) + 1, self.length // 2),
        )
        low, high = self.low_hz - self.edge_hz / 2, self.high_hz + self.edge_hz / 2
        response = _band(self.length, self.rate_hz, low, high, self.reach(self.edge_hz))
        # twice the one-sided spectrum is that of the analytic signal; and the length changes
        return lines, response[lines] * (2 * self.first / self.grain)

    def smooth(self) -> Array:
        """Response of the low pass, of the lines of the squared envelope that are kept."""
        cut = self.limit_hz + self.smooth_edge_hz / 2
        reach = math.ceil(self.reach(self.smooth_edge_hz) * self.first / self.grain)
        rate = self.rate_hz * self.first / self.grain
        response = _band(self.grains * self.first, rate, -cut, cut, reach)
        return response[: self.grains * self.second // 2 + 1] * (self.second / self.first)


def reduction(spec: Spec) -> Reduction:
    """The cheapest for a spec; ValueError where it has no envelope."""
    if spec.envelope_hz is None:
        raise ValueError(f"no envelope at {spec.rate_hz:g} Hz")

    def cost(found: Reduction) -> float:
        window = spec.hops * found.hop // found.grain * found.second
        return found.length + found.grains * (3 * found.first + found.second) + window

    return min(_reductions(spec, *spec.envelope_hz), key=cost)


def _reductions(spec: Spec, low_hz: float, high_hz: float) -> Iterator[Reduction]:
    rate, hop = spec.rate_hz, spec.hop
    edge = spec.envelope_edge_hz
    limit = min(LIMIT_HZ, high_hz - low_hz)
    for grain in range(1, _COARSEST + 1):
        if hop % grain:
            continue
        # the band, and as much above it as the squared envelope's spectrum must not fold into
        first = min(next_smooth(grain * (high_hz - low_hz + 2 * edge + limit) / rate), grain)
        for share in (2.4, 2.8, 3.2, 3.6):
            second = min(next_smooth(grain * share * limit / rate), first)
            found = Reduction(low_hz, high_hz, edge, limit, rate, hop, grain, first, second, 0)
            sides = 2 * (found.reach(edge) + found.reach(found.smooth_edge_hz))
            grains = next_smooth((hop + sides) / grain)
            while (grains - hop // grain) % 2:
                grains = next_smooth(grains + 1)
            yield found._replace(grains=grains)


def _band(points: int, rate_hz: float, low_hz: float, high_hz: float, reach: int) -> Array:
    """Real response at ``points`` lines of a zero-phase FIR band filter of 2 reach + 1 taps."""
    n = np.arange(-reach, reach + 1)
    share = (high_hz - low_hz) / rate_hz
    taps = share * np.sinc(share * n) * np.kaiser(len(n), 0.1102 * (_ATTENUATION_DB - 8.7))
    taps = taps * np.exp(1j * np.pi * (low_hz + high_hz) / rate_hz * n)
    placed = np.zeros(points, complex)
    placed[n % points] = taps
    response: Array = scipy.fft.fft(placed).real
    return response
