"""The statistics of a window: as computed directly by numpy and scipy."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st

from gateway.analysis.rolling import FUNCTIONS, aggregate

samples = st.lists(
    st.tuples(st.floats(0.001, 100.0), st.none() | st.floats(-1e6, 1e6)), min_size=1, max_size=40
)


@given(samples, st.floats(-1e6, 1e6))
def test_it_agrees_with_a_direct_computation(
    given: list[tuple[float, float | None]], offset: float
) -> None:
    seconds = np.cumsum([gap for gap, _ in given])
    seconds -= seconds[-1]
    column = np.array([np.nan if v is None else v + offset for _, v in given])
    values = np.column_stack([column, np.full(len(column), offset)])
    counts, results = aggregate(seconds, values, FUNCTIONS)
    good = np.isfinite(column)
    assert counts.tolist() == [good.sum(), len(column)]
    found = dict(zip(FUNCTIONS, results[0], strict=True))
    assert found["count"] == good.sum()
    if not good.any():
        assert not np.isfinite([found[f] for f in FUNCTIONS if f != "count"]).any()
        return
    kept, at = column[good], seconds[good]
    near = {"rel": 1e-9, "abs": 1e-9 * np.abs(kept).max()}
    assert found["mean"] == pytest.approx(kept.mean(), **near)
    assert found["std"] == pytest.approx(kept.std(), **near)
    assert (found["min"], found["max"]) == (kept.min(), kept.max())
    if len(kept) > 1:
        slope = scipy.stats.linregress(at, kept).slope
        steepest = np.ptp(kept) / np.ptp(at)
        assert found["slope"] == pytest.approx(slope, rel=1e-6, abs=1e-7 * steepest + 1e-12)
    else:
        assert not np.isfinite(found["slope"])
    assert results[1, FUNCTIONS.index("std")] == 0.0
    assert results[1, FUNCTIONS.index("mean")] == offset


@given(st.lists(st.floats(-1e3, 1e3), min_size=2, max_size=30), st.floats(0.5, 8.0))
def test_scaling_scales_and_shifting_in_time_changes_nothing(
    column: list[float], factor: float
) -> None:
    seconds = np.arange(len(column)) * 0.5
    values = np.array(column)[:, None]
    functions = ("mean", "std", "min", "max", "slope")
    _, one = aggregate(seconds, values, functions)
    _, scaled = aggregate(seconds - 100.0, values * factor, functions)
    assert scaled == pytest.approx(one * factor, rel=1e-9, abs=1e-9)


def test_of_no_samples_there_is_nothing() -> None:
    counts, results = aggregate(np.zeros(0), np.zeros((0, 3)), FUNCTIONS)
    assert counts.tolist() == [0, 0, 0]
    assert np.isfinite(results).sum() == 3, "the counts"
