"""Out to a remote sink: batches are on disk before they are sent."""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from gateway.health import Heartbeats
from gateway.model import OWN_TABLES
from gateway.sinks import RemoteSink, Selected
from gateway.spool import LOSS_TABLE, Spool, SpoolUnwritable
from gateway.spool.batch import FAMILIES, Batch, Family
from gateway.spool.manifest import Note, Span, merge_notes
from gateway.spool.segment import Stored
from gateway.writer.alive import Alive
from gateway.writer.deadletters import DeadLetters
from gateway.writer.deliver import Backoff, Deliverer
from gateway.writer.lanes import BACKLOG_BATCHES, BACKLOG_BYTES, Lanes
from gateway.writer.lastwords import told_in
from gateway.writer.outlets import Losing, Outlet, StartsOver, spans_of
from gateway.writer.replay import LetterBox

log = logging.getLogger(__name__)

KEEP_BYTES = 1_000_000
"""About what goes to disk in one transaction of what was in memory only."""


class SpooledOutlet(Outlet):
    """To a remote sink: on disk first, then sent by a thread of its own."""

    def __init__(
        self,
        name: str,
        sink: RemoteSink,
        spool: Spool,
        losing: Losing,
        reset: Callable[[], None],
        ask: Callable[[], None],
        heartbeats: Heartbeats,
        backoff: Backoff,
    ) -> None:
        notes_path = spool.folder / "losses.jsonl"
        super().__init__(name, losing, notes_path, Alive(spool.folder / "alive"))
        self._refused: deque[Note] = deque()
        """What the delivering thread has counted; the writing one tells it."""
        self._sink = sink
        self._spool = spool
        self._lanes = Lanes(ask)
        self._unkept_rows = 0
        letters = DeadLetters(spool.folder / "dead_letters.db")
        self.letters = self._box = LetterBox(letters, sink, spool, losing.lost, ask)
        self._deliverer = Deliverer(
            name, sink, self._lanes, letters, self._rejected, reset, heartbeats, backoff
        )
        self._thread = threading.Thread(
            target=self._deliverer.run, name=f"deliver {name}", daemon=True
        )
        self._is_open = False

    def open(self) -> None:
        """Open the spool and start to deliver."""
        self._try_open()
        self._box.open()
        self._thread.start()

    def _try_open(self) -> None:
        try:
            self._spool.open()
            self._is_open = True
            if self._spool.disk.error:
                log.info("sink %s: the spool is open now", self.name, extra={"sink": self.name})
                self._spool.disk.error = ""
        except OSError as error:
            if self._spool.disk.error != str(error):
                log.error("sink %s: no spool: %s", self.name, error, extra={"sink": self.name})
            self._spool.disk.error = str(error)

    def interrupted(self) -> dict[tuple[str, str], int]:
        """What the spool found at its opening."""
        found, self._spool.interrupted = self._spool.interrupted, {}
        return found

    def stored_nothing(self) -> bool:
        """As the spool found at its opening."""
        return self._is_open and self._spool.is_new

    def note(self, notes: Sequence[Note]) -> None:
        """Beside the spool."""
        self._spool.note(notes)

    def grow(self, note: Note) -> None:
        """Beside the spool."""
        self._spool.let_go((), growing=[note])

    @property
    def in_memory(self) -> bool:
        """Whether the disk did not take some, or lost them again."""
        return self._unkept_rows > 0

    def start_over(self) -> None:
        """Rows were lost, or the sink is back."""
        if isinstance(self._sink, StartsOver):
            self._sink.start_over()

    def begin_round(self) -> None:
        """Losses noted so far are among the rows taken next."""
        self._spool.begin_round()

    def write(self, rows: Sequence[Selected]) -> None:
        """Encode and spool a batch; keep the spool tidy and the lanes filled."""
        if not self._is_open:
            self._try_open()
        self._settle()
        self._box.serve(spool_is_open=self._is_open)
        self._keep()
        events = [s for s in rows if s.row.table.name in OWN_TABLES]
        data = [s for s in rows if s.row.table.name not in OWN_TABLES] if events else rows
        if data:
            self._put("data", data)
        if events:
            self._put("events", events)
        if self._is_open:
            self._spool.tick(idle=not rows)
            if self._lanes.wants_backlog() and self._spool.backlog():
                batches = self._spool.take(BACKLOG_BATCHES, BACKLOG_BYTES)
                self._lanes.add_backlog(batches, self._spool.backlog())
        orphans, self._spool.orphans = self._spool.orphans, []
        self._unkept_rows += sum(batch.stored.rows for batch in orphans)

    def _keep(self) -> None:
        """What is in memory only goes to disk as soon as that takes it again."""
        if not self._is_open:
            return
        waiting = self._lanes.unkept()
        for family in FAMILIES:
            batches = [batch for batch in waiting if batch.family == family]
            for group in _groups(batches):
                try:
                    self._spool.keep(family, group)
                except SpoolUnwritable:
                    return
                self._unkept_rows -= sum(batch.stored.rows for batch in group)

    def _settle(self) -> None:
        done = self._lanes.take_finished()
        while self._refused:  # while a kill would still have their batch sent again
            self._say(self._refused.popleft())
        self._spool.settle(b.key for b in done if b.key is not None)
        for batch in done:
            self._box.settled(batch)
        unkept = [batch for batch in done if batch.key is None]
        self._unkept_rows -= sum(batch.stored.rows for batch in unkept)
        self._spool.let_go(unkept)

    def _encode(self, rows: Sequence[Selected]) -> list[Stored]:
        out = []
        at = 0
        for payload in self._sink.encode(rows):
            mine = rows[at : at + payload.rows]
            at += payload.rows
            told = told_in((selected.row for selected in mine), self.name)
            body, format_, count, values = payload
            spans = tuple(spans_of(mine))
            out.append(Stored(body, format_, count, values, spans, tuple(told)))
        return out

    def _put(self, family: Family, rows: Sequence[Selected]) -> None:
        stored = [s for group in self.each_table(rows, self._encode) for s in group]
        try:
            if not self._is_open:
                raise SpoolUnwritable(self._spool.disk.error)
            batches = self._spool.put(family, stored)
            if self._unkept_rows:  # these rows are newer: no start would miss those any more
                self._spool.hold(self._lanes.unkept(), "spool_unwritable", "in memory at the kill")
        except SpoolUnwritable as error:
            now = time.monotonic()
            batches = [Batch(None, s, now) for s in stored]
            for batch in batches:  # the disk may be well when these are lost
                batch.given_up = ("spool_unwritable", str(error)[:200])
            self._unkept_rows += sum(s.rows for s in stored)
            if family == "events":
                self._spool.hold(batches, "spool_unwritable", "in memory at the kill")
        pushed_out = self._lanes.add_live(batches)
        self._spool.release(b.key for b in pushed_out if b.key is not None)
        self._drop_unkept(pushed_out)

    def _drop_unkept(self, batches: Iterable[Batch], *, ending: bool = False) -> None:
        """``ending``: it is too late for rows to tell of it; the next start does."""
        unkept = [batch for batch in batches if batch.key is None]
        if not unkept:
            return
        self._unkept_rows -= sum(batch.stored.rows for batch in unkept)
        told = [note for batch in unkept for note in batch.stored.told]
        lost = merge_notes(
            (cause, span, detail)
            for batch in unkept
            for cause, detail in [batch.given_up or ("spool_unwritable", "")]
            for span in batch.stored.spans
        )
        # the loss of a loss is not told
        notes = [note for note in lost if note[1].table != LOSS_TABLE]
        if ending:
            # in one step what would be lost by a kill becomes what is lost
            self._spool.let_go(unkept, lost=[*notes, *told])
            self.last_words.add(notes, own=True)
            self.last_words.add(told)
        else:
            new = [note for note in notes if self._repeats.is_new(note)]
            growing = [note for note in notes if note not in new]
            self._spool.let_go(unkept, lost=new, growing=growing, put_off=told)
            for note in new:
                self._losing.tell(*note)
        for cause, span, _ in lost:
            self._losing.counted(cause, span)

    def tell(self, *, ending: bool) -> None:
        """A row for each batch that memory cannot hold would itself have no room."""
        is_calm = self._repeats.is_calm
        if self._repeats.is_due(growing=self.in_memory, ending=ending) and self._spool.grows:
            self._repeats.told()
            for note in self._spool.take_growing():
                self._losing.tell(*note)
        is_back = self._deliverer.state == "good" and not self._spool.disk.error
        if is_back and not self.in_memory and is_calm:
            for note in self._spool.take_put_off():
                self._losing.again(*note)

    def _rejected(self, spans: list[Span], words: str) -> None:
        if self._box.is_replay(self._deliverer.in_hand):
            return  # told when they were refused first
        for span in spans:
            self._losing.counted("rejected", span)
            self._refused.append(("rejected", span, words[:200]))

    def finish(self, stop_at_s: float) -> None:
        """Deliver what the time allows; the rest stays on disk."""
        self._deliverer.finish()
        self._thread.join(max(0.1, stop_at_s - time.monotonic() - 0.5))
        if self._thread.is_alive():
            self._sink.close()  # ends a request that is under way
            self._thread.join(2.0)
        self._settle()
        self._keep()
        self._drop_unkept(self._lanes.unkept(), ending=True)
        self.last_words.add(self._spool.take_growing(), own=True)
        self._box.close()
        if self._is_open:
            self._spool.close(clean=False)

    def ended(self) -> None:
        """The spool is closed cleanly, too."""
        if self._is_open:
            self._spool.stopped()
        super().ended()

    def status(self) -> dict[str, Any]:
        """State, counters, and what waits in the spool."""
        deliverer = self._deliverer
        spool = self._spool.status()
        now = time.monotonic()
        waiting = [self._lanes.oldest_s(), spool.pop("backlog_since_s")]
        known = [since for since in waiting if since is not None]
        last = deliverer.last_stored_s
        state, error = deliverer.state, deliverer.error
        if self._spool.disk.error:
            error = f"spool: {self._spool.disk.error}" + (f"; {error}" if error else "")
            state = "retrying" if state == "good" else state
        return {
            "state": state,
            "error": error,
            "rows_stored": deliverer.rows_stored,
            "rows_rejected": deliverer.rows_rejected,
            "values_rejected": deliverer.values_rejected,
            "values_stored": deliverer.values_stored,
            **spool,
            **self._box.status(),
            "pending_rows": spool["pending_rows"] + self._unkept_rows,
            "spool_age_s": round(now - min(known), 3) if known else None,
            "last_stored_s": None if last is None else round(now - last, 3),
        }


def _groups(batches: Iterable[Batch]) -> Iterator[list[Batch]]:
    group: list[Batch] = []
    size = 0
    for batch in batches:
        group.append(batch)
        size += len(batch.stored.body)
        if size >= KEEP_BYTES:
            yield group
            group, size = [], 0
    if group:
        yield group
