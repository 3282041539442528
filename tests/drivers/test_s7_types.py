"""Every S7 type against bytes that were written by hand into an independent server."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import pytest

from drivers.s7.driver import S7Config, S7Driver
from drivers.s7.types import NAMES
from gateway.driver import DeviceMap, GroupSpec, TableSpec, Tag, TagConfig
from gateway.errors import Place
from gateway.model import Scalar
from tests.sims.s7_peer import S7Peer, read_values, s7_device, serve_s7

peer = pytest.fixture(scope="module")(serve_s7)

Case = tuple[str, str, Scalar | str]
"""(type, bytes in hexadecimal, value or the mark that is expected)"""

GOOD: list[Case] = [
    ("byte", "00", 0),
    ("byte", "ff", 255),
    ("usint", "ff", 255),
    ("sint", "80", -128),
    ("sint", "7f", 127),
    ("word", "ffff", 65535),
    ("uint", "8000", 32768),
    ("int", "8000", -32768),
    ("int", "7fff", 32767),
    ("dword", "ffffffff", 4294967295),
    ("udint", "80000000", 2147483648),
    ("dint", "80000000", -2147483648),
    ("dint", "7fffffff", 2147483647),
    ("lword", "ffffffffffffffff", 18446744073709551615),
    ("ulint", "8000000000000001", 9223372036854775809),
    ("lint", "8000000000000000", -9223372036854775808),
    ("lint", "7fffffffffffffff", 9223372036854775807),
    ("real", "43cc2ccd", 408.35),
    ("real", "7f7fffff", 3.4028235e38),
    ("real", "ff7fffff", -3.4028235e38),
    ("real", "00000001", 1e-45),
    ("real", "80000000", -0.0),
    ("lreal", "7fefffffffffffff", 1.7976931348623157e308),
    ("lreal", "0000000000000001", 5e-324),
    ("lreal", "3fb999999999999a", 0.1),
    ("time", "80000000", -2147483648),
    ("time", "7fffffff", 2147483647),
    ("ltime", "8000000000000000", -9223372036854775808),
    ("tod", "05265bff", 86399999),
    ("ltod", "00004e94914effff", 86399999999999),
    ("s5time", "0999", 9990),
    ("s5time", "1123", 12300),
    ("s5time", "2001", 1000),
    ("s5time", "3999", 9990000),
    ("s5time", "0000", 0),
    ("date", "0000", "1990-01-01"),
    ("date", "ff62", "2168-12-31"),
    ("date_and_time", "9001010000000000", "1990-01-01T00:00:00.000"),
    ("date_and_time", "8912312359599995", "2089-12-31T23:59:59.999"),
    ("date_and_time", "2402290708091234", "2024-02-29T07:08:09.123"),
    ("dtl", "07b201010500000000000000", "1970-01-01T00:00:00.000000000"),
    ("dtl", "08d6040b06172f103b9ac9ff"[:24], "2262-04-11T23:47:16.999999999"),
    ("char", "41", "A"),
    ("char", "b0", "°"),
    ("wchar", "20ac", "€"),
    ("string[5]", "0505" + b"Ofen\xfc".hex(), "Ofenü"),
    ("string[5]", "0503" + b"abcXY".hex(), "abc"),
    ("string[5]", "0500" + "ff" * 5, ""),
    ("string[5]", "00000000000000", ""),
    ("string", "fefe" + "7a" * 254, "z" * 254),
    ("wstring[4]", "00040004" + "00b0004b" + "d83dde00", "°K\U0001f600"),
    ("wstring[4]", "00040001" + "6599" + "ffff" * 3, "料"),
    ("wstring[4]", "00040000" + "ffff" * 4, ""),
]
BAD: list[Case] = [
    ("real", "7fc00000", "BAD:nan"),
    ("real", "7f800000", "BAD:infinite"),
    ("lreal", "fff0000000000000", "BAD:infinite"),
    ("s5time", "00fa", "BAD:invalid_bcd"),
    ("s5time", "0a00", "BAD:invalid_bcd"),
    ("date_and_time", "0000000000000000", "BAD:invalid_date"),
    ("date_and_time", "2413010000000000", "BAD:invalid_date"),
    ("date_and_time", "24ff010000000000", "BAD:invalid_bcd"),
    ("date_and_time", "24010100000000a0", "BAD:invalid_bcd"),
    ("dtl", "000000000000000000000000", "BAD:invalid_date"),
    ("dtl", "07e8021e0100000000000000", "BAD:invalid_date"),
    ("dtl", "07e80201010000003b9aca00", "BAD:invalid_date"),
    ("string[5]", "0506" + "41" * 5, "BAD:invalid_string"),
    ("string[5]", "0203" + "41" * 5, "BAD:invalid_string"),
    ("string[5]", "ff03" + "41" * 5, "BAD:invalid_string"),
    ("string[5]", "0a08" + "41" * 5, "BAD:invalid_string"),
    ("wstring[2]", "00020003" + "0041" * 2, "BAD:invalid_string"),
    ("wstring[2]", "00020001" + "d83d0041", "BAD:invalid_string"),
    ("wstring[2]", "ffff0001" + "00410041", "BAD:invalid_string"),
    ("wchar", "dc00", "BAD:invalid_string"),
]


def laid_out(cases: list[Case]) -> tuple[bytes, list[tuple[str, str, str]]]:
    """The memory of a data block with one case behind the other, and its tags."""
    memory = b""
    tags = []
    for number, (kind, data, _) in enumerate(cases):
        memory += bytes(len(memory) % 2)
        tags.append((f"v{number:02d}", f"DB1.DBB{len(memory)}", kind))
        memory += bytes.fromhex(data)
    return memory, tags


def test_every_type_is_among_the_cases() -> None:
    assert {kind.partition("[")[0] for kind, _, _ in GOOD} | {"bool"} == set(NAMES)


def test_the_extremes_of_every_type_are_read_exactly(peer: S7Peer) -> None:
    memory, tags = laid_out(GOOD)
    peer.db(1, len(memory))
    peer.write(1, 0, memory)
    driver = s7_device(tags, peer.port)
    driver.connect()
    values = list(read_values(driver).values())
    driver.close()
    assert [(kind, value) for (kind, _, _), value in zip(GOOD, values, strict=True)] == [
        (kind, (expected, "GOOD")) for kind, _, expected in GOOD
    ]
    zero = values[[c[1] for c in GOOD].index("80000000", 19)][0]
    assert str(zero) == "-0.0"


def test_what_makes_no_value_is_bad_with_its_reason_and_the_others_are_good(peer: S7Peer) -> None:
    cases = [*BAD, ("int", "002a", 42)]
    memory, tags = laid_out(cases)
    peer.db(1, len(memory))
    peer.write(1, 0, memory)
    driver = s7_device(tags, peer.port)
    driver.connect()
    values = list(read_values(driver).values())
    driver.close()
    assert values.pop() == (42, "GOOD")
    assert [(kind, data, value) for (kind, data, _), value in zip(BAD, values, strict=True)] == [
        (kind, data, (None, expected)) for kind, data, expected in BAD
    ]


def test_bits_and_arrays(peer: S7Peer) -> None:
    peer.db(1, 60)
    peer.write(1, 0, bytes.fromhex("80 01 a5 c3"))
    peer.write(1, 4, struct.pack(">3h", -1, 2, -3))
    peer.write(1, 10, b"\x03\x02ab\xff\x00" + b"\x03\x03xyz\x00")
    peer.write(1, 22, struct.pack(">HH", 2, 1) + "Ω".encode("utf-16-be") + b"\xff\xff")
    driver = s7_device(
        [
            ("first", "DB1.DBX0.7", "bool"),
            ("low", "DB1.DBX1.0", "bool"),
            ("off", "DB1.DBX1.7", "bool"),
            ("flags", "DB1.DBX2.4", "bool[8]"),
            ("counts", "DB1.DBW4", "int[3]"),
            ("names", "DB1.DBB10", "string[3][2]"),
            ("wide", "DB1.DBB22", "wstring[2][1]"),
        ],
        peer.port,
    )
    driver.connect()
    values = {name: value for name, (value, mark) in read_values(driver).items() if mark == "GOOD"}
    driver.close()
    assert values == {
        "first": True, "low": True, "off": False,
        # 0xa5 = 1010 0101, 0xc3 = 1100 0011: bits 4 to 7 of the one, 0 to 3 of the other
        "flags_0": False, "flags_1": True, "flags_2": False, "flags_3": True,
        "flags_4": True, "flags_5": True, "flags_6": False, "flags_7": False,
        "counts_0": -1, "counts_1": 2, "counts_2": -3,
        "names_0": "ab", "names_1": "xyz", "wide": "Ω",
    }  # fmt: skip


def test_all_areas_in_both_spellings(peer: S7Peer) -> None:
    for area, first in (("MK", 1), ("PE", 2), ("PA", 3)):
        peer.area(area, 0, 32)
        peer.write(0, 10, struct.pack(">h", 1000 * first) + b"\x04", area)
    # this server counts timers oddly (number 2 begins at its byte 1), but for number 0
    peer.area("TM", 0, 32)
    peer.write(0, 0, bytes.fromhex("2123 0050 fa00"), "TM")
    peer.area("CT", 0, 32)
    peer.write(0, 0, bytes.fromhex("0999 0000 0f00"), "CT")
    driver = s7_device(
        [
            ("flag", "MW10", "int"), ("flag_bit", "M12.2", "bool"),
            ("input", "EW10", "int"), ("input_bit", "I12.2", "bool"),
            ("output", "AW10", "int"), ("output_bit", "Q12.1", "bool"),
            ("timers", "T0", "s5time[3]"),
            ("counters", "Z0", "uint[3]"),
        ],
        peer.port,
    )  # fmt: skip
    driver.connect()
    values = read_values(driver)
    driver.close()
    assert values == {
        "flag": (1000, "GOOD"), "flag_bit": (True, "GOOD"),
        "input": (2000, "GOOD"), "input_bit": (True, "GOOD"),
        "output": (3000, "GOOD"), "output_bit": (False, "GOOD"),
        "timers_0": (123_000, "GOOD"), "timers_1": (500, "GOOD"),
        "timers_2": (None, "BAD:invalid_bcd"),
        "counters_0": (999, "GOOD"), "counters_1": (0, "GOOD"),
        "counters_2": (None, "BAD:invalid_bcd"),
    }  # fmt: skip


def test_times_have_the_unit_they_count_in_unless_the_map_says_another() -> None:
    place = Place("map.yaml", 1, 1, "tags")
    specs: list[tuple[str, dict[str, Any]]] = [
        (kind, {}) for kind in ("s5time", "time", "tod", "ltime", "ltod", "dint", "time[2]")
    ]
    specs += [("time", {"scale": 0.001}), ("time", {"scale": 0.001, "unit": "s"})]
    specs += [("time", {"unit": "Dauer"}), ("time", {"offset": 5.0})]
    tags = [
        Tag(f"t{i}", TagConfig(address=f"DB1.DBB{8 * i}", type=kind, **more), place)
        for i, (kind, more) in enumerate(specs)
    ]
    table = TableSpec("process", (), tags, place)
    device_map = DeviceMap("map.yaml", [GroupSpec("process", 1.0, [table], place)])
    driver = S7Driver("plc", S7Config(map=Path("map.yaml"), host="plc-4"), device_map)
    (units,) = [table.units for table in driver.groups[0].tables]
    assert list(units) == [
        "ms", "ms", "ms", "ns", "ns", None, "ms", "ms", None, "s", "Dauer", "ms",
    ]  # fmt: skip
