"""One stream of rows: read by one thread, published and acknowledged by another."""

from __future__ import annotations

import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator
from typing import Any, Final

from gateway.ingest.batches import BatchReader, Malformed
from gateway.ingest.intake import STORED_S, Busy, Intake

GATHER_S: Final = 0.005
"""Rows that come within this are published together: one message a row would cost far more."""

AHEAD: Final = 2000
AHEAD_BYTES: Final = 1_048_576
"""Messages that are read ahead; then nothing is read, and the sender has to wait."""

LOOK_S: Final = 0.5


class Ended(Exception):
    """The stream ends early: the sender has to open another one. ``is_fault``: for its fault."""

    def __init__(self, words: str, *, is_fault: bool = False) -> None:
        self.is_fault = is_fault
        super().__init__(words)


class Stream:
    """Takes the batches of one sender and says which of them are on disk."""

    def __init__(self, intake: Intake, sender: str, parse: Callable[[bytes], Any]) -> None:
        self._intake = intake
        self._sender = sender
        self._parse = parse
        self._reader = BatchReader(intake.shapes)
        self._changed = threading.Condition()
        self._bodies: list[bytes] = []
        self._size = 0
        self._open: deque[_Group] = deque()
        self.waiting = 0
        """Batches that came and are not acknowledged."""
        self._ended = False
        self._is_cut_off = False
        self._fault: Ended | None = None

    def read(self, bodies: Iterator[bytes]) -> None:
        """Read batches until the sender ends, or the stream does. For a thread of its own."""
        try:
            for body in bodies:
                if not self._take(body):
                    return
        except Exception as error:  # the call was cut off: grpc raises what it likes
            self._end(Ended(f"cut off: {type(error).__name__}"))
        else:
            self._end(None)

    def _take(self, body: bytes) -> bool:
        with self._changed:
            if self._ended:
                return False
            self._bodies.append(body)
            self._size += len(body)
            self.waiting += 1
            if len(self._bodies) == 1:
                self._changed.notify_all()
            if self._is_full():
                self._changed.notify_all()
                self._changed.wait_for(lambda: not self._bodies or self._ended)
            return not self._ended

    def _is_full(self) -> bool:
        return len(self._bodies) >= AHEAD or self._size >= AHEAD_BYTES

    def _end(self, why: Ended | None) -> None:
        with self._changed:
            self._ended = True
            self._fault = self._fault or why
            self._changed.notify_all()

    def _give_up(self, words: str, *, is_fault: bool = False) -> None:
        """Rows are missing: nothing that comes after them may be acknowledged."""
        with self._changed:
            self._ended = True
            self._fault = self._fault or Ended(words, is_fault=is_fault)
            self._bodies, self._size = [], 0
            self._changed.notify_all()

    def stop(self) -> None:
        """Nobody waits for acknowledgements any more, also not for those of rows under way."""
        self._is_cut_off = True
        self._give_up("cut off")

    def acknowledged(self) -> Iterator[tuple[int, list[tuple[int, int, str]]]]:
        """(seq, refused) each time that more batches are on disk, until the stream is done.

        Publishes meanwhile. Ended where the stream cannot go on; what was on disk until then was
        acknowledged before.
        """
        while True:
            with self._changed:
                self._changed.wait_for(self._has_work, LOOK_S)
                has_bodies = bool(self._bodies)
                if has_bodies:
                    self._changed.wait_for(lambda: self._ended or self._is_full(), GATHER_S)
            if self._is_cut_off:
                raise self._fault or Ended("cut off")
            if has_bodies:
                self._publish()
            yield from self._stored()
            with self._changed:
                if not self._open and not self._bodies:
                    if self._fault is not None:
                        raise self._fault
                    if self._ended:
                        return
                    if self._intake.room.is_closed:
                        self._ended = True
                        raise Ended("the gateway is stopping")
            if self._open and time.monotonic() - self._open[0].since_s > STORED_S:
                self.stop()
                raise Ended(f"rows are not on disk after {STORED_S:g} s; send them again")

    def _has_work(self) -> bool:
        is_told = bool(self._open and self._open[0].stored is not None)
        is_over = self._is_cut_off or (self._ended and not self._open)
        return bool(self._bodies) or is_told or is_over

    def _publish(self) -> None:
        with self._changed:
            bodies, self._bodies = self._bodies, []
            self._size = 0
            self._changed.notify_all()
        refused: list[tuple[int, int, str]] = []
        try:
            rows = self._reader.read(map(self._parsed, bodies), refused)
        except Malformed as error:
            self._give_up(str(error), is_fault=True)
            return
        group = _Group(self._reader.seq, len(bodies), refused)
        refused_by, self._reader.refused_by = self._reader.refused_by, Counter()
        self._intake.note(self._sender, len(rows), refused_by, len(bodies), "grpc")
        try:
            published = self._intake.publish(rows, STORED_S)
        except Busy as error:
            self._give_up(f"{error}; send again what was not acknowledged")
            return
        self._open.append(group)

        def tell(good: bool) -> None:
            with self._changed:
                group.stored = good
                self._changed.notify_all()

        self._intake.hub.when_stored(published, tell)

    def _parsed(self, body: bytes) -> Any:
        try:
            return self._parse(body)
        except Exception as error:
            raise Malformed(f"no Batch: {error}") from error

    def _stored(self) -> Iterator[tuple[int, list[tuple[int, int, str]]]]:
        """The groups at the front of which all is known, as one."""
        seq, batches, refused = 0, 0, list[tuple[int, int, str]]()
        while self._open and self._open[0].stored:
            group = self._open.popleft()
            seq, refused = group.seq, refused + group.refused
            batches += group.batches
        if seq:
            with self._changed:
                self.waiting -= batches
            yield seq, refused
        if self._open and self._open[0].stored is False:
            self._open.clear()
            self._give_up("rows were given up before they were on disk; send them again")


class _Group:
    """Batches whose rows were published together."""

    __slots__ = ("batches", "refused", "seq", "since_s", "stored")

    def __init__(self, seq: int, batches: int, refused: list[tuple[int, int, str]]) -> None:
        self.seq = seq
        self.batches = batches
        self.refused = refused
        self.since_s = time.monotonic()
        self.stored: bool | None = None
        """Whether its rows are on disk; None: not known yet."""
