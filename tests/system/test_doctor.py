"""`gateway doctor` against real peers: good and bad, alone and with a running gateway."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from gateway.api.client import Client
from tests.sims.influx_peer import BUCKET, TOKEN, InfluxPeer, influx
from tests.sims.modbus_peer import ModbusPeer
from tests.sims.s7_faults import FaultProxy, header_error
from tests.sims.s7_peer import S7Peer, serve_s7
from tests.support import free_port, until
from tests.system.cli_kit import HOPPER, METER, PRESS, gateway, plant, started, state_of

__all__ = ["influx"]

peer = pytest.fixture(scope="module")(serve_s7)


@pytest.fixture
def plc(peer: S7Peer) -> Iterator[S7Peer]:
    peer.db(4, 100)
    yield peer
    peer.cpu(running=True)


def examined(file: Path, expect: int) -> dict[str, dict[str, Any]]:
    """The findings of `gateway doctor FILE --json`, by name."""
    document = json.loads(gateway("doctor", file, "--json", expect=expect).stdout)
    assert document["ok"] is (expect == 0)
    return {check["name"]: check for check in document["checks"]}


def with_influx(file: Path, url: str, token: str) -> None:
    """Add a sink to the plant's file."""
    path = file.parent / "influx.token"
    path.write_text(token + "\n")
    path.chmod(0o600)
    sink = (
        f"  influx: {{type: influxdb, url: '{url}', bucket: {BUCKET}, token_file: {path.name}}}\n"
    )
    file.write_text(file.read_text().replace("devices:\n", f"{sink}devices:\n"))


def test_all_is_well_and_is_said_of_each_part(
    plc: S7Peer, influx: InfluxPeer, tmp_path: Path
) -> None:
    with ModbusPeer("tcp", 0) as meter:
        devices = HOPPER % plc.port + METER % meter.port + PRESS
        file = plant(tmp_path, devices, listen=f"127.0.0.1:{free_port()}")
        with_influx(file, influx.url, TOKEN)
        found = examined(file, 0)
    states = {name: check["state"] for name, check in found.items()}
    # what this machine's clock and load are is not ours to say
    doubtful = {n for n, s in states.items() if s == "WARN"} - {"clock", "processor", "disk speed"}
    assert not doubtful, [found[name] for name in doubtful]
    for name in ("sqlite", "disk", "state_dir", "socket", "secret influx", "driver s7",
                 "driver modbus", "sink type influxdb", "device hopper", "device meter",
                 "device press", "sink history", "sink influx", "spool influx"):  # fmt: skip
        assert states[name] == "OK", found[name]
    assert "PDU" in found["device hopper"]["found"]
    assert "python-snap7 3." in found["driver s7"]["found"]
    assert "an outage of" in found["spool influx"]["found"]
    assert influx.query("SHOW SERIES") == []
    assert TOKEN not in str(found)
    assert not (tmp_path / "state").exists()


def test_what_does_not_answer_fails_with_what_to_do(tmp_path: Path) -> None:
    file = plant(tmp_path, HOPPER % free_port() + METER % free_port())
    with_influx(file, f"http://127.0.0.1:{free_port()}", TOKEN)
    found = examined(file, 1)
    for name, todo in (
        ("device hopper", "are rack and slot right"),
        ("device meter", "is the service switched on"),
        ("sink influx", "does it run, is the address right"),
    ):
        assert found[name]["state"] == "FAIL"
        assert todo in found[name]["todo"]


def test_a_wrong_token_and_a_readable_token_are_told(
    plc: S7Peer, influx: InfluxPeer, tmp_path: Path
) -> None:
    file = plant(tmp_path, HOPPER % plc.port)
    with_influx(file, influx.url, "wrong")
    (tmp_path / "influx.token").chmod(0o644)
    found = examined(file, 1)
    assert found["sink influx"]["state"] == "FAIL"
    assert "401" in found["sink influx"]["found"]
    assert "token is not known" in found["sink influx"]["todo"]
    assert found["secret influx"]["state"] == "WARN"
    assert "chmod o= " in found["secret influx"]["todo"]


def test_a_silent_machine_and_a_silent_server_cost_bounded_time(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        devices = "".join(
            line.replace("meter", f"meter_{n}").replace("hopper", f"hopper_{n}")
            for n in range(4)
            for line in (HOPPER % port, METER % port)
        )
        file = plant(tmp_path, devices)
        with_influx(file, f"http://127.0.0.1:{port}", TOKEN)
        begun = time.monotonic()
        found = examined(file, 1)
        took_s = time.monotonic() - begun
    silent_ones = [c for c in found.values() if c["name"].startswith(("device", "sink influx"))]
    assert [c["state"] for c in silent_ones] == 9 * ["FAIL"]
    # one after another the devices alone would take 4 * 2 s + 4 * 1 s, the sink 10 s
    assert took_s < 20


def test_put_get_and_a_missing_block_are_told_apart(plc: S7Peer, tmp_path: Path) -> None:
    with FaultProxy(plc.port) as proxy:
        proxy.mangle = lambda request, _: [header_error(request, 0x8104)]
        found = examined(plant(tmp_path, HOPPER % proxy.port), 1)["device hopper"]
    assert "put_get_refused" in found["found"]
    assert "permit access with PUT/GET" in found["todo"]
    line = (HOPPER % plc.port).replace("db: 4", "db: 5")
    found = examined(plant(tmp_path, line), 1)["device hopper"]
    assert "4 tags BAD (4 no_such_object)" in found["found"]
    assert "Optimized block access" in found["todo"]


def test_a_cpu_in_stop_is_a_warning(plc: S7Peer, tmp_path: Path) -> None:
    plc.cpu(running=False)
    found = examined(plant(tmp_path, HOPPER % plc.port), 0)["device hopper"]
    assert found["state"] == "WARN"
    assert "the CPU is in STOP" in found["found"]


def test_a_bad_file_is_told_and_the_rest_is_looked_at(tmp_path: Path) -> None:
    file = plant(tmp_path, PRESS)
    file.write_text(file.read_text().replace("retention_days", "retention_day"))
    done = gateway("doctor", file, expect=1)
    assert "retention_days" in done.stdout
    assert f"gateway check {file}" in done.stdout
    assert "sqlite" in done.stdout
    assert "no such file; `gateway init" in gateway("doctor", tmp_path / "no", expect=2).stderr


def test_a_taken_port_is_told_with_who_may_have_it(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        found = examined(plant(tmp_path, PRESS, listen=f"127.0.0.1:{port}"), 1)[f"port {port}"]
    assert found["state"] == "FAIL"
    assert f"sport = :{port}" in found["todo"]


def test_without_a_file_the_pc_alone_is_looked_at() -> None:
    if Path("/etc/edge-gateway/gateway.yaml").exists():
        pytest.fail("this machine has a gateway of its own")
    document = json.loads(gateway("doctor", "--json").stdout)
    assert [c["name"] for c in document["checks"]] == ["clock", "processor", "sqlite"]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root makes disks")
def test_a_full_disk_fails(tmp_path: Path) -> None:
    file = plant(tmp_path, PRESS)
    state = tmp_path / "state"
    state.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", state], check=True)
    try:
        (state / "big").write_bytes(bytes(1 << 20))
        found = examined(file, 1)
    finally:
        subprocess.run(["umount", state], check=True)
    assert found["disk"]["state"] == "FAIL"
    assert "full" in found["disk"]["found"]
    assert found["disk speed"]["state"] == "FAIL"
    assert "No space left" in found["disk speed"]["found"]


def test_a_running_gateway_is_asked_and_its_machine_has_no_second_master(
    influx: InfluxPeer, tmp_path: Path
) -> None:
    with ModbusPeer("tcp", 0) as meter, FaultCounter(meter.port) as door:
        # so slow and so patient that a busy machine skips no poll, and does not connect again
        patient = (METER % door.port).replace("timeout_s: 1", "timeout_s: 5")
        file = plant(tmp_path, patient + PRESS, listen=f"127.0.0.1:{free_port()}")
        for name in ("modbus.yaml", "mock.yaml"):
            text = (tmp_path / name).read_text()
            (tmp_path / name).write_text(re.sub("interval_s: .*", "interval_s: 1", text))
        with_influx(file, influx.url, TOKEN)
        with started("run", file, log=tmp_path / "log"):
            until(lambda: state_of(file) == "good", 20)
            client = Client(tmp_path / "s")

            def stored() -> bool:
                sinks = client.get_json("/v1/status")["sinks"].values()
                return all(sink["last_stored_s"] is not None for sink in sinks)

            until(stored, 20)
            found = examined(file, 0)
            assert door.connections == 1
            for name in ("gateway", "socket", "device meter", "device press", "sink influx",
                         "sink history", "spool influx"):  # fmt: skip
                assert found[name]["state"] == "OK", found[name]
            assert "polls" in found["device meter"]["found"]
            assert found["spool influx"]["found"].endswith("/s now")
            influx.kill()
            until(lambda: client.get_json("/v1/status")["sinks"]["influx"]["state"] != "good", 30)
            found = examined(file, 1)
            assert found["sink influx"]["state"] == "FAIL"
            assert "stores nothing" in found["sink influx"]["found"]
            other = tmp_path / "other.yaml"
            other.write_text(file.read_text())
            found = examined(other, 1)
            assert "has another file" in found["gateway"]["found"]


class FaultCounter(FaultProxy):
    """Passes bytes on, and counts the connections."""

    def __init__(self, target_port: int) -> None:
        self.connections = 0
        super().__init__(target_port)

    def _forward(self, client: socket.socket, server: socket.socket) -> None:
        self.connections += 1
        with client, server:
            while request := _some(client):
                server.sendall(request)
                client.sendall(_some(server))


def _some(link: socket.socket) -> bytes:
    try:
        return link.recv(4096)
    except OSError:
        return b""


def test_on_ctrl_c_it_ends_at_once(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        file = plant(
            tmp_path, (HOPPER % silent.getsockname()[1]).replace("map:", "timeout_s: 20, map:")
        )
        process = subprocess.Popen(
            [sys.executable, "-m", "gateway", "doctor", file],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        silent.settimeout(20)
        link, _ = silent.accept()  # it asks the device
        begun = time.monotonic()
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=20)
        link.close()
    assert time.monotonic() - begun < 10, "half the time-out"
    assert process.returncode == 130
    assert "Traceback" not in errors
