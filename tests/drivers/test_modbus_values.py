"""Every type in every order, decoded from bytes that an independent server holds."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from drivers.modbus import ModbusDriver
from tests.drivers.modbus_support import make, read, values
from tests.sims.modbus_peer import ModbusPeer

EXTREMES: dict[str, tuple[str, tuple[float, ...]]] = {
    "int16": ("h", (-32768, -1, 0, 258, 32767)),
    "uint16": ("H", (0, 1, 258, 65535)),
    "int32": ("i", (-(2**31), -1, 0x01020304, 2**31 - 1)),
    "uint32": ("I", (0, 0x01020304, 2**32 - 1)),
    "int64": ("q", (-(2**63), -1, 0x0102030405060708, 2**63 - 1)),
    "uint64": ("Q", (0, 0x0102030405060708, 2**63, 2**64 - 1)),
    "float32": ("f", (0.0, -0.0, 408.35, 1e-45, -1.1754943508222875e-38, 3.4028234663852886e38)),
    "float64": ("d", (-0.0, 0.1, 5e-324, -2.2250738585072014e-308, 1.7976931348623157e308)),
}
ALIASES = {
    "int": "int16", "uint": "uint16", "word": "uint16", "dint": "int32", "udint": "uint32",
    "dword": "uint32", "lint": "int64", "ulint": "uint64", "lword": "uint64", "real": "float32",
    "lreal": "float64",
}  # fmt: skip

# written down on purpose and not computed: where the bytes A (most significant) to H go
ON_THE_WIRE = {
    "ABCD": {2: "AB", 4: "ABCD", 8: "ABCDEFGH"},
    "CDAB": {2: "AB", 4: "CDAB", 8: "GHEFCDAB"},
    "BADC": {2: "BA", 4: "BADC", 8: "BADCFEHG"},
    "DCBA": {2: "BA", 4: "DCBA", 8: "HGFEDCBA"},
}


def on_the_wire(raw: bytes, order: str) -> bytes:
    return bytes(raw["ABCDEFGH".index(letter)] for letter in ON_THE_WIRE[order][len(raw)])


@pytest.fixture(params=["tcp", "rtu", "rtu_over_tcp"], scope="module")
def line(request: pytest.FixtureRequest) -> Iterator[tuple[ModbusPeer, dict[str, Any]]]:
    """The independent server and the settings that reach it."""
    if request.param == "tcp":
        with ModbusPeer("tcp", 0) as peer:
            yield peer, {"host": "127.0.0.1", "port": peer.port}
    elif request.param == "rtu":
        with ModbusPeer("rtu", 1) as peer:
            yield peer, {"serial": peer.place, "baud": 115200, "parity": "none"}
    else:
        with ModbusPeer("rtu_tcp", 1) as peer:
            settings = {"host": "127.0.0.1", "port": peer.port, "transport": "rtu_over_tcp"}
            yield peer, settings


@pytest.fixture
def polled(line: tuple[ModbusPeer, dict[str, Any]]) -> Iterator[Any]:
    opened: list[ModbusDriver] = []

    def build(tags: dict[str, dict[str, Any]], **config: Any) -> ModbusDriver:
        driver = make(tags, **line[1], **config)
        driver.connect()
        opened.append(driver)
        return driver

    yield build
    for driver in opened:
        driver.close()


@pytest.mark.parametrize("table", ["holding", "input"])
def test_every_number_type_in_every_order_at_its_extremes(
    line: tuple[ModbusPeer, dict[str, Any]], polled: Any, table: str
) -> None:
    peer, _ = line
    tags: dict[str, dict[str, Any]] = {}
    written: dict[str, tuple[str, float]] = {}
    at, memory = 1, b""
    for name, (code, numbers) in EXTREMES.items():
        for order in ON_THE_WIRE:
            for i, number in enumerate(numbers):
                raw = on_the_wire(struct.pack(f">{code}", number), order)
                tag = f"{name}_{order}_{i}"
                tags[tag] = {"address": f"{table}:{at}", "type": name, "order": order}
                written[tag] = (code, number)
                memory += raw
                at += len(raw) // 2
    peer.write(table, 1, memory)
    row = read(polled(tags))
    assert row.marks is None
    for column, (tag, (code, number)) in enumerate(written.items()):
        part, place = row.table.position(column)
        got = row.parts[part][place]
        # compared as bits, so that -0.0 is not 0.0
        assert struct.pack(code, got) == struct.pack(code, number), (tag, got, number)


def test_the_other_names_of_types_mean_the_same(
    line: tuple[ModbusPeer, dict[str, Any]], polled: Any
) -> None:
    line[0].write("holding", 10, bytes.fromhex("3ff123456789abcd"))
    both = {
        f"{n}_{i}": {"address": "40011", "type": t}
        for n, pair in ALIASES.items()
        for i, t in enumerate((n, pair))
    }
    found = values(polled(both))
    assert [found[f"{n}_0"] for n in ALIASES] == [found[f"{n}_1"] for n in ALIASES]
    assert found["word_0"] == 0x3FF1


@pytest.mark.parametrize(
    ("order", "high", "low", "bits"), [("ABCD", -128, 127, 0x807F), ("BADC", 127, -128, 0x7F80)]
)
def test_halves_and_bits_of_a_register(
    line: tuple[ModbusPeer, dict[str, Any]],
    polled: Any,
    order: str,
    high: int,
    low: int,
    bits: int,
) -> None:
    line[0].write("holding", 50, bytes.fromhex("ffff807fffff"))
    halves = {t: {"address": "holding:51", "type": t} for t in ("int8h", "int8l", "uint8h")}
    single = {f"b{n}": {"address": f"40052.{n}", "type": "bool"} for n in range(16)}
    array = {"many": {"address": "holding:51.14", "type": "bool[4]"}}
    found = values(polled({**halves, **single, **array}, order=order))
    assert (found["int8h"], found["int8l"], found["uint8h"]) == (high, low, high & 0xFF)
    assert [found[f"b{n}"] for n in range(16)] == [bool(bits >> n & 1) for n in range(16)]
    beyond = [True, True]  # the next register is ffff
    assert [found[f"many_{n}"] for n in range(4)] == [
        bool(bits >> n & 1) for n in (14, 15)
    ] + beyond


@pytest.mark.parametrize("table", ["coil", "discrete"])
def test_single_bits_across_byte_and_request_borders(
    line: tuple[ModbusPeer, dict[str, Any]], polled: Any, table: str
) -> None:
    pattern = np.random.default_rng(7).integers(0, 2, 2100, dtype="u1")
    line[0].write(table, 3, pattern.tobytes())
    found = values(polled({"all": {"address": f"{table}:3", "type": "bool[2100]"}}))
    assert [found[f"all_{i}"] for i in range(2100)] == pattern.astype(bool).tolist()


def test_strings_end_at_a_nul_and_lose_trailing_spaces(
    line: tuple[ModbusPeer, dict[str, Any]], polled: Any
) -> None:
    line[0].write("holding", 200, b"PM5560  " + b"ab\0zzz" + "Grün".encode("latin-1") + b"    ")
    tags = {
        "spaces": {"address": "holding:200", "type": "string[8]"},
        "odd": {"address": "holding:200", "type": "string[5]"},
        "nul": {"address": "holding:204", "type": "string[6]"},
        "latin": {"address": "holding:207", "type": "string[4]"},
        "empty": {"address": "holding:209", "type": "string[4]"},
        "swapped": {"address": "holding:200", "type": "string[6]", "order": "BADC"},
        "words_stay": {"address": "holding:200", "type": "string[6]", "order": "CDAB"},
        "pair": {"address": "holding:200", "type": "string[3][2]"},
    }
    found = values(polled(tags))
    assert found == {
        "spaces": "PM5560", "odd": "PM556", "nul": "ab", "latin": "Grün", "empty": "",
        "swapped": "MP5506", "words_stay": "PM5560", "pair_0": "PM5", "pair_1": "60",
    }  # fmt: skip


def test_arrays_scales_and_the_device_order(
    line: tuple[ModbusPeer, dict[str, Any]], polled: Any
) -> None:
    swapped = b"".join(on_the_wire(struct.pack(">f", f), "CDAB") for f in (1.5, -2.25, 3e8))
    line[0].write("input", 300, swapped + bytes.fromhex("0003"))
    tags = {
        "reals": {"address": "300301", "type": "real[3]"},
        "tenths": {"address": "input:306", "type": "int16", "scale": 0.1, "offset": 0},
        "first": {"address": "input:300", "type": "dword", "order": "CDAB"},
    }
    found = values(polled(tags, order="CDAB"))
    assert found == {
        "reals_0": 1.5, "reals_1": -2.25, "reals_2": 3e8, "tenths": 0.3, "first": 0x3FC00000,
    }  # fmt: skip


def test_what_is_no_number_is_bad_and_its_neighbours_good(
    line: tuple[ModbusPeer, dict[str, Any]], polled: Any
) -> None:
    line[0].write("holding", 400, struct.pack(">fff", float("nan"), float("-inf"), 1.0))
    found = values(polled({"x": {"address": "holding:400", "type": "float32[3]"}}))
    assert found == {"x_0": "BAD:nan", "x_1": "BAD:infinite", "x_2": 1.0}


def test_a_module_reads_relative_to_where_it_is_placed(
    line: tuple[ModbusPeer, dict[str, Any]],
) -> None:
    peer, settings = line
    peer.write("holding", 500, bytes.fromhex("00010002fffe0008"))
    tags = {
        "a": {"at": 0, "type": "uint16"},
        "b": {"at": 2, "type": "int16"},
        "c": {"at": "3.3", "type": "bool"},
    }
    driver = make(tags, base="40501", **settings)
    driver.connect()
    assert values(driver) == {"a": 1, "b": -2, "c": True}
    driver.close()


def test_a_string_longer_than_a_request_is_marked_split(
    line: tuple[ModbusPeer, dict[str, Any]], polled: Any
) -> None:
    text = "".join(chr(97 + i % 26) for i in range(600))
    line[0].write("holding", 600, text.encode())
    row = read(polled({"long": {"address": "holding:600", "type": "string[600]"}}))
    assert row.values() == [text]
    assert str(row.mark(0)) == "UNCERTAIN:split"
