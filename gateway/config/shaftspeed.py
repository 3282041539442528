"""Whether a text or a tag can be the speed of a shaft, in rpm."""

from __future__ import annotations

import re

from gateway.analysis.livetags import LiveTag

_NUMBER = re.compile(r"\s*([-+]?[0-9]+(?:[.,][0-9]+)?)\s*(?:rpm|r/min|1/min|u/min)?\s*", re.I)
"""A number in place of a tag."""

_RPM_OF = {"hz": "60", "1/s": "60", "s-1": "60", "rad/s": "9.5493"}
"""Other units of a speed -> how many rpm one is."""


def check_text(text: str) -> None:
    """ValueError where the text is a number, which is written without quotes and unit."""
    if found := _NUMBER.fullmatch(text):
        number = found[1].replace(",", ".")
        raise ValueError(f"'{text}' is no tag; a speed in rpm is a number: write {number}")


def check_tag(tag: LiveTag, ratio: float) -> None:
    """ValueError where the tag is no number, or says that it is not in rpm.

    A ``ratio`` other than 1 may well make rpm of it.
    """
    if tag.table.kinds[tag.column] in ("str", "b1"):
        kind = "a text" if tag.is_text else "a bit"
        raise ValueError(f"'{tag.text}' is {kind}; expected a number, in rpm")
    unit = tag.table.units[tag.column] or ""
    if unit.lower() in _RPM_OF and ratio == 1.0:
        message = f"'{tag.text}' is in {unit}; expected rpm, or a speed_ratio that makes it so"
        raise ValueError(f"{message}, e.g. {_RPM_OF[unit.lower()]}")
