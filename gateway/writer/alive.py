"""Until when a writer ran, for the start after a kill: the time of a file beside what it stores."""

from __future__ import annotations

import os
import time
from contextlib import suppress
from pathlib import Path


class Alive:
    """A file that exists while the writer runs; its time is when it promised to be back."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.before_ns: int | None = None
        """What an earlier run promised last before it was killed; None where it ended cleanly."""
        self.since_ns: int | None = None
        """When the first run since a clean end began; None where there was none before this."""

    def begin(self, within_s: float) -> None:
        """Look at what an earlier run left, and begin."""
        with suppress(OSError):
            self.before_ns = self.path.stat().st_mtime_ns
        with suppress(OSError, ValueError):
            if self.before_ns is None:
                _write(self.path, str(time.time_ns()))
            else:
                self.since_ns = int(self.path.read_text("ascii"))
        self.touch(within_s)

    def touch(self, within_s: float) -> None:
        """Alive, and back within so many seconds. Never raises: it only narrows an estimate."""
        until_ns = time.time_ns() + int(within_s * 1e9)
        try:
            os.utime(self.path, ns=(until_ns, until_ns))
        except OSError:
            with suppress(OSError):
                self.path.touch()

    def end(self) -> None:
        """A clean end."""
        with suppress(OSError):
            self.path.unlink(missing_ok=True)


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o750)
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o640)
    try:
        os.write(fd, text.encode())
        os.fsync(fd)
    finally:
        os.close(fd)
