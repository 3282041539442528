"""Steps of the wall clock and a failing disk, from outside, while the gateway runs."""

from __future__ import annotations

import mmap
import struct
import subprocess
from pathlib import Path

from tests.support import need_program, until

_LAYOUT = struct.Struct("<qiiii")
SOURCE = Path(__file__).with_name("shim.c")


class Shim:
    """A preloaded library and the mapped file that tells it what to do."""

    def __init__(self, folder: Path, disk: Path) -> None:
        library, control = folder / "shim.so", folder / "shim.control"
        compiler = need_program("cc", "gcc libc6-dev")
        command = [compiler, "-O1", "-Wall", "-shared", "-fPIC", "-o", str(library), str(SOURCE)]
        subprocess.run([*command, "-ldl"], check=True)
        control.write_bytes(bytes(mmap.PAGESIZE))
        with control.open("r+b") as file:
            self._map = mmap.mmap(file.fileno(), mmap.PAGESIZE)
        self.environment = {
            "LD_PRELOAD": str(library),
            "FAULTS_CONTROL": str(control),
            "FAULTS_FOLDER": str(disk.resolve()),
        }
        self._now = [0, 0, 0, 0]

    def _tell(self) -> None:
        self._map[: _LAYOUT.size] = _LAYOUT.pack(*self._now, self.seen)

    @property
    def seen(self) -> int:
        """Calls that were made to fail or to wait."""
        return int(_LAYOUT.unpack(self._map[: _LAYOUT.size])[4])

    def bites(self) -> None:
        """Wait until some calls have failed."""
        before = self.seen
        until(lambda: self.seen > before + 3, 20, "calls that fail")

    def clock(self, offset_s: float) -> None:
        """The wall clock is so much ahead of the real one."""
        self._now[0] = round(offset_s * 1e9)
        self._tell()

    def disk(self, *, write: int = 0, sync: int = 0, sync_s: float = 0.0) -> None:
        """What writing and syncing answer (errno), and how long a sync takes first."""
        self._now[1:] = [write, sync, round(sync_s * 1000)]
        self._tell()

    def close(self) -> None:
        """Unmap."""
        self._map.close()
