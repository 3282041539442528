"""Steps of the wall clock, from outside, while the gateway runs."""

from __future__ import annotations

import mmap
import struct
import subprocess
from pathlib import Path

from tests.support import need_program

_LAYOUT = struct.Struct("<q")
SOURCE = Path(__file__).with_name("shim.c")


class Shim:
    """A preloaded library and the mapped file that tells it what to do."""

    def __init__(self, folder: Path) -> None:
        library, control = folder / "shim.so", folder / "shim.control"
        compiler = need_program("cc", "gcc libc6-dev")
        command = [compiler, "-O1", "-Wall", "-shared", "-fPIC", "-o", str(library), str(SOURCE)]
        subprocess.run([*command, "-ldl"], check=True)
        control.write_bytes(bytes(mmap.PAGESIZE))
        with control.open("r+b") as file:
            self._map = mmap.mmap(file.fileno(), mmap.PAGESIZE)
        self.environment = {"LD_PRELOAD": str(library), "FAULTS_CONTROL": str(control)}

    def clock(self, offset_s: float) -> None:
        """The wall clock is so much ahead of the real one."""
        self._map[: _LAYOUT.size] = _LAYOUT.pack(round(offset_s * 1e9))

    def close(self) -> None:
        """Unmap."""
        self._map.close()
