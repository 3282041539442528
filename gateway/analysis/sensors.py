"""Whether the samples of a window can be believed: clipped, open or shorted sensors, DC steps."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from gateway.features.moments import Central
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
    """Judges the windows of some channels."""

    def __init__(self, channels: Sequence[Channel]) -> None:
        scale = [np.inf if c.full_scale is None else c.full_scale for c in channels]
        self._scale = np.array(scale)
        self._floor = np.array([_floor(c) for c in channels])

    def judge(self, window: Central, means: Array) -> list[Mark | None]:
        """The mark of each channel; None where nothing is wrong.

        ``means[channel, hop]`` are those of the window's hops.
        """
        marks: list[Mark | None] = [None] * len(self._scale)
        rms = np.sqrt(window.m2)
        moved = means.max(axis=1) - means.min(axis=1)
        peak = np.maximum(np.abs(window.low), np.abs(window.high))
        for found, mark in (
            # a slow vibration moves the mean of a hop too, but not by more than it swings
            ((moved >= STEP_FROM * self._scale) & (moved >= 1.5 * rms), SHIFTED),
            (peak >= CLIPPED_FROM * self._scale, CLIPPED),
            (rms <= self._floor, SHORTED),
            (np.abs(window.mean) >= OPEN_FROM * self._scale, OPEN),
            (~np.isfinite(rms), INVALID),
        ):
            if found.any():
                for index in np.flatnonzero(found).tolist():
                    marks[index] = mark
        return marks


def _floor(channel: Channel) -> float:
    if channel.noise_floor is not None:
        return channel.noise_floor
    return 0.0 if channel.full_scale is None else SHORT_BELOW * channel.full_scale
