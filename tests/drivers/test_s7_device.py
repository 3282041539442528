"""The S7 driver as a device: its settings, its simulator, and that it can be sent elsewhere."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError
from snap7 import Client
from snap7.server import Server
from snap7.type import Parameter, SrvArea

from drivers.s7.driver import S7Config, S7Driver
from drivers.s7.types import NAMES
from gateway.errors import ConfigError, DeviceUnavailable
from tests.sims.s7_peer import read_values, s7_device
from tests.support import ROOT, free_port

EVERY_TYPE = [
    (f"v_{name}", f"DB1.DBX{40 * i}.3" if name == "bool" else f"DB1.DBB{40 * i}", kind)
    for i, name in enumerate(NAMES)
    for kind in (f"{name}[8]" if "string" in name else name,)
] + [
    ("flags", "M10.6", "bool[4]"),
    ("input", "EW4", "int"),
    ("output", "AD8", "real"),
    ("timers", "T3", "s5time[2]"),
    ("counter", "Z7", "uint"),
]


def config(**settings: Any) -> S7Config:
    return S7Config(map=Path("m.yaml"), host="plc", **settings)


@pytest.mark.parametrize(
    ("settings", "tsaps"),
    [
        ({}, (0x0100, 0x0301)),
        ({"slot": 2, "connection": "op"}, (0x0100, 0x0202)),
        ({"rack": 1, "slot": 4, "connection": "pg"}, (0x0100, 0x0124)),
        ({"local_tsap": "03.00", "remote_tsap": "02.00"}, (0x0300, 0x0200)),
        ({"local_tsap": "1000", "remote_tsap": "0x03A1"}, (0x1000, 0x03A1)),
    ],
)
def test_tsaps(settings: dict[str, Any], tsaps: tuple[int, int]) -> None:
    assert config(**settings).tsaps == tsaps


@pytest.mark.parametrize(
    ("settings", "hint"),
    [
        ({"local_tsap": "03.00"}, "given together or not at all"),
        ({"remote_tsap": "3.1", "local_tsap": "03.00"}, "four hexadecimal digits in quotes"),
        ({"remote_tsap": 3.01, "local_tsap": "03.00"}, "four hexadecimal digits in quotes"),
        ({"rack": 8}, "less than or equal to 7"),
        ({"connection": "PG"}, "'basic', 'op' or 'pg'"),
        ({"pdu": 2000}, "less than or equal to 960"),
        ({"hosst": "x"}, "Extra inputs are not permitted"),
    ],
)
def test_wrong_settings_say_what_is_expected(settings: dict[str, Any], hint: str) -> None:
    with pytest.raises(ValidationError) as caught:
        config(**settings)
    assert hint in str(caught.value)


def test_all_wrong_tags_of_a_map_are_told_at_once() -> None:
    with pytest.raises(ConfigError) as caught:
        s7_device([("a", "DB1,REAL4", "real"), ("b", "DB1.DBW4", "real"), ("c", "MW2", "itn")], 1)
    assert [fault.message for fault in caught.value.faults] == [
        "'DB1,REAL4' is not an address; did you mean 'DB1.DBD4'?",
        "a real has 4 byte(s), 'DB1.DBW4' names 2; did you mean 'DB1.DBD4'?",
        "unknown type 'itn'; did you mean 'int'?",
    ]


def test_every_type_is_simulated_good_and_moves() -> None:
    devices = [s7_device(EVERY_TYPE, 1), s7_device([("x", "DB7.DBD0", "real")], 1)]
    devices[1].name = "other"
    simulation = S7Driver.simulate(devices)
    assert simulation is not None
    try:
        assert set(simulation.endpoints) == {"plc", "other"}
        moved: dict[str, set[str]] = {}
        driver = pickle.loads(pickle.dumps(devices[0]))
        driver.redirect(simulation.endpoints["plc"])
        driver.connect()
        for second in range(12):
            simulation.step(second * 1.3)
            for name, (value, mark) in read_values(driver).items():
                assert mark == "GOOD", (name, mark)
                moved.setdefault(name, set()).add(str(value))
        status = driver.status()
        assert (status["cpu_state"], status["pdu_bytes"]) == ("run", 960)
        assert status["connection"] == "basic"
        still = {name for name, values in moved.items() if len(values) < 2}
        assert still == {"v_date"}
        driver.close()
    finally:
        simulation.close()
        simulation.close()
    with pytest.raises(DeviceUnavailable, match="refused"):
        driver.connect()


def test_a_simulated_speed_is_one_that_a_machine_may_have() -> None:
    device = s7_device([("speed", "DB7.DBD0", "real"), ("running", "DB7.DBX4.0", "bool")], 1)
    table = device.groups[0].tables[0]
    table.units = ("rpm", None)
    simulation = S7Driver.simulate([device])
    assert simulation is not None
    try:
        device.redirect(simulation.endpoints["plc"])
        device.connect()
        speeds, running = [], []
        for second in range(60):
            simulation.step(float(second))
            values = read_values(device)
            speeds.append(values["speed"][0])
            running.append(values["running"][0])
        assert 1465 <= min(speeds) < 1470 < 1490 < max(speeds) <= 1495
        assert running == [True] * 50 + [False] * 10
        device.close()
    finally:
        simulation.close()


def test_another_client_reads_the_simulation_the_same_and_cannot_write() -> None:
    device = s7_device([("r", "DB3.DBD0", "real"), ("i", "DB3.DBW5", "int")], 1)
    simulation = S7Driver.simulate([device])
    assert simulation is not None
    client = Client()
    try:
        simulation.step(3.0)
        device.redirect(simulation.endpoints["plc"])
        device.connect()
        mine = read_values(device)
        client.set_param(Parameter.PDURequest, 480)
        client.connect("127.0.0.1", 0, 1, simulation.endpoints["plc"].port)
        raw = client.db_read(3, 0, 8)
        assert mine["i"] == (int.from_bytes(raw[5:7], "big", signed=True), "GOOD")
        assert device.probe("DB3.DBD0").raw == bytes(raw[:4])
        assert client.read_szl(0x0424, 0).Data[7] == 0x08
        for wrong in ((3, 6, 4), (9, 0, 2)):
            with pytest.raises(Exception, match=r"0x0[5a]"):
                client.db_read(*wrong)
        with pytest.raises(Exception, match=r"8104|0x81"):
            client.db_write(3, 0, bytearray(b"\1\2\3\4"))
        assert device.probe("DB3.DBD0").raw == bytes(raw[:4])
    finally:
        client.disconnect()
        device.close()
        simulation.close()


def test_a_server_without_the_state_list_and_with_a_smaller_pdu() -> None:
    """python-snap7's own server: refuses list 0x0424, grants 480 bytes at most."""
    server = Server(log=False)
    memory = bytearray(range(200))
    server.register_area(SrvArea.DB, 1, memory)
    port = free_port()
    server.start_to("127.0.0.1", port)
    tags = [("a", "DB1.DBW0", "int"), ("b", "DB1.DBB100", "byte[3]"), ("c", "DB2.DBW0", "int")]
    driver = s7_device(tags, port)
    try:
        driver.connect()
        values = read_values(driver)
        status = driver.status()
        assert (status["cpu_state"], status["pdu_bytes"]) == ("unknown", 480)
        assert status["connection"] == "basic"
        assert values == {
            "a": (1, "GOOD"),
            "b_0": (100, "GOOD"), "b_1": (101, "GOOD"), "b_2": (102, "GOOD"),
            "c": (None, "BAD:no_such_object"),
        }  # fmt: skip
    finally:
        driver.close()
        server.stop()


def test_the_readme_names_every_setting_and_type() -> None:
    readme = (ROOT / "drivers" / "s7" / "README.md").read_text("utf-8")
    own = set(S7Config.model_fields) - {"driver", "map", "with_", "labels", "enabled"}
    assert not [name for name in own if f"`{name}`" not in readme]
    assert not [name for name in NAMES if f"`{name}`" not in readme and f"`{name}[" not in readme]
    for file in ("example.yaml", "example-map.yaml"):
        assert (ROOT / "drivers" / "s7" / file).read_text("utf-8").strip() in readme
