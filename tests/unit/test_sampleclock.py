"""Time stamps of samples on a virtual wall clock: no drift, no steps but the wall clock's."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from random import Random

import pytest

from gateway.sampleclock import MAX_SLEW, STEP_NS, SampleClock

RATE_HZ = 25_600.0
SAMPLES = 2560
START_NS = 1_790_000_000 * 10**9


def blocks(
    seconds: float, off_ppm: float, seed: int = 1, usual_s: float = 0.0004, late_s: float = 0.03
) -> Iterator[tuple[int, int, int]]:
    """(first sample, true time of it, arrival): a sample clock that runs off_ppm too fast."""
    random = Random(seed)
    true_period_ns = 1e9 / (RATE_HZ * (1 + off_ppm * 1e-6))
    for k in range(int(seconds * RATE_HZ / SAMPLES)):
        first = k * SAMPLES
        end_ns = START_NS + round((first + SAMPLES) * true_period_ns)
        jitter_s = usual_s * (1 + random.random()) + late_s * (random.random() < 0.05)
        yield first, START_NS + round(first * true_period_ns), end_ns + round(jitter_s * 1e9)


@pytest.mark.parametrize("off_ppm", [-100.0, 0.0, 100.0])
def test_a_sample_clock_that_is_off_by_100_ppm_neither_drifts_nor_steps(off_ppm: float) -> None:
    clock = SampleClock()
    times: list[int] = []
    errors_ns: list[int] = []
    for first, true_ns, arrival_ns in blocks(3600, off_ppm):
        stamp = clock.stamp(first, SAMPLES, RATE_HZ, arrival_ns)
        assert stamp.step_ns is None
        times.append(stamp.t0_ns)
        errors_ns.append(stamp.t0_ns - true_ns)
    # an hour of 100 ppm would be 360 ms; what is left is the least delay of an arrival
    settled = errors_ns[1200:]
    assert max(map(abs, settled)) < 2_000_000, (min(settled), max(settled))
    assert clock.drift == pytest.approx(-off_ppm * 1e-6, abs=5e-6)
    nominal_ns = SAMPLES / RATE_HZ * 1e9
    spacing = [b - a for a, b in pairwise(times)]
    assert max(abs(s / nominal_ns - 1) for s in spacing) <= MAX_SLEW + 1e-8
    assert min(spacing) > 0


@pytest.mark.parametrize("step_s", [1.0, 3600.0, -1.5, -86_400.0])
def test_a_step_of_the_wall_clock_begins_a_new_count_once(step_s: float) -> None:
    clock = SampleClock()
    steps = []
    for first, true_ns, arrival_ns in blocks(120, 50):
        moved = round(step_s * 1e9) if first >= 60 * RATE_HZ else 0
        stamp = clock.stamp(first, SAMPLES, RATE_HZ, arrival_ns + moved)
        if stamp.step_ns is not None:
            steps.append(stamp.step_ns)
        assert abs(stamp.t0_ns - true_ns - moved) < 40_000_000
    assert len(steps) == 1
    assert steps[0] == pytest.approx(step_s * 1e9, abs=50e6)


@pytest.mark.parametrize("step_s", [0.2, -0.2, 0.9])
def test_an_offset_under_a_second_is_made_up_slowly(step_s: float) -> None:
    clock = SampleClock()
    before = None
    error_ns = 0
    for first, true_ns, arrival_ns in blocks(3000, 0):
        moved = round(step_s * 1e9) if first >= 60 * RATE_HZ else 0
        stamp = clock.stamp(first, SAMPLES, RATE_HZ, arrival_ns + moved)
        assert stamp.step_ns is None
        if before is not None:
            assert abs((stamp.t0_ns - before) / 1e8 - 1) <= MAX_SLEW + 1e-8
        before = stamp.t0_ns
        error_ns = stamp.t0_ns - true_ns - moved
    assert abs(error_ns) < 2_000_000, "made up after 3000 s at 500 ppm"
    assert abs(clock.drift) < 20e-6, "and not taken for a drift"


def test_after_a_gap_time_follows_the_arrival_and_never_goes_back() -> None:
    clock = SampleClock()
    first = clock.stamp(0, SAMPLES, RATE_HZ, START_NS)
    second = clock.stamp(SAMPLES, SAMPLES, RATE_HZ, START_NS + 100_000_000)
    clock.restart()
    third = clock.stamp(0, SAMPLES, RATE_HZ, START_NS + 900_000_000)
    assert third.t0_ns == START_NS + 800_000_000
    clock.restart()
    # its samples seem to have been taken before the block before it ended: they were not
    fourth = clock.stamp(0, SAMPLES, RATE_HZ, START_NS + 920_000_000)
    assert fourth.t0_ns == third.t0_ns + 100_000_000
    assert first.t0_ns < second.t0_ns < third.t0_ns


def test_an_arrival_exactly_a_second_off_is_a_step() -> None:
    clock = SampleClock()
    clock.stamp(0, SAMPLES, RATE_HZ, START_NS)
    there = START_NS + 100_000_000
    assert clock.stamp(SAMPLES, SAMPLES, RATE_HZ, there + STEP_NS - 1).step_ns is None
    again = there + 100_000_000
    assert clock.stamp(2 * SAMPLES, SAMPLES, RATE_HZ, again + STEP_NS).step_ns == STEP_NS
