"""Writes a device map as YAML, with the comments of the source."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Sequence

from gateway.importers.made import Made, MadeGroup, MadeModule, MadePlaced, MadeTag
from gateway.yamlfile.document import printable
from gateway.yamlfile.scalars import is_text

MAX_COMMENT = 160
WIDEST_NAME = 32

_BARE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*", re.ASCII)
_BARE_VALUE = re.compile(r"[A-Za-z_][A-Za-z0-9_./]*", re.ASCII)
_OFFSET = re.compile(r"[0-9]+(\.[0-7])?")


def scalar(text: str) -> str:
    """A text as YAML, in quotes where a reader could take it for something else."""
    if _BARE_VALUE.fullmatch(text) and is_text(text):
        return text
    return json.dumps(text, ensure_ascii=not text.isprintable())


def _key(text: str) -> str:
    return text if _BARE.fullmatch(text) and is_text(text) else scalar_quoted(text)


def scalar_quoted(text: str) -> str:
    """A text in double quotes."""
    return json.dumps(text, ensure_ascii=not text.isprintable())


def number(value: float) -> str:
    """The shortest text that reads back as the same number, and that every reader takes for one."""
    text = repr(value)
    if text.endswith(".0"):
        return text[:-2]
    # YAML 1.1 wants a point in a number with an exponent
    return text if "e" not in text or "." in text else text.replace("e", ".0e")


def comment(text: str) -> str:
    """One line of printable text behind a #, or nothing."""
    words = printable(" ".join(text.split()))
    if len(words) > MAX_COMMENT:
        words = words[: MAX_COMMENT - 3] + "..."
    return f"# {words}" if words else ""


def render(made: Made, head: Iterable[str], interval_s: float) -> str:
    """The whole file. ``head`` are the lines of comment at its top."""
    lines = [comment(line) or "#" for line in head]
    lines.append(f"driver: {made.driver}")
    if made.modules:
        lines += ["", "modules:"]
        for module in made.modules:
            lines += _module(module)
    lines += ["", "groups:"]
    for group in made.groups:
        lines += _group(group, interval_s)
    return "\n".join(lines) + "\n"


def _behind(line: str, text: str) -> str:
    said = comment(text)
    return f"{line}  {said}" if said else line


def _module(module: MadeModule) -> Iterator[str]:
    yield _behind(f"  {_key(module.name)}:", module.comment)
    yield from _tags(module.tags, "    ", "at")


def _group(group: MadeGroup, interval_s: float) -> Iterator[str]:
    yield _behind(f"  {_key(group.name)}:", group.comment)
    yield f"    interval_s: {number(interval_s)}"
    if group.tags:
        yield "    tags:"
        yield from _tags(group.tags, "      ", "address")
    if group.placed:
        yield "    modules:"
        yield from _placed(group.placed)


def _placed(placed: Sequence[MadePlaced]) -> Iterator[str]:
    for each in placed:
        use = f"use: {scalar(each.use)}, at: {scalar_quoted(each.at)}"
        yield _behind(f"      {_key(each.name)}: {{{use}}}", each.comment)


def _tags(tags: Sequence[MadeTag], indent: str, where: str) -> Iterator[str]:
    width = max((len(_key(tag.name)) for tag in tags if len(tag.name) <= WIDEST_NAME), default=0)
    for tag in tags:
        head = f"{_key(tag.name)}:"
        at = tag.where if _OFFSET.fullmatch(tag.where) else scalar_quoted(tag.where)
        fields = [f"{where}: {at}", f"type: {scalar(tag.type)}"]
        if tag.unit is not None:
            fields.append(f"unit: {scalar(tag.unit)}")
        if tag.scale != 1.0:
            fields.append(f"scale: {number(tag.scale)}")
        if tag.offset != 0.0:
            fields.append(f"offset: {number(tag.offset)}")
        if tag.order is not None:
            fields.append(f"order: {tag.order}")
        yield _behind(f"{indent}{head:<{width + 1}} {{{', '.join(fields)}}}", tag.comment)
