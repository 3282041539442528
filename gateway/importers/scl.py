"""Reads sources of TIA Portal (.db, .udt, .scl) and STEP 7 V5 (.awl): types and data blocks."""

from __future__ import annotations

import difflib
import re
from pathlib import Path

from gateway.errors import Place
from gateway.importers.declared import Block, Bounds, DataType, Declared, Member, Udt
from gateway.importers.files import Source, stop
from gateway.importers.scltokens import Token, Tokens

MAX_DEPTH = 32
"""Deepest nesting of structures; STEP 7 itself allows 8."""

MAX_DIMENSIONS = 6

_TOP = ("TYPE", "DATA_BLOCK")
_CODE = ("FUNCTION_BLOCK", "FUNCTION", "ORGANIZATION_BLOCK")
_FREE_TEXT = frozenset({"TITLE", "AUTHOR", "FAMILY", "NAME", "VERSION", "CODE_VERSION1"})
_FLAGS = frozenset(
    ("NON_RETAIN", "RETAIN", "UNLINKED", "READ_ONLY", "KNOW_HOW_PROTECT", "STANDARD")
)
_KINDS = ("UDT", "FB", "SFB", "DB")
_CLASSIC_DB = re.compile(r"DB([0-9]{1,5})", re.IGNORECASE | re.ASCII)


def looks_like_source(text: str) -> bool:
    """Whether a text has a declaration of a type or block at the beginning of a line."""
    return (
        re.search(r"^[ \t\ufeff]*(?:TYPE|DATA_BLOCK|FUNCTION_BLOCK)\b", text, re.M | re.I)
        is not None
    )


def read_source(source: Source, into: Declared) -> None:
    """Add all types and data blocks of a source.

    Raises:
        ConfigError: the first thing that cannot be understood, with its place.
    """
    _Reader(source, into).read()


def parse_type(text: str, place: Place, members: list[Member] | None = None) -> DataType:
    """The type that stands in an attribute of an XML export; ``members`` are its children.

    Raises:
        ConfigError: at ``place``.
    """
    inner = Source(Path(place.file), place.file, text)
    reader = _Reader(inner, Declared(), at=place, members=members)
    found = reader.type(0)
    rest = reader.tokens.peek()
    if rest.kind != "end":
        raise stop(place, f"'{text[:60]}' is no type: {rest.shown} was not expected")
    return found


class _Reader:
    def __init__(
        self,
        source: Source,
        into: Declared,
        *,
        at: Place | None = None,
        members: list[Member] | None = None,
    ) -> None:
        self.tokens = Tokens(source)
        self._source = source
        self._into = into
        self._at = at
        self._members = members

    def _place(self, token: Token) -> Place:
        return self._at or self.tokens.place(token)

    def read(self) -> None:
        tokens = self.tokens
        while (token := tokens.peek()).kind != "end":
            word = token.upper
            if word == "TYPE":
                self._udt()
            elif word == "DATA_BLOCK":
                self._block()
            elif word in _CODE:
                tokens.take()
                name = tokens.peek()
                if word == "FUNCTION_BLOCK":
                    self._into.function_blocks.add(name.text.strip('"').lower())
                if not tokens.skip_past(f"END_{word}"):
                    raise tokens.fault(token, f"END_{word} is missing")
            elif token.text == ";":
                tokens.take()
            else:
                near = difflib.get_close_matches(token.text.upper(), (*_TOP, *_CODE), 1)
                hint = f"did you mean {near[0]}?" if near else "expected TYPE or DATA_BLOCK"
                raise tokens.fault(token, f"{token.shown} begins no block; {hint}")

    # -- types and blocks ---------------------------------------------------------------------

    def _udt(self) -> None:
        head = self.tokens.take()
        name, _ = self._block_name("UDT")
        comment = self._comment(head)
        self._header(head, "STRUCT")
        members = self._struct(1)
        self.tokens.take_if(";")
        self.tokens.expect("END_TYPE")
        self.tokens.take_if(";")
        self._into.add(Udt(name, members, self._place(head), comment))

    def _block(self) -> None:
        tokens = self.tokens
        head = tokens.take()
        name, number = self._block_name("DB")
        block = Block(name, self._place(head), number, comment=self._comment(head))
        attributes = self._header(head, "STRUCT", "VAR", "BEGIN", "END_DATA_BLOCK")
        access = attributes.get("s7_optimized_access")
        if access is not None:
            block.standard = access.lower() != "true"
        token = tokens.peek()
        if token.upper == "STRUCT":
            block.members = self._struct(1)
            tokens.take_if(";")
        elif token.upper == "VAR":
            while tokens.peek().upper == "VAR":
                tokens.take()
                while tokens.peek().upper in ("RETAIN", "NON_RETAIN", "CONSTANT", "DB_SPECIFIC"):
                    tokens.take()
                block.members += self._members_until("END_VAR", 1)
                tokens.take_if(";")
        elif token.upper in ("BEGIN", "END_DATA_BLOCK"):
            raise tokens.fault(head, f"the data block '{name}' declares nothing; expected STRUCT")
        else:
            block.of = self.type(1)
            tokens.take_if(";")
        if tokens.take_if("BEGIN"):
            while (token := tokens.take()).upper != "END_DATA_BLOCK":
                if token.kind == "end":
                    raise tokens.fault(head, "END_DATA_BLOCK is missing")
        else:
            tokens.expect("END_DATA_BLOCK", "BEGIN")
        self._into.blocks.append(block)

    def _block_name(self, kind: str) -> tuple[str, int | None]:
        tokens = self.tokens
        token = tokens.take()
        if token.kind == "quoted" and len(token.text) > 2:
            return token.text[1:-1], None
        if token.upper == kind and tokens.peek().kind == "number":
            digits = tokens.take()
            if not re.fullmatch("[0-9]{1,5}", digits.text):
                raise tokens.fault(digits, f"{digits.shown} is no number of a block")
            number = int(digits.text)
            return f"{kind}{number}", number if kind == "DB" else None
        if token.kind == "word":
            classic = _CLASSIC_DB.fullmatch(token.text)
            return token.text, int(classic[1]) if classic and kind == "DB" else None
        raise tokens.fault(
            token, f'expected a name such as "Pump" or {kind} 4, found {token.shown}'
        )

    def _header(self, head: Token, *ends: str) -> dict[str, str]:
        """Pass over what stands between a name and a declaration; its attributes, in lower case."""
        tokens = self.tokens
        attributes: dict[str, str] = {}
        while True:
            token = tokens.peek()
            word = token.upper
            if word in ends:
                return attributes
            if token.text == "{":
                attributes.update(self._attributes())
            elif word in _FREE_TEXT:
                tokens.take()
                tokens.skip_line()
            elif word in _FLAGS or token.text in (":", ";"):
                tokens.take()
            elif token.kind == "end":
                raise tokens.fault(
                    head, f"the file ends in this block; expected {' or '.join(ends)}"
                )
            elif ends == ("STRUCT",):
                raise tokens.fault(token, f"expected STRUCT, found {token.shown}")
            else:
                return attributes

    def _attributes(self) -> dict[str, str]:
        tokens = self.tokens
        first = tokens.take()
        found: dict[str, str] = {}
        name = ""
        while (token := tokens.take()).text != "}":
            if token.kind == "end":
                raise tokens.fault(first, "this { is not closed; expected }")
            if token.text == "{":
                raise tokens.fault(token, "a { within a {; expected } first")
            if token.kind in ("word", "quoted"):
                name = token.text.strip('"').lower()
            elif token.kind == "text":
                found[name] = token.text[1:-1].strip()
        return found

    # -- members ------------------------------------------------------------------------------

    def _struct(self, depth: int) -> list[Member]:
        self.tokens.expect("STRUCT")
        return self._members_until("END_STRUCT", depth)

    def _members_until(self, end: str, depth: int) -> list[Member]:
        tokens = self.tokens
        if depth > MAX_DEPTH:
            message = f"structures are nested deeper than {MAX_DEPTH}; STEP 7 allows 8"
            raise tokens.fault(tokens.peek(), message)
        members: list[Member] = []
        while not tokens.take_if(end):
            members += self._member(end, depth)
        return members

    def _member(self, end: str, depth: int) -> list[Member]:
        tokens = self.tokens
        names = [self._member_name(end)]
        if tokens.peek().text == "{":
            self._attributes()
        while tokens.take_if(","):
            names.append(self._member_name(end))
        tokens.expect(":")
        line = self._source.line(tokens.peek().at)
        kind = self.type(depth)
        token = tokens.take()
        if token.kind == "assign":
            token = tokens.skip_value()
        elif token.text != ";":
            raise tokens.fault(token, f"expected ; behind '{names[-1].text}', found {token.shown}")
        if kind.members is None:
            line = self._source.line(token.at)
        comment = tokens.comment_at(line)
        return [Member(n.text.strip('"'), kind, self._place(n), comment) for n in names]

    def _member_name(self, end: str) -> Token:
        token = self.tokens.take()
        if token.kind == "word" or (token.kind == "quoted" and len(token.text) > 2):
            return token
        if token.kind == "end":
            raise self.tokens.fault(token, f"the file ends in a declaration; expected {end}")
        raise self.tokens.fault(token, f"expected a name or {end}, found {token.shown}")

    def type(self, depth: int) -> DataType:
        """One type; in an XML attribute the children of the element are its members."""
        tokens = self.tokens
        token = tokens.take()
        place = self._place(token)
        word = token.upper
        if word == "ARRAY":
            return self._array(token, depth)
        if word == "STRUCT":
            if self._at is not None:
                return DataType("Struct", place, members=self._members or [])
            return DataType("Struct", place, members=self._members_until("END_STRUCT", depth + 1))
        if token.kind == "quoted":
            return DataType(token.text[1:-1], place, named=True)
        if word in _KINDS and tokens.peek().kind == "number":
            return DataType(f"{word}{tokens.take().text}", place, named=True)
        if token.kind != "word":
            raise self._wrong(token, f"expected a type, found {token.shown}")
        found = DataType(token.text, place)
        if word in ("STRING", "WSTRING") and tokens.take_if("["):
            found.length = self._integer()
            self._close("]")
        return found

    def _array(self, first: Token, depth: int) -> DataType:
        tokens = self.tokens
        if not tokens.take_if("["):
            raise self._wrong(
                tokens.peek(), f"expected [ behind Array, found {tokens.peek().shown}"
            )
        bounds: list[Bounds] = []
        while True:
            if tokens.peek().text == "*":
                raise self._wrong(
                    tokens.peek(), "an Array[*] has no length; a block has none of it"
                )
            low = self._integer()
            if tokens.peek().kind != "range":
                raise self._wrong(tokens.peek(), f"expected .. , found {tokens.peek().shown}")
            tokens.take()
            high = self._integer()
            if high < low:
                raise self._wrong(first, f"the array ends at {high}, before it begins at {low}")
            bounds.append(Bounds(low, high))
            if len(bounds) > MAX_DIMENSIONS:
                raise self._wrong(first, f"an array has at most {MAX_DIMENSIONS} dimensions")
            if not tokens.take_if(","):
                break
        self._close("]")
        if not tokens.take_if("OF"):
            raise self._wrong(tokens.peek(), f"expected of, found {tokens.peek().shown}")
        if tokens.peek().upper == "ARRAY":
            raise self._wrong(
                tokens.peek(), "STEP 7 has no arrays of arrays; write more dimensions"
            )
        inner = self.type(depth)
        inner.bounds = tuple(bounds)
        return inner

    def _integer(self) -> int:
        tokens = self.tokens
        negative = tokens.take_if("-") is not None
        token = tokens.take()
        if not re.fullmatch("[0-9]{1,10}", token.text):
            what = "a constant, whose value this file does not say; write the number"
            if token.kind not in ("word", "quoted"):
                what = "no whole number"
            raise self._wrong(token, f"{token.shown} is {what}")
        return -int(token.text) if negative else int(token.text)

    def _close(self, mark: str) -> None:
        if not self.tokens.take_if(mark):
            found = self.tokens.peek()
            raise self._wrong(found, f"expected {mark}, found {found.shown}")

    def _wrong(self, token: Token, message: str) -> Exception:
        return stop(self._place(token), message)

    def _comment(self, token: Token) -> str:
        return self.tokens.comment_at(self._source.line(token.at))
