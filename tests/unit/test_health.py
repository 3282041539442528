"""Steps of the wall clock are found, and slewing is not taken for one."""

from __future__ import annotations

import pytest

from gateway.health import ClockSteps


class Clocks:
    """A wall clock and a monotonic one that the test moves."""

    def __init__(self) -> None:
        self.monotonic = 5 * 10**9
        self.wall = 1_790_000_000 * 10**9

    def run(self, seconds: float, *, slew: float = 0.0) -> None:
        self.monotonic += round(seconds * 1e9)
        self.wall += round(seconds * (1 + slew) * 1e9)


@pytest.mark.parametrize("step_s", [3600.0, -3600.0, 0.5, -1.0])
def test_a_step_is_told_once_with_its_size(step_s: float) -> None:
    clocks = Clocks()
    steps = ClockSteps(lambda: clocks.wall, lambda: clocks.monotonic)
    clocks.run(5)
    assert steps.look() is None
    clocks.run(5)
    clocks.wall += round(step_s * 1e9)
    assert steps.look() == pytest.approx(step_s)
    clocks.run(5)
    assert steps.look() is None


def test_a_clock_that_is_slewed_for_an_hour_has_no_step() -> None:
    clocks = Clocks()
    steps = ClockSteps(lambda: clocks.wall, lambda: clocks.monotonic)
    for _ in range(720):
        clocks.run(5, slew=500e-6)
        assert steps.look() is None
