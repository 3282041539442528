"""Alarms acknowledged, latched, shelved and suppressed; many at once."""

from __future__ import annotations

import pytest

from gateway.alarms.model import NotAllowed, State, UnknownAlarm
from gateway.alarms.settings import FloodConfig
from tests.unit.enginekit import Hall

FORCE = "press_1/force.high"
HIGH = {"kind": "limits", "tag": "press_1.process.force", "high": 300}


def test_latching_stays_until_a_person_resets_it() -> None:
    hall = Hall({"force": {**HIGH, "latch": True}})
    hall.row(400.0)
    hall.acknowledge(FORCE)
    (gone,) = hall.row(100.0)
    assert gone.state == "latched"
    assert hall.acknowledge(FORCE, "bert", "reset").state == "normal"
    assert hall.board.standing.documents() == []


def test_shelving_while_latched_covers_it_and_it_comes_back_latched() -> None:
    hall = Hall({"force": {**HIGH, "latch": True}})
    hall.row(400.0)
    hall.row(100.0)
    hall.shelve(FORCE, 60)
    with pytest.raises(NotAllowed, match="it is shelved"):
        hall.acknowledge(FORCE)
    hall.wait(59.9)
    assert hall.state(FORCE) is State.SHELVED
    hall.wait(0.2)
    assert hall.state(FORCE) is State.LATCHED
    assert hall.log[-1].why == "its time is over"


def test_an_alarm_that_comes_while_it_is_shelved_is_followed_but_not_told() -> None:
    hall = Hall({"force": HIGH})
    hall.shelve(FORCE, 60)
    told = len(hall.log)
    hall.row(400.0)
    assert len(hall.log) == told
    assert hall.kept[FORCE]["inner"] == "unacknowledged"
    hall.wait(60)
    assert hall.state(FORCE) is State.UNACKNOWLEDGED


def test_a_shelf_can_be_made_longer_and_ends_once() -> None:
    hall = Hall({"force": HIGH})
    hall.shelve(FORCE, 10)
    hall.wait(5)
    hall.shelve(FORCE, 10)
    hall.wait(6)
    assert hall.state(FORCE) is State.SHELVED
    hall.wait(5)
    assert [t.state for t in hall.log] == ["shelved", "shelved", "normal"]


def test_acknowledging_twice_is_refused_with_words() -> None:
    hall = Hall({"force": HIGH})
    hall.row(400.0)
    hall.acknowledge(FORCE)
    with pytest.raises(NotAllowed, match=r"press_1/force\.high.*acknowledged already"):
        hall.acknowledge(FORCE)
    with pytest.raises(UnknownAlarm, match=r"did you mean 'press_1/force\.high'"):
        hall.acknowledge("press_1/force.hihg")


def test_first_out_is_the_first_since_all_of_the_device_were_normal() -> None:
    hall = Hall({"force": HIGH, "hot": {"kind": "limits", "tag": "press_1.process.temperature",
                                        "high": 80}})  # fmt: skip
    (first,) = hall.row(400.0)
    (second,) = hall.row(400.0, 90.0)
    assert (first.first_out, second.first_out) == (True, False)
    hall.row(100.0, 90.0)
    (again,) = hall.row(400.0, 90.0)
    assert again.first_out  # it never was normal since
    hall.acknowledge(FORCE)
    hall.acknowledge("press_1/hot.high")
    hall.row(100.0, 20.0)
    (first,) = hall.row(100.0, 90.0)
    assert first.alarm == "hot.high"
    assert first.first_out


def test_operating_states_suppress_and_a_state_that_is_not_known_changes_nothing() -> None:
    rule = {**HIGH, "states": ["running"], "on_delay_s": 2}
    hall = Hall({"force": rule}, states={"press_1": ["running", "idle"]})
    hall.row(400.0, state="idle")
    assert hall.state(FORCE) is State.SUPPRESSED
    hall.row(400.0, state="unknown")
    assert hall.state(FORCE) is State.SUPPRESSED
    hall.row(400.0)
    assert hall.state(FORCE) is State.NORMAL
    hall.wait(2)
    assert hall.state(FORCE) is State.UNACKNOWLEDGED
    hall.row(400.0, state="idle")  # what nobody has seen stays in sight
    assert hall.state(FORCE) is State.RETURNED
    hall.acknowledge(FORCE)
    assert hall.state(FORCE) is State.SUPPRESSED


def test_while_suppresses_by_an_expression() -> None:
    hall = Hall({"force": {**HIGH, "while": "press_1.process.closed"}})
    assert [t.state for t in hall.row(400.0, closed=False)] == ["suppressed"]
    assert [t.state for t in hall.row(400.0)] == ["unacknowledged"]


def test_while_the_flood_is_shelved_nothing_is_kept_from_those_who_cannot_be_told_of_it() -> None:
    flood = FloodConfig.model_validate({"alarms": 3, "window_s": 60, "ends_below": 2})
    rules = {f"f{i}": {**HIGH, "high": 300 + i} for i in range(8)}
    hall = Hall(rules, flood=flood)
    hall.shelve("gateway/flood", 3600.0)
    hall.log.clear()
    hall.row(400.0)
    assert [t.notify for t in hall.log] == [None] * 8


def test_a_flood_is_one_message_and_nothing_is_lost() -> None:
    flood = FloodConfig.model_validate({"alarms": 3, "window_s": 60, "ends_below": 2})
    rules = {f"f{i}": {**HIGH, "high": 300 + i} for i in range(6)}
    rules["urgent"] = {**HIGH, "severity": "critical"}
    hall = Hall(rules, flood=flood)
    hall.row(400.0)
    told = {t.alarm: t for t in hall.log}
    assert len(hall.log) == 8  # each is recorded, and the flood
    pushed = [t.alarm for t in hall.log if t.notify is None]
    assert pushed == ["f0.high", "f1.high", "f2.high", "flood", "urgent.high"]
    assert told["flood"].id == "gateway/flood"
    assert "more than 3 new alarms in 60 s" in told["flood"].message
    hall.row(100.0)
    hall.wait(61)
    assert hall.log[-1].alarm == "flood"
    assert hall.log[-1].state == "returned"
    assert hall.log[-1].message == "the alarm flood is over; not notified: 9"
    hall.acknowledge("gateway/flood")
    hall.row(301.5)
    assert hall.log[-1].notify is None


def test_a_rules_own_notifiers_are_those_that_are_told() -> None:
    hall = Hall({"force": {**HIGH, "notify": ["shift"]}})
    (told,) = hall.row(400.0)
    assert told.notify == ("shift",)
