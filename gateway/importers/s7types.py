"""The types of STEP 7 in a block with standard access: what the map calls them, and their size."""

from __future__ import annotations

import difflib
from typing import Literal, NamedTuple


class Elementary(NamedTuple):
    """``name`` in a map, None where the driver cannot read it; ``size`` in bytes, 0 a bit."""

    name: str | None
    size: int
    why: str = ""


def _of(size: int, names: str) -> dict[str, Elementary]:
    return {name: Elementary(name.lower(), size) for name in names.split()}


_POINTER = "a pointer says nothing outside the CPU"
_MOMENT = "the driver has no date and time with nanoseconds since 1970"
_PARAMETER = "a number of a block says nothing outside the CPU"

TYPES: dict[str, Elementary] = {
    **_of(0, "BOOL"),
    **_of(1, "BYTE CHAR SINT USINT"),
    **_of(2, "WORD INT UINT DATE S5TIME WCHAR"),
    **_of(4, "DWORD DINT UDINT REAL TIME TOD"),
    **_of(8, "LWORD LINT ULINT LREAL LTIME LTOD DATE_AND_TIME"),
    **_of(12, "DTL"),
    "TIME_OF_DAY": Elementary("tod", 4),
    "LTIME_OF_DAY": Elementary("ltod", 8),
    "DT": Elementary("date_and_time", 8),
    "LDT": Elementary(None, 8, _MOMENT),
    "DATE_AND_LTIME": Elementary(None, 8, _MOMENT),
    "POINTER": Elementary(None, 6, _POINTER),
    "ANY": Elementary(None, 10, _POINTER),
    **{name: Elementary(None, 2, _PARAMETER) for name in ("BLOCK_DB", "BLOCK_FB", "BLOCK_FC")},
}
"""Sizes: Siemens, Programming with STEP 7 (A5E02789666), data types; TIA Portal's help, the same
chapter."""

_LETTERS: dict[str, Literal["W", "D"]] = {
    **dict.fromkeys(("word", "int", "uint", "s5time", "date", "wchar"), "W"),
    **dict.fromkeys(("dword", "dint", "udint", "real", "time", "tod"), "D"),
}

TEXTS = frozenset({"bool", "char", "wchar", "date", "date_and_time", "dtl"})
"""Map types that are no numbers and so have no unit."""

TIMES = frozenset({"s5time", "time", "ltime", "tod", "ltod"})
"""Map types that say their unit themselves."""


def letter(name: str) -> str:
    """The letter by which an address names a type of the map: X, B, W or D."""
    return "X" if name == "bool" else _LETTERS.get(name, "B")


def takes_unit(map_type: str) -> bool:
    """Whether a value of this type of the map can have a unit of its own."""
    plain = map_type.partition("[")[0]
    return plain not in TEXTS and plain not in TIMES and "string" not in plain


def nearest(name: str, also: list[str]) -> str:
    """The nearest spelling of a type, or nothing."""
    known = [*TYPES, "STRING", "WSTRING", *(word.upper() for word in also)]
    near = difflib.get_close_matches(name.upper(), known, 1)
    return f"; did you mean {near[0]}?" if near else ""
