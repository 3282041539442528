"""The commands of install.md, operations.md and dashboards.md in docs/, as a reader types them."""

from __future__ import annotations

import re

import pytest

from tests.docs.kit import blocks
from tests.service.conftest import CONFIG, install, start_demo
from tests.service.container import Machine
from tests.support import ROOT

UNIT = "edge-gateway.service"
FOLDER = "/root/packages"
pytestmark = [pytest.mark.timeout(600, func_only=True), pytest.mark.xdist_group("service")]


def parts(page: str, test: str) -> list[list[str]]:
    """The commands of each block that names this test."""
    note = f"run by tests/service/test_docs.py::{test}"
    found = [block.commands for block in blocks(ROOT / page) if block.note == note]
    assert found
    return found


def type_all(machine: Machine, commands: list[str], allowed: dict[str, set[int]]) -> str:
    """Each as root in the folder with the package; what they print."""
    shown = ""
    for command in commands:
        done = machine.run("sh", "-c", f"cd {FOLDER} && {command}", check=False, timeout_s=400)
        codes = next((codes for part, codes in allowed.items() if part in command), {0})
        said = f"$ {command}\n{done.stdout}{done.stderr}"
        assert done.returncode in codes, f"{said}\nexit code {done.returncode}"
        assert "Traceback" not in said
        shown += said
    return shown


@pytest.fixture
def packed(machine: Machine) -> Machine:
    """A machine with the package in a folder, as it comes to a plant."""
    machine.run("sh", "-c", f"mkdir {FOLDER} && cp /media/deb/edge-gateway_*.deb {FOLDER}")
    return machine


def test_install(packed: Machine) -> None:
    """docs/install.md, the Debian package from its first to its last command."""
    packed.run("useradd", "technician")
    bare, first, demo, group, drop_in = parts("docs/install.md", "test_install")
    type_all(packed, bare, {})
    assert not packed.active(UNIT), "without a configuration it does not start"
    # nothing answers at the page's address: init says so and writes, the gateway is degraded
    shown = type_all(packed, first, {"gateway status": {1}})
    assert "192.168.0.10" in shown
    assert "active (running)" in shown
    packed.run("rm", CONFIG)
    shown = type_all(packed, demo, {"gateway top": {0, 1}})
    assert "press_1" in shown
    assert packed.out("stat", "-c", "%a %U %G", CONFIG) == "640 root edge-gateway"
    type_all(packed, group, {})
    assert "edge-gateway" in packed.out("id", "-nG", "technician").split()
    asked = "runuser -u technician -- gateway status --json"
    assert packed.run("sh", "-c", asked, check=False).returncode in (0, 1)
    type_all(packed, drop_in, {})
    packed.until(lambda: packed.active(UNIT), 30, UNIT)
    assert "dialout" in packed.show(UNIT, "SupplementaryGroups")


def test_wheelhouse(machine: Machine) -> None:
    """docs/install.md, the folder of wheels."""
    machine.run("cp", "-r", "/media/wheelhouse", FOLDER)
    for commands in parts("docs/install.md", "test_wheelhouse"):
        assert re.search(r"^gateway \d", type_all(machine, commands, {}), re.MULTILINE)


def test_operations(packed: Machine) -> None:
    """docs/operations.md: what is backed up on one machine goes on on another."""
    install(packed)
    start_demo(packed)
    watch, configuration, everything, restore, change, upgrade = parts(
        "docs/operations.md", "test_operations"
    )
    shown = type_all(packed, watch, {"gateway status": {0, 1}})
    assert "gateway_lost_rows_total" in shown
    type_all(packed, configuration, {})
    listed = packed.out("tar", "-tzf", "/var/backups/edge-gateway-etc.tar.gz")
    assert "etc/edge-gateway/gateway.yaml" in listed.splitlines()
    magic = packed.out("head", "-c", "15", "/var/backups/history.db")
    assert magic == "SQLite format 3"
    type_all(packed, everything, {})
    packed.until(lambda: packed.active(UNIT), 30, UNIT)
    oldest = _oldest(packed)

    # another PC: nothing of the first one is left
    packed.run("apt-get", "purge", "-y", "edge-gateway", timeout_s=120)
    install(packed)
    assert packed.run("test", "-e", CONFIG, check=False).returncode
    type_all(packed, restore, {})
    packed.until(lambda: packed.active(UNIT), 30, UNIT)
    assert _oldest(packed) == oldest, "the history of the first machine is there"

    text = packed.out("cat", CONFIG)
    assert "latency_s: 0.004" in text
    text = text.replace("latency_s: 0.004", "latency_s: 0.005")
    packed.write(CONFIG, text + "\n", "640")
    packed.run("chgrp", "edge-gateway", CONFIG)
    assert "press_1" in type_all(packed, change, {})
    pid = packed.main_pid(UNIT)
    type_all(packed, upgrade, {})
    packed.until(lambda: packed.active(UNIT) and packed.main_pid(UNIT) != pid, 30, UNIT)
    assert _oldest(packed) == oldest


def _oldest(machine: Machine) -> str:
    """Time of the oldest value of the press in the historian."""
    path = "/v1/history?device=press_1&tag=force&from=-1h&max_points=10000"

    def asked() -> str:
        text = machine.run(
            "curl", "-sS", "--unix-socket", "/run/gateway.sock", f"http://localhost{path}",
            check=False,
        ).stdout  # fmt: skip
        found = re.search(r'"points":\[\[(.+?)\]', text)
        return found[1] if found else ""

    oldest: str = machine.until(asked, 20, UNIT)
    return oldest


def test_dashboards(packed: Machine) -> None:
    """docs/dashboards.md: the files go where Grafana looks for them."""
    install(packed)
    packed.run("mkdir", "-p", "/etc/grafana/provisioning/datasources")
    packed.run("mkdir", "-p", "/etc/grafana/provisioning/dashboards")
    for commands in parts("docs/dashboards.md", "test_dashboards"):
        type_all(packed, commands, {})
    files = packed.out("ls", "/var/lib/grafana/dashboards/edge-gateway").split()
    assert sorted(files) == sorted(p.name for p in (ROOT / "configs/grafana/dashboards").iterdir())
