"""The pace of a mock stream on a virtual clock: late readers, gaps, losses."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
import pytest

from drivers.mock.stream import MockStreamDriver
from gateway.errors import DeviceUnavailable
from tests.drivers.mock_support import NOON, SECOND, Pace, make_stream, record, started
from tests.support import until

RATE = 25600.0
WINDOW: dict[str, Any] = {"every_s": 100, "for_s": 20, "phase": 0}
PLAIN: dict[str, dict[str, Any]] = {
    "x": {"signal": {"kind": "sines", "tones": [{"hz": 50}]}, "unit": "V"}
}


def lost(driver: MockStreamDriver) -> str:
    with pytest.raises(DeviceUnavailable) as raised:
        driver.read_block()
    return raised.value.reason


# -- pace ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("ppm", [0.0, 100.0, -2500.0])
def test_a_block_comes_when_its_last_sample_exists(ppm: float) -> None:
    driver = make_stream(PLAIN, rate_error_ppm=ppm)
    pace = started(driver)
    for number in range(1, 601):
        block = driver.read_block()
        assert (block.first, block.samples, block.gap) == (2560 * (number - 1), 2560, None)
        true_s = 2560 * number / (RATE * (1 + ppm * 1e-6))
        assert 0 <= pace.run_ns / SECOND - true_s < 1e-8
        assert block.rate_hz == RATE  # what the device believes


def test_a_step_of_the_wall_clock_does_not_move_the_samples() -> None:
    driver = make_stream(PLAIN)
    pace = started(driver)
    driver.read_block()
    pace.wall_ns -= 3600 * SECOND
    block = driver.read_block()
    assert (block.first, block.gap, round(pace.run_ns / SECOND, 6)) == (2560, None, 0.2)


def test_a_late_reader_gets_what_waits_in_the_buffer_without_waiting() -> None:
    driver = make_stream(PLAIN, buffer_s=5)
    pace = started(driver)
    driver.read_block()
    pace.pass_s(4.9)
    waits = len(pace.waits)
    for number in range(1, 50):
        block = driver.read_block()
        assert (block.first, block.gap) == (2560 * number, None)
    assert len(pace.waits) == waits
    assert round(pace.run_ns / SECOND, 6) == 5.0


def test_a_reader_that_is_later_than_the_buffer_is_overrun() -> None:
    driver = make_stream(PLAIN, buffer_s=5)
    pace = started(driver)
    assert driver.read_block().gap is None
    pace.pass_s(5.2)
    block = driver.read_block()
    assert (block.gap, block.first) == ("overrun", 0)
    whole = record(make_stream(PLAIN), 5.5)
    begin = round(5.3 * RATE)
    assert np.array_equal(block.data, whole[:, begin : begin + 2560])
    block = driver.read_block()
    assert (block.gap, block.first) == (None, 2560)
    status = driver.status()
    assert (status["blocks"], status["gaps"], status["rate_hz"]) == (3, {"overrun": 1}, RATE)
    assert (status["mock"], status["seed"]) == (True, 1)


def test_at_real_time_blocks_come_at_their_rate() -> None:
    driver = make_stream(PLAIN, block_s=0.02)
    driver.connect()
    begun = driver.elapsed_ns()
    for _ in range(10):
        driver.read_block()
    taken_s = (driver.elapsed_ns() - begun) / SECOND
    assert 0.19 < taken_s < 5
    driver.close()


def test_interrupt_ends_a_wait() -> None:
    driver = make_stream(PLAIN, block_s=50.0, rate_hz=100.5)
    driver.connect()
    ended: list[str] = []
    thread = threading.Thread(target=lambda: ended.append(lost(driver)))
    thread.start()

    def interrupted() -> bool:
        driver.interrupt()
        return bool(ended)

    until(interrupted, 5, "read_block ends")
    thread.join(5)
    assert ended == ["closed"]
    driver.close()
    driver.interrupt()


# -- losses -------------------------------------------------------------------------------------


def test_a_dropout_cuts_the_block_and_is_told_by_the_next() -> None:
    # a window of the wall clock that began 0.05 s before NOON + 10 s
    driver = make_stream(PLAIN, dropout={"every_s": 100, "for_s": 0.37, "phase": 0})
    pace = Pace(NOON - round(0.95 * SECOND))
    whole = record(make_stream(PLAIN), 3.0)[0]
    started(driver, pace)
    seen: list[tuple[int, int, str | None]] = []
    at = 0
    for _ in range(14):
        block = driver.read_block()
        if block.gap:
            at = round(1.32 * RATE)
        assert np.array_equal(block.data[0], whole[at : at + block.samples])
        assert block.data.flags.c_contiguous
        at += block.samples
        seen.append((block.first, block.samples, block.gap))
    assert seen[:9] == [(2560 * i, 2560, None) for i in range(9)]
    assert seen[9] == (2560 * 9, 1280, None)
    assert seen[10] == (0, 2560, "dropout")
    assert seen[11] == (2560, 2560, None)
    assert pace.run_ns / SECOND == pytest.approx(1.32 + 0.4, abs=1e-6)


def test_a_dropout_longer_than_the_time_out_loses_the_device() -> None:
    driver = make_stream(PLAIN, dropout={**WINDOW, "reason": "cable"}, timeout_s=2)
    pace = started(driver)
    assert lost(driver) == "timeout"
    assert pace.run_ns / SECOND == pytest.approx(2.1, abs=1e-6)
    driver.close()
    pace.pass_s(16.5)
    driver.connect()
    block = driver.read_block()
    assert (block.gap, block.first) == ("cable", 0)
    assert pace.run_ns / SECOND == pytest.approx(20.1, abs=1e-6)


def test_a_delay_holds_blocks_back_and_loses_none() -> None:
    driver = make_stream(PLAIN, delay={**WINDOW, "for_s": 1, "by_s": 0.5}, timeout_s=2)
    pace = started(driver)
    for number in range(20):
        block = driver.read_block()
        assert (block.first, block.gap) == (2560 * number, None)
        ends_s = 0.1 * (number + 1)
        expected = ends_s + 0.5 if ends_s <= 1.0 else max(ends_s, 1.5)
        assert pace.run_ns / SECOND == pytest.approx(expected, abs=1e-6)
    slow = make_stream(PLAIN, delay={**WINDOW, "by_s": 10}, timeout_s=2)
    started(slow)
    assert lost(slow) == "timeout"


def test_a_disconnect_closes_the_stream_and_refuses_new_ones() -> None:
    driver = make_stream(PLAIN, disconnect=WINDOW)
    pace = Pace(NOON - round(0.25 * SECOND))
    started(driver, pace)
    assert [driver.read_block().first for _ in range(2)] == [0, 2560]
    assert lost(driver) == "closed"
    driver.close()
    with pytest.raises(DeviceUnavailable) as refused:
        driver.connect()
    assert refused.value.reason == "refused"
    assert lost(driver) == "closed"
    pace.pass_s(20)
    driver.connect()
    block = driver.read_block()
    assert (block.first, block.gap) == (0, None)


def test_without_a_connection_there_is_no_block() -> None:
    driver = make_stream(PLAIN)
    driver.close()
    driver.interrupt()
    assert lost(driver) == "closed"
    driver.connect()
    driver.close()
    driver.close()
    assert lost(driver) == "closed"
