"""A device that is stuck in a library costs its own bus a while, and nothing else."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from gateway.config import load
from gateway.driver import PolledDriver
from gateway.errors import GatewayError
from gateway.model import Group, Row
from gateway.reload import Reloader
from gateway.runtime import Runtime
from gateway.watchdog import RENEWALS, Watchdog
from tests.support import until

GATEWAY = """
gateway: {name: g}
state_dir: state
api: {socket: s}
sinks: {history: {type: sqlite}}
devices:
  a: {driver: mock, map: m.yaml, timeout_s: 0.05}
  b: {driver: mock, map: m.yaml, timeout_s: 0.05}
"""
MAP = "driver: mock\ngroups: {p: {interval_s: 0.02, tags: {x: {type: real}}}}\n"


class Rig:
    """A runtime of two mocks whose threads run; the first can be made to hang."""

    def __init__(self, folder: Path) -> None:
        self.file = folder / "gateway.yaml"
        self.file.write_text(GATEWAY)
        (folder / "m.yaml").write_text(MAP)
        self.runtime = Runtime(load(self.file), self.file)
        self.reloader = Reloader(self.runtime, lambda: load(self.file))
        self.watchdog = Watchdog(self.runtime, self.reloader)
        self.rows: list[Row] = []
        self.runtime.hub.attach(self)
        self.free = threading.Event()
        self.inside = threading.Event()
        self.threads: list[threading.Thread] = []
        for worker in self.runtime.workers.values():
            worker.start()
        until(lambda: self.runtime.first_round_done())

    def put(self, row: Row) -> None:
        self.rows.append(row)

    def hang(self) -> None:
        """The driver of ``a`` does not come back, and no interrupt frees it."""
        driver: Any = self.runtime.plant.devices["a"]
        assert isinstance(driver, PolledDriver)
        read = driver.read

        def stuck(group: Group) -> list[Row]:
            self.threads.append(threading.current_thread())
            self.inside.set()
            self.free.wait(60)
            return read(group)

        self.inside.clear()
        driver.read = stuck
        driver.interrupt = lambda: None
        assert self.inside.wait(10)

    def is_silent(self) -> bool:
        """``a`` alone: on a busy machine the other bus may be late, too, and has to catch up."""
        return set(self.runtime.heartbeats.silent()) == {"a"}

    def polls(self, name: str) -> int:
        workers = self.runtime.workers.values()
        return next(d.polls for w in workers for d in w.devices if d.name == name)

    def close(self) -> None:
        self.free.set()
        for worker in self.runtime.workers.values():
            worker.request_stop()
            worker.interrupt()
            assert worker.join(5)
        for thread in self.threads:
            thread.join(5)
        for writer in self.runtime.writers.values():
            writer.stop(1)
        for sink in self.runtime.sinks.values():
            sink.close()


@pytest.fixture
def rig(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Rig]:
    monkeypatch.setattr("gateway.acquire.BEAT_SLACK_S", 0.2)
    monkeypatch.setattr("gateway.reload.STOP_S", 0.1)
    made = Rig(tmp_path)
    yield made
    made.close()


def test_a_stuck_device_is_told_and_read_again_by_a_fresh_thread(
    rig: Rig, caplog: pytest.LogCaptureFixture
) -> None:
    rig.hang()
    until(rig.is_silent)
    other = rig.polls("b")
    rig.watchdog.look()
    until(lambda: rig.polls("a") > 3, what="polls of the fresh thread")
    assert rig.polls("b") > other, "the other device was not touched"
    until(lambda: "a" not in rig.runtime.heartbeats.silent())
    said = {r.message for r in caplog.records}
    assert {"stuck", "a stuck bus has a fresh thread"} <= said
    assert "test_watchdog.py" in next(r for r in caplog.records if r.message == "stuck").at  # type: ignore[attr-defined]
    told = [r for r in rig.rows if r.table.name == "gateway_event"]
    assert [r.value(0) for r in told] == ["stuck"]


def test_what_a_stuck_thread_brings_late_is_never_published(rig: Rig) -> None:
    rig.hang()
    until(rig.is_silent)
    old = rig.runtime.plant.devices["a"].groups[0].tables[0]
    rig.watchdog.look()
    before = sum(r.table is old for r in rig.rows)
    rig.free.set()
    for thread in rig.threads:
        thread.join(5)
        assert not thread.is_alive()
    until(lambda: rig.polls("a") > 3)
    assert sum(r.table is old for r in rig.rows) == before
    until(lambda: "a" not in rig.runtime.heartbeats.silent())


def test_a_device_that_hangs_again_and_again_ends_the_process(rig: Rig) -> None:
    for _ in range(RENEWALS):
        rig.hang()
        until(rig.is_silent)
        rig.watchdog.look()
        until(lambda: rig.polls("a") > 1)
    rig.hang()
    until(rig.is_silent)
    with pytest.raises(GatewayError, match="bus 'a' is stuck after 3 fresh threads"):
        rig.watchdog.look()


def test_without_a_good_file_a_stuck_device_ends_the_process(rig: Rig) -> None:
    rig.hang()
    until(rig.is_silent)
    rig.file.write_text("gateway: {nam: g}")
    with pytest.raises(GatewayError, match=r"stuck and cannot be renewed: \d faults"):
        rig.watchdog.look()
