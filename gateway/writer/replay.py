"""The dead letters of one sink for people: listed, and put into its spool once more."""

from __future__ import annotations

import logging
import sqlite3
import time
from collections import deque
from collections.abc import Callable, Collection, Iterator, Sequence
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeout
from typing import Any, NamedTuple, TypeAlias

from gateway.errors import GatewayError, SinkUnavailable
from gateway.losses import Cause
from gateway.sinks import RemoteSink
from gateway.sinks.payload import Described, Describes
from gateway.spool import Spool, SpoolUnwritable
from gateway.spool.batch import Batch
from gateway.spool.manifest import Span, merge_spans
from gateway.spool.segment import Stored
from gateway.writer.deadletters import DeadLetters, Letter

log = logging.getLogger(__name__)

BATCH_LETTERS = 500
BATCH_BYTES = 1_000_000
WAIT_S = 20.0
"""Longest wait for the writer to put a batch of letters into the spool."""

Lost: TypeAlias = Callable[[Cause, Span, str], None]


class UnknownLetter(GatewayError):
    """There is no letter of that number."""


class Replayed(NamedTuple):
    """What became of the letters that were to be sent once more."""

    spooled: int
    """On their way now: each leaves the store when the sink has stored it."""
    already: int
    """Left out: they were on their way before."""
    not_whole: int
    """Left out: they are not what was refused (cut, or not text)."""


class _Asked(NamedTuple):
    ids: list[int]
    stored: Stored
    done: Future[None]


class LetterBox:
    """`DeadLetters` of one sink, with the way back into its spool.

    Whoever asks does so in a thread of his own; the spool is the writer's, which calls `serve`,
    `settled` and `close`.
    """

    def __init__(
        self,
        letters: DeadLetters,
        sink: RemoteSink,
        spool: Spool,
        lost: Lost,
        wake: Callable[[], None],
    ) -> None:
        self.replayed = 0
        """Letters that the sink has stored after all, since the start."""
        self._letters = letters
        self._sink = sink
        self._spool = spool
        self._lost = lost
        self._wake = wake
        self._asked: deque[_Asked] = deque()
        self._closed = False
        letters.on_dropped = self._dropped
        letters.on_lost = self._gone

    # -- for people, from any thread

    @property
    def count(self) -> int:
        """Letters in the store; no I/O."""
        return self._letters.count

    def newest(self, limit: int) -> list[Letter]:
        """The letters refused last, newest first. Blocks; SinkUnavailable where that fails."""
        with _Readable(self._sink.name):
            return self._letters.newest(limit)

    def all(self) -> Iterator[Letter]:
        """All letters, oldest first, one at a time. Blocks; SinkUnavailable where that fails."""
        with _Readable(self._sink.name):
            ids = self._letters.ids()
        for letter_id in ids:
            with _Readable(self._sink.name):
                letter = self._letters.get(letter_id)
            if letter is not None:  # else it has left meanwhile
                yield letter

    def describe(self, line: str) -> Described:
        """What a line is about; device and table ``?`` where nobody can tell."""
        if isinstance(self._sink, Describes):
            return self._sink.describe(line.encode(), self._sink.letter_format)
        return Described("?", "?", 0, 0)

    def replay(self, ids: Collection[int] | None = None) -> Replayed:
        """Put letters into the spool once more: all that are not on their way, or just these.

        Blocks. UnknownLetter; SinkUnavailable where store or spool do not take it now: then those
        not spooled yet stay as they were.
        """
        if not isinstance(self._sink, Describes):
            raise GatewayError(f"sink {self._sink.name} cannot take its dead letters back")
        spooled = already = not_whole = 0
        batch: list[Letter] = []
        for letter in self.all() if ids is None else self._chosen(ids):
            if not letter.whole:
                not_whole += 1
            elif letter.on_its_way and ids is None:
                already += 1
            else:
                batch.append(letter)
                spooled += 1
            if len(batch) >= BATCH_LETTERS or sum(len(x.line) for x in batch) > BATCH_BYTES:
                self._ask(batch)
                batch = []
        if batch:
            self._ask(batch)
        return Replayed(spooled, already, not_whole)

    def _chosen(self, ids: Collection[int]) -> Iterator[Letter]:
        for letter_id in dict.fromkeys(ids):
            with _Readable(self._sink.name):
                letter = self._letters.get(letter_id)
            if letter is None:
                raise UnknownLetter(f"sink {self._sink.name} has no dead letter {letter_id}")
            yield letter

    def _ask(self, letters: Sequence[Letter]) -> None:
        lines = [x.line if x.line.endswith("\n") else f"{x.line}\n" for x in letters]
        # no rows and no spans: these rows were told as refused, and their loss is told once
        stored = Stored("".join(lines).encode(), self._sink.letter_format, 0, 0, ())
        asked = _Asked([x.id for x in letters], stored, Future())
        self._asked.append(asked)
        self._wake()
        if self._closed:
            self._fail_all()
        try:
            asked.done.result(WAIT_S)
        except FutureTimeout:
            if asked.done.cancel():
                text = f"the writer of sink {self._sink.name} did not come to it in {WAIT_S:g} s"
                raise SinkUnavailable(text) from None
            asked.done.result()  # it is at it

    def status(self) -> dict[str, Any]:
        """How many there are, and how many went well since the start; no I/O."""
        return {"dead_letters": self.count, "dead_letters_replayed": self.replayed}

    # -- for the writer's thread

    def open(self) -> None:
        """See what an earlier run left. Never raises."""
        try:
            self._letters.look()
        except (sqlite3.Error, OSError) as error:
            text = "sink %s: the dead letters cannot be read: %s"
            log.error(text, self._sink.name, error, extra={"sink": self._sink.name})

    def serve(self, *, spool_is_open: bool) -> None:
        """Put into the spool what was asked for; they wait there as backlog. Never raises."""
        self._letters.tidy()
        if spool_is_open and self._letters.under_way and self._spool_is_empty():
            self._letters.none_under_way()  # their batches were given up on the disk
        while self._asked:
            asked = self._asked.popleft()
            if not asked.done.set_running_or_notify_cancel():
                continue
            try:
                if not spool_is_open:
                    raise SpoolUnwritable(self._spool.disk.error)
                batches = self._spool.put("data", [asked.stored])
                try:
                    # noted before the sink can answer; a crash before only leaves the letters
                    self._letters.mark(asked.ids, asked.stored.body)
                finally:
                    self._spool.release(b.key for b in batches if b.key is not None)
            except (SpoolUnwritable, sqlite3.Error, OSError) as error:
                text = f"the dead letters of sink {self._sink.name} cannot be spooled: {error}"
                asked.done.set_exception(SinkUnavailable(text))
            except Exception as error:
                asked.done.set_exception(error)
            else:
                asked.done.set_result(None)

    def _spool_is_empty(self) -> bool:
        return not self._spool.backlog() and not self._spool.status()["pending_batches"]

    def is_replay(self, batch: Batch | None) -> bool:
        """Whether a batch holds dead letters: what of it is refused is no new loss."""
        return batch is not None and self._letters.is_replay(batch.stored.body)

    def settled(self, batch: Batch) -> None:
        """A batch is through: letters of it that were not refused again leave."""
        if self.is_replay(batch):
            left = self._letters.finished(batch.stored.body)
            self.replayed += left
            extra = {"sink": self._sink.name, "letters": left}
            log.info("sink %s stored %d dead letters", self._sink.name, left, extra=extra)

    def close(self) -> None:
        """The writer ends: nothing is put into the spool any more."""
        self._closed = True
        self._fail_all()
        self._letters.close(for_good=True)

    def _fail_all(self) -> None:
        while self._asked:
            asked = self._asked.popleft()
            if asked.done.set_running_or_notify_cancel():
                asked.done.set_exception(SinkUnavailable("the gateway is stopping"))

    def _dropped(self, lines: Sequence[str], cause: Cause) -> None:
        about = [self.describe(line) for line in lines]
        spans = merge_spans(Span(x.device, x.table, 1, x.time_ns, x.time_ns) for x in about)
        for span in spans:
            self._lost(cause, span, "refused before; its dead letter was given up")

    def _gone(self, count: int, why: str) -> None:
        now_ns = time.time_ns()
        self._lost("dead_letter_lost", Span("?", "?", count, now_ns, now_ns), why)


class _Readable:
    """What goes wrong with the store, in words."""

    def __init__(self, sink: str) -> None:
        self._sink = sink

    def __enter__(self) -> None:
        """Begin."""

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        """Translate."""
        if isinstance(error, (sqlite3.Error, OSError)):
            text = f"the dead letters of sink {self._sink} cannot be read: {error}"
            raise SinkUnavailable(text) from error
