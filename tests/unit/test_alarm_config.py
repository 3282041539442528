"""Rules in files: those of maps are made for every device, and a change of one is only that."""

from __future__ import annotations

import pickle
import time
from pathlib import Path

import pytest

from gateway.config import Plant, load
from gateway.config.fingerprints import compare
from gateway.errors import ConfigError
from tests.support import ROOT

CASE = ROOT / "tests" / "cases" / "good_alarms"


def written(folder: Path, gateway: str | None = None, press: str | None = None) -> Plant:
    for name, text in (("gateway.yaml", gateway), ("press.yaml", press)):
        (folder / name).write_text(text or (CASE / name).read_text("utf-8"), "utf-8")
    return load(folder / "gateway.yaml")


def test_rules_of_a_map_are_made_for_each_of_its_devices() -> None:
    plant = load(CASE / "gateway.yaml")
    assert set(plant.alarms.prints()) == {
        "press_1/own.high", "press_1/filled", "press_2/own.high", "press_2/filled",
        "press_1/force.low", "press_1/force.high", "press_2/sum",
    }  # fmt: skip
    tables = {t for d in plant.devices.values() for g in d.groups for t in g.tables}
    for rule in plant.alarms.rules:
        assert set(rule.tables()) <= tables
    assert plant.alarms.flood.alarms == 20
    assert plant.alarms.captures.max_bytes == 100_000_000
    assert list(plant.notify) == ["shift"]


def test_a_plan_can_be_handed_over_by_the_process_that_loads_it() -> None:
    plant: Plant = pickle.loads(pickle.dumps(load(CASE / "gateway.yaml")))
    rule = plant.alarms.rules[0]
    table = plant.devices[rule.device].groups[0].tables[0]
    assert rule.tables() == [table]


def test_a_change_of_a_rule_restarts_no_device(tmp_path: Path) -> None:
    before = written(tmp_path)
    press = (CASE / "press.yaml").read_text("utf-8")
    after = written(tmp_path, press=press.replace("high: 300", "high: 310"))
    changes = compare(before.fingerprints, after.fingerprints)
    assert changes.changed == [("alarm", "press_1/own.high"), ("alarm", "press_2/own.high")]
    assert not changes.added
    assert not changes.removed


def test_words_of_a_rule_are_a_change_too_and_other_settings_are_their_own(tmp_path: Path) -> None:
    before = written(tmp_path)
    text = (CASE / "gateway.yaml").read_text("utf-8")
    after = written(tmp_path, text.replace("notify: [shift]", "message: too much"))
    assert {name for _, name in compare(before.fingerprints, after.fingerprints).changed} == {
        "press_1/force.low",
        "press_1/force.high",
    }
    after = written(tmp_path, text.replace("days: 30", "days: 31"))
    assert compare(before.fingerprints, after.fingerprints).changed == [("settings", "alarms")]


def test_samples_are_kept_as_long_as_a_window_around_an_alarm_needs(tmp_path: Path) -> None:
    plain = load(ROOT / "configs" / "demo.yaml")
    plan = plain.streams["pump_1"]
    assert plan.history_s >= plan.window_s + 2 + 1
    assert plain.alarms.rules


@pytest.mark.parametrize("rules", [1000])
def test_many_rules_are_read_in_reasonable_time(tmp_path: Path, rules: int) -> None:
    text = (CASE / "gateway.yaml").read_text("utf-8")
    lines = [f"    r{i}: {{kind: limits, tag: press_1.process.force, high: {i}}}\n"
             for i in range(1, rules + 1)]  # fmt: skip
    begun = time.monotonic()
    plant = written(tmp_path, text + "".join(lines))
    assert len(plant.alarms.rules) == rules + 7
    assert time.monotonic() - begun < 20


def test_a_rule_for_a_device_that_could_not_be_made_is_no_further_fault(tmp_path: Path) -> None:
    text = (CASE / "gateway.yaml").read_text("utf-8")
    with pytest.raises(ConfigError) as caught:
        written(tmp_path, text.replace("press_1: {driver: mock, map: press.yaml",
                                       "press_1: {driver: mock, map: nowhere.yaml"))  # fmt: skip
    (fault,) = caught.value.faults
    assert fault.message.endswith("nowhere.yaml: there is no such file")
