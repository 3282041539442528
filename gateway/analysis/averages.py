"""Averages of features over time, all channels of a section at once."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from gateway.analysis.plan import Average
from gateway.model import Array


class Averages:
    """Averaged columns of some channels. A value that is NaN is left out, and has no average.

    linear: mean of the last ``over_s``; exponential: first order, time constant ``over_s``;
    peak_hold: maximum of the last ``over_s``. Powers are averaged as squares and given as roots.
    """

    def __init__(
        self, averages: Sequence[Average], names: Sequence[str], channels: int, hop_s: float
    ) -> None:
        self._columns = [names.index(a.feature) for a in averages]
        self._averages = tuple(averages)
        self._power = np.array([a.power for a in averages], "b1")
        self._shape = (channels, len(averages))
        self._lengths = [max(1, round(a.over_s / hop_s)) for a in averages]
        self._hops = np.array([a.over_s / hop_s for a in averages])
        self._exponential = [i for i, a in enumerate(averages) if a.mode == "exponential"]
        self._sliding = [i for i, a in enumerate(averages) if a.mode != "exponential"]
        longest = max((self._lengths[i] for i in self._sliding), default=1)
        self._kept: Array = np.full((longest, channels, len(self._sliding)), np.nan)
        self.reset()

    def reset(self) -> None:
        """Begin anew: after a gap, or in another operating state."""
        self._at = 0
        self._kept[:] = np.nan
        self._smooth: Array = np.full(self._shape, np.nan)
        self._since: Array = np.ones(self._shape)
        """Hops from the last value to the next: what is old counts less."""

    def update(self, values: Array) -> Array:
        """Add the features of one hop, ``values[channel, feature]``; the averages by column."""
        out: Array = np.full(self._shape, np.nan)
        if not self._averages:
            return out
        picked = values[:, self._columns]
        picked = np.where(self._power, picked * picked, picked)
        unknown = np.isnan(picked)
        if self._exponential:
            old, new = self._smooth, picked
            gain = -np.expm1(-self._since / self._hops)
            mixed = np.where(np.isnan(old), new, old + gain * (new - old))
            self._smooth = np.where(unknown, old, mixed)
            self._since = np.where(unknown, self._since + 1, 1)
            out[:, self._exponential] = self._smooth[:, self._exponential]
        if self._sliding:
            self._kept[self._at % len(self._kept)] = picked[:, self._sliding]
            self._at += 1
            for place, column in enumerate(self._sliding):
                recent = self._recent(place, self._lengths[column])
                out[:, column] = _combined(recent, self._averages[column].mode == "peak_hold")
        out[unknown] = np.nan
        return np.where(self._power, np.sqrt(out), out)

    def _recent(self, place: int, length: int) -> Array:
        """The last ``length`` values[hop, channel] of a sliding column, in any order."""
        end = self._at % len(self._kept)
        kept: Array = self._kept[:, :, place]
        if length >= len(kept):
            return kept
        if length <= end:
            return kept[end - length : end]
        return np.concatenate((kept[end - length :], kept[:end]))


def _combined(values: Array, is_peak: bool) -> Array:
    """Maximum or mean over the hops, NaN where there is no value."""
    known = ~np.isnan(values)
    if is_peak:
        highest: Array = np.where(known, values, -np.inf).max(axis=0)
        return np.where(np.isfinite(highest), highest, np.nan)
    counts = known.sum(axis=0)
    sums = np.where(known, values, 0.0).sum(axis=0)
    return np.where(counts > 0, sums / np.maximum(counts, 1), np.nan)
