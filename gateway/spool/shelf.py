"""One family of segments of a spool, in the order in which they were written."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path

from gateway.spool.batch import Batch, Family, Key
from gateway.spool.manifest import (
    Counts,
    Entry,
    Span,
    last_line,
    merge_spans,
    missing_spans,
    sync_folder,
)
from gateway.spool.rescue import Mender, Tells, is_damage
from gateway.spool.segment import Damaged, Segment


class Shelf:
    """Segments of one family: one is written to, the others only shrink."""

    def __init__(
        self,
        folder: Path,
        family: Family,
        segment_bytes: int,
        tells: Tells,
        clock: Callable[[], float],
    ) -> None:
        self.segments: list[Segment] = []
        self.last: dict[tuple[str, str], int] = {}
        """The last spooled time of each table."""
        self._folder = folder
        self._family: Family = family
        self._segment_bytes = segment_bytes
        self._tells = tells
        self._mender = Mender(self, folder, tells)
        self._clock = clock
        self._current: Segment | None = None
        self._batches: dict[tuple[int, int], Batch] = {}
        self._doubtful: list[tuple[Segment, list[int]]] = []
        """Ids whose write failed, until the batches are safe somewhere else."""

    def forsake(self) -> None:
        """Know of no segment."""
        self.close()
        self.segments.clear()
        self.last.clear()

    def adopt(self, segment: Segment) -> None:
        """Take over a segment of an earlier run; it is never written to again."""
        self.segments.append(segment)
        contents = segment.manifest.contents()
        # carried on from segment to segment, so the newest manifest has all of them
        self.last.update(contents.last_ns)
        # what waits is told from the start, not only once the segment is surveyed
        spans = [span for entry in contents.pending.values() for span in entry.spans]
        segment.batches, segment.rows = len(contents.pending), sum(span.rows for span in spans)
        segment.counts = Counts(spans)

    def find_last(self) -> None:
        """After an unclean stop, which may have been a power cut: of the newest batches only the
        database is sure to know. Of all others the manifest does.
        """
        for segment in self.segments[-1:]:
            with suppress(sqlite3.Error, Damaged, OSError):
                for entry in segment.pending().values():
                    self._note_last(entry.spans)
            segment.close()

    def _note_last(self, spans: Iterable[Span]) -> None:
        for span in spans:
            self.last[span[:2]] = max(self.last.get(span[:2], 0), span.last_ns)

    def store(self, batches: Sequence[Batch], new_number: Callable[[], int]) -> None:
        """Store batches in one transaction; they get their key and count as taken.

        sqlite3.Error or OSError: none is stored, and the next try begins a new segment.
        """
        is_new = self._current is None
        segment = self._current or self._new(new_number())
        try:
            ids = segment.store([batch.stored for batch in batches], segment.done)
        except (sqlite3.Error, OSError):
            self._fail(segment, len(batches), is_new=is_new)
            raise
        self._note_doubtful()
        segment.forgotten()
        segment.last_write_s = self._clock()
        for batch_id, batch in zip(ids, batches, strict=True):
            batch.key = Key(self._family, segment.number, batch_id)
            self._batches[batch.key[1:]] = batch
            segment.taken.add(batch_id)
            segment.batches += 1
            segment.rows += batch.stored.rows
            segment.counts.add(batch.stored.spans)
            self._note_last(batch.stored.spans)
        segment.bytes = segment.size()
        if segment.written >= self._segment_bytes:
            self._seal()

    def _fail(self, segment: Segment, batches: int, *, is_new: bool) -> None:
        """After a failed write a segment is not trusted with another."""
        segment.failed = True
        self._seal()
        if is_new:  # nothing is in it, and it takes room
            with suppress(OSError):
                self.drop(segment)
                return
        # a failed sync may have left them in the log, from which they would rise again
        doubtful = segment.next_ids(batches)
        segment.gone.update(doubtful)
        self._doubtful.append((segment, doubtful))

    def _note_doubtful(self) -> None:
        for segment, doubtful in self._doubtful:
            if segment in self.segments:
                with suppress(OSError):  # then they are only sent once more
                    segment.manifest.append({"done": doubtful})
                segment.manifest.close()
        self._doubtful = []

    def _new(self, number: int) -> Segment:
        segment = Segment(self._folder, number, self._family)
        try:
            self._folder.mkdir(parents=True, exist_ok=True, mode=0o750)
            segment.create()
            # on disk before older segments go, which have it too
            segment.manifest.append(last_line(self.last), sync=True)
            sync_folder(self._folder)
        except (sqlite3.Error, OSError):
            with suppress(OSError):
                segment.unlink()
            raise
        segment.surveyed = True
        segment.last_write_s = self._clock()
        self.segments.append(segment)
        self._current = segment
        return segment

    def seal(self, segment: Segment) -> None:
        """Write to it no more."""
        if self._current is segment:
            self._seal()

    def _seal(self) -> None:
        segment, self._current = self._current, None
        if segment is not None:
            segment.close()
            segment.bytes = segment.size()

    def rest(self, segment: Segment) -> None:
        """Its files may be closed, unless it is written to: open files cost room on the disk."""
        if segment is not self._current:
            segment.close()

    def drop(self, segment: Segment) -> None:
        """Remove a segment from disk; OSError where that fails. What is in memory goes on."""
        segment.unlink()
        if self._current is segment:
            self._current = None
        self.segments.remove(segment)
        for batch_id, batch in self.held(segment).items():
            del self._batches[segment.number, batch_id]
            batch.key = None

    def held(self, segment: Segment) -> dict[int, Batch]:
        """What of a segment is in memory and not delivered."""
        held = {i: self._batches.get((segment.number, i)) for i in segment.taken}
        return {i: batch for i, batch in held.items() if batch is not None}

    def left(self, segment: Segment) -> Entry:
        """What of a segment is neither delivered nor in memory.

        From its manifest file if it cannot say.
        """
        try:
            pending = segment.pending()
        except (sqlite3.Error, Damaged, OSError):
            pending = segment.manifest.contents().pending
        held = self.held(segment)
        passed = segment.delivered.union(held)
        left = [entry for i, entry in pending.items() if i not in passed]
        known = [span for entry in left for span in entry.spans]
        kept = [span for batch in held.values() for span in batch.stored.spans]
        missing = missing_spans(segment.counts.spans(), [*known, *kept])
        told = tuple(note for entry in left for note in entry.told)
        return Entry(tuple(merge_spans([*known, *missing])), told)

    def settle(self, key: Key) -> None:
        """A batch was delivered; it is deleted with the next write, or by `tidy`."""
        batch = self._batches.pop(key[1:], None)
        for segment in self.segments:
            if segment.number == key.number and batch is not None:
                segment.done.append(key.id)
                segment.batches -= 1
                segment.rows -= batch.stored.rows
                segment.counts.subtract(batch.stored.spans)

    def release(self, key: Key) -> None:
        """A batch that was taken goes out of memory unsent: it is backlog again."""
        if self._batches.pop(key[1:], None) is None:
            return
        for segment in self.segments:
            if segment.number == key.number:
                segment.taken.discard(key.id)
                segment.cursor = min(segment.cursor, key.id - 1)

    def tidy(self, *, idle: bool) -> None:
        """Delete delivered batches and drop empty segments.

        ``idle``: nothing was stored in this round, so deletions have nothing to ride with.
        """
        for segment in list(self.segments):
            current = segment is self._current
            # the newest manifest carries the last times of all tables, so it stays
            if segment.surveyed and not segment.batches and segment is not self.segments[-1]:
                with suppress(OSError):
                    self.drop(segment)
                continue
            if segment.done and (idle or not current):
                self._forget(segment)
            if not current and not segment.untaken:
                segment.close()

    def _forget(self, segment: Segment) -> None:
        reopened = False
        while True:
            try:
                segment.forget()
                break
            except (sqlite3.Error, OSError) as error:
                segment.close()
                if isinstance(error, sqlite3.Error) and not reopened:
                    reopened = True  # a fault of the disk can look like damage
                    continue
                if not is_damage(error) or not self._mender.damaged(segment, str(error)):
                    self._tells.failed(str(error))
                return
        segment.bytes = segment.size()

    def take(self) -> Iterator[Batch]:
        """The batches that are not in memory, oldest first."""
        for segment in list(self.segments):
            while segment in self.segments and (batch := self._take_from(segment)) is not None:
                yield batch
            self.rest(segment)

    def look(self) -> None:
        """Notice files that were deleted or replaced under us, and write them anew."""
        self._mender.look()

    def _take_from(self, segment: Segment) -> Batch | None:
        if not segment.surveyed:
            self._mender.survey(segment)
        reopened = False
        while segment.surveyed and segment.untaken:
            try:
                ids = segment.after(segment.cursor, 1)
                if not ids:
                    raise Damaged(f"batches are missing from {segment.path.name}")
                passed = ids[0] in segment.taken or ids[0] in segment.gone
                stored = None if passed else segment.read(ids[0])
            except (sqlite3.Error, Damaged, OSError) as error:
                segment.close()
                if isinstance(error, sqlite3.Error) and not reopened:
                    reopened = True  # a fault of the disk can look like damage
                elif not is_damage(error) or not self._mender.damaged(segment, str(error)):
                    self._tells.failed(str(error))
                    return None
                continue
            segment.cursor = ids[0]
            if stored is not None:
                key = Key(self._family, segment.number, ids[0])
                batch = self._batches[key[1:]] = Batch(key, stored, segment.last_write_s)
                segment.taken.add(ids[0])
                return batch
        return None

    def survey_one(self) -> bool:
        """Survey the next segment that is not; False where there is none."""
        for segment in self.segments:
            if not segment.surveyed:
                self._mender.survey(segment)
                segment.close()
                return True
        return False

    def close(self) -> None:
        """Close all files."""
        for segment in self.segments:
            segment.close()


def all_segments(shelves: Iterable[Shelf]) -> list[Segment]:
    """The segments of several shelves; a copy."""
    return [segment for shelf in shelves for segment in list(shelf.segments)]
