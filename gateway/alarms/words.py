"""Messages of alarms: texts with values in them, in a format that can do nothing else."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeAlias

from gateway.analysis.livetags import LiveTag, Reading
from gateway.model import Scalar
from gateway.terminal import number

WORDS = ("value", "limit", "unit", "tag", "device", "alarm", "condition", "state", "severity")
"""Names that a message may hold beside those of tags."""

MAX_MESSAGE = 1000
"""Longest message, in characters; a tag may hold a long text."""

UNKNOWN = "?"

_FIELD = re.compile(r"\{([^{}:]*)(?::([^{}]*))?\}")
_FORMAT = re.compile(r"\.[0-9]{1,2}[fge]")

Field: TypeAlias = tuple[str, str]
"""Name, and a format such as ``.1f`` or the empty text."""


@dataclass(slots=True, frozen=True)
class Template:
    """A message in parts: texts, words with their format, and tags with theirs."""

    parts: tuple[str | tuple[str, str] | tuple[LiveTag, str], ...]

    def render(self, words: Mapping[str, Scalar], read: Callable[[LiveTag], Reading]) -> str:
        """The text with its values; one that is not known is a question mark."""
        out = []
        for part in self.parts:
            if isinstance(part, str):
                out.append(part)
                continue
            what, form = part
            value = words.get(what) if isinstance(what, str) else read(what).value
            out.append(shown(value, form))
        text = cleaned("".join(out))
        return text if len(text) <= MAX_MESSAGE else f"{text[: MAX_MESSAGE - 3]}..."


def cleaned(text: str) -> str:
    """In one line, and nothing in it that is no character: a machine's text may hold anything."""
    return " ".join(text.encode("utf-8", "replace").decode().replace("\0", " ").split())


def shown(value: Scalar, form: str = "") -> str:
    """A value for people."""
    if value is None:
        return UNKNOWN
    if isinstance(value, bool):
        return "on" if value else "off"
    if isinstance(value, str):
        return value
    return format(value, form) if form else number(value)


def parse(text: str, find: Callable[[str], LiveTag | None]) -> Template:
    """A template of a text. ``find`` gives the tag of a name; None where it was told already.

    ValueError says what is wrong.
    """
    parts: list[str | tuple[str, str] | tuple[LiveTag, str]] = []
    at = 0
    for found in _FIELD.finditer(text):
        parts.append(_plain(text[at : found.start()], text))
        name, form = found[1].strip(), found[2] or ""
        if form and not _FORMAT.fullmatch(form):
            raise ValueError(f"'{form}' is no format of a number; expected e.g. {{value:.1f}}")
        if name in WORDS:
            parts.append((name, form))
        elif (tag := find(name)) is not None:
            parts.append((tag, form))
        at = found.end()
    parts.append(_plain(text[at:], text))
    return Template(tuple(part for part in parts if part))


def _plain(part: str, text: str) -> str:
    if "{" in part or "}" in part:
        raise ValueError(f"'{text}': the braces do not match; expected e.g. {{value}}")
    return part
