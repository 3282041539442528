"""Placeholders such as ``{db}`` in the texts of a device map, filled by each device."""

from __future__ import annotations

import re
from collections.abc import Mapping

BRACES = re.compile(r"\{([^{}]*)\}")
"""A placeholder in a text."""

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


def names_in(text: str) -> list[str] | None:
    """The placeholders of a text; None where its braces are wrong."""
    names = BRACES.findall(text)
    rest = BRACES.sub("", text)
    if "{" in rest or "}" in rest or not all(map(_NAME.fullmatch, names)):
        return None
    return names


def fill(text: str, values: Mapping[str, object]) -> str | None:
    """The text with its placeholders filled; None where one has no value."""
    if "{" not in text:
        return text
    names = BRACES.findall(text)
    if any(name not in values for name in names):
        return None
    return BRACES.sub(lambda found: str(values[found[1]]), text)
