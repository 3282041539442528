"""The newest samples of every channel of a stream, in a ring of float32."""

from __future__ import annotations

import threading

import numpy as np

from gateway.model import Array


class Ring:
    """``samples[channel, place]`` as a ring; written by one thread, copied from by any."""

    def __init__(self, channels: int, capacity: int) -> None:
        self.samples: Array = np.zeros((channels, capacity), np.float32)
        self.capacity = capacity
        self.total = 0
        """Samples since the last clear."""
        self._end_ns = 0
        self._at = 0
        self._lock = threading.Lock()

    @property
    def filled(self) -> int:
        """Samples that can be had of each channel."""
        return min(self.total, self.capacity)

    def clear(self) -> None:
        """Samples are missing: what came before them does not go on."""
        with self._lock:
            self.total = 0
            self._at = 0

    def write(self, data: Array, end_ns: int) -> None:
        """Append samples[channel, n], n up to the capacity; the last was taken at ``end_ns``."""
        count = data.shape[1]
        with self._lock:
            first = min(count, self.capacity - self._at)
            self.samples[:, self._at : self._at + first] = data[:, :first]
            if count > first:
                self.samples[:, : count - first] = data[:, first:]
            self._at = (self._at + count) % self.capacity
            self.total += count
            self._end_ns = end_ns

    def pieces(self, count: int) -> tuple[Array, Array]:
        """Views of the newest ``count`` samples: the older part, and the newer one (may be empty).

        For the thread that writes.
        """
        begin = self._at - count
        if begin >= 0:
            return self.samples[:, begin : self._at], self.samples[:, :0]
        return self.samples[:, begin:], self.samples[:, : self._at]

    def copy(self, channel: int, count: int) -> tuple[Array, int]:
        """The newest samples of a channel, at most ``count``; and the time of the last, ns."""
        with self._lock:
            older, newer = self.pieces(min(count, self.filled))
            return np.concatenate((older[channel], newer[channel])), self._end_ns
