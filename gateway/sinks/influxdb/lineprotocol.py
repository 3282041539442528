r"""Names and texts in InfluxDB line protocol.

Source: the line protocol reference of InfluxDB 2. What it cannot say is substituted, always in
the same way, so that a name or text is stored as documented and no input can break a line:

- control characters and lone surrogates become ``_``, everywhere;
- in names and labels ``\\`` becomes ``/``; a leading ``#`` of a measurement becomes ``_``;
- an empty name becomes ``_``, ``time`` becomes ``time_``, a label without text is left out, and
  of two names that become equal the later one gets ``_2``;
- text of more than 60,000 bytes is cut and ends in ``…(+N)``, N the characters that are missing;
- in a column with ``store: int`` an integer above 2^63-1 is written as text, in ``<column>_text``.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import NamedTuple

_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\udfff]")
_NAME = str.maketrans({",": "\\,", "=": "\\=", " ": "\\ ", "\\": "/"})
_MEASUREMENT = str.maketrans({",": "\\,", " ": "\\ ", "\\": "/"})
_TEXT = str.maketrans({'"': '\\"', "\\": "\\\\"})
_UNESCAPE = re.compile(r"\\([,= ])")
_HEAD = re.compile(rb"((?:[^\\ ]|\\.)+) ")
_MEASURED = re.compile(rb"(?:[^\\, ]|\\.)+")
_FIELD = re.compile(
    rb'((?:[^\\=,]|\\.)+)=("[^"\\]*(?:\\.[^"\\]*)*"|[^," ]+)(?:,|$)',
)
_COMMA = re.compile(rb"(?<!\\),")
_EQUALS = re.compile(rb"(?<!\\)=")

MAX_TEXT = 60_000
"""Longest text of one field in bytes: InfluxDB takes up to 64 KiB."""

MAX_QUALITY = 4096
"""Longest ``_quality`` in bytes."""


def clean(text: str) -> str:
    """The text without control characters and surrogates."""
    return _CONTROL.sub("_", text)


def name(text: str) -> str:
    """A label key, label value or column as it is written."""
    return clean(text).translate(_NAME)


def measurement(text: str) -> str:
    """A measurement as it is written."""
    cleaned = clean(text)
    if cleaned.startswith("#"):  # a line that begins with it is a comment
        cleaned = "_" + cleaned[1:]
    return cleaned.translate(_MEASUREMENT) or "_"


def key(text: str) -> str:
    """A label key or column that cannot be empty or ``time``."""
    return {"": "_", "time": "time_"}.get(text) or name(text)


def unique_keys(texts: Iterable[str], taken: Iterable[str] = ()) -> list[str]:
    """Keys as they are written; of two that become equal the later gets ``_2``, ``_3``..."""
    seen = set(taken)
    out = []
    for text in texts:
        plain = chosen = key(text)
        count = 1
        while chosen in seen:
            count += 1
            chosen = f"{plain}_{count}"
        seen.add(chosen)
        out.append(chosen)
    return out


def prefix(table: str, labels: Iterable[tuple[str, str]], tag: str | None = None) -> bytes:
    """Measurement and labels, as every line of a table begins; ``tag`` is written as it is."""
    kept = [(k, name(v)) for k, v in labels if v]
    pairs = [] if tag is None else [f",tag={tag}"]
    keys = unique_keys((k for k, _ in kept), ["tag"] if pairs else [])
    pairs += [f",{k}={v}" for k, (_, v) in zip(keys, kept, strict=True)]
    return (measurement(table) + "".join(pairs)).encode()


def _quote(text: str) -> bytes:
    raw = clean(text).translate(_TEXT).encode()
    if len(raw) <= MAX_TEXT:
        return b'"%b"' % raw
    cut = clean(text).encode()[: MAX_TEXT // 2].decode(errors="ignore")
    return f'"{cut.translate(_TEXT)}…(+{len(text) - len(cut)})"'.encode()


_quote_short = lru_cache(2048)(_quote)


def quote(text: str) -> bytes:
    """A text field's value, quoted."""
    return _quote_short(text) if len(text) <= 256 else _quote(text)


def quality_text(items: Sequence[str]) -> str:
    """``a=BAD:timeout,b=...`` of at most MAX_QUALITY bytes; ``…(+N)`` counts what did not fit."""
    out: list[str] = []
    size = 0
    for number, item in enumerate(items):
        size += len(item.encode(errors="replace")) + 1
        if size > MAX_QUALITY - 32:
            return ",".join(out) + f"…(+{len(items) - number})"
        out.append(item)
    return ",".join(out)


class Line(NamedTuple):
    """A line that we wrote, in its parts as they are written."""

    head: bytes
    """Measurement and labels."""
    fields: list[tuple[bytes, bytes]]
    """Key and value of each field."""
    time: bytes

    def only(self, fields: Iterable[tuple[bytes, bytes]]) -> bytes:
        """The line with only these fields: a point of the same series and time."""
        return b"%b %b %b\n" % (self.head, b",".join(b"%b=%b" % f for f in fields), self.time)


def parse(line: bytes) -> Line | None:
    """The parts of a line; None where it is none that we wrote."""
    head = _HEAD.match(line)
    text, _, time = line.rstrip(b"\n").rpartition(b" ")
    if head is None or head.end() > len(text) or not time.lstrip(b"-").isdigit():
        return None
    fields = []
    at = head.end()
    while at < len(text):
        found = _FIELD.match(text, at)
        if found is None:
            return None
        fields.append((found[1], found[2]))
        at = found.end()
    return Line(head[1], fields, time) if fields else None


def measured(head: bytes) -> bytes:
    """The measurement of a head or line, as it is written."""
    found = _MEASURED.match(head)
    return found[0] if found else b""


def kind(value: bytes) -> str:
    """Type of a value as it is written, by InfluxDB's name."""
    if value[:1] == b'"':
        return "string"
    if value[:1] in (b"t", b"f"):
        return "boolean"
    return "integer" if value[-1:] == b"i" else "float"


def plain(escaped: bytes) -> str:
    """A name as it was before it was escaped."""
    return _UNESCAPE.sub(r"\1", escaped.decode(errors="replace"))


def identity(line: bytes) -> tuple[str, dict[str, str], int]:
    """Measurement, labels and time of a line that we wrote; (``?``, {}, 0) where it is none."""
    parsed = parse(line)
    if parsed is None:
        return "?", {}, 0
    first, *pairs = _COMMA.split(parsed.head)
    labels = [pair for p in pairs if len(pair := _EQUALS.split(p, maxsplit=1)) == 2]
    return plain(first), {plain(k): plain(v) for k, v in labels}, int(parsed.time)


def count_fields(line: bytes) -> int:
    """Number of values in a line that we wrote, ``_quality`` not counted."""
    parsed = parse(line)
    return 0 if parsed is None else sum(key != b"_quality" for key, _ in parsed.fields)
