"""What a process costs, from /proc: CPU share of one core and resident memory."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from pathlib import Path

TICKS = os.sysconf("SC_CLK_TCK")


def family(pid: int) -> list[int]:
    """The process and all its descendants."""
    found = [pid]
    for task in Path(f"/proc/{pid}/task").iterdir():
        for child in (task / "children").read_text().split():
            found += family(int(child))
    return found


def cpu_s(pid: int) -> float:
    """CPU seconds of a process tree so far; from schedstat, which is finer than clock ticks."""
    total = 0.0
    for member in family(pid):
        for task in Path(f"/proc/{member}/task").iterdir():
            total += int((task / "schedstat").read_text().split()[0]) / 1e9
    return total


def rss_mib(pid: int) -> float:
    """Resident memory of a process tree, in MiB."""
    pages = sum(int(Path(f"/proc/{p}/statm").read_text().split()[1]) for p in family(pid))
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


@dataclass
class Usage:
    """CPU of one core in percent and the largest memory seen."""

    cpu_percent: float
    rss_mib: float


def watch(pid: int, seconds: float) -> Usage:
    """Measure a process for that long."""
    begun, cpu, rss = time.monotonic(), cpu_s(pid), 0.0
    while time.monotonic() - begun < seconds:
        time.sleep(0.5)
        rss = max(rss, rss_mib(pid))
    return Usage(100 * (cpu_s(pid) - cpu) / (time.monotonic() - begun), rss)


def machine() -> str:
    """Cores, CPU and kernel, for the table's caption."""
    model = next(
        (
            line.split(":", 1)[1].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if line.startswith("model name")
        ),
        "unknown CPU",
    )
    return f"{os.cpu_count()} cores, {model}, Linux {os.uname().release}"
