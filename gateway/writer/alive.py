"""From when until when rows of a writer may be lost, for the start after a kill: a file's times."""

from __future__ import annotations

import os
import time
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

JOURNAL_NS = 5_000_000_000
"""A file's times that nobody synced may be so old after a power cut: ext4 writes its journal every
5 s (``commit`` in ext4(5)), XFS and Btrfs within 30 s, or with the next sync of any file."""

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
_LONGEST_NS = 7 * 86_400_000_000_000
"""Times further apart are not ours: somebody read or copied the file."""


class Ended(NamedTuple):
    """What an earlier run that did not end cleanly left."""

    from_ns: int
    """What was read before had been stored."""
    until_ns: int
    """It ran no longer."""


class Alive:
    """A file that exists while the writer runs, for what is not stored of its rows at a kill.

    Its access time says from when on, its modification time until when at most.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.before: Ended | None = None
        """Of an earlier run that was killed; None where it ended cleanly."""
        self.since_ns: int | None = None
        """When the first run since a clean end began; None where there was none before this."""
        self._from_ns = 0

    def begin(self, within_s: float) -> None:
        """Look at what an earlier run left, and begin."""
        here = _boot_id()
        found = since = boot = None
        with suppress(OSError, ValueError):
            found = self.path.stat()  # before it is read
            since, _, boot = self.path.read_text("ascii").partition(" ")
            self.since_ns = int(since)
        if found is not None:
            self.before = _ended(found, within_s, lost_power=bool(boot and here and boot != here))
        if found is None or (self.since_ns is not None and boot != here):
            with suppress(OSError):
                _write(self.path, f"{self.since_ns or time.time_ns()} {here}")
        self.touch(within_s, behind_s=0.0)

    def touch(self, within_s: float, behind_s: float | None = None) -> None:
        """Alive, and back within so many seconds.

        ``behind_s``: what was read earlier than so long ago is stored; None: as said before.
        Never raises: it only narrows an estimate.
        """
        now_ns = time.time_ns()
        if behind_s is not None:
            self._from_ns = now_ns - int(behind_s * 1e9)
        try:
            os.utime(self.path, ns=(self._from_ns, now_ns + int(within_s * 1e9)))
        except OSError:
            with suppress(OSError):
                self.path.touch()

    def end(self) -> None:
        """A clean end."""
        with suppress(OSError):
            self.path.unlink(missing_ok=True)


def _ended(found: os.stat_result, within_s: float, *, lost_power: bool) -> Ended:
    from_ns, until_ns = found.st_atime_ns, found.st_mtime_ns
    if not 0 <= until_ns - from_ns <= _LONGEST_NS:
        from_ns = until_ns - int(2e9 * within_s)
    return Ended(from_ns, until_ns + (JOURNAL_NS if lost_power else 0))


def _boot_id() -> str:
    try:
        return _BOOT_ID.read_text("ascii").strip()
    except (OSError, ValueError):
        return ""


def _write(path: Path, text: str) -> None:
    """In one step: a power cut leaves the old one or the new one."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o750)
    new = path.with_name(f"{path.name}.new")
    fd = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o640)
    try:
        os.write(fd, text.encode())
        os.fsync(fd)
    finally:
        os.close(fd)
    new.replace(path)
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
