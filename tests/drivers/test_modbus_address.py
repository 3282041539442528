"""Addresses and types: what is accepted, what it means, and what a mistake is answered with."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers.modbus.address import REGISTERS, TABLES, Address, parse_address, relative_address
from drivers.modbus.types import Order, bit_wire, parse_type, wire_of


@st.composite
def addresses(draw: st.DrawFn) -> Address:
    table = draw(st.sampled_from(TABLES))
    bit = draw(st.none() | st.integers(0, 15)) if table in REGISTERS else None
    return Address(table, draw(st.integers(0, 65535)), bit)


@given(addresses())
def test_an_address_reads_back_from_both_of_its_spellings(address: Address) -> None:
    assert parse_address(str(address)) == address
    assert parse_address(address.modicon) == address


@given(addresses(), st.integers(0, 65535))
def test_a_relative_address_is_the_sum_or_out_of_range(base: Address, at: int) -> None:
    base = base._replace(bit=None)
    if base.number + at <= 65535:
        assert relative_address(str(base), str(at)).number == base.number + at
    else:
        with pytest.raises(ValueError, match="out of range"):
            relative_address(str(base), str(at))


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("40001", "holding:0"),
        ("49999", "holding:9998"),
        ("400001", "holding:0"),
        ("465536", "holding:65535"),
        ("30001", "input:0"),
        ("300017", "input:16"),
        ("10001", "discrete:0"),
        ("100001", "discrete:0"),
        ("00001", "coil:0"),
        ("000001", "coil:0"),
        ("065536", "coil:65535"),
        ("40006.3", "holding:5.3"),
        ("40006.10", "holding:5.10"),
        ("holding:0", "holding:0"),
        ("HOLDING:7", "holding:7"),
        ("input:0x10", "input:16"),
        ("holding:5.15", "holding:5.15"),
        (" coil:3 ", "coil:3"),
        ("discrete:65535", "discrete:65535"),
    ],
)
def test_both_notations_mean_the_same_place(text: str, meant: str) -> None:
    assert str(parse_address(text)) == meant


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("hold:0", "did you mean 'holding:0'?"),
        ("hr:12", "did you mean 'holding:12'?"),
        ("coils:4", "did you mean 'coil:4'?"),
        ("holding 5", "did you mean 'holding:5'?"),
        ("holding5.2", "did you mean 'holding:5.2'?"),
        ("holding:-1", "has a minus sign; addresses count from 0"),
        ("-40001", "has a minus sign; addresses count from 0"),
        ("4x0001", "did you mean '40001'?"),
        ("4x00017", "did you mean '400017'?"),
        ("50001", "did you mean 40001?"),
        ("400000", "the first holding is 400001, which is 'holding:0'"),
        ("40000", "count from 1"),
        ("00000", "the first coil is 00001"),
        ("465537", "the last is 465536"),
        ("4001", "did you mean 40001 (holding)?"),
        ("1", "'holding:0' is 40001, 'coil:0' is 00001"),
        ("4000011", "expected five or six digits"),
        ("holding:65536", "a table has 0 to 65535"),
        ("holding:5.16", "the bits 0 to 15"),
        ("coil:5.1", "a coil has no bits; write 'coil:5'"),
        ("10001.1", "a discrete has no bits"),
        ("valve:1", "expected one of 'holding:', 'input:', 'coil:', 'discrete:'"),
        ("DB1.DBW0", "expected e.g. 'holding:0', 'holding:5.3' or 40001"),
        ("", "expected e.g. 'holding:0'"),
    ],
)
def test_a_wrong_address_is_answered_with_the_nearest_right_one(text: str, said: str) -> None:
    with pytest.raises(ValueError) as caught:
        parse_address(text)
    assert said in str(caught.value)


def test_a_module_is_placed_at_registers_and_its_bits_count_from_there() -> None:
    assert str(relative_address("holding:100", "4")) == "holding:104"
    assert str(relative_address("40101", "4.3")) == "holding:104.3"
    assert str(relative_address("coil:8", "2")) == "coil:10"


@pytest.mark.parametrize(
    ("base", "at", "said"),
    [
        ("holding:1.2", "0", "not at a bit; write 'holding:1'"),
        ("holding:1", "holding:2", "expected registers from its start"),
        ("holding:1", "-1", "expected registers from its start, counted from 0"),
        ("holding:1", "0.16", "the bits 0 to 15"),
        ("coil:1", "0.1", "a coil has no bits"),
        ("hold:1", "0", "did you mean 'holding:1'?"),
    ],
)
def test_a_wrong_place_in_a_module_is_explained(base: str, at: str, said: str) -> None:
    with pytest.raises(ValueError) as caught:
        relative_address(base, at)
    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("INT16", "did you mean 'int16'?"),
        ("float", "did you mean 'float32'?"),
        ("uint", ""),
        ("unit32", "did you mean 'uint32'?"),
        ("byte", "did you mean 'uint8l'?"),
        ("string", "e.g. string[20]"),
        ("string[0]", "counts from 1"),
        ("int16[0]", "counts from 1"),
        ("int16[2][3]", "an array has one length, e.g. int16[2]"),
        ("real[", "expected bool, int16"),
        ("float[4]", "did you mean 'float32[4]'?"),
        ("s5time", "expected bool, int16"),
    ],
)
def test_a_wrong_type_is_answered_with_the_nearest_right_one(text: str, said: str) -> None:
    if not said:
        assert parse_type(text).registers == 1
        return
    with pytest.raises(ValueError) as caught:
        parse_type(text)
    assert said in str(caught.value)


def test_types_know_their_length_in_registers() -> None:
    names = ("bool", "int8h", "word", "dint", "lreal", "string[5]", "real[8]", "string[4][3]")
    kinds = [parse_type(name) for name in names]
    assert [kind.registers for kind in kinds] == [0, 1, 1, 2, 4, 3, 2, 2]
    assert [kind.elements for kind in kinds] == [1, 1, 1, 1, 1, 1, 8, 3]


@pytest.mark.parametrize(
    ("order", "short", "long", "half", "bit"),
    [
        ("ABCD", (3, 2, 1, 0), (7, 6, 5, 4, 3, 2, 1, 0), 0, 1),
        ("DCBA", (0, 1, 2, 3), (0, 1, 2, 3, 4, 5, 6, 7), 1, 0),
        ("BADC", (2, 3, 0, 1), (6, 7, 4, 5, 2, 3, 0, 1), 1, 0),
        ("CDAB", (1, 0, 3, 2), (1, 0, 3, 2, 5, 4, 7, 6), 0, 1),
    ],
)
def test_an_order_says_where_each_byte_lies_least_significant_first(
    order: Order, short: tuple[int, ...], long: tuple[int, ...], half: int, bit: int
) -> None:
    assert wire_of(parse_type("uint32"), order).order == short
    assert wire_of(parse_type("float64"), order).order == long
    assert wire_of(parse_type("uint8h"), order).order == (half,)
    assert bit_wire(0, order).order == (bit,)
