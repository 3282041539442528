"""Long messages: folded at words on a terminal, one line each in a pipe so that grep finds them."""

from __future__ import annotations

import shutil
import textwrap
from typing import TextIO

NARROWEST = 40


def folded(text: str, stream: TextIO, *, first: str = "", rest: str = "") -> list[str]:
    """The text behind ``first``, its further lines behind ``rest``."""
    if not stream.isatty():
        return [first + text]
    width = max(NARROWEST, shutil.get_terminal_size().columns)
    return textwrap.wrap(
        text,
        width,
        initial_indent=first,
        subsequent_indent=rest,
        break_long_words=False,
        break_on_hyphens=False,
    ) or [first.rstrip()]
