"""The units of `gateway writer` and `gateway serve` under a real systemd, with no Redis near.

What they do with one is for tests/fleet and tests/system/test_serve.py.
"""

from __future__ import annotations

import json

import pytest

from tests.docs.kit import commands
from tests.service.conftest import install, write_config
from tests.service.container import Machine
from tests.service.test_service import exposure

TEST = "run by tests/service/test_fleet.py::test_units_of_a_fleet"
pytestmark = [pytest.mark.timeout(600, func_only=True), pytest.mark.xdist_group("service")]


def _get(machine: Machine, folder: str, path: str) -> tuple[int, str]:
    """(code, body) of an answer over the socket in /run/FOLDER."""
    told = machine.out(
        "curl", "-sS", "-w", "\\n%{http_code}", "--unix-socket", f"/run/{folder}/s",
        f"http://localhost{path}",
    )  # fmt: skip
    body, _, code = told.rpartition("\n")
    return int(code), body


@pytest.mark.parametrize(
    ("kind", "name", "page"),
    [("writer", "hall", "docs/fleet.md"), ("serve", "control-room", "docs/serve.md")],
)
def test_units_of_a_fleet(machine: Machine, kind: str, name: str, page: str) -> None:
    """By the example of the package: READY without Redis, which it says; back if killed."""
    install(machine)
    unit = f"edge-gateway-{kind}@{name}.service"
    verify = machine.run("systemd-analyze", "verify", "--man=no", "--recursive-errors=no", unit,
                         check=False)  # fmt: skip
    assert verify.returncode == 0, verify.stderr
    assert exposure(machine, unit) <= 1.2
    machine.run("systemctl", "start", unit)
    assert not machine.active(unit), "without its file it does not start"
    file = f"/etc/edge-gateway/{name}.{kind}.yaml"
    text = machine.out("cat", f"/etc/edge-gateway/{kind}.example.yaml") + "\n"
    write_config(machine, file, text.replace("redis.plant.example", "127.0.0.1"))
    (command,) = commands(page, TEST)
    machine.run("sh", "-c", command, timeout_s=90)
    assert machine.active(unit)
    folder = f"edge-gateway-{kind}-{name}"
    assert machine.out("stat", "-c", "%a %U %G", f"/run/{folder}/s") == (
        "660 edge-gateway edge-gateway"
    )
    machine.until(lambda: "edis" in machine.show(unit, "StatusText"), 30, unit)
    assert _get(machine, folder, "/healthz")[0] == 200
    code, body = _get(machine, folder, "/readyz")
    assert code == 503
    assert "edis" in json.dumps(body)

    before = machine.main_pid(unit)
    machine.run("systemctl", "kill", "-s", "KILL", "--kill-whom=main", unit)
    machine.until(lambda: machine.main_pid(unit) not in (0, before), 20, unit)
    machine.until(lambda: machine.active(unit), 30, unit)

    write_config(machine, file, text.replace("redis:", "rediss:"))
    machine.run("systemctl", "restart", unit, check=False)
    machine.until(lambda: machine.show(unit, "ActiveState") == "failed", 30, unit)
    assert machine.show(unit, "ExecMainStatus") == "78"
    assert f"{file}:" in machine.said(unit)
    assert "did you mean 'redis'" in machine.said(unit)
    assert "Traceback" not in machine.said(unit)
    write_config(machine, file, text)
    machine.run("systemctl", "start", unit)
    machine.run("systemctl", "stop", unit)
    assert machine.show(unit, "Result") == "success"
