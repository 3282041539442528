"""Rows as MQTT messages: a line ``topic TAB json`` each, which is also what is spooled.

    {"gateway":"hall-3","device":"press_1","table":"press","labels":{"line":"7"},
     "time_ns":1700000000000000000,"values":{"force":12.5,"mode":"auto"},
     "quality":{"temperature":"BAD:timeout"}}

``values`` has what goes out: not what is BAD, and not what did not change (dead band). ``quality``
is there where something is not GOOD; its key ``*`` stands for the whole row.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any, Final, NamedTuple

import numpy as np
import orjson

from gateway.model import ALL, Quality, Selected, Table, Values
from gateway.sinks.naming import name_of
from gateway.sinks.payload import Described

FORMAT: Final = "mqtt1"
MAX_TEXT: Final = 1_000_000
"""A payload ends with the row that takes it past so many bytes."""

_NOT_IN_A_LEVEL = re.compile(r"[+#/\x00-\x1f\x7f-\x9f\ud800-\udfff]")
_SURROGATE = re.compile("[\ud800-\udfff]")
_DUMP = orjson.OPT_SERIALIZE_NUMPY


def level(text: str) -> str:
    """A name as one level of a topic: what would be more, or a wildcard, becomes ``_``."""
    return _NOT_IN_A_LEVEL.sub("_", text)


def dumped(value: Any) -> bytes:
    """As JSON; half of a UTF-16 pair, which is no text, becomes U+FFFD."""
    try:
        return orjson.dumps(value, option=_DUMP)
    except TypeError:
        return orjson.dumps(_clean(value))


def _clean(value: Any) -> Any:
    if isinstance(value, str):
        return _SURROGATE.sub("\ufffd", value)
    if isinstance(value, dict):
        return {_clean(k): _clean(v) for k, v in value.items()}
    return value


class _Prepared:
    """What does not change from row to row of one table."""

    def __init__(self, table: Table, pattern: str, *, units: bool) -> None:
        own = {"gateway", "device"}
        document: dict[str, Any] = {
            "gateway": dict(table.labels).get("gateway", ""),
            "device": table.device,
            "table": table.key,
            "labels": {k: v for k, v in table.labels if k not in own},
        }
        if units:
            pairs = zip(table.columns, table.units, strict=True)
            document["units"] = {name: unit for name, unit in pairs if unit}
        topic = name_of(pattern, table, level).encode()
        self.head = b"%b\t%b" % (topic, dumped(document)[:-1])
        self.names = [dumped(name) for name in table.columns]
        fields = b",".join(
            self.names[c].replace(b"%", b"%%") + b":%b" for p in table.parts for c in p.columns
        )
        head = self.head.replace(b"%", b"%%")
        self.template = b'%b,"time_ns":%%d,"values":{%b}}\n' % (head, fields)


class Encoder:
    """One message a row."""

    def __init__(self, pattern: str, *, units: bool) -> None:
        self.not_finite = 0
        """Values left out because they were NaN or infinite and nobody had marked them BAD."""
        self._pattern = pattern
        self._units = units
        self._tables: dict[Table, _Prepared] = {}

    def encode(self, rows: Sequence[Selected]) -> Iterator[tuple[bytes, int, int]]:
        """(text, rows, values), in runs of about MAX_TEXT bytes."""
        lines: list[bytes] = []
        size = values = 0
        for selected in rows:
            line, count = self._line(selected)
            lines.append(line)
            size += len(line)
            values += count
            if size >= MAX_TEXT:
                yield b"".join(lines), len(lines), values
                lines, size, values = [], 0, 0
        if lines:
            yield b"".join(lines), len(lines), values

    def _line(self, selected: Selected) -> tuple[bytes, int]:
        row, masks = selected
        prepared = self._tables.get(row.table)
        if prepared is None:
            prepared = self._tables[row.table] = _Prepared(
                row.table, self._pattern, units=self._units
            )
        texts = [text for values in row.parts for text in _texts(values)]
        if masks is None and row.marks is None and row.parts and b"null" not in texts:
            return prepared.template % (row.time_ns, *texts), len(texts)
        return self._odd(prepared, selected, texts)

    def _odd(
        self, prepared: _Prepared, selected: Selected, texts: list[bytes]
    ) -> tuple[bytes, int]:
        """A row of which not all goes out, or not all is GOOD."""
        row, masks = selected
        table = row.table
        fields = []
        quality: dict[str, str] = {}
        for column, mark in (row.marks or {}).items():
            quality["*" if column == ALL else table.columns[column]] = str(mark)
        at = 0
        for number, part in enumerate(table.parts if row.parts else ()):
            mask = masks[number] if masks is not None else None
            for place, column in enumerate(part.columns):
                text = texts[at]
                at += 1
                if (mask is not None and not mask[place]) or row.is_bad(column):
                    continue
                if text == b"null":
                    self.not_finite += 1
                    reason = "nan" if np.isnan(row.parts[number][place]) else "infinite"
                    quality[table.columns[column]] = f"{Quality.BAD.name}:{reason}"
                else:
                    fields.append(b"%b:%b" % (prepared.names[column], text))
        tail = b',"quality":%b}\n' % dumped(quality) if quality else b"}\n"
        line = b'%b,"time_ns":%d,"values":{%b}%b' % (
            prepared.head,
            row.time_ns,
            b",".join(fields),
            tail,
        )
        return line, len(fields)


def _texts(values: Values) -> list[bytes]:
    if isinstance(values, list):
        return [dumped(v) for v in values]
    if not len(values):
        return []
    return orjson.dumps(np.ascontiguousarray(values), option=_DUMP)[1:-1].split(b",")


class Message(NamedTuple):
    """What is published."""

    topic: str
    body: bytes


def messages_of(text: bytes) -> list[Message]:
    """The messages of a payload's text. ValueError where it is none."""
    out = []
    for line in text.splitlines():
        topic, tab, body = line.partition(b"\t")
        if not tab or not body:
            raise ValueError(f"a line is no message: {line[:60]!r}")
        out.append(Message(topic.decode(), body))
    return out


def gateway_of(message: Message) -> str:
    """The gateway that a message is of."""
    found = orjson.loads(message.body)
    return str(found.get("gateway", "")) if isinstance(found, dict) else ""


def described(row_text: bytes) -> Described:
    """What a line is about."""
    try:
        (message,) = messages_of(row_text)
        found = orjson.loads(message.body)
        return Described(
            str(found["device"]), str(found["table"]), int(found["time_ns"]), len(found["values"])
        )
    except (ValueError, KeyError, TypeError):
        return Described("?", "?", 0, 0)
