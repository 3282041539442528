"""Register lists: what they mean is taken only where they say it."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.importers import registernumbers as numbers
from gateway.importers.registertypes import Length, map_type
from tests.unit.importkit import device, imported, refusals, tags


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("100", (100, None, None, None)),
        ("0x1F4", (500, None, None, None)),
        ("16#1f4", (500, None, None, None)),
        ("1F4h", (500, None, None, None)),
        ("40101", (40101, None, None, ("holding", 101))),
        ("400101", (400101, None, None, ("holding", 101))),
        ("0x00017", (23, None, None, None)),
        ("0:0017", (17, None, None, ("coil", 17))),
        ("4x0101", (40101, None, None, ("holding", 101))),
        ("00017", (17, None, None, ("coil", 17))),
        ("40001.12", (40001, 12, None, ("holding", 1))),
        ("40001-40002", (40001, None, 2, ("holding", 1))),
        ("3000..3003", (3000, None, 4, None)),
        ("40001-02", (40001, None, 2, ("holding", 1))),
    ],
)
def test_addresses(text: str, expected: tuple[object, ...]) -> None:
    assert numbers.address(text) == expected


@pytest.mark.parametrize(
    "text", ["", "-5", "x", "1e3", "40001.16", "5-3", "1234567", "0x12345", "0xFFFFF"]
)
def test_no_addresses(text: str) -> None:
    with pytest.raises(ValueError, match=r"^'"):
        numbers.address(text)


@pytest.mark.parametrize(
    ("text", "divides", "value"),
    [
        ("0.1", False, 0.1), ("0,1", False, 0.1), ("x10", False, 10.0), ("*0,01", False, 0.01),
        ("/10", False, 0.1), ("÷ 100", False, 0.01), ("1/1000", False, 0.001),
        ("10^-2", False, 0.01),
        ("x 10^3", False, 1000.0), ("1e-3", False, 0.001), ("10", True, 0.1),
        ("1.000,5", False, 1000.5), ("1,000.5", False, 1000.5), ("0,001", False, 0.001),
    ],
)  # fmt: skip
def test_factors(text: str, divides: bool, value: float) -> None:
    assert numbers.factor(text, divides=divides) == value


@pytest.mark.parametrize("text", ["0", "-2", "x", "0.1 kWh", "1,000", "/0", "1/0", "1e999", "."])
def test_no_factors(text: str) -> None:
    with pytest.raises(ValueError, match=r"^'"):
        numbers.factor(text)


@pytest.mark.parametrize(
    ("text", "table"),
    [
        ("3", "holding"), ("03", "holding"), ("FC3", "holding"), ("0x03", "holding"),
        ("03/06/16", "holding"), ("16", "holding"), ("4", "input"), ("FC 04", "input"),
        ("1", "coil"),
        ("2", "discrete"), ("5", "coil"), ("Holding Register", "holding"),
        ("Halteregister", "holding"), ("digital output", "coil"),
        ("Input register", "input"), ("Eingangsregister", "input"), ("Discrete Input", "discrete"),
        ("Coil", "coil"), ("HR", "holding"), ("", None),
    ],
)  # fmt: skip
def test_tables(text: str, table: str | None) -> None:
    assert numbers.table(text) == table


@pytest.mark.parametrize("text", ["7", "03/04", "what"])
def test_no_tables(text: str) -> None:
    with pytest.raises(ValueError, match="names no table"):
        numbers.table(text)


@pytest.mark.parametrize(
    ("text", "length", "unit", "kind"),
    [
        ("INT16", None, "", "int16"), ("Signed 16", 1, "registers", "int16"),
        ("U32", 2, "registers", "uint32"), ("uint_32", 4, "bytes", "uint32"),
        ("unsigned", 32, "bits", "uint32"), ("INT", None, "", "int16"),
        ("int", 2, "registers", "int32"),
        ("float", None, "", "float32"), ("FLOAT", 4, "registers", "float64"),
        ("Float", 4, "bytes", "float32"), ("REAL", 2, "", "float32"), ("double", 4, "", "float64"),
        ("uint16[8]", 8, "registers", "uint16[8]"), ("string[20]", None, "", "string[20]"),
        ("ASCII", 10, "registers", "string[20]"), ("string", 16, "bytes", "string[16]"),
        ("uint16", 16, "", "uint16"),
        ("INT16", 2, "", "int16"), ("float", 2, "", "float32"),
        ("boolean", None, "", "bool"), ("int64", 64, "", "int64"),
    ],
)  # fmt: skip
def test_types(text: str, length: int | None, unit: str, kind: str) -> None:
    assert map_type(text, Length(length, unit)) == kind


@pytest.mark.parametrize(
    ("text", "length", "unit", "why"),
    [
        ("", None, "", "has no type"), ("flot32", None, "", "did you mean float32"),
        ("BCD", 1, "registers", "no BCD"), ("int8", 1, "registers", "int8h"),
        ("uint16", 2, "registers", "has 1 register"), ("uint32", 1, "registers", "has 2 register"),
        ("string", None, "", "needs its length"), ("string", 10, "", "registers or characters"),
        ("unsigned", 3, "registers", "unclear"), ("float", 4, "", "unclear"),
        ("int", 2, "", "unclear"), ("uint16[0]", None, "", "counts from 1"),
    ],
)  # fmt: skip
def test_no_types(text: str, length: int | None, unit: str, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        map_type(text, Length(length, unit))


@pytest.mark.parametrize(
    ("text", "order"),
    [("CDAB", "CDAB"), ("big endian", "ABCD"), ("Low word first", "CDAB"), ("byte-swap", "BADC"),
     ("4321", "DCBA"), ("", None)],
)  # fmt: skip
def test_orders(text: str, order: str | None) -> None:
    assert numbers.order(text) == order


def test_an_order_that_could_be_two_is_refused() -> None:
    with pytest.raises(ValueError, match="no order that is sure"):
        numbers.order("little endian")


HEAD = "Register;Name;Typ;Einheit;Faktor;Funktion\n"


def test_where_a_list_counts_from_is_asked_for(tmp_path: Path) -> None:
    text = HEAD + "100;a;uint16;V;0,1;3\n"
    (fault,) = refusals(tmp_path, "l.csv", text)
    assert fault.startswith("2:1: does this list count from 0")
    assert tags(imported(tmp_path, "l.csv", text, base=0)) == {"a": "holding:100 uint16"}
    assert tags(imported(tmp_path, "l.csv", text, base=1)) == {"a": "holding:99 uint16"}
    # an address 0 says it
    assert tags(imported(tmp_path, "l.csv", text + "0;b;int16;;;4\n")) == {
        "a": "holding:100 uint16",
        "b": "input:0 int16",
    }


def test_modicon_numbers_are_taken_for_such_with_a_warning_unless_a_base_is_said(
    tmp_path: Path,
) -> None:
    text = HEAD + "40070;a;uint16;V;;3\n"
    made = imported(tmp_path, "l.csv", text)
    assert tags(made) == {"a": "holding:69 uint16"}
    assert "use --base 0" in made.report.warnings[0].message
    made = imported(tmp_path, "l.csv", text, base=0)
    assert tags(made) == {"a": "holding:40070 uint16"}
    assert made.report.warnings == []
    # 40000 is no Modicon number: this list means the numbers on the wire
    (fault,) = refusals(tmp_path, "l.csv", text + "40000;b;uint16;;;3\n")
    assert "does this list count from 0" in fault


def test_a_column_of_hexadecimal_numbers_says_so_or_is_refused(tmp_path: Path) -> None:
    rows = "1000,a,int16,3\n0BB8,b,int16,3\n"
    made = imported(tmp_path, "l.csv", f"Address (hex),Name,Type,Function\n{rows}", base=0)
    assert tags(made) == {"a": "holding:4096 int16", "b": "holding:3000 int16"}
    (fault,) = refusals(tmp_path, "l.csv", f"Address,Name,Type,Function\n{rows}", base=0)
    assert fault.startswith("3:1: '0BB8' looks hexadecimal, and then all others here are too")


def test_a_table_that_nothing_says_is_asked_for(tmp_path: Path) -> None:
    text = "Address,Name,Type\n100,a,uint16\n"
    (fault,) = refusals(tmp_path, "l.csv", text, base=0)
    assert "nothing says in which table it is" in fault
    made = imported(tmp_path, "l.csv", text, base=0, table="input", order="DCBA")
    assert tags(made) == {"a": "input:100 uint16"}
    assert made.made.groups[0].tags[0].order == "DCBA"


def test_each_row_that_cannot_be_read_is_left_out_with_its_place(tmp_path: Path) -> None:
    text = HEAD + (
        "Measured values;;;;;\n"
        "1;good;uint16;°C;0,1;3\n"
        "2;bit of what;bool;;;3\n"
        "3;coil;uint16;;;1\n"
        "x;nowhere;uint16;;;3\n"
        "5;factor;uint16;;much;3\n"
        "99999;far;uint16;;;3\n"
        "7;on;bool;;;1\n"
    )
    made = imported(tmp_path, "l.csv", text, base=1)
    assert tags(made) == {"good": "holding:0 uint16", "on": "coil:6 bool"}
    device(tmp_path, made)
    told = [(f.place.line, f.place.col, f.message[:40]) for f in made.report.omitted]
    assert sorted(told) == [
        (4, 15, "'bit of what': which bit of the register"),
        (5, 8, "'coil': a coil is a single bit, not a ui"),
        (6, 1, "'nowhere': 'x' is no address; expected e"),
        (7, 18, "'factor': 'much' is no factor; expected "),
        (8, 1, "'far': 99999 is no address; expected 1 t"),
    ]
    assert "# - " in made.text
    assert "'far': 99999 is no address" in made.text


def test_a_gain_is_taken_as_a_factor_with_a_warning(tmp_path: Path) -> None:
    made = imported(tmp_path, "l.csv", "Address,Name,Type,Gain,Function\n0,a,int16,10,3\n")
    assert made.made.groups[0].tags[0].scale == 10.0
    assert [w.place.col for w in made.report.warnings] == [11]


def test_options_of_the_other_kind_are_refused(tmp_path: Path) -> None:
    (fault,) = refusals(tmp_path, "l.csv", HEAD + "0;a;uint16;;;3\n", db=4)
    assert "--db is for data blocks" in fault
    (fault,) = refusals(tmp_path, "t.csv", "Name,Data Type,Logical Address\na,Int,%MW2\n", base=1)
    assert "--base is for register lists" in fault
