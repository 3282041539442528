"""`gateway init` against real peers, as a person types it: flags, a terminal, nothing there."""

from __future__ import annotations

import os
import pty
import re
import select
import subprocess
import sys
import termios
import time
from collections.abc import Sequence
from pathlib import Path

import pytest
import yaml

from gateway.commands.firststeps import place
from tests.sims.influx_peer import BUCKET, TOKEN, InfluxPeer, influx
from tests.sims.modbus_peer import ModbusPeer
from tests.sims.ni_peer import NiServer
from tests.sims.s7_faults import FaultProxy, header_error
from tests.sims.s7_peer import S7Peer, serve_s7
from tests.support import free_port, until
from tests.system.cli_kit import called, environment, gateway

__all__ = ["influx"]

peer = pytest.fixture(scope="module")(serve_s7)


@pytest.fixture
def plc(peer: S7Peer) -> S7Peer:
    peer.area("MK", 0, 16)
    peer.db(4, 100)
    return peer


def test_a_plc_is_found_and_the_files_pass_the_check_and_read_good(
    plc: S7Peer, tmp_path: Path
) -> None:
    at = f"127.0.0.1:{plc.port}"
    done = gateway("init", "--s7", at, "--db", "4", "--db", "9", "--name", "hall-3", cwd=tmp_path)
    assert "answers at rack 0, slot 1; PDU" in done.stderr
    assert "the CPU is in RUN" in done.stderr
    assert "DB4 can be read" in done.stderr
    assert "DB9 cannot be read: no_such_object" in done.stderr
    assert "Optimized block access" in done.stderr
    commands = [line.split("  ")[1] for line in done.stdout.splitlines()[1:]]
    assert commands == [
        "gateway doctor gateway.yaml",
        "gateway read gateway.yaml plc_1",
        "gateway run gateway.yaml",
    ]
    assert (tmp_path / "maps" / "plc_1.yaml").read_text().count("\n      # db9_byte_0") == 1
    for command in [*commands[1:2], "gateway check gateway.yaml"]:
        ran = gateway(*command.split()[1:], cwd=tmp_path)
        assert "BAD" not in ran.stdout
    assert not (tmp_path / "var").exists()  # nothing was started


def test_each_comment_out_option_of_the_file_may_be_taken(plc: S7Peer, tmp_path: Path) -> None:
    gateway("init", "--s7", f"127.0.0.1:{plc.port}", cwd=tmp_path)
    (tmp_path / "influx.token").write_text("t\n")
    file = tmp_path / "gateway.yaml"
    text = re.sub(r"^( *)# ((?:labels|listen|influx):.*|  (?:type|url|org|bucket|token_file):.*)$",
                  r"\1\2", file.read_text(), flags=re.MULTILINE)  # fmt: skip
    assert text != file.read_text()
    file.write_text(text)
    assert "influx: http://localhost:8086" in called("check", file).stdout


def test_the_place_of_the_cpu_is_sought_and_a_given_one_is_taken(
    plc: S7Peer, tmp_path: Path
) -> None:
    at = f"127.0.0.1:{plc.port}:0,2"
    assert "answers at rack 0, slot 2" in gateway("init", "--s7", at, cwd=tmp_path).stderr
    device = yaml.safe_load((tmp_path / "gateway.yaml").read_text())["devices"]["plc_1"]
    assert (device["rack"], device["slot"]) == (0, 2)


def test_a_cpu_without_put_get_is_told_from_a_missing_block(plc: S7Peer, tmp_path: Path) -> None:
    with FaultProxy(plc.port) as proxy:
        proxy.mangle = lambda request, _: [header_error(request, 0x8104)]
        done = gateway("init", "--s7", f"127.0.0.1:{proxy.port}", "--db", "4", cwd=tmp_path)
    assert "it refuses all reads: PUT/GET access is not permitted" in done.stderr
    assert "permit access with PUT/GET" in done.stderr
    assert "Optimized" not in done.stderr
    gateway("check", "gateway.yaml", cwd=tmp_path)


def test_modbus_tcp_is_scanned_read_only(tmp_path: Path) -> None:
    with ModbusPeer("tcp", 0) as meter:
        done = gateway("init", tmp_path / "g.yaml", "--modbus", f"127.0.0.1:{meter.port}")
        asked = meter.log()
        assert "units 1, 2, 3, 4, 5, 6, 7, 8, 9, 10" in done.stderr or "every unit" in done.stderr
        assert {unit for _, unit, *_ in asked} == set(range(1, 11))
        # the peer names a function that it does not know as a read "?"
        assert {table for _, _, table, *_ in asked} == {"holding", "input", "coil", "discrete"}
        assert len(asked) < 200
        text = gateway("read", tmp_path / "g.yaml", "meter_1").stdout
    assert [line.split()[0] for line in text.splitlines()[2:]] == [
        "holding_0", "input_0", "coil_0", "discrete_0",
    ]  # fmt: skip


def test_the_units_of_a_serial_line_share_a_bus(tmp_path: Path) -> None:
    with ModbusPeer("rtu", 2, 5) as line:
        done = gateway("init", "--serial", line.place, cwd=tmp_path)
        # a pseudo terminal takes no parity bit: so the first settings fail, as wrong ones would
        assert "units 2, 5 of 1 to 10 answer at 9600 baud, parity none" in done.stderr
        document = yaml.safe_load((tmp_path / "gateway.yaml").read_text())
        assert document["buses"]["meter_1_line"]["serial"] == line.place
        units = {name: device["unit"] for name, device in document["devices"].items()}
        assert units == {"meter_1": 2, "meter_1_unit_5": 5}
        gateway("read", "gateway.yaml", "meter_1_unit_5", cwd=tmp_path)


def test_a_card_behind_a_grpc_server_is_sampled(tmp_path: Path) -> None:
    with NiServer() as server:
        at = f"127.0.0.1:{server.port}/cDAQ1Mod1"
        done = gateway("init", "--nidaq", at, cwd=tmp_path)
    assert "it gives 2560 Hz" in done.stderr
    gateway("check", "gateway.yaml", cwd=tmp_path)


def test_nothing_answers_so_nothing_is_written_unless_told_to(tmp_path: Path) -> None:
    at = f"127.0.0.1:{free_port()}"
    flags = ["--s7", at, "--modbus", at, "--serial", "/dev/not_there", "--nidaq", at]
    done = gateway("init", *flags, cwd=tmp_path, expect=1)
    assert "nothing was written" in done.stderr
    assert list(tmp_path.iterdir()) == []
    for hint in (
        "ping 127.0.0.1",
        "firewall",
        "Modbus/TCP switched on",
        "is the adapter plugged in",
        "gRPC",
    ):
        assert hint in done.stderr, hint
    done = gateway("init", *flags, "--yes", cwd=tmp_path)
    assert "Written: " in done.stderr
    assert (tmp_path / "gateway.yaml").read_text().count("It did not answer") == 4
    assert "4 devices" in gateway("check", "gateway.yaml", cwd=tmp_path).stdout


def test_no_file_is_overwritten(plc: S7Peer, tmp_path: Path) -> None:
    at = f"127.0.0.1:{plc.port}"
    for there in ("gateway.yaml", "maps/plc_1.yaml"):
        path = tmp_path / there
        path.parent.mkdir(exist_ok=True)
        path.write_text("mine")
        done = gateway("init", "--s7", at, "--yes", cwd=tmp_path, expect=2)
        assert f"{there} exists already" in done.stderr
        assert path.read_text() == "mine"
        path.unlink()
    (tmp_path / "gateway.yaml").write_text("mine")
    gateway("init", "--s7", at, "--force", cwd=tmp_path)
    gateway("check", "gateway.yaml", cwd=tmp_path)


def test_influx_is_asked_with_the_token_and_nothing_is_stored(
    plc: S7Peer, influx: InfluxPeer, tmp_path: Path
) -> None:
    token = tmp_path / "t"
    flags = ["--s7", f"127.0.0.1:{plc.port}", "--influx", influx.url, "--bucket", BUCKET]
    done = gateway("init", *flags, cwd=tmp_path, expect=2)
    assert "--token-file" in done.stderr
    done = gateway("init", *flags, "--token-file", token, cwd=tmp_path, expect=2)
    assert "No such file or directory; write the token into it" in done.stderr
    token.write_text("wrong\n")
    token.chmod(0o600)
    done = gateway("init", *flags, "--token-file", token, cwd=tmp_path)
    assert "it would store nothing: 401" in done.stderr
    token.write_text(TOKEN + "\n")
    done = gateway("init", *flags, "--token-file", token, "--force", cwd=tmp_path)
    assert "takes data with this token" in done.stderr
    assert TOKEN not in done.stderr + done.stdout + (tmp_path / "gateway.yaml").read_text()
    assert influx.query("SHOW SERIES") == []
    gateway("check", "gateway.yaml", cwd=tmp_path)


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        ([], "nothing to read is named; expected e.g. --s7"),
        (["--db", "4"], "--db names a data block of a PLC"),
        (["--s7", "http://10.0.0.1"], "is a URL; expected a name"),
        (["--s7", "10.0.0.1:9,1"], "'9,1' is not rack and slot"),
        (["--modbus", "10.0.0.1:x"], "'x' is not a port"),
        (["--serial", "COM3"], "expected e.g. /dev/ttyUSB0"),
        (["--nidaq", "a b"], "'a b' is no device of NI"),
        (["--s7", "h", "--bucket", "b"], "belong to --influx URL"),
        (["--s7", "h", "--name", "a\nb"], "--name: the name"),
    ],
)
def test_what_cannot_be_meant_is_wrong_usage(
    flags: Sequence[str], said: str, tmp_path: Path
) -> None:
    done = gateway("init", tmp_path / "g.yaml", *flags, expect=2)
    assert said in done.stderr
    assert list(tmp_path.iterdir()) == []


def on_terminal(answers: Sequence[tuple[str, str]], cwd: Path) -> tuple[str, int]:
    """Answer each question when it is asked; what the terminal showed, and the exit code."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "gateway", "init"],
        stdin=theirs, stdout=theirs, stderr=theirs, cwd=cwd, env=environment(TERM="xterm"),
    )  # fmt: skip
    os.close(theirs)
    shown, left, end = "", list(answers), time.monotonic() + 40
    seen = 0
    try:
        while time.monotonic() < end:
            if not select.select([ours], [], [], 0.05)[0]:
                continue
            try:
                shown += os.read(ours, 4096).decode()
            except OSError:
                break
            if left and left[0][0] in shown[seen:]:
                seen = len(shown)
                if "not shown" in shown[-20:]:
                    # what is typed before the echo is off is thrown away with it
                    until(lambda: not termios.tcgetattr(ours)[3] & termios.ECHO)
                os.write(ours, (left.pop(0)[1] + "\n").encode())
        return shown, process.wait(10)
    finally:
        process.kill()
        process.wait()
        os.close(ours)


def test_on_a_terminal_it_asks_and_asks_again_where_an_answer_is_wrong(
    plc: S7Peer, influx: InfluxPeer, tmp_path: Path
) -> None:
    shown, code = on_terminal(
        [
            ("Name of this gateway", "hall-3"),
            ("S7 PLC: address", "10.0.0.1:x"),
            ("S7 PLC: address", f"127.0.0.1:{plc.port}"),
            ("data blocks", "DB4"),
            ("Modbus/TCP", ""),
            ("serial port", ""),
            ("NI card", ""),
            ("InfluxDB 2", influx.url),
            ("organisation", "plant"),
            ("bucket", BUCKET),
            ("API token (not shown)", TOKEN),
            ("Write ", "y"),
        ],
        tmp_path,
    )
    assert code == 0, shown
    assert "'x' is not a port" in shown
    assert TOKEN not in shown
    assert (tmp_path / "influx.token").stat().st_mode & 0o777 == 0o600
    assert 'name: "hall-3"' in (tmp_path / "gateway.yaml").read_text()
    gateway("check", "gateway.yaml", cwd=tmp_path)


def test_no_on_a_terminal_writes_nothing(plc: S7Peer, tmp_path: Path) -> None:
    shown, code = on_terminal(
        [
            ("Name of this gateway", ""),
            ("S7 PLC: address", f"127.0.0.1:{plc.port}"),
            ("data blocks", ""),
            ("Modbus/TCP", ""),
            ("serial port", ""),
            ("NI card", ""),
            ("InfluxDB 2", ""),
            ("Write ", "n"),
        ],
        tmp_path,
    )
    assert code == 1, shown
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(os.geteuid() != 0, reason="only root writes into the service's folder")
def test_in_the_folder_of_the_service_files_are_for_its_group(
    plc: S7Peer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(place.home_of, "__kwdefaults__", {"folder": tmp_path, "group": "daemon"})
    file = tmp_path / "gateway.yaml"
    done = called("init", file, "--s7", f"127.0.0.1:{plc.port}", "--yes")
    assert "systemctl enable --now edge-gateway " in done.stdout
    document = yaml.safe_load(file.read_text())
    assert document["state_dir"] == "/var/lib/edge-gateway"
    assert document["api"] == {"socket": "/run/gateway.sock"}
    for path in (file, tmp_path / "maps" / "plc_1.yaml"):
        assert path.stat().st_mode & 0o777 == 0o640
        assert path.group() == "daemon"
    assert (tmp_path / "maps").stat().st_mode & 0o777 == 0o750
    second = place.home_of(tmp_path / "oven.yaml")
    assert second.state_dir == "/var/lib/edge-gateway-oven"
    assert (second.socket, second.unit) == ("/run/gateway-oven.sock", "edge-gateway@oven")
