"""From blocks to rows: windows, gaps, sensor faults, live speed, states, averages, provenance."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from gateway.model import ALL
from tests.unit.streamkit import BLOCK, RATE_HZ, START_NS, Rig, sine

TWO = """
driver: mock
stream:
  rate_hz: 2560
  channels:
    a: {unit: g, full_scale: 10}
    b: {unit: g, full_scale: 10, analysis: {bands_hz: {low: [20, 100]}}}
"""


FIRST_S = 1.1
"""From the start to the first row: a window, and the hop in which the envelope settles."""


def both(a: np.ndarray, b: np.ndarray | None = None) -> np.ndarray:
    return np.stack([a, a if b is None else b])


def test_a_row_a_second_from_the_first_full_window_on(tmp_path: Path) -> None:
    rig = Rig(tmp_path, TWO)
    rig.feed(both(sine(1, 80, 2)))
    assert rig.table("a") == []
    rig.feed(both(sine(3.2, 80, 2, 1)))
    rows = rig.table("a")
    last_sample_ns = round((FIRST_S * RATE_HZ - 1) * 1e9 / RATE_HZ)
    assert [round((r["time_ns"] - START_NS - last_sample_ns) / 1e8) for r in rows] == [
        0,
        10,
        20,
        30,
    ]
    for row in rows:
        assert row["marks"] == {}
        assert row["rms"] == pytest.approx(math.sqrt(2), rel=1e-5)
        assert row["kurtosis"] == pytest.approx(1.5, rel=1e-5)
        assert row["velocity_rms"] == pytest.approx(
            2e3 * 9.80665 / (2 * math.pi * 80 * math.sqrt(2)), rel=1e-3
        )
    assert rig.table("b")[0]["band_low"] == pytest.approx(math.sqrt(2), rel=1e-3)
    assert "band_low" not in rows[0]


def test_blocks_of_any_size_and_order_give_the_same_rows(tmp_path: Path) -> None:
    random = np.random.default_rng(1)
    data = random.standard_normal((2, round(2.5 * RATE_HZ)))
    plain = Rig(tmp_path, TWO)
    plain.feed(data)
    odd = Rig(tmp_path, TWO)
    at = 0
    for size in [1, 255, 300, 17, 700, 256, 64, 900, 3907]:
        odd.feed(data[:, at : at + size])
        at += size
    assert at == data.shape[1]
    assert len(plain.table("b")) == 2
    for channel in ("a", "b"):
        for one, other in zip(plain.table(channel), odd.table(channel), strict=True):
            assert {k: v for k, v in one.items() if k != "time_ns"} == {
                k: v for k, v in other.items() if k != "time_ns"
            }
            assert abs(one["time_ns"] - other["time_ns"]) < 1000


def test_a_gap_is_told_and_no_window_reaches_over_it(tmp_path: Path) -> None:
    rig = Rig(tmp_path, TWO)
    rig.feed(both(sine(1.5, 80, 1)))
    before = len(rig.table("a"))
    rig.feed(both(sine(1.05, 80, 3)), gap="overrun")
    (told, *rest) = rig.table("a")[before:]
    assert rest == [], "the window is not full again"
    assert set(told["marks"].values()) == {"BAD:overrun"}
    assert told["rms"] is None
    rig.feed(both(sine(0.1, 80, 3, 1.05)))
    assert rig.table("a")[-1]["rms"] == pytest.approx(3 / math.sqrt(2), rel=1e-5), (
        "of after the gap"
    )


def test_a_clipped_window_has_no_peak_and_its_other_values_are_uncertain(tmp_path: Path) -> None:
    rig = Rig(tmp_path, TWO)
    rig.feed(both(np.clip(sine(FIRST_S, 80, 12), -10, 10), sine(FIRST_S, 80, 2)))
    (row,) = rig.table("a")
    assert row["peak"] is None
    assert row["kurtosis"] is None
    assert row["marks"]["kurtosis"] == "BAD:clipped"
    assert row["marks"]["rms"] == "UNCERTAIN:clipped"
    assert row["rms"] > 7
    assert rig.table("b")[0]["marks"] == {}, "the other channel is judged by itself"


@pytest.mark.parametrize(
    ("signal", "reason"),
    [
        (np.full(2816, 10.0), "BAD:sensor_open"),
        (np.zeros(2816), "BAD:sensor_short"),
        (np.where(np.arange(2816) == 299, np.nan, sine(FIRST_S, 80, 1)), "BAD:not_finite"),
    ],
)
def test_a_sensor_that_is_not_there_is_never_a_number(
    tmp_path: Path, signal: np.ndarray, reason: str
) -> None:
    rig = Rig(tmp_path, TWO)
    rig.feed(both(signal, sine(FIRST_S, 80, 2)))
    (row,) = rig.table("a")
    assert set(row["marks"].values()) == {reason}
    assert all(v is None for k, v in row.items() if k not in ("time_ns", "marks"))
    assert rig.table("b")[0]["marks"] == {}
    rig.feed(both(sine(2, 80, 2)))
    # what was clipped on the way to the rail still counts in the average over 10 s
    marked = rig.table("a")[-1]["marks"].keys()
    assert marked <= {"velocity_rms_avg"}, "it recovers with the next good window"
    assert rig.table("a")[-1]["velocity_rms_avg"] is not None


def test_a_bias_that_jumps_makes_the_window_uncertain(tmp_path: Path) -> None:
    rig = Rig(tmp_path, TWO)
    step = np.where(np.arange(2816) < 1200, 0.0, 3.0)
    rig.feed(both(sine(FIRST_S, 80, 0.1) + step, sine(FIRST_S, 80, 2)))
    assert rig.table("a")[0]["marks"]["velocity_rms"] == "UNCERTAIN:dc_shift"
    assert rig.table("b")[0]["marks"] == {}


WITH_SPEED = """
driver: mock
stream:
  rate_hz: 2560
  channels: {a: {unit: g}}
  analysis: {speed: plc.process.speed_rpm, speed_ratio: 2, bearing: 6205, speed_max_age_s: 2}
"""


def test_orders_and_lines_follow_a_live_speed_and_have_no_value_without_one(
    tmp_path: Path,
) -> None:
    rig = Rig(tmp_path, WITH_SPEED)
    shaft_hz = 24.0
    wave = sine(1, 2 * shaft_hz, 0.5)[None]
    rig.feed(sine(FIRST_S, 2 * shaft_hz, 0.5)[None])
    assert rig.table("a")[0]["marks"]["order_1"] == "BAD:speed_no_data"
    assert rig.table("a")[0]["rms"] is not None
    rig.tell_plc(60 * shaft_hz)
    rig.feed(wave)
    row = rig.table("a")[1]
    assert row["speed_hz"] == pytest.approx(2 * shaft_hz)
    assert row["order_1"] == pytest.approx(0.5, rel=1e-3)
    rig.feed(np.tile(wave, 3))
    assert rig.table("a")[-1]["marks"]["bpfo_ratio"] == "BAD:speed_stale"
    rig.tell_plc(0.0)
    rig.feed(wave)
    assert rig.table("a")[-1]["marks"]["order_1"] == "BAD:speed_zero"


WITH_STATES = """
driver: mock
stream:
  rate_hz: 2560
  channels: {a: {unit: g}}
  analysis:
    inputs: {run: plc.process.running, rpm: plc.process.speed_rpm}
    states: {nominal: run and 1450 < rpm < 1550, slow: run}
    publish_in: [nominal, slow]
    averages: {rms: {mode: linear, over_s: 10}}
"""


def test_features_carry_the_state_and_are_not_told_where_the_machine_stands(
    tmp_path: Path,
) -> None:
    rig = Rig(tmp_path, WITH_STATES)
    rig.feed(sine(FIRST_S, 80, 1)[None])
    assert [r["state"] for r in rig.table("a")] == ["unknown"], "nobody knows, so it is told"
    rig.tell_plc(1500)
    rig.feed(sine(1, 80, 1)[None])
    rig.tell_plc(800)
    rig.feed(sine(1, 80, 3)[None])
    rows = rig.table("a")
    assert [r["state"] for r in rows] == ["unknown", "nominal", "slow"]
    assert rows[-1]["rms_avg"] > rows[1]["rms_avg"]
    channel = rig.plan.tables[0]
    assert rig.hub.latest.get(channel) is not None
    rig.tell_plc(0, running=False)
    rig.feed(sine(3, 80, 1)[None])
    assert len(rig.table("a")) == 3
    assert rig.hub.latest.get(channel) is None, "the latest values of a moment ago are not shown"
    rig.tell_plc(1500)
    rig.feed(sine(1, 80, 1)[None])
    assert rig.table("a")[-1]["state"] == "nominal"
    # averages do not mix states: only the hops since the machine runs again
    assert rig.table("a")[-1]["rms_avg"] == pytest.approx(1 / math.sqrt(2), rel=1e-3)


def test_the_newest_hop_is_shown_without_being_stored(tmp_path: Path) -> None:
    rig = Rig(tmp_path, TWO)
    rig.feed(both(sine(FIRST_S, 80, 1)))
    rig.feed(both(sine(0.5, 80, 2, FIRST_S)))
    stored = rig.table("a")[-1]["time_ns"]
    shown = rig.hub.latest.get(rig.plan.tables[0])
    assert shown is not None
    assert shown.time_ns - stored == pytest.approx(5e8, abs=10)
    assert len(rig.table("a")) == 1


def test_the_set_up_is_told_with_a_hash_that_changes_with_it(tmp_path: Path) -> None:
    rig = Rig(tmp_path, TWO)
    rig.feed(both(sine(FIRST_S, 80, 1)))
    (told,) = rig.table("a", "vibration_setup")
    assert told["setup"] == rig.table("a")[0]["setup"]
    content = json.loads(told["config"])
    assert (content["rate_hz"], content["velocity_band_hz"]) == (2560, [10, 1000])
    assert (told["rate_hz"], told["window_s"], told["hop_s"]) == (2560, 1, 0.1)
    assert rig.table("b")[0]["setup"] != told["setup"], "another band, another set-up"
    again = Rig(tmp_path, TWO.replace("full_scale: 10}", "full_scale: 11}"))
    again.feed(both(sine(FIRST_S, 80, 1)))
    assert again.table("a")[0]["setup"] != told["setup"]


def test_zones_are_those_of_the_averaged_velocity(tmp_path: Path) -> None:
    text = """
driver: mock
stream:
  rate_hz: 2560
  channels: {a: {unit: g}, b: {unit: g}}
  analysis: {zones: {boundaries_mm_s: [1, 2, 4], provenance: made up for a test}}
"""
    rig = Rig(tmp_path, text)
    amplitude = 2 * math.pi * 80 * math.sqrt(2) / 9.80665e3  # 1 mm/s RMS
    rig.feed(both(sine(FIRST_S, 80, 0.9 * amplitude), sine(FIRST_S, 80, 3 * amplitude)))
    assert [rig.table(c)[0]["zone"] for c in "ab"] == ["A", "C"]


def test_a_rate_that_the_card_coerced_is_used_and_told(tmp_path: Path) -> None:
    rig = Rig(tmp_path, TWO)
    rate_hz = 2565.5
    t = np.arange(round(2.2 * rate_hz)) / rate_hz
    rig.feed(both(np.sin(2 * np.pi * 80.0 * t)), rate_hz=rate_hz)
    row = rig.table("a")[-1]
    assert row["dominant_hz"] == pytest.approx(80.0, abs=0.01)
    assert rig.table("a", "vibration_setup")[0]["rate_hz"] == rate_hz


def test_waveform_and_spectrum_are_of_the_newest_window(tmp_path: Path) -> None:
    from gateway.analysis import looks

    rig = Rig(tmp_path, TWO)
    data = both(sine(2.35, 80, 1), sine(2.35, 160, 2))
    rig.feed(data)
    found = looks.waveform(rig.analysis, 1)
    assert found.samples.tolist() == data[1, -2560:].astype(np.float32).tolist()
    assert found.time_ns == START_NS + round((data.shape[1] - 1) * 1e9 / RATE_HZ)
    assert len(looks.waveform(rig.analysis, 1, 2.0).samples) == 5120
    spectra = looks.spectra(rig.analysis, 1)
    assert spectra.line_hz == 1.0
    assert int(np.argmax(spectra.amplitude)) == 160
    assert spectra.amplitude[160] == pytest.approx(2.0, rel=1e-3)
    assert spectra.features["rms"] == pytest.approx(math.sqrt(2), rel=1e-3)


def test_a_capture_holds_the_samples_and_what_they_depend_on(tmp_path: Path) -> None:
    from gateway.analysis import looks

    rig = Rig(tmp_path, TWO)
    data = both(sine(1.5, 80, 1))
    rig.feed(data)
    path = tmp_path / "c.npz"
    path.write_bytes(looks.capture(looks.waveform(rig.analysis, 0)))
    with np.load(path) as file:
        assert np.array_equal(file["a"], data[0, -2560:].astype(np.float32))
        assert float(file["rate_hz"]) == RATE_HZ
        meta = json.loads(str(file["meta"]))
    assert meta["time_ns"] - meta["first_ns"] == round(2559 * 1e9 / RATE_HZ)
    assert meta["setup"]["full_scale"] == 10


def test_a_mark_of_the_whole_row_keeps_its_values(tmp_path: Path) -> None:
    rig = Rig(tmp_path, TWO)
    rig.feed(both(np.clip(sine(FIRST_S, 80, 12), -10, 10)))
    row = next(r for r in rig.rows if r.table.name == "vibration")
    assert row.marks is not None
    assert ALL in row.marks
    assert not row.all_bad
    assert BLOCK * 10 == 2560


def test_the_daemon_loads_of_scipy_only_the_fft_and_without_a_stream_not_even_that() -> None:
    code = (
        "import sys, {module}\n"
        "heavy = ('scipy.signal', 'scipy.stats', 'scipy.fft', 'nidaqmx', 'matplotlib', 'nptdms')\n"
        "print(*(name for name in heavy if name in sys.modules))"
    )
    for module, loaded in (("gateway.daemon", ""), ("gateway.analysis.looks", "scipy.fft")):
        done = subprocess.run(
            [sys.executable, "-c", code.format(module=module)],
            capture_output=True, text=True, check=True, timeout=60,
        )  # fmt: skip
        assert done.stdout.strip() == loaded


def test_after_a_gap_no_row_holds_what_was_not_measured(tmp_path: Path) -> None:
    """The envelope lies behind the stream: its first window begins before the gap's end."""
    text = WITH_SPEED.replace("plc.process.speed_rpm, speed_ratio: 2", "1500")
    text = text.replace("speed_max_age_s: 2", "window_s: 0.3, publish_every_s: 0.1")
    data = np.random.default_rng(4).standard_normal((1, 12 * BLOCK))
    going, cut = Rig(tmp_path, text), Rig(tmp_path, text)
    going.feed(data)
    cut.feed(data[:, : 5 * BLOCK])
    cut.feed(data[:, 5 * BLOCK :], gap="overrun")
    expected = {row["time_ns"]: row for row in going.table("a")}
    told = [row["marks"].get("rms") for row in cut.table("a")]
    after = cut.table("a")[told.index("BAD:overrun") + 1 :]
    assert len(after) == 4
    for row in after:
        for name in ("envelope_rms", "bpfo_amplitude", "bpfo_ratio", "bpfi_ratio"):
            assert row[name] == pytest.approx(expected[row["time_ns"]][name], rel=1e-3), name


def test_a_look_at_the_envelope_shows_what_the_row_was_made_of(tmp_path: Path) -> None:
    from gateway.analysis import looks

    text = WITH_SPEED.replace("plc.process.speed_rpm, speed_ratio: 2", "1500")
    text = text.replace("speed_max_age_s: 2", "window_s: 0.3, publish_every_s: 0.1")
    rig = Rig(tmp_path, text)
    rig.feed(np.random.default_rng(5).standard_normal((1, 12 * BLOCK)))
    seen, row = looks.spectra(rig.analysis, 0), rig.table("a")[-1]
    assert len(seen.waveform.samples) == 3 * BLOCK
    assert seen.waveform.time_ns == row["time_ns"]
    for name in ("rms", "envelope_rms", "bpfo_amplitude", "bpfo_ratio", "bpfi_ratio"):
        assert seen.features[name] == pytest.approx(row[name], rel=1e-3), name
