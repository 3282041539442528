"""Commands: run without a shell, bounded in time and output, ended with all they started."""

from __future__ import annotations

import os
import time
from functools import partial
from pathlib import Path
from typing import Any

import orjson
import pytest

from gateway.alarms.notify import make_channel
from gateway.alarms.notify.notice import Undelivered
from tests.support import until
from tests.unit.notifykit import config, notice, running


def script(folder: Path, text: str) -> str:
    """A program; it finds the test's folder in its first argument."""
    file = folder / "program"
    file.write_text(f"#!/bin/sh\n{text}\n")
    file.chmod(0o755)
    return str(file)


def command(folder: Path, text: str, *arguments: str, **keys: Any) -> Any:
    return config("command", command=[script(folder, text), str(folder), *arguments], **keys)


def is_alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2][:1]
    except FileNotFoundError:
        return False
    return state not in "ZX"


def is_gone(pid: int) -> bool:
    return not is_alive(pid)


def pid_in(file: Path) -> int:
    return int(until(lambda: file.exists() and file.read_text().strip(), what="a pid"))


def test_the_message_is_on_stdin_and_in_the_arguments(tmp_path: Path) -> None:
    text = 'cat > "$1/body"; shift; printf "%s|" "$@" > "$(dirname $0)/arguments"'
    one = command(tmp_path, text, "{id}", "{message}; rm -rf $HOME `id`", "{value} {unit}")
    with running(tmp_path, one=one) as run:
        run.put(7)
        run.wait_sent(1)
    assert orjson.loads((tmp_path / "body").read_bytes())["number"] == 7
    arguments = (tmp_path / "arguments").read_text().split("|")
    assert arguments[:3] == ["press_1/force.high", "force is 7 kN; rm -rf $HOME `id`", "12.5 kN"]


def test_the_environment_holds_no_secrets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("INFLUX_TOKEN", "s3cr3t")
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", "/run/credentials")
    make_channel(command(tmp_path, 'env > "$1/env"; pwd > "$1/pwd"')).send([notice()])
    names = {line.partition("=")[0] for line in (tmp_path / "env").read_text().splitlines()}
    assert names <= {"PATH", "HOME", "LANG", "LC_ALL", "TZ", "PWD", "OLDPWD", "_", "SHLVL"}
    assert (tmp_path / "pwd").read_text() == "/\n"


def test_no_descriptor_of_the_gateway_is_passed_on(tmp_path: Path) -> None:
    with (tmp_path / "open").open("w") as file:
        os.set_inheritable(file.fileno(), True)
        make_channel(command(tmp_path, 'ls -l /proc/$$/fd > "$1/fds"')).send([notice()])
    assert str(tmp_path / "open") not in (tmp_path / "fds").read_text()


def test_a_program_that_fails_is_tried_so_often_and_its_words_are_told(tmp_path: Path) -> None:
    text = 'echo x >> "$1/tries"; echo "no network\x1b[31m" >&2; exit 3'
    with running(tmp_path, one=command(tmp_path, text, tries=2)) as run:
        run.put(1)
        until(lambda: run.status()["dropped"] == {"refused": 1}, what="given up")
        assert run.status()["error"] == "program: exit 3: no network\\x1b[31m"
        run.put(2)
        until(lambda: run.status()["dropped"] == {"refused": 2}, what="given up")
        names = [event for event, _, _ in run.events]
        assert names == ["notifier_failing", "notification_refused"]
    assert (tmp_path / "tries").read_text() == "x\n" * 4


def test_output_without_end_is_not_kept(tmp_path: Path) -> None:
    text = "head -c 30000000 /dev/zero | tr '\\0' 'a'; echo the end; exit 1"
    with pytest.raises(Undelivered, match=r"exit 1: a{250}") as caught:
        make_channel(command(tmp_path, text, timeout_s=60)).send([notice()])
    assert len(str(caught.value)) < 400


def test_a_program_that_hangs_is_ended_with_all_that_it_started(tmp_path: Path) -> None:
    text = 'trap "" TERM; sleep 600 & echo $! > "$1/child"; echo $$ > "$1/self"; wait; sleep 600'
    begun = time.monotonic()
    with pytest.raises(Undelivered, match=r"not done within 2 s"):
        make_channel(command(tmp_path, text, timeout_s=2.0)).send([notice()])
    assert time.monotonic() - begun < 10
    for name in ("child", "self"):
        pid = pid_in(tmp_path / name)
        until(partial(is_gone, pid), what=f"the end of {name}")


def test_a_program_may_end_in_good_order_when_its_time_is_over(tmp_path: Path) -> None:
    text = 'trap "echo bye > $1/bye; exit 0" TERM; sleep 600 & wait'
    with pytest.raises(Undelivered, match="not done within"):
        make_channel(command(tmp_path, text, timeout_s=2.0)).send([notice()])
    assert (tmp_path / "bye").read_text() == "bye\n"


def test_what_a_program_leaves_behind_is_ended_and_not_waited_for(tmp_path: Path) -> None:
    text = 'sleep 600 & echo $! > "$1/child"; exit 0'
    begun = time.monotonic()
    make_channel(command(tmp_path, text, timeout_s=30)).send([notice()])
    assert time.monotonic() - begun < 5
    pid = pid_in(tmp_path / "child")
    until(lambda: not is_alive(pid), what="the end of what was left")


def test_a_program_that_closes_its_output_is_waited_for(tmp_path: Path) -> None:
    text = 'exec >&- 2>&-; sleep 0.2; echo x > "$1/done"; exit 0'
    make_channel(command(tmp_path, text)).send([notice()])
    assert (tmp_path / "done").exists()


@pytest.mark.parametrize(
    ("path", "words"), [("/no/such", "No such file"), ("/etc/passwd", "Permission denied")]
)
def test_a_program_that_cannot_be_run_keeps_the_message(
    tmp_path: Path, path: str, words: str
) -> None:
    with running(tmp_path, one=config("command", command=[path])) as run:
        run.put(1)
        run.wait_error(f"{path}: {words}")
        assert run.status()["waiting"] == 1


def test_a_program_that_is_killed_is_told(tmp_path: Path) -> None:
    with pytest.raises(Undelivered, match="ended by SIGKILL"):
        make_channel(command(tmp_path, "kill -9 $$")).send([notice()])


def test_a_stop_kills_what_runs(tmp_path: Path) -> None:
    text = 'echo $$ > "$1/self"; sleep 600'
    with running(tmp_path, one=command(tmp_path, text, timeout_s=60), stop_s=0.4) as run:
        run.put(1)
        pid = pid_in(tmp_path / "self")
    until(partial(is_gone, pid), what="the end of what ran")  # killed, but maybe not dead yet
    assert run.status()["waiting"] == 1
    assert run.status()["dropped"] == {}
