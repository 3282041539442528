"""A file system of its own (FUSE) that hands everything on to a folder, and fails as told.

``python -m tests.sims.fuse_disk FOLDER PLACE CONTROL``, with PYTHONPATH at the peers' folder.
Ends when it is unmounted. The control file holds `LAYOUT`.
"""

from __future__ import annotations

import errno
import importlib
import mmap
import os
import struct
import sys
import time
from pathlib import Path
from typing import Any

LAYOUT = struct.Struct("<iiiii")
"""errno of writes, errno of syncs, ms that a sync takes, errno of all that changes; calls hit."""

_STAT = "mode ino nlink uid gid size blocks atime_ns mtime_ns ctime_ns".split()
_STATFS = "bavail bfree blocks bsize favail ffree files flag frsize namemax".split()


class Disk:
    """The operations of fuse(3), by name; an OSError's number goes to the caller."""

    use_ns = True

    def __init__(self, root: Path, control: Path) -> None:
        self._root = str(root)
        with control.open("r+b") as file:
            self._control = mmap.mmap(file.fileno(), LAYOUT.size)

    def __call__(self, name: str, *arguments: Any) -> Any:
        return getattr(self, name)(*arguments)

    def _told(self) -> tuple[int, ...]:
        return LAYOUT.unpack(self._control[: LAYOUT.size])

    def _hit(self, number: int) -> None:
        if number:
            struct.pack_into("<i", self._control, LAYOUT.size - 4, self._told()[4] + 1)
            raise OSError(number, os.strerror(number))

    def _change(self) -> None:
        self._hit(self._told()[3])

    def _at(self, path: str) -> str:
        return self._root + path

    # -- files ----------------------------------------------------------------------------------

    def open(self, path: str, flags: int) -> int:
        if flags & (os.O_WRONLY | os.O_RDWR | os.O_TRUNC | os.O_APPEND):
            self._change()
        return os.open(self._at(path), flags & ~os.O_APPEND)  # offsets come with each write

    def create(self, path: str, mode: int, _: object = None) -> int:
        self._change()
        return os.open(self._at(path), os.O_RDWR | os.O_CREAT, mode)

    def read(self, _: str, size: int, at: int, fd: int) -> bytes:
        return os.pread(fd, size, at)

    def write(self, _: str, data: bytes, at: int, fd: int) -> int:
        number, _, _, change, _ = self._told()
        self._hit(number or change)
        return os.pwrite(fd, data, at)

    def truncate(self, path: str, size: int, fd: int | None = None) -> int:
        number, _, _, change, _ = self._told()
        self._hit(number or change)
        os.truncate(self._at(path) if fd is None else fd, size)
        return 0

    def fsync(self, _: str, _data_only: int, fd: int) -> int:
        _, number, ms, _, seen = self._told()
        if ms:
            struct.pack_into("<i", self._control, LAYOUT.size - 4, seen + 1)
            time.sleep(ms / 1000)
        self._hit(number)
        os.fsync(fd)
        return 0

    def flush(self, _: str, _fd: int) -> int:
        return 0

    def release(self, _: str, fd: int) -> int:
        os.close(fd)
        return 0

    # -- names ----------------------------------------------------------------------------------

    def getattr(self, path: str, fd: int | None = None) -> dict[str, int]:
        found = os.lstat(self._at(path)) if fd is None else os.fstat(fd)
        return {f"st_{n.removesuffix('_ns')}": getattr(found, f"st_{n}") for n in _STAT}

    def readdir(self, path: str, _: object) -> list[str]:
        return [".", "..", *(entry.name for entry in Path(self._at(path)).iterdir())]

    def statfs(self, path: str) -> dict[str, int]:
        found = os.statvfs(self._at(path))
        return {f"f_{n}": getattr(found, f"f_{n}") for n in _STATFS}

    def unlink(self, path: str) -> int:
        self._change()
        Path(self._at(path)).unlink()
        return 0

    def rename(self, old: str, new: str) -> int:
        self._change()
        Path(self._at(old)).replace(self._at(new))
        return 0

    def mkdir(self, path: str, mode: int) -> int:
        self._change()
        Path(self._at(path)).mkdir(mode)
        return 0

    def rmdir(self, path: str) -> int:
        self._change()
        Path(self._at(path)).rmdir()
        return 0

    def chmod(self, path: str, mode: int) -> int:
        self._change()
        Path(self._at(path)).chmod(mode)
        return 0

    def utimens(self, path: str, times: tuple[int, int] | None = None) -> int:
        self._change()
        os.utime(self._at(path), ns=times)
        return 0

    def access(self, path: str, mode: int) -> int:
        if not os.access(self._at(path), mode):
            raise OSError(errno.EACCES, os.strerror(errno.EACCES))
        return 0


def main(root: str, place: str, control: str) -> None:
    fuse = importlib.import_module("fuse")
    # the true inodes: the gateway compares them to notice a file that was replaced under it
    options = {"use_ino": True, "big_writes": True, "default_permissions": True}
    fuse.FUSE(Disk(Path(root), Path(control)), place, foreground=True, **options)


if __name__ == "__main__":
    main(*sys.argv[1:])
