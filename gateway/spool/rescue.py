"""What a spool does about damage: salvage a segment, and never forget to report a loss."""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TypeAlias

import orjson

from gateway.losses import Cause
from gateway.spool.manifest import Span, merge_spans, missing_spans
from gateway.spool.segment import Damaged, Segment, Stored

KEEP_CORRUPT = 3
"""Damaged files kept for a look, newest first."""

Note: TypeAlias = tuple[Cause, Span, str]


def is_damage(error: Exception) -> bool:
    """Whether the file itself is wrong, rather than the disk or the moment."""
    if isinstance(error, sqlite3.Error):
        code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_CORRUPT) & 0xFF
        # SQLITE_ERROR: the table is gone, as after the loss of the write-ahead log
        return code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_ERROR)
    return isinstance(error, Damaged)


def rescue(
    segment: Segment,
    memory: Mapping[int, Stored],
    last_ns: Mapping[tuple[str, str], int],
    note: Callable[[list[Span]], None],
) -> tuple[list[tuple[int, Stored]], list[Span]]:
    """Set a damaged segment aside and make it anew from what can be read or is in ``memory``.

    Returns the batches kept and the spans of those lost: its manifest file names them, and what
    the file cannot is known by table. They go to ``note`` before the file is made anew, with
    ``last_ns``. A second call after a crash in the middle goes on with what was set aside first.
    """
    contents = segment.manifest.contents()
    delivered = segment.delivered
    expected = {i: spans for i, spans in contents.pending.items() if i not in delivered}
    there = segment.path.exists()
    aside = segment.set_aside(time.time_ns()) if there else _newest_aside(segment)
    segment.drop_logs()
    ids = set(expected)
    with suppress(sqlite3.Error, OSError):
        ids.update(aside.after(0, 1_000_000))
    ids -= delivered | contents.done
    found = dict(aside.salvage(sorted(ids - memory.keys())))
    aside.close()
    kept = sorted({**found, **memory}.items())
    segment.refill(kept)
    missing = sorted(expected.keys() - dict(kept).keys())
    lost = merge_spans(span for batch_id in missing for span in expected[batch_id])
    known = [span for _, stored in kept for span in stored.spans]
    lost = merge_spans([*lost, *missing_spans(segment.counts.spans(), [*known, *lost])])
    if lost:
        note(lost)
    with suppress(OSError):
        segment.manifest.rewrite({i: stored.spans for i, stored in kept}, last_ns)
    segment.gone.clear()
    segment.failed = False
    segment.forgotten()
    segment.hold({batch_id: stored.spans for batch_id, stored in kept})
    segment.cursor = 0
    _prune(segment.path.parent)
    return kept, lost


def _asides(folder: Path, name: str = "*.db") -> list[Path]:
    found = [p for p in folder.glob(f"{name}.corrupt-*") if p.name.rsplit("-", 1)[1].isdigit()]
    return sorted(found, key=lambda p: int(p.name.rsplit("-", 1)[1]))


def _newest_aside(segment: Segment) -> Segment:
    found = _asides(segment.path.parent, segment.path.name)
    aside = Segment(segment.path.parent, segment.number, segment.family)
    if found:
        aside.path = found[-1]
    return aside


def _prune(folder: Path) -> None:
    for path in _asides(folder)[:-KEEP_CORRUPT]:
        for suffix in ("", "-wal", "-shm"):
            with suppress(OSError):
                path.with_name(path.name + suffix).unlink(missing_ok=True)


def told_now(notes: Iterable[Note], last_ns: Mapping[tuple[str, str], int]) -> list[Note]:
    """Notes that are to be told at a start.

    ``last_ns``: the last time stored of each table. Of an interruption after which nothing was
    stored yet, the first new row tells, and then for longer.
    """
    return [
        note
        for note in notes
        if note[0] != "unclean_stop" or last_ns.get(note[1][:2]) != note[1].first_ns - 1
    ]


class LossNotes:
    """Losses on disk until their own rows are: a crash in between must not make them silent."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._fd: int | None = None
        self._lines: list[bytes] = []
        self._before = 0

    def load(self) -> list[Note]:
        """Losses that an earlier run noted and may not have reported."""
        notes: list[Note] = []
        with suppress(OSError):
            for line in self._path.read_bytes().split(b"\n"):
                with suppress(orjson.JSONDecodeError, TypeError, ValueError):
                    cause, span, detail = orjson.loads(line)
                    notes.append((cause, Span(*span), detail))
        self._lines = [_line(note) for note in notes]
        return notes

    def add(self, notes: Sequence[Note]) -> None:
        """Note losses before they happen. A full disk does not stop it: they are reported."""
        lines = [_line(note) for note in notes]
        self._lines += lines
        with suppress(OSError):
            if self._fd is None:
                self._fd = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o640)
            os.write(self._fd, b"".join(lines))
            os.fdatasync(self._fd)

    def look(self) -> None:
        """Notice that the file was deleted or replaced under us, and write it anew."""
        if not self._lines:
            return
        with suppress(OSError):
            there = self._path.stat().st_ino if self._path.exists() else None
            if there is None or (self._fd is not None and os.fstat(self._fd).st_ino != there):
                self.close()
                _replace(self._path, self._lines)

    def begin_round(self) -> None:
        """What is noted by now has been published and is in the rows taken next."""
        self._before = len(self._lines)

    def settled(self) -> None:
        """The rows taken at the beginning of this round are on disk."""
        if not self._before:
            return
        self._lines = self._lines[self._before :]
        self._before = 0
        self.close()
        with suppress(OSError):
            _replace(self._path, self._lines)

    def close(self) -> None:
        """Close the file."""
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None


def _line(note: Note) -> bytes:
    return orjson.dumps([note[0], list(note[1]), note[2]]) + b"\n"


def _replace(path: Path, lines: Iterable[bytes]) -> None:
    temporary = path.with_suffix(".new")
    temporary.write_bytes(b"".join(lines))
    temporary.replace(path)
