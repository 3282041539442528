"""Frequency features: velocity and displacement, Parseval, bands, orders, interpolation."""

from __future__ import annotations

import math

import numpy as np
import pytest
import scipy.fft
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import signal

from gateway.features.engine import Engine
from gateway.features.spec import STANDARD_GRAVITY, Spec
from gateway.features.whole import windows
from gateway.model import Array
from tests.unit.featurekit import analyse

RATE, N, H = 25_600, 25_600, 2_560
TIME = np.arange(N) / RATE
SPEC = Spec(RATE, N, H, "g")


def features(x: Array, spec: Spec = SPEC, speed_hz: float | None = None) -> dict[str, float]:
    return analyse(np.asarray(x, np.float32), spec, speed_hz)[0]


def tone(hz: float, amplitude: float = 1.0, phase: float = 0.7) -> Array:
    return np.asarray(amplitude * np.sin(2 * np.pi * hz * TIME + phase))


def velocity(hz: float, amplitude_g: float) -> float:
    return 1e3 * amplitude_g * STANDARD_GRAVITY / (2 * math.pi * hz) / math.sqrt(2)


@pytest.mark.parametrize(
    ("hz", "amplitude"), [(25.0, 0.1), (49.3, 1.0), (159.15, 1.0), (160.0, 10.0), (900.0, 0.5)]
)
@pytest.mark.parametrize("bias", [0.0, 1.0])
def test_velocity_and_displacement_of_a_sine(hz: float, amplitude: float, bias: float) -> None:
    found = features(tone(hz, amplitude) + bias)
    lines = hz * N / RATE
    # a Hann-weighted sine integrated line by line reads too high by 1/(2 k^2), k its line
    exact = velocity(hz, amplitude)
    assert found["velocity_rms"] / exact - 1 == pytest.approx(1 / (2 * lines**2), abs=3e-6)
    exact_um = 1e3 * exact / (2 * math.pi * hz)
    assert found["displacement_rms"] / exact_um - 1 == pytest.approx(0, abs=2 / lines**2)


def test_units_of_acceleration_are_told_apart() -> None:
    x = tone(160)
    in_g = features(x)["velocity_rms"]
    for unit in ("m/s2", "m/s^2", "m/s²"):
        metric = features(x, Spec(RATE, N, H, unit))["velocity_rms"]
        assert in_g / metric == pytest.approx(9.80665, rel=1e-6)
    assert "velocity_rms" not in features(x, Spec(RATE, N, H, "V"))


def test_the_velocity_band_ends_where_it_says() -> None:
    inside = velocity(500, 1.0)
    assert features(tone(500) + tone(1100))["velocity_rms"] == pytest.approx(inside, rel=1e-4)
    assert features(tone(500) + tone(5))["velocity_rms"] == pytest.approx(inside, rel=1e-3)
    slow = Spec(RATE, N, H, "g", velocity_band_hz=(2.0, 1000.0))
    both = math.hypot(inside, velocity(5, 1.0))
    assert features(tone(500) + tone(5), slow)["velocity_rms"] == pytest.approx(both, rel=0.03)


def test_drift_does_not_become_velocity() -> None:
    found = features(tone(25) + 0.02 * TIME)
    assert found["velocity_rms"] == pytest.approx(velocity(25, 1.0), rel=1.5e-3)


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 1000), samples=st.sampled_from([640, 2560, 9600, 12_348]))
def test_parseval(seed: int, samples: int) -> None:
    """The lines hold the mean square of the weighted window, all of it and nothing else."""
    x = np.random.default_rng(seed).standard_normal(samples).astype(np.float32)
    engine = Engine(Spec(1000.0, samples, samples, "V"), 1)
    windows(x, engine)
    amplitude = engine.spectrum(0)[1].astype(np.float64)
    weight = signal.windows.hann(samples, sym=False)
    weighted = weight * (x - x.mean(dtype=np.float64))
    # amplitude = 2 |X| / S1, but 1 |X| / S1 for the two lines that have no mirror image
    power = np.square(amplitude * weight.sum() / 2)
    power[[0, -1]] *= 4
    twice = np.full(len(power), 2.0)
    twice[[0, -1]] = 1.0
    assert (twice * power).sum() / samples == pytest.approx(np.square(weighted).sum(), rel=1e-5)


def test_bands_add_up_to_the_whole() -> None:
    bands = (("low", 2.0, 999.0), ("mid", 1000.0, 4999.0), ("high", 5000.0, 12_800.0))
    x = np.random.default_rng(3).standard_normal(N)
    found = features(x, Spec(RATE, N, H, "g", bands_hz=bands))
    power = sum(found[f"band_{name}"] ** 2 for name, _, _ in bands)
    weight = signal.windows.hann(N, sym=False)
    weighted = np.square(weight * (x - x.mean())).sum() / np.square(weight).sum()
    assert power == pytest.approx(weighted, rel=1e-3)  # without the two lowest lines


def test_a_band_holds_the_rms_of_its_tones() -> None:
    spec = Spec(RATE, N, H, "V", bands_hz=(("a", 100.0, 300.0), ("b", 3000.0, 3100.0)))
    found = features(tone(150, 2.0) + tone(250, 1.0) + tone(3050.5, 3.0) + tone(5000, 9.0), spec)
    assert found["band_a"] == pytest.approx(math.sqrt((4 + 1) / 2), rel=1e-5)
    assert found["band_b"] == pytest.approx(3 / math.sqrt(2), rel=1e-5)


@pytest.mark.parametrize("hz", [100.0, 100.1, 100.25, 100.499, 100.5, 100.75, 4321.9, 12_000.3])
def test_sines_between_lines_are_interpolated(hz: float) -> None:
    found = features(tone(hz, 0.8))
    assert found["dominant_hz"] == pytest.approx(hz, abs=2e-3)
    assert found["dominant_amplitude"] == pytest.approx(0.8, rel=1e-4)


def test_scalloping_without_interpolation_would_be_seen() -> None:
    engine = Engine(SPEC, 1)
    windows(np.asarray(tone(100.5), np.float32), engine)
    assert engine.spectrum(0)[1].max() == pytest.approx(0.8488, abs=1e-3)  # -1.42 dB, Harris 1978


def test_spectrum_for_the_live_page() -> None:
    engine = Engine(SPEC, 1)
    windows(np.asarray(2 * tone(1000) + 1.0, np.float32), engine)
    freqs, amplitude = engine.spectrum(0)
    assert freqs.dtype == amplitude.dtype == np.float32
    assert freqs.shape == amplitude.shape == (N // 2 + 1,)
    assert freqs[amplitude.argmax()] == 1000
    assert amplitude[1000] == pytest.approx(2, rel=1e-5)
    assert amplitude[[999, 1001]] == pytest.approx([1, 1], rel=1e-4)
    assert amplitude[[0, 1]] == pytest.approx([0, 0], abs=1e-5)  # the bias is gone


def test_centroid() -> None:
    found = features(tone(1000, 1.0) + tone(3000, 1.0))
    assert found["centroid_hz"] == pytest.approx(2000, rel=1e-5)
    assert features(tone(1000, 3) + tone(3000, 1))["centroid_hz"] == pytest.approx(1200, rel=1e-5)


def test_orders_follow_the_speed() -> None:
    spec = Spec(RATE, N, H, "g", has_speed=True)
    x = tone(30, 0.5) + tone(60, 0.3) + tone(90, 0.2) + tone(37, 5.0)
    found = features(x, spec, speed_hz=30.2)  # a tag that is 0.7 % off
    assert found["speed_hz"] == 30.2
    assert [found[f"order_{i}"] for i in (1, 2, 3)] == pytest.approx([0.5, 0.3, 0.2], rel=1e-4)
    moved = features(x, spec, speed_hz=45.0)
    assert moved["order_2"] == pytest.approx(0.2, rel=1e-4)
    assert moved["order_1"] == pytest.approx(0.0, abs=1e-4)


@pytest.mark.parametrize("speed_hz", [3.0, 3.4, 4.0, 5.5])
def test_an_order_is_not_the_flank_of_the_next(speed_hz: float) -> None:
    spec = Spec(RATE, N, H, "g", has_speed=True)
    x = tone(speed_hz, 0.1) + tone(2 * speed_hz, 1.0, 0.2) + tone(3 * speed_hz, 0.1)
    found = features(x, spec, speed_hz)
    # between two lines, Hann shows 15 % less, and of the large one a little
    assert found["order_1"] == pytest.approx(0.1, rel=0.25)
    assert found["order_2"] == pytest.approx(1.0, rel=0.16)
    assert found["order_3"] == pytest.approx(0.1, rel=0.25)


def test_orders_that_a_window_cannot_tell_apart_have_no_value() -> None:
    spec = Spec(RATE, N, H, "g", has_speed=True)
    found = features(tone(2.5, 0.1) + tone(5.0, 1.0), spec, 2.5)
    assert found["speed_hz"] == 2.5
    assert all(math.isnan(found[f"order_{i}"]) for i in (1, 2, 3))


@pytest.mark.parametrize("speed_hz", [None, 0.0, -5.0, math.nan, math.inf])
def test_without_a_speed_there_are_no_orders(speed_hz: float | None) -> None:
    found = features(tone(30), Spec(RATE, N, H, "g", has_speed=True), speed_hz)
    assert all(math.isnan(found[name]) for name in ("speed_hz", "order_1", "order_2", "order_3"))
    assert found["rms"] == pytest.approx(1 / math.sqrt(2), rel=1e-5)


def test_orders_above_half_the_rate_have_no_value() -> None:
    spec = Spec(1000, 1000, 100, "V", has_speed=True)
    x = np.sin(2 * np.pi * 200 * np.arange(1000) / 1000)
    found = features(x, spec, speed_hz=200.0)
    assert found["order_1"] == pytest.approx(1, rel=1e-5)
    assert found["order_2"] == pytest.approx(0, abs=1e-4)
    assert math.isnan(found["order_3"])


@pytest.mark.parametrize("seed", range(3))
def test_float32_agrees_with_an_independent_float64_reference(seed: int) -> None:
    """Of noise with lines, by scipy.signal's periodogram."""
    x = np.random.default_rng(seed).standard_normal(N) + tone(33.3, 2) + tone(410, 1)
    x = x.astype(np.float32).astype(np.float64)
    freqs, density = signal.periodogram(
        x, RATE, window="hann", detrend="constant", scaling="density"
    )
    in_band = (freqs >= 10) & (freqs <= 1000)
    omega = 2 * np.pi * freqs[in_band]
    step = RATE / N
    bands = (("one", 300.0, 500.0), ("two", 5000.0, 9000.0))
    found = features(x, Spec(RATE, N, H, "g", bands_hz=bands))
    expected = {
        "velocity_rms": 1e3 * STANDARD_GRAVITY
        * math.sqrt((density[in_band] / omega**2).sum() * step),
        "displacement_rms": 1e6 * STANDARD_GRAVITY
        * math.sqrt((density[in_band] / omega**4).sum() * step),
        "centroid_hz": (freqs[2:] * density[2:]).sum() / density[2:].sum(),
    }  # fmt: skip
    for name, low, high in bands:
        inside = (freqs >= low) & (freqs <= high)
        expected[f"band_{name}"] = math.sqrt(density[inside].sum() * step)
    for feature, value in expected.items():
        assert found[feature] == pytest.approx(value, rel=1e-5), feature
    weight = signal.windows.hann(N, sym=False)
    lines = 2 * np.abs(scipy.fft.rfft(weight * (x - x.mean()))) / weight.sum()
    engine = Engine(SPEC, 1)
    windows(x.astype(np.float32), engine)
    ours = engine.spectrum(0)[1]
    assert ours[1:-1] == pytest.approx(lines[1:-1], rel=1e-3, abs=2e-6)
