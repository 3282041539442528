"""A real Redis (redis-server, from apt) on a free port; it can be stopped, killed, and filled."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import redis
from redis.exceptions import RedisError

from tests.support import free_port, need_program, until


class RedisPeer:
    """redis-server with an append-only file of its own, synced with every write."""

    def __init__(self, folder: Path, *arguments: str, port: int = 0) -> None:
        self.port = port or free_port()
        self.folder = folder
        self._arguments = arguments
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it, with what it had before, and wait until it answers."""
        program = need_program("redis-server", "redis-server")
        self.folder.mkdir(parents=True, exist_ok=True)
        command = [program, "--bind", "127.0.0.1", "--port", str(self.port), "--dir",
                   str(self.folder), "--appendonly", "yes", "--appendfsync", "always",
                   "--save", "", *self._arguments]  # fmt: skip
        with (self.folder / "redis.log").open("ab") as log:
            self._process = subprocess.Popen(
                command, stdout=log, stderr=log, stdin=subprocess.DEVNULL
            )
        until(self._answers, what="redis-server")

    def _answers(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, (self.folder / "redis.log").read_text()
        text = (self.folder / "redis.log").read_text()
        return (
            "Ready to accept connections" in text.rpartition("oO0OoO0OoO0Oo Redis is starting")[2]
        )

    def client(self, **keys: object) -> redis.Redis:
        """A client for what a test looks at itself; close it."""
        return redis.Redis(host="127.0.0.1", port=self.port, protocol=2, **keys)  # type: ignore[arg-type]

    def pause(self) -> None:
        """It does not answer any more (SIGSTOP)."""
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        """It goes on."""
        self._signal(signal.SIGCONT)

    def kill(self) -> None:
        """End it at once."""
        if self._process is not None:
            self._process.kill()
            self._process.wait(10)
            self._process = None

    def _signal(self, number: int) -> None:
        assert self._process is not None
        os.kill(self._process.pid, number)


@contextmanager
def redis_server(folder: Path, *arguments: str, port: int = 0) -> Iterator[RedisPeer]:
    """A running server; ``arguments`` as of its command line."""
    made = RedisPeer(folder, *arguments, port=port)
    made.start()
    try:
        yield made
    finally:
        with suppress(RedisError, OSError):
            made.kill()
