"""A Debian 12 machine of the test's own: a real systemd in a container, without a network.

systemd-nspawn boots a tree that mmdebstrap made; what a test changes is gone with the container.
"""

from __future__ import annotations

import fcntl
import json
import os
import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from tests.support import ROOT, missing, need_program, until

CACHE = ROOT / ".cache" / "service"
INCLUDE = "systemd,systemd-sysv,dbus,python3,python3-venv,procps,curl"


@contextmanager
def once(name: str) -> Iterator[Path]:
    """A place in the cache, held by one process at a time."""
    CACHE.mkdir(parents=True, exist_ok=True)
    with (CACHE / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield CACHE / name


def tree() -> Path:
    """The root of a fresh Debian 12, made once."""
    if os.geteuid():
        missing("a container", "run as root")
    for program in ("systemd-nspawn", "nsenter"):
        need_program(program, "systemd-container util-linux")
    with once("debian12") as place:
        if not (place / "etc/debian_version").exists():
            make = need_program("mmdebstrap", "mmdebstrap")
            command = [make, "--variant=minbase", f"--include={INCLUDE}", "bookworm", str(place)]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            assert done.returncode == 0, done.stderr[-3000:]
        return place


class Machine:
    """A booted container. `close` powers it off."""

    def __init__(self, root: Path, folder: Path, *shared: Path) -> None:
        """``shared``: folders that are seen, read-only, as /media/NAME."""
        self._log = (folder / "console.log").open("wb")
        binds = [f"--bind-ro={path}:/media/{path.name}" for path in shared]
        name = f"gateway{os.getpid()}-{folder.name[:20].replace('_', '-').strip('-')}"
        self._nspawn = subprocess.Popen(
            [
                "systemd-nspawn", "--directory", str(root), "--boot", "--register=no",
                "--keep-unit", "--private-network", "--volatile=overlay", "--console=pipe",
                f"--machine={name}", *binds,
            ],
            stdin=subprocess.DEVNULL,
            stdout=self._log,
            stderr=self._log,
            start_new_session=True,
        )  # fmt: skip
        try:
            self._leader = until(self._find_leader, 60, "the container's systemd")
            until(self._is_up, 90, "the container to be up")
        except BaseException:
            self.close()
            raise

    def _find_leader(self) -> int | None:
        """The container's own systemd: nothing else may ever be entered."""
        assert self._nspawn.poll() is None, "systemd-nspawn ended"
        for child in _children(self._nspawn.pid):
            for pid in (child, *_children(child)):
                if pid > 1 and _name(pid) == "systemd":
                    return pid
        return None

    def _is_up(self) -> bool:
        state = self.run("systemctl", "is-system-running", check=False).stdout.strip()
        return state in ("running", "degraded")

    def run(
        self, *command: str, check: bool = True, given: str | None = None, timeout_s: float = 60
    ) -> subprocess.CompletedProcess[str]:
        """Run a command inside, as root."""
        done = subprocess.run(
            [
                "nsenter",
                "-t",
                str(self._leader),
                "-m",
                "-p",
                "-u",
                "-i",
                "-n",
                "-C",
                "--",
                *command,
            ],
            input=given,
            capture_output=True,
            text=True,
            timeout=timeout_s,
            check=False,
            env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LANG": "C.UTF-8"},
        )
        assert not check or done.returncode == 0, (
            command,
            done.stdout[-3000:],
            done.stderr[-3000:],
        )
        return done

    def out(self, *command: str) -> str:
        """What a command prints."""
        return self.run(*command).stdout.strip()

    def write(self, path: str, text: str, mode: str = "644") -> None:
        """Write a file inside."""
        self.run("install", "-D", "-m", mode, "/dev/stdin", path, given=text)

    def show(self, unit: str, what: str) -> str:
        """A property of a unit."""
        return self.out("systemctl", "show", unit, "-p", what, "--value")

    def main_pid(self, unit: str) -> int:
        """Of a service, inside; 0 where it does not run."""
        return int(self.show(unit, "MainPID") or 0)

    def active(self, unit: str) -> bool:
        """Whether a unit is active, and not on its way."""
        return self.run("systemctl", "is-active", "--quiet", unit, check=False).returncode == 0

    def journal(self, unit: str, *options: str) -> list[dict[str, Any]]:
        """The entries of a unit, oldest first."""
        self.run("journalctl", "--sync")  # journald may be behind with what was said
        text = self.out("journalctl", "--no-pager", "-o", "json", "-u", unit, *options)
        return [json.loads(line) for line in text.splitlines()]

    def said(self, unit: str) -> str:
        """All that a unit said."""
        return "\n".join(_text(entry.get("MESSAGE")) for entry in self.journal(unit))

    def until(self, condition: Callable[[], Any], deadline_s: float, unit: str) -> Any:
        """As `tests.support.until`; where that fails, with what the unit said."""
        try:
            return until(condition, deadline_s)
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self.said(unit)[-4000:]}") from None

    def status(self, socket: str = "/run/gateway.sock") -> dict[str, Any]:
        """The status document."""
        text = self.out("curl", "-sS", "--unix-socket", socket, "http://localhost/v1/status")
        document: dict[str, Any] = json.loads(text)
        return document

    def close(self) -> None:
        """Power it off."""
        if self._nspawn.poll() is None:
            if getattr(self, "_leader", 0):
                self.run("systemctl", "poweroff", "--no-block", check=False)
            try:
                self._nspawn.wait(20)
            except subprocess.TimeoutExpired:
                self._nspawn.send_signal(signal.SIGKILL)
                self._nspawn.wait()
        self._log.close()
        _remove_groups()


def _children(pid: int) -> list[int]:
    with suppress(OSError):
        return [int(p) for p in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    return []


def _name(pid: int) -> str:
    with suppress(OSError):
        return Path(f"/proc/{pid}/comm").read_text().strip()
    return ""


def _remove_groups() -> None:
    """Empty control groups that the container leaves."""
    for kind in ("systemd", "unified"):
        top = Path("/sys/fs/cgroup", kind, "payload")
        for folder, _, _ in os.walk(top, topdown=False):
            with suppress(OSError):
                Path(folder).rmdir()


def _text(message: Any) -> str:
    """Text that is not plain comes as a list of bytes."""
    if isinstance(message, list):
        return bytes(message).decode("utf-8", "replace")
    return str(message)
