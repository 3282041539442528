"""`gateway import` as a user calls it."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from tests.support import ROOT
from tests.system.cli_kit import called, gateway
from tests.unit.importkit import FILES

COMMANDS = re.findall(r"^\$ gateway (import .*)$", (ROOT / "docs/import.md").read_text(), re.M)


@pytest.mark.parametrize("command", COMMANDS)
def test_the_commands_of_the_page_make_maps(command: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(FILES)
    done = called(*shlex.split(command))
    assert done.stdout.startswith("# Made by `gateway import` from ")
    assert "\ndriver: " in done.stdout
    assert "next, in gateway.yaml under devices:" in done.stderr


def test_the_page_has_commands() -> None:
    assert len(COMMANDS) == 8


def test_a_map_is_written_to_a_new_file_and_is_what_check_and_plan_take(tmp_path: Path) -> None:
    files = [FILES / "Hopper.db", FILES / "UDT_Motor.udt"]
    done = gateway("import", *files, "-o", tmp_path / "hopper.yaml")
    assert done.stdout == ""
    assert "Hopper.db:20:7: 'Source' is of type Any" in done.stderr
    assert "24 tags in 1 group; 1 left out" in done.stderr
    (tmp_path / "gateway.yaml").write_text(
        "gateway: {name: g}\nstate_dir: state\napi: {socket: s}\n"
        "sinks: {history: {type: sqlite}}\ndevices:\n"
        "  a: {driver: s7, host: 127.0.0.1, map: hopper.yaml, with: {db: 14}}\n"
        "  b: {driver: s7, host: 127.0.0.2, map: hopper.yaml, with: {db: 15}}\n"
    )
    checked = called("check", tmp_path / "gateway.yaml")
    assert "good. 2 devices, 2 groups, 82 tags" in checked.stdout
    assert "DB14.DBB0..97" in called("plan", tmp_path / "gateway.yaml", "a").stdout
    again = called("import", *files, "-o", tmp_path / "hopper.yaml", expect=2)
    assert "exists already" in again.stderr
    nowhere = called("import", *files, "-o", tmp_path / "none" / "m.yaml", expect=2)
    assert "cannot be written" in nowhere.stderr


def test_faults_of_all_files_are_told_at_once_and_nothing_is_written(tmp_path: Path) -> None:
    (tmp_path / "a.db").write_text("DATA_BLOCK DB 1\nSTRUCT\na Int;\n")
    (tmp_path / "b.csv").write_text("what,ever\n")
    done = called(
        "import", tmp_path / "a.db", tmp_path / "b.csv", "-o", tmp_path / "m.yaml", expect=78
    )
    first, second, last = done.stderr.splitlines()
    assert first.endswith("a.db:3:3: expected :, found 'Int'")
    assert "b.csv:1:1: no header" in second
    assert last.startswith("2 faults")
    assert not (tmp_path / "m.yaml").exists()


def test_files_of_two_kinds_are_refused(tmp_path: Path) -> None:
    done = called("import", FILES / "meter.csv", FILES / "press.awl", expect=78)
    assert "meter.csv: this is a register list of Modbus, but" in done.stderr
    done = called("import", FILES / "meter.csv", FILES / "drive_modicon.csv", expect=78)
    assert "drive_modicon.csv: a second register list" in done.stderr
