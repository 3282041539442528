"""Time-domain features: closed forms, moments over hops, scale and shift."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import signal, special, stats

from gateway.features.bearings import Geometry
from gateway.features.engine import Engine
from gateway.features.moments import Moments
from gateway.features.spec import Spec
from gateway.model import Array
from tests.unit.featurekit import analyse

RATE, N, H = 25_600, 25_600, 2_560
TIME = np.arange(N) / RATE
SPEC = Spec(RATE, N, H, "g")


def features(x: Array, spec: Spec = SPEC) -> dict[str, float]:
    """Of the first window."""
    return analyse(np.asarray(x, np.float32), spec)[0]


# 49 periods in 25,600 samples: no two samples have the same phase, so sums are near to integrals
SINE = 2 * np.sin(2 * np.pi * 49 * TIME)
TRIANGLE = signal.sawtooth(2 * np.pi * 49 * TIME, 0.5)
SQUARE = np.sign(np.sin(2 * np.pi * 100 * TIME + 1e-6))
ROOT = special.gamma(0.75) / (math.sqrt(math.pi) * special.gamma(1.25))
"""Mean of sqrt |sin|."""

CLOSED_FORMS = {
    "sine": (SINE, {
        "mean": 0, "rms": math.sqrt(2), "peak": 2, "peak_to_peak": 4, "crest": math.sqrt(2),
        "kurtosis": 1.5, "skewness": 0, "shape": math.pi / (2 * math.sqrt(2)),
        "impulse": math.pi / 2, "clearance": 1 / ROOT**2,
    }),
    "square": (SQUARE, {
        "rms": 1, "peak": 1, "peak_to_peak": 2, "crest": 1, "kurtosis": 1, "shape": 1,
        "impulse": 1, "clearance": 1,
    }),
    "triangle": (TRIANGLE, {
        "rms": 1 / math.sqrt(3), "crest": math.sqrt(3), "kurtosis": 1.8,
        "shape": 2 / math.sqrt(3), "impulse": 2, "clearance": 2.25,
    }),
}  # fmt: skip


@pytest.mark.parametrize("name", CLOSED_FORMS)
def test_closed_forms(name: str) -> None:
    x, expected = CLOSED_FORMS[name]
    found = features(x)
    for feature, value in expected.items():
        assert found[feature] == pytest.approx(value, rel=1e-5, abs=1e-6), feature


def test_impulses_have_the_kurtosis_of_their_duty() -> None:
    x = np.zeros(N)
    x[::256] = 1.0
    q = 1 / 256
    found = features(x)
    assert found["kurtosis"] == pytest.approx((1 - 3 * q + 3 * q * q) / (q * (1 - q)), rel=1e-6)
    assert found["skewness"] == pytest.approx((1 - 2 * q) / math.sqrt(q * (1 - q)), rel=1e-6)


def test_noise_is_gaussian_within_five_sigma() -> None:
    found = features(np.random.default_rng(7).standard_normal(N))
    assert found["kurtosis"] == pytest.approx(3, abs=5 * math.sqrt(24 / N))
    assert found["skewness"] == pytest.approx(0, abs=5 * math.sqrt(6 / N))
    assert found["rms"] == pytest.approx(1, abs=5 / math.sqrt(2 * N))
    assert found["shape"] == pytest.approx(math.sqrt(math.pi / 2), abs=0.02)


def reference(x: Array) -> dict[str, float]:
    """The same by scipy.stats and plain numpy, in float64 and over the whole window."""
    y = np.asarray(x, np.float64)
    mean = y.mean()
    a = np.abs(y - mean)
    rms = math.sqrt(np.mean(a * a))
    return {
        "mean": mean, "rms": rms, "peak": a.max(), "peak_to_peak": np.ptp(y),
        "crest": a.max() / rms, "kurtosis": stats.kurtosis(y, fisher=False),
        "skewness": stats.skew(y), "shape": rms / a.mean(), "impulse": a.max() / a.mean(),
        "clearance": a.max() / np.mean(np.sqrt(a)) ** 2,
    }  # fmt: skip


def machine(seed: int, samples: int = N) -> Array:
    """A shaft, its harmonics, noise and impacts, with a bias."""
    random = np.random.default_rng(seed)
    t = np.arange(samples) / RATE
    x = 0.3 * np.sin(2 * np.pi * 24.7 * t) + 0.1 * np.sin(2 * np.pi * 49.4 * t + 1)
    x += 0.2 * random.standard_normal(samples) + 0.05 * random.standard_normal()
    x[:: int(RATE / 107)] += 3 * random.random(len(x[:: int(RATE / 107)]))
    return np.asarray(x + 0.4, np.float32)


@pytest.mark.parametrize("seed", range(5))
def test_float32_agrees_with_an_independent_float64_reference(seed: int) -> None:
    x = machine(seed)
    found = features(x)
    for feature, value in reference(x).items():
        assert found[feature] == pytest.approx(value, rel=1e-5), feature


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 1000),
    scale=st.floats(1e-4, 1e4) | st.floats(-1e4, -1e-4),
)
def test_scaling_the_signal_scales_amplitudes_and_leaves_ratios(seed: int, scale: float) -> None:
    x = machine(seed).astype(np.float64)
    plain, scaled = features(x), features(x * scale)
    for feature in ("crest", "kurtosis", "shape", "impulse", "clearance", "dominant_hz"):
        assert scaled[feature] == pytest.approx(plain[feature], rel=2e-5), feature
    assert scaled["skewness"] == pytest.approx(math.copysign(plain["skewness"], scale), rel=1e-4)
    for feature in ("rms", "peak", "peak_to_peak", "velocity_rms", "displacement_rms",
                    "dominant_amplitude", "envelope_rms", "envelope_peak"):  # fmt: skip
        assert scaled[feature] == pytest.approx(abs(scale) * plain[feature], rel=2e-5), feature


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 1000), bias=st.floats(-50, 50))
def test_a_bias_shifts_the_mean_and_nothing_else(seed: int, bias: float) -> None:
    x = machine(seed).astype(np.float64)
    plain, shifted = features(x), features(x + bias)
    assert shifted["mean"] == pytest.approx(plain["mean"] + bias, abs=1e-5)
    # float32 samples about 50 have steps of 4e-6: that, and no more, may be seen
    for feature in ("rms", "peak", "crest", "kurtosis", "shape", "clearance", "velocity_rms",
                    "envelope_rms", "centroid_hz"):  # fmt: skip
        assert shifted[feature] == pytest.approx(plain[feature], rel=2e-4), feature


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 1000))
def test_time_domain_does_not_know_the_order_of_samples(seed: int) -> None:
    x = machine(seed)
    mixed = np.random.default_rng(seed).permutation(x)
    plain, other = features(x), features(mixed)
    for feature in ("mean", "rms", "peak", "kurtosis", "skewness", "shape", "clearance"):
        assert other[feature] == pytest.approx(plain[feature], rel=1e-6), feature


def test_a_drifting_bias_of_a_thousand_rms_costs_no_digits() -> None:
    small = 1e-3 * machine(3).astype(np.float64)
    drift = 1.0 + 0.5 * TIME  # moves by 1500 RMS within the window
    x = (small + drift).astype(np.float32)
    found, expected = features(x), reference(x)
    for feature in ("rms", "kurtosis", "skewness"):
        assert found[feature] == pytest.approx(expected[feature], rel=1e-6), feature


def test_moments_of_hours_equal_those_of_the_last_window() -> None:
    random = np.random.default_rng(5)
    moments = Moments(Spec(RATE, 1000, 100, "V"), 3)
    blocks = []
    for hop in range(5000):
        block = random.standard_normal((3, 100)) * 10.0 ** random.integers(-3, 4) + hop
        blocks.append(block.astype(np.float32))
        moments.push(blocks[-1])
        assert moments.full == (hop >= 9)
    x = np.concatenate(blocks[-10:], axis=1).astype(np.float64)
    found = moments.window()
    centred = x - x.mean(axis=1, keepdims=True)
    assert found.mean == pytest.approx(x.mean(axis=1), rel=1e-12)
    assert found.m2 == pytest.approx((centred**2).mean(axis=1), rel=1e-9)
    assert found.m3 == pytest.approx((centred**3).mean(axis=1), rel=1e-8)
    assert found.m4 == pytest.approx((centred**4).mean(axis=1), rel=1e-9)
    assert found.low == pytest.approx(x.min(axis=1), abs=0)
    assert found.high == pytest.approx(x.max(axis=1), abs=0)


def test_after_a_reset_nothing_of_before_is_left() -> None:
    random = np.random.default_rng(6)
    spec = Spec(RATE, 12_800, 1280, "g")
    used, fresh = Moments(spec, 2), Moments(spec, 2)
    for _ in range(13):
        used.push(1e6 * random.standard_normal((2, 1280)).astype(np.float32))
    used.reset()
    assert not used.full
    engine, window = Engine(spec, 2), []
    for _ in range(10):
        window.append(random.standard_normal((2, 1280)).astype(np.float32))
        used.push(window[-1])
        fresh.push(window[-1])
    assert used.full
    x = np.concatenate(window, axis=1)
    ours = engine.compute(x, x[:, :0], used, None)
    assert ours == pytest.approx(engine.compute(x, x[:, :0], fresh, None), rel=1e-6, nan_ok=True)


def test_float64_blocks_are_taken_too() -> None:
    x = machine(8).astype(np.float64)[None, :H]
    spec = Spec(RATE, H, H, "g")
    double, single = Moments(spec, 1), Moments(spec, 1)
    double.push(x)
    single.push(x.astype(np.float32))
    assert np.concatenate(double.window()) == pytest.approx(np.concatenate(single.window()))
    engine = Engine(spec, 1)
    assert engine.compute(x, x[:, :0], double, None) == pytest.approx(
        engine.compute(x.astype(np.float32), x[:, :0], single, None), rel=1e-5
    )


def test_silence_has_no_ratios_and_no_frequency() -> None:
    for level in (0.0, 0.1, 5.0):
        found = analyse(np.full(N, level), SPEC)[0]  # float64, as of a file
        assert found["mean"] == pytest.approx(level)
        for feature in ("rms", "peak", "peak_to_peak", "velocity_rms", "envelope_rms"):
            assert found[feature] == 0, feature
        for feature in ("crest", "kurtosis", "skewness", "shape", "impulse", "clearance",
                        "dominant_hz", "centroid_hz"):  # fmt: skip
            assert math.isnan(found[feature]), feature


def test_pieces_of_a_ring_and_chunks_of_channels_make_no_difference() -> None:
    random = np.random.default_rng(9)
    x = random.standard_normal((19, N)).astype(np.float32)
    moments = Moments(SPEC, 19)
    for hop in range(10):
        moments.push(x[:, hop * H : (hop + 1) * H])
    many = Engine(SPEC, 32)
    whole = many.compute(x, x[:, :0], moments, None)
    for split in (1, 7_001, N - 1):
        pieces = many.compute(x[:, :split], x[:, split:], moments, None)
        assert pieces == pytest.approx(whole, rel=1e-5, abs=1e-7)
    for channel in (0, 8, 18):
        alone = list(features(x[channel]).values())
        assert alone == pytest.approx(list(whole[channel]), rel=1e-5, abs=1e-7)


@pytest.mark.parametrize("wrong", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("at", [0, 3])
def test_what_is_not_finite_hides_its_channel_while_it_is_in_the_window(
    wrong: float, at: int
) -> None:
    spec = Spec(RATE, 10_240, H, "g", has_speed=True, bearing=Geometry(9, 7.94, 39.04))
    x = np.random.default_rng(11).standard_normal((3, 10 * H)).astype(np.float32)
    sound = Engine(spec, 3), Moments(spec, 3)
    spoilt = x.copy()
    spoilt[1, at * H + 77] = wrong
    engine, moments = Engine(spec, 3), Moments(spec, 3)
    for hop in range(10):
        block = slice(hop * H, (hop + 1) * H)
        moments.push(spoilt[:, block])
        sound[1].push(x[:, block])
        if hop < 3:
            continue
        window = slice((hop - 3) * H, (hop + 1) * H)
        ours = engine.compute(spoilt[:, window], spoilt[:, :0], moments, 30.0)
        expected = sound[0].compute(x[:, window], x[:, :0], sound[1], 30.0)
        np.testing.assert_array_equal(ours[[0, 2]], expected[[0, 2]])
        # one hop more, whose envelope the samples put in their place have touched
        if at <= hop < at + 5:
            known = [n for n, v in zip(engine.names, ours[1], strict=True) if not math.isnan(v)]
            assert set(known) <= {"speed_hz", "peak", "peak_to_peak"}
        else:
            assert ours[1] == pytest.approx(expected[1], rel=1e-4, abs=1e-6)


@pytest.mark.parametrize("size", [1e15, 1e17, 1e20, 1e36])
def test_what_float32_cannot_hold_is_no_number(size: float) -> None:
    spec = Spec(RATE, N, H, "g", has_speed=True, bearing=Geometry(9, 7.94, 39.04))
    found = analyse((size * machine(2).astype(np.float64)).astype(np.float32), spec, 25.0)[0]
    assert not any(math.isinf(value) for value in found.values())
    assert found["rms"] == pytest.approx(size * features(machine(2))["rms"], rel=1e-5)
    assert math.isnan(found["velocity_rms"]) == (size > 1e16)
