"""What a batch holds, noted twice: with the batch, and in an append-only file beside its segment.

When the database can no longer be read, the file still says which rows were lost.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import orjson


class Span(NamedTuple):
    """Rows of one table in a batch: their number, first and last time."""

    device: str
    table: str
    rows: int
    first_ns: int
    last_ns: int


def merge_spans(spans: Iterable[Span]) -> list[Span]:
    """One span a table."""
    merged: dict[tuple[str, str], Span] = {}
    for span in spans:
        key = span[:2]
        old = merged.get(key)
        merged[key] = (
            span
            if old is None
            else Span(
                *key,
                old.rows + span.rows,
                min(old.first_ns, span.first_ns),
                max(old.last_ns, span.last_ns),
            )
        )
    return list(merged.values())


def dump_spans(spans: Iterable[Span]) -> bytes:
    """Spans as JSON."""
    return orjson.dumps([list(span) for span in spans])


def load_spans(raw: bytes) -> tuple[Span, ...]:
    """Spans from JSON; ValueError or TypeError where it is none."""
    return _spans(orjson.loads(raw))


def _spans(raw: Any) -> tuple[Span, ...]:
    return tuple(Span(*item) for item in raw)


def sync_folder(folder: Path) -> None:
    """Make the names in a folder as durable as the files; OSError where the disk refuses."""
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


class Manifest:
    """The append-only file: a JSON line for each batch stored and each group delivered."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._fd: int | None = None

    def append(self, line: dict[str, Any], *, sync: bool = False) -> None:
        """Add a line; OSError where the disk refuses."""
        if self._fd is None:
            self._fd = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o640)
        data = orjson.dumps(line) + b"\n"
        if os.write(self._fd, data) != len(data):
            raise OSError(28, "short write to the manifest", str(self.path))
        if sync:
            os.fdatasync(self._fd)

    def close(self) -> None:
        """Close the file; a later append opens it again."""
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None

    def lines(self) -> Iterator[dict[str, Any]]:
        """All whole lines; a torn or damaged one is passed over."""
        try:
            data = self.path.read_bytes()
        except OSError:
            return
        for line in data.split(b"\n"):
            with suppress(orjson.JSONDecodeError):
                parsed = orjson.loads(line) if line else None
                if isinstance(parsed, dict):
                    yield parsed

    def pending(self) -> dict[int, tuple[Span, ...]]:
        """Batches that were stored and not noted as delivered."""
        found: dict[int, tuple[Span, ...]] = {}
        for line in self.lines():
            if "id" in line:
                found[line["id"]] = _spans(line["spans"])
            for gone in line.get("done", ()):
                found.pop(gone, None)
        return found

    def last_times(self) -> dict[tuple[str, str], int]:
        """The last spooled time of each table, carried on from segment to segment."""
        times: dict[tuple[str, str], int] = {}
        for line in self.lines():
            for device, table, last_ns in line.get("last", ()):
                times[device, table] = last_ns
            for span in _spans(line.get("spans", [])):
                times[span[:2]] = max(times.get(span[:2], 0), span.last_ns)
        return times
