"""Rows on their way to be judged: a bounded queue that whoever publishes never waits for."""

from __future__ import annotations

import threading
import time
from collections import deque

from gateway.hub import cells
from gateway.model import Row

MAX_CELLS = 8_000_000
"""32 MB: 400 rows of 10,000 tags, or 90,000 of a few."""
LUMP = 16


class Inbox:
    """Filled from any thread, emptied by one."""

    def __init__(self, max_cells: int = MAX_CELLS) -> None:
        self.missed = 0
        """Rows that came too fast: they were not judged."""
        self._rows: deque[tuple[Row, float]] = deque()
        self._cells = 0
        self._max_cells = max_cells
        self._lock = threading.Lock()
        self._wake = threading.Event()

    def __len__(self) -> int:
        return len(self._rows)

    def put(self, row: Row) -> None:
        """Add a row; where it is full the oldest go, and are counted."""
        came_s = time.monotonic()
        cost = cells(row)
        with self._lock:
            self._rows.append((row, came_s))
            self._cells += cost
            if self._cells > self._max_cells:
                keep = self._max_cells - self._max_cells // LUMP
                while self._cells > keep and len(self._rows) > 1:
                    old, _ = self._rows.popleft()
                    self._cells -= cells(old)
                    self.missed += 1
        if not self._wake.is_set():
            self._wake.set()

    def drain(self) -> list[tuple[Row, float]]:
        """All rows so far, oldest first, each with the monotonic time at which it came."""
        self._wake.clear()
        with self._lock:
            rows = list(self._rows)
            self._rows.clear()
            self._cells = 0
        return rows

    def wait(self, timeout_s: float) -> None:
        """Until a row comes or `wake` is called, for so long at most."""
        self._wake.wait(timeout_s)

    def wake(self) -> None:
        """Look now."""
        self._wake.set()
