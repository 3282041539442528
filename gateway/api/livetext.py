"""Rows and shapes as JSON text for WebSockets: each made once, for all clients that want it."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import orjson
from websockets.frames import Frame, Opcode

from gateway.model import ALL, Quality, Row, Table

CHUNK = 2048
"""Columns that are encoded at one go: 0.4 ms at most."""

FRAME_BYTES = 65_536
"""A message is closed once it has so many bytes; a single wide row may make it longer."""

EVERY = "*"
"""Stands for all columns where a quality holds for the whole row."""


class Pick:
    """The columns of a table that somebody wants; `columns` are indexes, in order."""

    __slots__ = ("columns", "is_whole", "name", "places", "table")

    def __init__(self, table: Table, columns: Sequence[int]) -> None:
        self.table = table
        self.is_whole = len(columns) == len(table.columns)
        self.columns = range(len(columns)) if self.is_whole else tuple(columns)
        self.name = f"{table.device}/{table.key}"
        self.places: dict[int, int] | None = None
        """Column -> position among those that are wanted; None where all are."""
        if not self.is_whole:
            self.places = {column: i for i, column in enumerate(self.columns)}

    def shape(self) -> bytes:
        """The message that says what the values of this table are."""
        return orjson.dumps(
            {
                "type": "shape",
                "table": self.name,
                "columns": [self.table.columns[i] for i in self.columns],
                "units": [self.table.units[i] for i in self.columns],
            }
        )

    def row_pieces(self, row: Row) -> Iterator[bytes]:
        """A row as a JSON object, in pieces of at most 1 ms each: others may run between two."""
        yield b'{"table":%b,"time_ns":%d,"values":[' % (orjson.dumps(self.name), row.time_ns)
        bad = _indexes(row, Quality.BAD)
        separator = b""
        for start in range(0, len(self.columns), CHUNK):
            stop = min(start + CHUNK, len(self.columns))
            yield separator + self._values(row, start, stop, bad)
            separator = b","
        tail = b"]"
        if row.marks:
            for word, quality in (("bad", Quality.BAD), ("uncertain", Quality.UNCERTAIN)):
                if found := self._reasons(row, quality):
                    tail += b',"%b":%b' % (word.encode(), orjson.dumps(found))
        yield tail + b"}"

    def _values(self, row: Row, start: int, stop: int, bad: frozenset[int]) -> bytes:
        """JSON values of wanted columns start to stop, separated by commas."""
        if not row.parts or ALL in bad:
            return b",".join([b"null"] * (stop - start))
        if self.is_whole and len(row.parts) == 1 and isinstance(row.parts[0], np.ndarray):
            values = row.parts[0][start:stop]
            lost = [i - start for i in bad if start <= i < stop]
            if not lost or values.dtype.kind == "f":
                if lost:
                    values = values.copy()
                    values[lost] = np.nan  # which is null in JSON
                return orjson.dumps(values, option=orjson.OPT_SERIALIZE_NUMPY)[1:-1]
        position, parts = self.table.position, row.parts
        scalars: list[Any] = []
        for column in self.columns[start:stop]:
            if column in bad:
                scalars.append(None)
            else:
                part, i = position(column)
                scalars.append(parts[part][i])
        return orjson.dumps(scalars, option=orjson.OPT_SERIALIZE_NUMPY)[1:-1]

    def _reasons(self, row: Row, quality: Quality) -> dict[str, str]:
        found = {}
        for column, mark in (row.marks or {}).items():
            if mark.quality is not quality:
                continue
            if column == ALL:
                found[EVERY] = mark.reason
            elif self.places is None:
                found[str(column)] = mark.reason
            elif (place := self.places.get(column)) is not None:
                found[str(place)] = mark.reason
        return found


def _indexes(row: Row, quality: Quality) -> frozenset[int]:
    if not row.marks:
        return frozenset()
    return frozenset(c for c, mark in row.marks.items() if mark.quality is quality)


def frame(text: bytes) -> bytes:
    """A message as it goes over the wire to any client: a server masks nothing (RFC 6455, 5.1)."""
    return Frame(Opcode.TEXT, text).serialize(mask=False)


def values_frames(rows: Iterable[bytes], dropped: int = 0) -> list[bytes]:
    """Messages of type ``values`` with these rows, none much longer than FRAME_BYTES."""
    frames, now, size, some = [], time.time_ns(), 0, list[bytes]()
    head = b'{"type":"values","time_ns":%d,"rows":[' % now
    for row in rows:
        if some and size + len(row) > FRAME_BYTES:
            frames.append(frame(head + b",".join(some) + b"]}"))
            some, size = [], 0
        some.append(row)
        size += len(row)
    if some or dropped:
        told = b'],"dropped":%d}' % dropped if dropped else b"]}"
        frames.append(frame(head + b",".join(some) + told))
    return frames
