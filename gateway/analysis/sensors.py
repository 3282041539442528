"""Whether the samples of a window can be believed: clipped, open or shorted sensors, DC steps."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from gateway.model import Array, Channel, Mark, Quality, bad

CLIPPED_FROM = 0.999
"""A sample is clipped from this part of the full scale on."""

OPEN_FROM = 0.9
"""The bias of an open IEPE input lies at its rail: this part of the full scale, or beyond."""

SHORT_BELOW = 2e-6
"""RMS of a shorted input, as part of the full scale: about 16 steps of a 24-bit converter."""

STEP_FROM = 0.02
"""A bias that moves by this part of the full scale within a window is settling, or a fault."""

CLIPPED = Mark(Quality.UNCERTAIN, "clipped")
SHIFTED = Mark(Quality.UNCERTAIN, "dc_shift")
OPEN = bad("sensor_open")
SHORTED = bad("sensor_short")
INVALID = bad("not_finite")


class Sensors:
    """Judges a window of some channels by its hops: least and largest sample, mean, and RMS."""

    def __init__(self, channels: Sequence[Channel], hops: int) -> None:
        scale = [np.inf if c.full_scale is None else c.full_scale for c in channels]
        self._scale = np.array(scale)
        self._floor = np.array([_floor(c) for c in channels])
        self._means: Array = np.full((hops, len(channels)), np.nan)
        self._at = 0

    def reset(self) -> None:
        """Samples are missing."""
        self._means[:] = np.nan

    def push(self, block: Array) -> None:
        """Note the newest hop, ``block[channel, sample]``."""
        self._means[self._at] = block.mean(axis=1, dtype=np.float64)
        self._at = (self._at + 1) % len(self._means)

    def judge(self, peak: Array, mean: Array, rms: Array) -> list[Mark | None]:
        """The mark of each channel; None where nothing is wrong.

        ``peak``: largest magnitude about zero; ``mean`` and ``rms`` (about the mean) of the window.
        """
        marks: list[Mark | None] = [None] * len(self._scale)
        clipped = peak >= CLIPPED_FROM * self._scale
        is_open = np.abs(mean) >= OPEN_FROM * self._scale
        shorted = rms <= self._floor
        known = self._means[~np.isnan(self._means).any(axis=1)]
        shifted = np.zeros(len(self._scale), "b1")
        if len(known) > 1:
            moved = known.max(axis=0) - known.min(axis=0)
            # a slow vibration moves the mean of a hop too, but not by more than it swings
            shifted = (moved >= STEP_FROM * self._scale) & (moved >= 1.5 * rms)
        invalid = ~np.isfinite(rms)
        for found, mark in (
            (shifted, SHIFTED),
            (clipped, CLIPPED),
            (shorted, SHORTED),
            (is_open, OPEN),
            (invalid, INVALID),
        ):
            if found.any():
                for index in np.flatnonzero(found).tolist():
                    marks[index] = mark
        return marks


def _floor(channel: Channel) -> float:
    if channel.noise_floor is not None:
        return channel.noise_floor
    return 0.0 if channel.full_scale is None else SHORT_BELOW * channel.full_scale
