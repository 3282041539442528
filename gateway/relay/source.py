"""Batches made of entries, on their way from the reader's thread to the one that delivers."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Sequence

from gateway.relay.entries import HeldBatch, Letter
from gateway.relay.settle import Settler
from gateway.spool.batch import Batch

READY = 2
"""Batches that may wait: made while the one before is being stored."""


class StreamSource:
    """What a `Deliverer` takes for its lanes, and for its dead letters."""

    def __init__(self, settler: Settler, letter_format: str) -> None:
        self.rows_seen = 0
        self._settler = settler
        self._letter_format = letter_format
        self._ready: deque[HeldBatch] = deque()
        self._hand: HeldBatch | None = None
        self._letters: list[tuple[Sequence[bytes], str]] = []
        self._claimed = 0
        self._changed = threading.Condition()

    # -- the reader

    def put(self, batches: Sequence[HeldBatch], stop: threading.Event) -> None:
        """Batches of the same entries; waits for room."""
        if not batches:
            return
        batches[0].held.left = len(batches)
        with self._changed:
            if batches[0].held.is_claimed:
                self._claimed += 1
            for batch in batches:
                while len(self._ready) >= READY and not stop.is_set():
                    self._changed.wait(0.5)
                self._ready.append(batch)
                self._changed.notify_all()

    @property
    def has_claimed(self) -> bool:
        """Whether something that was taken over is still under way."""
        return self._claimed > 0

    # -- the deliverer

    @property
    def in_hand(self) -> Batch | None:
        """The batch that is being sent."""
        return self._hand

    def next(self, timeout_s: float, *, live_only: bool = False) -> Batch | None:
        """The next batch to deliver; None after the time-out."""
        with self._changed:
            if not self._ready:
                self._changed.wait(timeout_s)
            self._hand = self._ready.popleft() if self._ready else None
            self._changed.notify_all()
            return self._hand

    def overtaker(self) -> Batch | None:
        """None: all batches are alike."""
        return None

    def goes_on(self) -> None:
        """Nothing is overtaken here."""

    def put_back(self, batch: Batch) -> None:
        """It is the next one again."""
        with self._changed:
            if self._hand is not None:
                self._ready.appendleft(self._hand)
            self._hand = None
            self._letters.clear()

    def finished(self, batch: Batch) -> None:
        """A batch is through: acknowledge its entries, if it was the last of them."""
        if not isinstance(batch, HeldBatch):
            raise TypeError("not a batch of this source")
        held = batch.held
        first = held.entries[0]
        for lines, words in self._letters:
            held.letters += [
                Letter(line, self._letter_format, words, first.stream, first.id, 1)
                for line in lines
            ]
        self._letters.clear()
        self._hand = None
        self.rows_seen += batch.stored.rows
        held.left -= 1
        if held.left:
            return
        self._settler.settle(held.entries, held.letters)
        if held.is_claimed:
            with self._changed:
                self._claimed -= 1
                self._changed.notify_all()

    def wake(self) -> None:
        """End a wait of `next`."""
        with self._changed:
            self._changed.notify_all()

    # -- its dead letters

    def add_all(self, lines: Sequence[bytes], reason: str) -> bool:
        """Keep them until the batch is through."""
        self._letters.append((lines, reason))
        return True

    def close(self) -> None:
        """Nothing is open here."""
