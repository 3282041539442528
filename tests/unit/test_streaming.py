"""The thread of a stream: gaps, loss and recovery, time stamps, with a small real driver."""

from __future__ import annotations

import logging
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gateway.driver import DeviceConfig, DeviceMap, StreamDriver, StreamSpec
from gateway.errors import DeviceUnavailable, GatewayError, Place
from gateway.health import Heartbeats
from gateway.losses import Loss
from gateway.model import Block, Channel, Column, Group, Row, Table
from gateway.streaming import StreamWorker
from tests.support import until

HERE = Place("m.yaml", 1, 1, "stream")
RATE_HZ = 1000.0
SAMPLES = 10


class Tape(StreamDriver):
    """Gives a block whenever the test allows one."""

    def __init__(self, *, enabled: bool = True) -> None:
        config = DeviceConfig(driver="tape", map=Path("m"), timeout_s=0.5, enabled=enabled)
        stream = StreamSpec(RATE_HZ, SAMPLES / RATE_HZ, [], HERE)
        super().__init__("daq", config, DeviceMap("m", stream=stream))
        self.channels = (Channel("a", "g"),)
        self.table = Table("v", "daq", [Column("x", "f4")], (("device", "daq"), ("channel", "a")))
        self.groups = (Group("v", 1.0, (self.table,)),)
        self.ready = threading.Semaphore(0)
        self.fail: list[Exception] = []
        self.fail_connect: list[Exception] = []
        self.gap: str | None = None
        self.first = 0
        self.rate_hz = RATE_HZ
        self.connects = 0
        self.reads = 0
        self.connecting: threading.Event | None = None
        self.closed = threading.Event()
        self.threads: set[int] = set()

    def connect(self) -> None:
        self.connects += 1
        if self.connecting is not None:
            self.connecting.wait(5)
        self.closed.clear()
        if self.fail_connect:
            raise self.fail_connect.pop()
        self.first = 0

    def close(self) -> None:
        self.closed.set()

    def interrupt(self) -> None:
        self.closed.set()
        self.ready.release()

    def read_block(self) -> Block:
        self.threads.add(threading.get_ident())
        self.reads += 1
        while not self.ready.acquire(timeout=0.05):
            if self.closed.is_set():
                raise DeviceUnavailable("closed")
        if self.closed.is_set():
            raise DeviceUnavailable("closed")
        if self.fail:
            raise self.fail.pop()
        gap, self.gap = self.gap, None
        if gap:
            self.first = 0
        block = Block(np.zeros((1, SAMPLES), np.float32), self.first, self.rate_hz, gap)
        self.first += SAMPLES
        return block


class Shelf:
    """Keeps what it is fed."""

    def __init__(self) -> None:
        self.blocks: list[tuple[int, int, str | None]] = []
        self.losses = 0
        self.fail: list[Exception] = []

    def feed(self, block: Block) -> None:
        if self.fail:
            raise self.fail.pop()
        self.blocks.append((block.first, block.t0_ns, block.gap))

    def lost(self) -> None:
        self.losses += 1

    def status(self) -> dict[str, Any]:
        return {"blocks": len(self.blocks)}


class Wall:
    """A wall clock that the test moves: every look at it is a block later."""

    def __init__(self) -> None:
        self.ns = 1_790_000_000 * 10**9
        self.step_ns = 0

    def __call__(self) -> int:
        self.ns += round(SAMPLES * 1e9 / RATE_HZ)
        return self.ns + self.step_ns

    def elapsed_ns(self) -> int:
        """The monotonic clock: that of the next look, without steps."""
        return self.ns - 10**18


class Rig:
    def __init__(self, driver: Tape) -> None:
        self.driver = driver
        self.shelf = Shelf()
        self.rows: list[Row] = []
        self.events: list[tuple[str, str, str]] = []
        self.losses: list[Loss] = []
        self.wall = Wall()
        self.worker = StreamWorker(
            driver,
            self.shelf,
            self.rows.append,
            Heartbeats(),
            on_event=lambda *event: self.events.append(event),
            on_loss=self.losses.append,
            now_ns=self.wall,
            elapsed_ns=self.wall.elapsed_ns,
        )

    def allow(self, blocks: int) -> None:
        """Let so many blocks come, and wait until they were taken."""
        before = len(self.shelf.blocks)
        self.driver.ready.release(blocks)
        until(lambda: len(self.shelf.blocks) >= before + blocks)


@pytest.fixture
def rig(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setattr("gateway.worker.BACKOFF_S", (0.01, 0.02))
    monkeypatch.setattr("gateway.worker.BUG_PAUSE_S", 0.02)
    rigs: list[Rig] = []

    def start(*, enabled: bool = True, connecting: threading.Event | None = None) -> Rig:
        made = Rig(Tape(enabled=enabled))
        made.driver.connecting = connecting
        rigs.append(made)
        made.worker.start()
        return made

    yield start
    for made in rigs:
        made.worker.request_stop()
        made.worker.interrupt()
        assert made.worker.join(5)


def test_blocks_get_the_time_of_the_sample_clock_in_one_thread(rig: Any) -> None:
    made = rig()
    made.allow(5)
    spacing = np.diff([t0 for _, t0, _ in made.shelf.blocks])
    assert spacing.tolist() == [10_000_000] * 4
    assert [first for first, _, _ in made.shelf.blocks] == [0, 10, 20, 30, 40]
    assert len(made.driver.threads) == 1
    assert made.worker.devices[0].attempted
    assert made.worker.devices[0].state == "good"
    assert made.worker.status() == {
        "gaps": 0,
        "missing_s": 0.0,
        "clock_drift_ppm": 0.0,
        "blocks": 5,
    }


def test_a_gap_of_the_driver_is_handed_on_and_told(
    rig: Any, caplog: pytest.LogCaptureFixture
) -> None:
    made = rig()
    made.allow(2)
    made.wall.ns += 3_000_000_000
    made.driver.gap = "overrun"
    made.allow(1)
    first, t0_ns, gap = made.shelf.blocks[-1]
    assert (first, gap) == (0, "overrun")
    assert t0_ns - made.shelf.blocks[0][1] == 3_020_000_000, "timed by its arrival"
    assert made.worker.status()["gaps"] == 1
    assert made.worker.status()["missing_s"] == 3.0
    assert made.events == [("gap", "daq", "overrun: no samples for 3.000 s")]
    assert [r.message for r in caplog.records] == ["gap in a stream"]


def test_a_block_that_does_not_go_on_from_the_one_before_has_a_gap(rig: Any) -> None:
    made = rig()
    made.allow(2)
    made.driver.first += 30
    made.wall.ns += 30_000_000
    made.allow(2)
    made.driver.rate_hz = 999.0
    made.allow(2)
    gaps = [gap for _, _, gap in made.shelf.blocks]
    assert gaps == [None, None, "samples_missing", None, "rate_changed", None]
    assert made.worker.status()["missing_s"] == 0.03
    times = [t0 for _, t0, _ in made.shelf.blocks]
    assert times == sorted(set(times))


def test_a_loss_is_not_told_before_the_last_sample(rig: Any) -> None:
    made = rig()
    made.allow(3)
    made.wall.step_ns = -900_000_000  # too small to be followed at once
    made.allow(1)
    made.driver.fail = [DeviceUnavailable("device_lost")]
    made.driver.ready.release()
    until(lambda: made.rows)
    last_ns = made.shelf.blocks[-1][1] + round((SAMPLES - 1) * 1e9 / RATE_HZ)
    assert last_ns < made.rows[0].time_ns < last_ns + 100_000_000


def test_a_stop_while_it_connects_waits_for_no_block(rig: Any) -> None:
    made = rig(connecting=threading.Event())
    until(lambda: made.driver.connects == 1)
    made.worker.request_stop()
    made.worker.interrupt()
    made.driver.connecting.set()
    assert made.worker.join(5)
    assert made.driver.reads == 0


def test_a_lost_device_is_marked_once_and_what_comes_back_has_a_gap(
    rig: Any, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    made = rig()
    made.allow(2)
    made.driver.fail_connect = [DeviceUnavailable("refused")] * 3
    made.driver.fail = [DeviceUnavailable("device_lost", "unplugged")]
    made.driver.ready.release()
    until(lambda: made.driver.connects >= 5)
    made.allow(1)
    assert made.shelf.blocks[-1][2] == "refused", "why samples are missing, in its last word"
    assert [str(r.marks) for r in made.rows] == [str({-1: (2, "device_lost")})] or len(
        made.rows
    ) == 1

    def said() -> list[str]:
        return [r.message for r in caplog.records if r.name == "gateway.acquire"]

    until(lambda: len(said()) >= 4)  # that it is back is said after its block was taken
    assert said() == ["device connected", "device lost", "gap in a stream", "device is back"]
    assert made.shelf.losses >= 1
    assert made.worker.devices[0].connects == 2


def test_a_step_of_the_wall_clock_is_a_gap_and_an_event(rig: Any) -> None:
    made = rig()
    made.allow(3)
    made.wall.step_ns = 3600 * 10**9
    made.allow(2)
    gaps = [gap for _, _, gap in made.shelf.blocks]
    assert gaps == [None, None, None, "clock_step", None]
    assert made.events[0][0] == "clock_step"
    assert "+3600.000 s" in made.events[0][2]


def test_a_bug_in_a_driver_or_in_ours_costs_no_thread(
    rig: Any, caplog: pytest.LogCaptureFixture
) -> None:
    made = rig()
    made.allow(1)
    made.driver.fail = [KeyError("driver")]
    made.driver.ready.release()
    until(lambda: made.worker.devices[0].state == "lost")
    made.allow(1)
    made.shelf.fail = [ValueError("ours")]
    made.driver.ready.release()
    until(lambda: made.worker.devices[0].reason == "gateway_fault")
    made.allow(1)
    assert made.shelf.blocks[-1][2] == "gateway_fault"
    assert "KeyError" in caplog.text
    assert "ValueError" in caplog.text


def test_a_call_runs_between_two_blocks_and_a_stop_frees_a_read_that_waits(rig: Any) -> None:
    made = rig()
    made.allow(1)
    future = made.worker.call("daq", lambda driver: driver.name)
    made.allow(1)
    assert future.result(5) == "daq"
    made.worker.request_stop()
    made.worker.interrupt()
    assert made.worker.join(5)
    with pytest.raises(DeviceUnavailable, match="stopping"):
        made.worker.call("daq", lambda driver: driver.name).result(1)


def test_a_disabled_stream_is_not_connected(rig: Any) -> None:
    made = rig(enabled=False)
    future = made.worker.call("daq", lambda driver: driver.name)
    with pytest.raises(GatewayError, match="disabled"):
        future.result(5)
    assert made.driver.connects == 0


def test_what_a_gap_cost_is_told_as_a_loss(rig: Any) -> None:
    made = rig()
    made.allow(2)
    ended_ns = made.shelf.blocks[-1][1] + 10_000_000
    made.wall.ns += 3_000_000_000
    made.driver.gap = "overrun"
    made.allow(1)
    (loss,) = made.losses
    assert loss[:3] == ("", "daq", "v")
    assert (loss.first_ns, loss.rows, loss.cause) == (ended_ns, 3, "stream_gap")
    assert loss.last_ns == made.shelf.blocks[-1][1]
    assert "overrun" in loss.detail
