"""The types of values in registers and coils, and the four byte and word orders."""

from __future__ import annotations

import difflib
import re
from dataclasses import dataclass
from functools import cache
from typing import Final, Literal, NamedTuple, TypeAlias

from gateway.decode import Wire

Order: TypeAlias = Literal["ABCD", "DCBA", "BADC", "CDAB"]
"""How the bytes of a 32-bit number lie in two registers; A is the most significant.

Both halves of the name hold for other lengths too: the word order (AB first: the most significant
register comes first) and the byte order in each register (A before B: the usual one).
"""

ORDERS: Final[tuple[Order, ...]] = ("ABCD", "CDAB", "BADC", "DCBA")

_NUMBERS: Final = {
    "int16": "i2", "uint16": "u2", "int32": "i4", "uint32": "u4", "int64": "i8", "uint64": "u8",
    "float32": "f4", "float64": "f8",
    "int": "i2", "uint": "u2", "dint": "i4", "udint": "u4", "lint": "i8", "ulint": "u8",
    "word": "u2", "dword": "u4", "lword": "u8", "real": "f4", "lreal": "f8",
}  # fmt: skip
_HALVES: Final = {"int8h": "i1", "int8l": "i1", "uint8h": "u1", "uint8l": "u1"}
_FOREIGN: Final = {
    "float": "float32", "double": "float64", "long": "int32", "short": "int16", "char": "string[1]",
    "byte": "uint8l", "usint": "uint8l", "sint": "int8l", "int8": "int8l", "uint8": "uint8l",
    "boolean": "bool", "bit": "bool", "text": "string[10]", "str": "string[10]",
}  # fmt: skip
NAMES: Final = ("bool", *_NUMBERS, *_HALVES, "string")

_TYPE = re.compile(r"([a-z0-9]+)((?:\[[0-9]+\])*)")


class Type(NamedTuple):
    """A parsed type: ``uint16[4]`` is four elements, ``string[20]`` one of 20 characters."""

    name: str
    elements: int = 1
    is_array: bool = False
    chars: int = 0

    @property
    def registers(self) -> int:
        """Registers of one element; a bool fills none by itself."""
        if self.name == "string":
            return (self.chars + 1) // 2
        if self.name == "bool":
            return 0
        return 1 if self.name in _HALVES else int(_NUMBERS[self.name][1]) // 2


def parse_type(text: str) -> Type:
    """The type that the text spells; ValueError says what is wrong and the nearest spelling."""
    match = _TYPE.fullmatch(text)
    if match is None or match[1] not in NAMES:
        raise ValueError(_unknown(text))
    name = match[1]
    counts = [int(n) for n in re.findall(r"[0-9]+", match[2])]
    if 0 in counts:
        raise ValueError(f"'{text}': a length counts from 1")
    chars = 0
    if name == "string":
        if not counts:
            raise ValueError("a string needs its length in characters, e.g. string[20]")
        chars = counts.pop(0)
    if len(counts) > 1:
        raise ValueError(f"'{text}': an array has one length, e.g. {name}[{counts[0]}]")
    return Type(name, counts[0] if counts else 1, bool(counts), chars)


def _unknown(text: str) -> str:
    name = text.strip().lower().split("[")[0]
    rest = text.strip()[len(name) :]
    if name in _FOREIGN:
        known = _FOREIGN[name]
        known += "" if "[" in known or not _TYPE.fullmatch(known + rest) else rest
        return f"there is no type '{text}'; did you mean '{known}'?"
    near = difflib.get_close_matches(name, NAMES, 1)
    if near and _TYPE.fullmatch(near[0] + rest):
        return f"there is no type '{text}'; did you mean '{near[0]}{rest}'?"
    return f"there is no type '{text}'; expected bool, int16, uint32, float32, string[20]..."


@cache
def wire_of(kind: Type, order: Order) -> Wire:
    """How one element of a register type lies, relative to its first register."""
    swapped = order in ("BADC", "DCBA")
    if kind.name == "string":
        return Wire("S", text=Text(kind.chars, swapped))
    if kind.name in _HALVES:
        high = kind.name.endswith("h")
        return Wire(_HALVES[kind.name], (0 if high != swapped else 1,))
    dtype = _NUMBERS[kind.name]
    size = int(dtype[1])
    registers = range(0, size, 2)
    little_words = order in ("CDAB", "DCBA")
    # least significant byte first: begin with the register that holds it
    first = registers if little_words else reversed(registers)
    low, high_byte = (0, 1) if swapped else (1, 0)
    return Wire(dtype, tuple(r + b for r in first for b in (low, high_byte)))


@cache
def bit_wire(bit: int, order: Order) -> Wire:
    """How one bit of a register lies."""
    swapped = order in ("BADC", "DCBA")
    return Wire("b1", (0 if (bit >= 8) != swapped else 1,), 1 << (bit % 8))


COIL: Final = Wire("b1", (0,), 1)
"""A coil or discrete input: one byte in the buffer."""


@dataclass(frozen=True)
class Text:
    """Decodes a text of two characters a register (Latin-1), up to its first NUL."""

    chars: int
    swapped: bool

    def __call__(self, raw: bytes) -> str:
        """The text without trailing spaces."""
        if self.swapped:
            turned = bytearray(len(raw))
            turned[0::2], turned[1::2] = raw[1::2], raw[0::2]
            raw = bytes(turned)
        return raw[: self.chars].split(b"\0", 1)[0].decode("latin-1").rstrip(" ")
