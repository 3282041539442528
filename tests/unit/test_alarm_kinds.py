"""Each kind of rule on values just within and just beyond; and the states by themselves."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.alarms.machine import Machine
from gateway.alarms.model import NotAllowed, State
from gateway.alarms.slope import MOST, Slope
from gateway.model import ALL, Column, Row, Table, bad, make_parts
from tests.unit.enginekit import Hall, uncertain

LABELS = [("gateway", "hall-3"), ("device", "pump_1"), ("channel", "de")]
VIBRATION = Table(
    "vibration", "pump_1",
    [Column("velocity_rms_avg", "f4", "mm/s"), Column("bpfo_ratio", "f4"),
     Column("bpfo_ratio_avg", "f4"), Column("bpfo_harmonics", "f4")],
    LABELS, "vibration", 1.0,
)  # fmt: skip
SECOND = 1_000_000_000


class Pump(Hall):
    def __init__(self, **rules: dict[str, Any]) -> None:
        super().__init__(rules, tables=[VIBRATION])

    def features(self, velocity: float = 1.0, ratio: float = 1.0, harmonics: float = 0.0) -> Any:
        self.wait(1.0)
        before = len(self.log)
        parts = make_parts(VIBRATION, [velocity, ratio, ratio, harmonics])
        self.board.put(Row(VIBRATION, self.now.ns, parts), self.now)
        return [f"{t.alarm} {t.state}" for t in self.log[before:]]


def test_four_limits_are_four_alarms_the_outer_ones_more_severe() -> None:
    rule = {"kind": "limits", "tag": "press_1.process.force",
            "low_low": 1, "low": 10, "high": 300, "high_high": 400}  # fmt: skip
    hall = Hall({"force": rule})
    assert [t.alarm for t in hall.row(9.0)] == ["force.low"]
    assert [(t.alarm, t.severity) for t in hall.row(0.5)] == [("force.low_low", "high")]
    assert [t.alarm for t in hall.row(401.0)] == [
        "force.low_low", "force.low", "force.high", "force.high_high",
    ]  # fmt: skip
    assert hall.row(400.5) == []


def test_a_value_on_its_limit_is_within_it() -> None:
    rule = {"kind": "limits", "tag": "press_1.process.force", "low": 45.2, "high": 45.3}
    hall = Hall({"force": rule})
    assert hall.row(45.2) == []  # as a float32 it is 45.200000762939453
    assert hall.row(45.3) == []
    assert len(hall.row(45.31)) == 1


@pytest.mark.parametrize(
    ("rule", "step", "told"),
    [
        ({"rising": 6}, 0.11, True),
        ({"rising": 6}, 0.09, False),
        ({"falling": 6}, -0.11, True),
        ({"falling": 6}, 0.11, False),
        ({"rising": 360, "per": "h"}, 0.11, True),
        ({"rising": 0.1, "per": "s"}, 0.09, False),
    ],
)
def test_a_rate_is_a_slope_in_its_unit_of_time(
    rule: dict[str, Any], step: float, told: bool
) -> None:
    given = {"kind": "rate", "tag": "press_1.process.temperature", "window_s": 20, **rule}
    hall = Hall({"fast": given})
    for at in range(40):
        hall.row(temperature=50 + step * at)
    assert bool(hall.log) is told
    if told:
        assert hall.log[0].unit == f"degC/{rule.get('per', 'min')}"
        assert hall.log[0].value == pytest.approx(
            step * {"s": 1, "min": 60, "h": 3600}[rule.get("per", "min")]
        )


def test_a_deviation_is_of_its_baseline_on_both_sides() -> None:
    tag = {"kind": "deviation", "tag": "press_1.process.temperature", "baseline": -20}
    hall = Hall({"a": {**tag, "above": 5, "below_percent": 10}})
    assert hall.row(temperature=-15.0) == []
    assert hall.row(temperature=-14.9)[0].limit == -15
    assert [t.state for t in hall.row(temperature=-21.9)] == ["returned"]
    assert hall.row(temperature=-22.1)[0].limit == -22


@pytest.mark.parametrize(("baseline", "limit"), [(1.0, 1.7), (3.0, 3.5)])
def test_a_deviation_by_zones_is_bounded_by_them(baseline: float, limit: float) -> None:
    zones = {"boundaries_mm_s": [1.4, 2.8, 4.5], "provenance": "test"}
    rule = {"kind": "deviation", "tag": "pump_1.vibration.de.velocity_rms_avg",
            "baseline": baseline, "zones": zones}  # fmt: skip
    pump = Pump(vib=rule)
    assert pump.features(velocity=limit - 0.01) == []
    assert pump.features(velocity=limit + 0.01) == ["vib unacknowledged"]
    assert pump.log[0].limit == pytest.approx(limit)


def test_zones_are_two_alarms() -> None:
    rule = {"kind": "zone", "tag": "pump_1.vibration.de.velocity_rms_avg",
            "zones": "iso_20816_3_group_2_rigid", "hysteresis": 0.1}  # fmt: skip
    pump = Pump(vib=rule)
    assert pump.features(velocity=2.8) == []
    assert pump.features(velocity=2.9) == ["vib.C unacknowledged"]
    assert pump.features(velocity=4.6) == ["vib.D unacknowledged"]
    assert pump.log[-1].severity == "high"
    assert pump.features(velocity=4.45) == []
    assert pump.features(velocity=2.6) == ["vib.C returned", "vib.D returned"]


def test_a_bearing_needs_its_line_and_enough_harmonics() -> None:
    rule = {"kind": "bearing", "channel": "pump_1.vibration.de", "line": "bpfo", "ratio": 8,
            "harmonics": 3}  # fmt: skip
    pump = Pump(outer=rule)
    assert pump.board.alarms["pump_1/outer"].rule_document()["tags"] == [
        "pump_1.vibration.de.bpfo_ratio_avg", "pump_1.vibration.de.bpfo_harmonics",
    ]  # fmt: skip
    assert pump.features(ratio=50, harmonics=2) == []
    assert pump.features(ratio=8, harmonics=6) == []
    assert pump.features(ratio=9, harmonics=3) == ["outer unacknowledged"]


def test_an_expression_that_is_not_known_changes_nothing_but_one_that_is_decided_does() -> None:
    either = {"kind": "expression", "when": "press_1.process.closed or press_1.process.force > 5"}
    hall = Hall({"any": either})
    assert hall.row(None, closed=False) == []
    assert len(hall.row(None, closed=True)) == 1  # whatever the force is
    assert hall.row(None, closed=False) == []
    assert len(hall.row(1.0, closed=False)) == 1


def test_uncertain_values_are_bad_only_where_that_is_asked_for() -> None:
    tag = {"kind": "bad", "tag": "press_1.process.force"}
    hall = Hall({"strict": {**tag, "uncertain": True}, "plain": tag})
    assert [t.alarm for t in hall.row(marks={ALL: uncertain()})] == ["strict"]
    assert [t.alarm for t in hall.row(marks={0: bad("address")})] == ["plain"]


def test_a_slope_keeps_few_points_of_a_fast_tag_and_begins_anew_where_time_steps_back() -> None:
    slope = Slope(10.0)
    for at in range(20_000):
        slope.add(at * 10_000_000, at * 0.01 * 3)
    assert len(slope._points) <= 2 * MOST + 2
    assert slope.per_s() == pytest.approx(3.0)
    slope.add(5, 1.0)
    assert slope.per_s() is None


def test_huge_values_make_no_slope_that_is_a_number_and_no_fault() -> None:
    rule = {"kind": "rate", "tag": "press_1.process.temperature", "rising": 1, "window_s": 4}
    hall = Hall({"fast": rule})
    for value in (1e308, -1e308, 1e308, -1e308, 1e308, -1e308):
        hall.row(temperature=value)
    assert hall.board.faults == 0
    for told in hall.log:
        assert told.value is None or math.isfinite(told.value)


# -- the states by themselves -----------------------------------------------------------------

EVENTS = ("raised", "cleared", "acknowledge", "shelve", "unshelve", "suppress", "release")


def after(machine: Machine, event: str) -> None:
    try:
        if event in ("suppress", "release"):
            machine.suppress(event == "suppress")
        else:
            getattr(machine, event)()
    except NotAllowed:
        pass


@given(st.booleans(), st.lists(st.sampled_from(EVENTS), max_size=40))
def test_whatever_happens_nothing_that_nobody_has_seen_goes_away(
    latch: bool, events: list[str]
) -> None:
    machine = Machine(latch)
    for event in events:
        before, was = machine.state, machine.inner
        after(machine, event)
        if machine.inner is State.NORMAL and was in (State.UNACKNOWLEDGED, State.LATCHED):
            assert event == "acknowledge"
        if machine.shelved:
            assert machine.state is State.SHELVED
            assert event != "acknowledge" or before is State.SHELVED
        if machine.active and machine.suppressed:
            raise AssertionError("suppressed, and active")
        if was is State.ACKNOWLEDGED and latch and event == "cleared":
            assert machine.inner is State.LATCHED
