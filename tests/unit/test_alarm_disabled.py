"""Alarms of a device that is disabled: its silence is somebody's will, and no alarm."""

from __future__ import annotations

import random

from gateway.alarms.model import NotAllowed, Severity, State
from gateway.model import Row, bad_row, make_parts
from tests.unit.enginekit import Hall, process_table

FORCE = "press_1.process.force"
SILENT = {"silent": {"kind": "stale", "tag": FORCE, "after_s": 5}}


def off(hall: Hall, *devices: str) -> None:
    hall.board.disable(frozenset(devices), hall.now)


def switched_off(hall: Hall) -> None:
    """As the gateway does it: told first, then its values are BAD once."""
    off(hall, "press_1")
    hall.board.put(bad_row(hall.process, hall.now.ns, "disabled"), hall.now)


def test_neither_silence_nor_bad_values_of_a_disabled_device_are_alarms() -> None:
    hall = Hall({**SILENT, "bad": {"kind": "bad", "tag": FORCE}})
    hall.row()
    switched_off(hall)
    hall.wait(3600.0)
    assert hall.changes() == ["silent normal>suppressed", "bad normal>suppressed"]
    assert {t.why for t in hall.log} == {"its device is disabled"}
    off(hall)
    assert hall.state("press_1/silent") is State.NORMAL
    assert hall.state("press_1/bad") is State.NORMAL
    hall.wait(4.9)
    assert len(hall.log) == 4
    hall.wait(0.2)  # it was switched on, and does not answer
    assert hall.changes()[4:] == ["silent normal>unacknowledged"]


def test_what_nobody_has_acknowledged_stays_in_sight_while_its_device_is_disabled() -> None:
    hall = Hall({"force": {"kind": "limits", "tag": FORCE, "high": 300, "latch": True}})
    hall.row(400.0)
    switched_off(hall)
    assert hall.changes()[1:] == ["force.high unacknowledged>latched"]
    hall.acknowledge("press_1/force.high")
    assert hall.state("press_1/force.high") is State.SUPPRESSED


def test_a_rule_that_also_looks_at_another_device_goes_on() -> None:
    other = process_table("press_2")
    both = {"kind": "expression", "when": f"{FORCE} > 300 or press_2.process.force > 300"}
    hall = Hall({"both": both}, tables=[process_table(), other])
    off(hall, "press_1")
    parts = make_parts(other, [400.0, 20.0, True, "", "running"])
    hall.board.put(Row(other, hall.now.ns, parts), hall.now)
    assert [t.state for t in hall.log] == ["unacknowledged"]


def test_it_holds_over_a_reload_and_for_rules_that_come_with_it() -> None:
    hall = Hall({})
    switched_off(hall)
    hall.update(SILENT)
    hall.wait(60.0)
    assert hall.changes() == ["silent normal>suppressed"]


def test_the_counts_of_the_status_are_those_of_the_list_whatever_happens() -> None:
    chance = random.Random(7)
    severities = [severity.value for severity in Severity]
    hall = Hall({})
    for step in range(400):
        if step % 40 == 0:
            hall.update(
                {
                    f"r{i}": {
                        "kind": "limits",
                        "tag": FORCE,
                        "high": 100 * (i + 1),
                        "latch": chance.random() < 0.3,
                        "severity": chance.choice(severities),
                    }
                    for i in range(8)
                    if chance.random() < 0.8
                }
            )
        hall.row(chance.choice([50.0, 250.0, 450.0, 900.0]))
        alarm = chance.choice(sorted(hall.board.alarms))
        try:
            if chance.random() < 0.5:
                hall.acknowledge(alarm)
            else:
                hall.shelve(alarm)
        except NotAllowed:
            off(hall, *(["press_1"] if chance.random() < 0.3 else []))
        documents = hall.board.standing.documents()
        states = [document["state"] for document in documents]
        active = [
            d["severity"] for d in documents if d["state"] in ("unacknowledged", "acknowledged")
        ]
        assert hall.board.standing.counts() == {
            "active": {name: active.count(name) for name in reversed(severities)},
            "unacknowledged": sum(
                states.count(s) for s in ("unacknowledged", "returned", "latched")
            ),
            "shelved": states.count("shelved"),
            "suppressed": states.count("suppressed"),
        }
