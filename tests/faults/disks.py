"""Disks of the test's own, in its folder: small, out of inodes, cut from power."""

from __future__ import annotations

import fcntl
import os
import struct
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.support import missing, need_program

SHUTDOWN = 0x8004587D
"""The ioctl EXT4_IOC_SHUTDOWN (Linux, fs/ext4/ext4.h), which xfs has too."""
NOLOGFLUSH = 2
"""Its flag: the journal is not written either, so what was not synced is gone."""


def _mount(*words: str) -> None:
    if os.geteuid():
        missing("a mount", "run as root")
    done = subprocess.run(["mount", *words], capture_output=True, text=True, check=False)
    if done.returncode:
        missing("a mount", done.stderr.strip())


def _unmount(place: Path) -> None:
    done = subprocess.run(["umount", str(place)], capture_output=True, text=True, check=False)
    if done.returncode:  # still open somewhere: it goes when that ends
        subprocess.run(["umount", "-l", str(place)], check=True)


@contextmanager
def in_memory(place: Path, options: str) -> Iterator[Path]:
    """A tmpfs with these options, e.g. ``size=4M`` or ``nr_inodes=20``."""
    place.mkdir()
    _mount("-t", "tmpfs", "-o", options, "tmpfs", str(place))
    try:
        yield place
    finally:
        _unmount(place)


def remount(place: Path, options: str) -> None:
    """Change the options of a mount."""
    _mount("-o", f"remount,{options}", str(place))


class Ext4:
    """An ext4 in a file; its power can be cut."""

    def __init__(self, folder: Path, megabytes: int = 64) -> None:
        self.place = folder / "disk"
        self.place.mkdir()
        self._image = folder / "disk.image"
        with self._image.open("wb") as file:
            file.truncate(megabytes << 20)
        make = need_program("mkfs.ext4", "e2fsprogs")
        subprocess.run([make, "-q", "-F", str(self._image)], check=True)
        self._mounted = False

    def mount(self) -> None:
        """The power is on."""
        _mount("-o", "loop", str(self._image), str(self.place))
        self._mounted = True

    def cut(self) -> None:
        """The power is gone: nothing more reaches the disk."""
        fd = os.open(self.place, os.O_RDONLY)
        try:
            fcntl.ioctl(fd, SHUTDOWN, struct.pack("I", NOLOGFLUSH))
        finally:
            os.close(fd)

    def unmount(self) -> None:
        """Idempotent."""
        if self._mounted:
            self._mounted = False
            _unmount(self.place)
