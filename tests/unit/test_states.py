"""Operating states: rules in their order, and unknown where one cannot be decided."""

from __future__ import annotations

import pickle
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.analysis.livetags import resolve
from gateway.analysis.states import UNKNOWN, StateRules
from gateway.errors import GatewayError
from gateway.latest import Latest
from gateway.model import Column, Mark, Quality, Row, Scalar, Table, bad, make_parts

NOW_NS = 1_800_000_000_000_000_000
PROCESS = Table(
    "process",
    "plc-1",
    [Column("running", "b1"), Column("speed", "f4", "rpm"), Column("mode", "str")],
)
INPUTS = {
    "running": resolve("plc-1.process.running", [PROCESS]),
    "speed": resolve("plc-1.process.speed", [PROCESS]),
}
RULES = {
    "stopped": "not running",
    "nominal": "running and 1450 < speed < 1550",
    "by_hand": '`plc-1`.process.mode == "hand"',
}


def make(
    rules: dict[str, str] = RULES, publish_in: list[str] | None = None, otherwise: str = "other"
) -> StateRules:
    return StateRules.make(rules, INPUTS, [PROCESS], otherwise, publish_in, 2.0)


def latest(
    running: Scalar, speed: Scalar, mode: str = "auto", marks: dict[int, Mark] | None = None,
    age_s: float = 0.0,
) -> Latest:  # fmt: skip
    newest = Latest()
    time_ns = NOW_NS - round(age_s * 1e9)
    newest.put(Row(PROCESS, time_ns, make_parts(PROCESS, [running, speed, mode]), marks))
    return newest


@pytest.mark.parametrize(
    ("running", "speed", "mode", "state"),
    [
        (False, 1500, "hand", "stopped"),
        (True, 1500, "hand", "nominal"),
        (True, 1400, "hand", "by_hand"),
        (True, 1400, "auto", "other"),
    ],
)
def test_the_first_rule_that_holds_names_the_state(
    running: bool, speed: float, mode: str, state: str
) -> None:
    assert make().evaluate(latest(running, speed, mode), NOW_NS) == state


@pytest.mark.parametrize(
    ("marks", "running", "state"),
    [
        ({1: bad("timeout")}, False, "stopped"),  # decided before the speed is asked for
        ({1: bad("timeout")}, True, UNKNOWN),
        ({0: bad("timeout")}, True, UNKNOWN),
        ({2: bad("timeout")}, True, "nominal"),
        ({1: Mark(Quality.UNCERTAIN, "clock")}, True, "nominal"),
    ],
)
def test_it_is_unknown_where_a_rule_that_comes_first_cannot_be_decided(
    marks: dict[int, Mark], running: bool, state: str
) -> None:
    assert make().evaluate(latest(running, 1500, marks=marks), NOW_NS) == state


def test_old_tags_and_missing_rows_make_it_unknown() -> None:
    assert make().evaluate(latest(True, 1500, age_s=1.9), NOW_NS) == "nominal"
    assert make().evaluate(latest(True, 1500, age_s=2.1), NOW_NS) == UNKNOWN
    assert make().evaluate(Latest(), NOW_NS) == UNKNOWN


def test_a_rule_may_say_what_is_when_nothing_is_known() -> None:
    rules = make({"offline": "not known(speed)", "turning": "speed > 1"})
    assert rules.evaluate(Latest(), NOW_NS) == "offline"
    assert rules.evaluate(latest(True, 3), NOW_NS) == "turning"


def test_a_tag_may_be_the_rule_and_a_text_decides_nothing() -> None:
    rules = make({"on": "`plc-1.process.running`", "odd": "`plc-1`.process.mode"})
    assert rules.evaluate(latest(True, 0), NOW_NS) == "on"
    assert rules.evaluate(latest(False, 0), NOW_NS) == UNKNOWN


def test_features_are_stored_in_the_chosen_states_and_where_it_is_unknown() -> None:
    gated = make(publish_in=["nominal", "other"])
    states = ("stopped", "nominal", "by_hand", "other", UNKNOWN)
    assert [gated.publishes(s) for s in states] == [False, True, False, True, True]
    assert all(make().publishes(s) for s in states)
    assert [make(publish_in=[]).publishes(s) for s in states] == [False] * 4 + [True]


@pytest.mark.parametrize(
    ("rules", "message"),
    [
        ({"a": "speed >"}, "state 'a', column 8: the expression ends too early"),
        ({"a": "sped > 3"}, "state 'a', column 1: unknown name 'sped'; did you mean 'speed'?"),
        ({"a": "1 < zzz"}, "state 'a', column 5: unknown tag 'zzz'; expected device.table.tag"),
        ({"a": "`plc-1`.process.sped"}, "did you mean 'plc-1.process.speed'?"),
        ({"a": "1 < plc-x.process.speed"}, "column 5: unknown tag 'plc'"),
        ({"a": "1 < plc-x.process.speed"}, "(names with '-' stand in backquotes)"),
        ({"a": "speed + 1"}, "a number is no rule; expected a condition"),
        ({"a": "'x'"}, "a text is no rule"),
        ({"unknown": "speed > 1"}, "'unknown' is what no rule decides"),
    ],
)
def test_mistakes_in_rules_get_words(rules: dict[str, str], message: str) -> None:
    with pytest.raises(GatewayError, match=re.escape(message)):
        make(rules)


def test_all_mistakes_are_told_at_once() -> None:
    with pytest.raises(GatewayError) as caught:
        make({"a": "speed >", "nominal": "1"}, publish_in=["nominl", "x"])
    lines = str(caught.value).splitlines()
    assert [line.split(";")[0] for line in lines] == [
        "unknown state 'nominl'",
        "unknown state 'x'",
        "state 'a', column 8: the expression ends too early",
        "state 'nominal', column 1: a number is no rule",
    ]
    assert lines[0].endswith("did you mean 'nominal'?")
    assert lines[1].endswith("states: a, nominal, other, unknown")


def test_pickled_with_the_table_they_still_read_it() -> None:
    rules, table = pickle.loads(pickle.dumps((make(), PROCESS)))
    newest = Latest()
    newest.put(Row(table, NOW_NS, make_parts(table, [True, 1500, "auto"])))
    assert rules.evaluate(newest, NOW_NS) == "nominal"


@given(
    st.booleans(), st.sampled_from([1400.0, 1500.0]), st.sampled_from(["hand", "auto"]),
    st.sets(st.integers(0, 2)),
)  # fmt: skip
def test_what_is_said_with_gaps_is_what_is_said_without(
    running: bool, speed: float, mode: str, gaps: set[int]
) -> None:
    whole = make().evaluate(latest(running, speed, mode), NOW_NS)
    marks = {column: bad("timeout") for column in gaps}
    assert make().evaluate(latest(running, speed, mode, marks), NOW_NS) in (whole, UNKNOWN)
