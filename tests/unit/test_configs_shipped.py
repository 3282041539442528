"""Every shipped configuration can be loaded as it is, and runs with mocks in place of machines."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

from drivers.mock import MockDriver
from gateway.api.settings import ApiConfig
from gateway.config import load
from gateway.config.plant import FileConfig, GatewayConfig, Plant
from gateway.driver import PolledDriver, Settings, StreamDriver, find_driver
from gateway.errors import ConfigError
from gateway.sinks import find_sink, installed_sinks
from gateway.spool import SpoolConfig
from gateway.writer import WriterConfig
from tests.drivers.mock_support import connect_when_it_can_be
from tests.support import ROOT, gateway_configs

CONFIGS = [
    *gateway_configs(),
    *sorted(p for p in (ROOT / "drivers").glob("*/example*.yaml") if "map" not in p.stem),
]
MAPS = sorted((ROOT / "configs" / "maps").glob("*.yaml"))

VIBRATION = [f"{v}_{axis}" for v in ("vrms", "cf", "k", "freq", "err") for axis in "xyz"]
"""What the first customer's vibration sensor gives, besides vx, vy, vz and temperature."""


def _id(path: Path) -> str:
    return str(path.relative_to(ROOT))


def _polled(plant: Plant) -> list[PolledDriver]:
    return [d for d in plant.devices.values() if isinstance(d, PolledDriver)]


@pytest.mark.parametrize("path", CONFIGS, ids=_id)
def test_it_loads_without_faults_or_warnings_and_each_group_has_a_plan(path: Path) -> None:
    plant = load(path)
    assert plant.warnings == []
    assert plant.sinks
    for name, device in plant.devices.items():
        assert (name in plant.streams) == isinstance(device, StreamDriver)
        assert device.groups
    for device in _polled(plant):
        for group in device.groups:
            columns = sum(len(table.columns) for table in group.tables)
            assert sum(request.tags for request in device.plan(group)) == columns


@pytest.mark.parametrize("path", CONFIGS, ids=_id)
def test_mocks_give_a_row_of_each_of_its_tables(path: Path) -> None:
    real, mocked = load(path), load(path, mock=True)
    assert [d.name for d in _polled(mocked)] == [d.name for d in _polled(real)]
    for device, mock in zip(_polled(real), _polled(mocked), strict=True):
        assert mock.status()["mock"] is True
        assert isinstance(mock, MockDriver)
        connect_when_it_can_be(mock)
        for group, mock_group in zip(device.groups, mock.groups, strict=True):
            rows = mock.read(mock_group)
            assert [_shape(row.table) for row in rows] == [_shape(t) for t in group.tables]
            for row in rows:
                assert [v is None for v in row.values()] == [
                    row.is_bad(i) for i in range(len(row.table.columns))
                ]
        mock.close()


def _shape(table: object) -> list[object]:
    names = ("name", "labels", "columns", "kinds", "units", "group", "interval_s")
    return [getattr(table, name) for name in names]


@pytest.mark.parametrize("path", MAPS, ids=_id)
def test_every_shipped_map_is_used_by_a_shipped_configuration(path: Path) -> None:
    used = {file.resolve() for config in CONFIGS for file in load(config).files}
    assert path.resolve() in used


@pytest.mark.parametrize("path", [*CONFIGS, *MAPS], ids=_id)
def test_its_first_line_names_its_schema(path: Path) -> None:
    first = path.read_text(encoding="utf-8").split("\n", 1)[0]
    assert first.startswith("# yaml-language-server: $schema=")
    schema = (path.parent / first.partition("=")[2]).resolve()
    assert schema.parent == ROOT / "configs" / "schema"


def _option_classes() -> list[type[Settings]]:
    classes: list[type[Settings]] = [GatewayConfig, FileConfig, ApiConfig, WriterConfig]
    classes += [SpoolConfig, *(find_sink(name).config_class for name in installed_sinks())]
    for driver in map(find_driver, ("s7", "modbus", "mock", "nidaq")):
        classes += [driver.config_class, *([driver.bus_class] if driver.bus_class else [])]
    return classes


def _readme_of(settings: type[Settings]) -> str:
    """Of a sink for a fleet: its options stand in its own README, the example points there."""
    sink = re.fullmatch(r"gateway\.sinks\.(redis|mqtt|postgres)\..*", settings.__module__)
    folder = ROOT / "gateway" / "sinks" / sink[1] if sink else None
    return (folder / "README.md").read_text(encoding="utf-8") if folder else ""


def test_the_example_shows_every_option() -> None:
    text = (ROOT / "configs" / "gateway.example.yaml").read_text(encoding="utf-8")
    missing = {
        f"{settings.__name__}.{field.alias or name}"
        for settings in _option_classes()
        for name, field in settings.model_fields.items()
        if not re.search(rf"\b{field.alias or name}:", text)
        and f"`{field.alias or name}`" not in _readme_of(settings)
    }
    assert missing == set()


def test_the_demo_is_of_the_promised_size_and_keeps_everything_under_var() -> None:
    plant = load(ROOT / "configs" / "demo.yaml")
    tags = sum(len(t.columns) for d in _polled(plant) for g in d.groups for t in g.tables)
    assert 30 <= tags <= 60
    assert plant.state_dir.resolve() == ROOT / "var"
    assert plant.api.socket.resolve() == ROOT / "var" / "gateway.sock"
    assert plant.api.listen == "127.0.0.1:8080"


def test_the_hopper_has_the_modules_of_the_first_customer() -> None:
    plant = load(ROOT / "configs" / "hopper.yaml")
    (hopper,) = _polled(plant)
    (group,) = hopper.groups
    columns = {table.name: set(table.columns) for table in group.tables}
    assert columns == {
        "pm10": {"pm10_value"},
        "temperature": {"temperature_value"},
        "electricity": {"Pt", "ImpEp", "Ua_0", "I_0", "I_1", "I_2"},
        "vibration_selected": {"vx", "vy", "vz", "temperature", *VIBRATION},
    }
    for table in group.tables:
        assert dict(table.labels)["device_name"] == "4号料仓综合监测单元"
    (request,) = hopper.plan(group)
    assert request.bytes == 102


def test_the_demo_hopper_has_the_tables_of_the_real_one() -> None:
    real = load(ROOT / "configs" / "hopper.yaml").devices["hopper_unit_4"]
    demo = load(ROOT / "configs" / "demo.yaml").devices["hopper_4"]
    shapes = [
        [(t.key, t.columns, t.kinds, t.units) for g in d.groups for t in g.tables]
        for d in (real, demo)
    ]
    assert shapes[0] == shapes[1]


@pytest.mark.parametrize("name", ["hopper.yaml", "gateway.example.yaml"])
def test_the_influxdb_sink_can_be_uncommented_as_its_comment_says(
    name: str, tmp_path: Path
) -> None:
    shutil.copytree(ROOT / "configs", tmp_path / "configs")
    path = tmp_path / "configs" / name
    lines = path.read_text(encoding="utf-8").splitlines()
    begin = next(i for i, line in enumerate(lines) if line.startswith("  # influx:"))
    end = next(i for i in range(begin, len(lines)) if not lines[i].startswith("  #"))
    lines[begin:end] = [line.replace("  # ", "  ", 1) for line in lines[begin:end]]
    path.write_text("\n".join(lines), encoding="utf-8")
    with pytest.raises(ConfigError) as raised:
        load(path)
    (fault,) = raised.value.faults  # the token is the only thing that is missing
    assert fault.place.path == "sinks.influx.token_file"
    token = tmp_path / "influx.token"
    token.write_text("not-a-real-token-0123456789\n", encoding="utf-8")
    token.chmod(0o600)
    text = path.read_text(encoding="utf-8")
    path.write_text(text.replace("/etc/edge-gateway/influx.token", str(token)), encoding="utf-8")
    assert set(load(path).sinks) == {"history", "influx"}
