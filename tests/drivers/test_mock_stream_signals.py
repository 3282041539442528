"""What the channels of a mock stream show: spectra, impacts, growth, faulty sensors, recordings."""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from drivers.mock.bearing import impact_rates
from drivers.mock.channels import Bearing
from gateway.errors import ConfigError, DeviceUnavailable
from gateway.model import Array
from tests.drivers.mock_support import make_stream, record, samples_of, started
from tests.support import missing

RATE = 25600.0
SPEED_HZ = 1797 / 60
GEOMETRY: dict[str, Any] = {"elements": 9, "ball_mm": 7.94, "pitch_mm": 39.04, "speed_rpm": 1797}
RATES_HZ = {"outer": 107.3, "inner": 162.2, "ball": 141.1}
"""Of that bearing, an SKF 6205 at 1797 rpm; Smith and Randall, 2015, Table 2: 3.585, 5.415 and
2 x 2.357 times the speed."""


def lines(x: Array) -> Array:
    """Amplitude of every 1 / duration Hz (rectangular window)."""
    amplitudes: Array = abs(np.fft.rfft(x.astype("f8"))) * 2 / x.size
    return amplitudes


def envelope_lines(x: Array) -> Array:
    """Amplitudes of the squared envelope of the band above 500 Hz (analytic signal)."""
    spectrum = np.fft.fft(x.astype("f8"))
    spectrum[: round(500 / RATE * x.size)] = 0
    spectrum[x.size // 2 :] = 0
    squared = abs(np.fft.ifft(2 * spectrum)) ** 2
    return lines(squared - squared.mean())


def test_sines_have_their_frequency_amplitude_and_phase() -> None:
    tones = [{"hz": 50, "amplitude": 2}, {"hz": 7001, "amplitude": 0.5, "phase_deg": 90}]
    x = samples_of({"signal": {"kind": "sines", "tones": tones, "mean": 3}}, 2.0)
    t = np.arange(x.size) / RATE
    expected = 3 + 2 * np.sin(2 * np.pi * 50 * t) + 0.5 * np.cos(2 * np.pi * 7001 * t)
    assert abs(x - expected).max() < 5e-6


def test_sines_keep_their_phase_for_a_year() -> None:
    driver = make_stream({"x": {"signal": {"kind": "sines", "tones": [{"hz": 1000.7}]}}})
    pace = started(driver)
    pace.pass_s(365 * 86400)
    driver.close()
    driver.connect()
    block = driver.read_block()
    number = 365 * 86400 * 25600 + np.arange(2560)
    # whole arithmetic: tenths of a Hz over tenths of the rate
    phase = (number * 10007 % 256000) / 256000
    assert abs(block.data[0] - np.sin(2 * np.pi * phase)).max() < 1e-4


def test_noise_is_white_gaussian_and_never_repeats() -> None:
    x = samples_of({"signal": {"kind": "noise", "rms": 0.5}}, 40.0).astype("f8")
    n = x.size
    assert abs(x.mean()) < 5 * 0.5 / math.sqrt(n)
    assert x.std() == pytest.approx(0.5, rel=5 / math.sqrt(2 * n))
    kurtosis = ((x - x.mean()) ** 4).mean() / x.var() ** 2
    assert abs(kurtosis - 3) < 5 * math.sqrt(24 / n)
    power = (abs(np.fft.rfft(x.reshape(-1, 1024), axis=1)) ** 2).mean(axis=0)[1:-1]
    assert abs(power / power.mean() - 1).max() < 6 / math.sqrt(n / 1024)
    correlated = np.fft.irfft(abs(np.fft.rfft(x, 2 * n)) ** 2)[1:n] / n / 0.25
    assert abs(correlated).max() < 7 / math.sqrt(n)


def test_a_shaft_shows_its_orders_and_nothing_else() -> None:
    signal = {
        "kind": "shaft", "speed_rpm": 1500, "imbalance": 0.3, "misalignment_2x": 0.2,
        "misalignment_3x": 0.1,
    }  # fmt: skip
    found = lines(samples_of({"signal": signal}, 1.0))
    assert found[[25, 50, 75]] == pytest.approx([0.3, 0.2, 0.1], abs=1e-5)
    found[[25, 50, 75]] = 0
    assert found.max() < 1e-5


def test_a_shaft_that_wanders_stays_within_its_swing() -> None:
    signal = {"kind": "shaft", "speed_hz": 25, "wander": 0.04, "wander_period_s": 8}
    x = samples_of({"signal": signal}, 16.0).astype("f8")
    spectrum = np.fft.fft(x)
    spectrum[x.size // 2 :] = 0
    phase = np.unwrap(np.angle(np.fft.ifft(spectrum)))
    speed = np.diff(phase)[2000:-2000] * RATE / (2 * np.pi)
    assert (speed.min(), speed.max()) == pytest.approx((24, 26), abs=0.05)
    assert speed.mean() == pytest.approx(25, rel=2e-3)
    quarter = round(2 * RATE) - 2000
    assert speed[quarter] == pytest.approx(26, abs=0.05)


@pytest.mark.parametrize("fault", ["outer", "inner", "ball"])
def test_a_bearing_rings_at_the_rate_of_its_fault(fault: str) -> None:
    signal = {"kind": "bearing", "fault": fault, **GEOMETRY, "noise": 0.02, "slip": 0.01}
    assert impact_rates(Bearing.model_validate(signal))[0] * SPEED_HZ == pytest.approx(
        RATES_HZ[fault], abs=0.1
    )
    seconds = 8
    x = samples_of({"signal": signal}, seconds)
    spectrum = lines(x)
    top = np.argmax(np.convolve(spectrum**2, np.ones(400), "same")) / seconds
    assert 2700 < top < 3300  # the resonance
    envelope = envelope_lines(x)
    around = slice(round(60 * seconds), round(180 * seconds))
    found_hz = (around.start + np.argmax(envelope[around])) / seconds
    sideband = {"outer": 0.0, "inner": SPEED_HZ, "ball": 0.398 * SPEED_HZ}[fault]
    assert min(
        abs(found_hz - RATES_HZ[fault] - n * sideband) for n in (-1, 0, 1)
    ) < 0.005 * RATES_HZ[fault]  # fmt: skip

    def line(hz: float) -> float:
        at = round(hz * seconds)
        return float(envelope[at - 12 : at + 13].max())

    floor = float(np.median(envelope[around]))
    assert line(RATES_HZ[fault]) > 10 * floor
    if sideband:  # the load turns about the fault
        assert line(RATES_HZ[fault] - sideband) > 5 * floor
        assert line(sideband) > 5 * floor
    else:
        assert line(SPEED_HZ) < 0.1 * line(RATES_HZ[fault])


def test_without_slip_and_noise_impacts_are_where_they_must_be() -> None:
    signal = {
        "kind": "bearing", "fault": "outer", "impacts_per_rev": 3.2, "speed_hz": 25, "slip": 0,
        "amplitude": 2, "damping": 0.1,
    }  # fmt: skip
    x = samples_of({"signal": signal}, 1.0).astype("f8")
    t = np.arange(x.size) / RATE
    expected = np.zeros(x.size)
    ringing, decay = 2 * np.pi * 3000 * math.sqrt(0.99), 2 * np.pi * 3000 * 0.1
    for k in range(-2, 81):
        since = np.maximum(t - k / 80, 0)
        expected += np.exp(-decay * since) * np.sin(ringing * since)
    fine = np.linspace(0, 1e-3, 100_001)
    expected *= 2 / (np.exp(-decay * fine) * np.sin(ringing * fine)).max()
    assert abs(x - expected).max() < 1e-4
    assert abs(x).max() == pytest.approx(2, rel=0.05)


def test_impacts_slip_by_the_given_part_and_do_not_drift() -> None:
    """Read back from the samples: the intervals between the beginnings of the rings."""
    signal = {
        "kind": "bearing", "fault": "outer", "impacts_per_rev": 4, "speed_hz": 10, "slip": 0.02,
        "damping": 0.3, "resonance_hz": 4000,
    }  # fmt: skip
    x = samples_of({"signal": signal}, 100.0)
    quiet = np.concatenate([[True], abs(x[:-1]) < 1e-3])
    begins = np.flatnonzero(quiet & (abs(x) >= 1e-3))
    begins = begins[np.diff(begins, prepend=-999) > 300]
    assert begins.size == pytest.approx(4000, abs=2)
    intervals = np.diff(begins) / RATE * 40
    assert intervals.std() == pytest.approx(0.02, rel=0.1)
    late = begins / RATE * 40 - np.round(begins[0] / RATE * 40) - np.arange(begins.size)
    assert 0.1 < abs(late).max() < 1.5  # slip adds up, within bounds


def test_an_inner_fault_is_felt_in_the_load_zone_alone() -> None:
    signal = {
        "kind": "bearing", "fault": "inner", "impacts_per_rev": 40.3, "speed_hz": 10, "slip": 0,
        "damping": 0.3, "resonance_hz": 8000, "load_zone": 0.25,
    }  # fmt: skip
    x = samples_of({"signal": signal}, 2.0).reshape(20, -1)
    turn = (x.astype("f8") ** 2).reshape(20, 40, -1).sum(axis=(0, 2))
    felt = np.flatnonzero(turn > 1e-3 * turn.max())
    # 1 - (1 - cos) / (2 x 0.25) > 0 within +-60 degrees: a third of a turn
    assert 11 <= felt.size <= 16


@pytest.mark.parametrize("kind", ["shaft", "bearing"])
def test_damage_grows_from_its_onset_and_no_further_than_its_limit(kind: str) -> None:
    degradation = {"onset_s": 4, "doubling_s": 2, "max_factor": 6}
    signal: dict[str, Any] = {"kind": "shaft", "speed_hz": 25}
    if kind == "bearing":
        signal = {"kind": "bearing", "fault": "outer", "impacts_per_rev": 4, "speed_hz": 25}
    x = samples_of({"signal": {**signal, "degradation": degradation}}, 14.0)
    rms = x.astype("f8").reshape(140, -1).std(axis=1)
    rms /= rms[:35].mean()
    middle_s = np.arange(140) * 0.1 + 0.05
    expected = np.clip(2 ** ((middle_s - 4) / 2), 1, 6)
    assert rms[1:] == pytest.approx(expected[1:], rel=0.03)


@pytest.mark.parametrize(
    ("fault", "during"),
    [
        ({"kind": "open"}, lambda x: np.full_like(x, 20)),
        ({"kind": "short"}, np.zeros_like),
        ({"kind": "clipping", "gain": 50}, lambda x: np.clip(x * 50, -20, 20)),
        ({"kind": "dc_shift", "shift": -4}, lambda x: x - 4),
        ({"kind": "dc_shift", "shift": 400}, lambda x: np.full_like(x, 20)),
    ],
)
def test_a_faulty_sensor_shows_its_fault_in_its_window_alone(fault: Any, during: Any) -> None:
    channel = {"unit": "m", "full_scale": 20, "signal": {"kind": "noise", "rms": 1}}
    good = samples_of(channel, 4.0)
    window = {"every_s": 2, "for_s": 0.513, "phase": 0.5}
    x = samples_of({**channel, "fault": {**fault, **window}}, 4.0)
    expected = good.copy()
    for begin_s in (1.0, 3.0):
        span = slice(round(begin_s * RATE), math.ceil((begin_s + 0.513) * RATE))
        expected[span] = during(good[span])
    assert np.array_equal(x, expected)
    if fault["kind"] == "clipping":
        assert (abs(x) == 20).sum() > 1000


def test_an_input_is_limited_to_its_full_scale() -> None:
    tones = [{"hz": 50, "amplitude": 12}]
    x = samples_of({"unit": "V", "signal": {"kind": "sines", "tones": tones}}, 0.1)
    assert (x.max(), x.min()) == (10, -10)
    wide = {"unit": "V", "full_scale": 24, "signal": {"kind": "sines", "tones": tones}}
    assert samples_of(wide, 0.1).max() == pytest.approx(12, rel=1e-3)


# -- recordings ---------------------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    random = np.random.default_rng(3)
    np.savez(
        tmp_path / "run.npz",
        DE=random.normal(size=7001).astype("f4"),
        FE=random.normal(size=9000),
        counts=random.integers(-3000, 3000, (50, 100, 2)).astype("i2"),
        rate_hz=25600.0,
    )
    np.save(tmp_path / "silent.npy", np.zeros(100))
    return tmp_path


def test_a_recording_is_played_sample_for_sample_and_again(folder: Path) -> None:
    channels: dict[str, dict[str, Any]] = {
        "a": {"replay": {"file": "run.npz", "channel": "DE"}},
        "b": {"replay": {"file": "run.npz", "channel": "FE", "scale": -2}},
        "c": {"replay": {"file": "run.npz", "channel": "counts[1]", "scale": 0.001}},
        "same": {"replay": {"file": "run.npz", "channel": "DE", "rate_hz": 25600}},
        "limited": {"full_scale": 0.5, "replay": {"file": "run.npz", "channel": "DE"}},
    }
    x = record(make_stream(channels, file=str(folder / "map.yaml")), 1.5)
    with np.load(folder / "run.npz") as raw:
        once = [raw["DE"], -2 * raw["FE"], raw["counts"][:, :, 1].ravel() * 0.001, raw["DE"]]
        once.append(np.clip(raw["DE"], -0.5, 0.5))
        for row, whole in zip(x, once, strict=True):
            assert np.array_equal(row, np.resize(whole, row.size).astype("f4"))


def test_channels_that_play_the_same_share_its_samples(folder: Path) -> None:
    replay = {"replay": {"file": "run.npz", "channel": "DE"}}
    driver = make_stream({f"x{i}": replay for i in range(20)}, file=str(folder / "map.yaml"))
    started(driver)
    first, *others = (source._data for source in driver._sources)  # type: ignore[union-attr]
    assert all(data is first for data in others)


def test_a_recording_that_does_not_loop_ends_the_stream(folder: Path) -> None:
    replay = {"replay": {"file": "run.npz", "channel": "DE", "loop": False}}
    driver = make_stream({"x": replay}, file=str(folder / "map.yaml"))
    started(driver)
    sizes = [driver.read_block().samples for _ in range(3)]
    assert sizes == [2560, 2560, 7001 - 5120]
    for call in (driver.read_block, driver.connect):
        with pytest.raises(DeviceUnavailable) as ended:
            call()
        assert ended.value.reason == "ended"
        driver.close()


@pytest.mark.parametrize(
    ("replay", "message"),
    [
        ({"file": "run.npz"}, "has several channels; name one of 'DE', 'FE'"),
        ({"file": "run.npz", "channel": "de"}, "no channel 'de'; did you mean 'DE'?"),
        ({"file": "silent.npy"}, "silent.npy does not say its rate; give replay.rate_hz"),
        (
            {"file": "silent.npy", "rate_hz": 12000},
            "silent.npy has 12000 Hz, but the stream has rate_hz: 25600",
        ),
        ({"file": "run.mat"}, "'.mat' is no recording that can be read"),
    ],
)
def test_a_recording_that_cannot_be_played_is_a_fault(
    folder: Path, replay: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError) as raised:
        make_stream({"x": {"replay": replay}}, file=str(folder / "map.yaml"))
    (fault,) = raised.value.faults
    assert message in fault.message
    assert fault.place.line == 7


def test_a_recording_that_went_is_a_device_that_is_away(folder: Path) -> None:
    driver = make_stream(
        {"x": {"replay": {"file": "run.npz", "channel": "DE"}}}, file=str(folder / "map.yaml")
    )
    (folder / "run.npz").unlink()
    with pytest.raises(DeviceUnavailable) as away:
        started(driver)
    assert away.value.reason == "no_recording"
    assert "run.npz" in away.value.detail


def test_a_run_to_failure_is_played_as_it_was_recorded() -> None:
    folder = os.environ.get("GATEWAY_TEST_DATA")
    if not folder:
        missing("recordings", "set GATEWAY_TEST_DATA to the folder that has bearings/")
    file = Path(str(folder)) / "bearings" / "femto_Bearing2_4_run.npz"
    channels: dict[str, dict[str, Any]] = {
        name: {
            "replay": {
                "file": str(file), "channel": f"acc_mg[{i}]", "rate_hz": 25600, "scale": 0.001,
                "loop": False,
            }
        }
        for i, name in enumerate(("horizontal", "vertical"))
    }  # fmt: skip
    driver = make_stream(channels)
    started(driver)
    with np.load(file) as raw:
        for snapshot in raw["acc_mg"]:
            block = driver.read_block()
            assert np.array_equal(block.data, (snapshot.T * 0.001).astype("f4"))
    with pytest.raises(DeviceUnavailable):
        driver.read_block()
