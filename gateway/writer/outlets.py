"""How batches leave a writer, and the straight way into a sink that is durable itself."""

from __future__ import annotations

import logging
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol, TypeAlias, TypeVar, runtime_checkable

from gateway.errors import SinkUnavailable
from gateway.health import Heartbeats
from gateway.losses import Cause
from gateway.model import Table
from gateway.sinks import DurableSink, Selected
from gateway.spool import LOSS_TABLE
from gateway.spool.manifest import Note, Span, merge_spans
from gateway.spool.notes import LossNotes
from gateway.writer.alive import Alive
from gateway.writer.deliver import Backoff
from gateway.writer.lastwords import LastWords, told_in
from gateway.writer.repeats import Repeats
from gateway.writer.replay import LetterBox

log = logging.getLogger(__name__)

T = TypeVar("T")
Lost: TypeAlias = Callable[[Cause, Span, str], None]


class Losing(NamedTuple):
    """What an outlet calls when it loses rows."""

    lost: Lost
    """Count it and tell it."""
    counted: Callable[[Cause, Span], None]
    """They are lost now, and are told later."""
    tell: Lost
    """Tell what was counted before."""
    again: Lost
    """Tell this sink alone, which has lost the row that told of it."""


@runtime_checkable
class Remembers(Protocol):
    """A durable sink that knows what an earlier run stored last."""

    def left(self) -> tuple[bool, dict[tuple[str, str], int]] | None:
        """Whether an earlier run ended cleanly, and the last time of each (device, table), ns.

        As it was when the sink was first opened; None where it cannot be opened now.
        """


@runtime_checkable
class StartsOver(Protocol):
    """A sink that writes some things only when they change."""

    def start_over(self) -> None:
        """Rows may have been lost: write everything again with the next row."""


def spans_of(rows: Iterable[Selected]) -> list[Span]:
    """What a batch of rows holds, by table."""
    return merge_spans(
        Span(row.table.device, row.table.key, 1, row.time_ns, row.time_ns) for row, _ in rows
    )


class Outlet(ABC):
    """One way out of a writer; used by its thread, apart from `status`."""

    def __init__(self, name: str, losing: Losing, notes_path: Path, alive: Alive) -> None:
        self.name = name
        self._losing = losing
        self._repeats = Repeats()
        self.notes_path = notes_path
        """Losses that the next start is to tell."""
        self.alive = alive
        self.last_words = LastWords()
        self.letters: LetterBox | None = None
        """What a remote sink refused; None where nothing can be refused."""
        self._faulty: set[Table] = set()

    def open(self) -> None:  # noqa: B027 - not every outlet has something to open
        """Find what an earlier run left. Never raises."""

    def interrupted(self) -> dict[tuple[str, str], int]:
        """After an unclean stop: the last stored time of each (device, table), ns; given once."""
        return {}

    @abstractmethod
    def stored_nothing(self) -> bool:
        """Whether it is known that earlier runs stored no row at all."""

    @abstractmethod
    def note(self, notes: Sequence[Note]) -> None:
        """Losses on disk before their rows are: the next start tells of them. Never raises."""

    @property
    def in_memory(self) -> bool:
        """Whether rows that were taken are not on disk yet."""
        return False

    def start_over(self) -> None:  # noqa: B027
        """Rows were lost, or the sink is back: what is only written on change goes again."""

    def begin_round(self) -> None:  # noqa: B027
        """Rows are about to be taken from the hub."""

    @abstractmethod
    def grow(self, note: Note) -> None:
        """A loss that was counted, and of which more may come: on disk, until `tell` tells it."""

    @abstractmethod
    def tell(self, *, ending: bool) -> None:
        """Tell losses that were not told at once, where it is time to; ``ending``: all of them."""

    @abstractmethod
    def write(self, rows: Sequence[Selected]) -> None:
        """Take a batch, which may be empty, and do what is due. Never raises on purpose."""

    @abstractmethod
    def finish(self, stop_at_s: float) -> None:
        """The last batch was written: end before that monotonic time."""

    def ended(self) -> None:
        """All that is lost is noted: a clean end."""
        self.alive.end()

    @abstractmethod
    def status(self) -> dict[str, Any]:
        """What is known of the sink."""

    def each_table(
        self, rows: Sequence[Selected], work: Callable[[Sequence[Selected]], T]
    ) -> list[T]:
        """Do the work for all rows, or table by table where it fails: a fault costs one table."""
        try:
            return [work(rows)]
        except SinkUnavailable:
            raise
        except Exception:
            by_table: dict[Table, list[Selected]] = {}
            for selected in rows:
                by_table.setdefault(selected.row.table, []).append(selected)
        out = []
        for table, chosen in by_table.items():
            try:
                out.append(work(chosen))
            except SinkUnavailable:
                raise
            except Exception as error:
                self._fault(table, chosen, error)
        return out

    def _fault(self, table: Table, rows: Sequence[Selected], error: Exception) -> None:
        if table not in self._faulty:
            self._faulty.add(table)
            extra = {"sink": self.name, "device": table.device, "table": table.key}
            text = "sink %s cannot encode %r"
            log.error(text, self.name, table, extra=extra, exc_info=error)
        self.lose_faulty(rows, error)

    def lose_faulty(self, rows: Sequence[Selected], error: Exception) -> None:
        """These rows are lost by a fault of ours."""
        for span in spans_of(rows):
            self._losing.counted("encode_fault", span)
            self._say(("encode_fault", span, repr(error)[:200]))

    def _say(self, note: Note) -> None:
        """Tell a loss that was counted, or let it wait for those that follow."""
        if note[1].table == LOSS_TABLE:
            return
        if self._repeats.is_new(note):
            self.note([note])  # its row is on disk later, and a kill may come in between
            self._losing.tell(*note)
        else:
            self.grow(note)


class DirectOutlet(Outlet):
    """To a sink that is durable itself. While it cannot store, rows wait in the hub's queue."""

    def __init__(
        self,
        name: str,
        sink: DurableSink,
        losing: Losing,
        reset: Callable[[], None],
        stop: threading.Event,
        heartbeats: Heartbeats,
        backoff: Backoff,
    ) -> None:
        notes_path = sink.state_dir / f"{name}.losses.jsonl"
        super().__init__(name, losing, notes_path, Alive(sink.state_dir / f"{name}.alive"))
        self._sink = sink
        self._notes = LossNotes(notes_path)
        self._asked = False
        self._reset = reset
        self._stop = stop
        self._heartbeats = heartbeats
        self._backoff = backoff
        self._state = "good"
        self._error: str | None = None
        self._pending_rows = 0
        self._pending_since_s: float | None = None
        self._rows_stored = 0
        self._values_stored = 0
        self._last_stored_s: float | None = None

    def open(self) -> None:
        """Tell what an earlier run could not."""
        left = self._sink.left() if isinstance(self._sink, Remembers) else None
        for cause, span, detail in self._notes.to_tell(left[1] if left else {}):
            self._losing.lost(cause, span, detail)

    def stored_nothing(self) -> bool:
        """As the sink found at its opening."""
        left = self._sink.left() if isinstance(self._sink, Remembers) else None
        return left is not None and not left[1]

    def note(self, notes: Sequence[Note]) -> None:
        """In a file beside the sink's own."""
        self._notes.add(notes)

    def grow(self, note: Note) -> None:
        """In the same file."""
        self._notes.let_go((), growing=[note])

    def tell(self, *, ending: bool) -> None:
        """What was lost by faults of ours."""
        if self._repeats.is_due(ending=ending) and self._notes.grows:
            self._repeats.told()
            for note in self._notes.take_growing():
                self._losing.tell(*note)

    def interrupted(self) -> dict[tuple[str, str], int]:
        """What the sink found at its opening."""
        if self._asked or not isinstance(self._sink, Remembers):
            return {}
        left = self._sink.left()
        if left is None:
            return {}
        self._asked = True
        clean, last_ns = left
        return {} if clean and self.alive.before is None else last_ns

    def begin_round(self) -> None:
        """Losses noted so far are among the rows taken next."""
        self._notes.begin_round()

    def write(self, rows: Sequence[Selected]) -> None:
        """Store a batch, and do not return before it is stored or the writer stops."""
        if not rows:
            return
        self._pending_rows, self._pending_since_s = len(rows), time.monotonic()
        failures = 0
        while True:
            try:
                self.each_table(rows, self._store)
                break
            except SinkUnavailable as error:
                failures += 1
                self._error = str(error)
                self._state = "blocked" if error.operator else "retrying"
                if failures == 1:
                    extra = {"sink": self.name, "state": self._state, "error": self._error}
                    log.warning("sink %s lost: %s", self.name, error, extra=extra)
                pause_s = self._backoff.pause_s(failures, error)
                self._heartbeats.beat(f"sink {self.name}: write", pause_s + 30.0)
                self.alive.touch(pause_s + 1.0)
                if self._stop.wait(pause_s) and failures > 1:
                    self._give_up(rows, str(error)[:200])
                    break
        if failures and not self._stop.is_set():
            log.info("sink %s is back", self.name, extra={"sink": self.name, "state": "good"})
            self._reset()
            self._state, self._error = "good", None
        self._pending_rows, self._pending_since_s = 0, None

    def _give_up(self, rows: Sequence[Selected], why: str) -> None:
        """At the stop: it is too late for rows to tell of it; the next start does."""
        spans = spans_of(rows)
        for span in spans:
            self._losing.counted("spool_unwritable", span)
        told: list[Note] = [("spool_unwritable", s, why) for s in spans if s.table != LOSS_TABLE]
        self.last_words.add(told, own=True)
        self.last_words.add(told_in((s.row for s in rows), self.name))

    def _store(self, rows: Sequence[Selected]) -> None:
        self._sink.store(rows)
        self._rows_stored += len(rows)
        self._values_stored += sum(len(s.row.table.columns) for s in rows)
        self._notes.settled(told_in((s.row for s in rows), self.name))
        self._last_stored_s = time.monotonic()

    def finish(self, stop_at_s: float) -> None:
        """Nothing waits here."""
        self._heartbeats.forget(f"sink {self.name}: write")
        self.last_words.add(self._notes.take_growing(), own=True)
        self._notes.close()

    def status(self) -> dict[str, Any]:
        """State and counters."""
        now = time.monotonic()
        since, last = self._pending_since_s, self._last_stored_s
        return {
            "state": self._state,
            "error": self._error,
            "rows_stored": self._rows_stored,
            "rows_rejected": 0,
            "values_stored": self._values_stored,
            "pending_rows": self._pending_rows,
            "pending_batches": int(self._pending_rows > 0),
            "spool_bytes": None,
            "spool_age_s": None if since is None else round(now - since, 3),
            "last_stored_s": None if last is None else round(now - last, 3),
        }
