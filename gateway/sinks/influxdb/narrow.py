"""Rows to lines of layout ``narrow``: one line a column, the column's name in label ``tag``.

Numbers are in field ``value``, ``store: int`` in ``integer``, bools in ``state`` and texts in
``text``: InfluxDB allows one type a field. A label ``tag`` of the user becomes ``tag_2``.
"""

from __future__ import annotations

import numpy as np

from gateway.model import Kind, Mark, Quality, Row, Table
from gateway.sinks import Selected
from gateway.sinks.influxdb import lineprotocol as lp
from gateway.sinks.influxdb.prepared import may_have_quality
from gateway.sinks.influxdb.wide import LineEncoder, texts, wanted

_TIME = b"\0"
"""Stands for the time in a template: no name can hold it."""

_MAX_INT = 2**63 - 1


class NarrowEncoder(LineEncoder):
    """One line a column and row."""

    def __init__(self) -> None:
        super().__init__()
        self._prepared: dict[Table, _Narrow] = {}

    def start_over(self) -> None:
        """Write the ``_quality`` of every column again: the row that told it may be lost."""
        for table, prepared in self._prepared.items():
            prepared.doubtful = all_columns(table)

    def lines(self, selected: Selected, out: list[bytes]) -> int:
        """Add the lines of one row; returns how many values they hold."""
        row = selected.row
        prepared = self._prepared.get(row.table)
        if prepared is None:
            prepared = self._prepared[row.table] = _Narrow(row.table)
        if selected.masks is None and row.marks is None and not prepared.doubtful:
            parts = [texts(values) for values in row.parts]
            plain = all(b"null" not in p for p in parts) and not prepared.has_unsigned_int
            if plain and parts:
                values = [text for part in parts for text in part]
                time = b" %d" % row.time_ns
                out.append(prepared.template.replace(_TIME, time) % tuple(values))
                return len(values)
        return self._each(prepared, selected, out)

    def _each(self, prepared: _Narrow, selected: Selected, out: list[bytes]) -> int:
        row = selected.row
        time = b" %d\n" % row.time_ns
        qualities = _qualities(prepared, row)
        count = 0
        for number, part in enumerate(row.table.parts if row.parts else ()):
            keep = wanted(selected, number)
            values = row.parts[number]
            if not isinstance(values, list) and values.dtype.kind == "f":
                finite = np.isfinite(values)
                self.not_finite += int((keep & ~finite).sum())
                keep &= finite
            formatted = texts(values)
            for i in np.flatnonzero(keep).tolist():
                column = part.columns[i]
                field, value = prepared.fields[number][i], formatted[i]
                if field == b"integer=%bi" and int(value) > _MAX_INT:
                    field, value = b"text=%b", b'"%b"' % value
                    self.as_text += 1
                quality = qualities.pop(column, None)
                tail = b",_quality=%b" % quality if quality is not None else b""
                out.append(prepared.heads[column] + b" " + field % value + tail + time)
                count += 1
        for column, quality in qualities.items():
            out.append(prepared.heads[column] + b" _quality=" + quality + time)
        return count


class _Narrow:
    def __init__(self, table: Table) -> None:
        tags = lp.unique_keys(table.columns)
        self.heads = [lp.prefix(table.name, table.labels, tag) for tag in tags]
        self.fields = [
            [_field(part.kind, c in table.stores_int) for c in part.columns] for part in table.parts
        ]
        self.has_unsigned_int = any(
            part.kind == "u8" and not table.stores_int.isdisjoint(part.columns)
            for part in table.parts
        )
        self.doubtful = all_columns(table)
        """Columns whose last ``_quality`` in the database may be one that is not empty."""
        self.template = b"".join(
            self.heads[c].replace(b"%", b"%%") + b" " + field + _TIME + b"\n"
            for part, fields in zip(table.parts, self.fields, strict=True)
            for c, field in zip(part.columns, fields, strict=True)
        )


def all_columns(table: Table) -> frozenset[int]:
    """Columns of which it is not known whether their quality was told."""
    return frozenset(range(len(table.columns)) if may_have_quality(table) else ())


def _field(kind: Kind, store_int: bool) -> bytes:
    if store_int:
        return b"integer=%bi"
    return {"b1": b"state=%b", "str": b"text=%b"}.get(kind, b"value=%b")


def _qualities(prepared: _Narrow, row: Row) -> dict[int, bytes]:
    """What to write as ``_quality`` for which column; empty text for those that recovered."""
    marks: dict[int, Mark] = {}
    if row.marks is not None:
        marks = {i: m for i in range(len(row.table.columns)) if (m := row.mark(i)) is not None}
    doubtful = frozenset(c for c, m in marks.items() if m.quality is not Quality.GOOD)
    out = {c: lp.quote(str(marks[c])) for c in doubtful}
    out.update(dict.fromkeys(prepared.doubtful - doubtful, b'""'))
    prepared.doubtful = doubtful
    return out
