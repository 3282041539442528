"""What `gateway init` is told, and what it writes of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.commands.console import WrongUsage
from gateway.commands.firststeps import modbus, nidaq, s7
from gateway.commands.firststeps.asking import block_numbers
from gateway.commands.firststeps.found import Found, FoundDevice
from gateway.commands.firststeps.place import Home, home_of, write_all
from gateway.commands.firststeps.text import file_text
from gateway.commands.firststeps.wishes import (
    ModbusAt,
    NidaqAt,
    S7At,
    modbus_at,
    nidaq_at,
    s7_at,
)
from gateway.config import load

HERE = Home("var", "var/s", None, None)


@pytest.mark.parametrize(
    ("text", "wish"),
    [
        ("10.0.0.1", S7At("10.0.0.1", 102, None, ())),
        ("plc:", S7At("plc", 102, None, ())),
        ("plc-4:0,2", S7At("plc-4", 102, (0, 2), ())),
        ("plc-4:1102", S7At("plc-4", 1102, None, ())),
        ("plc-4:1102:1,31", S7At("plc-4", 1102, (1, 31), ())),
        ("fd00::7", S7At("fd00::7", 102, None, ())),
        ("[fd00::7]:0,3", S7At("fd00::7", 102, (0, 3), ())),
    ],
)
def test_a_plc(text: str, wish: S7At) -> None:
    assert s7_at(text) == wish


@pytest.mark.parametrize("text", ["", "plc:8,1", "plc:0,32", "plc:0,1,2", "p lc", "plc:99999"])
def test_no_plc(text: str) -> None:
    with pytest.raises(WrongUsage, match=r"expected|at least 1"):
        s7_at(text)


def test_modbus_and_cards() -> None:
    assert modbus_at("10.0.0.7") == ModbusAt("10.0.0.7", 502)
    assert modbus_at("10.0.0.7:1502") == ModbusAt("10.0.0.7", 1502)
    assert nidaq_at("cDAQ1Mod1") == NidaqAt("cDAQ1Mod1", None)
    assert nidaq_at("daq-pc:31763/Dev1") == NidaqAt("Dev1", "daq-pc:31763")
    assert nidaq_at("10.0.0.9") == NidaqAt("cDAQ1Mod1", "10.0.0.9:31763")
    assert nidaq_at("[fd00::7]:31763/Dev1") == NidaqAt("Dev1", "[fd00::7]:31763")


def test_data_blocks() -> None:
    assert block_numbers("4, DB7 4") == (4, 7)
    with pytest.raises(WrongUsage, match=r"expected e\.g\. 4"):
        block_numbers("4;5")


@pytest.mark.parametrize(
    ("driver", "settings", "text"),
    [
        ("s7", {"host": "h"}, s7.map_text("d", {})),
        ("s7", {"host": "h"}, s7.map_text("d", {4: "", 9: "no_such_object"})),
        ("modbus", {"host": "h"}, modbus.map_text("d", {})),
        ("modbus", {"host": "h"}, modbus.map_text("d", {"holding": "", "coil": "illegal_address"})),
        ("modbus", {"serial": "/dev/ttyUSB0"}, modbus.map_text("d", {"holding": "x"})),
        ("nidaq", {"grpc": "daq-pc:31763"}, nidaq.map_text("d", "Dev1")),
    ],
)
@pytest.mark.parametrize("name", ["hall-3", "no", "1:30", "a: b # c", "ü"])
def test_whatever_is_written_passes_the_check(
    driver: str, settings: dict[str, str], text: str, name: str, tmp_path: Path
) -> None:
    device = FoundDevice("d", {"driver": driver, **settings, "map": "maps/d.yaml"})
    found = Found("there", True, ["answers\nevil: true"], devices=[device], map_text=text)
    file = tmp_path / "gateway.yaml"
    files = {
        tmp_path / "maps" / "d.yaml": (text, 0o644),
        file: (file_text(name, HERE, [found], None), 0o644),
    }
    if name != "ü":
        write_all(files, HERE, force=False)
        assert load(file).name == name
        with pytest.raises(WrongUsage, match="exists already"):
            write_all(files, HERE, force=False)
    assert max(map(len, (files[file][0] + text).splitlines())) <= 100


def test_outside_of_the_services_folder_all_lies_beside_the_file(tmp_path: Path) -> None:
    home = home_of(tmp_path / "gateway.yaml")
    assert (home.state_dir, home.socket, home.unit, home.group) == (
        "var", "var/gateway.sock", None, None,
    )  # fmt: skip
    assert (home.file_mode, home.secret_mode) == (0o644, 0o600)


def test_a_place_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "maps").touch()
    with pytest.raises(WrongUsage, match="cannot be written: "):
        write_all({tmp_path / "maps" / "d.yaml": ("x", 0o644)}, HERE, force=False)
    assert [path.name for path in tmp_path.iterdir()] == ["maps"]
