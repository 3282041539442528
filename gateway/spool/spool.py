"""Store and forward: the spool of one sink, a folder of segments that outlives crashes.

Every batch is on disk before it is sent. Two families of segments: ``data``, and ``events`` for
what the gateway says of itself (alarms, losses), which goes last when room is needed. All of a
spool is used by one thread; only `Spool.status` may be called from others.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from pydantic import ByteSize, Field, field_validator

from gateway.driver import Settings
from gateway.errors import GatewayError
from gateway.losses import Cause, Loss
from gateway.spool.batch import FAMILIES, Batch, Family, Key
from gateway.spool.disklog import DiskLog, is_full
from gateway.spool.manifest import Note, Span, sync_folder
from gateway.spool.notes import LossNotes
from gateway.spool.rescue import Tells
from gateway.spool.segment import Segment, Stored
from gateway.spool.shelf import Shelf, all_segments

MIN_BYTES = 16_000_000
SEGMENT_BYTES = 16_000_000
LOSS_TABLE = "gateway_loss"
OVERHEAD = 160_000
"""Room on disk for what comes and goes: logs and indexes of open files, a new segment."""


class SpoolConfig(Settings):
    """``spool:``, the bounds of every sink's own spool."""

    max_bytes: ByteSize = Field(
        ByteSize(4_000_000_000),
        description="Most bytes on disk that wait for one sink, e.g. 4GB; the oldest go first.",
    )
    max_age_days: float = Field(
        30.0, gt=0, description="Longest wait for a sink, in days; older batches are given up."
    )

    @field_validator("max_bytes")
    @classmethod
    def _enough(cls, value: ByteSize) -> ByteSize:
        if value < MIN_BYTES:
            raise ValueError(f"{value} bytes are too few for a spool; expected at least 16MB")
        return value


class SpoolUnwritable(GatewayError):
    """The disk takes no batch now; the caller keeps it in memory."""


class Spool:
    """The batches of one sink on disk, bounded in bytes and age."""

    def __init__(
        self,
        folder: Path,
        config: SpoolConfig,
        sink: str,
        on_loss: Callable[[Loss], None],
        *,
        max_bytes: int | None = None,
        segment_bytes: int | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.folder = folder
        self.disk = DiskLog(sink, clock)
        self.rows_lost = 0
        self.orphans: list[Batch] = []
        """Batches in memory whose segment had to go; for the caller, who is to `keep` them or
        `let_go` of them."""
        self.interrupted: dict[tuple[str, str], int] = {}
        """After an unclean stop: the last spooled time of each table, ns."""
        self.is_new = False
        """No earlier run has stored anything here."""
        self._max_bytes = max_bytes or int(config.max_bytes)
        self._max_age_s = config.max_age_days * 86400.0
        self._on_loss = on_loss
        self._sink = sink
        self._clock = clock
        size = segment_bytes or min(SEGMENT_BYTES, self._max_bytes // 8)
        self._notes = LossNotes(folder / "losses.jsonl")
        tells = Tells(self.lost, self._notes, self.disk.failed, self.disk.damaged)
        self._shelves: dict[Family, Shelf] = {
            family: Shelf(folder, family, size, tells, clock) for family in FAMILIES
        }
        self._last_number = 0
        self._stopped = folder / "stopped"

    def open(self) -> None:
        """Find what an earlier run left; OSError where the folder cannot be made or read."""
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o750)
        for shelf in self._shelves.values():
            shelf.forsake()  # what an open that failed half-way has found
        found: set[tuple[int, Family]] = set()
        for path in self.folder.iterdir():
            number, _, rest = path.name.partition("-")
            for family in FAMILIES:
                if number.isdigit() and rest.startswith(f"{family}."):
                    self._last_number = max(self._last_number, int(number))
                    if path.suffix in (".db", ".manifest"):
                        found.add((int(number), family))
        now, wall = self._clock(), time.time()
        for number_, family in sorted(found):
            segment = Segment(self.folder, number_, family)
            segment.last_write_s = now
            with suppress(OSError):
                written = segment.manifest.path.stat().st_mtime
                segment.last_write_s = now - max(0.0, wall - written)
            segment.bytes = segment.size()
            self._shelves[family].adopt(segment)
        if found and not self._stopped.exists():
            for shelf in self._shelves.values():
                shelf.find_last()
            self.interrupted = {k: ns for s in self._shelves.values() for k, ns in s.last.items()}
        # a kill may come between the making of the first segment and its first batch
        self.is_new = not any(shelf.last for shelf in self._shelves.values())
        self._stopped.unlink(missing_ok=True)
        sync_folder(self.folder)
        for cause, span, detail in self._notes.to_tell(self.interrupted):
            self.lost(cause, span, detail)

    def close(self, *, clean: bool) -> None:
        """Delete what was delivered and close all files; ``clean``: all rows were spooled."""
        for shelf in self._shelves.values():
            shelf.tidy(idle=True)
            shelf.close()
        self._notes.close()
        if clean:
            self.stopped()

    def stopped(self) -> None:
        """All rows were spooled, or are noted as lost: the next start finds a clean end."""
        with suppress(OSError):
            self._stopped.touch()
            sync_folder(self.folder)

    def note(self, notes: Sequence[Note]) -> None:
        """Losses on disk before their rows are: the next start tells of them. Never raises."""
        self._notes.add(notes)

    def begin_round(self) -> None:
        """Before rows are taken from the hub: losses noted so far are among them as rows."""
        self._notes.begin_round()

    def put(self, family: Family, batches: Sequence[Stored]) -> list[Batch]:
        """Store batches in one transaction; they count as taken.

        SpoolUnwritable: none is stored, even after the oldest segments had to go for it.
        """
        now = self._clock()
        made = [Batch(None, stored, now) for stored in batches]
        self._keep_bound(_room(made))
        self._store(family, made, evict=True)
        self._notes.settled(note for stored in batches for note in stored.told)
        return made

    def keep(self, family: Family, batches: Sequence[Batch]) -> None:
        """Store batches that were in memory only, in one transaction.

        SpoolUnwritable: there is still no room for them; nothing older goes for it.
        """
        if self.size() + _room(batches) > self._max_bytes:
            raise SpoolUnwritable("the spool has reached its bound")
        self._store(family, batches, evict=False)
        for batch in batches:
            batch.given_up = None
        self.let_go(batches)

    def hold(
        self, batches: Sequence[Batch], cause: Cause, detail: str, *, unless: str = ""
    ) -> None:
        """These are in memory only: the next start tells of them if this run is killed before they
        are kept, or let go of. Never raises.
        """
        self._notes.hold(
            {
                batch: [*((cause, span, detail) for span in batch.stored.spans), *batch.stored.told]
                for batch in batches
            },
            unless=unless,
        )
        self._notes.settled(note for batch in batches for note in batch.stored.told)

    def let_go(
        self,
        batches: Iterable[Batch],
        *,
        lost: Sequence[Note] = (),
        growing: Sequence[Note] = (),
        put_off: Sequence[Note] = (),
    ) -> None:
        """These were delivered, or they are lost, and with them rows that told of losses.

        ``growing``: losses that the caller tells when it has `take_growing`.
        """
        self._notes.let_go(batches, add=lost, growing=growing, put_off=put_off)

    @property
    def grows(self) -> bool:
        """Whether there are losses to `take_growing`."""
        return self._notes.grows

    def take_growing(self) -> list[Note]:
        """Losses of what was in memory only, one a cause and table; the caller tells them now."""
        return self._notes.take_growing()

    def take_put_off(self) -> list[Note]:
        """Losses whose rows were lost themselves; the caller tells them once more now."""
        return self._notes.take_put_off()

    def _store(self, family: Family, batches: Sequence[Batch], *, evict: bool) -> None:
        first = ""
        faults = 0
        while True:
            try:
                self._shelves[family].store(batches, self._new_number)
                break
            except (sqlite3.Error, OSError) as error:
                first = first or str(error)
                if is_full(error, self.folder):
                    # what the gateway says of itself is little: its room is no help
                    if evict and self._evict(FAMILIES if family == "events" else ("data",)):
                        continue
                elif faults < 2:  # a new segment may succeed where the old one failed
                    faults += 1
                    continue
                self.disk.refused(first)
                raise SpoolUnwritable(first) from error
        if first:
            self.disk.failed(first)
        self.disk.taken()

    def lost(self, cause: Cause, span: Span, detail: str) -> None:
        """Rows that were spooled, or could not be, will never reach the sink."""
        self.rows_lost += span.rows
        if span.table == LOSS_TABLE:
            return  # the loss of a loss would be told in a row of the same kind, without end
        device, table, rows, first_ns, last_ns = span
        self._on_loss(Loss(self._sink, device, table, first_ns, last_ns, rows, cause, detail))

    def _new_number(self) -> int:
        self._last_number += 1
        return self._last_number

    def size(self) -> int:
        """Bytes on disk."""
        return sum(segment.bytes for segment in all_segments(self._shelves.values()))

    def _keep_bound(self, need: int) -> None:
        while self.size() + need > self._max_bytes:
            if not self._evict():
                return

    def _evict(self, families: Sequence[Family] = FAMILIES) -> bool:
        """Give up the oldest segment, data before events; whether one went."""
        for family in reversed(families):
            shelf = self._shelves[family]
            if shelf.segments:
                return self._give_up(shelf, shelf.segments[0], "spool_bound")
        return False

    def _give_up(self, shelf: Shelf, segment: Segment, cause: Cause) -> bool:
        """What of it is in memory is no loss, but goes on without a disk."""
        left, detail = shelf.left(segment), segment.path.name
        held = list(shelf.held(segment).values())
        notes: list[Note] = [(cause, span, detail) for span in left.spans]
        self._notes.add(notes, unless=detail)
        self._notes.hold({segment: left.told}, unless=detail)
        self.hold(held, cause, detail, unless=detail)
        try:
            shelf.drop(segment)
        except OSError as error:
            self._notes.take_back(notes)
            self._notes.let_go([segment, *held])
            self.disk.failed(str(error))
            return False
        self._notes.let_go([segment], put_off=left.told)
        self._notes.look()  # what a full disk did not take before has room now
        for batch in held:
            batch.given_up = (cause, detail)
        self.orphans += held
        for span in left.spans:
            self.lost(cause, span, detail)
        return True

    def settle(self, delivered: Iterable[Key]) -> None:
        """Note delivered batches; they are deleted with the next write, or by `tick`."""
        for key in delivered:
            self._shelves[key.family].settle(key)

    def release(self, keys: Iterable[Key]) -> None:
        """Batches that were taken go out of memory unsent: they are backlog again."""
        for key in keys:
            self._shelves[key.family].release(key)

    def tick(self, *, idle: bool) -> None:
        """Delete what was delivered and keep the bounds; once a round.

        ``idle``: nothing was stored in this round, so deletions have nothing to ride with.
        """
        for shelf in self._shelves.values():
            shelf.look()
            shelf.tidy(idle=idle)
            shelf.survey_one()
            for segment in list(shelf.segments):
                if self._clock() - segment.last_write_s > self._max_age_s:
                    self._give_up(shelf, segment, "spool_age")
        self._notes.look()
        self._keep_bound(OVERHEAD)

    def backlog(self) -> bool:
        """Whether batches lie on disk that are not in memory."""
        segments = all_segments(self._shelves.values())
        return any(not s.surveyed or s.untaken > 0 for s in segments)

    def take(self, max_batches: int, max_bytes: int) -> list[Batch]:
        """The oldest batches that are not in memory, events first."""
        out: list[Batch] = []
        size = 0
        for family in FAMILIES:
            batches = self._shelves[family].take()
            while len(out) < max_batches and size < max_bytes:
                batch = next(batches, None)
                if batch is None:
                    break
                out.append(batch)
                size += len(batch.stored.body)
            batches.close()  # type: ignore[attr-defined]
        return out

    def status(self) -> dict[str, Any]:
        """Batches, rows and bytes that wait; safe to call from another thread."""
        segments = all_segments(self._shelves.values())
        return {
            "pending_batches": sum(s.batches for s in segments),
            "pending_rows": sum(s.rows for s in segments),
            "spool_bytes": sum(s.bytes for s in segments),
            "backlog_since_s": min((s.last_write_s for s in segments if s.untaken), default=None),
        }


def _room(batches: Iterable[Batch]) -> int:
    stored = [batch.stored for batch in batches]
    return sum(2 * len(s.body) + 240 * len(s.spans) for s in stored) + OVERHEAD
