r"""Reads InfluxDB's line protocol: text of others, of which nothing is believed.

    press,device=press_9,line=kiln force=12.5,count=7i,mode="auto",on=true 1772000000123456789

Measurement (the table), tags (labels), fields (columns), time. Syntax:
https://docs.influxdata.com/influxdb/v2/reference/syntax/line-protocol/
The device is the tag ``device``, else ``host``, else who sends. A field ``_quality`` marks values,
as this gateway's own InfluxDB sink writes it. A line that is wrong is refused alone.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final, NamedTuple

from gateway.ingest.points import Faults, Points, check_time, parse_quality
from gateway.ingest.shapes import Refused, Shape, Shapes
from gateway.model import Column, Kind, Mark, Scalar, Table

MAX_LINE: Final = 65_536
UNITS: Final = {"ns": 1, "n": 1, "us": 1_000, "u": 1_000, "µ": 1_000, "ms": 1_000_000,
                "s": 1_000_000_000, "m": 60_000_000_000, "h": 3_600_000_000_000}  # fmt: skip
"""Nanoseconds of each precision that clients may ask for."""

MAX_HEADS: Final = 20_000

_NUMERIC: Final = b"0123456789+-.eE"
_DIGITS: Final = b"0123456789-"
_BOOLS: Final[dict[bytes, bool]] = {
    **dict.fromkeys((b"t", b"T", b"true", b"True", b"TRUE"), True),
    **dict.fromkeys((b"f", b"F", b"false", b"False", b"FALSE"), False),
}
_ESCAPED_NAME = re.compile(rb"\\([,= ])")
_ESCAPED_TEXT = re.compile(rb'\\(["\\])')
_INTEGERS: Final[dict[str, tuple[int, int]]] = {
    "i8": (-(2**63), 2**63 - 1),
    "u8": (0, 2**64 - 1),
}


class _Head(NamedTuple):
    """Measurement and labels of a line, as they were understood."""

    device: str
    name: str
    labels: tuple[tuple[str, str], ...]


class _At(Refused):
    """Refused, with the place in the line (from 0)."""

    def __init__(self, at: int, what: str) -> None:
        self.at = at
        super().__init__(what)


class LineReader:
    """Reads lines of one sender; keeps what it has understood of the heads of lines."""

    def __init__(self, shapes: Shapes, sender: str, precision: str = "ns") -> None:
        """Refused where there is no such precision."""
        if precision not in UNITS:
            raise Refused(f"precision '{precision}'; expected ns, us, ms or s")
        self._shapes = shapes
        self._sender = sender
        self._unit_ns = UNITS[precision]
        self._heads: dict[bytes, _Head] = {}
        self._tables: dict[tuple[bytes, tuple[bytes, ...], str], Table] = {}

    def read(
        self, text: bytes, first_line: int, points: Points, faults: Faults, now_ns: int
    ) -> int:
        """Read whole lines; returns their number. ``first_line``: number of the first, from 1."""
        lines = text.split(b"\n")
        if not lines[-1]:
            lines.pop()
        for number, line in enumerate(lines, first_line):
            if not line or line[0] == 35 or line.isspace():  # '#' begins a comment
                continue
            try:
                self._line(line, points, now_ns)
            except _At as error:
                faults.add(number, error.at + 1, str(error))
            except Refused as error:
                faults.add(number, 1, str(error), error.reason)
        return len(lines)

    def _line(self, line: bytes, points: Points, now_ns: int) -> None:
        if len(line) > MAX_LINE:
            raise _At(MAX_LINE, f"a line of {len(line)} bytes; expected at most {MAX_LINE}")
        if line[-1] == 13:  # \r
            line = line[:-1]
        if b"\\" in line or b'"' in line:
            head, names, texts, stamp = _cut_slowly(line)
        else:
            pieces = line.split()
            if len(pieces) not in (2, 3) or line[:1] in b" \t":
                raise _wrong_parts(line, len(pieces))
            head = pieces[0]
            stamp = pieces[2] if len(pieces) == 3 else b""
            names, texts = [], []
            for pair in pieces[1].split(b","):
                name, equals, value = pair.partition(b"=")
                if not equals or not name or not value:
                    raise _At(line.find(pair), f"{_shown(pair)}; expected COLUMN=VALUE")
                names.append(name)
                texts.append(value)
        kinds = ""
        values: list[Scalar] = []
        for text in texts:
            try:
                kind, scalar = _value(text)
            except Refused as error:
                raise _At(line.find(b"=" + text) + 1, str(error)) from None
            kinds += kind
            values.append(scalar)
        time_ns = None
        if stamp:
            if stamp.translate(None, _DIGITS) or len(stamp) > 20:
                raise _At(line.rfind(stamp), f"{_shown(stamp)} is no time; expected a whole number")
            time_ns = check_time(int(stamp) * self._unit_ns, now_ns)
        if b"_quality" in names:
            self._with_quality(head, names, kinds, values, time_ns, points)
            return
        key = (head, tuple(names), kinds)
        table = self._tables.get(key)
        if table is None:
            table = self._tables[key] = self._table(head, names, kinds)
            if len(self._tables) > MAX_HEADS:
                self._tables.clear()
        points.add(table, time_ns, values)

    def _table(self, head: bytes, names: Sequence[bytes], kinds: str) -> Table:
        understood = self._heads.get(head)
        if understood is None:
            understood = self._heads[head] = self._understood(head)
            if len(self._heads) > MAX_HEADS:
                self._heads.clear()
        columns = tuple(
            Column(_unescaped(name), _KINDS[kind], store_int=kind in "iu")
            for name, kind in zip(names, kinds, strict=True)
        )
        return self._shapes.table(Shape(*understood, columns))

    def _with_quality(
        self,
        head: bytes,
        names: Sequence[bytes],
        kinds: str,
        values: list[Scalar],
        time_ns: int | None,
        points: Points,
    ) -> None:
        """A line of another gateway that says which of its values are not GOOD."""
        at = names.index(b"_quality")
        said = values[at]
        if not isinstance(said, str):
            raise Refused("_quality: expected text")
        names = [*names[:at], *names[at + 1 :]]
        values = [*values[:at], *values[at + 1 :]]
        kinds = kinds[:at] + kinds[at + 1 :]
        told = [item.rpartition("=")[0].encode() for item in said.split(",") if item]
        known = {_unescaped(name).encode() for name in names}
        # a value that is BAD is not written: all that is known of its kind is that most are numbers
        absent = [name for name in told if name not in known and name != b"*"]
        names += [re.sub(rb"([,= ])", rb"\\\1", name) for name in absent]
        if not names:
            return  # all of them, and which these are is not said
        table = self._table(head, names, kinds + "f" * len(absent))
        columns = {name: column for column, name in enumerate(table.columns)}
        marks: dict[int, Mark] = parse_quality(said, columns)
        points.add(table, time_ns, [*values, *[None] * len(absent)], marks)

    def _understood(self, head: bytes) -> _Head:
        name, *tags = _split(head, b",")
        labels: dict[str, str] = {}
        for tag in tags:
            pieces = _split(tag, b"=")
            if len(pieces) != 2 or not pieces[0] or not pieces[1]:
                raise _At(head.find(tag), f"{_shown(tag)}; expected LABEL=VALUE")
            key = _unescaped(pieces[0])
            if key in labels:
                raise _At(head.find(tag), f"label '{key}' comes twice")
            labels[key] = _unescaped(pieces[1])
        device = labels.pop("device", None) or labels.pop("host", None) or self._sender
        if "gateway" in labels:
            labels["from_gateway"] = labels.pop("gateway")
        labels.pop("via", None)
        return _Head(device, _unescaped(name), tuple(sorted(labels.items())))


_KINDS: Final[dict[str, Kind]] = {"f": "f8", "i": "i8", "u": "u8", "b": "b1", "s": "str"}


def _value(text: bytes) -> tuple[str, Scalar]:
    """Kind and value of a field. Refused where it is none."""
    if not text.translate(None, _NUMERIC):
        try:
            return "f", float(text)
        except ValueError:
            raise Refused(f"{_shown(text)} is no number") from None
    if text[:1] == b'"':
        if len(text) < 2 or text[-1:] != b'"':
            raise Refused(f"{_shown(text)}: the text has no end")
        inside = text[1:-1]
        if b"\\" in inside:
            inside = _ESCAPED_TEXT.sub(rb"\1", inside)
        return "s", _decoded(inside)
    suffix, digits = text[-1:], text[:-1]
    if suffix in (b"i", b"u") and digits and not digits.translate(None, _DIGITS):
        kind = "i8" if suffix == b"i" else "u8"
        low, high = _INTEGERS[kind]
        try:
            number = int(digits) if len(digits) <= 20 else high + 1
        except ValueError:
            raise Refused(f"{_shown(text)} is no whole number") from None
        if not low <= number <= high:
            raise Refused(f"{_shown(text)}; expected {low} to {high}")
        return kind[0], number
    if text in _BOOLS:
        return "b", _BOOLS[text]
    raise Refused(f'{_shown(text)} is no value; expected e.g. 1.5, 3i, true or "text"')


def _cut_slowly(line: bytes) -> tuple[bytes, list[bytes], list[bytes], bytes]:
    """Head, names and values of fields, and time of a line with quotes or escapes in it."""
    at = _end_of_name(line, 0, b" ")
    head, names, texts = line[:at], [], []
    if not head or at >= len(line):
        raise _wrong_parts(line, 1)
    while at < len(line) and line[at] == 32:
        at += 1
    while True:
        equals = _end_of_name(line, at, b"=, ")
        if equals == at or equals >= len(line) or line[equals] != 61:
            raise _At(at, f"{_shown(line[at : at + 40])}; expected COLUMN=VALUE")
        end = equals + 1
        if line[end : end + 1] == b'"':
            end = _end_of_text(line, end)
        else:
            while end < len(line) and line[end] not in b", ":
                end += 1
        if end == equals + 1:
            raise _At(end, f"no value of {_shown(line[at:equals])}")
        names.append(line[at:equals])
        texts.append(line[equals + 1 : end])
        at = end + 1
        if end >= len(line):
            return head, names, texts, b""
        if line[end] == 32:
            return head, names, texts, line[at:].strip()
        if line[end] != 44:
            raise _At(end, f"{_shown(line[end : end + 40])} after a text; expected , or a space")


def _end_of_name(line: bytes, at: int, ends: bytes) -> int:
    while at < len(line) and line[at] not in ends:
        at += 2 if line[at] == 92 else 1
    return min(at, len(line))


def _end_of_text(line: bytes, at: int) -> int:
    """One after the closing quote of the text that begins there."""
    end = at + 1
    while True:
        quote = line.find(b'"', end)
        if quote < 0:
            raise _At(at, f"{_shown(line[at : at + 40])}: the text has no end")
        slashes = 0
        while line[quote - 1 - slashes] == 92 and quote - 1 - slashes > at:
            slashes += 1
        if slashes % 2 == 0:
            return quote + 1
        end = quote + 1


def _split(text: bytes, mark: bytes) -> list[bytes]:
    """The pieces between marks that no backslash stands before."""
    if b"\\" not in text:
        return text.split(mark)
    pieces, begin, at = [], 0, 0
    while at < len(text):
        if text[at] == 92:
            at += 2
            continue
        if text[at] == mark[0]:
            pieces.append(text[begin:at])
            begin = at + 1
        at += 1
    return [*pieces, text[begin:]]


def _unescaped(name: bytes) -> str:
    return _decoded(_ESCAPED_NAME.sub(rb"\1", name) if b"\\" in name else name)


def _decoded(text: bytes) -> str:
    try:
        return text.decode("utf-8")
    except UnicodeDecodeError:
        raise Refused(f"{_shown(text)} is not UTF-8") from None


def _wrong_parts(line: bytes, parts: int) -> _At:
    expected = "expected TABLE,LABEL=VALUE COLUMN=VALUE TIME"
    return _At(0, f"{_shown(line[:60])}: {parts} part{'s' * (parts != 1)}; {expected}")


def _shown(text: bytes) -> str:
    cut = text[:60].decode("utf-8", "replace").encode("unicode_escape").decode()
    return f"'{cut}{'...' if len(text) > 60 else ''}'"
