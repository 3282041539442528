"""The README as a newcomer types it: every console command, in order, in a copy of the configs."""

from __future__ import annotations

import contextlib
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway.api.client import Client, RequestFailed
from tests.support import ROOT, free_port, need_program, until
from tests.system.cli_kit import environment, said, started

COMMANDS = re.findall(r"^\$ (.+)$", (ROOT / "README.md").read_text("utf-8"), re.MULTILINE)
EXIT = {
    "check my-plant/gateway.example.yaml": {0, 78},
    "status --config": {0, 1},
    "top --once": {0, 1},
}
"""Where another end than 0 is right: a broken file, and the demo's lost machine."""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """What a clone has, as far as the commands touch it."""
    shutil.copytree(ROOT / "configs", tmp_path / "configs")
    bin_folder = tmp_path / ".venv" / "bin"
    bin_folder.mkdir(parents=True)
    gateway = bin_folder / "gateway"
    gateway.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m gateway "$@"\n')
    gateway.chmod(0o755)
    return tmp_path


@pytest.fixture
def port(folder: Path) -> Iterator[int]:
    """The demo is running, and has values."""
    number = free_port()
    demo = folder / "configs" / "demo.yaml"
    demo.write_text(demo.read_text("utf-8").replace(":8080", f":{number}"), "utf-8")
    log = folder / "log"
    with started("run", demo, log=log) as process:
        said(log, "Next, in another terminal", process)
        client = Client(folder / "var" / "gateway.sock")
        wanted: dict[str, str | int | None] = {"device": "press_1", "tag": "force"}

        def stored() -> bool:
            with contextlib.suppress(RequestFailed):  # the historian does not know the tag yet
                return len(client.get_json("/v1/history", wanted)["points"]) > 1
            return False

        until(stored, 20, "history of the press")
        yield number
    assert "Traceback" not in log.read_text("utf-8")


@pytest.mark.timeout(120)
def test_every_command_of_the_readme_works_as_written(folder: Path, port: int) -> None:
    need_program("curl", "curl")
    need_program("sqlite3", "sqlite3")
    assert len(COMMANDS) > 12
    simulator: subprocess.Popen[bytes] | None = None
    broken = False
    try:
        for command in COMMANDS:
            typed = command.replace(":8080", f":{port}")
            if " sim " in typed:
                simulator = subprocess.Popen(
                    typed.split(), cwd=folder, env=environment(), stdout=subprocess.PIPE
                )
                assert simulator.stdout is not None
                assert b"ENDPOINT" in simulator.stdout.readline()
                continue
            done = subprocess.run(
                ["sh", "-c", typed],
                cwd=folder, env=environment(), capture_output=True, text=True, timeout=30,
            )  # fmt: skip
            broken = broken or "intervall_s" in typed
            allowed = next((codes for part, codes in EXIT.items() if part in typed), {0})
            said_all = f"{typed}\n{done.stdout}{done.stderr}"
            assert done.returncode in allowed, said_all
            assert done.returncode == 78 or not (broken and " check " in typed), said_all
            assert "Traceback" not in said_all
            assert done.stdout or done.stderr or typed.startswith(("cp", "sed")), said_all
            if done.returncode == 78:
                assert re.search(r"hopper\.yaml:\d+:\d+: .*did you mean 'interval_s'", done.stderr)
    finally:
        if simulator is not None and simulator.stdout is not None:
            simulator.terminate()
            simulator.wait(10)
            simulator.stdout.close()
