"""What a running gateway shows of itself to the network, to other users and on the disk."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TypeAlias

import pytest

from gateway.api.client import Client
from tests.support import ROOT, free_port, until
from tests.system.cli_kit import environment

Process: TypeAlias = "subprocess.Popen[bytes]"
LISTEN = "0A"
"""State of a socket in /proc/net/tcp (Linux, include/net/tcp_states.h)."""


def _listening(pid: int) -> list[str]:
    """Addresses of TCP and UDP sockets of the process that others can send to."""
    mine = set()
    for link in Path(f"/proc/{pid}/fd").iterdir():
        with suppress(FileNotFoundError):  # closed meanwhile
            target = os.readlink(link)
            if target.startswith("socket:["):
                mine.add(target[8:-1])
    found = []
    for table in ("tcp", "tcp6", "udp", "udp6"):
        for line in Path(f"/proc/{pid}/net/{table}").read_text().splitlines()[1:]:
            words = line.split()
            if words[9] in mine and (table.startswith("udp") or words[3] == LISTEN):
                found.append(f"{table} {words[1]}")
    return found


def _start(folder: Path, *words: str, until_answers: Callable[[], object]) -> Process:
    """A command of the gateway that runs, once its socket in the folder answers with something."""
    process = subprocess.Popen(
        [sys.executable, "-m", "gateway", *words],
        cwd=ROOT,
        env=environment(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )

    def answers() -> bool:
        assert process.poll() is None, "it ended"
        try:
            return bool(until_answers())
        except Exception:
            return False

    try:
        until(answers, 30, "its first answer")
    except BaseException:
        process.kill()
        process.wait()
        raise
    return process


def _run(folder: Path, api: str) -> Process:
    (folder / "map.yaml").write_text(
        "driver: mock\ngroups: {g: {interval_s: 1, tags: {a: {type: real}}}}\n"
    )
    file = folder / "gateway.yaml"
    file.write_text(
        f"gateway: {{name: t}}\nstate_dir: state\napi: {api}\n"
        "sinks: {h: {type: sqlite}}\ndevices: {m: {driver: mock, map: map.yaml}}\n"
    )
    client = Client(folder / "s")
    return _start(
        folder,
        "run",
        str(file),
        until_answers=lambda: client.get_json("/v1/status")["devices"]["m"]["polls"],
    )


def _ends(process: Process) -> None:
    process.send_signal(signal.SIGTERM)
    assert process.wait(30) == 0


def _guards_itself(process: Process, socket: Path) -> None:
    """The socket is for owner and group, and there is never a core dump."""
    mode = stat.S_IMODE(socket.stat().st_mode)
    assert mode & stat.S_IRWXO == 0, oct(mode)
    limits = Path(f"/proc/{process.pid}/limits").read_text().splitlines()
    core = next(line for line in limits if line.startswith("Max core file size"))
    assert core.split()[4:6] == ["0", "0"], "a core dump would hold tokens"


def test_no_port_is_open_unless_configured(tmp_path: Path) -> None:
    """Without `api.listen` nothing listens on a network, and the socket is for owner and group."""
    gateway = _run(tmp_path, "{socket: s}")
    try:
        assert _listening(gateway.pid) == []
        _guards_itself(gateway, tmp_path / "s")
        others = [
            str(file.relative_to(tmp_path))
            for file in (tmp_path / "state").rglob("*")
            if file.is_file() and file.stat().st_mode & stat.S_IWOTH
        ]
        assert others == [], "files of the state that anybody may change"
    finally:
        _ends(gateway)


def test_the_configured_port_is_on_loopback_and_alone(tmp_path: Path) -> None:
    """`listen: 127.0.0.1:PORT` opens that one."""
    port = free_port()
    gateway = _run(tmp_path, f'{{socket: s, listen: "127.0.0.1:{port}"}}')
    try:
        assert _listening(gateway.pid) == [f"tcp 0100007F:{port:04X}"]
    finally:
        _ends(gateway)


@pytest.mark.parametrize("listen", [False, True], ids=["by default", "listen"])
@pytest.mark.parametrize(
    ("command", "text"),
    [
        ("writer", "group: g\nstate_dir: .\nsink: {type: sqlite}\n"),
        ("serve", "name: n\n"),
    ],
)
def test_a_worker_and_a_node_open_no_port_but_the_configured(
    tmp_path: Path, command: str, text: str, listen: bool
) -> None:
    """Nor do they need their Redis for that: they say that it is away."""
    port = free_port()
    api = f'{{socket: s, listen: "127.0.0.1:{port}"}}' if listen else "{socket: s}"
    file = tmp_path / "file.yaml"
    file.write_text(f"redis: {{host: 127.0.0.1, port: {free_port()}}}\n{text}api: {api}\n")
    client = Client(tmp_path / "s")
    process = _start(
        tmp_path, command, str(file), until_answers=lambda: client.get_text("/healthz")
    )
    try:
        assert _listening(process.pid) == [f"tcp 0100007F:{port:04X}"] * listen
        _guards_itself(process, tmp_path / "s")
    finally:
        _ends(process)
