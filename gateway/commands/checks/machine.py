"""The PC itself: its clock, its processor, and the SQLite that Python brings."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from pathlib import Path

from gateway.commands.checks.report import Check
from gateway.health import clock_synchronised

CLOCK_KEEPERS = (
    "chronyd", "systemd-timesyn", "ntpd", "ntpsec", "openntpd", "ptp4l", "phc2sys",
)  # fmt: skip
"""Names of processes, as the kernel cuts them (15 characters)."""

FAST_S = 0.1
"""Polls more often than this are where the processor's pace matters."""

CPUS = Path("/sys/devices/system/cpu")


def clock(required: bool) -> Check:
    """Whether the clock is disciplined, and by what; ``required``: values are marked without."""
    keepers = sorted({name for name in _processes() if name in CLOCK_KEEPERS})
    by = f" by {' and '.join(keepers)}" if keepers else ""
    state = clock_synchronised()
    if state:
        return Check("clock", "OK", f"synchronised{by}")
    if state is None:
        return Check("clock", "WARN", "cannot be told here", "look at: timedatectl")
    if keepers:
        found = f"not synchronised, although {' and '.join(keepers)} runs"
        todo = "does it reach its servers? chronyc sources, or timedatectl timesync-status"
    else:
        found = "not synchronised; no time service of this system runs"
        todo = "apt install chrony, and name a time server of the plant in /etc/chrony/chrony.conf"
    if required:
        return Check("clock", "FAIL", f"{found}: all values are UNCERTAIN", todo)
    return Check("clock", "WARN", f"{found}: times may be wrong", todo)


def _processes() -> Iterator[str]:
    for path in Path("/proc").glob("[0-9]*/comm"):
        try:
            yield path.read_text("utf-8", "replace").strip()
        except OSError:
            continue


def processor(shortest_s: float | None) -> Check:
    """Whether the processor may sleep; ``shortest_s``: the shortest interval of a poll."""
    found = f"{os.cpu_count() or 1} cores"
    load = os.getloadavg()[0]
    if load > 2 * (os.cpu_count() or 1):
        todo = "other programs take the time that polls need: top"
        return Check("processor", "WARN", f"{found}, load {load:.1f}", todo)
    governors = set()
    for path in CPUS.glob("cpu[0-9]*/cpufreq/scaling_governor"):
        try:
            governors.add(path.read_text("utf-8").strip())
        except OSError:
            continue
    if not governors:
        return Check("processor", "OK", f"{found}; its pace is not this system's to set")
    found += f", governor {', '.join(sorted(governors))}"
    if governors == {"performance"} or shortest_s is None or shortest_s >= FAST_S:
        return Check("processor", "OK", found)
    todo = "for polls this short: cpupower frequency-set -g performance; docs/troubleshooting.md"
    return Check("processor", "WARN", f"{found}: polls every {shortest_s:g} s may be late", todo)


def sqlite(version: str = sqlite3.sqlite_version) -> Check:
    """The version, and its bugs that would touch us."""
    number = tuple(map(int, version.split(".")[:3]))
    if number < (3, 35, 0):
        todo = "use the Python of Debian 12, Ubuntu 22.04 or newer"
        return Check("sqlite", "FAIL", f"{version}; expected 3.35 or newer", todo)
    if has_wal_reset_bug(number):
        # sqlite.org/wal.html#walresetbug: two connections that write or checkpoint at once
        return Check(
            "sqlite",
            "OK",
            f"{version}; its WAL-reset bug needs a second writer, and the gateway has one "
            "connection a file: open its files read-only while it runs",
        )
    return Check("sqlite", "OK", version)


def has_wal_reset_bug(version: tuple[int, ...]) -> bool:
    """Versions 3.7.0 to 3.51.2, except those that the repair was carried back to."""
    if version[:2] == (3, 44):
        return version < (3, 44, 6)
    if version[:2] == (3, 50):
        return version < (3, 50, 7)
    return (3, 7, 0) <= version < (3, 51, 3)
