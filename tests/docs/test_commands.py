"""Every command in the documents is executed: here, or by the test that the document names."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from gateway.api.client import Client
from tests.docs.kit import blocks, clone, commands, name_of, pages, typed
from tests.support import ROOT, free_port, need_program, until
from tests.system.cli_kit import environment, said, started

PAGES_RUN_BY = {
    "README.md": "tests/system/test_readme.py",
    "docs/access.md": "tests/docs/test_commands.py",
    "docs/add-a-driver.md": "tests/docs/test_add_a_driver.py",
    "docs/alarms.md": "tests/docs/test_commands.py",
    "docs/first-machine.md": "tests/system/test_first_machine.py",
    "docs/import.md": "tests/unit/test_import_command.py",
    "docs/losses.md": "tests/docs/test_commands.py",
    "docs/troubleshooting.md": "tests/system/test_first_machine.py",
    "docs/vibration.md": "tests/docs/test_commands.py",
    "gateway/sinks/historian/README.md": "tests/sinks/test_historian_readme.py",
}
"""Pages whose blocks are run by one test; others name it before each block."""

INDENTED = {
    "README.md": (),
    "CONTRIBUTING.md": (),
    "docs/index.md": (),
    "docs/fleet.md": (
        "tests/sinks/test_postgres_schema.py",
        "tests/fleet/test_letters.py",
        "tests/fleet/rig.py",
    ),
    "docs/ingest.md": ("tests/system/test_ingest.py",),
    "docs/reliability.md": ("tests/faults/test_report.py",),
    "gateway/sinks/postgres/README.md": (
        "tests/sinks/test_postgres_schema.py",
        "tests/system/test_losses.py",
    ),
}
"""Pages with indented commands: targets of make, or `gateway` as these tests call it."""

SHELL = {"console", "sh", "bash", "shell", "shell-session"}
PROGRAMS = (
    r"(?:make|gateway(?= [a-z])|\.venv|cp|mkdir|pip|pip3|python3?|promtool|curl|apt|apt-get"
    r"|systemctl)"
)


@pytest.mark.parametrize("page", pages(), ids=name_of)
def test_each_command_has_a_test_that_runs_it(page: Path) -> None:
    name = name_of(page)
    for block in blocks(page):
        if block.kind not in SHELL:
            assert not re.search(r"^\$ ", block.text, re.MULTILINE), f"{block.place}: ```console"
            continue
        if block.note.startswith("not run: "):
            continue
        runner = block.note.removeprefix("run by ") if block.note else PAGES_RUN_BY.get(name, "")
        assert runner, f"{block.place}: who runs it? <!-- run by tests/...::test_... -->"
        file, _, function = runner.partition("::")
        text = (ROOT / file).read_text("utf-8")
        assert not function or f"def {function}(" in text, f"{block.place}: {runner} is not there"
        assert block.commands or block.kind == "sh", f"{block.place}: no `$ ` in it"
        if not block.note:
            assert page.parent.name in text or page.name in text, f"{file} does not read {name}"


@pytest.mark.parametrize("page", pages(), ids=name_of)
def test_no_command_hides_in_an_indented_block(page: Path) -> None:
    text = re.sub(r"^ *```.*?^ *```$", "", page.read_text("utf-8"), flags=re.MULTILINE | re.DOTALL)
    found = re.findall(rf"^    {PROGRAMS} .*$", text, re.MULTILINE)
    if name_of(page) not in INDENTED:
        assert found == [], "write ```console, with `$ ` before each command"
        return
    runners = "".join((ROOT / file).read_text("utf-8") for file in INDENTED[name_of(page)])
    called = {line.split()[1] for line in found if line.split()[0] == "gateway"}
    assert [name for name in called if f'"{name}"' not in runners] == []
    if not runners:
        assert [line for line in found if not line.strip().startswith("make ")] == []


@pytest.mark.parametrize("page", pages(), ids=name_of)
def test_every_target_of_make_that_is_named_is_there(page: Path) -> None:
    text = page.read_text("utf-8")
    named = set(re.findall(r"(?:^ *(?:\$ )?|`)make ([a-z]+)", text, re.MULTILINE))
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert named <= targets


@pytest.fixture
def demo(tmp_path: Path) -> Iterator[Path]:
    """A folder in which `gateway.yaml` is the demo, running, with an alarm of each kind raised."""
    shutil.copytree(ROOT / "configs/maps", tmp_path / "maps")
    text = (ROOT / "configs/demo.yaml").read_text("utf-8").replace("../var", "var")
    assert 'listen: "127.0.0.1:8080"' in text
    text = text.replace(
        'listen: "127.0.0.1:8080"', f'listen: "127.0.0.1:{free_port()}", tokens_file: tokens'
    )
    (tmp_path / "gateway.yaml").write_text(text, "utf-8")
    _changed(tmp_path / "maps/press.yaml", ("low: 40\n", "low: 30\n"), ("high: 50\n", "high: 41\n"))
    _changed(
        tmp_path / "maps/demo-pump.yaml",
        ("ratio: 8\n    on_delay_s: 5\n    capture: {pre_s: 2", "ratio: 8\n    capture: {pre_s: 1"),
        (
            "    speed: 1480\n",
            "    speed: 1480\n    states: {running: press_1.process.force > -100}\n",
        ),
    )
    clone(tmp_path, GATEWAY_SOCKET=str(tmp_path / "var/gateway.sock"))
    typed("gateway token add gateway.yaml first", tmp_path, {})  # makes the file of tokens
    log = tmp_path / "log"
    with started("run", tmp_path / "gateway.yaml", log=log) as process:
        said(log, "Next, in another terminal", process)
        yield tmp_path
    assert "Traceback" not in log.read_text("utf-8")


def _changed(file: Path, *changes: tuple[str, str]) -> None:
    text = file.read_text("utf-8")
    for old, new in changes:
        assert old in text, old
        text = text.replace(old, new)
    file.write_text(text, "utf-8")


@pytest.mark.timeout(300)
def test_alarms_losses_and_access(demo: Path) -> None:
    """docs/alarms.md, docs/losses.md and docs/access.md, each from its first to its last line."""
    need_program("curl", "curl")
    client = Client(demo / "var/gateway.sock")

    def get(path: str) -> Any:
        return client.get_json(path)

    until(lambda: "press_1/oil.high" in str(get("/v1/alarms")), 20, "the alarm of the page")
    captures = until(lambda: get("/v1/alarms/captures")["captures"], 40, "a capture")
    shown = {}
    for page in ("alarms", "losses", "access"):
        run = commands(f"docs/{page}.md")
        assert len(run) > 3
        for command in run:
            command = command.replace("/run/gateway.sock", "var/gateway.sock")
            shown[command] = typed(command.replace(" NAME ", f" {captures[0]['name']} "), demo, {})
    assert "press_1/oil.high" in _of(shown, "alarms list")
    assert "outer_race" in _of(shown, "alarms test gateway.yaml --recording")
    assert "egw_" in _of(shown, "token add gateway.yaml bob")
    assert "SINK" in _of(shown, "losses --config") or "nothing" in _of(shown, "losses --config")


def _of(shown: dict[str, subprocess.CompletedProcess[str]], part: str) -> str:
    done = next(done for command, done in shown.items() if part in command)
    return done.stdout + done.stderr


@pytest.mark.timeout(300)
def test_vibration(tmp_path: Path) -> None:
    """The rehearsal of docs/vibration.md."""
    clone(tmp_path)
    shutil.copytree(ROOT / "configs", tmp_path / "my-plant")  # its first step
    _changed(tmp_path / "my-plant/vibration.yaml", (":8080", f":{free_port()}"))
    run = commands("docs/vibration.md")
    assert len(run) == 4
    background: subprocess.Popen[bytes] | None = None
    try:
        for command in run:
            if " run " not in command:
                done = typed(command, tmp_path, {})
                assert done.stdout or "--plot" in command
                continue
            with (tmp_path / "log").open("wb") as log:
                background = subprocess.Popen(
                    command.split(), cwd=tmp_path, env=environment(), stdout=log, stderr=log
                )
            said(tmp_path / "log", "Next, in another terminal", background)
            _spectrum_is_there(tmp_path, run[-1])
    finally:
        if background is not None:
            background.terminate()
            background.wait(20)


def _spectrum_is_there(folder: Path, command: str) -> None:
    """The first window takes a second of samples."""

    def ready() -> bool:
        return subprocess.run(
            command.split(), cwd=folder, env=environment(), capture_output=True, check=False
        ).returncode == 0  # fmt: skip

    until(ready, 30, command)
