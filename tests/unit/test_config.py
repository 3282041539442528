"""A checked configuration as a plant: paths, secrets, buses, labels, addresses, mocks."""

from __future__ import annotations

import gc
import os
import pickle
from pathlib import Path

import pytest

from drivers.mock import MockDriver
from gateway.config import Plant, load, mapreader
from gateway.driver import Tag, TagConfig
from gateway.errors import ConfigError
from gateway.yamlfile.document import Document, Section
from tests.support import ROOT

HEAD = """
gateway: {name: hall-3}
state_dir: state
api: {socket: gw.sock}
sinks: {history: {type: sqlite}}
"""
PRESS = """
driver: mock
groups:
  process:
    interval_s: 1
    tags:
      force: {type: real, unit: kN}
"""
PLANT = ROOT / "tests" / "cases" / "good_plant"


def write(folder: Path, **files: str) -> Path:
    folder.mkdir(exist_ok=True)
    for name, text in files.items():
        (folder / f"{name}.yaml").write_text(text, "utf-8")
    return folder / "gateway.yaml"


def faults(path: Path) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        load(path)
    return [f"{f.place.path}: {f.message}" for f in caught.value.faults]


def test_paths_are_relative_to_the_file_and_not_to_the_current_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = write(
        tmp_path / "plant",
        gateway=HEAD + "devices: {press: {driver: mock, map: press.yaml}}",
        press=PRESS,
    )
    monkeypatch.chdir(tmp_path)
    plant = load(Path("plant/gateway.yaml"))
    assert plant.file == file
    assert plant.state_dir == tmp_path / "plant" / "state"
    assert plant.api.socket == tmp_path / "plant" / "gw.sock"
    assert plant.files == [file, tmp_path / "plant" / "press.yaml"]
    assert plant.devices["press"].config.map == tmp_path / "plant" / "press.yaml"


def test_loading_reads_and_makes_nothing_but_configuration(tmp_path: Path) -> None:
    file = write(
        tmp_path, gateway=HEAD + "devices: {press: {driver: mock, map: press.yaml}}", press=PRESS
    )
    load(file)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["gateway.yaml", "press.yaml"]


def test_sizes_are_text_or_bytes(tmp_path: Path) -> None:
    spool = "spool: {max_bytes: 20000000}\n"
    text = HEAD.replace("sqlite", "sqlite, max_bytes: 2GB") + spool
    file = write(tmp_path, gateway=text + "devices: {p: {driver: mock, map: p.yaml}}", p=PRESS)
    plant = load(file)
    assert plant.spool.max_bytes == 20_000_000
    assert plant.sinks["history"].model_dump()["max_bytes"] == 2_000_000_000


def test_a_bus_has_its_enabled_devices_and_the_others_have_one_of_their_own() -> None:
    plant = load(PLANT / "gateway.yaml")
    shared = next(bus for bus in plant.buses if bus.name == "rs485")
    assert [d.name for d in shared.devices] == ["meter_2", "meter_3"]
    assert shared.devices[0].bus is shared.devices[1].bus is shared.bus is not None
    assert plant.devices["meter_2"].config.driver == "modbus"
    assert [bus.name for bus in plant.buses if bus.bus is None] == [
        "hopper_4",
        "meter_1",
        "press_1",
    ]
    assert "hopper_5" in plant.devices  # not enabled: built and checked, but on no bus


def test_a_mock_takes_the_place_of_every_driver_with_the_same_tables() -> None:
    real, mock = load(PLANT / "gateway.yaml"), load(PLANT / "gateway.yaml", mock=True)
    assert all(isinstance(device, MockDriver) for device in mock.devices.values())
    assert [(b.name, b.bus, [d.name for d in b.devices]) for b in mock.buses] == [
        (b.name, None, [d.name for d in b.devices]) for b in real.buses
    ]
    for name, device in real.devices.items():
        for group, its in zip(device.groups, mock.devices[name].groups, strict=True):
            assert (group.name, group.interval_s) == (its.name, its.interval_s)
            shapes = [(t.key, t.labels, t.columns, t.kinds, t.units) for t in group.tables]
            assert shapes == [(t.key, t.labels, t.columns, t.kinds, t.units) for t in its.tables]


def test_a_mock_run_still_checks_everything(tmp_path: Path) -> None:
    file = write(tmp_path, gateway=HEAD + "devices: {a: {driver: s7, map: nowhere.yaml}}")
    with pytest.raises(ConfigError, match="there is no such file"):
        load(file, mock=True)


def test_a_plant_survives_pickling_with_its_shared_objects() -> None:
    copy: Plant = pickle.loads(pickle.dumps(load(PLANT / "gateway.yaml")))
    shared = next(bus for bus in copy.buses if bus.name == "rs485")
    assert shared.devices[0] is copy.devices["meter_2"]
    assert shared.devices[0].bus is shared.bus


def test_nothing_of_the_files_is_kept_by_the_plant() -> None:
    plant = load(PLANT / "gateway.yaml")
    gc.collect()
    seen: set[int] = set()
    ahead: list[object] = [plant]
    while ahead:
        thing = ahead.pop()
        if id(thing) in seen or isinstance(thing, type) or type(thing).__name__ == "module":
            continue
        seen.add(id(thing))
        assert not isinstance(thing, Document | Section | Tag | TagConfig), thing
        if type(thing).__module__.split(".")[0] in ("gateway", "drivers", "builtins"):
            ahead += [r for r in gc.get_referents(thing) if not callable(r)]
    assert len(seen) > 100


def test_a_map_of_several_devices_is_read_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    devices = "".join(f"  p{n}: {{driver: mock, map: p.yaml}}\n" for n in range(5))
    file = write(tmp_path, gateway=HEAD + "devices:\n" + devices, p=PRESS)
    read: list[Path] = []
    original = mapreader.read_yaml
    monkeypatch.setattr(mapreader, "read_yaml", lambda path: (read.append(path), original(path))[1])
    assert len(load(file).devices) == 5
    assert read == [tmp_path / "p.yaml"]


def test_addresses_are_taken_as_they_are_written(tmp_path: Path) -> None:
    devices = "devices: {a: {driver: s7, host: a, map: m.yaml}}"
    text = (
        "driver: s7\nmodules: {m: {bit: {at: 4.10, type: bool}, ok: {at: 4.1, type: bool}}}\n"
        "groups: {g: {interval_s: 1, modules: {x: {use: m, at: DB1.DBB0}}}}\n"
    )
    (fault,) = faults(write(tmp_path, gateway=HEAD + devices, m=text))
    assert fault.startswith("modules.m.bit.at: ")  # 4.10 is no bit, and not 4.1
    assert "4.10" in fault


@pytest.mark.parametrize("content", [None, "", "folder"])
def test_a_secret_that_cannot_be_read_is_a_fault(tmp_path: Path, content: str | None) -> None:
    secret = tmp_path / "token"
    if content == "folder":
        secret.mkdir()
    elif content is not None:
        secret.write_text(content)
    sink = "{type: influxdb, url: 'http://localhost:1', org: o, bucket: b, token_file: token}"
    text = HEAD.replace("{type: sqlite}", sink) + "devices: {p: {driver: mock, map: p.yaml}}"
    (fault,) = faults(write(tmp_path, gateway=text, p=PRESS))
    assert fault.startswith("sinks.history.token_file: ")
    assert {None: "no such file", "": "empty", "folder": "not a file"}[content] in fault


def test_a_credential_is_looked_up_where_systemd_puts_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sink = (
        "{type: influxdb, url: 'http://localhost:1', org: o, bucket: b, token_credential: influx}"
    )
    text = HEAD.replace("{type: sqlite}", sink) + "devices: {p: {driver: mock, map: p.yaml}}"
    file = write(tmp_path, gateway=text, p=PRESS)
    monkeypatch.delenv("CREDENTIALS_DIRECTORY", raising=False)
    (fault,) = faults(file)
    assert fault.startswith("sinks.history.token_credential: ")
    assert "CREDENTIALS_DIRECTORY is not set" in fault
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    (fault,) = faults(file)
    assert "no such file" in fault
    (tmp_path / "influx").write_text("secret")
    assert load(file).sinks["history"].type == "influxdb"
    file.write_text(text.replace("influx}", "../influx}"))
    (fault,) = faults(file)
    assert "not the name of a credential" in fault


def test_secrets_are_never_in_a_fault(tmp_path: Path) -> None:
    sink = "{type: influxdb, url: 'http://localhost:1', token: hunter2, token_file: [hunter2]}"
    text = HEAD.replace("{type: sqlite}", sink) + "devices: {p: {driver: mock, map: p.yaml}}"
    said = faults(write(tmp_path, gateway=text, p=PRESS))
    assert any("unknown key 'token'" in fault for fault in said)
    assert "hunter2" not in "".join(said)


def test_a_driver_that_fails_is_named_and_not_a_traceback(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise ZeroDivisionError("by zero")

    monkeypatch.setattr(MockDriver, "__init__", broken)
    text = HEAD + "devices: {press: {driver: mock, map: press.yaml}}"
    assert faults(write(tmp_path, gateway=text, press=PRESS)) == [
        "devices.press: driver 'mock' failed, which is a bug in it: ZeroDivisionError: by zero"
    ]


def test_a_file_that_may_not_be_read_is_a_fault_at_the_device(tmp_path: Path) -> None:
    file = write(
        tmp_path, gateway=HEAD + "devices: {press: {driver: mock, map: press.yaml}}", press=PRESS
    )
    (tmp_path / "press.yaml").chmod(0)
    if os.access(tmp_path / "press.yaml", os.R_OK):  # root may read anything: a loop, then
        (tmp_path / "press.yaml").unlink()
        (tmp_path / "press.yaml").symlink_to(tmp_path / "press.yaml")
    (fault,) = faults(file)
    assert fault.startswith("devices.press.map: ")
