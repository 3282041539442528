"""The parts of `gateway doctor`: each finding where it is well, and where it is not."""

from __future__ import annotations

import io
import os
import pwd
import threading
from pathlib import Path

import pytest

from gateway.api.address import Address
from gateway.commands.checks import advice, disk, files, machine, parts, rate, sinks
from gateway.commands.checks.report import Check, Question, in_time
from gateway.commands.wrapping import folded
from gateway.config import load
from tests.support import free_port
from tests.system.cli_kit import PRESS, plant

NOBODY = pwd.getpwnam("nobody")
OTHER = files.User("nobody", NOBODY.pw_uid, frozenset({NOBODY.pw_gid}))


@pytest.mark.parametrize(
    ("version", "has_it"),
    [
        ("3.6.23", False), ("3.7.0", True), ("3.40.1", True), ("3.44.5", True), ("3.44.6", False),
        ("3.45.0", True), ("3.50.6", True), ("3.50.7", False), ("3.51.2", True), ("3.51.3", False),
        ("3.52.0", False),
    ],
)  # fmt: skip
def test_the_versions_with_the_wal_reset_bug(version: str, has_it: bool) -> None:
    assert machine.has_wal_reset_bug(tuple(map(int, version.split(".")))) is has_it


def test_an_sqlite_that_is_too_old_fails() -> None:
    assert machine.sqlite("3.34.1").state == "FAIL"
    assert machine.sqlite("3.40.1").state == machine.sqlite("3.51.3").state == "OK"


def test_a_clock_that_is_required_and_not_kept_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "clock_synchronised", lambda: False)
    assert machine.clock(required=True).state == "FAIL"
    assert machine.clock(required=False).state == "WARN"
    monkeypatch.setattr(machine, "clock_synchronised", lambda: None)
    assert machine.clock(required=True).state == "WARN"
    monkeypatch.setattr(machine, "clock_synchronised", lambda: True)
    assert machine.clock(required=True).state == "OK"


def test_a_processor_that_saves_power_is_told_only_where_polls_are_short(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    governor = tmp_path / "cpu0" / "cpufreq" / "scaling_governor"
    governor.parent.mkdir(parents=True)
    governor.write_text("powersave\n")
    monkeypatch.setattr(machine, "CPUS", tmp_path)
    monkeypatch.setattr(os, "getloadavg", lambda: (0.0, 0.0, 0.0))
    assert machine.processor(0.01).state == "WARN"
    assert machine.processor(1.0).state == "OK"
    governor.write_text("performance\n")
    assert machine.processor(0.01).state == "OK"


def test_a_disk_that_is_smaller_than_the_bounds_is_a_warning(tmp_path: Path) -> None:
    assert disk.space(tmp_path / "not" / "yet", 1000, 0).state == "OK"
    far_too_much = 10**18
    assert disk.space(tmp_path, far_too_much, 0).state == "WARN"
    assert disk.space(tmp_path, far_too_much, far_too_much).state == "OK"  # it is there already


def test_the_speed_is_measured_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "median" in disk.speed(tmp_path).found
    assert list(tmp_path.iterdir()) == []
    monkeypatch.setattr(disk, "_timed", lambda _: iter([0.06, 0.07, 0.08]))
    assert disk.speed(tmp_path).state == "WARN"
    monkeypatch.setattr(disk, "_timed", lambda _: iter([0.6, 0.7, 0.8]))
    assert disk.speed(tmp_path).state == "FAIL"


def test_rights_are_those_of_the_gateways_user(tmp_path: Path) -> None:
    assert OTHER.may(Path("/tmp"), os.W_OK | os.X_OK)
    assert not OTHER.may(Path("/usr"), os.W_OK)
    state = tmp_path / "state"
    state.mkdir(mode=0o750)
    assert files.state_folder(state, OTHER).state == "FAIL"
    assert "chown -R nobody" in files.state_folder(state, OTHER).todo
    me = files.user_of(None, state)
    assert me.uid == os.geteuid()
    state.chmod(0o777)
    assert files.state_folder(state, me).state == "WARN"
    state.chmod(0o755)
    assert files.state_folder(state, me).state == "OK"
    assert files.state_folder(tmp_path / "new", me).state == "OK"
    (tmp_path / "a_file").touch()
    assert files.state_folder(tmp_path / "a_file", me).state == "FAIL"
    service = files.User(files.SERVICE_USER, OTHER.uid, OTHER.groups)
    new = files.state_folder(Path("/var/lib/edge-gateway-that-never-ran"), service)
    assert (new.state, "by systemd at the first start" in new.found) == ("OK", True)
    assert files.state_folder(Path("/var/lib/another"), service).state == "FAIL"


def test_a_running_gateway_is_judged_by_its_own_user() -> None:
    assert files.user_of(os.getpid(), Path("/var/lib/x")).uid == os.geteuid()


def test_a_path_that_is_no_socket_fails(tmp_path: Path) -> None:
    me = files.user_of(None, tmp_path)
    path = tmp_path / "s"
    assert files.status_socket(path, me, running=False).state == "OK"
    path.touch()
    assert files.status_socket(path, me, running=False).state == "FAIL"


def test_a_port_that_cannot_be_had_fails() -> None:
    assert files.port(Address("127.0.0.1", free_port()), running=False).state == "OK"
    other = files.port(Address("192.0.2.1", free_port()), running=False)  # RFC 5737: nobody's
    assert other.state == "FAIL"
    assert "address of this PC" in other.todo


def test_a_secret_that_the_gateway_may_not_read_fails(tmp_path: Path) -> None:
    (tmp_path / "t").write_text("t\n")
    (tmp_path / "t").chmod(0o600)
    file = plant(tmp_path, PRESS)
    sink = "  i: {type: influxdb, url: 'http://h', bucket: b, token_file: t}\n"
    file.write_text(file.read_text().replace("devices:\n", f"{sink}devices:\n"))
    sections = load(file).sinks
    (check,) = files.secrets(sections, OTHER)
    assert (check.name, check.state) == ("secret i", "FAIL")
    (check,) = files.secrets(sections, files.user_of(None, tmp_path))
    assert check.state == "OK"
    (tmp_path / "t").unlink()
    (check,) = files.secrets(sections, OTHER)
    assert check.state == "FAIL"


def test_a_part_that_is_not_there_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "python-snap7 " in parts.part("driver", "s7").found
    assert parts.part("sink type", "sqlite").found == "built in"
    unknown = parts.part("driver", "modbuss")
    assert (unknown.state, unknown.todo) == ("FAIL", "did you mean 'modbus'?")
    needs = ["no-such-library>=1; extra == 's7'", "other>=1; extra == 'modbus'"]
    monkeypatch.setattr(parts, "_requirements", lambda: needs)
    missing = parts.part("driver", "s7")
    assert missing.state == "FAIL"
    assert missing.todo == "pip install 'edge-gateway[s7]'"


def test_a_question_that_hangs_is_ended_and_hides_no_other() -> None:
    freed = threading.Event()

    def broken() -> list[Check]:
        raise KeyError("oops")

    def hangs() -> list[Check]:
        freed.wait(20)
        return []

    questions = [
        Question("slow", hangs, freed.set),
        Question("bug", broken),
        Question("good", lambda: [Check("good", "OK", "well")]),
    ]
    found = list(in_time(questions, 2.0))
    assert [(c.name, c.state) for c in found] == [("slow", "FAIL"), ("bug", "FAIL"), ("good", "OK")]
    assert "no answer within 2 s" in found[0].found
    assert "KeyError" in found[1].found
    assert freed.is_set()


def test_every_reason_has_words_of_its_own() -> None:
    assert "PUT/GET" in advice.advice("s7", "put_get_refused")
    assert "slot right" in advice.advice("s7", "refused")
    assert "slot" not in advice.advice("modbus", "refused")
    assert "drivers/modbus/README.md" in advice.advice("modbus", "code_0x99")


def test_a_spool_that_fills_within_a_shift_is_a_warning() -> None:
    day = 86_400
    assert sinks.spool_time("i", 100 * day, 100.0, 0, "now").state == "OK"
    soon = sinks.spool_time("i", 100 * day, 1000.0, 0, "now")
    assert soon.state == "WARN"
    assert "8 h need 28.8 MB" in soon.todo
    nearly_full = sinks.spool_time("i", 100 * day, 100.0, 99 * day, "now")
    assert nearly_full.state == "WARN"
    assert "14.4 min of it left" in nearly_full.found
    assert sinks.spool_time("i", 100, 0.0, 0, "now").state == "OK"


def test_the_rate_is_that_of_the_sinks_own_encoder(tmp_path: Path) -> None:
    file = plant(tmp_path, PRESS)
    (tmp_path / "t").write_text("t\n")
    sink = "  i: {type: influxdb, url: 'http://h', bucket: b, token_file: t, gzip: false}\n"
    file.write_text(file.read_text().replace("devices:\n", f"{sink}devices:\n"))
    made = load(file)
    assert rate.rows_per_s(made) == pytest.approx(10)
    assert rate.shortest_s(made) == pytest.approx(0.1)
    plain = rate.bytes_per_s(made, "i", made.sinks["i"], tmp_path, 10)
    packed = made.sinks["i"].model_copy(update={"gzip": True})
    assert 200 < rate.bytes_per_s(made, "i", packed, tmp_path, 10) < plain < 4000
    assert rate.bytes_per_s(made, "i", packed, tmp_path, 0) == 0
    assert rate.bytes_per_s(made, "history", made.sinks["history"], tmp_path, 10) == 0


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_long_messages_are_folded_on_a_terminal_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "50")
    text = "word " * 30 + "http://10.0.0.9:8086/a-path-that-is-not-broken"
    lines = folded(text, Terminal(), first="- ", rest="  ")
    assert len(lines) > 2
    assert all(len(line) <= 50 for line in lines)
    assert lines[-1].endswith("a-path-that-is-not-broken")
    assert folded(text, io.StringIO(), first="- ") == [f"- {text}"]
