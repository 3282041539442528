"""Addresses and types as people write them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers.s7 import types
from drivers.s7.address import Address, Space, parse, relative

BYTES = st.integers(0, 65535)
SPACES = st.one_of(
    st.builds(Space, st.just("DB"), st.integers(1, 65535)),
    st.builds(Space, st.sampled_from("MIQ"), st.just(0)),
)
ADDRESSES = st.one_of(
    st.builds(Address, SPACES, st.just("X"), BYTES, st.integers(0, 7)),
    st.builds(Address, SPACES, st.sampled_from("BWD"), BYTES, st.just(0)),
    st.builds(
        Address,
        st.builds(Space, st.sampled_from("TC"), st.just(0)),
        st.just(""),
        st.integers(0, 32767),
        st.just(0),
    ),
)


@given(ADDRESSES)
def test_what_is_printed_is_parsed_to_the_same(address: Address) -> None:
    assert parse(str(address)) == address
    assert parse(f" %{str(address).lower()} ") == address


@given(st.text(max_size=12) | st.from_regex(r"[DBMEAIQTZCX]{1,3}[0-9.,DBXW]{0,8}"))
def test_any_text_is_an_address_or_a_value_error(text: str) -> None:
    try:
        found = parse(text)
    except ValueError as error:
        message = str(error)
        assert text in message or "missing" in message
    else:
        assert parse(str(found)) == found


@pytest.mark.parametrize(
    ("text", "printed"),
    [
        ("DB1.DBX4.3", "DB1.DBX4.3"),
        ("DB4.DBB10", "DB4.DBB10"),
        ("%DB12.DBW8", "DB12.DBW8"),
        ("db1.dbd20", "DB1.DBD20"),
        ("MW10", "MW10"),
        ("M0.1", "M0.1"),
        ("MB7", "MB7"),
        ("MD4", "MD4"),
        ("E0.0", "I0.0"),
        ("I1.7", "I1.7"),
        ("EB3", "IB3"),
        ("EW64", "IW64"),
        ("ED4", "ID4"),
        ("A4.1", "Q4.1"),
        ("AB2", "QB2"),
        ("QW2", "QW2"),
        ("T5", "T5"),
        ("C5", "C5"),
        ("Z5", "C5"),
    ],
)
def test_english_and_german_spelling(text: str, printed: str) -> None:
    assert str(parse(text)) == printed


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("DB1,REAL4", "did you mean 'DB1.DBD4'?"),
        ("DB1.DBR4", "did you mean 'DB1.DBD4'?"),
        ("DB1,X14.2", "did you mean 'DB1.DBX14.2'?"),
        ("DB1,INT6", "did you mean 'DB1.DBW6'?"),
        ("DB1,S20.30", "did you mean 'DB1.DBB20'?"),
        ("DB1.DBX4,3", "did you mean 'DB1.DBX4.3'?"),
        ("DB1:DBD20", "did you mean 'DB1.DBD20'?"),
        ("DB1DBD20", "did you mean 'DB1.DBD20'?"),
        ("DBD20", "did you mean 'DB1.DBD20'?"),
        ("DB1.DBX4", "did you mean 'DB1.DBX4.0'?"),
        ("DB1.DBD4.0", "did you mean 'DB1.DBD4'?"),
        ("MW10.1", "did you mean 'MW10'?"),
        ("M10", "did you mean 'M10.0', 'MB10' or 'MW10'?"),
        ("MX0.1", "did you mean 'M0.1'?"),
        ("MREAL4", "did you mean 'MD4'?"),
        ("E0,3", "did you mean 'E0.3'?"),
        ("PEW64", "did you mean 'EW64'?"),
        ("DB1.DBX4.8", "the bit must be 0 to 7"),
        ("DB4.DBB-1", "has a minus sign; addresses count from 0"),
        ("M-1.0", "has a minus sign; addresses count from 0"),
        ("DB10", "did you mean 'DB10.DBB0'?"),
        ("DB0.DBW2", "must be 1 to 65535"),
        ("DB70000.DBW2", "must be 1 to 65535"),
        ("DB1.DBB70000", "out of range"),
        ("T40000", "must be 0 to 32767"),
        ("40001", "expected e.g. DB1.DBD20"),
        ("temperature", "expected e.g. DB1.DBD20"),
        ("", "the address is missing"),
    ],
)
def test_a_wrong_address_is_answered_with_the_nearest(text: str, hint: str) -> None:
    with pytest.raises(ValueError) as caught:
        parse(text)
    assert hint in str(caught.value)


@pytest.mark.parametrize(
    ("base", "at", "bit", "printed"),
    [
        ("DB4.DBB20", "4.0", False, "DB4.DBB24"),
        ("DB4.DBB20", "6.3", True, "DB4.DBX26.3"),
        ("DB4.DBB20", "6.0", True, "DB4.DBX26.0"),
        ("DB4.DBX20.0", "4", False, "DB4.DBB24"),
        ("MB100", "0", False, "MB100"),
        ("E10.0", "2", True, "I12.0"),
    ],
)
def test_an_offset_in_a_module_is_added_to_its_place(
    base: str, at: str, bit: bool, printed: str
) -> None:
    assert str(relative(base, at, bit=bit)) == printed


@pytest.mark.parametrize(
    ("base", "at", "hint"),
    [
        ("DB4.DBB20", "6.8", "the bit must be 0 to 7"),
        ("DB4.DBB20", "-1", "offsets count from 0"),
        ("DB4.DBB20", "x", "expected byte and bit"),
        ("DB4.DBB20", "", "`at:`"),
        ("DB4.DBB65530", "10", "out of range"),
        ("DB4.DBX20.1", "0", "a module begins at a byte"),
        ("T5", "0", "a module begins at a byte"),
        ("DB4", "0", "names no byte of the data block; did you mean 'DB4.DBB0'?"),
    ],
)
def test_a_wrong_offset_says_what_is_expected(base: str, at: str, hint: str) -> None:
    with pytest.raises(ValueError) as caught:
        relative(base, at)
    assert hint in str(caught.value)


@pytest.mark.parametrize("name", types.NAMES)
def test_every_type_may_be_named_by_its_first_byte(name: str) -> None:
    kind, count = types.parse(name)
    where = parse("DB1.DBX8.0" if name == "bool" else "DB1.DBB8")
    assert count is None
    assert len(types.place(where, kind, None)) == 1
    assert len(types.place(where, *types.parse(f"{name}[3]" + "[2]" * ("string" in name)))) in (
        2,
        3,
    )


@pytest.mark.parametrize(
    ("address", "kind", "hint"),
    [
        ("DB1.DBW4", "real", "did you mean 'DB1.DBD4'?"),
        ("DB1.DBD4", "int", "did you mean 'DB1.DBW4'?"),
        ("DB1.DBD4", "lreal", "did you mean 'DB1.DBB4'?"),
        ("DB1.DBW4", "byte", "did you mean 'DB1.DBB4'?"),
        ("DB1.DBW4", "string[20]", "did you mean 'DB1.DBB4'?"),
        ("DB1.DBX4.3", "int", "did you mean 'DB1.DBB4'?"),
        ("DB1.DBB4", "bool", "did you mean 'DB1.DBX4.0'?"),
        ("MW4", "bool", "did you mean 'M4.0'?"),
        ("T5", "time", "an s5time"),
        ("C5", "word", "a uint"),
        ("DB1.DBD65534", "real", "reaches too far"),
        ("DB1.DBB0", "lreal[9000]", "reaches too far"),
        ("DB1.DBX65535.1", "bool[8]", "reaches too far"),
    ],
)
def test_the_letter_must_fit_the_type(address: str, kind: str, hint: str) -> None:
    with pytest.raises(ValueError) as caught:
        types.place(parse(address), *types.parse(kind))
    assert hint in str(caught.value)


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("REAL", "did you mean 'real'?"),
        ("rael", "did you mean 'real'?"),
        ("float", "did you mean 'real'?"),
        ("Time_Of_Day", "did you mean 'tod'?"),
        ("DT", "did you mean 'date_and_time'?"),
        ("int16", "did you mean 'int'?"),
        ("Array[0..7] of Real", "did you mean 'real[8]'?"),
        ("real[]", "did you mean"),
        ("xyzzy", "expected one of: bool, byte,"),
        ("string[255]", "the length must be 1 to 254"),
        ("wstring[0]", "the length must be 1 to 16382"),
        ("real[0]", "at least one element"),
        ("real[2][3]", "an array has one length"),
    ],
)
def test_an_unknown_type_is_answered_with_the_nearest(text: str, hint: str) -> None:
    with pytest.raises(ValueError) as caught:
        types.parse(text)
    assert hint in str(caught.value)


def test_arrays_lie_as_the_cpu_lays_them() -> None:
    def starts(address: str, kind: str) -> list[tuple[int, int, int]]:
        places = types.place(parse(address), *types.parse(kind))
        return [(start, size, wire.mask) for start, size, wire in places]

    assert starts("DB1.DBD8", "real[3]") == [(8, 4, 0), (12, 4, 0), (16, 4, 0)]
    assert starts("DB1.DBX8.6", "bool[4]") == [(8, 1, 64), (8, 1, 128), (9, 1, 1), (9, 1, 2)]
    assert starts("DB1.DBB8", "bool[2]") == [(8, 1, 1), (8, 1, 2)]
    assert starts("DB1.DBB8", "string[3][2]") == [(8, 5, 0), (14, 5, 0)]
    assert starts("DB1.DBB8", "wstring[3][2]") == [(8, 10, 0), (18, 10, 0)]
    assert starts("T5", "s5time[2]") == [(10, 2, 0), (12, 2, 0)]
