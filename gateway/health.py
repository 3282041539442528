"""Counters that the status is made of, heartbeats for the watchdog, and the state of the clock."""

from __future__ import annotations

import ctypes
import threading
import time
from array import array
from collections.abc import Callable, Mapping
from typing import Any

CLOCK_STEP_NS = 500_000_000
"""Less than this between two looks is slewing, or a look that was late."""

STA_UNSYNC = 0x0040
"""Bit of ``timex.status``: the kernel's clock is not disciplined (adjtimex(2))."""


class Rolling:
    """The last 1024 durations, in seconds. Written by one thread, read by any."""

    __slots__ = ("_at", "_values", "count", "maximum")

    def __init__(self, size: int = 1024) -> None:
        self._values = array("d", bytes(8 * size))
        self._at = 0
        self.count = 0
        self.maximum = 0.0

    def add(self, value_s: float) -> None:
        """Note one duration."""
        self._values[self._at] = value_s
        self._at = (self._at + 1) % len(self._values)
        self.count += 1
        self.maximum = max(self.maximum, value_s)

    def milliseconds(self) -> dict[str, float]:
        """Median and 99th percentile of those kept and the maximum of all, in ms."""
        kept = sorted(self._values[: min(self.count, len(self._values))])
        if not kept:
            return {"p50": 0.0, "p99": 0.0, "max": 0.0}
        at = (len(kept) // 2, min(len(kept) - 1, int(len(kept) * 0.99)))
        p50, p99 = (round(kept[i] * 1e3, 3) for i in at)
        return {"p50": p50, "p99": p99, "max": round(self.maximum * 1e3, 3)}


class Heartbeats:
    """Who is alive: each part beats, and promises to beat again within some seconds."""

    def __init__(self) -> None:
        self._beats: dict[str, tuple[float, float]] = {}
        self._lock = threading.Lock()

    def beat(self, name: str, within_s: float) -> None:
        """``name`` is alive and will be again within ``within_s`` seconds."""
        with self._lock:
            self._beats[name] = (time.monotonic(), within_s)

    def forget(self, name: str) -> None:
        """``name`` has ended as it should."""
        with self._lock:
            self._beats.pop(name, None)

    def silent(self) -> Mapping[str, float]:
        """Parts that broke their promise, and for how many seconds they have been silent."""
        now = time.monotonic()
        with self._lock:
            return {n: now - at for n, (at, within) in self._beats.items() if now - at > within}


class ClockSteps:
    """Finds steps of the wall clock, by the monotonic clock that has none."""

    def __init__(
        self,
        now_ns: Callable[[], int] = time.time_ns,
        monotonic_ns: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        self._now_ns, self._monotonic_ns = now_ns, monotonic_ns
        self._offset_ns = now_ns() - monotonic_ns()

    def look(self) -> float | None:
        """By how many seconds it stepped since the last look; None: it did not.

        A clock that is slewed (at most 500 ppm) is followed, not reported.
        """
        offset_ns = self._now_ns() - self._monotonic_ns()
        step_ns, self._offset_ns = offset_ns - self._offset_ns, offset_ns
        return step_ns / 1e9 if abs(step_ns) >= CLOCK_STEP_NS else None


class _Timex(ctypes.Structure):
    _fields_ = (
        ("modes", ctypes.c_uint),
        ("offset", ctypes.c_long),
        ("freq", ctypes.c_long),
        ("maxerror", ctypes.c_long),
        ("esterror", ctypes.c_long),
        ("status", ctypes.c_int),
        ("rest", ctypes.c_char * 256),
    )


def clock_synchronised() -> bool | None:
    """Whether the kernel's clock is disciplined by NTP or PTP; None where that cannot be told."""
    try:
        timex = _Timex()
        if ctypes.CDLL(None, use_errno=True).adjtimex(ctypes.byref(timex)) < 0:
            return None
    except (OSError, AttributeError):
        return None
    return not timex.status & STA_UNSYNC


def process_status() -> dict[str, Any]:
    """CPU seconds and thread count of this process."""
    return {"cpu_s": round(time.process_time(), 3), "threads": threading.active_count()}
