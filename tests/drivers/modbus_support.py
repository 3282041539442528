"""Modbus drivers for tests, built as the configuration would."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from drivers.modbus import ModbusDriver
from drivers.modbus.bus import ModbusBus
from gateway.driver import DeviceMap, GroupSpec, TableSpec, Tag
from gateway.errors import Place
from gateway.model import Row, Scalar

HERE = Place("map.yaml", 1, 1, "tags")


def make_map(tags: dict[str, dict[str, Any]], base: str | None = None) -> DeviceMap:
    """A map of one group with one table; with ``base`` it is a placed module."""
    specs = [
        Tag(name, ModbusDriver.tag_class.model_validate(spec), HERE, base)
        for name, spec in tags.items()
    ]
    table = TableSpec("process", (("gateway", "test"), ("device", "d")), specs, HERE)
    return DeviceMap("map.yaml", [GroupSpec("process", 1.0, [table], HERE)])


def make(
    tags: dict[str, dict[str, Any]],
    *,
    name: str = "d",
    base: str | None = None,
    on: ModbusBus | None = None,
    **config: Any,
) -> ModbusDriver:
    """A driver with these tags, perhaps ``on`` a shared bus; ``config`` are its settings."""
    if on is not None:
        config["bus"] = on.name
    settings = {"driver": "modbus", "map": Path("map.yaml"), "timeout_s": 3.0, **config}
    return ModbusDriver(
        name, ModbusDriver.config_class.model_validate(settings), make_map(tags, base), on
    )


def make_bus(**config: Any) -> ModbusBus:
    """A shared bus."""
    settings = {"driver": "modbus", "timeout_s": 1.0, **config}
    assert ModbusDriver.bus_class is not None
    return ModbusDriver.make_bus("rs485", ModbusDriver.bus_class.model_validate(settings))


def read(driver: ModbusDriver) -> Row:
    """One poll of the only table."""
    (row,) = driver.read(driver.groups[0])
    return row


def values(driver: ModbusDriver) -> dict[str, Scalar]:
    """One poll: the GOOD values by name; a BAD one is its mark as text."""
    found: dict[str, Scalar] = {}
    for name, value, mark in read(driver).items():
        found[name] = str(mark) if mark else value
    return found
