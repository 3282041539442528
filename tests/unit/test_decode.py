"""From bytes to values: every byte order, scales, and what is no number."""

from __future__ import annotations

import math
import struct
from decimal import Decimal

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.decode import Slot, TableDecoder, Wire, big_endian, kind_of, scaling
from gateway.model import Column, Mark, Row, Scalar, Table, bad

NONE = scaling(1.0, 0.0)
FORMATS = {
    "i1": "b", "u1": "B", "i2": "h", "u2": "H", "i4": "i", "u4": "I", "i8": "q", "u8": "Q",
    "f4": "f", "f8": "d",
}  # fmt: skip


def number(dtype: str) -> Wire:
    return Wire(dtype, big_endian(int(dtype[1])))


def decoded(
    cells: list[tuple[Wire, bytes, tuple[float, float]]],
    marks: dict[int, Mark] | None = None,
    padding: int = 0,
) -> Row:
    columns, slots, memory = [], [], b""
    for i, (wire, raw, (scale, offset)) in enumerate(cells):
        by = scaling(scale, offset)
        columns.append(Column(f"c{i}", kind_of(wire, by)))
        memory += bytes(padding)
        slots.append(Slot(i, len(memory), len(raw), wire, by))
        memory += raw
    table = Table("t", "d", columns)
    buffer = np.frombuffer(memory, "u1").copy()
    row = TableDecoder(table, slots).row(buffer, 1, {} if marks is None else marks)
    buffer[:] = 0x55  # the next poll writes here: a row keeps its own values
    return row


@st.composite
def raw_numbers(draw: st.DrawFn) -> tuple[str, bytes]:
    dtype = draw(st.sampled_from(sorted(FORMATS)))
    return dtype, draw(st.binary(min_size=int(dtype[1]), max_size=int(dtype[1])))


@given(st.lists(raw_numbers(), min_size=1, max_size=30), st.integers(0, 3))
def test_numbers_of_all_types_are_those_that_struct_unpacks(
    cells: list[tuple[str, bytes]], padding: int
) -> None:
    row = decoded([(number(d), raw, (1.0, 0.0)) for d, raw in cells], padding=padding)
    for i, (dtype, raw) in enumerate(cells):
        (expected,) = struct.unpack(">" + FORMATS[dtype], raw)
        mark = row.mark(i)
        if isinstance(expected, float) and not math.isfinite(expected):
            assert mark == bad("nan" if math.isnan(expected) else "infinite")
        else:
            assert mark is None
            value = row.value(i)
            if dtype == "f4":  # shown with the shortest digits, which read back exactly
                assert struct.pack(">f", value) == raw
            else:
                assert value == expected


@pytest.mark.parametrize("order", [(3, 2, 1, 0), (1, 0, 3, 2), (2, 3, 0, 1), (0, 1, 2, 3)], ids=str)
def test_any_order_of_bytes(order: tuple[int, ...]) -> None:
    """``order``: where the bytes lie, least significant first."""
    raw = bytearray(4)
    for byte, place in zip(struct.pack("<I", 0x12345678), order, strict=True):
        raw[place] = byte
    wire = Wire("u4", order)
    row = decoded([(wire, bytes(raw), (1.0, 0.0))] * 3)
    assert row.values() == [0x12345678] * 3


def test_bits() -> None:
    row = decoded([(Wire("b1", (0,), 1 << n), b"\xa1", (1.0, 0.0)) for n in range(8)])
    assert row.values() == [True, False, False, False, False, True, False, True]


@given(
    st.integers(-32768, 32767),
    st.decimals("-10", "10", places=3).filter(bool),
    st.decimals("-100", "100", places=2),
)
def test_decimal_scales_of_integers_are_rounded_once(
    raw: int, scale: Decimal, offset: Decimal
) -> None:
    row = decoded([(number("i2"), struct.pack(">h", raw), (float(scale), float(offset)))])
    exact = raw * scale + offset
    if (scale, offset) == (1, 0):
        assert row.value(0) == raw
    else:
        assert row.value(0) == float(exact)


def test_a_scaled_real_stays_a_float32_and_with_an_offset_becomes_a_float64() -> None:
    raw = struct.pack(">f", 20.5)
    row = decoded([(number("f4"), raw, (0.1, 0.0)), (number("f4"), raw, (1.0, 273.15))])
    assert row.table.kinds == ("f4", "f8")
    assert row.values() == [2.05, 293.65]


def test_a_scale_that_overflows_is_infinite_and_warns_nobody() -> None:
    row = decoded([(number("f4"), struct.pack(">f", 3e38), (10.0, 0.0))] * 2)
    assert row.marks == {0: bad("infinite"), 1: bad("infinite")}
    row = decoded([(number("f8"), struct.pack(">d", 1e308), (100.0, 0.0))])
    assert row.marks == {0: bad("infinite")}


def test_a_value_that_was_bad_before_keeps_its_reason() -> None:
    def refuse(_: bytes) -> str:
        raise AssertionError("a value that was not read may not be looked at")

    row = decoded(
        [
            (number("f4"), struct.pack(">f", math.nan), (1.0, 0.0)),
            (Wire("", text=refuse), b"x", (1.0, 0.0)),
            (number("i2"), b"\x00\x07", (1.0, 0.0)),
        ],
        {0: bad("timeout"), 1: bad("timeout")},
    )
    assert row.marks == {0: bad("timeout"), 1: bad("timeout")}
    assert row.values() == [None, None, 7]


def test_decoders_of_their_own_may_refuse_their_bytes() -> None:
    def text(raw: bytes) -> str:
        if raw == b"??":
            raise ValueError("invalid_string")
        return raw.decode()

    def integer(raw: bytes) -> int:
        if raw > b"\x99":
            raise ValueError("invalid_bcd")
        return int(raw.hex())

    cells: list[tuple[Wire, bytes, tuple[float, float]]] = [
        (Wire("", text=text), b"ab", (1.0, 0.0)),
        (Wire("", text=text), b"??", (1.0, 0.0)),
        (Wire("i8", integer=integer), b"\x42", (1.0, 0.0)),
        (Wire("i8", integer=integer), b"\xff", (1.0, 0.0)),
        (Wire("i8", integer=integer), b"\x42", (0.1, 0.0)),
    ]
    row = decoded(cells)
    assert row.table.kinds == ("str", "str", "i8", "i8", "f8")
    expected: list[Scalar] = ["ab", None, 42, None, 4.2]
    assert row.values() == expected
    assert row.marks == {1: bad("invalid_string"), 3: bad("invalid_bcd")}
