"""What a spool does about damage: look for it, put a segment aside, and salvage it."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple, Protocol

from gateway.losses import Cause
from gateway.spool.batch import Batch
from gateway.spool.manifest import Entry, Note, Span, merge_spans, missing_spans
from gateway.spool.notes import LossNotes
from gateway.spool.segment import Damaged, Segment, Stored

KEEP_CORRUPT = 3
"""Damaged files kept for a look, newest first."""


class Tells(NamedTuple):
    """Whom the parts of a spool tell what goes wrong."""

    lost: Callable[[Cause, Span, str], None]
    notes: LossNotes
    """Losses, on disk before they happen."""
    failed: Callable[[str], None]
    """The disk did not do something."""
    damaged: Callable[[str], None]
    """A file is not what was written."""


class Holds(Protocol):
    """What has segments, and batches of them in memory: a `gateway.spool.shelf.Shelf`."""

    segments: list[Segment]
    last: dict[tuple[str, str], int]

    def held(self, segment: Segment) -> dict[int, Batch]:
        """What of a segment is in memory and not delivered."""

    def seal(self, segment: Segment) -> None:
        """Write to it no more."""

    def rest(self, segment: Segment) -> None:
        """Its files may be closed, unless it is written to."""


class Mender:
    """Finds and mends what is wrong with the segments of a shelf."""

    def __init__(self, shelf: Holds, folder: Path, tells: Tells) -> None:
        self._shelf = shelf
        self._folder = folder
        self._tells = tells

    def survey(self, segment: Segment) -> None:
        """Count what an earlier run left in a segment, and find out what is missing from it."""
        contents = segment.manifest.contents()
        try:
            pending = segment.pending()
            if contents.pending.keys() - pending.keys():
                raise Damaged(f"batches are missing from {segment.path.name}")
        except (sqlite3.Error, Damaged, OSError) as error:
            segment.close()
            if is_damage(error) or not segment.path.exists():
                self.damaged(segment, str(error))
            else:
                self._tells.failed(str(error))
            return
        segment.gone = contents.done & pending.keys()
        # the manifest file's word is taken where both have one: damage shows only when read
        pending |= {i: entry for i, entry in contents.pending.items() if i in pending}
        segment.hold({i: e.spans for i, e in pending.items() if i not in segment.gone})

    def look(self) -> None:
        """Notice files that were deleted or replaced under us, and write them anew."""
        segments = self._shelf.segments
        vanished = [segment for segment in segments if segment.vanished()]
        if vanished:
            names = f"{vanished[0].path.name} and {len(vanished) - 1} other files"
            names = names if len(vanished) > 1 else vanished[0].path.name
            text = f"{names} deleted or replaced by somebody; what is known is written anew"
            self._tells.damaged(text)
        try:
            self._folder.mkdir(parents=True, exist_ok=True, mode=0o750)
        except OSError as error:
            self._tells.failed(str(error))
            return
        for segment in vanished:
            self._rescue(segment, "deleted or replaced by somebody", segment.open_batches())
        for segment in segments:
            if segment.log_vanished():
                segment.close()  # the last thing that is done then: the log goes into the database
            if segment.manifest.is_stale or segment.manifest.vanished():
                self._write_manifest(segment)

    def _write_manifest(self, segment: Segment) -> None:
        try:
            passed = segment.delivered
            pending = {i: s for i, s in segment.pending().items() if i not in passed}
            segment.manifest.rewrite(pending, self._shelf.last)
        except (sqlite3.Error, Damaged, OSError) as error:
            self._tells.failed(str(error))  # who reads it next finds what is wrong with it
        self._shelf.rest(segment)

    def damaged(self, segment: Segment, error: str) -> bool:
        """A segment is not what was written: mend it; whether that went well."""
        self._tells.damaged(f"{segment.path.name}: {error}")
        return self._rescue(segment, error, {})

    def _rescue(self, segment: Segment, error: str, still_open: Mapping[int, Stored]) -> bool:
        """Put a damaged segment aside, keep what can be read, report the rest as lost."""
        self._shelf.seal(segment)
        delivered = segment.delivered
        memory = {i: stored for i, stored in still_open.items() if i not in delivered}
        memory |= {i: batch.stored for i, batch in self._shelf.held(segment).items()}
        detail = f"{segment.path.name}: {error}"
        try:
            kept, lost = salvage(segment, memory)
        except (sqlite3.Error, OSError) as failure:
            self._tells.failed(str(failure))
            return False
        notes: list[Note] = [("corrupt_segment", span, detail) for span in lost.spans]
        self._note(segment, {i: stored.entry for i, stored in kept.items()}, notes, lost)
        segment.gone.clear()
        segment.failed = False
        segment.forgotten()
        segment.hold({batch_id: stored.spans for batch_id, stored in kept.items()})
        segment.cursor = 0
        _prune(self._folder)
        segment.bytes = segment.size()
        for note in notes:
            self._tells.lost(*note)
        return True

    def _note(
        self, segment: Segment, kept: Mapping[int, Entry], losses: list[Note], lost: Entry
    ) -> None:
        """What is lost moves from the manifest to the notes in one moment: the renaming of a file.

        Before it the notes do not count, and after a kill the manifest makes it found again.
        """
        notes, manifest = self._tells.notes, segment.manifest
        try:
            unless = manifest.prepare(kept, self._shelf.last)
        except OSError:  # it is written as soon as the disk takes it
            unless = ""
        notes.add(losses, unless=unless)
        notes.hold({segment: lost.told}, unless=unless)
        if unless:
            with suppress(OSError):
                manifest.exchange()
        notes.let_go([segment], put_off=lost.told)


def is_damage(error: Exception) -> bool:
    """Whether the file itself is wrong, rather than the disk or the moment."""
    if isinstance(error, sqlite3.Error):
        code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_CORRUPT) & 0xFF
        # SQLITE_ERROR: the table is gone, as after the loss of the write-ahead log
        return code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_ERROR)
    return isinstance(error, Damaged)


def salvage(segment: Segment, memory: Mapping[int, Stored]) -> tuple[dict[int, Stored], Entry]:
    """Set a damaged segment aside and make it anew from what can be read or is in ``memory``.

    Returns what it has now, and what those lost held: its manifest file names them, and what the
    file cannot is known by table. A second call after a crash in the middle goes on with what was
    set aside first.
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
    kept = {**dict(aside.salvage(sorted(ids - memory.keys()))), **memory}
    aside.close()
    kept = dict(sorted(kept.items()))
    segment.refill(list(kept.items()))
    missing = sorted(expected.keys() - kept.keys())
    spans = merge_spans(span for batch_id in missing for span in expected[batch_id].spans)
    known = [span for stored in kept.values() for span in stored.spans]
    spans = merge_spans([*spans, *missing_spans(segment.counts.spans(), [*known, *spans])])
    return kept, Entry(tuple(spans), tuple(n for i in missing for n in expected[i].told))


def _asides(folder: Path, name: str = "*.db") -> list[Path]:
    found = [p for p in folder.glob(f"{name}.corrupt-*") if p.name.rsplit("-", 1)[1].isdigit()]
    return sorted(found, key=lambda p: int(p.name.rsplit("-", 1)[1]))


def _newest_aside(segment: Segment) -> Segment:
    found = _asides(segment.path.parent, segment.path.name)
    aside = Segment(segment.path.parent, segment.number, segment.family)
    if found:
        aside.path = found[-1]
    return aside


def _is_needed(aside: Path) -> bool:
    """Whether a crash came before the segment was made anew from it."""
    segment = aside.with_name(aside.name.partition(".corrupt-")[0])
    return segment.with_suffix(".manifest").exists() and not segment.exists()


def _prune(folder: Path) -> None:
    for path in _asides(folder)[:-KEEP_CORRUPT]:
        if _is_needed(path):
            continue
        for suffix in ("", "-wal", "-shm"):
            with suppress(OSError):
                path.with_name(path.name + suffix).unlink(missing_ok=True)
