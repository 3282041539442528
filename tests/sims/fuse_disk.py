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

LAYOUT = struct.Struct("<iiii64si")
"""errno of writes, errno of syncs, ms that a sync takes, errno of all that changes; in which paths
alone (a part of them, padded with zeros; empty: in all); calls hit."""

_STAT = ("mode", "ino", "nlink", "uid", "gid", "size", "blocks", "atime_ns", "mtime_ns", "ctime_ns")
_STATFS = (
    *("bavail", "bfree", "blocks", "bsize", "favail"),
    *("ffree", "files", "flag", "frsize", "namemax"),
)


class Disk:
    """The operations of fuse(3), by name; an OSError's number goes to the caller."""

    use_ns = True

    def __init__(self, root: Path, control: Path) -> None:
        self._root = str(root)
        with control.open("r+b") as file:
            self._control = mmap.mmap(file.fileno(), LAYOUT.size)

    def __call__(self, name: str, *arguments: Any) -> Any:
        return getattr(self, name)(*arguments)

    def _told(self, path: str) -> tuple[int, int, int, int]:
        """What writes, syncs (errno and ms) and changes of this path answer."""
        write, sync, ms, change, only, _ = LAYOUT.unpack(self._control[: LAYOUT.size])
        if only.rstrip(b"\0") not in os.fsencode(path):
            return 0, 0, 0, 0
        return write, sync, ms, change

    def _count(self) -> None:
        at = LAYOUT.size - 4
        (seen,) = struct.unpack_from("<i", self._control, at)
        struct.pack_into("<i", self._control, at, seen + 1)

    def _hit(self, number: int) -> None:
        if number:
            self._count()
            raise OSError(number, os.strerror(number))

    def _change(self, path: str) -> None:
        self._hit(self._told(path)[3])

    def _at(self, path: str) -> str:
        return self._root + path

    # -- files ----------------------------------------------------------------------------------

    def open(self, path: str, flags: int) -> int:
        if flags & (os.O_WRONLY | os.O_RDWR | os.O_TRUNC | os.O_APPEND):
            self._change(path)
        return os.open(self._at(path), flags & ~os.O_APPEND)  # offsets come with each write

    def create(self, path: str, mode: int, _: object = None) -> int:
        self._change(path)
        return os.open(self._at(path), os.O_RDWR | os.O_CREAT, mode)

    def read(self, _: str, size: int, at: int, fd: int) -> bytes:
        return os.pread(fd, size, at)

    def write(self, path: str, data: bytes, at: int, fd: int) -> int:
        number, _, _, change = self._told(path)
        self._hit(number or change)
        return os.pwrite(fd, data, at)

    def truncate(self, path: str, size: int, fd: int | None = None) -> int:
        number, _, _, change = self._told(path)
        self._hit(number or change)
        os.truncate(self._at(path) if fd is None else fd, size)
        return 0

    def fsync(self, path: str, _data_only: int, fd: int) -> int:
        _, number, ms, _ = self._told(path)
        if ms:
            self._count()
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
        self._change(path)
        Path(self._at(path)).unlink()
        return 0

    def rename(self, old: str, new: str) -> int:
        self._change(old)
        Path(self._at(old)).replace(self._at(new))
        return 0

    def mkdir(self, path: str, mode: int) -> int:
        self._change(path)
        Path(self._at(path)).mkdir(mode)
        return 0

    def rmdir(self, path: str) -> int:
        self._change(path)
        Path(self._at(path)).rmdir()
        return 0

    def chmod(self, path: str, mode: int) -> int:
        self._change(path)
        Path(self._at(path)).chmod(mode)
        return 0

    def utimens(self, path: str, times: tuple[int, int] | None = None) -> int:
        self._change(path)
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
