"""A parsed YAML file: plain data that knows where everything stands."""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

from gateway.errors import Fault, Place
from gateway.yamlfile.scalars import Ambiguous

Path_: TypeAlias = tuple[str | int, ...]
"""Keys and indexes from the root to a value."""


class Spot(NamedTuple):
    """Where an entry stands (1-based) and its value as it was written, if that is a scalar."""

    line: int
    col: int
    value_line: int
    value_col: int
    text: str | None


class Section(dict[str, Any]):
    """A mapping; ``spots`` has the position of each entry."""

    __slots__ = ("col", "line", "spots")

    def __init__(self, line: int, col: int) -> None:
        super().__init__()
        self.line = line
        self.col = col
        self.spots: dict[str, Spot] = {}


class Items(list[Any]):
    """A list; ``spots`` has the position of each item."""

    __slots__ = ("spots",)

    def __init__(self) -> None:
        super().__init__()
        self.spots: list[Spot] = []


def printable(text: str) -> str:
    """The text with escapes for what would disturb a terminal or break a line."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


def dotted(path: Sequence[str | int]) -> str:
    """``devices.hopper_4.labels``, with indexes as ``[0]``; printable whatever the keys are."""
    out = ""
    for part in path:
        if isinstance(part, int):
            out += f"[{part}]"
            continue
        word = printable(part) or "''"
        out += f".{word}" if out else word
    return out


class Misread(NamedTuple):
    """A fault of the text of a value, which has none; and why, if readers differ on it."""

    fault: Fault
    ambiguous: Ambiguous | None


def tidy(path: Path) -> Path:
    """The path without ``..``: the same file, by the same links where that is possible."""
    if ".." not in path.parts:
        return path
    normal = Path(os.path.normpath(path))
    return normal if os.path.realpath(normal) == os.path.realpath(path) else path.resolve()


def shown(path: Path) -> str:
    """The file's name for people: relative to the current folder where it lies in it."""
    here = Path.cwd()
    if here != here.parent:  # a service runs in /, where all would be relative
        with suppress(ValueError):
            path = path.relative_to(here)
    return printable(str(path))


@dataclass(slots=True)
class Document:
    """One parsed file. ``faults`` are those of its text; the data is usable in spite of them."""

    path: Path
    file: str
    root: Section
    faults: list[Fault] = field(default_factory=list)
    bad: dict[tuple[int, int], Misread] = field(default_factory=dict)
    """Positions of values that have a fault already."""

    def place(self, path: Path_, *, key: bool = False) -> Place:
        """Where the value (or the key) at ``path`` stands; the nearest parent where it is not."""
        at: Any = self.root
        line, col = at.line, at.col
        for number, part in enumerate(path):
            last = number == len(path) - 1
            if isinstance(at, Section) and part in at.spots:
                spot = at.spots[str(part)]
            elif isinstance(at, Items) and isinstance(part, int) and part < len(at):
                spot = at.spots[part]
            else:
                break
            at = at[part]
            # a section's own position is its key's: its first entry would be another line
            by_key = (key and last) or (isinstance(at, Section) and isinstance(part, str))
            line, col = (spot.line, spot.col) if by_key else (spot.value_line, spot.value_col)
        return Place(self.file, line, col, dotted(path))

    def value(self, path: Path_) -> Any:
        """The value at ``path``."""
        at: Any = self.root
        for part in path:
            at = at[part]
        return at

    def text(self, path: Path_) -> str | None:
        """The value at ``path`` as it was written, if it is a scalar."""
        if not path:
            return None
        text: str | None = self.value(path[:-1]).spots[path[-1]].text
        return text
