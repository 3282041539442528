"""One family of segments of a spool, in the order in which they were written."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import MappingProxyType
from typing import Literal, NamedTuple, TypeAlias

from gateway.losses import Cause
from gateway.spool.manifest import Span, merge_spans, sync_folder
from gateway.spool.rescue import is_damage, rescue
from gateway.spool.segment import Damaged, Segment, Stored

Family: TypeAlias = Literal["events", "data"]
FAMILIES: tuple[Family, ...] = ("events", "data")

OnLoss: TypeAlias = Callable[[Cause, Span, str], None]


class Key(NamedTuple):
    """Where a batch lies on disk."""

    family: Family
    number: int
    id: int


class Batch:
    """A batch on its way to the sink. ``key`` None: it is not on disk."""

    __slots__ = ("cancelled", "key", "since_s", "stored", "unsent")

    def __init__(self, key: Key | None, stored: Stored, since_s: float) -> None:
        self.key = key
        self.stored = stored
        self.since_s = since_s
        """Monotonic time at which it was spooled (of its segment, when read back)."""
        self.unsent: list[bytes] = [stored.body]
        """What of it is still to be sent: more pieces once it had to be split."""
        self.cancelled = False
        """Its segment was given up: it is counted as lost already."""


class Shelf:
    """Segments of one family: one is written to, the others only shrink."""

    def __init__(
        self,
        folder: Path,
        family: Family,
        segment_bytes: int,
        on_loss: OnLoss,
        on_error: Callable[[str], None],
        clock: Callable[[], float],
    ) -> None:
        self.segments: list[Segment] = []
        self.last: dict[tuple[str, str], int] = {}
        """The last spooled time of each table."""
        self._folder = folder
        self._family: Family = family
        self._segment_bytes = segment_bytes
        self._on_loss = on_loss
        self._on_error = on_error
        self._clock = clock
        self._current: Segment | None = None
        self._batches: dict[tuple[int, int], Batch] = {}

    def adopt(self, segment: Segment) -> None:
        """Take over a segment of an earlier run; it is never written to again."""
        self.segments.append(segment)
        # carried on from segment to segment, so the newest manifest has all of them
        self.last.update(segment.manifest.last_times())

    def store(self, batches: Sequence[Stored], new_number: Callable[[], int]) -> list[Batch]:
        """Store batches in one transaction; they count as taken.

        sqlite3.Error or OSError: none is stored, and the next try begins a new segment.
        """
        segment = self._current or self._new(new_number())
        try:
            ids = segment.store(batches, segment.done)
        except (sqlite3.Error, OSError):
            self._seal()  # after a failed write it is not trusted with another
            raise
        _forgotten(segment)
        now = segment.last_write_s = self._clock()
        out = []
        for batch_id, stored in zip(ids, batches, strict=True):
            key = Key(self._family, segment.number, batch_id)
            batch = self._batches[key[1:]] = Batch(key, stored, now)
            segment.taken.add(batch_id)
            segment.batches += 1
            segment.rows += stored.rows
            for span in stored.spans:
                self.last[span[:2]] = span.last_ns
            out.append(batch)
        segment.bytes = segment.size()
        if segment.written >= self._segment_bytes:
            self._seal()
        return out

    def _new(self, number: int) -> Segment:
        segment = Segment(self._folder, number, self._family)
        try:
            segment.create()
            segment.manifest.append({"last": [[*key, ns] for key, ns in self.last.items()]})
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

    def _seal(self) -> None:
        segment, self._current = self._current, None
        if segment is not None:
            segment.close()
            segment.bytes = segment.size()

    def drop(self, segment: Segment) -> None:
        """Remove a segment from disk; OSError where that fails."""
        segment.unlink()
        if self._current is segment:
            self._current = None
        self.segments.remove(segment)
        for batch_id in segment.taken:
            batch = self._batches.pop((segment.number, batch_id), None)
            if batch is not None:
                batch.cancelled = True

    def spans(self, segment: Segment) -> list[Span]:
        """What of a segment is not delivered; from its manifest file if it cannot say."""
        try:
            pending = segment.pending()
        except (sqlite3.Error, Damaged, OSError):
            pending = segment.manifest.pending()
        done = set(segment.done)
        return merge_spans(s for i, spans in pending.items() if i not in done for s in spans)

    def settle(self, key: Key) -> None:
        """A batch was delivered; it is deleted with the next write, or by `tidy`."""
        batch = self._batches.pop(key[1:], None)
        for segment in self.segments:
            if segment.number == key.number and batch is not None:
                segment.done.append(key.id)
                segment.batches -= 1
                segment.rows -= batch.stored.rows

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
        try:
            segment.forget(segment.done)
        except (sqlite3.Error, OSError) as error:
            if not is_damage(error) or not self.rescue(segment, str(error)):
                self._on_error(str(error))
            return
        _forgotten(segment)
        segment.bytes = segment.size()

    def take(self) -> Iterator[Batch]:
        """The batches that are not in memory, oldest first."""
        for segment in list(self.segments):
            while segment in self.segments and (batch := self._take_from(segment)) is not None:
                yield batch
            if segment is not self._current:
                segment.close()  # open files cost room on the disk

    def _take_from(self, segment: Segment) -> Batch | None:
        if not segment.surveyed:
            self.survey(segment)
        reopened = False
        while segment.surveyed and segment.untaken:
            try:
                ids = segment.after(segment.cursor, 1)
                if not ids:
                    raise Damaged(f"batches are missing from {segment.path.name}")
                stored = None if ids[0] in segment.taken else segment.read(ids[0])
            except (sqlite3.Error, Damaged, OSError) as error:
                segment.close()
                if isinstance(error, sqlite3.Error) and not reopened:
                    reopened = True  # a fault of the disk can look like damage
                elif not is_damage(error) or not self.rescue(segment, str(error)):
                    self._on_error(str(error))
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
                self.survey(segment)
                segment.close()
                return True
        return False

    def survey(self, segment: Segment) -> None:
        """Count what an earlier run left in a segment, and find out what is missing from it."""
        try:
            pending = segment.pending()
            if segment.manifest.pending().keys() - pending.keys():
                raise Damaged(f"batches are missing from {segment.path.name}")
        except (sqlite3.Error, Damaged, OSError) as error:
            segment.close()
            if is_damage(error) or not segment.path.exists():
                self.rescue(segment, str(error))
            else:
                self._on_error(str(error))
            return
        segment.batches = len(pending)
        segment.rows = sum(span.rows for spans in pending.values() for span in spans)
        segment.surveyed = True

    def look(self) -> None:
        """Notice files that were deleted under us, and write them anew."""
        for segment in list(self.segments):
            if segment.vanished():
                held = segment.open_batches()
                error = f"{segment.path.name} was deleted by somebody; it is written anew"
                self.rescue(segment, error, held)

    def rescue(
        self, segment: Segment, error: str, held: Mapping[int, Stored] = MappingProxyType({})
    ) -> bool:
        """Put a damaged segment aside, keep what can be read, report the rest as lost."""
        if self._current is segment:
            self._seal()
        self._on_error(error)
        taken = {i: self._batches.get((segment.number, i)) for i in segment.taken}
        memory = {i: stored for i, stored in held.items() if i not in segment.done}
        memory |= {i: batch.stored for i, batch in taken.items() if batch is not None}
        try:
            kept, lost = rescue(segment, memory)
        except (sqlite3.Error, OSError) as failure:
            self._on_error(str(failure))
            return False
        _forgotten(segment)
        segment.batches = len(kept)
        segment.rows = sum(stored.rows for _, stored in kept)
        segment.cursor = 0
        segment.surveyed = True
        segment.bytes = segment.size()
        for span in merge_spans(lost):
            self._on_loss("corrupt_segment", span, error)
        return True

    def close(self) -> None:
        """Close all files."""
        for segment in self.segments:
            segment.close()


def _forgotten(segment: Segment) -> None:
    segment.taken.difference_update(segment.done)
    segment.done = []


def all_segments(shelves: Iterable[Shelf]) -> list[Segment]:
    """The segments of several shelves; a copy."""
    return [segment for shelf in shelves for segment in list(shelf.segments)]
