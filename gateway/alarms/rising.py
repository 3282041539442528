"""Times of transitions: rows of one series have different ones."""

from __future__ import annotations

STEPPED_BACK_NS = 1_000_000_000
"""A time that is so much earlier than the last is one of a clock that was set."""


class Rising:
    """The times of each device's transitions rise."""

    __slots__ = ("_last_ns",)

    def __init__(self) -> None:
        self._last_ns: dict[str, int] = {}

    def time_ns(self, device: str, wanted_ns: int) -> int:
        """The wanted time, or the first one after the device's last transition."""
        last_ns = self._last_ns.get(device, 0)
        if last_ns - STEPPED_BACK_NS < wanted_ns <= last_ns:
            wanted_ns = last_ns + 1
        self._last_ns[device] = wanted_ns
        return wanted_ns
