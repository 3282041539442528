"""The mock as a driver: determinism, faults of its maps, probe, stand-ins, cost."""

from __future__ import annotations

import math
import pickle
import time
from typing import Any

import pytest
from pydantic import ValidationError

from drivers.mock import MockDriver, signals
from gateway.driver import DeviceConfig, PolledDriver, TagConfig, find_driver
from gateway.errors import ConfigError
from gateway.model import Column, Group, Table
from tests.drivers.mock_support import NOON, SECOND, Clock, make, row_at
from tests.support import ROOT

MIXED: dict[str, dict[str, Any]] = {
    "sine": {"type": "real", "signal": {"kind": "sine", "noise": 0.1}},
    "walk": {"type": "int", "signal": {"kind": "walk", "high": 900}},
    "counter": {"type": "udint", "signal": {"kind": "counter", "rate_per_s": 17}},
    "state": {"type": "string", "signal": {"kind": "choice", "values": ["a", "b", "c"]}},
    "flag": {"type": "bool", "signal": {"kind": "choice", "hold_s": 1}},
    "noise": {"type": "real[4]", "signal": {"kind": "uniform"}},
    "sick": {"type": "real", "bad": {"every_s": 10, "for_s": 5}},
}


def history(driver: MockDriver, times: range = range(40)) -> list[Any]:
    rows = [row_at(driver, NOON + t * SECOND // 4) for t in times]
    return [[(value, mark) for _, value, mark in row.items()] for row in rows]


def test_the_same_seed_and_time_give_the_same_rows_in_any_order() -> None:
    assert history(make(MIXED)) == history(make(MIXED))
    backwards = history(make(MIXED), range(39, -1, -1))
    assert backwards[::-1] == history(make(MIXED))
    assert history(make(MIXED, seed=2)) != history(make(MIXED))
    assert history(make(MIXED, name="other")) != history(make(MIXED))


def test_a_value_does_not_depend_on_the_other_tags() -> None:
    alone = make({"walk": MIXED["walk"]})
    assert row_at(alone, NOON).value(0) == row_at(make(MIXED), NOON).value(1)


def test_two_tags_of_one_signal_do_not_move_in_step() -> None:
    row = row_at(make({"a": MIXED["sine"], "b": MIXED["sine"]}), NOON)
    assert row.value(0) != row.value(1)


def test_a_driver_can_be_pickled_before_connect() -> None:
    driver = make(MIXED, disconnect={"every_s": 100, "for_s": 0})
    copy = pickle.loads(pickle.dumps(driver))
    assert history(copy) == history(driver)
    stand_in = MockDriver.stand_in(foreign())
    assert history(pickle.loads(pickle.dumps(stand_in))) == history(stand_in)


def test_an_array_is_one_column_an_element() -> None:
    driver = make({"x": {"type": "real[3]", "unit": "degC"}, "y": {"type": "int[1]"}})
    assert driver.groups[0].tables[0].columns == ("x_0", "x_1", "x_2", "y")
    assert driver.groups[0].tables[0].units == ("degC", "degC", "degC", None)


@pytest.mark.parametrize(
    ("tag", "message"),
    [
        ({"type": "rael"}, "unknown type 'rael'; did you mean 'real'?"),
        ({"type": "float32"}, "unknown type 'float32'; did you mean 'real'?"),
        ({"type": "?"}, "unknown type '?'; expected bool, byte"),
        ({"type": "real[0]"}, "unknown type 'real[0]'"),
        ({"type": "real", "address": "DB1.DBD0"}, "a tag of the mock has no address; leave it out"),
        ({"type": "real", "at": 4.0}, "a tag of the mock has no at; leave it out"),
        ({"type": "bool", "scale": 2}, "type bool has no scale, offset or deadband"),
        ({"type": "string", "deadband": 1}, "type string has no scale, offset or deadband"),
        ({"type": "real", "store": "int"}, "store: int needs an integer type"),
        ({"type": "string", "signal": {"kind": "sine"}}, "cannot show 'sine'; use constant, steps"),
        (
            {"type": "string", "signal": {"kind": "constant", "value": 7}},
            "type string shows texts; write '7' with quotes",
        ),
        (
            {"type": "string", "signal": {"kind": "steps", "values": ["a"], "noise": 1}},
            "type string has no noise",
        ),
        (
            {"type": "int", "signal": {"kind": "steps", "values": [1, "b"]}},
            "type int cannot show the text 'b'; expected a number",
        ),
        (
            {"type": "int", "signal": {"kind": "constant", "value": 1.5}},
            "type int cannot show 1.5; expected a whole number",
        ),
        (
            {"type": "int", "signal": {"kind": "constant", "value": 32768}},
            "type int cannot hold 32768; expected -32768 to 32767",
        ),
        (
            {"type": "dint", "signal": {"kind": "constant", "value": math.inf}},
            "type dint cannot show inf; expected a whole number",
        ),
    ],
)  # fmt: skip
def test_a_tag_that_cannot_be_is_a_fault_with_its_place(tag: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError) as raised:
        make({"x": tag, "fine": {"type": "real"}})
    (fault,) = raised.value.faults
    assert message in fault.message
    assert str(fault).startswith("map.yaml:7:3: ")


def test_all_faults_of_a_map_come_at_once() -> None:
    with pytest.raises(ConfigError) as raised:
        make(
            {"a": {"type": "rael"}, "time": {"type": "int"}, "b": {"type": "real", "at": 1}},
            delay={"every_s": 9, "for_s": 1, "by_s": 1, "groups": ["G0"]},
        )
    texts = "\n".join(f.message for f in raised.value.faults)
    assert len(raised.value.faults) == 4
    assert "'time' is reserved" in texts
    assert "no group 'G0'; it has g0" in texts


@pytest.mark.parametrize(
    "signal",
    [
        {"kind": "sine", "period_s": 0}, {"kind": "sine", "phase": 1}, {"kind": "steps"},
        {"kind": "steps", "values": []}, {"kind": "sinus"}, {"mean": 3},
        {"kind": "counter", "noise": 1},
        {"kind": "sine", "mean": math.inf}, {"kind": "sum", "of": [{"kind": "sum", "of": []}]},
        {"kind": "square", "duty": 1.1}, {"kind": "counter", "rate_per_s": -1},
    ],
)  # fmt: skip
def test_a_signal_that_cannot_be_is_refused(signal: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        MockDriver.tag_class.model_validate({"type": "real", "signal": signal})


def test_a_window_longer_than_its_interval_is_refused() -> None:
    with pytest.raises(ValidationError, match="for_s: 11 is longer than every_s: 10"):
        make({"x": {"type": "real"}}, disconnect={"every_s": 10, "for_s": 11})


def test_probe_shows_the_present_value_of_a_tag() -> None:
    driver = make(
        {"x": {"type": "uint", "signal": {"kind": "constant", "value": 258}}},
        {"x": {"type": "real"}},
    )
    found = driver.probe("x")
    assert (found.address, found.raw[-2:], found.readings) == (
        "g0.x", b"\x01\x02", (("ulint", "258"),),
    )  # fmt: skip
    assert driver.probe("g1.x").address == "g1.x"
    with pytest.raises(ValueError, match=r"no tag 'g1\.y'; did you mean 'g1\.x'\?"):
        driver.probe("g1.y")


def test_status_and_plan_describe_the_mock() -> None:
    driver = make(MIXED, seed=9)
    assert driver.status()["seed"] == 9
    assert driver.status()["signals"]["uniform"] == 4
    (request,) = driver.plan(driver.groups[0])
    assert (request.text, request.tags) == ("mock g0", 10)


class _Foreign(PolledDriver):
    """A real driver as the stand-in sees it; it cannot be connected."""

    def connect(self) -> None:
        raise AssertionError("a stand-in must not touch the device")

    close = connect  # type: ignore[assignment]

    def plan(self, group: Group) -> Any:
        raise AssertionError

    def read(self, group: Group) -> Any:
        raise AssertionError


def foreign() -> _Foreign:
    columns = [
        Column("temperature", "f4", "degC"), Column("Pt", "f4", "kW"), Column("ImpEp", "f8", "kWh"),
        Column("level", "i8", "%"), Column("count", "u8", store_int=True), Column("mode", "str"),
        Column("running", "b1"), Column("err_x", "u8"), Column("whatever", "i8"),
    ]  # fmt: skip
    config = MockDriver.config_class.model_validate(
        {"map": "maps/real.yaml", "timeout_s": 1.5, "labels": {"line": "a"}, "with": {"db": 4}}
    )
    driver = _Foreign("real_1", config, None)  # type: ignore[arg-type]
    tables = (Table("process", "real_1", columns, (("device", "real_1"),), "process", 0.5),)
    driver.groups = (Group("process", 0.5, tables),)
    return driver


def test_a_stand_in_has_the_tables_of_the_real_device_and_likely_values() -> None:
    real = foreign()
    mock = MockDriver.stand_in(real)
    assert mock.name == "real_1"
    assert mock.groups is real.groups
    assert (mock.config.timeout_s, mock.config.labels, mock.config.with_) == (
        1.5, {"line": "a"}, {"db": 4},
    )  # fmt: skip
    rows = [row_at(mock, NOON + t * SECOND) for t in range(600)]
    assert all(row.table is real.groups[0].tables[0] and row.marks is None for row in rows)
    seen = {n: [r.value(i) for r in rows] for i, n in enumerate(rows[0].table.columns)}
    numbers: dict[str, list[float]] = {n: v for n, v in seen.items() if n != "mode"}  # type: ignore[misc]
    assert 19 < min(numbers["temperature"]) < 21 < 29 < max(numbers["temperature"]) < 31
    assert 27 < min(numbers["Pt"]) < max(numbers["Pt"]) < 73
    for counter in ("ImpEp", "count"):
        assert numbers[counter] == sorted(numbers[counter])
        assert numbers[counter][-1] > numbers[counter][0]
    assert 20 <= min(numbers["level"]) < max(numbers["level"]) <= 80
    assert len(set(seen["mode"])) == 3
    assert set(seen["running"]) == {True, False}
    assert set(numbers["err_x"]) <= {0, 1}
    assert numbers["err_x"].count(0) > 500
    assert 0 <= min(numbers["whatever"]) < max(numbers["whatever"]) <= 100


def test_a_mock_stands_in_for_itself() -> None:
    driver = make(MIXED)
    assert MockDriver.stand_in(driver) is driver


def test_10000_tags_cost_far_less_than_one_call_a_value() -> None:
    signal = {"kind": "sine", "mean": 20, "amplitude": 5, "noise": 0.2}
    driver = make({f"t{i}": {"type": "real", "signal": signal} for i in range(10_000)})
    driver.now_ns = Clock()
    driver.connect()

    def by_value() -> list[float]:
        t = NOON / SECOND
        return [20 + 5 * math.sin(2 * math.pi * ((t + i) % 60) / 60) for i in range(10_000)]

    vectorised = min(_timed(lambda: driver.read(driver.groups[0])) for _ in range(15))
    loop = min(_timed(by_value) for _ in range(15))
    assert vectorised < loop / 1.5, f"{vectorised * 1e3:.2f} ms against {loop * 1e3:.2f} ms"


def _timed(work: Any) -> float:
    begun = time.perf_counter()
    work()
    return time.perf_counter() - begun


def test_the_readme_contains_the_examples_and_every_option() -> None:
    folder = ROOT / "drivers" / "mock"
    readme = (folder / "README.md").read_text(encoding="utf-8")
    for example in ("example.yaml", "example-map.yaml"):
        assert f"```yaml\n{(folder / example).read_text(encoding='utf-8')}```" in readme
    for settings, base in (
        (MockDriver.config_class, DeviceConfig),
        (MockDriver.tag_class, TagConfig),
    ):
        own = settings.model_fields.keys() - base.model_fields.keys()
        assert own
        assert all(f"`{name}`" in readme for name in own)
    for name in vars(signals):
        kind = getattr(getattr(signals, name), "model_fields", {}).get("kind")
        if kind is not None:
            for field in ("kind", *getattr(signals, name).model_fields):
                assert f"`{field}`" in readme, (name, field)


def test_it_is_found_by_its_name() -> None:
    assert find_driver("mock") is MockDriver
