"""Makes tags from the symbols of a tag table: absolute addresses, checked against their types."""

from __future__ import annotations

import re

from gateway.importers.declared import Symbol
from gateway.importers.made import MadeTag, Report
from gateway.importers.names import Names
from gateway.importers.s7types import TYPES, letter, nearest, takes_unit
from gateway.importers.units import unit_in

_DB = re.compile(r"DB([0-9]{1,5})\.DB([XBWD])([0-9]{1,5})(?:\.([0-7]))?", re.ASCII)
_AREA = re.compile(r"([MIEQA])([XBWD]?)([0-9]{1,5})(?:\.([0-7]))?", re.ASCII)
_NUMBERED = re.compile(r"([TCZ])([0-9]{1,5})", re.ASCII)
_BLOCK = re.compile(r"(?:FB|FC|OB|DB|UDT|SFB|SFC|SDB|VAT)[0-9]*", re.ASCII)
_PERIPHERAL = re.compile(r"P[IEQA][BWD]?[0-9]+(\.[0-7])?|.*:P", re.ASCII)
_STRING = re.compile(r"(W?STRING)\s*\[\s*([0-9]{1,5})\s*\]", re.ASCII)
_BYTES = {"X": 0, "B": 1, "W": 2, "D": 4}
LAST = 65_535


def is_s7_address(text: str) -> bool:
    """Whether a cell looks like an address of an S7 CPU."""
    plain = _plain(text)
    return any(p.fullmatch(plain) for p in (_DB, _AREA, _NUMBERED, _BLOCK, _PERIPHERAL))


def _plain(address: str) -> str:
    return "".join(address.upper().split()).removeprefix("%")


def made_symbol(symbol: Symbol, names: Names, report: Report) -> MadeTag | None:
    """The tag of a symbol, or None where it is left out, which the report then says."""
    address = _plain(symbol.address)
    if _BLOCK.fullmatch(address):
        return None  # the name of a block is no value
    try:
        where, kind = _resolve(symbol, address)
    except ValueError as error:
        report.omit(symbol.place, f"'{symbol.name}': {error}")
        return None
    comment = symbol.comment
    unit = unit_in(comment) if takes_unit(kind) else None
    return MadeTag(names.take(symbol.name, symbol.place), where, kind, comment, unit)


def _resolve(symbol: Symbol, address: str) -> tuple[str, str]:
    if not address:
        raise ValueError("it has no address")
    if _PERIPHERAL.fullmatch(address):
        raise ValueError(f"{address} is the periphery itself; the driver reads the process image")
    numbered = _NUMBERED.fullmatch(address)
    if numbered:
        wanted = "TIMER" if numbered[1] == "T" else "COUNTER"
        if symbol.type.upper() not in (wanted, "S5TIME" if wanted == "TIMER" else "WORD", ""):
            raise ValueError(f"{address} is a {wanted.lower()}, not a {symbol.type}")
        if int(numbered[2]) > LAST // 2:
            raise ValueError(f"{address}: the number must be 0 to {LAST // 2}")
        return address, "s5time" if wanted == "TIMER" else "uint"
    kind, size = _type(symbol.type)
    found = _DB.fullmatch(address)
    if found:
        head, width, byte, bit = f"DB{found[1]}.DB", found[2], int(found[3]), found[4]
        if not 1 <= int(found[1]) <= LAST:
            raise ValueError(f"{address}: the number of a data block must be 1 to {LAST}")
    else:
        found = _AREA.fullmatch(address)
        if not found:
            raise ValueError(f"'{symbol.address}' is no address; expected e.g. %MW10 or %DB4.DBD0")
        head, width, byte, bit = found[1], found[2] or "X", int(found[3]), found[4]
    if (width == "X") != (bit is not None):
        raise ValueError(f"'{symbol.address}' is no address; a bit has a byte and a bit, as %M10.3")
    if byte + max(size, 1) > LAST + 1:
        raise ValueError(f"'{symbol.address}' reaches too far; the last byte is {LAST}")
    named = _BYTES[width]
    # a type of more than 4 bytes is named by its first byte, TIA Portal writes it as its first bit
    if named != size and not (size > 4 and (width == "B" or (width == "X" and bit == "0"))):
        what = "a bit" if size == 0 else f"{size} byte(s)"
        raise ValueError(f"a {symbol.type} is {what}, '{symbol.address}' names something else")
    if kind == "bool":
        return f"{head}{'X' if head.startswith('DB') else ''}{byte}.{bit}", kind
    return f"{head}{letter(kind.partition('[')[0])}{byte}", kind


def _type(text: str) -> tuple[str, int]:
    name = " ".join(text.upper().split())
    found = _STRING.fullmatch(name)
    if found or name in ("STRING", "WSTRING"):
        wide = name.startswith("W")
        length = int(found[2]) if found else 254
        if not 1 <= length <= (16_382 if wide else 254):
            raise ValueError(f"'{text}': the length must be 1 to {16_382 if wide else 254}")
        size = 2 * length + 4 if wide else length + 2
        return f"{'wstring' if wide else 'string'}[{length}]", size
    if name not in TYPES:
        if not name:
            raise ValueError("it has no type")
        if text.startswith('"') or name.startswith("ARRAY"):
            raise ValueError(f"the type {text} is not elementary; import the block or type itself")
        raise ValueError(f"'{text}' is no type that is known{nearest(name, [])}")
    known = TYPES[name]
    if known.name is None:
        raise ValueError(f"it is of type {text}: {known.why}")
    return known.name, known.size
