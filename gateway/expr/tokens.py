"""From the text of an expression to its tokens, and the error that tells where it is wrong."""

from __future__ import annotations

import re
from typing import NamedTuple

MAX_LENGTH = 2000
"""Longest text of an expression, in characters."""


class ExpressionError(ValueError):
    """An expression that cannot be used: what is wrong; what was expected."""

    def __init__(self, message: str, column: int) -> None:
        super().__init__(message)
        self.column = column
        """Where, in characters from 1."""

    def __reduce__(self) -> tuple[type[ExpressionError], tuple[str, int]]:
        return (type(self), (str(self), self.column))


class Token(NamedTuple):
    """A piece of the text. Its kinds: number, name, word, text, symbol, end."""

    kind: str
    text: str
    column: int

    def __str__(self) -> str:
        shown = self.text if len(self.text) <= 40 else f"{self.text[:37]}..."
        return shown if self.kind == "text" else f"'{shown}'"


_TOKENS = re.compile(
    r"""(?P<number>(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?)
      |(?P<name>(?:[^\W\d]\w*|`[^`]+`)(?:\.(?:[^\W\d]\w*|`[^`]+`))*)
      |(?P<text>"[^"]*"|'[^']*')
      |(?P<symbol>\*\*|//|<=|>=|==|!=|<(?!>)|[-+*/%>(),])""",
    re.VERBOSE,
)
_PART = re.compile(r"`([^`]+)`|(\w+)")
_WORDS = frozenset({"and", "or", "not", "in", "true", "false", "True", "False"})
_SLIPS = {
    "&&": "write 'and'",
    "&": "write 'and'",
    "||": "write 'or'",
    "|": "write 'or'",
    "=>": "write '>='",
    "=<": "write '<='",
    "<>": "write '!='",
    "=": "write '==' to compare",
    "!": "write 'not'",
    "^": "write '**' for a power",
    ".": "names are joined without spaces: plc_1.process.speed",
    '"': "the closing quote is missing",
    "'": "the closing quote is missing",
    "`": "expected a name and a closing backquote",
}
"""What is written by those who think of another language."""


def split(text: str) -> list[Token]:
    """All tokens, the end as the last; ExpressionError at what is none."""
    if len(text) > MAX_LENGTH:
        message = f"the expression has {len(text)} characters; expected at most {MAX_LENGTH}"
        raise ExpressionError(message, MAX_LENGTH + 1)
    tokens: list[Token] = []
    at = 0
    while at < len(text):
        found = _TOKENS.match(text, at)
        if found is not None:
            kind, word = str(found.lastgroup), found[0]
            if kind == "name" and word in _WORDS:
                kind = "word"
            elif kind == "name":
                word = ".".join(quoted or plain for quoted, plain in _PART.findall(word))
            tokens.append(Token(kind, word, at + 1))
            at = found.end()
        elif text[at].isspace():
            at += 1
        else:
            what = next((slip for slip in _SLIPS if text.startswith(slip, at)), text[at])
            hint = _SLIPS.get(what, "expected a name, a number, a text or an operator")
            raise ExpressionError(f"{what!r} has no meaning here; {hint}", at + 1)
    return [*tokens, Token("end", "", len(text) + 1)]
