"""Averages of features over time, against direct computation."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.analysis.averages import Averages
from gateway.analysis.plan import Average
from gateway.analysis.settings import Mode

HOP_S = 0.1
NAMES = ("rms", "crest")


def averages(mode: Mode, over_s: float, *, power: bool = False) -> Averages:
    return Averages([Average("crest", mode, over_s, power)], NAMES, 2, HOP_S)


def run(made: Averages, values: list[float]) -> list[float]:
    """The average of the first channel after each value; the second channel has twice of it."""
    out = []
    for value in values:
        given_values = np.array([[-1.0, value], [-1.0, 2 * value]])
        found = made.update(given_values)
        assert found.shape == (2, 1)
        if not math.isnan(found[0, 0]):
            assert found[1, 0] == pytest.approx(2 * found[0, 0])
        out.append(float(found[0, 0]))
    return out


VALUES: Any = st.lists(st.floats(0.01, 1e3), min_size=1, max_size=60)


@given(VALUES)
def test_a_linear_average_is_the_mean_of_the_last_values(values: list[float]) -> None:
    found = run(averages("linear", 1.0), values)
    for at, average in enumerate(found, 1):
        assert average == pytest.approx(np.mean(values[max(0, at - 10) : at]))


@given(VALUES)
def test_powers_are_averaged_as_squares(values: list[float]) -> None:
    found = run(averages("linear", 0.5, power=True), values)
    recent = np.array(values[-5:])
    assert found[-1] == pytest.approx(math.sqrt(np.mean(recent**2)))


@given(VALUES)
def test_peak_hold_is_the_maximum_of_the_last_values(values: list[float]) -> None:
    found = run(averages("peak_hold", 0.7), values)
    for at, held in enumerate(found, 1):
        assert held == max(values[max(0, at - 7) : at])


def test_an_exponential_average_reaches_63_percent_after_its_time_constant() -> None:
    made = averages("exponential", 10.0)
    assert run(made, [1.0]) == [1.0], "it begins with the first value"
    found = run(made, [2.0] * 100)
    assert found[-1] == pytest.approx(2.0 - math.exp(-1.0))
    assert found == sorted(found)


@pytest.mark.parametrize("mode", ["linear", "exponential", "peak_hold"])
def test_what_is_not_known_has_no_average_and_a_reset_forgets_everything(mode: Mode) -> None:
    made = averages(mode, 1.0)
    assert math.isnan(run(made, [math.nan])[0])
    assert run(made, [5.0]) == [5.0]
    assert math.isnan(run(made, [math.nan])[0]), "an old average is no value of now"
    assert run(made, [5.0]) == [5.0], "and what was not known is left out of the next"
    made.reset()
    assert math.isnan(run(made, [math.nan])[0])
    assert run(made, [3.0]) == [3.0]


def test_averages_of_several_lengths_and_kinds_stand_side_by_side() -> None:
    made = Averages(
        [
            Average("rms", "peak_hold", 0.3, True),
            Average("crest", "exponential", 1.0, False),
            Average("crest", "linear", 0.2, False),
        ],
        NAMES,
        1,
        HOP_S,
    )
    found = np.array([made.update(np.array([[v, 10 * v]]))[0] for v in (4.0, 3.0, 2.0, 1.0, 0.5)])
    assert found[:, 0].tolist() == [4.0, 4.0, 4.0, 3.0, 2.0]
    assert found[:, 2].tolist() == [40.0, 35.0, 25.0, 15.0, 7.5]
    assert found[1, 1] == pytest.approx(40 + (1 - math.exp(-0.1)) * -10)
