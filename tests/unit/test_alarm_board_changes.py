"""Alarms over restarts and reloads: what is kept, what begins anew, what is told."""

from __future__ import annotations

import pytest

from gateway.alarms.model import State
from tests.unit.enginekit import Hall, process_table

FORCE = "press_1/force.high"
HIGH = {"kind": "limits", "tag": "press_1.process.force", "high": 300}


def test_a_learned_baseline_is_kept_over_a_restart_and_over_another_limit() -> None:
    rule = {"kind": "deviation", "tag": "press_1.process.temperature", "above": 5,
            "learn": {"rows": 4}}  # fmt: skip
    hall = Hall({"drift": rule})
    for temperature in (19.0, 21.0, 20.0, 20.0):
        hall.row(temperature=temperature)
    assert hall.board.alarms["press_1/drift"].rule_document()["baseline"] == pytest.approx(20.0)
    for alarm in hall.board.learning():
        hall.changed(alarm)
    hall.restart({"drift": {**rule, "above": 8}})
    assert hall.row(temperature=27.0) == []
    (told,) = hall.row(temperature=28.5)
    assert told.limit == pytest.approx(28.0)


def test_a_restart_keeps_states_and_says_what_happened_meanwhile() -> None:
    hall = Hall({"force": HIGH})
    hall.row(400.0)
    hall.acknowledge(FORCE)
    hall.restart({"force": HIGH})
    assert hall.state(FORCE) is State.ACKNOWLEDGED
    assert hall.row(400.0) == []
    (back,) = hall.row(100.0)
    assert (back.state, back.number) == ("normal", 3)


def test_a_shelf_goes_on_over_a_restart_but_never_longer_than_was_asked_for() -> None:
    hall = Hall({"force": HIGH})
    hall.shelve(FORCE, 100)
    hall.restart({"force": HIGH}, after_s=40)
    hall.wait(59)
    assert hall.state(FORCE) is State.SHELVED
    hall.wait(2)
    assert hall.state(FORCE) is State.NORMAL
    hall.shelve(FORCE, 100)
    hall.restart({"force": HIGH}, after_s=-86_400)  # the clock was set back
    hall.wait(101)
    assert hall.state(FORCE) is State.NORMAL


def test_a_rule_that_changed_begins_anew_and_what_it_was_is_told() -> None:
    hall = Hall({"force": HIGH})
    hall.row(400.0)
    hall.update({"force": {**HIGH, "high": 350}})
    assert (hall.log[1].state, hall.log[1].why) == ("normal", "its rule was changed")
    assert hall.log[2].limit == 350  # judged by the other limit at once
    assert hall.row(400.0) == []
    hall.restart({"force": HIGH})
    assert [t.why for t in hall.log if t.state == "normal"] == ["its rule was changed"] * 2


def test_words_and_notifiers_of_a_rule_may_change_while_it_stands() -> None:
    hall = Hall({"force": HIGH})
    hall.row(400.0)
    hall.update({"force": {**HIGH, "message": "too much", "notify": ["shift"]}})
    assert len(hall.log) == 1
    assert hall.state(FORCE) is State.UNACKNOWLEDGED


def test_a_reload_that_removes_an_active_alarm_tells_it() -> None:
    hall = Hall({"force": HIGH, "hot": {**HIGH, "tag": "press_1.process.temperature"}})
    hall.row(400.0)
    hall.update({"hot": {**HIGH, "tag": "press_1.process.temperature"}})
    assert (hall.log[-1].state, hall.log[-1].why) == ("normal", "its rule was removed")
    assert FORCE not in hall.kept
    assert hall.board.standing.documents() == []


def test_a_device_that_is_removed_while_the_gateway_is_stopped_is_told_too() -> None:
    hall = Hall({"force": HIGH})
    hall.row(400.0)
    hall.restart({})
    last = hall.log[-1]
    assert (last.id, last.state, last.why) == (FORCE, "normal", "its rule was removed")
    assert (last.from_state, last.unit, last.condition) == ("unacknowledged", "kN", "high")
    assert hall.kept == {}


def test_rows_of_a_table_that_was_made_anew_are_judged_by_the_same_alarm() -> None:
    hall = Hall({"force": {**HIGH, "on_delay_s": 2}})
    hall.row(400.0)
    old = hall.process
    hall.process = process_table()
    plan = hall.plan({"force": {**HIGH, "on_delay_s": 2}})
    plan.bind({("press_1", "process"): hall.process})
    hall.board.update(plan, hall.now)
    assert old not in hall.board.tables
    hall.row(400.0)
    hall.row(400.0)
    assert hall.changes() == ["force.high normal>unacknowledged"]


@pytest.mark.parametrize("kept", [{}, {"inner": "odd"}, {"inner": "shelved"}, {"inner": "normal"}])
def test_a_state_that_was_damaged_on_disk_begins_anew(kept: dict[str, object]) -> None:
    hall = Hall({"force": HIGH})
    hall.kept[FORCE] = dict(kept)
    hall.kept["gone_1/force.high"] = dict(kept)
    hall.restart({"force": HIGH})
    assert hall.state(FORCE) is State.NORMAL
    assert [t.state for t in hall.row(400.0)] == ["unacknowledged"]
