"""What a read that timed out has brought of a block."""

from __future__ import annotations

import numpy as np

from gateway.model import Array


def part_of_block(buffer: Array, count: int) -> Array | None:
    """The first ``count`` samples of each input out of a buffer filled in part; None: not there.

    Behind the samples of an input there is room for the rest of its block, or all inputs are packed
    together; what is behind them is untouched (NaN) or zero. Servers differ, and some report
    samples without sending them.
    """
    inputs, samples = buffer.shape
    if not 0 < count < samples:
        return None
    flat = buffer.reshape(-1)
    end = inputs * count
    candidates = []
    for found, rest in (
        (buffer[:, :count], buffer[:, count:]),
        (flat[:end].reshape(inputs, count), flat[end:]),
    ):
        if not np.isnan(found).any() and bool((np.isnan(rest) | (rest == 0)).all()):
            candidates.append(np.ascontiguousarray(found))
    if not candidates or not np.array_equal(candidates[0], candidates[-1]):
        return None
    return candidates[0]
