"""The types of TIA Portal: their size, and how their bytes become a value."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable
from datetime import date, datetime, timedelta
from typing import Literal, NamedTuple

from drivers.s7.address import LAST_BYTE, Address
from gateway.decode import Wire, big_endian


class S7Type(NamedTuple):
    """One type. ``size`` in bytes (0: a bit); ``stride``: from one array element to the next.

    ``unit`` is what its numbers count in where the type says it.
    """

    name: str
    size: int
    wire: Wire
    stride: int
    unit: str | None = None


def _bcd(raw: bytes) -> list[int]:
    """Two decimal digits a byte; ValueError where a nibble is none."""
    out = []
    for byte in raw:
        tens, ones = byte >> 4, byte & 15
        if tens > 9 or ones > 9:
            raise ValueError("invalid_bcd")
        out.append(10 * tens + ones)
    return out


def s5time_ms(raw: bytes) -> int:
    """S5TIME and timers, in ms: three BCD digits times 10 ms, 100 ms, 1 s or 10 s."""
    hundreds, rest = _bcd(bytes((raw[0] & 0x0F, raw[1])))
    base: int = 10 ** ((raw[0] >> 4 & 3) + 1)
    return (100 * hundreds + rest) * base


def counter(raw: bytes) -> int:
    """A counter: three BCD digits."""
    hundreds, rest = _bcd(bytes((raw[0] & 0x0F, raw[1])))
    return 100 * hundreds + rest


def char_text(raw: bytes) -> str:
    """One or more characters of one byte (Latin-1)."""
    return raw.decode("latin-1")


def wchar_text(raw: bytes) -> str:
    """UTF-16, big-endian; half a surrogate pair is no text."""
    try:
        return raw.decode("utf-16-be")
    except UnicodeDecodeError:
        raise ValueError("invalid_string") from None


def string_text(raw: bytes) -> str:
    """STRING: its longest length, its actual length, its characters."""
    longest, actual = raw[0], raw[1]
    if actual > longest or longest > 254 or actual > len(raw) - 2:
        raise ValueError("invalid_string")
    return raw[2 : 2 + actual].decode("latin-1")


def wstring_text(raw: bytes) -> str:
    """WSTRING: as STRING, all of it in units of two bytes."""
    longest, actual = int.from_bytes(raw[:2], "big"), int.from_bytes(raw[2:4], "big")
    if actual > longest or longest > 16382 or 2 * actual > len(raw) - 4:
        raise ValueError("invalid_string")
    return wchar_text(raw[4 : 4 + 2 * actual])


def date_text(raw: bytes) -> str:
    """DATE: days since 1990-01-01."""
    return (date(1990, 1, 1) + timedelta(int.from_bytes(raw, "big"))).isoformat()


def date_and_time_text(raw: bytes) -> str:
    """DATE_AND_TIME: BCD, years 1990 to 2089, milliseconds, last digit the weekday."""
    year, month, day, hour, minute, second, ms = _bcd(raw[:7])
    last = raw[7] >> 4
    if last > 9:
        raise ValueError("invalid_bcd")
    year += 1900 if year >= 90 else 2000
    return f"{_moment(year, month, day, hour, minute, second)}.{10 * ms + last:03d}"


def dtl_text(raw: bytes) -> str:
    """DTL: binary, with nanoseconds; the weekday is not looked at."""
    ns = int.from_bytes(raw[8:12], "big")
    if ns > 999_999_999:
        raise ValueError("invalid_date")
    year = int.from_bytes(raw[:2], "big")
    return f"{_moment(year, raw[2], raw[3], raw[5], raw[6], raw[7])}.{ns:09d}"


def _moment(*parts: int) -> str:
    try:
        year, month, day, hour, minute, second = parts
        return datetime(year, month, day, hour, minute, second).isoformat()
    except ValueError:
        raise ValueError("invalid_date") from None


def _number(name: str, dtype: str, unit: str | None = None) -> S7Type:
    size = int(dtype[1])
    return S7Type(name, size, Wire(dtype, big_endian(size)), size, unit)


def _text(name: str, size: int, decode: Callable[[bytes], str]) -> S7Type:
    return S7Type(name, size, Wire("", text=decode), size)


COUNTER = S7Type("counter", 2, Wire("i8", integer=counter), 2)
"""What lies in the area of counters, whatever integer type the tag names."""

TYPES: dict[str, S7Type] = {
    t.name: t
    for t in (
        S7Type("bool", 0, Wire("b1"), 0),
        _number("byte", "u1"),
        _number("word", "u2"),
        _number("dword", "u4"),
        _number("lword", "u8"),
        _number("sint", "i1"),
        _number("usint", "u1"),
        _number("int", "i2"),
        _number("uint", "u2"),
        _number("dint", "i4"),
        _number("udint", "u4"),
        _number("lint", "i8"),
        _number("ulint", "u8"),
        _number("real", "f4"),
        _number("lreal", "f8"),
        _number("time", "i4", "ms"),
        _number("ltime", "i8", "ns"),
        _number("tod", "u4", "ms"),
        _number("ltod", "u8", "ns"),
        S7Type("s5time", 2, Wire("i8", integer=s5time_ms), 2, "ms"),
        _text("char", 1, char_text),
        _text("wchar", 2, wchar_text),
        _text("date", 2, date_text),
        _text("date_and_time", 8, date_and_time_text),
        _text("dtl", 12, dtl_text),
    )
}
"""All types of a fixed size; string and wstring have a length of their own."""

_LETTERS: dict[str, Literal["W", "D"]] = {
    **dict.fromkeys(("word", "int", "uint", "s5time", "date", "wchar"), "W"),
    **dict.fromkeys(("dword", "dint", "udint", "real", "time", "tod"), "D"),
}
"""What may be named by another letter than B."""

NAMES = (*TYPES, "string", "wstring")
"""Every type name; `code` counts in it."""

_OTHER_NAMES = {
    "bit": "bool", "boolean": "bool", "dt": "date_and_time", "time_of_day": "tod",
    "ltime_of_day": "ltod", "float": "real",
    "float32": "real", "double": "lreal", "float64": "lreal", "int8": "sint", "uint8": "usint",
    "int16": "int", "uint16": "uint", "int32": "dint", "uint32": "udint", "int64": "lint",
    "uint64": "ulint", "short": "int", "long": "dint",
}  # fmt: skip
_NUMBERED = {"timer": "s5time", "counter": "uint"}
_SPELLING = re.compile(r"([a-z0-9_]+)((?:\[[0-9]+\]){0,2})", re.ASCII)
_ARRAY_OF = re.compile(r"array\s*\[([0-9]+)\.\.([0-9]+)\]\s*of\s+(\w+)", re.ASCII | re.IGNORECASE)


def parse(text: str) -> tuple[S7Type, int | None]:
    """The type, and how many elements where it is an array: ``real``, ``real[8]``, ``string[20]``.

    ``string[20][4]`` is an array of four strings; ``string`` alone has 254 characters.

    Raises:
        ValueError: what is wrong, and what was expected or the nearest spelling.
    """
    found = _SPELLING.fullmatch(text)
    if not found or found[1] not in NAMES:
        raise ValueError(f"unknown type '{text}'; {_nearest(text)}")
    name, numbers = found[1], [int(n) for n in re.findall("[0-9]+", found[2])]
    if name in ("string", "wstring"):
        wide = name == "wstring"
        length = numbers.pop(0) if numbers else 254
        if not 1 <= length <= (16382 if wide else 254):
            raise ValueError(f"'{text}': the length must be 1 to {16382 if wide else 254}")
        size = 2 * length + 4 if wide else length + 2
        decode = wstring_text if wide else string_text
        kind = S7Type(name, size, Wire("", text=decode), size + size % 2)
    else:
        kind = TYPES[name]
    if len(numbers) > 1:
        raise ValueError(f"'{text}': an array has one length; expected e.g. {name}[8]")
    if not numbers:
        return kind, None
    if not 1 <= numbers[0] <= 8 * (LAST_BYTE + 1):
        raise ValueError(f"'{text}': an array has at least one element")
    return kind, numbers[0]


def code(kind: S7Type, wire: Wire) -> int:
    """One small number for a type: the bit's number for a bool, else 8 + its place in NAMES."""
    return wire.mask.bit_length() - 1 if kind.size == 0 else 8 + NAMES.index(kind.name)


def _nearest(text: str) -> str:
    if found := _ARRAY_OF.fullmatch(text.strip()):
        return f"did you mean '{found[3].lower()}[{int(found[2]) - int(found[1]) + 1}]'?"
    name, bracket, rest = text.strip().lower().partition("[")
    if name in _NUMBERED:
        return f"{name}s are written as type {_NUMBERED[name]}{bracket}{rest}"
    meant = _OTHER_NAMES.get(name) or next(iter(difflib.get_close_matches(name, NAMES, 1)), None)
    if meant is None:
        return f"expected one of: {', '.join(NAMES)}, or an array such as real[8]"
    return f"did you mean '{meant}{bracket}{rest}'?"


def place(address: Address, kind: S7Type, count: int | None) -> list[tuple[int, int, Wire]]:
    """(first byte, size, wire) of the value, or of each element of the array.

    Raises:
        ValueError: the letter of the address does not fit the type, or it ends too far back.
    """
    wire = kind.wire
    start, stride = address.byte, kind.stride
    if address.width == "":
        wire = _of_numbered(address, kind)
        start *= 2
    elif fault := _misfit(address, kind, count):
        raise ValueError(fault)
    if kind.size == 0:
        first = 8 * address.byte + address.bit
        end = (first + (count or 1) + 7) // 8
    else:
        end = start + ((count or 1) - 1) * stride + kind.size
    if end > LAST_BYTE + 1:
        raise ValueError(f"'{address}' reaches too far; the last byte is {LAST_BYTE}")
    if kind.size:
        return [(start + i * stride, kind.size, wire) for i in range(count or 1)]
    bits = range(first, first + (count or 1))
    return [(bit // 8, 1, Wire("b1", (0,), 1 << bit % 8)) for bit in bits]


def _of_numbered(address: Address, kind: S7Type) -> Wire:
    area = address.space.area
    if area == "T" and kind.name != "s5time":
        raise ValueError(f"the timer {address} is an s5time, not a {kind.name}")
    if area == "C" and kind.name not in ("uint", "int"):
        raise ValueError(f"the counter {address} is a uint, not a {kind.name}")
    return COUNTER.wire if area == "C" else kind.wire


def _misfit(address: Address, kind: S7Type, count: int | None) -> str | None:
    if kind.size == 0:
        if address.width == "X" or (address.width == "B" and count is not None):
            return None
        return f"a bool needs a bit; did you mean '{address._replace(width='X')}'?"
    if address.width == "X":
        byte = address._replace(width="B", bit=0)
        return f"a {kind.name} begins at a whole byte, not at a bit; did you mean '{byte}'?"
    letter: Literal["B", "W", "D"] = _LETTERS.get(kind.name, "B")
    if address.width in ("B", letter):
        return None
    meant = address._replace(width=letter)
    if letter == "B" and kind.size > 1:
        return f"a {kind.name} is named by its first byte; did you mean '{meant}'?"
    named = {"B": 1, "W": 2, "D": 4}[address.width]
    return (
        f"a {kind.name} has {kind.size} byte(s), '{address}' names {named}; did you mean '{meant}'?"
    )
