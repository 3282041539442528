"""What is meant by a text where no text is expected: ``1,5``, ``500ms``, ``"2"``, ``"yes"``."""

from __future__ import annotations

import re
from decimal import Decimal
from typing import Any

_NUMBER = re.compile(r"[-+]?[0-9]+(?:\.[0-9]+)?")
_COMMA = re.compile(r"[-+]?[0-9]+,[0-9]+")
_THOUSANDS = re.compile(r"[-+]?[1-9][0-9]{0,2}(?:,[0-9]{3})+")
_WITH_UNIT = re.compile(r"([-+]?[0-9]+(?:[.,][0-9]+)?)\s*([a-z/%]+)")
_BAND = re.compile(
    r"([0-9.]+)\s*(?:hz)?\s*(?:-|–|,|;|\.\.+|to)\s*([0-9.]+)\s*(?:hz)?", re.IGNORECASE
)
_UNITS = {
    "_s": {
        "us": "0.000001", "ms": "0.001", "s": "1", "sec": "1", "seconds": "1", "min": "60",
        "minutes": "60", "h": "3600", "hours": "3600", "d": "86400", "days": "86400",
    },
    "_days": {"d": "1", "day": "1", "days": "1", "w": "7", "weeks": "7"},
    "_hz": {"hz": "1", "khz": "1000", "s/s": "1", "ks/s": "1000", "k": "1000"},
    "_mv_per_g": {"mv/g": "1", "v/g": "1000"},
    "_ma": {"ma": "1", "a": "1000"},
    "_v": {"v": "1", "mv": "0.001"},
    "_mm": {"mm": "1"},
    "slip": {"%": "0.01"},
}  # fmt: skip
"""Ending of a key -> unit -> how many of the key's own unit."""

_TRUTHS = {"true": "true", "yes": "true", "on": "true",
           "false": "false", "no": "false", "off": "false"}  # fmt: skip


def meant(value: Any, key: str, expected: str) -> str | None:
    """What to write instead of the text ``value`` for ``key``; None if that is unknown."""
    if key == "listen" and isinstance(value, int) and 0 < value < 65536:
        return f'"127.0.0.1:{value}"'
    if expected == "true or false" and str(value).lower() in _TRUTHS:
        return f"{_TRUTHS[str(value).lower()]} without quotes"
    if expected == "a list" and isinstance(value, str):
        return _list_meant(value.strip())
    if not isinstance(value, str) or expected not in ("a number", "a whole number"):
        return None
    text, whole = value.strip(), expected == "a whole number"
    if _NUMBER.fullmatch(text) and not (whole and "." in text):
        return f"{text} without quotes"
    if _THOUSANDS.fullmatch(text):
        joined = text.replace(",", "")
        return joined if whole or text.count(",") > 1 else f"{text.replace(',', '.')} or {joined}"
    if _COMMA.fullmatch(text):
        return None if whole else text.replace(",", ".")
    found = _WITH_UNIT.fullmatch(text.lower())
    units = next((u for ending, u in _UNITS.items() if key.endswith(ending)), {})
    if not found or found[2] not in units:
        return None
    number = Decimal(found[1].replace(",", ".")) * Decimal(units[found[2]])
    if number == number.to_integral_value():
        return f"{number.to_integral_value():f}"
    return None if whole else f"{number.normalize():f}"


def _list_meant(text: str) -> str | None:
    """``20-30`` is two numbers, and a word is a list of one."""
    if found := _BAND.fullmatch(text):
        return f"[{found[1]}, {found[2]}]"
    return f"[{text}]" if re.fullmatch(r"[A-Za-z_]\w*", text) else None
