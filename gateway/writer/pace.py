"""How much is sent at once: what gets through a slow line in time, and a server's bound takes."""

from __future__ import annotations

import math

FLOOR_BYTES = 16_384
"""Never less, for the time that each request takes of itself."""

CEILING_BYTES = 8_000_000
"""From here on there is no limit: no payload is so large."""

GROWTH = 1.25
EASE = 1.002
"""Growth towards what was too large once, so that it is tried again only after some hundreds."""

QUICK_S = 0.4
"""A piece of backlog takes about so long: live rows wait for its end."""

QUICK_FIRST_BYTES = 65_536
"""Such a piece while it is not known how fast the line is."""


class Pace:
    """The most bytes of one request; None: whatever comes. Used by one thread."""

    def __init__(self, timeout_s: float) -> None:
        self.limit_bytes: int | None = None
        self._timeout_s = timeout_s
        self._too_large: int | None = None
        """Bytes that the server did not take for their number."""
        self._rate: float | None = None
        """Bytes a second that get through; of small requests it would tell little."""

    @property
    def quick_bytes(self) -> int:
        """About what gets through in `QUICK_S`."""
        if self._rate is None:
            return QUICK_FIRST_BYTES
        return max(FLOOR_BYTES, int(self._rate * QUICK_S))

    def _measure(self, size: int, took_s: float) -> None:
        rate = size / max(took_s, 1e-3)
        if 2 * size >= self.quick_bytes or (2 * size >= FLOOR_BYTES and rate > (self._rate or 0.0)):
            self._rate = rate if self._rate is None else (self._rate + rate) / 2.0

    def too_slow(self, size: int) -> bool:
        """A request of so many bytes was not done in time: halve. False where that is no use."""
        self._measure(size, self._timeout_s)
        lower = max(FLOOR_BYTES, min(size, self.limit_bytes or size) // 2)
        if lower >= (self.limit_bytes or size):
            return False
        self.limit_bytes = lower
        return True

    def too_large(self, size: int) -> None:
        """The server does not take so many bytes at once."""
        self._too_large = size
        self.limit_bytes = max(FLOOR_BYTES, min(size, self.limit_bytes or size) // 2)

    def stored(self, size: int, took_s: float) -> None:
        """A request was done: grow where it used its room and little of its time."""
        self._measure(size, took_s)
        limit = self.limit_bytes
        if limit is None or 2 * size < limit or 4.0 * took_s > self._timeout_s:
            return
        if self._too_large is not None and size >= self._too_large:
            self._too_large = None  # the server's bound was raised
        near = self._too_large is not None and 2.0 * limit * GROWTH > self._too_large
        grown = math.ceil(limit * (EASE if near else GROWTH))
        self.limit_bytes = grown if grown < CEILING_BYTES else None

    def fits(self, size: int) -> bool:
        """Whether so many bytes may go at once."""
        return self.limit_bytes is None or size <= self.limit_bytes
