"""The ring of newest samples."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from gateway.analysis.ring import Ring


@given(st.integers(1, 40), st.lists(st.integers(1, 40), max_size=12), st.integers(0, 50))
def test_the_newest_samples_come_back_in_order(
    capacity: int, sizes: list[int], wanted: int
) -> None:
    ring = Ring(2, capacity)
    written = np.zeros((2, 0), np.float32)
    for size in sizes:
        size = min(size, capacity)
        start = written.shape[1]
        new = np.stack([np.arange(start, start + size), -np.arange(start, start + size)])
        ring.write(new.astype(np.float64), end_ns=start + size)
        written = np.concatenate((written, new.astype(np.float32)), axis=1)
    assert ring.total == written.shape[1]
    count = min(wanted, ring.filled)
    older, newer = ring.pieces(count)
    expected = written[:, written.shape[1] - count :]
    assert np.array_equal(np.concatenate((older, newer), axis=1), expected)
    for channel in (0, 1):
        samples, end_ns = ring.copy(channel, wanted)
        assert np.array_equal(samples, expected[channel])
        assert end_ns == written.shape[1]


def test_after_a_clear_nothing_of_before_is_left() -> None:
    ring = Ring(1, 8)
    ring.write(np.ones((1, 5)), 5)
    ring.clear()
    assert ring.filled == 0
    ring.write(np.full((1, 2), 3.0), 7)
    samples, _ = ring.copy(0, 8)
    assert samples.tolist() == [3.0, 3.0]
