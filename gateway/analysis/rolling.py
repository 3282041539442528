"""Statistics of a window of samples, several tags at once, some of them with gaps."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from gateway.model import Array

LEAST = {"mean": 1, "std": 1, "min": 1, "max": 1, "slope": 2, "count": 0}
"""Function -> fewest samples that it needs.

std: of the population; slope: of the least-squares line, per second; count: of good samples.
"""

FUNCTIONS = tuple(LEAST)


def aggregate(seconds: Array, values: Array, functions: Sequence[str]) -> tuple[Array, Array]:
    """Aggregates of the columns of ``values[sample, column]`` taken at ``seconds[sample]``.

    Samples that are not finite are left out. Gives how many of each column are left, and
    ``results[column, function]``: not finite where they are too few, or too large for float64. Sums
    are taken about the mean, in two passes, so that a large mean costs no digits.
    """
    good = np.isfinite(values)
    counts = np.count_nonzero(good, axis=0)
    results = np.empty((values.shape[1], len(functions)))
    with np.errstate(all="ignore"):  # what comes of it is not finite, and told by the caller
        pivot = _any_good(values, good)
        deviation = np.where(good, values - pivot, 0.0)
        shift = deviation.sum(axis=0) / counts
        centred = deviation
        if "std" in functions or "slope" in functions:
            centred = np.where(good, deviation - shift, 0.0)
        for k, function in enumerate(functions):
            if function == "mean":
                results[:, k] = pivot + shift
            elif function == "std":
                results[:, k] = np.sqrt((centred * centred).sum(axis=0) / counts)
            elif function == "min":
                results[:, k] = np.where(good, values, np.inf).min(axis=0, initial=np.inf)
            elif function == "max":
                results[:, k] = np.where(good, values, -np.inf).max(axis=0, initial=-np.inf)
            elif function == "slope":
                results[:, k] = _slope(seconds, centred, good, counts)
            else:
                results[:, k] = counts
    return counts, results


def _any_good(values: Array, good: Array) -> Array:
    """A good value of each column, 0 where it has none."""
    if not len(values):
        return np.zeros(values.shape[1])
    found = values[good.argmax(axis=0), np.arange(values.shape[1])]
    return np.where(np.isfinite(found), found, 0.0)


def _slope(seconds: Array, centred: Array, good: Array, counts: Array) -> Array:
    at = np.where(good, seconds[:, None], 0.0)
    at = np.where(good, at - at.sum(axis=0) / counts, 0.0)
    slope: Array = (at * centred).sum(axis=0) / (at * at).sum(axis=0)
    return slope  # of one sample 0 / 0
