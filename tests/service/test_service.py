"""The service under a real systemd: how it starts, what it says, how it ends and comes back."""

from __future__ import annotations

import pytest

from tests.service.conftest import install, start_demo
from tests.service.container import Machine

UNIT = "edge-gateway.service"
pytestmark = [pytest.mark.timeout(300), pytest.mark.xdist_group("service")]


def test_life_of_the_service(machine: Machine) -> None:
    """Installed without a configuration it waits; with one it is READY, and comes back by itself."""
    install(machine)
    assert not machine.active(UNIT), "without a configuration it does not start"
    assert machine.run("systemctl", "is-failed", UNIT, check=False).stdout.strip() != "failed"
    start_demo(machine)
    assert machine.active(UNIT), "start returns only when it is ready"
    status = machine.status()
    assert status["gateway"]["state_dir"] == "/var/lib/edge-gateway"
    assert machine.show(UNIT, "StatusText"), "what `systemctl status` shows"
    assert (
        machine.out("stat", "-c", "%a %U %G", "/run/gateway.sock")
        == "660 edge-gateway edge-gateway"
    )
    assert machine.out("stat", "-c", "%a %U", "/var/lib/edge-gateway") == "750 edge-gateway"

    entries = [e for e in machine.journal(UNIT) if e.get("GATEWAY_LOGGER") or e.get("LOGGER")]
    assert entries, machine.journal(UNIT)[-3:]

    before = machine.main_pid(UNIT)
    machine.run("systemctl", "kill", "-s", "KILL", "--kill-whom=main", UNIT)
    machine.until(lambda: machine.main_pid(UNIT) not in (0, before), 5, UNIT)
    machine.until(lambda: machine.active(UNIT), 10, UNIT)
    asked = machine.out("systemctl", "show", UNIT, "-p", "NRestarts", "--value")
    assert asked == "1"

    # a request that comes while nobody serves the socket is answered by the next process
    machine.run("systemctl", "restart", "--no-block", UNIT)
    assert machine.status()["gateway"]["name"] == "demo"
    machine.until(lambda: machine.active(UNIT), 20, UNIT)

    machine.run("systemctl", "stop", UNIT)
    assert machine.show(UNIT, "Result") == "success"
    assert machine.show(UNIT, "ExecMainStatus") == "0"


def test_exposure(machine: Machine) -> None:
    """systemd-analyze's figure: at most 1.2 for the network unit, 1.6 with the serial drop-in."""
    install(machine)
    verify = machine.run("systemd-analyze", "verify", "--man=no", "--recursive-errors=no", UNIT,
                         "edge-gateway@hall.service", check=False)  # fmt: skip
    assert verify.returncode == 0, verify.stderr
    assert _exposure(machine) <= 1.2
    _drop_in(machine, "serial")
    assert _exposure(machine) <= 1.6


def _drop_in(machine: Machine, name: str) -> None:
    source = f"/usr/share/doc/edge-gateway/examples/{name}.conf.example"
    place = f"/etc/systemd/system/{UNIT}.d/{name}.conf"
    machine.run("install", "-D", "-m644", source, place)
    machine.run("systemctl", "daemon-reload")


def _exposure(machine: Machine) -> float:
    text = machine.run("systemd-analyze", "security", "--no-pager", UNIT, check=False).stdout
    line = next(x for x in text.splitlines() if "Overall exposure" in x)
    return float(line.partition(":")[2].split()[0])
