"""The shapes of the mock's signals against their formulas, and the extremes of its types."""

from __future__ import annotations

import math
import statistics
from typing import Any

import numpy as np
import pytest

from drivers.mock.waves import COUNTER_ORIGIN_NS
from gateway.model import Quality
from tests.drivers.mock_support import NOON, SECOND, make, row_at, series

TIMES = [0.0, 0.001, 2.5, 5.0, 7.5, 9.999, 10.0, 33.3]


def wave(kind: str, **settings: Any) -> dict[str, Any]:
    return {"type": "lreal", "signal": {"kind": kind, **settings}}


@pytest.mark.parametrize(
    ("tag", "formula"),
    [
        (
            wave("sine", mean=20, amplitude=5, period_s=10, phase=0.25),
            lambda p: 20 + 5 * math.sin(2 * math.pi * (p + 0.25)),
        ),
        (wave("ramp", low=-3, high=5, period_s=10, phase=0), lambda p: -3 + 8 * p),
        (
            wave("triangle", low=1, high=3, period_s=10, phase=0),
            lambda p: 1 + 4 * p if p < 0.5 else 5 - 4 * p,
        ),
        (
            wave("square", low=2, high=9, period_s=10, duty=0.25, phase=0),
            lambda p: 9.0 if p < 0.25 else 2.0,
        ),
        (
            wave("steps", values=[4, 8, 15, 16], hold_s=2.5, phase=0),
            lambda p: float([4, 8, 15, 16][int(p * 4)]),
        ),
    ],
    ids=lambda v: v["signal"]["kind"] if isinstance(v, dict) else "",
)
def test_a_periodic_signal_follows_its_formula(tag: dict[str, Any], formula: Any) -> None:
    expected = [formula(round(t % 10, 6) / 10) for t in TIMES]
    assert series(tag, TIMES) == pytest.approx(expected, abs=1e-9)


def test_a_sum_adds_its_signals() -> None:
    tag = wave(
        "sum",
        of=[
            {"kind": "ramp", "high": 10, "period_s": 10, "phase": 0},
            {"kind": "ramp", "high": 100, "period_s": 10, "phase": 0},
            {"kind": "constant", "value": 1000},
        ],
    )
    assert series(tag, [0, 1, 2.5]) == pytest.approx([1000, 1011, 1027.5])


def test_a_counter_only_rises_at_its_rate_and_rolls_over() -> None:
    elapsed_s = (NOON - COUNTER_ORIGIN_NS) / SECOND
    counts = series(wave("counter", start=5, rate_per_s=0.5), [0, 1, 2, 100])
    assert counts == pytest.approx([5 + 0.5 * (elapsed_s + t) for t in (0, 1, 2, 100)])
    small = {"type": "uint", "signal": {"kind": "counter", "rate_per_s": 1000}}
    driver = make({"x": small})
    start = COUNTER_ORIGIN_NS
    at = [row_at(driver, start + round(t * SECOND)).value(0) for t in (-5, 0, 65.5, 65.536, 66)]
    assert at == [0, 0, 65500, 0, 464]
    rolled = {"type": "lreal", "signal": {"kind": "counter", "rate_per_s": 1, "rollover": 60}}
    driver = make({"x": rolled})
    assert row_at(driver, start + 61 * SECOND).value(0) == pytest.approx(1.0)


def test_noise_has_its_distribution() -> None:
    times = [t * 0.1 for t in range(4000)]
    normal = [float(v) for v in series(wave("gaussian", mean=10, deviation=2), times)]  # type: ignore[arg-type]
    assert statistics.mean(normal) == pytest.approx(10, abs=0.15)
    assert statistics.stdev(normal) == pytest.approx(2, rel=0.06)
    assert sum(abs(v - 10) > 4 for v in normal) / 4000 == pytest.approx(0.0455, abs=0.015)
    even = [float(v) for v in series(wave("uniform", low=-1, high=3), times)]  # type: ignore[arg-type]
    assert min(even) >= -1
    assert max(even) < 3
    assert statistics.mean(even) == pytest.approx(1, abs=0.1)
    noisy = [float(v) for v in series(wave("constant", value=7, noise=0.5), times)]  # type: ignore[arg-type]
    assert statistics.mean(noisy) == pytest.approx(7, abs=0.05)
    assert statistics.stdev(noisy) == pytest.approx(0.5, rel=0.06)


def test_tags_and_following_reads_have_independent_noise() -> None:
    driver = make({f"x{i}": wave("gaussian") for i in range(3000)})
    first = np.array(row_at(driver, NOON).values())
    second = np.array(row_at(driver, NOON + 1).values())
    assert abs(np.corrcoef(first, second)[0, 1]) < 0.08
    assert abs(np.corrcoef(first[:-1], first[1:])[0, 1]) < 0.08


def test_a_walk_is_bounded_smooth_and_never_repeats() -> None:
    tag = wave("walk", low=10, high=20, hold_s=10)
    values = np.array(series(tag, [t * 0.5 for t in range(4000)]), "f8")
    assert values.min() >= 10
    assert values.max() <= 20
    assert values.max() - values.min() > 8
    # the steepest part of the way between two knots 10 apart: 1.5 x 10 / 20 per step
    assert abs(np.diff(values)).max() <= 0.75 + 1e-9
    assert len(set(np.round(values[::20], 6))) > 190


def test_a_choice_draws_every_value_and_holds_it() -> None:
    tag = {"type": "string", "signal": {"kind": "choice", "values": ["a", "b"], "hold_s": 10}}
    values = series(
        {**tag, "signal": {**tag["signal"], "phase": 0}}, [float(t) for t in range(2000)]
    )  # type: ignore[dict-item]
    assert all(len(set(values[i : i + 10])) == 1 for i in range(0, 2000, 10))
    assert 60 < values[::10].count("a") < 140


def test_texts_and_booleans_come_in_turn() -> None:
    texts = {"kind": "steps", "values": ["idle", "läuft", ""], "hold_s": 2, "phase": 0}
    # NOON is 4 s into the cycle of 6 s
    expected = ["", "idle", "läuft", ""]
    assert series({"type": "string[10]", "signal": texts}, [0, 2, 4, 7.9]) == expected
    square = {"kind": "square", "period_s": 10, "duty": 0.3, "phase": 0}
    assert series({"type": "bool", "signal": square}, [0, 2.9, 3, 9.9]) == [
        True,
        True,
        False,
        False,
    ]


@pytest.mark.parametrize(
    ("kind", "low", "high"),
    [
        ("sint", -(2**7), 2**7 - 1), ("int", -(2**15), 2**15 - 1), ("dint", -(2**31), 2**31 - 1),
        ("lint", -(2**63), 2**63 - 1), ("usint", 0, 2**8 - 1), ("byte", 0, 2**8 - 1),
        ("uint", 0, 2**16 - 1), ("word", 0, 2**16 - 1), ("udint", 0, 2**32 - 1),
        ("dword", 0, 2**32 - 1), ("ulint", 0, 2**64 - 1), ("lword", 0, 2**64 - 1),
    ],
)  # fmt: skip
def test_an_integer_shows_its_extremes_exactly_and_never_wraps(
    kind: str, low: int, high: int
) -> None:
    constants = {
        name: {"type": kind, "signal": {"kind": "constant", "value": value}}
        for name, value in (("low", low), ("high", high))
    }
    beyond = {
        name: {"type": kind, "signal": {"kind": "sine", "mean": mean, "amplitude": 0}}
        for name, mean in (("under", -1e30), ("over", 1e30))
    }
    row = row_at(make({**constants, **beyond}), NOON)
    assert row.value(0) == low
    assert row.value(1) == high
    assert row.value(2) == low
    # 2**63 - 1 is no double: the highest that is not above it
    assert row.value(3) == (high if high < 2**53 else int(np.nextafter(float(high), 0)))
    assert row.marks is None


def test_scale_and_offset_work_on_the_raw_number() -> None:
    raw = {"kind": "constant", "value": 3}
    assert series({"type": "int", "scale": 0.1, "signal": raw}, [0]) == [0.3]
    assert series({"type": "int", "scale": 0.1, "offset": -40, "signal": raw}, [0]) == [-39.7]
    rounded = {"kind": "sine", "mean": 2.4, "amplitude": 0}
    assert series({"type": "int", "signal": rounded}, [0]) == [2]
    assert series({"type": "int", "scale": 10, "signal": rounded}, [0]) == [20]


def test_what_is_no_finite_number_is_bad() -> None:
    tags: dict[str, dict[str, Any]] = {
        "nan": {"type": "real", "signal": {"kind": "constant", "value": math.nan}},
        "inf": {"type": "lreal", "signal": {"kind": "constant", "value": -math.inf}},
        "huge": {"type": "real", "signal": {"kind": "constant", "value": 1e300}},
        "good": {"type": "real", "signal": {"kind": "constant", "value": 3.4e38}},
    }
    row = row_at(make(tags), NOON)
    marks = {name: mark and str(mark) for name, _, mark in row.items()}
    assert marks == {"nan": "BAD:nan", "inf": "BAD:infinite", "huge": "BAD:infinite", "good": None}
    assert row.value(3) == 3.4e38
    worst = row.mark(0)
    assert worst is not None
    assert worst.quality is Quality.BAD
