"""Bearings: kinematic frequencies against published ones, and the library by name."""

from __future__ import annotations

import pytest

from gateway.features.bearings import LINES, Geometry, find_bearing, library, parse_geometry

# multiples of the shaft's speed that the data centre prints; its "rolling element" is two strikes
CASE_WESTERN = {
    "6205": {"bpfi": 5.4152, "bpfo": 3.5848, "ftf": 0.39828, "bsf2": 4.7135},
    "6203": {"bpfi": 4.9469, "bpfo": 3.0530, "ftf": 0.3817, "bsf2": 3.9874},
}


@pytest.mark.parametrize("name", CASE_WESTERN)
def test_published_multiples(name: str) -> None:
    multiples = find_bearing(name).geometry.multiples()
    for line, published in CASE_WESTERN[name].items():
        assert multiples[line] == pytest.approx(published, rel=2e-4), line


def test_published_frequencies_of_other_rigs() -> None:
    outer = find_bearing("ZA-2115").geometry.multiples()["bpfo"] * 2000 / 60
    assert outer == pytest.approx(236.4, abs=0.05)  # Qiu et al. 2006
    xjtu = find_bearing("UER204").geometry.multiples()
    assert xjtu["bpfo"] * 40 == pytest.approx(123.32, abs=0.02)
    assert xjtu["bpfi"] * 40 == pytest.approx(196.68, abs=0.02)


@pytest.mark.parametrize("bearing", library().values(), ids=library())
def test_lines_hang_together(bearing: object) -> None:
    geometry = bearing.geometry  # type: ignore[attr-defined]
    m = geometry.multiples()
    assert tuple(m) == LINES
    # whatever the geometry: races see all elements, the cage carries them past the outer one
    assert m["bpfo"] + m["bpfi"] == pytest.approx(geometry.elements)
    assert m["bpfo"] == pytest.approx(geometry.elements * m["ftf"])
    assert m["bsf2"] == 2 * m["bsf"]
    assert m["ftf"] < 0.5 < m["bpfo"] < m["bpfi"]
    assert bearing.source  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("written", "name"),
    [
        ("6205", "6205"),
        (6205, "6205"),
        ("SKF 6205-2RS JEM", "6205"),
        ("6205 ZZ C3", "6205"),
        ("6205-2Z/C3", "6205"),
        ("NSK 6203DDU", "6203"),
        ("rexnord za2115", "ZA-2115"),
        ("LDK UER 204", "UER204"),
        ("608zz", "608"),
    ],
)
def test_designations_with_makers_and_suffixes(written: str | int, name: str) -> None:
    assert find_bearing(written).name == name


@pytest.mark.parametrize("written", ["16205", "62055", "6305", "7205", "6080", "nonsense", ""])
def test_another_bearing_is_not_taken_for_one_of_the_library(written: str) -> None:
    with pytest.raises(ValueError, match="no bearing") as caught:
        find_bearing(written)
    assert "give its geometry: elements, ball diameter in mm" in str(caught.value)


def test_the_nearest_names_are_named() -> None:
    with pytest.raises(ValueError, match=r"nearest: 6205"):
        find_bearing("6305")
    with pytest.raises(ValueError, match=r"known: 6205, 6203"):
        find_bearing("nonsense")


def test_geometry_as_text() -> None:
    assert parse_geometry("9,7.94,39.04,0") == Geometry(9, 7.94, 39.04)
    assert parse_geometry(" 16, 8.4, 71.5, 15.17 ") == Geometry(16, 8.4, 71.5, 15.17)
    assert parse_geometry("9,7.94,39.04").angle_deg == 0.0


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("9;7.94;39.04", "has 1 numbers; expected elements"),
        ("9,7.94", "has 2 numbers"),
        ("9.5,7.94,39.04", "'9.5' is no number of elements"),
        ("9,seven,39.04", "not made of numbers"),
        ("9,39.04,7.94", "expected 0 < ball < pitch"),
        ("2,7.94,39.04", "at least 3"),
        ("9,7.94,39.04,90", "contact angle 90"),
        ("20,7.94,39.04", "do not fit"),
        ("9,nan,39.04", "expected 0 < ball < pitch"),
    ],
)
def test_mistakes_in_a_geometry_are_answered_in_words(text: str, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        parse_geometry(text)


def test_contact_angle_brings_the_races_together() -> None:
    flat, steep = Geometry(12, 10, 60).multiples(), Geometry(12, 10, 60, 40).multiples()
    assert flat["bpfo"] < steep["bpfo"] < 6 < steep["bpfi"] < flat["bpfi"]
