"""Rows to lines: templates prepared once per table, values formatted a part at a time.

Numbers of one part are formatted by one call (shortest digits that read back exactly) and put
into a template by one more. A row of which only some columns go out (dead band, BAD, not finite)
takes the sparse path, which joins the templates of just those columns.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from operator import itemgetter
from typing import NamedTuple

import numpy as np
import orjson

from gateway.model import ALL, Array, Mark, Quality, Row, Table, Values
from gateway.sinks import Selected
from gateway.sinks.influxdb import lineprotocol as lp
from gateway.sinks.influxdb.prepared import MAX_LINE, Prepared, may_have_quality
from gateway.sinks.influxdb.refusals import Refusals

MAX_BATCH_TEXT = 4_000_000
"""A payload ends with the row that takes it past this many bytes of text."""

_MAX_INT = 2**63 - 1
_OPTION = orjson.OPT_SERIALIZE_NUMPY
_QUALITY = b"_quality=%b"


class Encoded(NamedTuple):
    """Lines of some rows: whole rows, in the order in which they came."""

    text: bytes
    rows: int
    values: int


def texts(values: Values) -> list[bytes]:
    """Each value of a part as its text in a line; ``null`` where it is not finite."""
    if isinstance(values, list):
        return [lp.quote(v) for v in values]
    if not len(values):
        return []
    return orjson.dumps(np.ascontiguousarray(values), option=_OPTION)[1:-1].split(b",")


class LineEncoder:
    """One line a row (layout ``wide``). Keeps what it must know to write a recovery once."""

    def __init__(self, max_columns: int = 200, refusals: Refusals | None = None) -> None:
        self.not_finite = 0
        """Values left out because they were NaN or infinite and nobody had marked them BAD."""
        self.as_text = 0
        """Integers above 2^63-1 written as text."""
        self._max_columns = max_columns
        self._refusals = refusals or Refusals()
        self._refused = self._refusals.known
        self._tables: dict[Table, Prepared] = {}

    def start_over(self) -> None:
        """Write the ``_quality`` of every table again: the row that told it may be lost."""
        for table, prepared in self._tables.items():
            prepared.wrote_quality = [may_have_quality(table)] * len(prepared.cuts)

    def encode(self, rows: Sequence[Selected]) -> Iterator[Encoded]:
        """The lines of the rows, in runs of about MAX_BATCH_TEXT bytes; no row is divided."""
        known = self._refusals.known
        if known is not self._refused:
            touched = {column.measurement for column in known ^ self._refused}
            self._refused = known
            for prepared in self._tables.values():
                if not touched.isdisjoint(prepared.measured):
                    prepared.arrange(self._refused)
        lines: list[bytes] = []
        size = count = values = 0
        for selected in rows:
            before = len(lines)
            values += self.lines(selected, lines)
            size += sum(map(len, lines[before:]))
            count += 1
            if size >= MAX_BATCH_TEXT:
                yield Encoded(b"".join(lines), count, values)
                lines = []
                size = count = values = 0
        if count:
            yield Encoded(b"".join(lines), count, values)

    def lines(self, selected: Selected, out: list[bytes]) -> int:
        """Add the lines of one row; returns how many values they hold."""
        row = selected.row
        prepared = self._tables.get(row.table)
        if prepared is None:
            prepared = self._tables[row.table] = Prepared(
                row.table, self._max_columns, self._refused
            )
        if selected.masks is None and row.marks is None and not any(prepared.wrote_quality):
            parts = [texts(values) for values in row.parts]
            if self._is_plain(prepared, row, parts):
                return _whole(prepared, row, parts, out)
        return self._sparse(prepared, selected, out)

    def _is_plain(self, prepared: Prepared, row: Row, parts: list[list[bytes]]) -> bool:
        for part, ints, text in zip(row.table.parts, prepared.ints, parts, strict=True):
            if part.kind[0] == "f" and b"null" in text:
                return False
            if ints is not None and max(map(len, text)) >= 19:  # may be above 2^63-1
                return False
        return bool(parts)

    def _sparse(self, prepared: Prepared, selected: Selected, out: list[bytes]) -> int:
        row = selected.row
        count = 0
        kept: list[Array] = []
        fields: list[list[bytes]] = []
        values: list[list[bytes]] = []
        for number in range(len(row.parts)):
            index, f, v = self._chosen(prepared, selected, number)
            kept.append(index)
            fields.append(f)
            values.append(v)
            count += len(v)
        for line in prepared.lines:
            chosen_fields: list[bytes] = []
            chosen_values: list[bytes] = []
            for number, a, b in line.slices if row.parts else ():
                low, high = np.searchsorted(kept[number], [a, b]).tolist()
                chosen_fields += fields[number][low:high]
                chosen_values += values[number][low:high]
            quality = _quality(prepared, line.cut, row.marks) if line.opens_cut else None
            if quality is not None and line.quality_apart:
                _add(line.prefix, [_QUALITY], [quality], row.time_ns, out)
            elif quality is not None:
                chosen_fields.append(_QUALITY)
                chosen_values.append(quality)
            _add(line.prefix, chosen_fields, chosen_values, row.time_ns, out)
        return count

    def _chosen(
        self, prepared: Prepared, selected: Selected, number: int
    ) -> tuple[Array, list[bytes], list[bytes]]:
        """Places in the part that go out, and their fields and values."""
        row = selected.row
        values = row.parts[number]
        keep = wanted(selected, number)
        if not isinstance(values, list) and values.dtype.kind == "f":
            finite = np.isfinite(values)
            self.not_finite += int((keep & ~finite).sum())
            keep &= finite
        index = np.flatnonzero(keep)
        places = index.tolist()
        if not places:
            return index, [], []
        fields = _pick(prepared.fields[number], places)
        if isinstance(values, list):
            return index, fields, [lp.quote(values[i]) for i in places]
        out = texts(values[index])
        ints = prepared.ints[number]
        if ints is not None:
            for n in np.flatnonzero(ints[index] & (values[index] > _MAX_INT)).tolist():
                fields[n] = prepared.text_fields[row.table.parts[number].columns[places[n]]]
                self.as_text += 1
        return index, fields, out


def wanted(selected: Selected, number: int) -> Array:
    """Which places of a part go out by mask and by quality; a new array."""
    row = selected.row
    part = row.table.parts[number]
    mask = selected.masks[number] if selected.masks is not None else None
    keep = np.ones(len(part.columns), bool) if mask is None else mask.astype(bool)
    for column, mark in (row.marks or {}).items():
        if mark.quality is Quality.BAD:
            if column == ALL:
                keep[:] = False
            else:
                place, i = row.table.position(column)
                if place == number:
                    keep[i] = False
    return keep


def _pick(templates: list[bytes], places: list[int]) -> list[bytes]:
    if len(places) == 1:
        return [templates[places[0]]]
    return list(itemgetter(*places)(templates))


def _whole(prepared: Prepared, row: Row, parts: list[list[bytes]], out: list[bytes]) -> int:
    for line in prepared.lines:
        values: list[bytes] = []
        for number, a, b in line.slices:
            values += parts[number][a:b]
        text = line.template % (*values, row.time_ns)
        if len(text) <= MAX_LINE:
            out.append(text)
        else:
            fields = [f for p, a, b in line.slices for f in prepared.fields[p][a:b]]
            _add(line.prefix, fields, values, row.time_ns, out)
    return len(row.table.columns)


def _add(
    prefix: bytes, fields: list[bytes], values: list[bytes], time_ns: int, out: list[bytes]
) -> None:
    """One line, or several of the same series and time where it would be too long."""
    if not fields:
        return
    text = b"%b %b %%d\n" % (prefix, b",".join(fields)) % (*values, time_ns)
    if len(text) <= MAX_LINE or len(fields) == 1:
        out.append(text)
        return
    middle = len(fields) // 2
    _add(prefix, fields[:middle], values[:middle], time_ns, out)
    _add(prefix, fields[middle:], values[middle:], time_ns, out)


def _quality(prepared: Prepared, cut: int, marks: dict[int, Mark] | None) -> bytes | None:
    """The ``_quality`` of a cut's columns: None where it need not be written."""
    first, end = prepared.cuts[cut]
    items = []
    if marks:
        if ALL in marks:
            items.append(f"*={marks[ALL]}")
        concerned = sorted(c for c in marks if first <= c < end)
        items += [f"{prepared.columns[c]}={marks[c]}" for c in concerned]
    recovered = prepared.wrote_quality[cut] and not items
    prepared.wrote_quality[cut] = bool(items)
    if not items and not recovered:
        return None
    return lp.quote(lp.quality_text(items))
