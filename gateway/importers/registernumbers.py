"""Numbers as people write them in register lists: addresses, factors, tables, lengths, orders."""

from __future__ import annotations

import re
from fractions import Fraction
from typing import NamedTuple

TABLES = ("holding", "input", "coil", "discrete")
PREFIX = {"0": "coil", "1": "discrete", "3": "input", "4": "holding"}
ORDERS = ("ABCD", "CDAB", "BADC", "DCBA")

_TABLE_WORDS = {
    "coil": ("coil", "spule", "ausgangsbit", "discrete output", "digital output", "co", "0x"),
    "discrete": ("discrete", "input status", "digital input", "eingangsbit", "di", "1x"),
    "holding": ("holding", "halte", "hr", "4x"),
    "input": ("input", "eingangsregister", "ir", "3x"),
}
"""The first that fits counts: a discrete input is no input register."""

_FUNCTIONS = {1: "coil", 2: "discrete", 3: "holding", 4: "input"}
_WRITING = {5: "coil", 15: "coil", 6: "holding", 16: "holding", 22: "holding", 23: "holding"}

_MODICON = re.compile(r"((?:[134]x?)|0|[0134]:)([0-9]{4,5})", re.IGNORECASE | re.ASCII)
_HEX = re.compile(r"(?:0x|16#|\$)0*([0-9a-f]{1,4})|([0-9][0-9a-f]{0,4})h", re.IGNORECASE | re.ASCII)
_DECIMAL = re.compile(r"[0-9]{1,6}", re.ASCII)
_RANGE = re.compile(r"(.+?)\s*(?:-|\.\.+|–|to|bis)\s*(.+)", re.IGNORECASE)
_FACTOR = re.compile(
    r"(?P<how>[x×*/÷:])?\s*(?P<number>[-+]?[0-9.,]+(?:e[-+]?[0-9]{1,3})?)", re.IGNORECASE | re.ASCII
)
_POWER = re.compile(r"[x×*]?\s*10\s*(?:\^|\*\*)\s*\(?([-+]?[0-9]{1,2})\)?", re.ASCII)
_QUOTIENT = re.compile(r"([0-9]{1,9})\s*/\s*([0-9]{1,9})", re.ASCII)


class Number(NamedTuple):
    """An address as written: its digits as a number, its bit, and how many registers it spans."""

    value: int
    bit: int | None
    span: int | None
    modicon: tuple[str, int] | None
    """(table, number from 1) where it can be a Modicon number."""


def address(text: str, *, hexadecimal: bool = False) -> Number:
    """The address in a cell; ValueError where it is none.

    ``hexadecimal``: the column says that its numbers are, whether or not they begin with 0x.
    """
    plain = text.replace(" ", "")
    bit: int | None = None
    first, last = plain, ""
    spread = _RANGE.fullmatch(text)
    if spread and not plain.startswith("-"):
        first, last = (part.replace(" ", "") for part in spread.groups())
    dotted = re.fullmatch(r"(.+?)(?:\.|/|:?bit)([0-9]{1,2})", first, re.IGNORECASE)
    if dotted and not last:
        first, bit = dotted[1], int(dotted[2])
        if bit > 15:
            raise ValueError(f"'{text}': a register has the bits 0 to 15")
    value, modicon = _one(first, text, hexadecimal)
    span = None
    if last:
        end = _one(last, text, hexadecimal)[0]
        if len(last) < len(first) and end < value:  # 40001-02
            end = int(first[: len(first) - len(last)] + last) if first.isdecimal() else end
        span = end - value + 1
        if span < 1:
            raise ValueError(f"'{text}' ends before it begins")
    return Number(value, bit, span, modicon)


def looks_hexadecimal(text: str) -> bool:
    """Whether a cell is no decimal number but would be a hexadecimal one: ``0BB8``."""
    return bool(re.fullmatch("[0-9a-f]{2,4}", text, re.I | re.A)) and not text.isdecimal()


def _one(word: str, text: str, hexadecimal: bool) -> tuple[int, tuple[str, int] | None]:
    if hexadecimal and re.fullmatch("[0-9a-f]{1,5}", word, re.I | re.A):
        return int(word, 16), None
    if found := _HEX.fullmatch(word):
        return int(found[1] or found[2], 16), None
    if found := _MODICON.fullmatch(word):
        digit = found[1][0]
        return int(digit + found[2]), (PREFIX[digit], int(found[2]))
    if _DECIMAL.fullmatch(word):
        return int(word), None
    raise ValueError(f"'{text}' is no address; expected e.g. 100, 0x64, 40101 or 40101.3")


def table(text: str) -> str | None:
    """The table that a cell names by a word or by function codes, None where it is empty.

    ValueError where it cannot be understood.
    """
    plain = " ".join(text.lower().split())
    if not plain:
        return None
    for name, words in _TABLE_WORDS.items():
        if any(plain == word or (len(word) > 3 and word in plain) for word in words):
            return name
    codes = [int(code) for code in re.findall(r"[0-9]{1,3}", plain)]
    named = {_FUNCTIONS[code] for code in codes if code in _FUNCTIONS}
    named = named or {_WRITING[code] for code in codes if code in _WRITING}
    if len(named) == 1:
        return named.pop()
    expected = "holding, input, coil, discrete or a function 1 to 4"
    raise ValueError(f"'{text}' names no table; expected {expected}")


def decimal(text: str) -> float:
    """A number with a point or a comma; ValueError where both could be meant."""
    plain = text.replace(" ", "").replace(" ", "")
    if re.fullmatch(r"[-+]?[0-9]{1,3}(,[0-9]{3})+\.[0-9]*", plain, re.ASCII):
        plain = plain.replace(",", "")
    elif re.fullmatch(r"[-+]?[0-9]{1,3}(\.[0-9]{3})+,[0-9]*", plain, re.ASCII):
        plain = plain.replace(".", "").replace(",", ".")
    elif re.fullmatch(r"[-+]?[1-9][0-9]{0,2}[.,][0-9]{3}", plain, re.ASCII) and "," in plain:
        raise ValueError(
            f"'{text}': a decimal comma, or thousands? write it with a point or without"
        )
    else:
        plain = plain.replace(",", ".")
    if not re.fullmatch(r"[-+]?([0-9]+\.?[0-9]*|\.[0-9]+)(e[-+]?[0-9]{1,3})?", plain, re.I | re.A):
        raise ValueError(f"'{text}' is no number")
    value = float(plain)
    if value in (float("inf"), float("-inf")):
        raise ValueError(f"'{text}' is too large a number")
    return value


def factor(text: str, *, divides: bool = False) -> float:
    """By what a raw value is multiplied: ``0,1``, ``x10``, ``/10``, ``1/10``, ``10^-1``.

    ``divides``: the column holds divisors. ValueError where it is no number, or 0.
    """
    plain = text.strip()
    if found := _POWER.fullmatch(plain):
        value = float(Fraction(10) ** int(found[1]))
    elif (found := _QUOTIENT.fullmatch(plain)) and int(found[2]):
        value = float(Fraction(int(found[1]), int(found[2])))
    elif found := _FACTOR.fullmatch(plain):
        value = decimal(found["number"])
        if (found["how"] or "x") in "/÷:":
            value = 1 / value if value else 0.0
    else:
        raise ValueError(f"'{text}' is no factor; expected e.g. 0.1, x10, /10 or 10^-1")
    if divides and value:
        value = 1 / value
    if value < 0 and value == int(value):
        # lists after the manner of SunSpec have -2 for 10^-2
        raise ValueError(f"'{text}': a factor, or a power of ten? write e.g. 10^-2")
    if value == 0:
        raise ValueError(f"'{text}': a factor of 0 makes nothing of every value")
    return float(f"{value:.15g}")


def order(text: str) -> str | None:
    """The byte and word order that a cell names, None where it is empty; ValueError if unclear."""
    plain = " ".join(re.sub(r"[^a-z0-9]+", " ", text.lower()).split())
    if not plain:
        return None
    if plain.upper().replace(" ", "") in ORDERS:
        return plain.upper().replace(" ", "")
    known = {
        "ABCD": ("big endian", "be", "big", "msb first", "high word first", "msw first", "normal",
                 "1234", "msb"),
        "CDAB": ("low word first", "lsw first", "word swap", "word swapped", "swapped words",
                 "big endian word swap", "big endian swapped", "3412"),
        "BADC": ("byte swap", "byte swapped", "big endian byte swap", "2143"),
        "DCBA": ("4321", "byte and word swap", "little endian byte and word"),
    }  # fmt: skip
    for name, words in known.items():
        if plain in words:
            return name
    raise ValueError(f"'{text}' is no order that is sure; expected {', '.join(ORDERS)}")
