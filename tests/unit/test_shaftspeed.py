"""What can be the speed of a shaft."""

from __future__ import annotations

import pytest

from gateway.analysis.livetags import LiveTag
from gateway.config.shaftspeed import check_tag, check_text
from gateway.model import Column, Kind, Table


def tag(kind: Kind, unit: str | None) -> LiveTag:
    return LiveTag("plc.drive.n", Table("drive", "plc", [Column("n", kind, unit)], []), 0)


@pytest.mark.parametrize("unit", [None, "rpm", "1/min", "min-1", "U/min"])
def test_a_number_in_rpm_or_without_unit_is_a_speed(unit: str | None) -> None:
    check_tag(tag("f4", unit), 1.0)


@pytest.mark.parametrize("unit", ["Hz", "1/s", "rad/s"])
def test_another_unit_needs_a_ratio_that_makes_rpm_of_it(unit: str) -> None:
    with pytest.raises(ValueError, match="expected rpm, or a speed_ratio"):
        check_tag(tag("f8", unit), 1.0)
    check_tag(tag("f8", unit), 60.0)


def test_a_bit_or_a_text_is_no_speed() -> None:
    for kind, said in (("b1", "is a bit"), ("str", "is a text")):
        with pytest.raises(ValueError, match=said):
            check_tag(tag(kind, "rpm"), 60.0)  # type: ignore[arg-type]


@pytest.mark.parametrize(("text", "number"), [("1480", "1480"), ("1480 rpm", "1480"),
                                              ("1479,5 U/min", "1479.5")])  # fmt: skip
def test_a_number_in_quotes_is_told_to_be_one(text: str, number: str) -> None:
    with pytest.raises(ValueError, match=f"write {number}$"):
        check_text(text)
    check_text("plc.drive.n")
