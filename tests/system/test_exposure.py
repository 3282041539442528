"""What a running gateway shows of itself to the network, to other users and on the disk."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
from pathlib import Path

from gateway.api.client import Client
from tests.support import ROOT, free_port, until
from tests.system.cli_kit import environment

LISTEN = "0A"
"""State of a socket in /proc/net/tcp (Linux, include/net/tcp_states.h)."""


def _listening(pid: int) -> list[str]:
    """Addresses of TCP and UDP sockets of the process that others can send to."""
    mine = set()
    for link in Path(f"/proc/{pid}/fd").iterdir():
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


def _run(folder: Path, api: str) -> subprocess.Popen[bytes]:
    (folder / "map.yaml").write_text(
        "driver: mock\ngroups: {g: {interval_s: 1, tags: {a: {type: real}}}}\n"
    )
    file = folder / "gateway.yaml"
    file.write_text(
        f"gateway: {{name: t}}\nstate_dir: state\napi: {api}\n"
        "sinks: {h: {type: sqlite}}\ndevices: {m: {driver: mock, map: map.yaml}}\n"
    )
    gateway = subprocess.Popen(
        [sys.executable, "-m", "gateway", "run", str(file)],
        cwd=ROOT,
        env=environment(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )

    def answers() -> bool:
        assert gateway.poll() is None, "it ended"
        try:
            return bool(Client(folder / "s").get_json("/v1/status")["devices"]["m"]["polls"])
        except Exception:
            return False

    try:
        until(answers, 30, "the first poll")
    except BaseException:
        gateway.kill()
        gateway.wait()
        raise
    return gateway


def test_no_port_is_open_unless_configured(tmp_path: Path) -> None:
    """Without `api.listen` nothing listens on a network, and the socket is for owner and group."""
    gateway = _run(tmp_path, "{socket: s}")
    try:
        assert _listening(gateway.pid) == []
        mode = stat.S_IMODE((tmp_path / "s").stat().st_mode)
        assert mode & stat.S_IRWXO == 0, oct(mode)
        limits = Path(f"/proc/{gateway.pid}/limits").read_text().splitlines()
        core = next(line for line in limits if line.startswith("Max core file size"))
        assert core.split()[4:6] == ["0", "0"], "a core dump would hold tokens"
        others = [
            str(file.relative_to(tmp_path))
            for file in (tmp_path / "state").rglob("*")
            if file.is_file() and file.stat().st_mode & stat.S_IWOTH
        ]
        assert others == [], "files of the state that anybody may change"
    finally:
        gateway.send_signal(signal.SIGTERM)
        assert gateway.wait(30) == 0


def test_the_configured_port_is_on_loopback_and_alone(tmp_path: Path) -> None:
    """`listen: 127.0.0.1:PORT` opens that one."""
    port = free_port()
    gateway = _run(tmp_path, f'{{socket: s, listen: "127.0.0.1:{port}"}}')
    try:
        assert _listening(gateway.pid) == [f"tcp 0100007F:{port:04X}"]
    finally:
        gateway.send_signal(signal.SIGTERM)
        assert gateway.wait(30) == 0
