"""What `gateway init` writes as root is for the service's user to read, and for nobody else."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.service.conftest import CONFIG, install
from tests.service.container import Machine

UNIT = "edge-gateway.service"
SECRET = "s3cret-" + "fedcba9876543210" * 2
SERVICE = ("runuser", "-u", "edge-gateway", "--")
STRANGER = ("runuser", "-u", "nobody", "--")
pytestmark = [pytest.mark.timeout(600, func_only=True), pytest.mark.xdist_group("service")]


def doctor(machine: Machine, *user: str) -> dict[str, dict[str, Any]]:
    """Name of a check -> what it found, as this user. There is no PLC and no server: 1."""
    done = machine.run(*user, "gateway", "doctor", "--json", CONFIG, check=False)
    assert done.returncode == 1, done.stderr
    assert "Traceback" not in done.stderr
    return {check["name"]: check for check in json.loads(done.stdout)["checks"]}


def files(machine: Machine) -> dict[str, str]:
    """What is in the service's folder -> its mode, owner and group."""
    text = machine.out("find", "/etc/edge-gateway", "-printf", "%p\t%m %u %g\n")
    return dict(line.split("\t") for line in text.splitlines())


def test_init_then_doctor_as_the_services_user(machine: Machine) -> None:
    install(machine)
    machine.write("/root/influx.token", SECRET + "\n", "644")  # as an editor leaves it
    machine.run(
        "gateway", "init", CONFIG, "--s7", "192.168.0.10", "--modbus", "127.0.0.1:1502",
        "--influx", "http://127.0.0.1:9", "--org", "o", "--bucket", "b",
        "--token-file", "/root/influx.token", "--yes", "--name", "hall-3", timeout_s=120,
    )  # fmt: skip
    text = machine.out("cat", CONFIG) + "\n"
    assert "\napi:" in text
    with_port = '\napi:\n  listen: "127.0.0.1:8080"\n  tokens_file: tokens\n'
    machine.write(CONFIG, text.replace("\napi:\n", with_port), "640")
    machine.run("chgrp", "edge-gateway", CONFIG)
    token = machine.run("gateway", "token", "add", CONFIG, "grafana").stdout.strip()

    found = files(machine)
    assert found[CONFIG] == "640 root edge-gateway"
    assert found["/etc/edge-gateway/maps/plc_1.yaml"] == "640 root edge-gateway"
    assert found["/etc/edge-gateway/influx.token"] == "640 root edge-gateway", "not /root's"
    assert found["/etc/edge-gateway/tokens"] == "640 root edge-gateway"
    assert set(found.values()) == {"640 root edge-gateway", "750 root edge-gateway"}

    machine.run(*SERVICE, "gateway", "check", CONFIG)
    before = doctor(machine, *SERVICE)
    wrong = {name: c for name, c in before.items() if c["state"] != "OK"}
    assert all("ermission" not in json.dumps(check) for check in before.values()), before
    assert not [n for n in wrong if "token" in n or "file" in n or "state_dir" in n], wrong
    stranger = machine.run(*STRANGER, "gateway", "check", CONFIG, check=False)
    assert stranger.returncode not in (0, 1), "nobody else may read it"
    assert "ermission" in stranger.stderr
    assert "Traceback" not in stranger.stderr

    machine.run("systemctl", "enable", "--now", UNIT, timeout_s=90)
    machine.until(lambda: machine.status()["devices"], 30, UNIT)
    during = doctor(machine, *SERVICE)
    assert any("a gateway answers" in check["found"] for check in during.values()), during
    for folder in ("/etc/edge-gateway", "/var/lib/edge-gateway"):
        assert machine.out("find", folder, "-perm", "/o+rwx") == ""
    for secret in (SECRET, token):
        command = f"grep -rlsF -e {secret} /etc /var /run /tmp /opt || true"
        assert machine.out(*STRANGER, "sh", "-c", command) == ""
