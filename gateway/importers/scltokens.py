"""The words of a TIA Portal or STEP 7 source, with comments put aside by their line."""

from __future__ import annotations

import re
from typing import NamedTuple

from gateway.errors import ConfigError, Place
from gateway.importers.files import Source, stop

_TOKEN = re.compile(
    r"""(?P<space>\s+)
    |(?P<line>//[^\n]*)
    |(?P<block>\(/\*.*?\*/\)|\(\*.*?\*\)|/\*.*?\*/)
    |(?P<quoted>"[^"\n]*")
    |(?P<text>'(?:\$.|[^'$\n])*')
    |(?P<range>\.\.)
    |(?P<assign>:=)
    |(?P<number>[0-9][\w\#]*(?:\.[0-9]\w*)?)
    |(?P<word>[^\W\d]\w*)
    |(?P<open>\(\*|/\*|"|')
    |(?P<mark>.)""",
    re.VERBOSE | re.DOTALL,
)
_OPEN = {
    "(*": "this comment is not closed; expected *)",
    "/*": "this comment is not closed; expected */",
    '"': 'this name is not closed; expected " on the same line',
    "'": "this text is not closed; expected ' on the same line",
}


class Token(NamedTuple):
    """``kind`` is word, quoted, text, number, mark, range, assign or end."""

    kind: str
    text: str
    at: int

    @property
    def upper(self) -> str:
        """In capitals where it is a word, else nothing: keywords are not case sensitive."""
        return self.text.upper() if self.kind == "word" else ""

    @property
    def shown(self) -> str:
        """For a message."""
        return "the end of the file" if self.kind == "end" else f"'{self.text[:40]}'"


class Tokens:
    """The tokens of a text, one at a time."""

    def __init__(self, source: Source, *, start: int = 0) -> None:
        self.source = source
        self.comments: dict[int, str] = {}
        """Line -> the comment that stands in it."""
        self._at = start
        self._next: Token | None = None

    def place(self, token: Token) -> Place:
        """Where a token stands."""
        return self.source.place(token.at)

    def peek(self) -> Token:
        """The next token, which stays the next."""
        if self._next is None:
            self._next = self._read()
        return self._next

    def take(self) -> Token:
        """The next token."""
        token = self.peek()
        self._next = None
        return token

    def take_if(self, *texts: str) -> Token | None:
        """The next token where it is one of these marks or (in capitals) keywords, else None."""
        token = self.peek()
        if token.upper in texts or (token.kind in ("mark", "assign") and token.text in texts):
            return self.take()
        return None

    def expect(self, *texts: str) -> Token:
        """The next token, which must be one of these."""
        token = self.take_if(*texts)
        if token is None:
            found = self.peek()
            raise self.fault(found, f"expected {' or '.join(texts)}, found {found.shown}")
        return token

    def fault(self, token: Token, message: str) -> ConfigError:
        """The error at a token."""
        return stop(self.place(token), message)

    def skip_line(self) -> str:
        """Pass over what is left of the line of the token that was taken last; its text."""
        start = self._next.at if self._next else self._at
        end = self.source.text.find("\n", self._at if self._next is None else start)
        end = len(self.source.text) if end < 0 else end
        self._next, self._at = None, end
        return self.source.text[start:end]

    def skip_past(self, word: str) -> bool:
        """Pass over everything up to and with a word that begins a line; False if none does."""
        pattern = re.compile(rf"^[ \t]*{word}\b", re.MULTILINE | re.IGNORECASE)
        found = pattern.search(self.source.text, self._next.at if self._next else self._at)
        self._next = None
        self._at = found.end() if found else len(self.source.text)
        return found is not None

    def skip_value(self) -> Token:
        """Pass over an initial value; the semicolon that ends it."""
        while True:
            token = self.take()
            if token.kind == "end":
                raise self.fault(token, "the file ends in an initial value; expected ;")
            if token.text == ";" and token.kind == "mark":
                return token

    def comment_at(self, line: int) -> str:
        """The comment of a line; the next token is looked at first, since it stands before that."""
        self.peek()
        return self.comments.get(line, "")

    def _read(self) -> Token:
        text, at = self.source.text, self._at
        while True:
            found = _TOKEN.match(text, at)
            if found is None:
                self._at = len(text)
                return Token("end", "", len(text))
            kind, word = str(found.lastgroup), found.group()
            if kind == "line":
                self._note(at, word[2:])
            elif kind == "block":
                self._note(at, word.strip("(/*) \t\n"))
            elif kind == "open":
                raise stop(self.source.place(at), _OPEN[word])
            elif kind != "space":
                self._at = found.end()
                return Token(kind, word, at)
            at = found.end()

    def _note(self, at: int, comment: str) -> None:
        words = " ".join(comment.split())
        if words:
            line = self.source.line(at)
            before = self.comments.get(line)
            self.comments[line] = f"{before} {words}" if before else words
