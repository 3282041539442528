"""Settings, faults in them, and the plan that follows from a map."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from drivers.modbus import ModbusDriver
from drivers.modbus.driver import Space
from gateway.blocks import merge, pack
from gateway.errors import ConfigError
from tests.drivers.modbus_support import make, make_bus


def refused(tags: dict[str, dict[str, Any]] | None = None, **config: Any) -> str:
    try:
        make(tags or {"x": {"address": "40001", "type": "uint16"}}, **config)
    except (ConfigError, ValidationError) as error:
        return str(error)
    return ""


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ({}, "expected 'host' (Modbus/TCP), 'serial' (RTU) or 'bus'"),
        ({"host": "a", "serial": "/dev/x"}, "'host' and 'serial' exclude each other"),
        ({"host": "a", "baud": 9600}, "'baud' belongs to 'serial', which is not given"),
        ({"serial": "/dev/x", "port": 502}, "'port' belongs to 'host', which is not given"),
        ({"bus": "b", "host": "a"}, "'host' belongs to the bus 'b'; set it there"),
        ({"bus": "b", "parity": "odd"}, "'parity' belongs to the bus 'b'"),
        ({"serial": "/dev/x", "unit": 0}, "expected 1 to 247 (0 is broadcast)"),
        ({"host": "a", "transport": "rtu_over_tcp", "unit": 248}, "expected 1 to 247"),
        ({"host": "a", "unit": 256}, "less than or equal to 255"),
        ({"host": "a", "max_registers": 126}, "less than or equal to 125"),
        ({"host": "a", "max_coils": 2001}, "less than or equal to 2000"),
        ({"host": "a", "order": "ACBD"}, "'ABCD', 'DCBA', 'BADC' or 'CDAB'"),
        ({"host": "a", "parity": "mark"}, "Extra inputs|'none', 'even' or 'odd'"),
        ({"host": "a", "slave": 3}, "Extra inputs are not permitted"),
        ({"host": ""}, "at least 1 character"),
    ],
)
def test_a_wrong_setting_is_explained(config: dict[str, Any], said: str) -> None:
    message = refused(**config)
    assert any(part in message for part in said.split("|")), message


def test_units_0_and_255_are_allowed_over_tcp() -> None:
    assert not refused(host="a", unit=0)
    assert not refused(host="a", unit=255)


def test_a_unit_that_its_bus_cannot_have_is_a_fault_with_the_devices_name() -> None:
    with pytest.raises(ConfigError, match=r"devices\.d\.unit: unit 0 cannot be on a serial line"):
        make(
            {"x": {"address": "40001", "type": "uint16"}},
            on=make_bus(serial="/dev/x"),
            unit=0,
        )


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ({}, "expected 'host' (Modbus/TCP) or 'serial' (RTU)"),
        ({"serial": "/dev/x", "transport": "tcp"}, "'transport' belongs to 'host'"),
        ({"serial": "/dev/x", "data_bits": 7}, "Input should be 8"),
        ({"host": "a", "unit": 1}, "Extra inputs"),
    ],
)
def test_a_wrong_bus_is_explained(config: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError) as caught:
        make_bus(**config)
    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("tag", "said"),
    [
        ({"address": "coil:0", "type": "uint16"}, "a coil is a single bit; expected type: bool"),
        ({"address": "40001", "type": "bool"}, "say which, e.g. 'holding:0.0'"),
        ({"address": "40001.2", "type": "int16"}, "write 'holding:0' (400001)"),
        ({"address": "holding:65535", "type": "real"}, "would reach to 65536"),
        ({"address": "holding:65530", "type": "string[14]"}, "would reach to 65536"),
        ({"address": "holding:65535.15", "type": "bool[2]"}, "would reach to 65536"),
        ({"address": "coil:65530", "type": "bool[7]"}, "would reach to 65536"),
        ({"address": "hold:0", "type": "float"}, "'float32'?; 'hold:0': there is no table"),
        ({"type": "uint16"}, "expected e.g. 'holding:0'"),
        ({"address": "40001", "type": "bool[2]", "scale": 2.0}, "say which"),
        ({"address": "coil:1", "type": "bool", "scale": 2.0}, "has no scale"),
        ({"address": 40006.3, "type": "bool"}, "write the address in quotes: '40006.3'"),
        ({"address": "40001", "type": "uint16", "order": "AB"}, "'ABCD', 'DCBA', 'BADC' or 'CDAB'"),
    ],
)
def test_a_wrong_tag_is_explained(tag: dict[str, Any], said: str) -> None:
    message = refused({"x": tag}, host="a")
    assert said in message, message


def test_all_wrong_tags_are_named_at_once() -> None:
    tags = {n: {"address": n, "type": "uint16"} for n in ("hold:1", "50001", "400000")}
    message = refused(tags, host="a")
    assert all(n in message for n in tags), message


def test_a_number_as_address_means_modicon_but_not_where_yaml_spoils_it() -> None:
    driver = make({"x": {"address": 40011, "type": "uint16"}}, host="a")
    assert "holding:10" in driver.plan(driver.groups[0])[0].text
    assert "could be a register or a coil" in refused(
        {"x": {"address": 1, "type": "bool"}}, host="a"
    )


def test_bit_1_and_bit_10_of_a_module_are_not_mixed_up() -> None:
    def tag(at: Any) -> str:
        return refused({"x": {"at": at, "type": "bool"}}, host="a", base="holding:0")

    assert "4.1: bit 1 or bit 10 (YAML drops the last 0)? write at: '4.1' or at: '4.10'" in tag(
        4.10
    )
    assert not tag("4.10")
    assert not tag(4.3)


def test_a_plan_is_told_in_the_words_of_the_map() -> None:
    tags = {
        "a": {"address": "holding:0", "type": "real[70]"},
        "b": {"address": "coil:3", "type": "bool"},
        "c": {"address": "input:7", "type": "uint16"},
    }
    driver = make(tags, host="a", unit=9)
    planned = driver.plan(driver.groups[0])
    assert [(p.text, p.tags, p.bytes) for p in planned] == [
        ("unit 9 holding:0..123", 62, 248),
        ("unit 9 holding:124..139", 8, 32),
        ("unit 9 coil:3", 1, 1),
        ("unit 9 input:7", 1, 2),
    ]


def test_one_request_per_tag_keeps_the_elements_of_an_array_together() -> None:
    tags = {
        "a": {"address": "holding:0", "type": "uint16"},
        "b": {"address": "holding:1", "type": "uint16[4]"},
        "c": {"address": "holding:5.0", "type": "bool"},
        "d": {"address": "holding:5.1", "type": "bool"},
    }
    driver = make(tags, host="a", one_request_per_tag=True)
    texts = [p.text for p in driver.plan(driver.groups[0])]
    assert texts == ["unit 1 holding:0", "unit 1 holding:1..4"] + 2 * ["unit 1 holding:5"]


SIZES = {"uint16": 1, "int32": 2, "float64": 4, "int8l": 1, "string[7]": 4, "real[3]": 6}


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.sampled_from(["holding", "input"]), st.integers(0, 700), st.sampled_from([*SIZES])
        ),
        min_size=1,
        max_size=60,
    ),
    st.integers(4, 125),
    st.integers(0, 20),
)
def test_a_plan_covers_each_tag_once_within_the_limits(
    places: list[tuple[str, int, str]], max_registers: int, max_gap: int
) -> None:
    tags = {
        f"t{i}": {"address": f"{table}:{number}", "type": kind}
        for i, (table, number, kind) in enumerate(places)
    }
    driver = make(tags, host="a", max_registers=max_registers, max_gap=max_gap)
    state = driver._states[0]
    requests = pack(merge(state.layout, state.wanted(), driver.limits), driver.limits)
    covered = []
    for request in requests:
        asked = driver.prepare(request)
        assert asked.length <= max_registers
        assert request[0].start % 2 == request[0].size % 2 == 0
        for i in request[0].items:
            item = int(state.layout.start[i]), int(state.layout.size[i])
            assert asked.address * 2 <= item[0]
            assert item[0] + item[1] <= (asked.address + asked.length) * 2
            covered.append(i)
    assert sorted(covered) == list(range(len(state.layout)))


def test_limits_speak_in_bytes_and_coils() -> None:
    driver = make({"x": {"address": "40001", "type": "uint16"}}, host="a", max_gap=2)
    assert driver.limits(Space("holding"))[:2] == (250, 4)
    assert driver.limits(Space("coil"))[:2] == (2000, 32)


def test_a_bus_and_its_drivers_stay_together_when_pickled() -> None:
    bus = make_bus(host="a")
    tags = {"x": {"address": "40001", "type": "string[4]"}}
    pair: list[ModbusDriver] = [make(tags, name=n, on=bus, unit=u) for n, u in (("a", 1), ("b", 2))]
    first, second = pickle.loads(pickle.dumps(pair))
    assert first.bus is second.bus
    assert first.bus is not bus


def test_settings_of_a_device_on_a_bus_need_no_connection_of_their_own() -> None:
    config = ModbusDriver.config_class.model_validate(
        {"driver": "modbus", "bus": "rs485", "unit": 7, "map": Path("m.yaml")}
    )
    assert (config.bus, config.unit) == ("rs485", 7)  # type: ignore[attr-defined]
