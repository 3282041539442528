"""A row as JSON, one object for each tag: what the API and the CLI print with ``--json``."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import orjson

from gateway.model import Mark, Quality, Row


def _quality(mark: Mark | None) -> tuple[str, str | None]:
    return (Quality.GOOD.name, None) if mark is None else (mark.quality.name, mark.reason)


def row_objects(row: Row) -> Iterator[dict[str, Any]]:
    """One object for each tag, in column order; ``value`` is None where the tag is BAD."""
    table = row.table
    labels = dict(table.labels)
    for (tag, value, mark), unit in zip(row.items(), table.units, strict=True):
        quality, reason = _quality(mark)
        yield {
            "table": table.name,
            "labels": labels,
            "tag": tag,
            "value": value,
            "quality": quality,
            "reason": reason,
            "unit": unit,
            "time_ns": row.time_ns,
        }


def row_lines(row: Row) -> list[bytes]:
    """The objects of `row_objects` as JSON texts, made faster: what is the same is made once."""
    table, dumps = row.table, orjson.dumps
    head = dumps({"table": table.name, "labels": dict(table.labels)})[:-1] + b',"tag":'
    good = b',"quality":"GOOD","reason":null,"unit":'
    tail = b',"time_ns":%d}' % row.time_ns
    units = {unit: dumps(unit) for unit in set(table.units)}
    if row.marks is None:
        return [
            b'%b%b,"value":%b%b%b%b' % (head, dumps(tag), dumps(value), good, units[unit], tail)
            for tag, value, unit in zip(table.columns, row.values(), table.units, strict=True)
        ]
    lines = []
    for (tag, value, mark), unit in zip(row.items(), table.units, strict=True):
        middle = good
        if mark is not None:
            middle = b',"quality":"%b","reason":%b,"unit":' % (
                mark.quality.name.encode(),
                dumps(mark.reason),
            )
        lines.append(
            b'%b%b,"value":%b%b%b%b' % (head, dumps(tag), dumps(value), middle, units[unit], tail)
        )
    return lines


def row_json(row: Row) -> bytes:
    """NDJSON: one line for each tag, each with its line end."""
    return b"\n".join(row_lines(row)) + b"\n" if row.table.columns else b""
