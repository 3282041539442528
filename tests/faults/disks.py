"""Disks of the test's own, in its folder: small, out of inodes, cut from power, failing."""

from __future__ import annotations

import fcntl
import mmap
import os
import struct
import subprocess
import sys
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.sims.fuse_disk import LAYOUT
from tests.support import ROOT, S7_PEER_PACKAGE, missing, need_program, until

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
            # else it is mounted again as it is, dead: a process that ends may still have it
            until(lambda: not self._loops(), 20, "the loop device to be free")

    def _loops(self) -> str:
        find = [need_program("losetup", "mount"), "-j", str(self._image)]
        return subprocess.run(find, capture_output=True, text=True, check=True).stdout


class PowerUps:
    """Lets a process that has `prefix` before its command see another boot after each cut."""

    def __init__(self, folder: Path) -> None:
        self._file = folder / "boot_id"
        self.next()
        bind = f'mount --bind "{self._file}" /proc/sys/kernel/random/boot_id && exec "$@"'
        self.prefix = [need_program("unshare", "util-linux"), "-m", "sh", "-c", bind, "sh"]

    def next(self) -> None:
        """The machine starts again."""
        self._file.write_text(f"{uuid.uuid4()}\n")


class Failing:
    """A file system (FUSE) whose calls fail as told. Mounted until closed."""

    def __init__(self, folder: Path) -> None:
        need_program("fusermount", "fuse")
        if not Path("/dev/fuse").exists():
            missing("/dev/fuse", "load the kernel's module fuse")
        if not (S7_PEER_PACKAGE / "fuse.py").exists():
            missing("the FUSE binding", "run `make peers`")
        self.place = folder / "failing"
        below, control = folder / "below", folder / "failing.control"
        for path in (self.place, below):
            path.mkdir()
        control.write_bytes(bytes(mmap.PAGESIZE))
        with control.open("r+b") as file:
            self._map = mmap.mmap(file.fileno(), mmap.PAGESIZE)
        words = [sys.executable, "-m", "tests.sims.fuse_disk", str(below), str(self.place)]
        self._process = subprocess.Popen(
            [*words, str(control)],
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(S7_PEER_PACKAGE)},
        )
        until(self._is_there, 10, "the mount")

    def _is_there(self) -> bool:
        assert self._process.poll() is None, "the file system has ended"
        return self.place.is_mount()

    @property
    def seen(self) -> int:
        """Calls that were made to fail or to wait."""
        return int(LAYOUT.unpack(self._map[: LAYOUT.size])[-1])

    def bites(self) -> None:
        """Wait until some calls have failed."""
        before = self.seen
        until(lambda: self.seen > before + 3, 20, "calls that fail")

    def tell(
        self,
        *,
        write: int = 0,
        sync: int = 0,
        sync_s: float = 0.0,
        change: int = 0,
        only: str = "",
    ) -> None:
        """What writes, syncs and all that changes anything answer (errno); how long a sync takes.

        ``only``: of files with this in their path.
        """
        told = write, sync, round(sync_s * 1000), change, only.encode()
        self._map[: LAYOUT.size] = LAYOUT.pack(*told, self.seen)

    def close(self) -> None:
        """Unmount it, which ends its process."""
        self.tell()
        if self._process.poll() is None:
            _unmount(self.place)
            self._process.wait(10)
        self._map.close()
