"""What every installed driver must do, over all of them: the contract of `gateway.driver`."""

from __future__ import annotations

import pickle
import shutil
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeAlias

import pytest

from gateway.config import load
from gateway.driver import (
    Driver,
    Endpoint,
    PolledDriver,
    StreamDriver,
    find_driver,
    installed_drivers,
)
from gateway.errors import DeviceUnavailable
from gateway.model import Quality, Row
from tests.drivers.mock_support import connect_when_it_can_be
from tests.support import ROOT, free_port

DRIVERS = installed_drivers()
NETWORKED = [n for n in DRIVERS if find_driver(n).redirect is not Driver.redirect]


def test_drivers_are_installed() -> None:
    assert {"s7", "modbus", "mock", "nidaq"} <= set(DRIVERS)


Example: TypeAlias = Callable[[str], dict[str, Driver]]


@pytest.fixture
def example(tmp_path: Path) -> Example:
    """The devices of a driver's own example files, loaded as a user would."""

    def build(name: str) -> dict[str, Driver]:
        folder = ROOT / "drivers" / name
        for file in folder.glob("example*.yaml"):
            shutil.copy(file, tmp_path)
        devices: dict[str, Driver] = {}
        for file in sorted(folder.glob("example*.yaml")):
            if "map" not in file.stem:
                devices |= load(tmp_path / file.name).devices
        assert devices
        return {n: d for n, d in devices.items() if d.config.driver == name}

    return build


def read_once(device: Driver) -> list[Row]:
    """What a device tells: its rows, or one block."""
    if isinstance(device, PolledDriver):
        return [row for group in device.groups for row in device.read(group)]
    assert isinstance(device, StreamDriver)
    device.read_block()
    return []


@pytest.fixture
def silent_listener() -> Iterator[Endpoint]:
    """Accepts connections (the kernel does) and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield Endpoint("127.0.0.1", server.getsockname()[1])


@pytest.mark.parametrize("name", DRIVERS)
def test_readme_contains_the_example_files(name: str) -> None:
    folder = ROOT / "drivers" / name
    readme = (folder / "README.md").read_text("utf-8")
    files = [file.name for file in folder.glob("example*.yaml")]
    assert {"example.yaml", "example-map.yaml"} <= set(files)
    for file in files:
        assert (folder / file).read_text("utf-8").strip() in readme, f"{file} is not in the README"


@pytest.mark.parametrize("name", DRIVERS)
def test_every_setting_is_described(name: str) -> None:
    driver = find_driver(name)
    for settings in (driver.config_class, driver.tag_class, driver.channel_class, driver.bus_class):
        if settings is None:
            continue
        missing = [f for f, info in settings.model_fields.items() if not info.description]
        assert not missing, f"{settings.__name__}: {missing}"


@pytest.mark.parametrize("name", DRIVERS)
def test_the_constructor_does_no_input_or_output(
    name: str,
    example: Example,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("I/O in a constructor")

    monkeypatch.setattr(socket, "socket", refuse)
    monkeypatch.setattr(socket, "create_connection", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    assert example(name)


@pytest.mark.parametrize("name", DRIVERS)
def test_close_may_come_first_and_twice(name: str, example: Example) -> None:
    for device in example(name).values():
        device.close()
        device.close()
        device.interrupt()


@pytest.mark.parametrize("name", DRIVERS)
def test_a_driver_can_be_pickled_and_keeps_its_tables(name: str, example: Example) -> None:
    devices = example(name)
    copy = pickle.loads(pickle.dumps(devices))
    for device, original in devices.items():
        tables = [t for g in copy[device].groups for t in g.tables]
        assert [(t.key, t.columns, t.kinds) for t in tables] == [
            (t.key, t.columns, t.kinds) for g in original.groups for t in g.tables
        ]


@pytest.mark.parametrize("name", DRIVERS)
def test_the_plan_names_every_tag_once(name: str, example: Example) -> None:
    for device in example(name).values():
        for group in device.groups if isinstance(device, PolledDriver) else ():
            planned = sum(request.tags for request in device.plan(group))
            assert planned == sum(len(table.columns) for table in group.tables)


@pytest.mark.parametrize("name", NETWORKED)
def test_a_refused_connection_is_unavailable_and_may_be_tried_again(
    name: str, example: Example
) -> None:
    for device in example(name).values():
        device.redirect(Endpoint("127.0.0.1", free_port()))
        for _ in range(2):
            begun = time.monotonic()
            with pytest.raises(DeviceUnavailable) as caught:
                device.connect()
            assert caught.value.reason == "refused"
            assert time.monotonic() - begun < device.config.timeout_s + 5
        device.close()


@pytest.mark.parametrize("name", NETWORKED)
def test_a_silent_host_is_given_up_within_the_time_out(
    name: str,
    example: Example,
    silent_listener: Endpoint,
) -> None:
    device = next(iter(example(name).values()))
    device.redirect(silent_listener)
    begun = time.monotonic()
    with pytest.raises(DeviceUnavailable) as caught:
        device.connect()
        read_once(device)
    assert caught.value.reason == "timeout"
    assert time.monotonic() - begun < 2 * device.config.timeout_s + 5
    device.close()
    device.close()


@pytest.mark.parametrize("name", DRIVERS)
def test_simulated_devices_are_read_good_and_move(name: str, example: Example) -> None:
    devices = example(name)
    simulation = find_driver(name).simulate(list(devices.values()))
    if simulation is None:
        assert name not in NETWORKED, "a networked driver must have a simulation"
        return
    try:
        for device in devices.values():
            device.redirect(simulation.endpoints[device.name])
            device.connect()
            seen: list[Any] = []
            for second in (1.0, 7.3):
                simulation.step(second)
                if isinstance(device, StreamDriver):
                    block = device.read_block()
                    assert block.data.shape[0] == len(device.channels)
                    seen.append(block.data.tolist())
                    continue
                rows = read_once(device)
                assert all(
                    row.mark(c) is None for row in rows for c in range(len(row.table.columns))
                )
                seen.append([row.values() for row in rows])
            assert seen[0] != seen[1], "nothing moved"
            device.close()
    finally:
        simulation.close()
        simulation.close()


@pytest.mark.parametrize("name", DRIVERS)
def test_rows_come_in_the_order_of_the_tables_with_one_time(name: str, example: Example) -> None:
    """On the stand-in for every driver: same tables, names and order as the real one."""
    for device in example(name).values():
        mock = find_driver("mock").stand_in(device)  # type: ignore[attr-defined]
        connect_when_it_can_be(mock)
        if isinstance(mock, StreamDriver):
            assert isinstance(device, StreamDriver)
            assert mock.channels == device.channels
            assert mock.read_block().data.shape[0] == len(device.channels)
            mock.close()
            continue
        for group in mock.groups:
            rows = mock.read(group)
            assert [row.table for row in rows] == list(group.tables)
            assert len({row.time_ns for row in rows}) == 1
            for row in rows:
                values = row.values()
                assert all(
                    (values[c] is None) == (m is not None and m.quality is Quality.BAD)
                    for c in range(len(values))
                    for m in (row.mark(c),)
                )
        mock.close()
