"""Batches of rows on their way between programs: lines of JSON that say what they hold.

Two lines a table: what it is, then its rows.

    {"v":1,"gateway":"hall-3","table":"press","device":"press_1","key":"press","labels":{...},
     "group":"fast","interval_s":1.0,"steady":true,"columns":[["force","f4","kN",0],...]}
    {"times":[...],"values":{"f4":[[12.5,null],...],"str":[["auto"],...]},"marks":[[0,1,"BAD:..."]]}

A column is its name, kind, unit, and 1 where integers stay integers. ``values`` has for each kind a
list a row, with the values of that kind's columns in order; None instead of the list where the row
has no value at all. A value that is None is BAD if there is a mark [row, column, quality] for it
(column None: all of the row), otherwise it did not change and was left out. The body may be gzip.
Rows of one table keep their order; which (table, labels, time) a row has is its identity: stores
write it once, however often it comes.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from itertools import chain
from typing import Any, Final, NamedTuple, TypeAlias

import numpy as np
import orjson

from gateway.model import ALL, KINDS, Array, Column, Kind, Mark, Quality, Row, Selected, Table

FORMAT: Final = "rows+json1"
"""Tag of such a body; ``rows+json1+gzip`` where it is packed."""

VERSION: Final = 1
MAX_BYTES: Final = 64_000_000
"""Longest text that is unpacked."""

Marks: TypeAlias = list[tuple[int, int | None, str]]

_DUMP = orjson.OPT_SERIALIZE_NUMPY
_SURROGATE = re.compile("[\ud800-\udfff]")
_FILLERS: dict[str, Any] = {"f4": 0.0, "f8": 0.0, "i8": 0, "u8": 0, "b1": False, "str": ""}
_TYPES: dict[str, frozenset[type]] = {
    "f4": frozenset({float, int}),
    "f8": frozenset({float, int}),
    "i8": frozenset({int}),
    "u8": frozenset({int}),
    "b1": frozenset({bool}),
    "str": frozenset({str}),
}
_ROUNDED_TWICE = 7.038531e-26
_IS_FLOAT = np.array([0x15AE43FD], "u4").view("f4")[0]
"""The digits of this float32, and of no other one, lie so near the middle between two that they
give its neighbour when they are rounded to float64 first. (All 2^31 positive ones were tried.)"""
_GZIP = b"\x1f\x8b"
_NULL = b"null"


# -- to bytes


def encode_batch(rows: Sequence[Selected]) -> bytes:
    """The rows as lines of JSON. What is not finite goes as BAD ``nan`` or ``infinite``."""
    by_table: dict[Table, list[Selected]] = {}
    for selected in rows:
        by_table.setdefault(selected.row.table, []).append(selected)
    return b"".join(_head(table) + _rows(table, chosen) for table, chosen in by_table.items())


@lru_cache(16_384)
def _head(table: Table) -> bytes:
    columns = zip(table.columns, table.kinds, table.units, strict=True)
    return _dump(
        {
            "v": VERSION,
            "gateway": dict(table.labels).get("gateway", ""),
            "table": table.name,
            "device": table.device,
            "key": table.key,
            "labels": dict(table.labels),
            "group": table.group,
            "interval_s": table.interval_s,
            "steady": table.steady,
            "columns": [[*c, int(i in table.stores_int)] for i, c in enumerate(columns)],
        }
    )


def _dump(document: Any) -> bytes:
    try:
        return orjson.dumps(document, option=_DUMP | orjson.OPT_APPEND_NEWLINE)
    except TypeError:  # half of a UTF-16 pair is no text
        return orjson.dumps(_clean(document), option=_DUMP | orjson.OPT_APPEND_NEWLINE)


def _clean(value: Any) -> Any:
    if isinstance(value, str):
        return _SURROGATE.sub("\ufffd", value)
    if isinstance(value, dict):
        return {_clean(k): _clean(v) for k, v in value.items()}
    return [_clean(v) for v in value] if isinstance(value, list) else value


def _rows(table: Table, rows: list[Selected]) -> bytes:
    marks: Marks = [
        (at, None if column == ALL else column, str(mark))
        for at, (row, _) in enumerate(rows)
        for column, mark in (row.marks or {}).items()
    ]
    values: dict[str, orjson.Fragment] = {}
    for number, part in enumerate(table.parts):
        texts: list[bytes] = []
        at = 0
        while at < len(rows):
            end = at
            while end < len(rows) and _is_plain(rows[end]):
                end += 1
            text = _plain(part.kind, number, len(part.columns), rows[at:end]) if end > at else b""
            if end > at and text is None:  # something in it is not finite
                texts += [_odd(table, number, rows[i], i, marks) for i in range(at, end)]
            elif text:
                texts.append(text)
            if end < len(rows):
                texts.append(_odd(table, number, rows[end], end, marks))
            at = end + 1
        values[part.kind] = orjson.Fragment(b"[%b]" % b",".join(texts))
    document: dict[str, Any] = {"times": [row.time_ns for row, _ in rows], "values": values}
    if marks:
        document["marks"] = [list(mark) for mark in marks]
    return _dump(document)


def _is_plain(selected: Selected) -> bool:
    return selected.masks is None and selected.row.marks is None and bool(selected.row.parts)


def _plain(kind: Kind, number: int, width: int, rows: Sequence[Selected]) -> bytes | None:
    """Rows that go out whole; None where a value is not finite."""
    if kind == "str":
        return _dump([row.parts[number] for row, _ in rows])[1:-2]
    made = np.concatenate([row.parts[number] for row, _ in rows]).reshape(len(rows), width)
    text = orjson.dumps(made.astype(kind, copy=False), option=_DUMP)[1:-1]
    return None if kind[0] == "f" and _NULL in text else text


def _odd(table: Table, number: int, selected: Selected, at: int, marks: Marks) -> bytes:
    """The values of one row and kind, None for those that do not go out.

    Adds a mark for each that is not finite.
    """
    row, masks = selected
    if not row.parts:
        return _NULL
    part, values = table.parts[number], row.parts[number]
    mask = masks[number] if masks is not None else None
    bad = [row.is_bad(c) for c in part.columns] if row.marks else None
    if isinstance(values, np.ndarray) and part.kind[0] == "f":
        for place in np.flatnonzero(~np.isfinite(values)).tolist():
            if (mask is None or mask[place]) and not (bad and bad[place]):
                reason = "nan" if np.isnan(values[place]) else "infinite"
                marks.append((at, part.columns[place], f"{Quality.BAD.name}:{reason}"))
    listed: Any = values
    if mask is not None or bad is not None:
        keep = np.ones(len(part.columns), bool) if mask is None else mask.astype(bool)
        if bad is not None:
            keep &= ~np.array(bad, bool)
        if isinstance(values, np.ndarray) and part.kind[0] == "f":
            listed = np.where(keep, values, values.dtype.type(np.nan))  # is written as null
        else:
            plain = values if isinstance(values, list) else values.tolist()
            listed = [v if k else None for v, k in zip(plain, keep.tolist(), strict=True)]
    return _dump(listed).rstrip(b"\n")


# -- from bytes


def unpack(body: bytes, limit: int = MAX_BYTES) -> bytes:
    """The text of a body that may be gzip. ValueError where it is damaged or too long."""
    if not body.startswith(_GZIP):
        return body
    packer = zlib.decompressobj(wbits=31)
    try:
        text = packer.decompress(body, limit)
    except zlib.error as error:
        raise ValueError(f"damaged gzip: {error}") from None
    if packer.unconsumed_tail:
        raise ValueError(f"unpacked it is longer than {limit:,} bytes")
    if not packer.eof:
        raise ValueError("damaged gzip: its end is missing")
    return text


def decode_batch(body: bytes) -> list[Selected]:
    """The rows of `encode_batch`. ValueError says what is wrong with any other body.

    The same table is the same object each time, also in another batch.
    """
    return list(chain.from_iterable(decode_tables(body)))


def decode_tables(body: bytes) -> Iterator[list[Selected]]:
    """The same table by table."""
    return (columns.rows() for columns in decode_columns(body))


class Columns(NamedTuple):
    """The rows of one table as arrays, for whoever needs no row: a tenth of the time."""

    table: Table
    times: list[int]
    """ns, one a row."""
    parts: tuple[Any, ...]
    """As a row's, with one dimension more: [row, column]."""
    missing: tuple[Array | None, ...]
    """For each part which values are not there; None: all are."""
    empty: Array
    """Which rows have no value at all."""
    marks: dict[int, dict[int, Mark]]
    """By row."""

    @property
    def is_plain(self) -> bool:
        """Whether every value of every row is there, and GOOD."""
        return not self.marks and not self.empty.any() and all(m is None for m in self.missing)

    def rows(self) -> list[Selected]:
        """The same as rows."""
        table, times, parts, missing, empty, marks = self
        listed = zip(*parts, strict=True) if parts else [()] * len(times)
        if self.is_plain:
            return [Selected(Row(table, t, p)) for t, p in zip(times, listed, strict=True)]
        out = []
        for at, (time_ns, row_parts) in enumerate(zip(times, listed, strict=True)):
            row = Row(table, time_ns, () if empty[at] else row_parts, marks.get(at))
            if empty[at]:
                out.append(Selected(row))
                continue
            masks = tuple(_mask(row, number, m, at) for number, m in enumerate(missing))
            out.append(Selected(row, None if all(m is None for m in masks) else masks))
        return out


def decode_columns(body: bytes) -> Iterator[Columns]:
    """The same table by table, as arrays."""
    lines = unpack(body).split(b"\n")
    if lines.pop():
        raise ValueError("the last line has no end: a part is missing")
    if not lines or len(lines) % 2:
        raise ValueError(f"{len(lines)} lines; expected two for each table")
    for head, rows in zip(lines[::2], lines[1::2], strict=True):
        table = _table(head)
        try:
            yield _columns(table, _parsed(rows))
        except (KeyError, TypeError, AttributeError, OverflowError, IndexError) as error:
            raise ValueError(f"rows of {table.name}: {error!r}") from error


@lru_cache(65_536)
def _table(head: bytes) -> Table:
    document = _parsed(head)
    try:
        if document.get("v") != VERSION:
            found = document.get("v")
            raise ValueError(f"version {found!r} of the format; expected {VERSION}")
        columns = []
        for column in document["columns"]:
            if len(column) != 4:
                raise ValueError(f"column {column!r}; expected name, kind, unit and 0 or 1")
            name, kind, unit, as_int = column
            unit = None if unit is None else _text(unit)
            columns.append(Column(_text(name), kind, unit, store_int=bool(as_int)))
        for column in columns:
            if column.kind not in KINDS:
                raise ValueError(f"kind {column.kind!r}; expected one of {', '.join(KINDS)}")
        return Table(
            _text(document["table"]),
            _text(document["device"]),
            columns,
            [(k, _text(v)) for k, v in document["labels"].items()],
            _text(document["group"]),
            float(document["interval_s"]),
            steady=bool(document["steady"]),
        )
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"what a table is: {error!r}") from error


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError(f"{value!r} is no text")
    return value


def _parsed(line: bytes) -> Any:
    try:
        return orjson.loads(line)
    except orjson.JSONDecodeError as error:
        raise ValueError(f"not JSON: {error}") from None


def _columns(table: Table, document: Any) -> Columns:
    times = document["times"]
    if not isinstance(times, list) or not set(map(type, times)) <= {int}:
        raise ValueError(f"times of {table.name}: expected a list of integers")
    if times and not -(2**63) <= min(times) <= max(times) < 2**63:
        raise ValueError(f"times of {table.name}: {min(times)} to {max(times)}")
    given = document["values"]
    if given.keys() != {part.kind for part in table.parts}:
        raise ValueError(f"kinds of {table.name}: {', '.join(given)}")
    parts, missing, empty = [], [], np.zeros(len(times), bool)
    for part in table.parts:
        made, none, gone = _part(
            table, part.kind, given[part.kind], (len(times), len(part.columns))
        )
        parts.append(made)
        missing.append(none)
        empty |= gone
    marks = _marks(table, document.get("marks", ()), len(times))
    if not parts:
        empty[:] = True
    return Columns(table, times, tuple(parts), tuple(missing), empty, marks)


def _mask(row: Row, number: int, missing: Array | None, at: int) -> Array | None:
    """Which values of a part came, or are BAD; None for all."""
    if missing is None or not missing[at].any():
        return None
    mask: Array = ~missing[at]
    columns = row.table.parts[number].columns
    for place in np.flatnonzero(missing[at]).tolist():
        mask[place] = row.is_bad(columns[place])
    return None if mask.all() else mask


def _part(
    table: Table, kind: Kind, given: Any, shape: tuple[int, int]
) -> tuple[Any, Array | None, Array]:
    """The values of one kind, a row each; which are missing; and which rows have none at all."""
    count, width = shape
    gone = np.array([row is None for row in given], bool)
    if len(gone) != count:
        raise ValueError(f"{kind} of {table.name}: {len(gone)} rows; expected {count}")
    filler = _FILLERS[kind]
    if gone.any():
        given = [[filler] * width if row is None else row for row in given]
    if not set(map(type, given)) <= {list} or any(len(row) != width for row in given):
        raise ValueError(f"{kind} of {table.name}: expected lists of {width} values")
    types = set(map(type, chain.from_iterable(given)))
    none = None
    if type(None) in types:
        none = np.array([[v is None for v in row] for row in given], bool)
        given = [[filler if v is None else v for v in row] for row in given]
        types.discard(type(None))
    if not types <= _TYPES[kind]:
        wrong = ", ".join(sorted(t.__name__ for t in types - _TYPES[kind]))
        raise ValueError(f"{kind} of {table.name}: a value is a {wrong}")
    if kind == "str":
        return given, none, gone
    try:
        made = np.array(given, "f8" if kind == "f4" else kind).reshape(shape)
    except OverflowError:
        raise ValueError(f"{kind} of {table.name}: a value is too large") from None
    if kind == "f4":
        made = _narrowed(made)
    if kind[0] == "f" and not np.isfinite(made).all():
        raise ValueError(f"{kind} of {table.name}: a value is too large")
    return made, none, gone


def _narrowed(values: Array) -> Array:
    """Float32 by way of float64, as which the text was read; what does not fit is infinite."""
    with np.errstate(over="ignore"):
        made: Array = values.astype("f4")
    awkward = np.abs(values) == _ROUNDED_TWICE
    if awkward.any():
        made[awkward] = np.copysign(_IS_FLOAT, values[awkward])
    return made


def _marks(table: Table, given: Iterable[Any], rows: int) -> dict[int, dict[int, Mark]]:
    out: dict[int, dict[int, Mark]] = {}
    for mark in given:
        if not isinstance(mark, list) or len(mark) != 3:
            raise ValueError(f"marks of {table.name}: {mark!r}")
        at, column, text = mark
        quality, _, reason = _text(text).partition(":")
        if type(at) is not int or not 0 <= at < rows or quality not in Quality.__members__:
            raise ValueError(f"marks of {table.name}: {mark}")
        if column is not None and not 0 <= column < len(table.columns):
            raise ValueError(f"marks of {table.name}: there is no column {column}")
        place = ALL if column is None else int(column)
        out.setdefault(at, {})[place] = Mark(Quality[quality], reason)
    return out
