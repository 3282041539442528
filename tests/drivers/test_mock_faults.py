"""Bad quality, drop-outs, delays and disconnects of the mock come and go as configured."""

from __future__ import annotations

import threading
import time
from typing import Any

import pytest

from drivers.mock import MockDriver
from gateway.errors import DeviceUnavailable
from gateway.model import ALL, Quality
from tests.drivers.mock_support import NOON, SECOND, Clock, make, row_at
from tests.support import until

TAG = {"type": "real", "signal": {"kind": "constant", "value": 4}}
WINDOW: dict[str, Any] = {"every_s": 100, "for_s": 20, "phase": 0}


def at(seconds: float) -> int:
    return NOON + round(seconds * SECOND)


def test_a_tag_is_bad_in_its_window_and_the_others_stay_good() -> None:
    driver = make({"sick": {**TAG, "bad": {**WINDOW, "reason": "sensor_fault"}}, "well": TAG})
    for seconds, is_bad in ((0, True), (19.999, True), (20, False), (99.999, False), (100, True)):
        row = row_at(driver, at(seconds))
        assert row.is_bad(0) is is_bad, seconds
        assert row.value(0) == (None if is_bad else 4.0)
        assert row.value(1) == 4.0
        assert not row.is_bad(1)
    assert str(row_at(driver, at(0)).mark(0)) == "BAD:sensor_fault"


def test_an_uncertain_tag_keeps_its_value() -> None:
    driver = make({"x": {**TAG, "bad": {**WINDOW, "quality": "uncertain"}}})
    row = row_at(driver, at(1))
    mark = row.mark(0)
    assert mark is not None
    assert (mark.quality, mark.reason, row.value(0)) == (Quality.UNCERTAIN, "simulated", 4.0)


def test_a_row_of_which_every_value_is_bad_has_no_values() -> None:
    one = make({f"x{i}": {**TAG, "bad": WINDOW} for i in range(2)})
    row = row_at(one, at(0))
    assert row.all_bad
    assert row.marks is not None
    assert str(row.marks[ALL]) == "BAD:simulated"
    two = make({f"x{i}": {**TAG, "bad": {**WINDOW, "reason": f"r{i}"}} for i in range(2)})
    row = row_at(two, at(0))
    assert row.all_bad
    assert [str(mark) for _, _, mark in row.items()] == ["BAD:r0", "BAD:r1"]


def test_a_dropout_answers_without_values_in_its_groups_alone() -> None:
    driver = make({"x": TAG}, {"y": TAG}, dropout={**WINDOW, "groups": ["g1"], "reason": "empty"})
    assert row_at(driver, at(5), group=0).value(0) == 4.0
    row = row_at(driver, at(5), group=1)
    assert row.all_bad
    assert str(row.mark(0)) == "BAD:empty"
    assert row_at(driver, at(25), group=1).value(0) == 4.0


def test_a_disconnect_closes_the_connection_and_refuses_new_ones() -> None:
    driver = make({"x": TAG}, disconnect=WINDOW)
    clock = Clock(at(90))
    driver.now_ns = clock
    driver.connect()
    assert driver.read(driver.groups[0])[0].value(0) == 4.0
    clock.time_ns = at(100)
    with pytest.raises(DeviceUnavailable) as lost:
        driver.read(driver.groups[0])
    assert lost.value.reason == "closed"
    driver.close()
    for call in (driver.connect, lambda: driver.probe("x")):
        with pytest.raises(DeviceUnavailable) as refused:
            call()
        assert refused.value.reason == "refused"
    clock.time_ns = at(120)
    driver.connect()
    assert driver.read(driver.groups[0])[0].value(0) == 4.0


def test_without_a_connection_there_is_no_value() -> None:
    driver = make({"x": TAG})
    with pytest.raises(DeviceUnavailable):
        driver.read(driver.groups[0])
    driver.connect()
    driver.close()
    driver.close()
    with pytest.raises(DeviceUnavailable):
        driver.read(driver.groups[0])


def test_a_poll_takes_its_latency_and_its_time_is_midway() -> None:
    driver = make({"x": TAG}, latency_s=0.03, jitter_s=0.01)
    driver.connect()
    before = time.time_ns()
    row = driver.read(driver.groups[0])[0]
    after = time.time_ns()
    assert after - before >= 0.03 * SECOND
    assert before + 0.015 * SECOND <= row.time_ns <= after - 0.015 * SECOND


def test_a_delay_beyond_the_timeout_loses_the_device_at_the_timeout() -> None:
    driver = make(
        {"x": TAG}, {"y": TAG}, timeout_s=0.05, delay={**WINDOW, "by_s": 60, "groups": ["g0"]}
    )
    driver.now_ns = Clock(at(0))
    driver.connect()
    begun = time.monotonic()
    with pytest.raises(DeviceUnavailable) as lost:
        driver.read(driver.groups[0])
    assert lost.value.reason == "timeout"
    assert 0.05 <= time.monotonic() - begun < 30, "half the delay"
    assert driver.read(driver.groups[1])[0].value(0) == 4.0
    driver.now_ns = Clock(at(50))
    assert driver.read(driver.groups[0])[0].value(0) == 4.0


def test_interrupt_ends_a_poll_that_waits() -> None:
    driver = make({"x": TAG}, timeout_s=60, latency_s=50)
    driver.connect()
    ended: list[str] = []
    thread = threading.Thread(target=lambda: ended.append(_reason(driver)))
    begun = time.monotonic()
    thread.start()
    until(lambda: _interrupted(driver, ended), 5, "the poll ends")
    thread.join(5)
    assert ended == ["closed"]
    assert time.monotonic() - begun < 10
    driver.close()
    driver.interrupt()


def _interrupted(driver: MockDriver, ended: list[str]) -> bool:
    driver.interrupt()
    return bool(ended)


def _reason(driver: MockDriver) -> str:
    try:
        driver.read(driver.groups[0])
    except DeviceUnavailable as error:
        return error.reason
    return "answered"
