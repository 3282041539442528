"""The disk under ``state_dir``: its space, and how fast a write is safe."""

from __future__ import annotations

import errno
import os
import stat
import statistics
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from gateway.commands.checks.report import Check
from gateway.terminal import duration, size

WRITES = 20
WRITE_BYTES = 4096
MEASURE_S = 3.0
"""The measuring ends after this long, however few writes there were."""

SLOW_MS = 50.0
"""A batch a second is one safe write a second for each sink, so this is still far from too slow."""
VERY_SLOW_MS = 500.0
FREE_AT_LEAST = 100_000_000
_FULL = (errno.ENOSPC, errno.EDQUOT)


def mode_of(path: Path) -> int:
    """The mode of what is there; 0 where nothing is, or where we may not look."""
    try:
        return path.stat().st_mode
    except OSError:
        return 0


def existing(path: Path) -> Path:
    """The folder itself, or the nearest above it that exists."""
    while not stat.S_ISDIR(mode_of(path)) and path != path.parent:
        path = path.parent
    return path


def space(state_dir: Path, wanted_bytes: int, used_bytes: int) -> Check:
    """Free bytes against what the configuration allows the gateway to keep there."""
    folder = existing(state_dir)
    volume = os.statvfs(folder)
    free = volume.f_bavail * volume.f_frsize
    total = volume.f_blocks * volume.f_frsize
    found = f"{size(free)} free of {size(total)} under {folder}"
    missing = wanted_bytes - used_bytes - free
    if volume.f_files and not volume.f_favail:
        return Check("disk", "FAIL", f"{found}, but no inode", "delete small files: df -i")
    if free < FREE_AT_LEAST:
        todo = "free some space, or give state_dir another disk"
        return Check("disk", "FAIL", f"{found}: full", todo)
    if missing > 0:
        return Check(
            "disk",
            "WARN",
            f"{found}; history and spool may take {size(wanted_bytes)}",
            "lower spool.max_bytes and the historian's max_bytes, or make room; a full disk "
            "discards the oldest data earlier",
        )
    return Check("disk", "OK", f"{found}; history and spool take {size(wanted_bytes)} at most")


def used(state_dir: Path) -> int:
    """Bytes of all files below it; what cannot be looked at counts nothing."""
    total = 0
    for folder, _, names in os.walk(state_dir):
        for name in names:
            try:
                total += (Path(folder) / name).lstat().st_blocks * 512
            except OSError:
                continue
    return total


def speed(state_dir: Path) -> Check:
    """How long a small write takes until it is safe (fdatasync), measured there."""
    folder = existing(state_dir)
    name = "disk speed"
    try:
        times = sorted(_timed(folder))
    except OSError as error:
        if error.errno in _FULL:
            todo = "free some space; until then the oldest data is discarded early"
            return Check(name, "FAIL", f"{folder} takes no file: {error.strerror}", todo)
        if isinstance(error, PermissionError):
            todo = "measure it as root, or as the gateway's user"
            return Check(name, "WARN", f"not measured: {folder} is not ours to write", todo)
        todo = "look at the kernel's messages: dmesg | tail"
        return Check(name, "FAIL", f"{folder} cannot be written: {error.strerror}", todo)
    middle, worst = statistics.median(times) * 1e3, times[-1] * 1e3
    found = f"a safe write takes {duration(middle / 1e3)} (median), {duration(worst / 1e3)} at most"
    if middle > VERY_SLOW_MS:
        todo = "use an SSD for state_dir; raise writer.flush_interval_s meanwhile"
        return Check(name, "FAIL", f"{found}: slower than the batches come", todo)
    if middle > SLOW_MS:
        todo = "fine for a few sinks; an SSD in place of an SD card is better, and lasts longer"
        return Check(name, "WARN", found, todo)
    return Check(name, "OK", found)


def _timed(folder: Path) -> Iterator[float]:
    """Seconds of each write."""
    until = time.monotonic() + MEASURE_S
    data = os.urandom(WRITE_BYTES)
    with tempfile.TemporaryFile(dir=folder, prefix=".doctor-") as file:
        for _ in range(WRITES):
            begun = time.perf_counter()
            os.write(file.fileno(), data)
            os.fdatasync(file.fileno())
            yield time.perf_counter() - begun
            if time.monotonic() > until:
                return
