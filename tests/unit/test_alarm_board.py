"""Alarms on a clock that only the test moves: what raises them, delays, quality, time."""

from __future__ import annotations

import logging
import math

import pytest

from gateway.alarms.conditions import Limit
from gateway.alarms.model import State
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
