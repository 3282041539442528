"""The service under a real systemd: how it starts, what it says, how it ends and comes back."""

from __future__ import annotations

import json

import pytest

from tests.docs.kit import commands
from tests.service.conftest import CONFIG, DEMO, install, start_demo, write_config
from tests.service.container import Machine

UNIT = "edge-gateway.service"
TEST = "tests/service/test_service.py"
pytestmark = [pytest.mark.timeout(300, func_only=True), pytest.mark.xdist_group("service")]


def test_life_of_the_service(machine: Machine) -> None:
    """Without a configuration it waits; with one it is READY, and comes back by itself."""
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
    machine.until(lambda: machine.main_pid(UNIT) not in (0, before), 20, UNIT)
    machine.until(lambda: machine.active(UNIT), 30, UNIT)
    asked = machine.out("systemctl", "show", UNIT, "-p", "NRestarts", "--value")
    assert asked == "1"

    # a request that comes while nobody serves the socket is answered by the next process
    pid = machine.main_pid(UNIT)
    machine.run("systemctl", "restart", "--no-block", UNIT)
    machine.until(lambda: machine.main_pid(UNIT) != pid, 20, UNIT)  # it served until then
    assert machine.status()["gateway"]["name"] == "demo"
    machine.until(lambda: machine.active(UNIT), 30, UNIT)

    machine.run("systemctl", "stop", UNIT)
    assert machine.show(UNIT, "Result") == "success"
    assert machine.show(UNIT, "ExecMainStatus") == "0"


def test_exposure(machine: Machine) -> None:
    """systemd-analyze's figure: at most 1.2 for the network unit, 1.6 with the serial drop-in."""
    install(machine)
    verify = machine.run("systemd-analyze", "verify", "--man=no", "--recursive-errors=no", UNIT,
                         "edge-gateway@hall.service", check=False)  # fmt: skip
    assert verify.returncode == 0, verify.stderr
    assert exposure(machine) <= 1.2
    _drop_in(machine, "serial")
    assert exposure(machine) <= 1.6


def _drop_in(machine: Machine, name: str) -> None:
    source = f"/usr/share/doc/edge-gateway/examples/{name}.conf.example"
    place = f"/etc/systemd/system/{UNIT}.d/{name}.conf"
    machine.run("install", "-D", "-m644", source, place)
    machine.run("systemctl", "daemon-reload")


def exposure(machine: Machine, unit: str = UNIT) -> float:
    """What systemd-analyze says of it; 10 is worst."""
    text = machine.run("systemd-analyze", "security", "--no-pager", unit, check=False).stdout
    line = next(x for x in text.splitlines() if "Overall exposure" in x)
    return float(line.partition(":")[2].split()[0])


def test_a_configuration_with_a_fault(machine: Machine) -> None:
    """The journal has the place of the fault, nothing starts again; a reload keeps what runs."""
    install(machine)
    start_demo(machine)
    pid = machine.main_pid(UNIT)
    good = machine.out("cat", CONFIG)
    write_config(machine, CONFIG, good.replace("latency_s", "latencyy_s"))
    assert machine.run("systemctl", "reload", UNIT, check=False).returncode != 0
    assert "did you mean 'latency_s'" in machine.said(UNIT)
    assert machine.active(UNIT)
    assert machine.main_pid(UNIT) == pid, "the running configuration goes on"
    problem = json.dumps(machine.status()["reload"])
    assert "gateway.yaml:" in problem or ".yaml:" in problem, problem

    machine.run("systemctl", "restart", UNIT, check=False)
    machine.until(lambda: machine.show(UNIT, "ActiveState") == "failed", 20, UNIT)
    assert machine.show(UNIT, "ExecMainStatus") == "78"
    assert machine.show(UNIT, "NRestarts") == "0", "starting again would not mend it"

    write_config(machine, CONFIG, good)
    machine.run("systemctl", "start", UNIT)
    pid = machine.main_pid(UNIT)
    write_config(machine, CONFIG, good.replace("latency_s: 0.004", "latency_s: 0.005"))
    machine.run("systemctl", "reload", UNIT)
    assert machine.main_pid(UNIT) == pid
    assert machine.active(UNIT)


def test_a_process_that_hangs(machine: Machine) -> None:
    """The watchdog ends it; the journal says where every thread was; it starts again."""
    install(machine)
    _install_driver(machine)
    machine.write(f"/etc/systemd/system/{UNIT}.d/soon.conf", "[Service]\nWatchdogSec=3\n")
    machine.run("systemctl", "daemon-reload")
    maps = "sed -i 's/^driver: mock/driver: hanging/' /etc/edge-gateway/maps/*.yaml"
    machine.run("sh", "-c", maps)
    start_demo(machine, ("driver: mock", "driver: hanging"))
    before = machine.main_pid(UNIT)
    machine.write("/var/lib/edge-gateway/hang", "")
    machine.until(lambda: machine.main_pid(UNIT) not in (0, before), 30, UNIT)
    said = machine.said(UNIT)
    assert "Watchdog timeout" in said
    assert "hanging_driver.py" in said, "the stacks name the file"
    assert "acquire.py" in said
    machine.run("rm", "/var/lib/edge-gateway/hang")
    machine.until(lambda: machine.active(UNIT), 60, UNIT)  # the next one may hang once more


def test_secrets(machine: Machine) -> None:
    """By credential: the service reads it, nobody finds it in journal, status, environment."""
    install(machine)
    secret = "s3cret-" + "0123456789abcdef" * 2
    machine.write("/etc/edge-gateway/influx.token", secret + "\n", "600")
    _drop_in(machine, "credentials")
    sink = (
        "sinks:\n  central: {type: influxdb, url: 'http://127.0.0.1:9', org: o, bucket: b, "
        "token_credential: influx_token}\n"
    )
    start_demo(machine, ("sinks:\n", sink))
    assert "token_credential" not in machine.said(UNIT)
    pid = machine.main_pid(UNIT)
    machine.until(lambda: "central" in machine.said(UNIT), 20, UNIT)  # refused, and said so
    texts = {
        "journal": machine.said(UNIT),
        "status": json.dumps(machine.status()),
        "environment": machine.out("cat", f"/proc/{pid}/environ"),
        "config": machine.out(
            "curl", "-sS", "--unix-socket", "/run/gateway.sock", "http://localhost/v1/config"
        ),
    }
    assert [where for where, text in texts.items() if secret in text] == []
    assert "Max core file size        0 " in machine.out("cat", f"/proc/{pid}/limits")
    listening = machine.out("sh", "-c", "cat /proc/net/tcp /proc/net/tcp6 | grep -c ' 0A ' || true")
    assert listening == "1", "the demo's own 127.0.0.1:8080 and nothing else"


def test_two_gateways_on_one_machine(machine: Machine) -> None:
    """Each has its own file, socket and state."""
    install(machine)
    for number, name in enumerate(("hall", "yard")):
        text = machine.out("cat", DEMO).replace("name: demo", f"name: {name}")
        text = text.replace("127.0.0.1:8080", f"127.0.0.1:{8090 + number}")
        text = text.replace("/var/lib/edge-gateway", f"/var/lib/edge-gateway-{name}")
        text = text.replace("/run/gateway.sock", f"/run/gateway-{name}.sock")
        machine.write(f"/etc/edge-gateway/{name}.yaml", text, "644")
        (command,) = commands("docs/install.md", f"run by {TEST}::test_two_gateways_on_one_machine")
        machine.run(*command.replace("yard", name).split(), timeout_s=90)
    for name in ("hall", "yard"):
        assert machine.status(f"/run/gateway-{name}.sock")["gateway"]["name"] == name
        assert machine.out("ls", f"/var/lib/edge-gateway-{name}")
    machine.run("systemctl", "stop", "edge-gateway@hall.service")
    assert machine.active("edge-gateway@yard.service")


def test_upgrade_removal_and_purge(machine: Machine) -> None:
    """An upgrade keeps data and what was changed; removal leaves data; purge does not."""
    install(machine, "before.deb")
    start_demo(machine)
    machine.until(lambda: machine.status()["state"] == "good", 20, UNIT)
    pid = machine.main_pid(UNIT)
    history = "/var/lib/edge-gateway/history/history.db"
    held = machine.out("sh", "-c", "find /var/lib/edge-gateway -type f | sort").splitlines()
    assert any("alarms" in name for name in held), held
    changed = "# a technician was here\n"
    machine.run("sh", "-c", "cat >> /etc/edge-gateway/hopper.yaml", given=changed)
    machine.run("sh", "-c", "dpkg -i /media/deb/edge-gateway_*.deb", timeout_s=120)
    machine.until(lambda: machine.active(UNIT), 30, UNIT)
    assert machine.main_pid(UNIT) != pid, "the new one runs"
    assert changed.strip() in machine.out("cat", "/etc/edge-gateway/hopper.yaml")
    after = machine.out("sh", "-c", "find /var/lib/edge-gateway -type f | sort").splitlines()
    assert {n for n in held if n.endswith(".db")} <= set(after), (history, held, after)

    machine.run("apt-get", "remove", "-y", "edge-gateway", timeout_s=120)
    assert not machine.active(UNIT)
    assert machine.run("test", "-e", "/opt/edge-gateway/bin", check=False).returncode
    assert machine.out("sh", "-c", "find /var/lib/edge-gateway -name '*.db'"), "data stays"
    machine.run("apt-get", "purge", "-y", "edge-gateway", timeout_s=120)
    left = machine.out("sh", "-c", "ls -d /var/lib/edge-gateway* /etc/edge-gateway* || true")
    assert left == ""


def test_wheels_without_a_network(machine: Machine) -> None:
    """The folder of wheels installs where nothing can be reached."""
    machine.run("sh", "-c", "/media/wheelhouse/install /opt/gw", timeout_s=240)
    assert machine.out("/opt/gw/bin/gateway", "--version").startswith("gateway ")


def _install_driver(machine: Machine) -> None:
    """A driver of somebody else's, whose library hangs with the interpreter's lock held."""
    packages = machine.out("sh", "-c", "echo /opt/edge-gateway/lib/python3*/site-packages")
    machine.write(f"{packages}/hanging_driver.py", _HANGING)
    about = f"{packages}/hanging_driver-1.0.dist-info"
    machine.write(
        f"{about}/METADATA", "Metadata-Version: 2.1\nName: hanging-driver\nVersion: 1.0\n"
    )
    points = "[gateway.drivers]\nhanging = hanging_driver:Hanging\n"
    machine.write(f"{about}/entry_points.txt", points)


_HANGING = """
import ctypes
import pathlib

from drivers.mock.driver import MockDriver


class Hanging(MockDriver):
    @classmethod
    def for_map(cls, device_map):
        return cls if device_map.stream is None else MockDriver.for_map(device_map)

    def read(self, group):
        if pathlib.Path("/var/lib/edge-gateway/hang").exists():
            ctypes.PyDLL(None).sleep(3600)
        return super().read(group)
"""
