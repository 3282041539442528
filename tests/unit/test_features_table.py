"""The table of features, the spec's faults, lengths, zones, and recordings in windows."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.features.bearings import Geometry
from gateway.features.engine import Engine
from gateway.features.spec import Spec, fast_length
from gateway.features.table import FEATURES, features_of, markdown
from gateway.features.whole import windows
from gateway.features.zones import boundaries, find_zones, tables, zones
from tests.unit.featurekit import analyse

BEARING = Geometry(9, 7.94, 39.04)


def names(**more: object) -> list[str]:
    return [f.name for f in features_of(Spec(25_600, 25_600, 2_560, "g", **more))]  # type: ignore[arg-type]


def test_columns_follow_what_the_spec_has() -> None:
    plain = names()
    assert plain[:10] == [
        "mean", "rms", "peak", "peak_to_peak", "crest", "kurtosis", "skewness", "shape", "impulse",
        "clearance",
    ]  # fmt: skip
    assert {"velocity_rms", "displacement_rms", "envelope_rms", "envelope_peak"} < set(plain)
    assert not any("order" in name or "bpfo" in name for name in plain)
    assert not any("order" in name or "bpfo" in name for name in names(bearing=BEARING))
    speedy = names(has_speed=True)
    assert {"speed_hz", "order_1", "order_2", "order_3"} == set(speedy) - set(plain)
    full = names(has_speed=True, bearing=BEARING, bands_hz=(("gear", 400.0, 600.0),))
    assert "band_gear" in full
    for line in ("ftf", "bpfo", "bpfi", "bsf2"):
        ours = [n.removeprefix(f"{line}_") for n in full if n.startswith(f"{line}_")]
        assert ours == [
            "hz", "amplitude", "ratio", "2x_amplitude", "2x_ratio", "3x_amplitude", "3x_ratio",
            "harmonics",
        ]  # fmt: skip
    assert [n for n in full if n.startswith("bsf_")] == [
        "bsf_hz", "bsf_amplitude", "bsf_ratio", "bsf_harmonics",
    ]  # fmt: skip
    assert len(set(full)) == len(full)


def test_units_are_the_channels_own() -> None:
    units = {f.name: f.unit for f in features_of(Spec(25_600, 25_600, 2_560, "mPa"))}
    assert units["rms"] == "mPa"
    assert units["kurtosis"] == ""
    assert "velocity_rms" not in units
    spec = Spec(25_600, 25_600, 2_560, "g", has_speed=True, bearing=BEARING)
    units = {f.name: f.unit for f in features_of(spec)}
    assert units["bpfo_amplitude"] == "g^2"
    assert units["velocity_rms"] == "mm/s"


def test_the_engine_has_the_columns_of_the_table() -> None:
    spec = Spec(
        25_600, 25_600, 25_600, "g", has_speed=True, bearing=BEARING, harmonics=5,
        bands_hz=(("a", 10.0, 20.0), ("b", 20.0, 40.0)),
    )  # fmt: skip
    engine = Engine(spec, 1)
    assert engine.names == tuple(f.name for f in features_of(spec))
    x = np.random.default_rng(1).standard_normal(25_600).astype(np.float32)
    row = dict(zip(engine.names, windows(x, engine, 25.0)[0], strict=True))
    assert not [name for name, value in row.items() if math.isnan(value)]
    assert row["bpfo_5x_ratio"] > 0


def test_every_feature_has_its_source_and_is_in_the_documentation() -> None:
    text = markdown()
    for feature in FEATURES:
        assert feature.what, feature.name
        assert feature.source, feature.name
        assert feature.average in ("power", "linear")
        name = feature.name.format(band="NAME", line="LINE", h="N")
        assert f"| `{name}` |" in text
    columns = {line.count("|") for line in text.splitlines() if line.startswith("|")}
    assert columns == {7}  # no cell ends too early
    assert not any("gE" in feature.name or " gE" in feature.what for feature in FEATURES)


def test_amplitudes_average_as_power() -> None:
    powers = {f.name for f in FEATURES if f.average == "power"}
    assert {"rms", "velocity_rms", "band_{band}", "envelope_rms", "order_{h}"} < powers
    assert not powers & {"mean", "kurtosis", "crest", "{line}_hz", "{line}_harmonics", "peak"}


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"rate_hz": 0.0}, "rate_hz 0; expected more than 0"),
        ({"rate_hz": math.nan}, "rate_hz nan"),
        ({"samples": 25_601, "hop": 25_601}, "a window of 25601 samples; expected an even"),
        ({"samples": 10, "hop": 10}, "expected an even number from 64"),
        ({"hop": 3000}, "a hop of 3000 samples; expected a divisor"),
        ({"hop": 0}, "a hop of 0"),
        ({"velocity_band_hz": (1000.0, 10.0)}, "expected 0 < lower < upper"),
        ({"rate_hz": 1000.0}, "velocity_band_hz 10 to 1000 Hz; expected at most half the rate"),
        ({"bands_hz": (("gear", 4000.0, 20_000.0),)}, "band gear .* half the rate, 12800 Hz"),
        ({"bands_hz": (("gear", 100.2, 100.4),)}, "band gear .* too narrow"),
        ({"envelope_band_hz": (2000.0, 2010.0)}, "envelope_band_hz .* a longer window"),
        ({"slip": 0.5}, "slip 0.5"),
        ({"harmonics": 0}, "harmonics 0; expected 1 to 10"),
        ({"threshold": 0.5}, "threshold 0.5"),
    ],
)
def test_what_can_not_be_computed_is_said_in_words(changes: dict[str, object], words: str) -> None:
    given_ = {"rate_hz": 25_600.0, "samples": 25_600, "hop": 2_560, "unit": "g"} | changes
    with pytest.raises(ValueError, match=words):
        Spec(**given_)  # type: ignore[arg-type]


def test_equal_specs_share_an_engine() -> None:
    one = Spec(25_600, 25_600, 2_560, "g", bearing=BEARING)
    other = Spec(25_600, 25_600, 2_560, "g", bearing=Geometry(9, 7.94, 39.04))
    assert {one: 1}[other] == 1
    assert one != Spec(25_600, 25_600, 2_560, "g")


@pytest.mark.parametrize(
    ("rate", "window_s", "hop_s", "expected"),
    [
        (25_600, 1.0, 0.1, (25_600, 2_560)),
        (51_200, 1.0, 0.1, (51_200, 5_120)),
        (12_000, 1.0, 0.1, (12_000, 1_200)),
        (48_828, 1.0, 0.1, (48_600, 4_860)),
        (10_240, 0.1, 0.1, (1_024, 1_024)),
        (25_600, 0.05, 0.1, (1_280, 1_280)),  # a hop is no longer than the window
        (25_600, 1.1, 0.1, (30_720, 2_560)),  # 11 hops are no fast length: 10 or 12
    ],
)
def test_lengths_of_common_settings(
    rate: float, window_s: float, hop_s: float, expected: tuple[int, int]
) -> None:
    assert fast_length(rate, window_s, hop_s) == expected


@given(
    rate=st.floats(100, 204_800), window_s=st.floats(0.1, 10), hop_s=st.floats(0.05, 2)
)  # fmt: skip
def test_lengths_are_fast_even_and_near(rate: float, window_s: float, hop_s: float) -> None:
    n, h = fast_length(rate, window_s, hop_s)
    assert n % h == 0
    assert n % 2 == 0
    rest = n
    for factor in (2, 3, 5):
        while rest % factor == 0:
            rest //= factor
    assert rest == 1
    wanted = min(hop_s, window_s) * rate
    assert h == pytest.approx(wanted, rel=0.15, abs=2)


@pytest.mark.parametrize("wrong", [(0, 1, 1), (1, 0, 1), (1, 1, -1)])
def test_lengths_of_nothing(wrong: tuple[float, float, float]) -> None:
    with pytest.raises(ValueError, match="expected more than 0"):
        fast_length(*wrong)


def test_zones() -> None:
    limits = find_zones("iso_20816_3_group_1_rigid").boundaries
    assert limits == (2.3, 4.5, 7.1)
    velocities = np.array([0.0, 2.3, 2.30001, 4.5, 7.1, 7.2, math.nan])
    assert zones(velocities, limits) == [*"AABBCD", ""]
    assert zones(np.array([1.0, math.nan, 5.0, math.inf]), limits) == ["A", "", "C", "D"]


def test_zone_tables_say_where_they_come_from() -> None:
    assert set(tables()) == {
        *(f"iso_20816_3_group_{g}_{s}" for g in (1, 2) for s in ("rigid", "flexible")),
        *(f"iso_10816_1_class_{c}" for c in (1, 2, 3, 4)),
    }
    for name, table in tables().items():
        assert "not in the standard" in table.provenance, name
        assert table.what, name
        assert boundaries(table.boundaries) == table.boundaries
    assert "2022" in find_zones("iso_20816_3_group_2_flexible").provenance


def test_mistakes_in_zones_are_answered_in_words() -> None:
    with pytest.raises(ValueError, match="did you mean iso_20816_3_group_1_rigid"):
        find_zones("ISO-20816-3-group-1-rigit")
    with pytest.raises(ValueError, match="known: iso_20816_3_group_1_rigid"):
        find_zones("x")
    for wrong in ([1.0, 2.0], [3.0, 2.0, 1.0], [0.0, 1.0, 2.0], [1.0, 2.0, math.nan]):
        with pytest.raises(ValueError, match="three rising velocities"):
            boundaries(wrong)


def test_a_recording_becomes_windows_at_the_hop() -> None:
    x = np.random.default_rng(2).standard_normal(51_200 + 700).astype(np.float32)
    spec = Spec(25_600, 25_600, 2_560, "g")
    rows = analyse(x, spec)
    assert len(rows) == 11  # the 700 samples at the end make no hop
    assert rows[10]["rms"] == pytest.approx(x[25_600:51_200].std(), rel=1e-6)
    assert rows[0]["peak"] == pytest.approx(np.abs(x[:25_600] - x[:25_600].mean()).max())
    assert len(analyse(x, Spec(25_600, 25_600, 25_600, "g"))) == 2
    assert len(analyse(x, Spec(25_600, 51_900, 51_900, "g"))) == 1


def test_a_recording_of_integers() -> None:
    counts = (1000 * np.random.default_rng(2).standard_normal(25_600)).astype(np.int16)
    found = analyse(counts, Spec(25_600, 25_600, 25_600, "mg"))[0]
    assert found["rms"] == pytest.approx(counts.astype(float).std(), rel=1e-6)


def test_a_recording_that_is_too_short_is_said_in_words() -> None:
    spec = Spec(25_600, 25_600, 2_560, "g")
    with pytest.raises(ValueError, match=r"25599 samples are less than one window of 25600 \(1 s"):
        analyse(np.zeros(25_599, np.float32), spec)
    with pytest.raises(ValueError, match="expected one channel"):
        analyse(np.zeros((2, 25_600), np.float32), spec)
