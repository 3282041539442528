"""Alarms in the journal: a journald of its own takes them, goes away and comes back."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from gateway.alarms.model import State
from gateway.alarms.notify.journald import MESSAGE_ID, JournaldChannel
from gateway.alarms.notify.notice import Undelivered
from tests.support import missing, need_program, until
from tests.unit.notifykit import config, notice

DAEMON = Path("/lib/systemd/systemd-journald")


@contextmanager
def journal() -> Iterator[tuple[Path, str]]:
    """Socket and name of a journal apart from the machine's own."""
    if not DAEMON.exists():
        missing(str(DAEMON), "apt-get install systemd")
    if os.geteuid() != 0:
        missing("root", "a journal of its own needs it")
    name = f"gwtest{os.getpid()}"
    folder = Path(f"/run/systemd/journal.{name}")
    process = subprocess.Popen([str(DAEMON), name], stderr=subprocess.DEVNULL)
    try:
        until((folder / "socket").is_socket, what="the journal's socket")
        yield folder / "socket", name
    finally:
        process.terminate()
        process.wait(10)
        shutil.rmtree(folder, ignore_errors=True)
        for logs in (Path("/run/log/journal"), Path("/var/log/journal")):
            for left in logs.glob(f"*.{name}"):
                shutil.rmtree(left)


def entries(name: str) -> list[dict[str, Any]]:
    program = need_program("journalctl", "systemd")
    command = [program, "--namespace", name, "-o", "json", f"MESSAGE_ID={MESSAGE_ID}"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30)
    return [json.loads(line) for line in done.stdout.splitlines()]


def channel(path: Path) -> JournaldChannel:
    return JournaldChannel(config("journald"), path)


@pytest.mark.servers
def test_the_journal_has_the_alarm_with_its_fields() -> None:
    with journal() as (path, name):
        ways = channel(path)
        ways.send([notice(1, message="Öl läuft\naus")])
        ways.send([notice(2, state=State.ACKNOWLEDGED, who="anna", why="seen")])
        ways.send([notice(3, message="ü" * 90_000)])
        until(lambda: len(entries(name)) == 3, what="three entries")
        raised, acknowledged, _ = entries(name)
    assert raised["MESSAGE"] == ("alarm press_1/force.high unacknowledged (high): Öl läuft\\naus")
    assert raised["PRIORITY"] == "3"
    assert raised["SYSLOG_IDENTIFIER"] == "gateway-alarm"
    assert raised["GATEWAY_VALUE"] == "12.5"
    assert acknowledged["PRIORITY"] == "6"
    assert acknowledged["GATEWAY_WHO"] == "anna"


def test_without_a_journal_the_message_stays(tmp_path: Path) -> None:
    with pytest.raises(Undelivered, match="No such file"):
        channel(tmp_path / "socket").send([notice()])


def test_a_journal_that_takes_nothing_is_not_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.alarms.notify.journald.TIMEOUT_S", 0.2)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as journal_:
        journal_.bind(str(tmp_path / "socket"))
        ways = channel(tmp_path / "socket")
        begun = time.monotonic()
        with pytest.raises(Undelivered, match=r"takes nothing within 0.2 s"):
            for _ in range(10_000):
                ways.send([notice()])
        assert time.monotonic() - begun < 10


def test_a_stop_ends_a_send(tmp_path: Path) -> None:
    ways = channel(tmp_path / "socket")
    ways.interrupt()
    with pytest.raises(Undelivered, match="is stopping"):
        ways.send([notice()])
