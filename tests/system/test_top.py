"""`gateway top` in a terminal, against a gateway that runs."""

from __future__ import annotations

import asyncio
import html
import json
import os
import pty
import re
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any

import pytest
from textual.pilot import Pilot
from textual.widgets import Input

from gateway.api.client import Client
from gateway.commands.toptui import Top
from tests.support import until
from tests.system.cli_kit import environment, gateway, plant, started, state_of

MAP = """
driver: mock
groups:
  process:
    interval_s: 0.1
    tags:
      force: {type: real, unit: kN, signal: {kind: sine, mean: 50, amplitude: 10, period_s: 5}}
      text: {type: string, signal: {kind: steps, values: ["[red]a\\x1b[2Jb[/red]"], hold_s: 5}}
      broken:
        {type: real, signal: {kind: constant, value: 1},
         bad: {every_s: 60, for_s: 60, reason: sensor_fault}}
"""
DEVICES = """  oven: {driver: mock, map: oven.yaml}
  press: {driver: mock, map: mock.yaml}
"""
ALARMS = """alarms:
  rules:
    hot: {kind: limits, tag: press.process.force, high: 1, severity: critical, message: "[b]hot"}
"""


def make(folder: Path) -> Path:
    """The file of a small plant."""
    made = plant(folder, DEVICES)
    (folder / "oven.yaml").write_text(MAP)
    made.write_text(made.read_text() + ALARMS)
    return made


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The folder of a gateway that runs."""
    file = make(tmp_path_factory.mktemp("top"))
    with started("run", file, log=file.parent / "log"):
        until(lambda: alarmed(file.parent / "s"), 20, "an alarm")
        until(lambda: oven_of(file.parent / "s")["tags_bad"], 20, "the bad tag")
        yield file.parent


def oven_of(socket: Path) -> dict[str, Any]:
    found: dict[str, Any] = Client(socket).get_json("/v1/status")["devices"]["oven"]
    return found


def alarmed(socket: Path) -> list[Any]:
    if not state_of(socket.with_name("gateway.yaml")):
        return []
    alarms: list[Any] = Client(socket).get_json("/v1/alarms")["alarms"]
    return alarms


class Screen:
    """What a person sees, and the keys."""

    def __init__(self, pilot: Pilot[None]) -> None:
        self.pilot = pilot

    def text(self) -> str:
        """The lines of the screen."""
        rows: dict[float, list[tuple[float, str]]] = {}
        svg = self.pilot.app.export_screenshot()
        for attributes, words in re.findall(r"<text ([^>]*)>([^<]*)</text>", svg):
            x, y = (float(re.findall(rf'\b{axis}="([\d.]+)"', attributes)[0]) for axis in "xy")
            rows.setdefault(y, []).append((x, html.unescape(words).replace("\xa0", " ")))
        return "\n".join("".join(w for _, w in sorted(rows[y])) for y in sorted(rows))

    async def sees(self, *wanted: str, gone: str = "", within_s: float = 15.0) -> str:
        """Wait until all of it is there; the whole text."""
        end = time.monotonic() + within_s
        while True:
            await self.pilot.pause()
            text = self.text()
            if all(w in text for w in wanted) and not (gone and gone in text):
                return text
            assert time.monotonic() < end, f"{wanted} not in\n{text}"

    async def press(self, *keys: str) -> None:
        await self.pilot.press(*keys)


Story = Callable[[Screen], Coroutine[Any, Any, None]]


def play(folder: Path, story: Story, size: tuple[int, int] = (100, 30)) -> None:
    """Open the terminal page on the gateway of this folder."""

    async def opened() -> None:
        app = Top(Client(folder / "s"), str(folder / "s"), 0.2)
        async with app.run_test(size=size) as pilot:
            await story(Screen(pilot))

    asyncio.run(opened())


def test_devices_with_their_bad_tags_and_their_values(running: Path) -> None:
    async def story(screen: Screen) -> None:
        text = await screen.sees("oven", "degraded", "press", "BAD: sensor_fault", "broken")
        assert text.index("oven") < text.index("press  "), "the worst first"
        await screen.press("enter")
        text = await screen.sees("3 values of oven", "process", "force", "kN")
        assert "press/" not in text
        await screen.press("escape")
        await screen.sees("5 values", "press/process")

    play(running, story)


def test_a_value_moves_and_plc_text_is_shown_as_it_is(running: Path) -> None:
    async def story(screen: Screen) -> None:
        await screen.press("2")
        text = await screen.sees("press/process", "[red]a", "[/red]")
        assert "\x1b" not in text
        first = re.findall(r"force +([\d.]+)", text)[0]
        await screen.sees("press/process", gone=first)

    play(running, story)


def test_a_search_finds_by_words_and_ends(running: Path) -> None:
    async def story(screen: Screen) -> None:
        await screen.press("2")
        await screen.sees("5 values")
        await screen.press("slash", *"bad oven")
        text = await screen.sees("1 value with 'bad oven'", "sensor_fault")
        assert "force" not in text
        await screen.press("enter", "escape")
        await screen.sees("5 values", "force", gone="with 'bad oven'")

    play(running, story)


def test_an_alarm_is_acknowledged_with_who_and_why(running: Path) -> None:
    async def story(screen: Screen) -> None:
        await screen.sees("1 alarm")
        await screen.press("3")
        await screen.sees("critical", "unacknowledged", "hot.high", "[b]hot", "limit 1 kN")
        await screen.press("a")
        await screen.sees("Acknowledge press/hot.high")
        screen.pilot.app.screen.query_one("#who", Input).value = ""
        await screen.press("enter")  # without who and why nothing is acknowledged
        who = screen.pilot.app.screen.query_one("#who", Input)
        who.focus()
        await screen.press(*"anna", "enter", *"seen", "enter")
        await screen.sees("critical", "acknowledged", "by anna: seen", gone="unacknowledged")

    play(running, story)
    (alarm,) = alarmed(running / "s")
    assert (alarm["state"], alarm["acknowledged_by"]) == ("acknowledged", "anna")
    assert alarm["why"] == "seen"


def test_sinks_and_what_was_lost(running: Path) -> None:
    async def story(screen: Screen) -> None:
        await screen.press("4")
        await screen.sees("history", "good", "sqlite", "Lost since the start: nothing")

    play(running, story)


def test_a_gateway_that_ends_is_said_at_once_and_found_again(tmp_path: Path) -> None:
    file = make(tmp_path)

    async def story(screen: Screen) -> None:
        with started("run", file, log=file.parent / "log"):
            await screen.sees("press", "good", within_s=30)
        await screen.sees("NOT CONNECTED", "no gateway is running", "old", "press")
        with started("run", file, log=file.parent / "log2"):
            await screen.sees("running for", "press", gone="NOT CONNECTED", within_s=30)

    play(file.parent, story)


@pytest.mark.parametrize("size", [(40, 10), (20, 4), (3, 2), (200, 60)], ids=str)
def test_every_page_is_drawn_in_any_size(running: Path, size: tuple[int, int]) -> None:
    async def story(screen: Screen) -> None:
        for key in "1234":
            await screen.press(key)
            await screen.pilot.pause(0.05)
        await screen.press("1")
        if size[0] >= 40:
            await screen.sees("oven", "degraded", "press")
        await screen.pilot.resize_terminal(80, 24)
        await screen.sees("oven", "Values", "Quit")

    play(running, story, size)


def test_once_gives_the_page_and_json_and_the_exit_code_of_status(running: Path) -> None:
    page = gateway("top", "--once", "--socket", running / "s", expect=1).stdout
    for words in ("test: degraded", "oven", "history", "BAD: sensor_fault", "hot.high"):
        assert words in page
    assert "\x1b" not in page
    found = json.loads(
        gateway("top", "--once", "--json", "--socket", running / "s", expect=1).stdout
    )
    assert found["status"]["devices"]["oven"]["tags_bad"] == 1
    assert {value["tag"] for value in found["values"]} == {"force", "text", "broken"}
    assert [alarm["id"] for alarm in found["alarms"]] == ["press/hot.high"]


def test_once_needs_no_textual(running: Path) -> None:
    code = (
        "import sys; sys.modules['textual'] = sys.modules['rich'] = None\n"
        "import gateway.cli; gateway.cli.main()"
    )
    command = [sys.executable, "-c", code, "top", "--once", "--socket", str(running / "s")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, env=environment())
    assert (done.returncode, done.stderr) == (1, "")
    assert "oven" in done.stdout


def test_without_a_gateway_it_says_so(tmp_path: Path) -> None:
    done = gateway("top", "--once", "--json", "--socket", tmp_path / "s", expect=3)
    assert "no gateway is running" in done.stderr


@pytest.mark.parametrize(
    ("options", "words"),
    [([], "--once"), (["--json"], "--json goes with --once"), (["--interval", "0"], "interval")],
)
def test_wrong_use_says_what_to_do(tmp_path: Path, options: list[str], words: str) -> None:
    done = gateway("top", *options, "--socket", tmp_path / "s", expect=2)
    assert words in done.stderr


class Terminal:
    """A command on a terminal of its own."""

    def __init__(self, *command: str, **more: str) -> None:
        self.fd, inner = pty.openpty()
        self.process = subprocess.Popen(
            command,
            stdin=inner,
            stdout=inner,
            stderr=inner,
            start_new_session=True,
            env=environment(TERM="xterm-256color", LINES="24", **more),
        )
        os.close(inner)
        self.said = ""

    def hears(self, words: str) -> bool:
        """Whether it has said so; reads on."""
        while select.select([self.fd], [], [], 0.02)[0]:
            try:
                self.said += os.read(self.fd, 65536).decode("utf-8", "replace")
            except OSError:  # its end has gone
                break
        return words in self.said

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        os.close(self.fd)


def test_on_a_terminal_the_keys_work_and_q_leaves_it_in_order(running: Path) -> None:
    command = [sys.executable, "-m", "gateway", "top", "--socket", str(running / "s")]
    terminal = Terminal(*command)
    try:
        until(lambda: terminal.hears("oven"), 20, "the devices")
        os.write(terminal.fd, b"4")
        until(lambda: terminal.hears("sqlite"), 10, "the sinks")
        os.write(terminal.fd, b"q")
        until(lambda: terminal.hears("\x1b[?1049l"), 10, "the screen of before")
        assert terminal.process.wait(10) == 0
    finally:
        terminal.close()


def test_without_the_extra_there_is_a_plain_page_that_says_what_to_install(running: Path) -> None:
    code = (
        "import importlib.util as u; found = u.find_spec\n"
        "u.find_spec = lambda name, *a: None if name == 'textual' else found(name, *a)\n"
        "import gateway.cli; gateway.cli.main()"
    )
    terminal = Terminal(sys.executable, "-c", code, "top", "--socket", str(running / "s"))
    try:
        until(lambda: terminal.hears("oven"), 20, "the devices")
        assert "pip install 'edge-gateway[tui]'" in terminal.said
        seen = len(terminal.said)
        until(lambda: terminal.hears("oven") and len(terminal.said) > seen + 200, 10, "more")
        terminal.process.send_signal(signal.SIGINT)
        assert terminal.process.wait(10) == 130
        terminal.hears("")
        assert "Traceback" not in terminal.said
        assert terminal.said.rstrip().endswith("\x1b[?7h"), "lines wrap again"
    finally:
        terminal.close()


def test_parts_that_go_while_it_closes_are_not_missed(running: Path) -> None:
    async def story(screen: Screen) -> None:
        await screen.sees("oven", "degraded")
        await screen.pilot.app.query("#devices-table").remove()
        end = time.monotonic() + 20
        while len(screen.pilot.app.workers):
            await screen.pilot.pause()
            assert time.monotonic() < end, "it still asks"

    play(running, story)
