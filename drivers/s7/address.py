"""Addresses in the spelling of TIA Portal: DB1.DBD20, DB1.DBX4.3, MW10, E0.0, T5, Z5."""

from __future__ import annotations

import re
from typing import Literal, NamedTuple, TypeAlias

AreaName: TypeAlias = Literal["DB", "M", "I", "Q", "T", "C"]

LAST_BYTE = 65535
"""An S7 pointer has 16 bits for the byte."""

EXPECTED = "expected e.g. DB1.DBD20, DB1.DBX4.3, DB1.DBB10, MW10, M0.1, I0.0, QB2, T5 or C5"

_LETTERS: dict[str, AreaName] = {
    "M": "M", "I": "I", "E": "I", "Q": "Q", "A": "Q", "T": "T", "C": "C", "Z": "C",
}  # fmt: skip
_DB = re.compile(r"DB([0-9]{1,9})\.DB([XBWD])([0-9]{1,9})(?:\.([0-9]{1,9}))?", re.ASCII)
_BYTES = re.compile(r"([MIEQA])([XBWD]?)([0-9]{1,9})(?:\.([0-9]{1,9}))?", re.ASCII)
_NUMBERED = re.compile(r"([TCZ])([0-9]{1,9})", re.ASCII)
_RELATIVE = re.compile(r"([0-9]{1,9})(?:\.([0-9]{1,9}))?", re.ASCII)
_NEGATIVE = re.compile(r"[A-Z.]\s*-\s*[0-9]", re.ASCII)
_ONLY_DB = re.compile(r"DB[\W_]*([0-9]{1,9})[\W_]*", re.ASCII)
_LIKE_DB = re.compile(
    r"(?:DB\W*([0-9]{1,9}))?[\W_]*(?:DB)?\W*([A-Z_]*)\W*([0-9]{1,9})(?:[.,]([0-9]{1,9}))?", re.ASCII
)
_LIKE_BYTES = re.compile(r"P?([MIEQA])\W*([A-Z_]*)\W*([0-9]{1,9})(?:[.,]([0-9]{1,9}))?", re.ASCII)
_WIDTHS = {
    "": "", "X": "X", "BOOL": "X", "BIT": "X",
    "B": "B", "BYTE": "B", "C": "B", "CHAR": "B", "S": "B", "STRING": "B", "L": "B", "LR": "B",
    "LREAL": "B", "LINT": "B", "DTL": "B", "DT": "B", "SINT": "B", "USINT": "B",
    "W": "W", "WORD": "W", "INT": "W", "UINT": "W", "DATE": "W",
    "D": "D", "DWORD": "D", "DW": "D", "R": "D", "REAL": "D", "DI": "D", "DINT": "D",
    "UDINT": "D", "TIME": "D", "TOD": "D", "F": "D", "FLOAT": "D",
}  # fmt: skip
"""What other tools write for a type or width, and the letter that TIA Portal has for it."""


class Space(NamedTuple):
    """What one read may not leave: an area, and in area DB the block."""

    area: AreaName
    db: int = 0

    def __str__(self) -> str:
        return f"DB{self.db}" if self.area == "DB" else self.area


class Address(NamedTuple):
    """One address. ``byte`` is the number of a timer or counter; ``bit`` only with width X.

    ``width`` is the letter: X a bit, B, W, D one, two, four bytes; empty for T and C.
    """

    space: Space
    width: Literal["X", "B", "W", "D", ""]
    byte: int
    bit: int = 0

    def __str__(self) -> str:
        space, width, byte, bit = self
        tail = f"{byte}.{bit}" if width == "X" else f"{byte}"
        if space.area == "DB":
            return f"DB{space.db}.DB{width}{tail}"
        return f"{space.area}{'' if width == 'X' else width}{tail}"


def parse(text: str) -> Address:
    """The address that stands in full; upper or lower case, with or without TIA's leading %.

    Raises:
        ValueError: what is wrong, and what was expected or the nearest spelling.
    """
    plain = text.strip().removeprefix("%").upper()
    if not plain:
        raise ValueError(f"the address is missing; {EXPECTED}")
    if found := _NUMBERED.fullmatch(plain):
        number = _byte(text, found[2])
        if number > LAST_BYTE // 2:
            raise ValueError(f"'{text}': the number must be 0 to {LAST_BYTE // 2}")
        return Address(Space(_LETTERS[found[1]]), "", number)
    if found := _DB.fullmatch(plain):
        number = int(found[1])
        if not 1 <= number <= 65535:
            raise ValueError(f"'{text}': the number of a data block must be 1 to 65535")
        space = Space("DB", number)
        width, byte, bit = found[2], found[3], found[4]
    elif (found := _BYTES.fullmatch(plain)) and found[2] != "X":
        space = Space(_LETTERS[found[1]])
        width, byte, bit = found[2] or "X", found[3], found[4]
    else:
        raise ValueError(f"'{text}' {_misspelt(plain)}")
    if (width == "X") != (bit is not None):
        raise ValueError(f"'{text}' {_bit_fault(plain, width, bit)}")
    return _checked(text, space, width, byte, bit)


def relative(base: str, at: str, *, bit: bool = False) -> Address:
    """The address ``at`` (``4.0``, ``6.3`` or ``4``) behind ``base`` (such as DB4.DBB20).

    It has width X where a bit is wanted or one other than 0 is named, else B.
    """
    start = parse(base)
    if start.width == "" or start.bit:
        raise ValueError(f"a module begins at a byte, not at '{base}'; expected e.g. DB1.DBB20")
    if not at:
        raise ValueError("in a module a tag has `at:`, its offset in bytes, e.g. `at: 4.0`")
    found = _RELATIVE.fullmatch(at.strip())
    if not found:
        counted = "offsets count from 0" if at.strip().startswith("-") else "expected byte and bit"
        raise ValueError(f"'at: {at}' is no offset; {counted}, e.g. 4.0 or 6.3")
    byte, number = str(start.byte + int(found[1])), found[2] or "0"
    return _checked(f"at: {at}", start.space, "X" if bit or int(number) else "B", byte, number)


def _checked(text: str, space: Space, width: str, byte: str, bit: str | None) -> Address:
    number = int(bit or 0)
    if number > 7:
        raise ValueError(f"'{text}': the bit must be 0 to 7")
    return Address(space, width, _byte(text, byte), number)  # type: ignore[arg-type]


def _byte(text: str, digits: str) -> int:
    number = int(digits)
    if number > LAST_BYTE:
        raise ValueError(f"'{text}' is out of range; the last byte is {LAST_BYTE}")
    return number


def _bit_fault(plain: str, width: str, bit: str | None) -> str:
    if bit is not None:
        stem = plain.rpartition(".")[0]
        return f"names a bit of a {width}; did you mean '{stem}'?"
    if "." in plain:
        return f"names no bit; did you mean '{plain}.0'?"
    letter, byte = plain[0], plain[1:]
    return f"names no bit; did you mean '{plain}.0', '{letter}B{byte}' or '{letter}W{byte}'?"


def _misspelt(plain: str) -> str:
    if _NEGATIVE.search(plain):
        return "has a minus sign; addresses count from 0"
    if found := _ONLY_DB.fullmatch(plain):
        return f"names no byte of the data block; did you mean 'DB{found[1]}.DBB0'?"
    return f"is not an address; {_nearest(plain)}"


def _nearest(plain: str) -> str:
    """The address that was probably meant, from the spelling of other tools."""
    if (found := _LIKE_BYTES.fullmatch(plain)) and found[2] in _WIDTHS:
        width = "X" if found[4] else _WIDTHS[found[2]]
        name = "" if width == "X" else width
        tail = f"{found[3]}.{found[4] or 0}" if width == "X" else found[3]
        return f"did you mean '{found[1]}{name}{tail}'?"
    if plain.startswith("DB") and (found := _LIKE_DB.fullmatch(plain)):
        width = "X" if found[4] and found[2] not in ("S", "STRING") else _WIDTHS.get(found[2], "")
        tail = f"{found[3]}.{found[4] or 0}" if width == "X" else found[3]
        return f"did you mean 'DB{found[1] or 1}.DB{width or 'B'}{tail}'?"
    return EXPECTED
