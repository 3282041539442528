"""`gateway sim`: a map is rehearsed against simulated devices before the machine exists."""

from __future__ import annotations

import contextlib
import functools
import json
import os
import signal
from pathlib import Path
from typing import Any

import pytest

from gateway.config import load
from gateway.driver import Endpoint
from gateway.errors import GatewayError
from gateway.sim import PORTS, SimProcess, Simulators, announced, find_simulator, usual_ports
from tests.support import until
from tests.system.cli_kit import (
    PRESS,
    called,
    gateway,
    is_well,
    objects,
    plant,
    real_devices,
    said,
    started,
    state_of,
)


@pytest.fixture(autouse=True)
def _own_runtime_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))


def by_tag(file: Path, device: str) -> dict[str, dict[str, Any]]:
    done = called("read", "--sim", file, device, "--json")
    return {v["tag"]: v for v in objects(done.stdout)}


def has_moved(file: Path, device: str, tag: str, before: object) -> bool:
    return bool(by_tag(file, device)[tag]["value"] != before)


def test_every_s7_and_modbus_device_is_served_with_good_moving_values(tmp_path: Path) -> None:
    file = plant(tmp_path, real_devices() + PRESS)
    log = tmp_path / "log"
    with started("sim", file, log=log) as process:
        text = said(log, "gateway run --sim", process)
        endpoints = find_simulator(file)
        assert endpoints is not None
        assert set(endpoints) == {"hopper", "meter"}
        for name, endpoint in endpoints.items():
            assert endpoint.host == "127.0.0.1"
            assert f"{endpoint.host}:{endpoint.port}" in text
            assert name in text
        assert "device 'press': driver mock has no simulator" in text
        for device, tag in (("hopper", "level"), ("meter", "voltage")):
            first = by_tag(file, device)
            assert {v["quality"] for v in first.values()} == {"GOOD"}
            moved = functools.partial(has_moved, file, device, tag, first[tag]["value"])
            until(moved, 20, f"{device} {tag} moved")
        found = objects(called("probe", "--sim", file, "hopper", "DB4.DBD0", "--json").stdout)[0]
        assert len(bytes.fromhex(found["raw"])) == 4
        for device, address in (("hopper", "DB99.DBD0"), ("meter", "holding:9999")):
            refused = called("probe", "--sim", file, device, address, expect=1)
            assert "refuse" in refused.stderr
        assert "running already" in gateway("sim", file, expect=1).stderr
    assert process.returncode == 0
    assert find_simulator(file) is None
    done = called("read", "--sim", file, "hopper", expect=1)
    assert f"no simulator is running; start one: gateway sim {file}" in done.stderr


def test_run_sim_brings_its_own_simulator_which_dies_with_it(tmp_path: Path) -> None:
    file = plant(tmp_path, real_devices())
    log = tmp_path / "log"
    with started("run", "--sim", file, log=log, stop=signal.SIGKILL) as process:
        text = said(log, "Next, in another terminal", process)
        assert "INVENTED VALUES" in text
        until(lambda: is_well(file), 20)
        done = called("read", file, "meter", "--json")
        assert "through the running gateway" in done.stderr
        assert {v["quality"] for v in objects(done.stdout)} == {"GOOD"}
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        assert len(children) == 1
    until(lambda: not Path(f"/proc/{children[0]}").exists(), 10, "the simulator ended")


def test_run_sim_uses_the_simulator_that_runs_already(tmp_path: Path) -> None:
    file = plant(tmp_path, real_devices())
    with started("sim", file, log=tmp_path / "sim") as simulator:
        said(tmp_path / "sim", "gateway run --sim", simulator)
        with started("run", "--sim", file, log=tmp_path / "run") as process:
            said(tmp_path / "run", "Next, in another terminal", process)
            until(lambda: is_well(file), 20)
            children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text()
            assert children == ""
        assert process.returncode == 0


def test_a_simulator_that_was_killed_and_started_again_is_found_again(tmp_path: Path) -> None:
    file = plant(tmp_path, real_devices())
    with contextlib.ExitStack() as outlives:
        log = tmp_path / "sim"
        with started("sim", file, log=log, stop=signal.SIGKILL) as simulator:
            said(log, "gateway run --sim", simulator)
            endpoints = find_simulator(file)
            process = outlives.enter_context(started("run", "--sim", file, log=tmp_path / "run"))
            said(tmp_path / "run", "Next, in another terminal", process)
            until(lambda: is_well(file), 20)
        until(lambda: state_of(file) == "degraded", 20)
        again = outlives.enter_context(started("sim", file, log=log))
        said(log, "gateway run --sim", again)
        assert find_simulator(file) == endpoints
        until(lambda: is_well(file), 20)
    assert process.returncode == 0


def test_every_device_has_a_port_of_its_own_that_depends_on_file_and_name_alone(
    tmp_path: Path,
) -> None:
    names = [f"device_{i}" for i in range(2000)]
    ports = usual_ports(tmp_path / "g.yaml", names)
    assert len(set(ports.values())) == len(names)
    assert set(ports.values()) <= set(PORTS)
    assert usual_ports(tmp_path / "g.yaml", reversed(names)) == ports
    assert usual_ports(tmp_path / "h.yaml", names) != ports


def test_a_port_that_is_taken_is_left_alone(tmp_path: Path) -> None:
    file = plant(tmp_path, real_devices())
    plant_ = load(file)
    first = Simulators(plant_.devices.values(), usual_ports(file, plant_.devices))
    try:
        second = Simulators(plant_.devices.values(), usual_ports(file, plant_.devices))
        second.close()
    finally:
        first.close()
    assert set(second.endpoints) == set(first.endpoints) == {"hopper", "meter"}
    assert not {e.port for e in first.endpoints.values()} & {
        e.port for e in second.endpoints.values()
    }


def test_a_simulator_process_serves_until_it_is_closed(tmp_path: Path) -> None:
    file = plant(tmp_path, real_devices() + PRESS)
    process = SimProcess(file)
    try:
        assert set(process.endpoints) == {"hopper", "meter"}
        assert find_simulator(file) is None  # it belongs to one gateway alone
    finally:
        process.close()
        process.close()


def test_a_simulator_process_that_cannot_start_is_said(tmp_path: Path) -> None:
    with pytest.raises(GatewayError, match="the simulator ended at once, exit 78"):
        SimProcess(tmp_path / "none.yaml")


def test_simulators_in_this_process_know_who_has_none(tmp_path: Path) -> None:
    plant_ = load(plant(tmp_path, real_devices() + PRESS))
    simulators = Simulators(plant_.devices.values())
    try:
        assert set(simulators.endpoints) == {"hopper", "meter"}
        assert simulators.without == ["press"]
        simulators.step(1.0)
    finally:
        simulators.close()
        simulators.close()


def test_what_a_dead_simulator_left_behind_does_not_count(tmp_path: Path) -> None:
    file = tmp_path / "g.yaml"
    endpoints = {"a": Endpoint("127.0.0.1", 1234)}
    with announced(file, endpoints):
        assert find_simulator(file) == endpoints
        with pytest.raises(GatewayError, match="is running already"), announced(file, {}):
            pass
    (left,) = (tmp_path / f"edge-gateway-sim-{os.getuid()}").iterdir()
    assert json.loads(left.read_text()) == {"a": {"host": "127.0.0.1", "port": 1234}}
    assert find_simulator(file) is None
    with announced(file, {}):
        assert find_simulator(file) == {}


def test_a_folder_that_others_can_write_is_not_trusted(tmp_path: Path) -> None:
    folder = tmp_path / f"edge-gateway-sim-{os.getuid()}"
    folder.mkdir()
    folder.chmod(0o777)
    with pytest.raises(GatewayError, match="belongs to someone else"):
        find_simulator(tmp_path / "g.yaml")
