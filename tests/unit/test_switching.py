"""Devices that are switched off while the gateway runs, and what of it outlives a restart."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from gateway.acquire import BusWorker
from gateway.errors import DeviceUnavailable, GatewayError
from gateway.health import Heartbeats
from gateway.model import Row
from gateway.streaming import StreamWorker
from gateway.switching import FILE, Switches
from gateway.worker import Worker
from tests.support import until
from tests.unit.test_acquire import Steps
from tests.unit.test_streaming import Shelf, Tape

KNOWN = ("a", "b", "daq")


class Bus:
    """A worker with two devices, and what it publishes."""

    def __init__(self, switches: Switches) -> None:
        self.a, self.b = Steps("a"), Steps("b")
        self.rows: list[Row] = []
        self.worker = BusWorker("bus", [self.a, self.b], self.rows.append, Heartbeats())
        switches.hold(self.worker)
        self.worker.start()

    @property
    def state(self) -> Any:
        return self.worker.devices[0]

    def bad(self) -> list[str]:
        return [str(r.mark(0)) for r in list(self.rows) if r.all_bad and r.table is self.a.table]


@pytest.fixture
def switches(tmp_path: Path) -> Switches:
    return Switches(tmp_path)


@pytest.fixture
def bus(switches: Switches, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bus]:
    monkeypatch.setattr("gateway.worker.BACKOFF_S", (0.01, 0.05))
    made = Bus(switches)
    until(lambda: made.a.reads > 2 and made.b.reads > 2)
    yield made
    ended(made.worker)


def ended(worker: Worker) -> None:
    worker.request_stop()
    worker.interrupt()
    assert worker.join(5)


def switch(
    switches: Switches, worker: Worker, on: bool, name: str = "a", within_s: float = 5.0
) -> None:
    why = "the pump is out"
    switches.switch(worker, name, on, "bob", why, known=KNOWN, within_s=within_s)


def test_a_device_that_is_off_is_not_asked_and_the_others_are(switches: Switches, bus: Bus) -> None:
    switch(switches, bus.worker, False)
    reads, others = bus.a.reads, bus.b.reads
    until(lambda: bus.b.reads > others + 10)
    assert bus.a.reads == reads
    assert not bus.a.connected
    assert bus.bad() == ["BAD:disabled"]
    assert (bus.state.state, bus.state.reason) == (
        "disabled",
        "switched off by bob: the pump is out",
    )
    with pytest.raises(GatewayError, match="'a' is switched off by bob: the pump is out"):
        bus.worker.call("a", lambda driver: driver).result(5)
    switch(switches, bus.worker, True)
    until(lambda: bus.a.reads > reads + 5)
    assert (bus.state.state, bus.state.reason) == ("good", "")
    assert bus.bad() == ["BAD:disabled"]


def test_switching_twice_changes_nothing_more(switches: Switches, bus: Bus) -> None:
    switch(switches, bus.worker, True)
    assert bus.state.connects == 1
    switch(switches, bus.worker, False)
    switch(switches, bus.worker, False)
    assert bus.bad() == ["BAD:disabled"]


def test_a_lost_device_that_is_off_is_not_tried_again(switches: Switches, bus: Bus) -> None:
    bus.a.fail_read = bus.a.fail_connect = DeviceUnavailable("refused")
    until(lambda: bus.a.connects > 3)
    switch(switches, bus.worker, False)
    connects, others = bus.a.connects, bus.b.reads
    until(lambda: bus.b.reads > others + 20)
    assert bus.a.connects == connects
    bus.a.fail_read = bus.a.fail_connect = None
    switch(switches, bus.worker, True)
    until(lambda: bus.state.state == "good")


def test_a_device_stays_off_over_a_restart_until_it_is_switched_on(
    switches: Switches, bus: Bus, tmp_path: Path
) -> None:
    switch(switches, bus.worker, False)
    for _ in range(2):
        later = Switches(tmp_path)
        again = Bus(later)
        until(lambda bus=again: bus.b.reads > 5)
        assert (again.state.state, again.a.reads) == ("disabled", 0)
        assert again.state.attempted, "or the gateway would never be ready"
        ended(again.worker)
    again = Bus(later)
    switch(later, again.worker, True)
    until(lambda: again.a.reads > 2)
    ended(again.worker)
    assert json.loads((tmp_path / FILE).read_bytes()) == {}


def test_a_stream_rests_and_goes_on_with_a_gap(switches: Switches) -> None:
    tape, shelf, rows = Tape(), Shelf(), list[Row]()
    worker = StreamWorker(tape, shelf, rows.append, Heartbeats())
    worker.start()
    tape.ready.release()
    until(lambda: len(shelf.blocks) == 1)
    done = threading.Thread(target=switch, args=(switches, worker, False, "daq"))
    done.start()
    until(lambda: worker._calls)
    tape.ready.release()  # it is served between two blocks
    done.join(5)
    assert worker.devices[0].state == "disabled"
    assert tape.closed.is_set()
    assert [str(row.mark(0)) for row in rows] == ["BAD:disabled"]
    reads = tape.reads
    switch(switches, worker, True, "daq")
    tape.ready.release()
    until(lambda: len(shelf.blocks) > 2 or tape.reads > reads + 1)
    until(lambda: worker.devices[0].state == "good")
    assert shelf.blocks[-1][2] == "disabled"
    ended(worker)


class Held(threading.Event):
    """What a read waits for; ``entered`` once it does."""

    def __init__(self) -> None:
        super().__init__()
        self.entered = threading.Event()

    def wait(self, timeout: float | None = None) -> bool:
        self.entered.set()
        return super().wait(timeout)


def test_what_cannot_be_done_in_time_is_not_noted(
    switches: Switches, bus: Bus, tmp_path: Path
) -> None:
    held = bus.b.blocked = Held()
    assert held.entered.wait(5)
    others = bus.a.reads
    with pytest.raises(DeviceUnavailable, match="no turn on its bus"):
        switch(switches, bus.worker, False, within_s=0.1)
    assert json.loads((tmp_path / FILE).read_bytes()) == {}
    bus.b.blocked = None
    held.set()
    until(lambda: bus.a.reads > others + 2)


def test_what_cannot_be_noted_on_disk_is_not_done(switches: Switches, bus: Bus) -> None:
    switches._path = switches._path.parent / "none" / FILE
    with pytest.raises(GatewayError, match="cannot be written: No such file"):
        switch(switches, bus.worker, False)
    reads = bus.a.reads
    until(lambda: bus.a.reads > reads + 3)


def test_what_is_noted_of_devices_that_are_gone_is_dropped(
    switches: Switches, bus: Bus, tmp_path: Path
) -> None:
    (tmp_path / FILE).write_text('{"old": {"who": "x", "why": "y", "time_ns": 1}}')
    later = Switches(tmp_path)
    switch(later, bus.worker, False)
    assert set(json.loads((tmp_path / FILE).read_bytes())) == {"a"}


@pytest.mark.parametrize("text", ["", "[1]", '{"a": 1}', '{"a": {"who": "x"}}', "\xff"])
def test_a_damaged_note_is_told_and_stops_nothing(
    tmp_path: Path, text: str, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / FILE).write_text(text, "latin-1")
    bus = Bus(Switches(tmp_path))
    until(lambda: bus.a.reads > 2)
    ended(bus.worker)
    assert "it is not known which devices are off" in caplog.text
