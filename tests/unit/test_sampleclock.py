"""Time stamps of samples on a virtual wall clock: no drift, no steps but the wall clock's."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from random import Random

import pytest

from gateway.sampleclock import MAX_SLEW, SampleClock, Stamp

RATE_HZ = 25_600.0
SAMPLES = 2560
START_NS = 1_790_000_000 * 10**9
BOOT_NS = START_NS - 10**15
"""Wall clock at which the monotonic clock was 0."""
LAST = round((SAMPLES - 1) * 1e9 / RATE_HZ)
"""From a block's first sample to its last."""


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
        stamp = clock.stamp(first, SAMPLES, RATE_HZ, arrival_ns, arrival_ns - BOOT_NS)
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
        elapsed_ns = arrival_ns - BOOT_NS
        stamp = clock.stamp(first, SAMPLES, RATE_HZ, arrival_ns + moved, elapsed_ns)
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
        elapsed_ns = arrival_ns - BOOT_NS
        stamp = clock.stamp(first, SAMPLES, RATE_HZ, arrival_ns + moved, elapsed_ns)
        assert stamp.step_ns is None
        if before is not None:
            assert abs((stamp.t0_ns - before) / 1e8 - 1) <= MAX_SLEW + 1e-8
        before = stamp.t0_ns
        error_ns = stamp.t0_ns - true_ns - moved
    assert abs(error_ns) < 2_000_000, "made up after 3000 s at 500 ppm"
    assert abs(clock.drift) < 20e-6, "and not taken for a drift"


class Pair:
    """A wall clock and a monotonic one that the test moves."""

    def __init__(self) -> None:
        self.clock = SampleClock()
        self.wall_ns = START_NS
        self.elapsed_ns = 0

    def wait(self, seconds: float, step_s: float = 0.0) -> None:
        self.elapsed_ns += round(seconds * 1e9)
        self.wall_ns += round((seconds + step_s) * 1e9)

    def stamp(self, first: int, samples: int = SAMPLES, rate_hz: float = RATE_HZ) -> Stamp:
        return self.clock.stamp(first, samples, rate_hz, self.wall_ns, self.elapsed_ns)


def test_after_a_gap_time_follows_the_arrival_and_never_goes_back() -> None:
    pair = Pair()
    first = pair.stamp(0)
    pair.wait(0.1)
    second = pair.stamp(SAMPLES)
    pair.clock.restart()
    pair.wait(0.8)
    third = pair.stamp(0)
    assert third.t0_ns == START_NS + 900_000_000 - LAST
    pair.clock.restart()
    pair.wait(0.02)
    # its samples seem to have been taken before the block before it ended: they were not
    fourth = pair.stamp(0)
    assert fourth.t0_ns == third.t0_ns + 100_000_000
    assert pair.clock.end_ns == fourth.t0_ns + 100_000_000
    assert first.t0_ns < second.t0_ns < third.t0_ns


@pytest.mark.parametrize("step_s", [0.999999, 1.0])
def test_from_a_second_on_an_offset_of_the_wall_clock_is_a_step(step_s: float) -> None:
    pair = Pair()
    pair.stamp(0)
    pair.wait(0.1, step_s)
    stamp = pair.stamp(SAMPLES)
    assert stamp.step_ns == (10**9 if step_s == 1.0 else None)
    assert stamp.t0_ns == START_NS - LAST + 100_000_000 + (stamp.step_ns or 0)


@pytest.mark.parametrize("busy_s", [0.5, 3.0, 9.0])
def test_blocks_that_were_read_late_keep_the_time_of_their_samples(busy_s: float) -> None:
    pair = Pair()
    times = [pair.stamp(0).t0_ns]
    pair.wait(busy_s)
    waiting = round(busy_s * 10)
    for number in range(1, 100):
        # those that the card has kept come at once, the others at their time
        if number > waiting:
            pair.wait(0.1)
        stamp = pair.stamp(number * SAMPLES)
        assert stamp.step_ns is None
        times.append(stamp.t0_ns)
    for number, t0_ns in enumerate(times):
        assert abs(t0_ns - times[0] - number * 100_000_000) < 5_000_000


def test_a_step_is_followed_exactly_though_the_block_was_read_late() -> None:
    pair = Pair()
    before = pair.stamp(0)
    pair.wait(2.0, step_s=-3600.0)
    after = pair.stamp(SAMPLES)
    assert after.step_ns == -3600 * 10**9
    assert after.t0_ns - before.t0_ns == 100_000_000 - 3600 * 10**9


def test_a_count_that_began_too_late_begins_anew() -> None:
    pair = Pair()
    pair.wait(3.0)
    pair.stamp(0)  # was there for three seconds
    stamps = [pair.stamp(number * SAMPLES) for number in range(1, 20)]
    (step_ns,) = [s.step_ns for s in stamps if s.step_ns is not None]
    assert -1_100_000_000 < step_ns <= -1_000_000_000


def test_the_only_sample_of_a_block_was_taken_when_it_came() -> None:
    pair = Pair()
    for number in range(100):
        assert abs(pair.stamp(number, 1, 0.1).t0_ns - pair.wall_ns) < 1000
        pair.wait(10.0)


def test_long_blocks_are_steered_without_swinging() -> None:
    pair = Pair()
    random = Random(1)
    true_s = 60.0 * (1 - 100e-6)
    errors = []
    for number in range(300):
        late_ns = random.randrange(1_000_000)
        t0_ns = pair.clock.stamp(
            number * 600, 600, 10.0, pair.wall_ns + late_ns, pair.elapsed_ns + late_ns
        ).t0_ns
        errors.append(t0_ns - (pair.wall_ns - round(59.9e9 * (1 - 100e-6))))
        pair.wait(true_s)
    assert max(map(abs, errors[100:])) < 4_000_000
