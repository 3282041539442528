"""The type of a register from the words of a list and the number of its registers."""

from __future__ import annotations

import difflib
import re

_SURE = {
    "int16": "int16", "s16": "int16", "i16": "int16", "sint16": "int16", "short": "int16",
    "signed16": "int16", "uint16": "uint16", "u16": "uint16", "ushort": "uint16", "word": "uint16",
    "unsigned16": "uint16", "int32": "int32", "s32": "int32", "i32": "int32", "dint": "int32",
    "long": "int32", "signed32": "int32", "sint32": "int32", "uint32": "uint32", "u32": "uint32",
    "dword": "uint32", "udint": "uint32", "ulong": "uint32", "unsigned32": "uint32",
    "int64": "int64", "s64": "int64", "i64": "int64", "lint": "int64", "signed64": "int64",
    "uint64": "uint64", "u64": "uint64", "ulint": "uint64", "lword": "uint64",
    "unsigned64": "uint64", "float32": "float32", "f32": "float32", "real": "float32",
    "single": "float32", "float64": "float64",
    "f64": "float64", "double": "float64", "lreal": "float64", "bool": "bool", "boolean": "bool",
    "bit": "bool", "uint8h": "uint8h", "int8h": "int8h", "uint8l": "uint8l", "int8l": "int8l",
    "16bitint": "int16", "32bitint": "int32", "16bituint": "uint16", "32bituint": "uint32",
    "32bitfloat": "float32", "64bitfloat": "float64", "enum16": "uint16", "bitfield16": "uint16",
    "bitfield32": "uint32", "acc32": "uint32", "acc64": "uint64",
}  # fmt: skip
_BY_WIDTH = {
    "int": "int", "integer": "int", "signed": "int", "signedint": "int", "signedinteger": "int",
    "uint": "uint", "unsigned": "uint", "unsignedint": "uint", "unsignedinteger": "uint",
    "enum": "uint", "bitfield": "uint", "float": "float", "ieee754": "float",
    "floatingpoint": "float",
}  # fmt: skip
_TEXTS = frozenset({"string", "str", "ascii", "char", "text", "utf8", "vstring", "varchar"})
_REFUSED = {
    "bcd": "the driver has no BCD numbers",
    "int8": "write int8h (high byte) or int8l (low byte) in the list",
    "uint8": "write uint8h (high byte) or uint8l (low byte) in the list",
    "byte": "write uint8h (high byte) or uint8l (low byte) in the list",
    "int24": "the driver has no numbers of 24 bits",
    "int48": "the driver has no numbers of 48 bits",
    "sunssf": "a scale factor in a register of its own; set `scale:` by hand",
    "datetime": "the driver has no dates",
    "date": "the driver has no dates",
    "time": "the driver has no times",
}
_ARRAY = re.compile(r"(.+?)\[([0-9]{1,5})\]")

REGISTERS = {
    "bool": 0, "int16": 1, "uint16": 1, "int8h": 1, "int8l": 1, "uint8h": 1, "uint8l": 1,
    "int32": 2, "uint32": 2, "float32": 2, "int64": 4, "uint64": 4, "float64": 4,
}  # fmt: skip


class Length:
    """What a list says of the length of a value, in the unit of its column."""

    def __init__(self, number: int | None, unit: str) -> None:
        self.number = number
        self.unit = unit
        """registers, bytes, bits, or empty where the column does not say."""

    def registers(self) -> set[int]:
        """How many registers it can mean."""
        n = self.number
        if n is None:
            return set()
        known = {"registers": {n}, "bytes": {(n + 1) // 2}, "bits": {(n + 15) // 16}}
        if self.unit:
            return known[self.unit]
        return {n, *({n // 2} if n in (2, 4, 8) else ()), *({n // 16} if n in (16, 32, 64) else ())}


def map_type(text: str, length: Length) -> str:
    """The type as the map spells it.

    Raises:
        ValueError: it is none, not one of the driver's, or does not fit its length.
    """
    plain = re.sub(r"[\s_\-]+", "", text.lower())
    if not plain:
        raise ValueError("it has no type; expected e.g. int16, uint32 or float32")
    count = None
    if (found := _ARRAY.fullmatch(plain)) is not None:
        plain, count = found[1], int(found[2])
        if not count:
            raise ValueError(f"'{text}': a length counts from 1")
    if plain in _TEXTS:
        return _text(text, count, length)
    if plain in _REFUSED:
        raise ValueError(f"it is of type {text}: {_REFUSED[plain]}")
    said = length.registers()
    if plain in _BY_WIDTH:
        family = _BY_WIDTH[plain]
        usual, possible = (2, {2, 4}) if family == "float" else (1, {1, 2, 4})
        widths = said & possible if said else {usual}
        if len(widths) != 1:
            example = f"{family}32"
            raise ValueError(f"'{text}' with that length is unclear; write e.g. {example} there")
        name = f"{family}{16 * widths.pop()}"
    else:
        name = _SURE.get(plain, "")
    if not name:
        near = difflib.get_close_matches(plain, [*_SURE, *_BY_WIDTH, *_TEXTS], 1)
        hint = f"did you mean {near[0]}?" if near else "expected e.g. int16, uint32 or float32"
        raise ValueError(f"'{text}' is no type; {hint}")
    registers = REGISTERS[name] * (count or 1)
    if said and name != "bool" and registers not in said:
        has = (
            f"has {registers} register(s), but the list says {length.number} {length.unit}".rstrip()
        )
        raise ValueError(f"a {text} {has}; for an array write {name}[n] in the list")
    return name if count is None else f"{name}[{count}]"


def _text(text: str, count: int | None, length: Length) -> str:
    if count is None and length.number is not None:
        if length.unit == "":
            raise ValueError(
                f"is the length of the {text} in registers or characters? write string[n]"
            )
        count = {"registers": 2, "bytes": 1, "bits": 1}[length.unit] * length.number
        count = count // 8 if length.unit == "bits" else count
    if not count or count > 250:
        raise ValueError(f"'{text}' needs its length in characters, 1 to 250; write string[n]")
    return f"string[{count}]"
