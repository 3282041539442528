"""The schedule, backoff and loss of `gateway.acquire`, with small real drivers of the test."""

from __future__ import annotations

import logging
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from gateway.acquire import BusWorker
from gateway.device import LOOK_BACK, DeviceState, GroupClock
from gateway.driver import DeviceConfig, DeviceMap, PlannedRequest, PolledDriver
from gateway.errors import DeviceUnavailable
from gateway.health import Heartbeats
from gateway.model import Column, Group, Row, Table, make_parts
from tests.support import until


class Steps(PolledDriver):
    """Counts its reads; what connect and read do can be set by the test."""

    def __init__(self, name: str, interval_s: float = 0.01, enabled: bool = True) -> None:
        config = DeviceConfig(driver="steps", map=Path("m"), timeout_s=0.5, enabled=enabled)
        super().__init__(name, config, DeviceMap("m"))
        self.table = Table("t", name, [Column("n", "i8")], (("device", name),))
        self.groups = (Group("t", interval_s, (self.table,)),)
        self.reads = 0
        self.connected = False
        self.connects = 0
        self.fail_connect: Exception | None = None
        self.fail_read: Exception | None = None
        self.blocked: threading.Event | None = None
        self.threads: set[int] = set()

    def connect(self) -> None:
        self.connects += 1
        if self.fail_connect:
            raise self.fail_connect
        self.connected = True

    def close(self) -> None:
        self.connected = False

    def interrupt(self) -> None:
        if self.blocked:
            self.blocked.set()

    def plan(self, group: Group) -> list[PlannedRequest]:
        return []

    def read(self, group: Group) -> list[Row]:
        self.threads.add(threading.get_ident())
        if not self.connected:
            raise AssertionError("read without connection")
        if self.fail_read:
            raise self.fail_read
        if self.blocked:
            self.blocked.wait(10)
            raise DeviceUnavailable("closed")
        self.reads += 1
        return [Row(self.table, time.time_ns(), make_parts(self.table, [self.reads]))]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setattr("gateway.worker.BACKOFF_S", (0.01, 0.05))
    monkeypatch.setattr("gateway.worker.BUG_PAUSE_S", 0.05)
    workers: list[BusWorker] = []

    def start(*drivers: PolledDriver) -> tuple[BusWorker, list[Row]]:
        rows: list[Row] = []
        worker = BusWorker("bus", drivers, rows.append, Heartbeats())
        workers.append(worker)
        worker.start()
        return worker, rows

    yield start
    for worker in workers:
        worker.request_stop()
        assert worker.join(5)


def test_rows_come_and_all_reads_are_in_one_thread(run: Any) -> None:
    a, b = Steps("a"), Steps("b")
    _, rows = run(a, b)
    until(lambda: a.reads > 5 and b.reads > 5)
    assert len(a.threads | b.threads) == 1
    values = [row.value(0) for row in list(rows) if row.table is a.table]
    assert values == list(range(1, len(values) + 1))


def test_times_of_a_series_strictly_increase(run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.unit.test_acquire.time.time_ns", lambda: 1_700_000_000_000_000_000)
    device = Steps("a", 0.001)
    _, rows = run(device)
    until(lambda: device.reads > 3)
    times = [row.time_ns for row in list(rows)[:2]]
    assert times[0] < times[1]


def test_loss_marks_every_tag_bad_once_and_logs_once(
    run: Any, caplog: pytest.LogCaptureFixture
) -> None:
    device = Steps("a")
    caplog.set_level(logging.INFO)
    worker, rows = run(device)
    until(lambda: device.reads > 2)
    device.fail_read = DeviceUnavailable("timeout", "no answer")
    device.fail_connect = DeviceUnavailable("refused")
    until(lambda: device.connects > 4)
    assert worker.devices[0].state == "lost"
    assert [str(r.mark(0)) for r in list(rows) if r.all_bad] == ["BAD:timeout"]
    device.fail_read = device.fail_connect = None
    reads = device.reads
    until(lambda: device.reads > reads + 1)  # the first one is before its return is logged
    messages = [r.message for r in caplog.records if r.levelno == logging.WARNING]
    assert messages == ["device lost", "device is back"]


def test_a_failed_first_connect_marks_bad_and_counts_as_attempted(run: Any) -> None:
    device = Steps("a")
    device.fail_connect = DeviceUnavailable("refused")
    worker, rows = run(device)
    until(lambda: worker.devices[0].attempted)
    assert [str(r.mark(0)) for r in rows] == ["BAD:refused"]


def test_a_bug_in_one_driver_leaves_the_other_alone(
    run: Any, caplog: pytest.LogCaptureFixture
) -> None:
    good, broken = Steps("good"), Steps("broken")
    broken.fail_read = ZeroDivisionError("oops")
    worker, _ = run(good, broken)
    until(lambda: broken.connects > 1 and good.reads > 10)
    assert worker.devices[1].reason == "driver_fault"
    assert any(r.exc_info and "oops" in str(r.exc_info[1]) for r in caplog.records)


def test_stop_frees_a_blocked_read(run: Any) -> None:
    device = Steps("a")
    device.blocked = threading.Event()
    worker, _ = run(device)
    until(lambda: device.threads)
    worker.request_stop()
    assert not worker.join(0.05), "a request that is under way may end by itself"
    worker.interrupt()
    assert worker.join(5)
    assert not device.connected


def test_a_disabled_device_is_not_touched(run: Any) -> None:
    off, on = Steps("off", enabled=False), Steps("on")
    worker, _ = run(off, on)
    until(lambda: on.reads > 3)
    assert off.connects == 0
    assert worker.devices[0].state == "disabled"
    with pytest.raises(Exception, match="disabled"):
        worker.call("off", lambda d: d.status()).result(10)


def test_a_call_runs_between_polls_in_the_bus_thread(run: Any) -> None:
    device = Steps("a", 5.0)
    worker, _ = run(device)
    until(lambda: device.reads > 0)
    thread = worker.call("a", lambda _: threading.get_ident()).result(10)
    assert {thread} == device.threads


def test_a_call_that_loses_the_device_is_told_and_the_device_comes_back(run: Any) -> None:
    device = Steps("a", 5.0)
    worker, _ = run(device)
    until(lambda: worker.devices[0].state == "good")

    def fail(_: PolledDriver) -> None:
        raise DeviceUnavailable("timeout")

    with pytest.raises(DeviceUnavailable):
        worker.call("a", fail).result(10)
    until(lambda: device.connects == 2 and worker.devices[0].state == "good")


def test_late_ticks_are_skipped_and_counted() -> None:
    clock = GroupClock(Group("g", 0.1), 10.0)
    clock.advance(10.05)
    assert (round(clock.due, 6), clock.missed) == (10.1, 0)
    clock.advance(10.47)  # 10.2, 10.3 and 10.4 are over
    assert (round(clock.due, 6), clock.missed) == (10.5, 3)


def test_a_stall_does_not_make_an_interval_too_short() -> None:
    clock = GroupClock(Group("g", 0.1), 10.0)
    for stall in range(5):
        clock.advance(clock.due + 3600.0)
        assert clock.missed >= 35_999 * (stall + 1)
        assert not clock.is_too_short
    clock.advance(clock.due + 0.11)
    assert clock.is_too_short, "again and again"
    for _ in range(2 * LOOK_BACK):
        clock.advance(clock.due + 0.09)
    assert not clock.is_too_short, "that is over"
    clock.start(clock.due + 100.0)
    assert not clock.is_too_short


def test_the_groups_of_a_device_are_staggered() -> None:
    device = Steps("a")
    device.groups = tuple(Group(f"g{i}", 1.0, (device.table,), i) for i in range(4))
    state = DeviceState(device, True, 0.5, 100.0)
    assert [round(c.due - 100, 3) for c in state.clocks] == [0.5, 0.75, 0.0, 0.25]


def test_a_driver_that_cannot_tell_its_status_is_still_read(
    run: Any, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken, good = Steps("broken"), Steps("good")

    def status() -> dict[str, Any]:
        raise KeyError("state")

    monkeypatch.setattr(broken, "status", status)
    worker, _ = run(broken, good)
    until(lambda: broken.reads > 10 and good.reads > 10)
    assert [d.state for d in worker.devices] == ["good", "good"]
    assert "KeyError" in str(worker.devices[0].facts)
    assert sum("status failed" in r.message for r in caplog.records) == 1


def test_a_fault_of_the_core_in_a_poll_costs_no_other_device_its_thread(
    run: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken, good = Steps("broken"), Steps("good")
    worker, rows = run(broken, good)
    until(lambda: broken.reads > 2)

    def emit(row: Row) -> None:
        if row.table is broken.table:
            raise ZeroDivisionError
        rows.append(row)

    monkeypatch.setattr(worker, "_publish", emit)
    reads = good.reads
    until(lambda: good.reads > reads + 20 and worker.devices[0].reason == "driver_fault")
    monkeypatch.setattr(worker, "_publish", rows.append)
    until(lambda: worker.devices[0].state == "good", 10)


def test_a_driver_whose_close_and_interrupt_fail_does_not_end_the_thread(
    run: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken, good = Steps("broken"), Steps("good")

    def fail() -> None:
        raise RuntimeError("no")

    monkeypatch.setattr(broken, "close", fail)
    monkeypatch.setattr(broken, "interrupt", fail)
    broken.fail_read = DeviceUnavailable("timeout")
    worker, _ = run(broken, good)
    until(lambda: broken.connects > 3 and good.reads > 10)
    worker.interrupt()


def test_a_unit_that_can_be_connected_to_but_never_answers_stays_lost(
    run: Any, caplog: pytest.LogCaptureFixture
) -> None:
    dead = Steps("dead")
    dead.fail_read = DeviceUnavailable("timeout")
    worker, rows = run(dead)
    seen = set()

    def tried() -> bool:
        seen.add(worker.devices[0].state)
        return dead.connects > 5

    until(tried)
    assert seen <= {"connecting", "lost"}
    assert len(rows) == 1, "BAD once"
    assert [r.message for r in caplog.records] == ["device lost"]


def test_silent_units_do_not_take_the_bus_from_the_good_one(run: Any) -> None:
    class Slow(Steps):
        def connect(self) -> None:
            self.connects += 1
            threading.Event().wait(0.05)  # a time-out
            raise DeviceUnavailable("timeout")

    good, silent = Steps("good", 0.02), [Slow(f"silent{i}") for i in range(10)]
    run(*silent, good)
    until(lambda: good.reads > 0)
    # the time is around what is counted: no attempt falls out of it
    begun, tries, reads = time.monotonic(), sum(s.connects for s in silent), good.reads
    until(lambda: good.reads > reads + 50, 20)
    spent = 0.05 * (sum(s.connects for s in silent) - tries)
    took = time.monotonic() - begun
    assert spent < 0.5 * took


def test_calls_after_the_stop_are_refused_at_once(run: Any) -> None:
    device = Steps("a")
    worker, _ = run(device)
    until(lambda: device.reads > 0)
    worker.request_stop()
    assert worker.join(5)
    with pytest.raises(DeviceUnavailable, match="stopping"):
        worker.call("a", lambda d: d.status()).result(2)
