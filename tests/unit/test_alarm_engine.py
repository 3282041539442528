"""The engine with its threads, its database and a real hub: nobody waits, nothing is lost."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from gateway.alarms.captures import Captures
from gateway.alarms.engine import Engine
from gateway.alarms.model import NotAllowed, State, Transition
from gateway.alarms.rules import AlarmPlan
from gateway.alarms.settings import FloodConfig
from gateway.analysis.stream import StreamAnalysis
from gateway.errors import GatewayError
from gateway.hub import Hub
from gateway.model import Row, Table, make_parts
from tests.support import until
from tests.unit.enginekit import make_rules, process_table

FORCE = "press_1/force.high"
HIGH = {"kind": "limits", "tag": "press_1.process.force", "high": 300}


def nobody(device: str, channel: str) -> tuple[StreamAnalysis, int]:
    raise GatewayError("there are no streams here")


class Running:
    """An engine behind a hub."""

    def __init__(self, folder: Path, rules: Mapping[str, Mapping[str, Any]]) -> None:
        self.folder = folder
        self.table = process_table()
        self.hub = Hub()
        self.log: list[Transition] = []
        self.rows: list[Row] = []
        self.events: list[tuple[str, str, str]] = []
        self.engine = self.make(rules)

    def plan(self, rules: Mapping[str, Mapping[str, Any]]) -> AlarmPlan:
        flood = FloodConfig.model_validate({"alarms": 100_000})
        return AlarmPlan(make_rules([self.table], rules), flood)

    def make(self, rules: Mapping[str, Mapping[str, Any]]) -> Engine:
        engine = Engine(
            self.plan(rules),
            self.hub.publish,
            "hall-3",
            self.folder,
            Captures(self.folder, nobody),
            on_event=lambda *event: self.events.append(event),
        )
        self.hub.attach(engine)
        self.hub.attach(self)
        engine.listen(self.log.append)
        return engine

    def put(self, row: Row) -> None:
        if row.table.name == "gateway_alarm":
            self.rows.append(row)

    def force(self, force: float, table: Table | None = None) -> None:
        table = table or self.table
        parts = make_parts(table, [force, 20.0, True, "tile-30", "running"])
        self.hub.publish(Row(table, time.time_ns(), parts))

    def raised(self) -> None:
        self.force(400.0)
        until(lambda: self.log, what="the alarm")

    def restart(self, rules: Mapping[str, Mapping[str, Any]]) -> None:
        self.engine.stop(10)
        self.hub.unsubscribe(self.engine)
        self.hub.unsubscribe(self)
        self.engine = self.make(rules)
        self.engine.start()


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Running]:
    made = Running(tmp_path, {"force": HIGH})
    made.engine.start()
    yield made
    made.engine.stop(10)


def test_a_row_becomes_an_alarm_a_row_and_a_line_of_the_history(running: Running) -> None:
    running.raised()
    (row,) = running.rows
    found = {name: value for name, value, _ in row.items()}
    assert found["alarm"] == "force.high"
    assert (found["value"], found["limit"], found["number"]) == (400.0, 300.0, 1)
    assert dict(row.table.labels) == {"gateway": "hall-3", "device": "press_1", "line": "forming"}
    (told,) = running.engine.history(0, 2**63 - 1, 10)
    assert told["message"] == running.log[0].message
    (active,) = running.engine.active()
    assert (active["id"], active["state"]) == (FORCE, State.UNACKNOWLEDGED)
    status = running.engine.status()
    assert status["active"] == {"critical": 0, "high": 0, "medium": 1, "low": 0}
    assert status["unacknowledged"] == 1


def test_it_is_detected_well_within_200_ms(running: Running) -> None:
    for turn in range(500):  # of fewer, the 99th percentile would be the slowest one of all
        running.force(400.0 if turn % 2 == 0 else 100.0)
        until(lambda: running.engine.latency.count > turn)  # noqa: B023
    assert running.engine.latency.count == len(running.log) == 500
    assert running.engine.latency.milliseconds()["p99"] < 200


def test_who_begins_to_listen_does_not_wait_for_a_row_that_raises_thousands(
    running: Running,
) -> None:
    """The HTTP app does so in its loop."""
    judging, go_on = threading.Event(), threading.Event()

    def slowly(_: Transition) -> None:
        judging.set()
        go_on.wait(10)

    running.engine.listen(slowly)
    running.force(400.0)
    assert judging.wait(10)
    listening = threading.Thread(target=lambda: running.engine.listen(lambda _: None)())
    listening.start()
    listening.join(5)
    alive = listening.is_alive()
    go_on.set()
    listening.join(10)
    assert not alive


def test_an_acknowledge_is_on_disk_before_it_returns(running: Running) -> None:
    running.raised()
    running.engine.acknowledge(FORCE, "anna", "seen\x00 \ud800")
    killed = Running(running.folder, {"force": HIGH})  # what a kill -9 would leave
    killed.engine.start()
    (active,) = killed.engine.active()
    assert (active["state"], active["acknowledged_by"]) == (State.ACKNOWLEDGED, "anna")
    killed.engine.stop(10)


def test_of_two_that_acknowledge_at_once_one_is_told_that_it_is_done(running: Running) -> None:
    running.raised()
    gate = threading.Barrier(8)
    said: list[str] = []

    def acknowledge(who: str) -> None:
        gate.wait()
        try:
            running.engine.acknowledge(FORCE, who, "seen")
            said.append("done")
        except NotAllowed:
            said.append("refused")

    threads = [threading.Thread(target=acknowledge, args=(f"p{i}",)) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert sorted(said) == ["done", *["refused"] * 7]
    assert [t.state for t in running.log] == ["unacknowledged", "acknowledged"]


def test_states_outlive_a_restart_and_numbers_go_on(running: Running) -> None:
    running.raised()
    running.engine.shelve(FORCE, 3600, "anna", "being mended")
    running.restart({"force": HIGH})
    (active,) = running.engine.active()
    assert active["state"] == State.SHELVED
    told = running.engine.unshelve(FORCE, "anna", "mended")
    assert (told.number, told.state) == (3, State.UNACKNOWLEDGED)


def test_a_reload_keeps_what_is_the_same_and_tells_what_is_gone(running: Running) -> None:
    running.raised()
    running.engine.update(running.plan({"other": HIGH}))
    assert (running.log[1].id, running.log[1].why) == (FORCE, "its rule was removed")
    running.force(400.0)
    until(lambda: len(running.log) >= 3, what="the alarm of the new rule")
    assert running.log[-1].alarm == "other.high"
    running.engine.stop(10)
    assert len(running.rows) == 3


def test_who_publishes_never_waits_and_what_was_too_much_is_counted(
    running: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    running.engine._inbox._max_cells = 1000
    with running.engine._lock:  # nothing is judged meanwhile
        begun = time.monotonic()
        for _ in range(200):
            running.force(100.0)
        assert time.monotonic() - begun < 5.0  # who waited would do so for good
    until(lambda: not len(running.engine._inbox))
    status = running.engine.status()
    assert 150 < status["rows_missed"] < 200
    assert any("came too fast" in text for text in running.engine.problems())


def test_a_listener_that_fails_costs_nobody_else_anything(running: Running) -> None:
    def fail(_: Transition) -> None:
        raise RuntimeError("odd")

    end = running.engine.listen(fail)
    later: list[Transition] = []
    running.engine.listen(later.append)
    running.raised()
    until(lambda: later)
    end()
    assert len(later) == len(running.log) == 1


def test_without_a_database_alarms_are_judged_and_who_acknowledges_is_told(tmp_path: Path) -> None:
    (tmp_path / "alarms.db").mkdir()  # nothing can be opened there
    running = Running(tmp_path, {"force": HIGH})
    running.engine.start()
    running.raised()
    with pytest.raises(GatewayError, match="not on disk"):
        running.engine.acknowledge(FORCE, "anna", "seen")
    assert running.engine.active()[0]["state"] == State.ACKNOWLEDGED
    assert any("not kept on disk" in text for text in running.engine.problems())
    running.engine.stop(10)


def test_delays_need_no_row(tmp_path: Path) -> None:
    stale = {"kind": "stale", "tag": "press_1.process.force", "after_s": 0.2}
    running = Running(tmp_path, {"force": {**HIGH, "on_delay_s": 0.2}, "stale": stale})
    running.engine.start()
    running.force(400.0)
    # where the row was late, it was stale before it as well
    raised = {FORCE, "press_1/stale"}
    until(lambda: {t.id for t in running.log if t.state == "unacknowledged"} == raised, what="both")
    until(lambda: running.engine.shelve("press_1/stale", 0.2, "anna", "") is not None)
    until(lambda: any(t.why == "its time is over" for t in running.log))
    running.engine.stop(10)
