"""Where a value lies in a Modbus unit: Modicon (``40001``) and explicit (``holding:0``) notation.

Source: Modbus Application Protocol V1.1b3, chapter 4 (data model), for the four tables; the
Modicon numbers are the older habit of manuals that counts each table from 1.
"""

from __future__ import annotations

import difflib
import re
from typing import Final, Literal, NamedTuple, TypeAlias

TableName: TypeAlias = Literal["coil", "discrete", "input", "holding"]

MODICON: Final[dict[str, TableName]] = {
    "0": "coil",
    "1": "discrete",
    "3": "input",
    "4": "holding",
}
PREFIX: Final[dict[TableName, str]] = {table: digit for digit, table in MODICON.items()}
TABLES: Final[tuple[TableName, ...]] = ("holding", "input", "coil", "discrete")
REGISTERS: Final[frozenset[TableName]] = frozenset({"holding", "input"})
LAST: Final = 65535
"""Highest number in each table, counted from 0."""

_EXPLICIT = re.compile(r"([a-z]+):(0x[0-9a-f]+|[0-9]+)(?:\.([0-9]+))?", re.IGNORECASE)
_MODICON = re.compile(r"([0-9]+)(?:\.([0-9]+))?")
_RELATIVE = re.compile(r"([0-9]+)(?:\.([0-9]+))?")
_LOOSE = re.compile(r"([a-z]+)[^0-9a-z]*([0-9]+)(\.[0-9]+)?", re.IGNORECASE)
_NEGATIVE = re.compile(r"(:|^)\s*-\s*[0-9]")
_WITH_X = re.compile(r"([0134])x+([0-9]{4,5})(\.[0-9]+)?", re.IGNORECASE)

_OTHER_NAMES: Final[dict[str, TableName]] = {
    "h": "holding", "hr": "holding", "hreg": "holding", "reg": "holding", "register": "holding",
    "i": "input", "ir": "input", "ireg": "input", "ai": "input",
    "c": "coil", "co": "coil", "do": "coil", "output": "coil",
    "d": "discrete", "di": "discrete", "contact": "discrete",
}  # fmt: skip


class Address(NamedTuple):
    """A place in one of the four tables; ``number`` counts from 0 as on the wire."""

    table: TableName
    number: int
    bit: int | None = None
    """Bit of a register, 0 is the least significant."""

    def __str__(self) -> str:
        bit = "" if self.bit is None else f".{self.bit}"
        return f"{self.table}:{self.number}{bit}"

    @property
    def modicon(self) -> str:
        """The six-digit Modicon form, which counts from 1."""
        bit = "" if self.bit is None else f".{self.bit}"
        return f"{PREFIX[self.table]}{self.number + 1:05d}{bit}"

    @property
    def is_register(self) -> bool:
        """Whether the place is a 16-bit register and not a single bit."""
        return self.table in REGISTERS


def parse_address(text: str) -> Address:
    """The address that the text spells; ValueError says what is wrong and the nearest spelling."""
    text = text.strip()
    explicit = _EXPLICIT.fullmatch(text)
    if explicit:
        name, digits, bit = explicit.groups()
        number = int(digits, 16) if digits[:2].lower() == "0x" else int(digits)
        return _checked(text, _table(text, name, number), number, bit)
    modicon = _MODICON.fullmatch(text)
    if modicon:
        return _parse_modicon(text, *modicon.groups())
    raise ValueError(_unknown(text))


def _table(text: str, name: str, number: int) -> TableName:
    for table in TABLES:
        if name.lower() == table:
            return table
    near = _nearest(name)
    hint = f"did you mean '{near}:{number}'?" if near else f"expected one of {_names()}"
    raise ValueError(f"'{text}': there is no table '{name}'; {hint}")


def _checked(text: str, table: TableName, number: int, bit: str | None) -> Address:
    if number > LAST:
        raise ValueError(f"'{text}': {number} is out of range; a table has 0 to {LAST}")
    if bit is None:
        return Address(table, number)
    if table not in REGISTERS:
        raise ValueError(f"'{text}': a {table} has no bits; write '{table}:{number}'")
    if int(bit) > 15:
        raise ValueError(f"'{text}': a register has the bits 0 to 15, not {int(bit)}")
    return Address(table, number, int(bit))


def _parse_modicon(text: str, digits: str, bit: str | None) -> Address:
    if len(digits) not in (5, 6):
        if len(digits) == 4 and digits[0] in MODICON:
            near = f"did you mean {digits[0]}0{digits[1:]} ({MODICON[digits[0]]})?"
        else:
            near = "expected five or six digits."
        raise ValueError(
            f"'{text}' could be a register or a coil; {near} "
            "Or name the table and count from 0: 'holding:0' is 40001, 'coil:0' is 00001"
        )
    table = MODICON.get(digits[0])
    if table is None:
        raise ValueError(
            f"'{text}' begins with {digits[0]}; expected 0 (coil), 1 (discrete), 3 (input) or "
            f"4 (holding): did you mean 4{digits[1:]}?"
        )
    counted = int(digits[1:])
    if counted == 0:
        first = f"{digits[:-1]}1"
        raise ValueError(
            f"'{text}': Modicon numbers count from 1, so the first {table} is {first}, "
            f"which is '{table}:0'"
        )
    if counted > LAST + 1:
        raise ValueError(f"'{text}' is out of range; the last is {digits[0]}{LAST + 1}")
    return _checked(text, table, counted - 1, bit)


def _nearest(name: str) -> TableName | None:
    other = _OTHER_NAMES.get(name.lower())
    if other:
        return other
    near = difflib.get_close_matches(name.lower(), TABLES, 1, cutoff=0.5)
    return next((table for table in TABLES if near and table == near[0]), None)


def _unknown(text: str) -> str:
    if _NEGATIVE.search(text):
        return f"'{text}' has a minus sign; addresses count from 0: 'holding:0' is 40001"
    with_x = _WITH_X.fullmatch(text)
    if with_x:
        near = f"{with_x[1]}{with_x[2]}{with_x[3] or ''}"
        return f"'{text}' is not an address; did you mean '{near}'?"
    loose = _LOOSE.fullmatch(text)
    table = _nearest(loose[1]) if loose else None
    if loose and table:
        near = f"{table}:{loose[2]}{loose[3] or ''}"
        return f"'{text}' is not an address; did you mean '{near}'?"
    return f"'{text}' is not an address; expected e.g. 'holding:0', 'holding:5.3' or 40001"


def _names() -> str:
    return ", ".join(f"'{table}:'" for table in TABLES)


def relative_address(base: str, at: str) -> Address:
    """The place ``at`` registers (or coils) behind ``base``; ``4.3`` is bit 3 of the fifth.

    ValueError says what is wrong.
    """
    start = parse_address(base)
    if start.bit is not None:
        raise ValueError(
            f"'{base}': a module is placed at a register, not at a bit; write "
            f"'{Address(start.table, start.number)}'"
        )
    match = _RELATIVE.fullmatch(at.strip())
    if match is None:
        raise ValueError(
            f"'{at}' is not a place in a module; expected registers from its start, counted from "
            "0, e.g. 4, or '4.3' for a bit"
        )
    number = start.number + int(match[1])
    return _checked(f"{base} + {at}", start.table, number, match[2])
