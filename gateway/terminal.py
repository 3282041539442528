"""Plain text for people: safe characters, aligned tables, colour only where it is wanted."""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Callable, Collection, Mapping, Sequence
from decimal import Decimal
from typing import Literal, TextIO, TypeAlias

Colour: TypeAlias = Literal["red", "yellow", "green", "dim", "bold"]

_CODES: dict[Colour, str] = {"red": "31", "yellow": "33", "green": "32", "dim": "2", "bold": "1"}

# C0, DEL and C1, the line and paragraph separators, and what turns the writing direction round:
# a device's string must not move the cursor, forge a line or hide a part of one
_UNSAFE = {
    code: f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"
    for code in (
        *range(0x20),
        *range(0x7F, 0xA0),
        0x2028,
        0x2029,
        *range(0x202A, 0x202F),
        *range(0x2066, 0x206A),
        *range(0xD800, 0xE000),
    )
} | {ord("\n"): "\\n", ord("\r"): "\\r", ord("\t"): "\\t"}


def printable(text: str) -> str:
    r"""The text with control characters written out (``\x1b``), so that it stays on its line."""
    return text if text.isascii() and text.isprintable() else text.translate(_UNSAFE)


def wants_colour(stream: TextIO, environ: Mapping[str, str] = os.environ) -> bool:
    """Whether to colour: a terminal that is not dumb, and nobody asked for none (NO_COLOR)."""
    if environ.get("NO_COLOR"):
        return False
    if environ.get("FORCE_COLOR"):
        return True
    return stream.isatty() and environ.get("TERM", "dumb") != "dumb"


def paint(text: str, colour: Colour, on: bool) -> str:
    """The text in a colour, or as it is."""
    return f"\x1b[{_CODES[colour]}m{text}\x1b[0m" if on and text else text


def width(text: str) -> int:
    """Cells that the text takes on a terminal: a wide character takes two."""
    if text.isascii():
        return len(text)
    return sum(
        0 if unicodedata.combining(c) else 2 if unicodedata.east_asian_width(c) in "WF" else 1
        for c in text
    )


def aligned(
    rows: Sequence[Sequence[str]],
    header: Sequence[str] = (),
    *,
    right: Collection[int] = (),
    dress: Callable[[int, str, str], str] | None = None,
) -> list[str]:
    """Rows as lines of a table, two blanks between columns; ``right`` columns end flush.

    ``dress`` may colour a padded cell; it gets the column, the cell's text and the padded cell.
    """
    safe = [[printable(cell) for cell in row] for row in ((header, *rows) if header else rows)]
    if not safe:
        return []
    count = max(map(len, safe))
    widths = [max(width(row[i]) if i < len(row) else 0 for row in safe) for i in range(count)]
    lines = []
    for row in safe:
        cells = []
        for i, cell in enumerate(row):
            pad = " " * (widths[i] - width(cell))
            padded = pad + cell if i in right else cell + pad
            if i == len(row) - 1:
                padded = padded.rstrip()
            cells.append(dress(i, cell, padded) if dress else padded)
        lines.append("  ".join(cells).rstrip())
    return lines


def number(value: float, digits: int = 4) -> str:
    """A number as a person writes it, whatever its size: ``20,000``, ``2.5``, ``0.00012``.

    At least ``digits`` significant digits, and all of those before the point.
    """
    if abs(value) >= 10 ** (digits - 1):
        return f"{value:,.0f}"
    return format(Decimal(f"{value:.{digits}g}"), "f")


def duration(seconds: float) -> str:
    """A length of time as a person says it: ``40 ms``, ``3.2 s``, ``5 min``, ``2.5 h``, ``9 d``."""
    if seconds < 1:
        return f"{number(seconds * 1e3, 3)} ms"
    for limit, size, unit in ((120, 1, "s"), (7200, 60, "min"), (172_800, 3600, "h")):
        if seconds < limit:
            return f"{number(seconds / size, 3)} {unit}"
    return f"{number(seconds / 86_400, 3)} d"


def count(how_many: int, noun: str) -> str:
    """A number with its noun: ``1 tag``, ``12,000 tags``."""
    plural = noun + ("" if how_many == 1 else "s")
    if noun.endswith("y") and how_many != 1:
        plural = noun[:-1] + "ies"
    return f"{how_many:,} {plural}"


def size(bytes_: float) -> str:
    """Bytes as a person says them: ``512 B``, ``1.5 MB``, ``4 GB`` (1 MB = 10^6 bytes)."""
    for unit in ("B", "kB", "MB", "GB"):
        if bytes_ < 999.5:
            return f"{bytes_:.3g} {unit}"
        bytes_ /= 1000
    return f"{bytes_:,.1f} TB"
