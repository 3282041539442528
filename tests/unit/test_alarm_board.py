"""Alarms on a clock that only the test moves: delays, quality, states, floods, other rules."""

from __future__ import annotations

import logging
import math

import pytest

from gateway.alarms.conditions import Limit
from gateway.alarms.model import NotAllowed, State, UnknownAlarm
from gateway.alarms.settings import FloodConfig
from gateway.model import ALL, Row, make_parts
from tests.unit.enginekit import Hall, process_table, uncertain

FORCE = "press_1/force.high"
HIGH = {"kind": "limits", "tag": "press_1.process.force", "high": 300}


def test_a_limit_is_raised_by_the_row_and_told_with_its_values() -> None:
    hall = Hall({"force": HIGH})
    assert hall.row(299.0) == []
    (told,) = hall.row(301.5)
    assert (told.id, told.state, told.value, told.limit) == (FORCE, "unacknowledged", 301.5, 300)
    assert told.message == "press_1.process.force is 301.5 kN, above 300 kN"
    assert told.time_ns == hall.now.ns
    assert told.first_out
    (back,) = hall.row(250.0)
    assert (back.state, back.value) == ("returned", 250.0)
    assert back.message == "returned: press_1.process.force is 301.5 kN, above 300 kN"


def test_every_row_is_judged_not_only_the_newest() -> None:
    hall = Hall({"force": HIGH})
    hall.row(301.0)
    hall.row(299.0, after_s=0.0)
    assert hall.changes() == [
        "force.high normal>unacknowledged",
        "force.high unacknowledged>returned",
    ]


def test_hysteresis_holds_on_to_what_is_active_only() -> None:
    hall = Hall({"force": {**HIGH, "hysteresis": 10}})
    assert hall.row(295.0) == []
    hall.row(301.0)
    assert hall.row(291.0) == []
    assert [t.state for t in hall.row(290.0)] == ["returned"]
    assert hall.row(295.0) == []


def test_on_delay_counts_from_the_row_and_a_break_begins_it_anew() -> None:
    hall = Hall({"force": {**HIGH, "on_delay_s": 3}})
    hall.row(400.0)
    hall.row(400.0, after_s=2.0)
    hall.row(100.0, after_s=0.5)
    hall.row(400.0, after_s=0.5)
    hall.wait(2.9)
    assert hall.log == []
    hall.wait(0.1)  # no row is needed for it
    assert hall.changes() == ["force.high normal>unacknowledged"]


def test_off_delay_counts_from_the_row_that_is_good_again() -> None:
    hall = Hall({"force": {**HIGH, "off_delay_s": 5}})
    hall.row(400.0)
    hall.row(100.0)
    hall.row(400.0, after_s=4.0)
    hall.row(100.0)
    hall.wait(4.9)
    assert hall.state(FORCE) is State.UNACKNOWLEDGED
    hall.wait(0.2)
    assert hall.state(FORCE) is State.RETURNED


def test_a_tag_that_flips_every_poll_never_passes_a_delay_and_leaves_nothing_behind() -> None:
    hall = Hall({"force": {**HIGH, "on_delay_s": 86_000}})
    for _ in range(3000):
        hall.row(400.0, after_s=0.01)
        hall.row(100.0, after_s=0.01)
    assert hall.log == []
    assert len(hall.board._looks) < 100


def test_a_tag_that_flips_every_poll_without_delay_is_told_each_time_and_stays_unseen() -> None:
    hall = Hall({"force": HIGH})
    for _ in range(500):
        hall.row(400.0, after_s=0.01)
        hall.row(100.0, after_s=0.01)
    assert len(hall.log) == 1000
    assert [t.number for t in hall.log] == list(range(1, 1001))
    times = [t.time_ns for t in hall.log]
    assert times == sorted(set(times))
    assert hall.state(FORCE) is State.RETURNED


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_values_that_are_no_number_decide_nothing(value: float) -> None:
    fast = {"kind": "rate", "tag": "press_1.process.force", "rising": 1}
    hall = Hall({"force": HIGH, "low": {**HIGH, "high": None, "low": 10}, "fast": fast})
    hall.row(100.0)
    assert hall.row(value) == []
    assert hall.board.faults == 0


def test_a_bad_value_leaves_the_alarm_as_it_is() -> None:
    hall = Hall({"force": HIGH})
    hall.row(400.0)
    assert hall.row(None) == []
    assert hall.lost() == []
    hall.wait(3600)
    assert hall.state(FORCE) is State.UNACKNOWLEDGED
    assert hall.board.alarms[FORCE].rule_document()["not_known"] == "timeout"


def test_an_uncertain_value_counts_and_the_message_says_so() -> None:
    hall = Hall({"force": HIGH})
    (told,) = hall.row(400.0, marks={ALL: uncertain("cpu_stop")})
    assert told.message.endswith("(UNCERTAIN: cpu_stop)")


def test_a_delay_outlives_one_bad_poll_but_not_a_loss() -> None:
    hall = Hall({"force": {**HIGH, "on_delay_s": 4}})
    hall.row(400.0)
    hall.row(None)
    hall.row(400.0)
    hall.row(400.0, after_s=2.0)
    assert hall.changes() == ["force.high normal>unacknowledged"]
    hall = Hall({"force": {**HIGH, "on_delay_s": 8}})
    hall.row(400.0)
    hall.lost()
    hall.row(400.0, after_s=6.5)  # it was not known for longer than max_age_s
    hall.wait(1.0)
    assert hall.log == []
    for _ in range(8):
        hall.row(400.0)
    assert hall.changes() == ["force.high normal>unacknowledged"]


def test_the_bad_rule_sees_a_loss_and_its_end() -> None:
    rule = {"kind": "bad", "tag": "press_1.process.force", "on_delay_s": 30}
    hall = Hall({"bad": rule})
    hall.row()
    hall.lost()
    hall.wait(29)
    assert hall.log == []
    hall.wait(1)
    assert hall.log[0].message == "press_1.process.force is BAD: timeout"
    (back,) = hall.row()
    assert back.state == "returned"


def test_the_stale_rule_is_raised_by_time_alone_and_at_its_time() -> None:
    hall = Hall({"stale": {"kind": "stale", "tag": "press_1.process.force", "after_s": 5}})
    hall.row()
    hall.wait(4.999)
    assert hall.log == []
    hall.wait(0.002)
    assert hall.changes() == ["stale normal>unacknowledged"]
    hall.row(None)  # BAD is no value
    assert hall.state("press_1/stale") is State.UNACKNOWLEDGED
    (back,) = hall.row()
    assert back.state == "returned"


def test_stale_counts_from_the_start_where_no_row_ever_came() -> None:
    hall = Hall({"stale": {"kind": "stale", "tag": "press_1.process.force", "after_s": 5}})
    hall.wait(5.01)
    assert hall.changes() == ["stale normal>unacknowledged"]


def test_a_row_of_another_table_of_the_same_device_is_not_fresh_for_the_rule() -> None:
    stale = {"kind": "stale", "tag": "press_1.process.force", "after_s": 5}
    when = "press_1.process.force > 300 and press_1.totals.strokes > 9"
    hall = Hall({"stale": stale, "both": {"kind": "expression", "when": when}})
    hall.row(400.0)
    assert hall.strokes(5) == []
    hall.wait(3)
    (told,) = hall.strokes(10)
    assert told.alarm == "both"
    hall.wait(2.01)
    assert hall.changes()[-1] == "stale normal>unacknowledged"


def test_a_step_of_the_wall_clock_changes_no_delay_and_makes_nothing_old() -> None:
    stale = {"kind": "stale", "tag": "press_1.process.force", "after_s": 60}
    hall = Hall({"force": {**HIGH, "on_delay_s": 4}, "stale": stale})
    hall.row(400.0)
    hall.step_clock(86_400)
    hall.wait(3)
    assert hall.log == []
    hall.wait(1)
    assert hall.changes() == ["force.high normal>unacknowledged"]
    hall.step_clock(-2 * 86_400)
    (back,) = hall.row(100.0)
    assert back.time_ns == hall.now.ns  # the time of the row, not of the clock that was wrong


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


def test_a_rate_does_not_reach_over_a_pause() -> None:
    rule = {"kind": "rate", "tag": "press_1.process.temperature", "rising": 10, "per": "min",
            "window_s": 10, "while": "press_1.process.closed"}  # fmt: skip
    hall = Hall({"fast": rule})
    for _ in range(10):
        hall.row(temperature=20.0)
    hall.row(temperature=20.0, closed=False)
    for _ in range(4):
        assert hall.row(temperature=60.0)[1:] == []
    assert "fast normal>unacknowledged" not in hall.changes()
    for step in range(10):
        hall.row(temperature=60.0 + step)
    assert hall.changes()[-1] == "fast normal>unacknowledged"


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


# -- floods -----------------------------------------------------------------------------------


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


# -- other rules, other runs ------------------------------------------------------------------


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


def test_a_bug_in_one_rule_costs_that_rule_alone(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    hall = Hall({"force": HIGH, "hot": {"kind": "bad", "tag": "press_1.process.force"}})

    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("odd")

    monkeypatch.setattr(Limit, "judge", fail)
    with caplog.at_level(logging.ERROR):
        hall.row(400.0)
        hall.row(400.0)
    assert hall.board.faults == 1
    assert len(caplog.records) == 1
    assert [t.alarm for t in hall.lost()] == ["hot"]


def test_ten_thousand_rules_are_looked_at_only_where_their_table_is() -> None:
    tables = [process_table(f"m{i}") for i in range(1000)]
    rules = {f"r{i}": {**HIGH, "tag": f"m{i % 1000}.process.force"} for i in range(10_000)}
    hall = Hall(rules, tables=tables)
    row = Row(tables[7], hall.now.ns, make_parts(tables[7], [400.0, 1.0, True, "", "running"]))
    hall.board.put(row, hall.now)
    assert len(hall.log) == 10
    assert {t.device for t in hall.log} == {"m7"}
