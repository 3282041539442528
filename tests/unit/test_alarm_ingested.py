"""Rules over tags that other programs send: found in whatever comes, and never judged when old."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from gateway.alarms.model import State, Transition
from gateway.analysis.ingested import Ingested, LatestIngested, tag_table
from gateway.analysis.livetags import resolve
from gateway.hub import Hub
from gateway.ingest.shapes import Shape, Shapes
from gateway.model import Column, Kind, Mark, Row, Scalar, Table, bad, make_parts
from tests.unit.enginekit import START_NS, Hall

SHAPES = Shapes("hall-3", 100, 50, lambda name: name == "press_1")
KINDS: dict[type, Kind] = {float: "f8", int: "i8", bool: "b1", str: "str"}


def declared(interval_s: float = 1.0, key: str = "process") -> list[Table]:
    tags: list[tuple[str, Kind, str | None]] = [
        ("temp", "f8", "degC"), ("speed", "f8", None), ("door", "b1", None), ("mode", "str", None)
    ]  # fmt: skip
    return [tag_table("hall-3", "oven_7", key, *tag, interval_s) for tag in tags]


def row_of(
    time_ns: int,
    values: Mapping[str, Scalar],
    *,
    labels: Sequence[tuple[str, str]] = (),
    units: Mapping[str, str] | None = None,
    marks: dict[int, Mark] | None = None,
    table: str = "process",
) -> Row:
    """A row as a sender makes it."""
    units = units or {}
    columns = tuple(Column(n, KINDS[type(v)], units.get(n)) for n, v in values.items())
    made = SHAPES.table(Shape("oven_7", table, tuple(labels), columns))
    return Row(made, time_ns, make_parts(made, list(values.values())), marks)


class Oven(Hall):
    """A hall to which an oven's own program sends."""

    def __init__(self, rules: Mapping[str, Mapping[str, Any]], tables: list[Table] | None = None):
        super().__init__(rules, tables=tables or declared())

    def send(
        self, *, after_s: float = 1.0, old_s: float = 0.0, marks: dict[int, Mark] | None = None,
        labels: Sequence[tuple[str, str]] = (), units: Mapping[str, str] | None = None,
        **values: Scalar,
    ) -> list[Transition]:  # fmt: skip
        """A row comes; ``old_s``: so long ago is its time."""
        self.wait(after_s)
        before = len(self.log)
        time_ns = self.now.ns - round(old_s * 1e9)
        row = row_of(time_ns, values, labels=labels, units=units, marks=marks)
        self.board.put(row, self.now)
        return self.log[before:]

    def not_known(self, alarm: str) -> str:
        """Why it is not known whether the condition holds."""
        document = self.board.rule_document(self.board.alarms[alarm], self.now.s)
        return str(document["not_known"])


HOT = {"hot": {"kind": "limits", "tag": "oven_7.process.temp", "high": 900.0, "unit": "degC"}}
ID = "oven_7/hot.high"


def test_a_value_that_was_sent_raises_an_alarm_and_ends_it() -> None:
    oven = Oven(HOT)
    (told,) = oven.send(temp=901.0, speed=3.0)
    assert (told.device, told.state, told.value) == ("oven_7", State.UNACKNOWLEDGED, 901.0)
    assert oven.send(temp=850.0, speed=3.0)[0].state is State.RETURNED


def test_a_tag_is_found_in_each_combination_of_columns_and_keeps_its_own_age() -> None:
    oven = Oven(HOT)
    oven.send(temp=950.0, more=1.0)
    assert oven.state(ID) is State.UNACKNOWLEDGED
    for _ in range(8):  # another column alone says nothing of this one
        oven.send(speed=1.0)
    assert oven.state(ID) is State.UNACKNOWLEDGED
    rule = oven.board.alarms[ID]
    assert rule.verdict.holds is True
    both = {"kind": "expression", "device": "oven_7",
            "when": "oven_7.process.temp > 1 and oven_7.process.speed > 0"}  # fmt: skip
    oven.update({**HOT, "both": both})
    assert oven.not_known("oven_7/both") == "stale"
    oven.send(temp=1.5, after_s=0.1)
    assert oven.state("oven_7/both") is State.UNACKNOWLEDGED
    assert oven.state(ID) is State.RETURNED


def test_a_value_that_stopped_coming_is_stale_and_decides_nothing() -> None:
    rules = {**HOT, "silent": {"kind": "stale", "tag": "oven_7.process.temp", "after_s": 6}}
    rules["pair"] = {"kind": "expression", "device": "oven_7",
                     "when": "oven_7.process.temp > 900 and oven_7.process.speed > 0"}  # fmt: skip
    oven = Oven(rules)
    oven.send(temp=950.0)
    oven.wait(4.9)
    assert oven.not_known(ID) == ""
    oven.wait(0.6)
    assert oven.not_known(ID) == "stale"
    oven.send(speed=1.0, after_s=0.0)
    assert oven.not_known("oven_7/pair") == "stale"
    assert oven.state("oven_7/pair") is State.NORMAL
    oven.wait(1.0)
    assert oven.state("oven_7/silent") is State.UNACKNOWLEDGED


def test_the_declared_interval_says_how_old_a_value_may_be() -> None:
    oven = Oven(HOT, declared(interval_s=60.0))
    assert oven.board.alarms[ID].rule.max_age_s == 180.0
    assert oven.send(temp=950.0, old_s=100.0)


@pytest.mark.parametrize("old_s", [5.5, 3600.0, -3600.0])
def test_a_row_that_waited_at_its_sender_is_no_news(old_s: float) -> None:
    oven = Oven({**HOT, "bad": {"kind": "bad", "tag": "oven_7.process.temp"}})
    assert not oven.send(temp=950.0, old_s=old_s)
    assert not oven.send(temp=950.0, old_s=old_s, marks={0: bad("timeout")})
    assert oven.not_known(ID) == "no_data"
    (problem,) = oven.board.ingested.problems()
    side = "ahead of" if old_s < 0 else "behind"
    assert f"'oven_7.process.temp' come, but their time is {abs(old_s):,.0f} s {side}" in problem
    assert oven.send(temp=950.0)
    assert not list(oven.board.ingested.problems())


def test_what_came_late_is_old_the_sooner() -> None:
    pair = {"kind": "expression", "device": "oven_7",
            "when": "oven_7.process.temp > 900 and oven_7.process.speed > 0"}  # fmt: skip
    oven = Oven({"pair": pair})
    oven.send(temp=950.0, old_s=4.0)
    oven.send(speed=1.0, after_s=2.0)
    assert oven.not_known("oven_7/pair") == "stale"


def test_a_row_that_is_older_than_what_came_in_another_table_changes_nothing() -> None:
    oven = Oven(HOT)
    oven.send(temp=850.0)
    assert not oven.send(temp=950.0, speed=1.0, after_s=0.5, old_s=2.0)
    assert oven.board.alarms[ID].verdict.value == 850.0


def test_what_is_not_as_declared_is_bad_and_the_status_says_so() -> None:
    rules = {
        **HOT,
        "bad": {"kind": "bad", "tag": "oven_7.process.temp"},
        "mode": {"kind": "expression", "when": "oven_7.process.mode == 'auto'"},
        "door": {"kind": "expression", "when": "oven_7.process.door"},
    }
    oven = Oven(rules)
    (told,) = oven.send(temp="950")
    assert (told.alarm, told.message[-6:]) == ("bad", ": type")
    assert oven.not_known(ID) == "type"
    oven.send(mode=3.0)
    assert oven.not_known("oven_7/mode") == "type"
    assert list(oven.board.ingested.problems()) == [
        "'oven_7.process.temp' does not come as declared: text",
        "'oven_7.process.mode' does not come as declared: number",
    ]
    oven.send(temp=1200.0, units={"temp": "degF"})
    assert oven.not_known(ID) == "unit"
    assert "does not come as declared: unit degF" in list(oven.board.ingested.problems())[-1]
    assert oven.send(temp=950, units={"temp": "degC"})
    assert oven.send(mode="auto", door=1)[0].alarm in ("mode", "door")
    assert oven.state("oven_7/door") is oven.state("oven_7/mode") is State.UNACKNOWLEDGED


def test_marks_of_the_sender_hold() -> None:
    oven = Oven(HOT)
    assert not oven.send(temp=950.0, marks={0: bad("sensor")})
    assert oven.not_known(ID) == "sensor"


def test_a_module_has_tags_of_its_own() -> None:
    rule = {"z": {"kind": "limits", "tag": "oven_7.process.zone_1.temp", "high": 900.0}}
    oven = Oven(rule, declared(key="process.zone_1"))
    assert not oven.send(temp=950.0)
    assert not oven.send(temp=950.0, labels=[("module", "zone_2")])
    assert oven.send(temp=950.0, labels=[("module", "zone_1")])


def test_a_reload_keeps_what_is_known_of_a_tag() -> None:
    pair = {"kind": "expression", "device": "oven_7",
            "when": "oven_7.process.temp > 900 and oven_7.process.speed > 0"}  # fmt: skip
    oven = Oven({"pair": pair})
    oven.send(temp=950.0)
    oven.tables = declared()
    oven.update({"pair": pair})
    oven.send(speed=1.0)
    assert oven.state("oven_7/pair") is State.UNACKNOWLEDGED
    oven.tables = declared()
    oven.wait(4.5)
    oven.update({"pair": pair})
    assert oven.not_known("oven_7/pair") == "stale"


def test_rows_without_a_declared_tag_are_not_wanted() -> None:
    tags = Ingested(declared())
    assert not tags.wants(row_of(START_NS, {"pressure": 1.0}).table)
    assert not tags.wants(row_of(START_NS, {"temp": 1.0}, table="other").table)
    assert tags.wants(row_of(START_NS, {"temp": 1.0}).table)
    own = Table("process", "oven_7", [Column("temp", "f8")])  # not of a sender
    assert not tags.wants(own)


def test_operating_states_read_the_newest_value_and_it_stands_in_no_list(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    tag = resolve("oven_7.process.speed", declared())
    hub = Hub()
    receiver = LatestIngested(hub.latest)
    receiver.update([tag.table])
    hub.attach(receiver)
    monkeypatch.setattr("gateway.analysis.ingested.time.time_ns", lambda: START_NS)
    row = row_of(START_NS, {"speed": 1480.0, "temp": 2.0})
    hub.publish_all([row])
    assert tag.read(hub.latest, START_NS, 2.0).value == 1480.0
    assert tag.read(hub.latest, START_NS + 3 * 10**9, 2.0).reason == "stale"
    assert list(hub.latest.rows()) == [row]
    receiver.update([])
    assert tag.read(hub.latest, START_NS, 2.0).reason == "no_data"
