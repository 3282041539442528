"""Entries of a stream as they come, and what is in this worker's hands."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Sequence
from typing import Any, Final, NamedTuple

from gateway.spool.batch import Batch
from gateway.spool.segment import Stored
from gateway.wire import FORMAT

RAW: Final = "entry"
"""Format of a dead letter that is a whole entry, as it came."""


class Entry(NamedTuple):
    """One entry of one stream."""

    stream: bytes
    id: bytes
    body: bytes | None
    """None: it has no field ``b``."""
    rows: int
    """How many rows it says to have."""
    format: str
    """`wire.FORMAT`; of a dead letter that is tried once more perhaps the sink's own."""


class Letter(NamedTuple):
    """What was refused for good of some entry."""

    body: bytes
    format: str
    words: str
    stream: bytes
    id: bytes
    """Of the entry that it was in; of the first one, where several went together."""
    rows: int


def entry_of(stream: bytes, given: Sequence[Any]) -> Entry:
    """An entry as Redis lists it: its id, and names and values in turn."""
    id_, listed = given
    fields = dict(zip(listed[::2], listed[1::2], strict=True))
    said = fields.get(b"n", b"0")
    format_ = fields.get(b"f", b"").decode("utf-8", "replace")
    rows = int(said) if said.isdigit() and len(said) < 10 else 0
    if format_ in ("", RAW):
        format_ = FORMAT
    return Entry(stream, id_, fields.get(b"b"), rows, format_)


class Held:
    """Entries that went into the same batches; acknowledged when all of those are through."""

    def __init__(self, entries: Sequence[Entry], *, is_claimed: bool) -> None:
        self.entries = entries
        self.is_claimed = is_claimed
        """Taken over from another worker: such a one goes alone."""
        self.left = 0
        self.letters: list[Letter] = []


class HeldBatch(Batch):
    """A batch made of entries."""

    __slots__ = ("held",)

    def __init__(self, held: Held, stored: Stored, since_s: float) -> None:
        super().__init__(None, stored, since_s)
        self.held = held


class InHand:
    """Ids of entries that were read and not settled yet. From any thread."""

    def __init__(self) -> None:
        self._ids: dict[bytes, set[bytes]] = {}
        self._lock = threading.Lock()

    def add(self, entries: Iterable[Entry]) -> None:
        """They were read."""
        with self._lock:
            for entry in entries:
                self._ids.setdefault(entry.stream, set()).add(entry.id)

    def remove(self, entries: Iterable[Entry]) -> None:
        """They are settled, or given back."""
        with self._lock:
            for entry in entries:
                self._ids.get(entry.stream, set()).discard(entry.id)

    def all(self) -> dict[bytes, list[bytes]]:
        """Ids by stream."""
        with self._lock:
            return {stream: sorted(ids) for stream, ids in self._ids.items() if ids}

    def __len__(self) -> int:
        with self._lock:
            return sum(map(len, self._ids.values()))
