"""A real PostgreSQL (from apt) on a free port with a folder of its own; it can be killed."""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psycopg

from tests.support import free_port, missing, until

OWNER = "plant"
"""The server's superuser."""


def _programs() -> Path:
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda p: int(p.parts[4]))
    if not found:
        missing("PostgreSQL", "apt-get install postgresql-15")
    return found[-1].parent


def _lives(pid: int) -> bool:
    try:
        state = (
            Path(f"/proc/{pid}/stat").read_text("utf-8", "replace").rpartition(")")[2].split()[0]
        )
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state not in ("Z", "X")


class PostgresServer:
    """A server whose passwords are asked for; ``settings`` as in postgresql.conf."""

    def __init__(self, *settings: str) -> None:
        self.port = free_port()
        self.password = secrets.token_hex(8)
        # in /tmp, because the server may not run as root, which owns the folders of tests
        self.folder = Path(tempfile.mkdtemp(prefix="pg-"))
        self._settings = settings
        self._user: dict[str, Any] = {}
        if os.geteuid() == 0:
            self._user = {"user": "postgres", "group": "postgres", "extra_groups": []}
            shutil.chown(self.folder, "postgres", "postgres")
        self._process: subprocess.Popen[bytes] | None = None
        self._initialise()

    def _initialise(self) -> None:
        secret = self.folder / "password"
        secret.write_text(self.password)
        secret.chmod(0o644)
        words = ["-D", str(self.folder / "data"), "-U", OWNER, "-E", "UTF8", "--locale=C", "-N"]
        words += ["-A", "scram-sha-256", f"--pwfile={secret}"]
        subprocess.run(
            [str(_programs() / "initdb"), *words],
            check=True,
            stdout=subprocess.DEVNULL,
            cwd="/",
            **self._user,
        )

    def start(self) -> None:
        """Start, and wait until it answers."""
        given = {
            "listen_addresses": "127.0.0.1",
            "port": str(self.port),
            "unix_socket_directories": "",
            "fsync": "off",
            "shared_buffers": "32MB",
            "max_connections": "30",
            **dict(s.split("=", 1) for s in self._settings),
        }
        words = [w for name, value in given.items() for w in ("-c", f"{name}={value}")]
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [str(_programs() / "postgres"), "-D", str(self.folder / "data"), *words],
                stdout=log,
                stderr=log,
                stdin=subprocess.DEVNULL,
                cwd="/",
                **self._user,
            )
        until(self._answers, 30, "PostgreSQL to answer")

    def _answers(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, self.log()
        try:
            self.connect("postgres").close()
        except psycopg.OperationalError:
            return False
        return True

    def connect(self, database: str, **more: Any) -> psycopg.Connection[Any]:
        """A connection of the superuser; each statement commits."""
        words: dict[str, Any] = {
            "host": "127.0.0.1",
            "port": self.port,
            "user": OWNER,
            "password": self.password,
            "dbname": database,
            "connect_timeout": 5,
            "autocommit": True,
            **more,
        }
        made: psycopg.Connection[Any] = psycopg.connect("", **words)
        return made

    def new_database(self) -> str:
        """An empty database; its name."""
        name = f"t{secrets.token_hex(6)}"
        with self.connect("postgres") as db:
            db.execute(f"CREATE DATABASE {name}")
        return name

    def pids(self) -> list[int]:
        """The server's processes, the postmaster first."""
        if self._process is None:
            return []
        pid = self._process.pid
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        return [pid, *map(int, children)]

    def signal(self, number: int) -> None:
        """To all of its processes."""
        for pid in self.pids():
            with suppress(ProcessLookupError):  # one that has ended just now
                os.kill(pid, number)

    @contextmanager
    def stopped(self) -> Iterator[None]:
        """It holds its connections, and answers nothing."""
        stopped = []
        for pid in self.pids():
            with suppress(ProcessLookupError):  # e.g. a vacuum that was done
                os.kill(pid, signal.SIGSTOP)
                stopped.append(pid)
        try:
            yield
        finally:
            for pid in stopped:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGCONT)

    def kill(self) -> None:
        """End it at once, as by a power cut of the server's machine. Idempotent."""
        if self._process is None:
            return
        self._process.send_signal(signal.SIGSTOP)  # it makes no others meanwhile
        pids = self.pids()
        self.signal(signal.SIGKILL)
        self._process.wait(30)
        self._process = None
        # a server that starts while one of them has the shared memory ends at once
        until(lambda: not any(map(_lives, pids)), 30, "PostgreSQL's processes to be gone")

    def stop(self) -> None:
        """End it in order (fast shutdown). Idempotent."""
        if self._process is None:
            return
        self._process.send_signal(signal.SIGINT)
        self._process.wait(30)
        self._process = None

    def log(self) -> str:
        """What it has written so far."""
        return (self.folder / "log").read_text("utf-8", "replace")

    def remove(self) -> None:
        """End it and delete its folder."""
        self.kill()
        shutil.rmtree(self.folder)


@contextmanager
def postgres_server(*settings: str) -> Iterator[PostgresServer]:
    """A running server."""
    made = PostgresServer(*settings)
    try:
        made.start()
        yield made
    finally:
        made.remove()
