"""How the HTTP app refuses: what is wrong and what was expected, as one small JSON object."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping

import orjson


class Problem(Exception):
    """An answer that is an error: HTTP status, what is wrong, what was expected."""

    def __init__(
        self,
        status: int,
        error: str,
        expected: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        self.status = status
        self.error = error
        self.expected = expected
        self.headers = dict(headers or {})
        super().__init__(error)

    @property
    def body(self) -> bytes:
        """The JSON object."""
        return orjson.dumps({"error": self.error, "expected": self.expected})


def unknown(what: str, name: str, known: Iterable[str]) -> Problem:
    """404: there is no such thing; with the nearest spelling, or what there is."""
    names = sorted(set(known))
    near = difflib.get_close_matches(name, names, 1)
    if near:
        expected = f"did you mean '{near[0]}'?"
    elif names:
        expected = f"one of: {', '.join(names[:20])}{', ...' if len(names) > 20 else ''}"
    else:
        expected = "there is none"
    return Problem(404, f"no {what} '{name}'", expected)
