"""The picture of a recording shows what there is."""

from __future__ import annotations

import numpy as np

from gateway.commands.plot import MOST_POINTS, _outlined


def test_a_long_record_is_thinned_without_losing_an_impact() -> None:
    samples = np.zeros(50 * MOST_POINTS + 7)
    impacts = {11: 3.0, 40 * MOST_POINTS: -2.0, len(samples) - 1: 5.0}
    for at, height in impacts.items():
        samples[at] = height
    time_s, outline = _outlined(samples, 1000.0)
    assert len(time_s) == len(outline) <= 2 * MOST_POINTS
    for at, height in impacts.items():
        (where,) = np.flatnonzero(outline == height)
        assert abs(time_s[where] - at / 1000.0) < 0.11, "less than a pixel away"


def test_a_short_record_is_drawn_as_it_is() -> None:
    samples = np.arange(100.0)
    time_s, outline = _outlined(samples, 10.0)
    assert np.array_equal(outline, samples)
    assert np.array_equal(time_s, samples / 10.0)
