"""The squared envelope: amplitude modulation, against the analytic signal, and bearing lines."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import signal

from gateway.features.bearings import Geometry
from gateway.features.engine import Engine
from gateway.features.envelope import Envelope
from gateway.features.lines import Lines
from gateway.features.moments import Moments
from gateway.features.reduction import LIMIT_HZ
from gateway.features.spec import Spec
from gateway.features.table import features_of
from gateway.features.whole import windows
from gateway.model import Array

RATE, N, H = 25_600, 25_600, 2_560
BEARING = Geometry(9, 7.94, 39.04)
MULTIPLES = BEARING.multiples()


def run(x: Array, spec: Spec, speed_hz: float | None = None) -> tuple[Engine, dict[str, float]]:
    """Engine and features of the last window."""
    engine = Engine(spec, 1)
    rows = windows(np.asarray(x, np.float32), engine, speed_hz)
    return engine, dict(zip(engine.names, rows[-1].tolist(), strict=True))


def time_s(windows_long: float = 2) -> Array:
    return np.arange(int(N * windows_long)) / RATE


def modulated(fm: float, depth: float, carrier: float = 3000.0, amplitude: float = 1.0) -> Array:
    t = time_s()
    return np.asarray(
        amplitude * (1 + depth * np.cos(2 * np.pi * fm * t)) * np.cos(2 * np.pi * carrier * t + 1)
    )


@pytest.mark.parametrize("band", [None, (2000.0, 6000.0), (2500.0, 3500.0)])
@pytest.mark.parametrize("hop", [H, 256, N])
def test_amplitude_modulation_is_exact(band: tuple[float, float] | None, hop: int) -> None:
    engine, found = run(modulated(100, 0.5), Spec(RATE, N, hop, "g", envelope_band_hz=band))
    freqs, amplitude = engine.envelope_spectrum(0)
    assert freqs.dtype == amplitude.dtype == np.float32
    assert freqs[100] == 100
    # (1 + m cos)^2 = 1 + m^2/2 + 2 m cos + m^2/2 cos 2; both filters ripple by 3e-5
    assert amplitude[100] == pytest.approx(1.0, abs=1e-4)
    assert amplitude[200] == pytest.approx(0.125, abs=2e-5)
    rest = np.delete(amplitude, np.r_[98:103, 198:203])
    assert rest.max() < 2e-5  # nothing at zero either: the mean does not leak
    assert found["envelope_rms"] == pytest.approx(math.sqrt(1.125), rel=1e-4)
    assert found["envelope_peak"] == pytest.approx(1.5, rel=1e-3)


def test_a_line_between_two_is_found() -> None:
    spec = Spec(RATE, N, H, "g", has_speed=True, bearing=BEARING)
    speed = 100.37 / MULTIPLES["bpfo"]
    _, found = run(modulated(100.37, 0.3), spec, speed)
    assert found["bpfo_hz"] == pytest.approx(100.37, abs=0.01)
    assert found["bpfo_amplitude"] == pytest.approx(0.6, rel=1e-3)
    assert found["bpfo_2x_amplitude"] == pytest.approx(0.045, rel=1e-2)


def test_bias_and_what_is_below_the_band_do_not_count() -> None:
    engine, found = run(modulated(80, 0.4) + 5.0, Spec(RATE, N, H, "g"))
    plain = engine.envelope_spectrum(0)[1]
    shaft = 3 * np.sin(2 * np.pi * 25 * time_s()) + 2 * np.sin(2 * np.pi * 290 * time_s())
    engine, other = run(modulated(80, 0.4) + shaft, Spec(RATE, N, H, "g"))
    assert engine.envelope_spectrum(0)[1] == pytest.approx(plain, abs=2e-4)
    assert other["envelope_rms"] == pytest.approx(found["envelope_rms"], rel=1e-4)


@pytest.mark.parametrize("band", [(500.0, 12_600.0), (2000.0, 6000.0)])
def test_agrees_with_the_analytic_signal_at_the_full_rate(band: tuple[float, float]) -> None:
    """By scipy.signal in float64, with filters of its own, of impacts in noise."""
    t = time_s(3)
    random = np.random.default_rng(4)
    x = 0.3 * random.standard_normal(len(t))
    for at in np.arange(0.01, t[-1] - 0.02, 1 / 107.3):
        hit = slice(int(at * RATE), int(at * RATE) + 400)
        x[hit] += np.exp(-800 * t[:400]) * np.sin(2 * np.pi * 3400 * t[:400])
    spec = Spec(RATE, N, H, "g", envelope_band_hz=band)
    engine, _ = run(x, spec)
    # ends 8 windows of nothing later, so that its edges lie elsewhere
    edges = [band[0] - 200, band[0], band[1], min(band[1] + 199, RATE / 2 - 1)]
    taps = signal.firwin2(2001, [0, *edges, RATE / 2], [0, 0, 1, 1, 0, 0], fs=RATE)
    filtered = signal.fftconvolve(x, taps, mode="same")
    squared = np.abs(signal.hilbert(filtered)) ** 2
    delay = Envelope(spec, 1).delay
    window = squared[len(t) - N - delay : len(t) - delay]
    weight = signal.windows.hann(N, sym=False)
    lines = 2 * np.abs(np.fft.rfft(weight * (window - np.average(window, weights=weight))))
    expected = lines[: int(LIMIT_HZ) + 1] / weight.sum()
    ours = engine.envelope_spectrum(0)[1]
    # the edges of the two filters differ, and with them some noise there
    assert ours == pytest.approx(expected, abs=0.02 * expected.max())
    assert ours[[107, 215]] == pytest.approx(expected[[107, 215]], rel=0.01)


@pytest.mark.parametrize("hop", [128, 1280, 6400, N])
def test_hops_join_without_a_seam(hop: int) -> None:
    """White noise cut into hops of any length gives the spectrum of the same samples."""
    x = np.random.default_rng(2).standard_normal(3 * N)
    spec, other = Spec(RATE, N, H, "g"), Spec(RATE, N, hop, "g")
    # the envelopes lie so far behind the stream: let both end at the same sample
    later = Envelope(other, 1).delay - Envelope(spec, 1).delay
    reference, ours = run(x[: 2 * N], spec)[0], Engine(other, 1)
    moments = Moments(other, 1)
    end = 2 * N + later
    for begin in range(end % hop, end, hop):
        moments.push(np.asarray(x[None, begin : begin + hop], np.float32))
    ours.compute(np.zeros((1, N), np.float32), np.zeros((1, 0), np.float32), moments, None)
    expected = reference.envelope_spectrum(0)[1]
    assert ours.envelope_spectrum(0)[1] == pytest.approx(expected, rel=0, abs=1e-4)


@pytest.mark.parametrize("hop", [256, H, N])
def test_the_first_window_needs_no_history(hop: int) -> None:
    spec = Spec(RATE, N, hop, "g")
    x = modulated(100, 0.5) + 3.0
    rows = windows(x.astype(np.float32), Engine(spec, 1))
    at = [f.name for f in features_of(spec)].index("envelope_rms")
    assert rows[0, at : at + 2] == pytest.approx(rows[-1, at : at + 2], rel=2e-3)


@pytest.mark.parametrize("hop", [512, 2560, 5120])
def test_of_what_was_before_a_reset_nothing_is_left_once_it_is_settled(hop: int) -> None:
    spec = Spec(RATE, 5120, hop, "g", has_speed=True, bearing=BEARING)
    random = np.random.default_rng(8)
    x = random.standard_normal((1, 30 * hop)).astype(np.float32)
    going, begun = Moments(spec, 1), Moments(spec, 1)
    for at in range(0, 10 * hop, hop):
        going.push(x[:, at : at + hop])
    engine, settled = Engine(spec, 1), []
    differences: dict[bool, list[float]] = {True: [], False: []}
    for end in range(11 * hop, 30 * hop + 1, hop):
        going.push(x[:, end - hop : end])
        begun.push(x[:, end - hop : end])
        settled.append(begun.settled)
        if begun.full:
            window = x[:, end - 5120 : end]
            engine.compute(window, window[:, :0], going, 30.0)
            expected = engine.envelope_spectrum(0)[1]
            engine.compute(window, window[:, :0], begun, 30.0)
            difference = np.abs(engine.envelope_spectrum(0)[1] - expected).max()
            differences[begun.settled].append(float(difference))
    assert max(differences[True]) < 1e-5
    assert max(differences[False]) > 1e-3, "else it need not wait"
    assert settled.count(False) == 5120 // hop - 1 + Envelope(spec, 1).settling


def impacts(fault_hz: float, seed: int = 1, slip: float = 0.01) -> Array:
    """Impacts of a defect, with jitter of their period, that ring at 4 kHz, in noise."""
    t = time_s()
    random = np.random.default_rng(seed)
    x = 0.05 * random.standard_normal(len(t))
    at = 0.005
    ring = np.exp(-1000 * t[:300]) * np.sin(2 * np.pi * 4000 * t[:300])
    while at < t[-1] - 0.02:
        x[int(at * RATE) : int(at * RATE) + 300] += ring
        at += (1 + slip * random.standard_normal()) / fault_hz
    return x


@pytest.mark.parametrize("line", ["bpfo", "bpfi", "bsf2"])
def test_a_defect_raises_its_own_line_and_no_other(line: str) -> None:
    spec = Spec(RATE, N, H, "g", has_speed=True, bearing=BEARING)
    speed = 29.5
    _, found = run(impacts(MULTIPLES[line] * speed * 0.995), spec, speed)
    assert found[f"{line}_hz"] == pytest.approx(MULTIPLES[line] * speed * 0.995, rel=0.005)
    assert found[f"{line}_harmonics"] >= 2
    assert found[f"{line}_ratio"] > 20
    for other in {"bpfo", "bpfi", "bsf2", "ftf"} - {line}:
        assert found[f"{other}_harmonics"] < 2, other
    _, wrong = run(impacts(MULTIPLES[line] * speed * 0.95), spec, speed)
    assert wrong[f"{line}_harmonics"] == 0  # 5 % away is another machine's line


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 10_000), speed=st.floats(5, 60))
def test_noise_has_no_lines(seed: int, speed: float) -> None:
    spec = Spec(RATE, N, H, "g", has_speed=True, bearing=BEARING)
    _, found = run(np.random.default_rng(seed).standard_normal(N), spec, speed)
    counts = [found[f"{line}_harmonics"] for line in ("ftf", "bpfo", "bpfi", "bsf2", "bsf")]
    assert all(math.isnan(c) or c == 0 for c in counts)


def reference_line(spectrum: Array, centre: float, slip: float) -> tuple[int, float, bool]:
    """Line number, ratio and whether it is a peak, as the table of features words it."""
    tolerance = max(2.0, slip * centre)
    inside = [
        k for k in range(3, len(spectrum) - 1)
        if abs(k - centre) <= tolerance
        and spectrum[k] >= spectrum[k - 1] and spectrum[k] >= spectrum[k + 1]
    ]  # fmt: skip
    reach = max(0.15 * centre, tolerance + 2 + 8)
    around = [
        spectrum[k] for k in range(2, len(spectrum)) if tolerance + 2 < abs(k - centre) <= reach
    ]
    best = max(inside, key=lambda k: spectrum[k]) if inside else round(centre)
    return best, spectrum[best] / float(np.median(around)), bool(inside)


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10_000), speed=st.floats(8, 80))
def test_lines_are_what_the_table_says(seed: int, speed: float) -> None:
    spec = Spec(RATE, N, H, "g", has_speed=True, bearing=BEARING)
    spectrum = np.random.default_rng(seed).rayleigh(size=(3, 1501)).astype(np.float32)
    names = [f.name for f in features_of(spec)]
    columns = names[names.index("ftf_hz") :]
    out = np.full((3, len(columns)), np.nan)
    with np.errstate(invalid="ignore"):
        Lines(spec).find(spectrum, speed, out)
    for channel in range(3):
        found = dict(zip(columns, out[channel], strict=True))
        for line, multiple in MULTIPLES.items():
            for h in (1, 2, 3) if line != "bsf" else (1,):
                centre = multiple * speed * h
                ratio = found[f"{line}_{h}x_ratio" if h > 1 else f"{line}_ratio"]
                if math.floor(centre + max(2, 0.02 * centre)) + 2 > 1501:
                    assert math.isnan(ratio)
                    continue
                at, expected, is_peak = reference_line(spectrum[channel], centre, 0.02)
                assert ratio == pytest.approx(expected, rel=1e-5), (line, h)
                if h == 1:
                    assert abs(found[f"{line}_hz"] - at) <= (0.5 if is_peak else 0.0)


def test_tables_follow_the_speed() -> None:
    spec = Spec(RATE, N, H, "g", has_speed=True, bearing=BEARING)
    spectrum = np.random.default_rng(1).rayleigh(size=(2, 1501)).astype(np.float32)
    columns = sum(f.needs == "bearing" for f in features_of(spec))
    moving = Lines(spec)
    for speed in (25.0, 25.004, 25.2, 80.0, 25.0):
        ours, fresh = np.full((2, 2, columns), np.nan)
        moving.find(spectrum, speed, ours)
        Lines(spec).find(spectrum, speed if speed != 25.004 else 25.0, fresh)
        np.testing.assert_array_equal(ours, fresh)


def test_the_flank_of_a_line_outside_is_no_line() -> None:
    spec = Spec(RATE, N, H, "g", has_speed=True, bearing=BEARING)
    speed = 30.0
    outside = MULTIPLES["bpfo"] * speed * 1.02 + 1.0  # one line beyond the tolerance
    _, found = run(modulated(outside, 0.5), spec, speed)
    assert found["bpfo_harmonics"] == 0
    assert found["bpfo_hz"] == round(MULTIPLES["bpfo"] * speed)
    assert found["bpfo_amplitude"] < 0.1  # not the 1.0 of that line
    _, found = run(modulated(outside - 2.0, 0.5), spec, speed)
    assert found["bpfo_harmonics"] >= 1
    assert found["bpfo_hz"] == pytest.approx(outside - 2.0, abs=0.02)


def test_lines_without_room_have_no_value() -> None:
    spec = Spec(RATE, N, H, "g", has_speed=True, bearing=BEARING)
    _, fast = run(modulated(300, 0.5), spec, 120.0)
    assert math.isnan(fast["bpfi_3x_ratio"])  # 1950 Hz, beyond the envelope's spectrum
    assert not math.isnan(fast["bpfi_2x_ratio"])
    _, slow = run(modulated(300, 0.5), spec, 2.0)
    assert math.isnan(slow["ftf_ratio"])  # 0.8 Hz: in the lobe of zero
    assert math.isnan(slow["ftf_harmonics"])
    assert math.isnan(slow["ftf_hz"])
    _, low = run(modulated(300, 0.5), spec, 5.5)
    assert math.isnan(low["ftf_hz"])  # 2.2 Hz: not the line at 3 Hz either
    assert low["ftf_2x_ratio"] > 0


def test_low_rates_have_no_envelope_unless_asked() -> None:
    assert Spec(1000, 1000, 100, "V").envelope_hz is None
    with pytest.raises(ValueError, match="no envelope at 1000 Hz"):
        Envelope(Spec(1000, 1000, 100, "V"), 1)
    engine, found = run(np.sin(np.arange(2000)), Spec(1000, 1000, 100, "V"))
    assert "envelope_rms" not in found
    assert engine.envelope_spectrum(0)[1].size == 0
    asked = Spec(1000, 1000, 100, "V", envelope_band_hz=(100.0, 300.0))
    t = np.arange(3000) / 1000
    x = (1 + 0.5 * np.cos(2 * np.pi * 10 * t)) * np.cos(2 * np.pi * 200 * t)
    engine, found = run(x, asked)
    assert engine.envelope_spectrum(0)[1][10] == pytest.approx(1.0, abs=1e-3)


def test_a_band_within_the_edge_below_half_the_rate_is_refused() -> None:
    for low in (12_570.0, 12_700.0):
        with pytest.raises(ValueError, match="at least 32 lines of it below 12600 Hz"):
            Spec(RATE, N, H, "g", envelope_band_hz=(low, 12_800.0))
    high = Spec(RATE, N, H, "g", envelope_band_hz=(12_500.0, 12_800.0))
    assert high.envelope_hz == (12_500.0, 12_600.0)
    assert len(run(modulated(20, 0.5, 12_550.0), high)[0].envelope_spectrum(0)[1]) == 101


@pytest.mark.parametrize(
    ("rate", "samples", "hop"),
    [(12_000, 12_000, 1_200), (48_828, 49_000, 4_900), (51_200, 51_200, 5_120),
     (12_000, 121_264, 121_264), (20_480, 20_480, 20_480), (102_400, 102_400, 10_240),
     (2_000, 2_000, 200), (25_600, 2 * 1009, 1009)],
)  # fmt: skip
def test_any_rate_and_any_length(rate: int, samples: int, hop: int) -> None:
    t = np.arange(2 * samples) / rate
    carrier = 0.35 * rate
    x = (1 + 0.5 * np.cos(2 * np.pi * 57 * t)) * np.cos(2 * np.pi * carrier * t)
    spec = Spec(rate, samples, hop, "V")
    engine, found = run(x, spec)
    freqs, amplitude = engine.envelope_spectrum(0)
    near = np.abs(freqs - 57) <= 2.5 * spec.line_hz
    assert freqs[amplitude.argmax()] == pytest.approx(57, abs=spec.line_hz)
    # a Hann window keeps power: 1.5 lines
    power = np.square(amplitude[near].astype(np.float64)).sum() / 1.5
    assert math.sqrt(power) == pytest.approx(1.0, rel=0.01)
    assert found["envelope_rms"] == pytest.approx(math.sqrt(1.125), rel=0.02)


def test_envelope_of_many_channels_is_that_of_each() -> None:
    spec = Spec(RATE, 12_800, 1_280, "g")
    x = np.random.default_rng(3).standard_normal((5, 12_800)).astype(np.float32)
    moments = Moments(spec, 5)
    for hop in range(10):
        moments.push(x[:, hop * 1280 : (hop + 1) * 1280])
    engine = Engine(spec, 5)
    engine.compute(x, x[:, :0], moments, None)
    for channel in range(5):
        alone, _ = run(x[channel], spec)
        assert engine.envelope_spectrum(channel)[1] == pytest.approx(
            alone.envelope_spectrum(0)[1], abs=1e-6
        )
