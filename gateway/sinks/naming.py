"""Names of streams, keys and topics by a pattern: ``readings:{gateway}``."""

from __future__ import annotations

import re
from collections.abc import Callable

from gateway.model import Table

_NAMES = ("gateway", "device", "table")
_FIELD = re.compile(r"\{([^{}]*)\}")


def pattern_fault(pattern: str) -> str | None:
    """What is wrong with the pattern of a name; None where nothing is."""
    for name in _FIELD.findall(pattern):
        if name not in _NAMES:
            expected = ", ".join(f"{{{n}}}" for n in _NAMES)
            return f"'{{{name}}}' is not known; expected one of {expected}"
    if set("{}") & set(_FIELD.sub("", pattern)):
        return f"'{pattern}': the braces do not match; expected e.g. readings:{{gateway}}"
    return None


def name_of(pattern: str, table: Table, level: Callable[[str], str] = str) -> str:
    """The pattern filled for a table; ``level`` makes each of its names fit."""
    words = {
        "gateway": dict(table.labels).get("gateway", ""),
        "device": table.device,
        "table": table.key,
    }
    return _FIELD.sub(lambda found: level(words[found[1]]), pattern)


def filled(pattern: str, gateway: str) -> str:
    """The pattern of a name that only the gateway's name is in."""
    return pattern.replace("{gateway}", gateway)
