"""What a spool does about damage: put a segment aside, and salvage it."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path

from gateway.spool.manifest import Entry, merge_spans, missing_spans
from gateway.spool.segment import Damaged, Segment, Stored

KEEP_CORRUPT = 3
"""Damaged files kept for a look, newest first."""


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
    note: Callable[[Entry], None],
) -> Entry:
    """Set a damaged segment aside and make it anew from what can be read or is in ``memory``.

    Returns what those lost held: its manifest file names them, and what the file cannot is known
    by table. It goes to ``note`` before the file is made anew, with ``last_ns``. A second call
    after a crash in the middle goes on with what was set aside first.
    """
    contents = segment.manifest.contents()
    delivered = segment.delivered
    expected = {i: entry for i, entry in contents.pending.items() if i not in delivered}
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
    spans = merge_spans(span for batch_id in missing for span in expected[batch_id].spans)
    known = [span for _, stored in kept for span in stored.spans]
    spans = merge_spans([*spans, *missing_spans(segment.counts.spans(), [*known, *spans])])
    lost = Entry(tuple(spans), tuple(n for i in missing for n in expected[i].told))
    if spans:
        note(lost)
    with suppress(OSError):
        segment.manifest.rewrite({i: stored.entry for i, stored in kept}, last_ns)
    segment.gone.clear()
    segment.failed = False
    segment.forgotten()
    segment.hold({batch_id: stored.spans for batch_id, stored in kept})
    segment.cursor = 0
    _prune(segment.path.parent)
    return lost


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
