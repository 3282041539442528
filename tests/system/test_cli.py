"""The manners of the command line: exit codes, messages, pipes, colour, speed."""

from __future__ import annotations

import os
import pty
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import get_type_hints

import pytest

from gateway.cli import app
from gateway.commands.welcome import typed_command
from tests.support import until
from tests.system.cli_kit import PRESS, called, environment, gateway, objects, plant, real_devices

COMMANDS = [
    *("run", "check", "plan", "read", "probe", "status", "tail", "sim", "drivers", "schema"),
    *("reload", "spectrum", "capture", "features", "losses", "dead-letters"),
    *("init", "doctor", "import", "top", "sign-in", "alarms", "token"),
    *("db", "send", "writer", "serve", "reprocess"),
]


def test_version_for_people_and_for_scripts() -> None:
    assert re.fullmatch(r"gateway \d+\.\d+\.\d+\n", gateway("--version").stdout)
    (found,) = objects(gateway("--version", "--json").stdout)
    assert found["name"] == "edge-gateway"
    assert set(found) == {"name", "version", "python"}


def test_help_names_every_command_on_one_line_each() -> None:
    text = gateway("--help").stdout
    for command in COMMANDS:
        line = next(part for part in text.splitlines() if part.split()[:1] == [command])
        assert line.endswith("."), line
    assert "..." not in text.split("Commands:")[1]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["chek"], "No such command 'chek'"),
        (["status", "--sokcet", "x"], "No such option: --sokcet"),
        (["check"], "Missing argument 'FILE'"),
        (["tail", "-n", "0"], "greater than or equal to 1"),
        (["--json"], "missing command"),
    ],
)
def test_wrong_usage_is_exit_2_and_says_what_was_wrong(arguments: list[str], said: str) -> None:
    done = gateway(*arguments, expect=2)
    assert said in done.stderr
    assert done.stdout == ""


def test_a_gateway_that_does_not_run_is_exit_3(tmp_path: Path) -> None:
    missing = tmp_path / "nobody.sock"
    for command in (["status"], ["status", "--json"], ["tail"]):
        done = gateway(*command, "--socket", missing, expect=3)
        assert done.stderr == f"error: no gateway is running at {missing}\n"
        assert done.stdout == ""
    assert str(missing) in gateway("status", expect=3, GATEWAY_SOCKET=str(missing)).stderr


def test_the_socket_is_that_of_the_configuration_even_if_the_rest_of_it_is_wrong(
    tmp_path: Path,
) -> None:
    file = tmp_path / "g.yaml"
    file.write_text("api: {socket: run/gw.sock}\nnonsense: 1\n")
    done = gateway("status", "--config", file, expect=3, GATEWAY_SOCKET="/elsewhere")
    assert str(tmp_path / "run" / "gw.sock") in done.stderr
    gateway("status", "--config", tmp_path / "none.yaml", expect=78)


def test_all_faults_at_once_with_their_places_and_exit_78(tmp_path: Path) -> None:
    file = plant(
        tmp_path, "  press: {driver: mock, map: mock.yaml, sead: 3}\n  b: {driver: mokc}\n"
    )
    done = gateway("check", file, expect=78, cwd=tmp_path)
    lines = done.stderr.splitlines()
    assert any(
        re.match(r"gateway.yaml:\d+:\d+: devices.press.sead: .*'seed'", line) for line in lines
    )
    assert any(re.match(r"gateway.yaml:\d+:\d+: devices.b.*'mock'", line) for line in lines)
    assert "nothing was started" in lines[-1]
    (found,) = objects(called("check", file, "--json", expect=78).stdout)
    assert found["ok"] is False
    assert {"file", "line", "col", "path", "message"} == set(found["faults"][0])
    assert len(found["faults"]) == len(lines) - 1
    assert gateway("run", file, expect=78, cwd=tmp_path).stderr == done.stderr
    for command in (["plan", file], ["sim", file], ["read", file, "press"]):
        assert len(called(*command, expect=78).stderr.splitlines()) == len(lines)
    assert not (tmp_path / "state").exists()


def test_a_missing_file_is_said_without_a_traceback(tmp_path: Path) -> None:
    done = gateway("check", "none.yaml", expect=78, cwd=tmp_path)
    assert done.stderr.startswith("none.yaml: there is no such file\n")
    assert "this is not a file" in gateway("check", tmp_path, expect=78).stderr


def test_check_says_what_it_amounts_to_and_how_many_days_fit(tmp_path: Path) -> None:
    file = plant(tmp_path, PRESS)
    done = called("check", file)
    assert "1 device, 1 group, 2 tags, 20 values/s" in done.stdout
    assert "history: " in done.stdout
    (found,) = objects(called("check", file, "--json").stdout)
    assert found["ok"] is True
    assert found["values_per_s"] == 20
    history = found["sinks"]["history"]
    assert history["stored_values_per_s"] == 2  # store_every_s thins them
    assert history["days_that_fit"] > history["retention_days"]
    assert found["warnings"] == []
    file.write_text(file.read_text().replace("retention_days: 1,", "retention_days: 30000,"))
    warned = called("check", file)
    assert (
        "warning: sink 'history': 30,000 days are asked for, but values of about" in warned.stderr
    )


def test_a_configuration_whose_polls_do_not_fit_is_warned_of_and_still_good(
    tmp_path: Path,
) -> None:
    file = plant(
        tmp_path, "  meter: {driver: modbus, serial: /dev/x, baud: 300, map: modbus.yaml}\n"
    )
    warning = called("check", file).stderr
    assert "device 'meter', group 'power': a poll takes about" in warning
    assert "of its interval of 200 ms; try interval_s:" in warning
    assert called("plan", file).stderr == warning


def test_plan_shows_the_requests_and_what_the_estimate_assumes(tmp_path: Path) -> None:
    file = plant(tmp_path, real_devices() + PRESS)
    text = called("plan", file).stdout
    assert "process: 4 tags every 100 ms in 1 request" in text
    assert "5 ms for each request and its answer on a LAN" in text
    one = called("plan", file, "meter").stdout
    assert "holding:0" in one
    assert "hopper" not in one
    found = {o["device"]: o for o in objects(called("plan", file, "--json").stdout)}
    (group,) = found["hopper"]["groups"]
    assert group["interval_s"] == 0.1
    assert sum(r["tags"] for r in group["requests"]) == group["tags"] == 4
    assert group["estimated_poll_s"] == pytest.approx(0.005 * len(group["requests"]))
    done = called("plan", file, "metre", expect=2)
    assert "did you mean 'meter'?" in done.stderr


def test_read_shows_a_table_with_quality_and_units(tmp_path: Path) -> None:
    file = plant(tmp_path, PRESS)
    text = called("read", file, "press").stdout
    assert text.startswith("process  gateway=test, device=press")
    assert re.search(r"TAG +VALUE +UNIT +QUALITY\n +force +\d+\.\d+ +kN +GOOD\n", text)
    assert '"a\\x1b[2Jb"' in text  # a device's string does not drive the terminal


def test_read_as_json_has_one_object_for_each_tag(tmp_path: Path) -> None:
    file = plant(tmp_path, PRESS)
    force, text = objects(called("read", file, "press", "--json").stdout)
    keys = ["table", "labels", "tag", "value", "quality", "reason", "unit", "time_ns"]
    assert list(force) == keys
    assert (force["table"], force["tag"], force["unit"]) == ("process", "force", "kN")
    assert force["labels"] == {"gateway": "test", "device": "press"}
    assert abs(force["time_ns"] - time.time_ns()) < 10e9
    assert text["value"] == "a\x1b[2Jb"


def test_read_of_a_device_that_is_not_there_is_exit_1_with_the_reason(tmp_path: Path) -> None:
    file = plant(tmp_path, real_devices())
    for device in ("hopper", "meter"):
        done = called("read", file, device, "--json", expect=1)
        assert f"error: device '{device}' cannot be read: refused" in done.stderr
        assert done.stdout == ""
    assert "cannot be read" in called("probe", file, "hopper", "DB4.DBD0", expect=1).stderr


def test_read_of_what_is_not_configured_names_the_nearest(tmp_path: Path) -> None:
    file = plant(tmp_path, PRESS)
    done = called("read", file, "pres", expect=2)
    assert "no device 'pres'; did you mean 'press'?" in done.stderr
    done = called("read", file, "press", "--group", "proces", expect=2)
    assert "no group 'proces'; did you mean 'process'?" in done.stderr


def test_a_wrong_address_for_probe_is_wrong_usage(tmp_path: Path) -> None:
    file = plant(tmp_path, real_devices())
    assert "is not an address" in called("probe", file, "hopper", "DBx", expect=2).stderr


def test_drivers_says_what_each_needs(tmp_path: Path) -> None:
    found = {o["driver"]: o for o in objects(called("drivers", "--json").stdout)}
    assert set(found) >= {"s7", "modbus", "mock"}
    assert "host" in found["s7"]["required"]
    assert found["modbus"]["shares_bus"]
    assert (found["s7"]["simulator"], found["mock"]["simulator"]) == (True, False)
    assert "s7 " in called("drivers").stdout


def test_schema_is_printed_written_and_checked(tmp_path: Path) -> None:
    assert "Device map of driver s7" in called("schema", "s7").stdout
    called("schema", "--write", tmp_path / "schema")
    (tmp_path / "schema" / "gateway.json").write_text("{}")
    done = called("schema", "--check", tmp_path / "schema", expect=1)
    (line,) = done.stderr.splitlines()
    assert line.endswith("gateway.json is not the schema of this version")


def test_no_colour_in_a_pipe_and_colour_only_where_a_terminal_wants_it(tmp_path: Path) -> None:
    assert "\x1b" not in gateway("check", "none.yaml", expect=78, cwd=tmp_path).stderr
    for more, coloured in (({}, True), ({"NO_COLOR": "1"}, False), ({"TERM": "dumb"}, False)):
        ours, theirs = pty.openpty()
        try:
            subprocess.run(
                [sys.executable, "-m", "gateway", "status", "--socket", "none"],
                stdout=theirs, stderr=theirs, stdin=theirs, timeout=20,
                env=environment(**{"TERM": "xterm", **more}),
            )  # fmt: skip
            shown = ""
            while "\n" not in shown:  # the kernel hands it over piece by piece
                shown += os.read(ours, 4096).decode()
        finally:
            os.close(ours)
            os.close(theirs)
        assert "no gateway is running" in shown
        assert ("\x1b[31merror:\x1b[0m" in shown) is coloured


def test_a_reader_that_goes_away_is_no_error(tmp_path: Path) -> None:
    for command in ("schema", "drivers", "--help"):
        # gone before it says anything: else all of it could be in the pipe by then
        reader, pipe = os.pipe()
        os.close(reader)
        process = subprocess.Popen(
            [sys.executable, "-m", "gateway", command],
            stdout=pipe, stderr=subprocess.PIPE, env=environment(),
        )  # fmt: skip
        os.close(pipe)
        _, errors = process.communicate(timeout=20)
        assert errors == b""
        assert process.returncode == 141  # as of any program in a pipe whose reader has gone


@pytest.mark.parametrize("unbuffered", ["", "1"])
@pytest.mark.parametrize("command", ["--version", "--help"])
def test_a_full_disk_is_said_and_is_no_bug(command: str, unbuffered: str) -> None:
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "gateway", command],
            stdout=full, stderr=subprocess.PIPE, text=True, timeout=20,
            env=environment(PYTHONUNBUFFERED=unbuffered),
        )  # fmt: skip
    assert done.returncode == 1
    assert re.fullmatch(r"error: cannot write.*: No space left on device\n", done.stderr)


@pytest.mark.parametrize("closing", [">&-", "2>&-", ">&- 2>&-", "2>/dev/full"])
def test_a_closed_stream_changes_neither_exit_code_nor_the_other_stream(
    closing: str, tmp_path: Path
) -> None:
    command = f'exec "$@" {closing}'
    for arguments, code in ((["--version"], 0), (["status", "--socket", tmp_path / "s"], 3)):
        done = subprocess.run(
            ["sh", "-c", command, "sh", sys.executable, "-m", "gateway", *map(str, arguments)],
            capture_output=True, text=True, timeout=20, env=environment(),
        )  # fmt: skip
        assert done.returncode == code
        assert done.stdout.startswith("gateway ") is (code == 0 and not closing.startswith(">"))
        assert done.stderr.startswith("error: no gateway") is (code == 3 and closing == ">&-")


def test_without_a_command_the_help_is_shown_and_what_is_missing_is_said() -> None:
    done = gateway(expect=2)
    assert done.stdout.startswith("Usage: gateway ")
    assert done.stderr == "error: missing command\n"


def test_no_command_judges_itself_whether_a_file_can_be_read() -> None:
    # else an unreadable configuration were wrong usage, and not exit 78 like a missing one
    paths = {
        (command.callback.__name__, name): hint.__metadata__[0].readable
        for command in app.registered_commands
        if command.callback is not None
        for name, hint in get_type_hints(command.callback, include_extras=True).items()
        if "Path" in str(getattr(hint, "__origin__", ""))
    }
    assert ("check", "file") in paths
    assert not [where for where, judged in paths.items() if judged]


def test_what_to_type_next_is_what_can_be_typed_here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    monkeypatch.setattr("sys.argv", [str(tmp_path / "venv" / "gateway"), "run"])
    assert typed_command() == "venv/gateway"
    monkeypatch.setattr("sys.argv", [str(tmp_path / "gateway" / "__main__.py"), "run"])
    assert typed_command() == "gateway"


def test_ctrl_c_is_quiet_and_exit_130(tmp_path: Path) -> None:
    file = plant(tmp_path, real_devices())
    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "gateway", "sim", str(file)],
            stdout=log, stderr=log, env=environment(),
        )  # fmt: skip
    until(lambda: b"gateway run" in (tmp_path / "log").read_bytes(), 20)
    process.send_signal(signal.SIGINT)
    assert process.wait(10) == 130
    text = (tmp_path / "log").read_text()
    assert "Traceback" not in text
    assert "Interrupt" not in text


def test_a_bug_is_one_line_that_says_where_to_look_and_exit_70(tmp_path: Path) -> None:
    code = (
        "import gateway.commands.info as info\n"
        "def broken(as_json): raise ZeroDivisionError('oh\\x1b no')\n"
        "info.version = broken\n"
        "import sys; sys.argv = ['gateway', '--version']\n"
        "from gateway.cli import main; main()\n"
    )
    for debug in ("", "1"):
        done = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, timeout=20,
            env=environment(**({"GATEWAY_DEBUG": debug} if debug else {})),
        )  # fmt: skip
        assert done.returncode == 70
        last = done.stderr.splitlines()[-1]
        assert last.startswith("error: this is a bug in the gateway, not yours: ZeroDivisionError")
        assert "GATEWAY_DEBUG=1" in last
        assert "\x1b" not in last
        assert ("Traceback" in done.stderr) is bool(debug)


def test_an_encoding_that_lacks_a_character_is_no_error(tmp_path: Path) -> None:
    file = plant(tmp_path, "  press: {driver: mock, map: mock.yaml, labels: {name: 料仓}}\n")
    done = gateway("read", file, "press", PYTHONIOENCODING="ascii", LC_ALL="C")
    assert "\\u6599\\u4ed3" in done.stdout


def test_completion_offers_commands_and_the_devices_of_the_file(tmp_path: Path) -> None:
    file = plant(tmp_path, real_devices() + PRESS)
    for words, at, expected in (
        ("gateway st", "1", ["status"]),
        (f"gateway read {file} ", "3", ["hopper", "meter", "press"]),
        (f"gateway plan {file} me", "3", ["meter"]),
        ("gateway read none.yaml ", "3", []),
    ):
        done = gateway(COMP_WORDS=words, COMP_CWORD=at, _GATEWAY_COMPLETE="complete_bash")
        assert done.stdout.split() == expected


def test_help_and_status_start_without_the_heavy_parts(tmp_path: Path) -> None:
    code = (
        "import sys, atexit\n"
        "heavy = ('numpy', 'fastapi', 'uvicorn', 'rich', 'snap7', 'pymodbus', 'urllib3')\n"
        "atexit.register(lambda: print('heavy', [m for m in heavy if m in sys.modules]))\n"
        "sys.argv = ['gateway', *sys.argv[1:]]\n"
        "from gateway.cli import main; main()\n"
    )
    file = tmp_path / "g.yaml"
    file.write_text("api: {socket: s}\n")
    for arguments in (["--help"], ["status", "--config", str(file)]):
        done = subprocess.run(
            [sys.executable, "-c", code, *arguments],
            capture_output=True, text=True, timeout=20, env=environment(),
        )  # fmt: skip
        assert done.stdout.endswith("heavy []\n"), done.stdout
        took = []
        for _ in range(3):
            begun = time.perf_counter()
            gateway(*arguments, expect=None)
            took.append(time.perf_counter() - begun)
        # 0.15 s here; wide enough for a machine that has other things to do
        assert min(took) < 1.0, took
