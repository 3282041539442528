"""Commands of the documents, typed as they stand, of pages that need a checkout or the demo."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from gateway.api.client import Client
from tests.docs.kit import clone, commands, typed
from tests.support import ROOT, free_port, need_program, until
from tests.system.cli_kit import environment, said, started

HERE = "run by tests/docs/test_commands.py::"


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


@pytest.mark.long
@pytest.mark.timeout(300)
def test_alarms_losses_and_access(demo: Path) -> None:
    """docs/alarms.md, losses.md, access.md, troubleshooting.md, from the first to the last line."""
    need_program("curl", "curl")
    client = Client(demo / "var/gateway.sock")

    def get(path: str) -> Any:
        return client.get_json(path)

    until(lambda: "press_1/oil.high" in str(get("/v1/alarms")), 20, "the alarm of the page")
    captures = until(lambda: get("/v1/alarms/captures")["captures"], 40, "a capture")
    shown = {}
    pages = {page: commands(f"docs/{page}.md") for page in ("alarms", "losses", "access")}
    assert all(len(run) > 3 for run in pages.values())
    pages["troubleshooting"] = commands("docs/troubleshooting.md")
    pages["dashboards"] = commands("docs/dashboards.md", HERE + "test_alarms_losses_and_access")
    degraded = {" doctor ": {0, 1}, " status ": {0, 1}, " top ": {0, 1}}
    for run in pages.values():
        assert len(run) > 1
        for command in run:
            command = command.replace("/run/gateway.sock", "var/gateway.sock")
            shown[command] = typed(
                command.replace(" NAME ", f" {captures[0]['name']} "), demo, degraded
            )
    assert "press_1/oil.high" in _of(shown, "alarms list")
    assert "outer_race" in _of(shown, "alarms test gateway.yaml --recording")
    assert "press_1" in _of(shown, "top --once  ")
    assert json.loads(next(v for k, v in shown.items() if "top --once --json" in k).stdout)
    assert "egw_" in _of(shown, "token add gateway.yaml bob")
    assert "SINK" in _of(shown, "losses --config") or "nothing" in _of(shown, "losses --config")


def _of(shown: dict[str, subprocess.CompletedProcess[str]], part: str) -> str:
    done = next(done for command, done in shown.items() if part in command)
    return done.stdout + done.stderr


def test_promtool() -> None:
    """docs/dashboards.md, in the checkout."""
    need_program("promtool", "prometheus")
    for command in commands("docs/dashboards.md", HERE + "test_promtool"):
        assert "SUCCESS" in typed(command, ROOT, {}).stdout


@pytest.mark.long
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
