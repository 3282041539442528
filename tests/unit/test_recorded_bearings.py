"""Real recordings of bearings: published kurtosis, lines of defects, silence of sound machines.

The recordings lie in the folder ``bearings`` of ``GATEWAY_TEST_DATA``; its ``manifest.json`` says
what each is and where it comes from.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from gateway.features.bearings import Geometry
from gateway.features.engine import Engine
from gateway.features.moments import Moments
from gateway.features.spec import Spec, fast_length
from gateway.features.whole import windows
from gateway.model import Array
from tests.support import missing

RACES = {"inner": "bpfi", "outer": "bpfo"}
LINES = ("ftf", "bpfo", "bpfi", "bsf2", "bsf")


@dataclass
class Recording:
    channels: dict[str, Array]
    rate_hz: float
    rpm: float
    geometry: Geometry

    def rows(self, channel: str, window_s: float | None = 1.0) -> dict[str, Array]:
        """Feature -> its value in every window at a hop of 0.1 s; None: the whole record."""
        x = self.channels[channel]
        n, hop = fast_length(self.rate_hz, window_s or 1.0, 0.1)
        if window_s is None or n > len(x):
            n = hop = len(x) // 2 * 2
        spec = Spec(self.rate_hz, n, hop, "g", has_speed=True, bearing=self.geometry)
        engine = Engine(spec, 1)
        return dict(zip(engine.names, windows(x, engine, self.rpm / 60).T, strict=True))

    @property
    def multiples(self) -> dict[str, float]:
        return {k: m * self.rpm / 60 for k, m in self.geometry.multiples().items()}


def folder() -> Path:
    named = os.environ.get("GATEWAY_TEST_DATA")
    if not named:
        missing("the recordings", "set GATEWAY_TEST_DATA to the folder that has bearings/")
    return Path(str(named)) / "bearings"


@cache
def manifest() -> dict[str, dict[str, object]]:
    entries = json.loads((folder() / "manifest.json").read_text())
    return {entry["file"].removesuffix(".npz"): entry for entry in entries}


@cache
def recording(name: str) -> Recording:
    entry = manifest()[name]
    with np.load(folder() / f"{name}.npz") as file:
        arrays = {key: file[key] for key in file.files}
    channels = {k: v for k, v in arrays.items() if v.ndim == 1}
    if "acc" in arrays and arrays["acc"].ndim == 2:
        channels = {f"ch{i + 1}": arrays["acc"][:, i] for i in range(arrays["acc"].shape[1])}
    geometry = Geometry(
        int(str(entry["n_elem"])), *(float(str(entry[key])) for key in ("d", "D", "phi_deg"))
    )
    return Recording(channels, float(str(entry["fs"])), float(str(entry["rpm"])), geometry)


@pytest.mark.parametrize(
    ("name", "published"),
    # Smith and Randall 2015, MSSP 64-65:100-131, drive end
    [("cwru_106_inner_1hp", 5.54), ("cwru_131_outer6_1hp", 7.60),
     ("cwru_119_ball_1hp", 2.96), ("cwru_223_ball_1hp", 9.41)],
)  # fmt: skip
def test_kurtosis_is_the_published_one(name: str, published: float) -> None:
    found = recording(name).rows("DE", window_s=None)["kurtosis"]
    assert found == pytest.approx([published], rel=0.003)


RACE_FAULTS = [
    ("cwru_105_inner_0hp", "DE"),
    ("cwru_106_inner_1hp", "DE"),
    ("cwru_109_inner_0hp", "DE"),
    ("cwru_130_outer6_0hp", "DE"),
    ("cwru_131_outer6_1hp", "DE"),
    ("hitsm_mfs_IR5_1200", "acc"),
    ("hitsm_mfs_OR5_1200", "acc"),
]
ROUGH_SPEED = [("mfpt_InnerRaceFault_vload_7", "acc"), ("mfpt_OuterRaceFault_vload_4", "acc")]


def line_of(name: str) -> str:
    return RACES[str(manifest()[name]["fault"])[:5]]


@pytest.mark.parametrize(("name", "channel"), RACE_FAULTS)
def test_the_line_of_the_race_is_found_where_it_is_calculated(name: str, channel: str) -> None:
    ours, line = recording(name), line_of(name)
    rows = ours.rows(channel)
    assert np.median(rows[f"{line}_hz"]) == pytest.approx(ours.multiples[line], rel=0.005)


@pytest.mark.parametrize(("name", "channel"), ROUGH_SPEED)
def test_the_line_is_found_where_the_speed_is_only_nominal(name: str, channel: str) -> None:
    """1500 rpm is a label: the line of the whole record lies some 1 % below the calculated one."""
    ours, line = recording(name), line_of(name)
    found = np.median(ours.rows(channel)[f"{line}_hz"])
    assert found == pytest.approx(ours.rows(channel, None)[f"{line}_hz"][0], rel=0.005)
    assert found == pytest.approx(ours.multiples[line], rel=0.02)


@pytest.mark.parametrize(("name", "channel"), RACE_FAULTS + ROUGH_SPEED)
def test_every_window_of_a_race_fault_shows_it_and_no_other_race(name: str, channel: str) -> None:
    line = line_of(name)
    rows = recording(name).rows(channel)
    assert (rows[f"{line}_harmonics"] >= 2).all()
    assert (rows[f"{line}_ratio"] > 10).all()
    other = "bpfo" if line == "bpfi" else "bpfi"
    assert (rows[f"{other}_harmonics"] < 2).all()


@pytest.mark.parametrize(
    ("name", "channel"),
    [("cwru_97_healthy_0hp", "DE"), ("cwru_97_healthy_0hp", "FE"), ("hitsm_mfs_Normal_1200", "acc"),
     *((f"ims_test2_{part}", f"ch{i}") for part in ("first", "last_stopped") for i in range(1, 5))],
)  # fmt: skip
def test_sound_machines_have_no_line_with_two_harmonics(name: str, channel: str) -> None:
    rows = recording(name).rows(channel)
    for line in LINES:
        if line == "bsf":
            continue  # it has one harmonic only
        assert (rows[f"{line}_harmonics"] < 2).all(), line


def test_rate_of_the_ims_records_is_that_of_the_mains() -> None:
    """The stopped machine hums at 60 Hz: interpolation must say so to a part in a thousand."""
    ours = recording("ims_test2_last_stopped")
    spec = Spec(ours.rate_hz, 20_480, 20_480, "V", bands_hz=(("hum", 55.0, 65.0),))
    engine = Engine(spec, 1)
    x = ours.channels["ch1"]
    names = engine.names
    row = dict(zip(names, windows(x, engine)[0], strict=True))
    assert row["dominant_hz"] / 60 == pytest.approx(round(row["dominant_hz"] / 60), abs=0.02)


def test_a_bearing_run_to_failure_gets_louder() -> None:
    """PRONOSTIA 2_4: snapshots of 0.1 s, kept every 100 s and every 10 s at the end."""
    with np.load(folder() / "femto_Bearing2_4_run.npz") as file:
        snapshots, index = file["acc_mg"].astype(np.float32) / 1000, file["index"]
    with np.load(folder() / "femto_all17_trends.npz") as file:
        trend = {"rms": file["Bearing2_4_rms"][index], "kurtosis": file["Bearing2_4_kurt"][index]}
    spec = Spec(25_600, 2_560, 2_560, "g", has_speed=True, bearing=Geometry(13, 3.5, 25.6))
    engine, moments = Engine(spec, 2), Moments(spec, 2)
    rows = []
    for snapshot in snapshots:
        x = np.ascontiguousarray(snapshot.T)
        moments.reset()
        moments.push(x)
        rows.append(engine.compute(x, x[:, :0], moments, 1650 / 60))
    ours = {name: np.array(rows)[:, :, i] for i, name in enumerate(engine.names)}
    for feature, values in trend.items():  # found by other code, in float64
        assert ours[feature] == pytest.approx(values, rel=1e-5), feature
    for feature in ("rms", "velocity_rms", "envelope_rms"):
        start, end = ours[feature][:20], ours[feature][-10:]
        assert (np.median(end, axis=0) > 1.3 * np.median(start, axis=0)).all(), feature
    assert (ours["rms"].argmax(axis=0) >= len(index) - 10).all()
