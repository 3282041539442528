"""A bench for spools: numbered batches, and a ledger of what must not vanish."""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from gateway.losses import Loss
from gateway.spool import Spool, SpoolConfig
from gateway.spool.batch import Batch, Family
from gateway.spool.manifest import Span
from gateway.spool.segment import Stored


class Clock:
    """A clock that stands until it is moved."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Bench:
    """Makes spools on one folder, and keeps a ledger of what must not vanish."""

    def __init__(self, folder: Path, **options: Any) -> None:
        self.folder = folder
        self.options = {"max_bytes": 2_000_000, "segment_bytes": 100_000, **options}
        self.clock = Clock()
        self.losses: list[Loss] = []
        self.spool = self.open()
        self.numbers = iter(range(1, 1_000_000))
        self.tables: dict[int, str] = {}
        self.tables_apart = False
        """Each batch is of a table of its own: a loss then names exactly the batches it means."""

    def open(self) -> Spool:
        """A new spool on the folder."""
        config = SpoolConfig(max_age_days=1.0)
        self.spool = Spool(
            self.folder, config, "sink", self.losses.append, clock=self.clock, **self.options
        )
        self.spool.open()
        return self.spool

    def crash(self) -> Spool:
        """Go on as after a kill: nothing is closed in order."""
        for shelf in self.spool._shelves.values():
            shelf.close()
        self.spool._notes.close()
        return self.open()

    @contextmanager
    def closing(self) -> Iterator[Bench]:
        """Close its files at the end."""
        try:
            yield self
        finally:
            self.spool.close(clean=True)

    def put(self, family: Family = "data", size: int = 1000, told: Iterable[Loss] = ()) -> Batch:
        """Store the next batch, whose rows tell of these losses."""
        n = next(self.numbers)
        self.tables[n] = f"t{n}" if self.tables_apart else "t"
        if family == "events":
            self.tables[n] = "gateway_event"
        spans = (Span("d", self.tables[n], 1, n, n),)
        body = random.Random(n).randbytes(size)
        notes = tuple((x.cause, Span(*x[1:3], x.rows, *x[3:5]), x.detail) for x in told)
        return self.spool.put(family, [Stored(body, "lp", 1, 3, spans, notes)])[0]

    def put_away(self, family: Family = "data", size: int = 1000) -> int:
        """Store the next batch, on disk only."""
        batch = self.put(family, size)
        self.spool.release([batch.key] if batch.key else [])
        return number(batch)

    def deliver(self, batches: Iterable[Batch]) -> list[int]:
        """As a writer does when these have been stored; their numbers."""
        done = list(batches)
        self.spool.settle(batch.key for batch in done if batch.key)
        self.spool.let_go(batch for batch in done if not batch.key)
        return [number(batch) for batch in done]

    def drain(self) -> list[int]:
        """Numbers of all batches that are not in memory; they are delivered."""
        out = []
        while found := self.spool.take(10, 1_000_000):
            out += [number(b) for b in found]
            self.spool.settle(b.key for b in found if b.key)
            self.spool.tick(idle=True)
        return out

    def disk(self) -> int:
        """Bytes on disk."""
        return sum(p.stat().st_size for p in self.folder.iterdir())

    def lost(self) -> set[int]:
        """Numbers of all batches that were told as lost."""
        return {
            n
            for loss in self.losses
            for n in range(loss.first_ns, loss.last_ns + 1)
            if self.tables[n] == loss.table
        }

    def only(self, pattern: str) -> Path:
        """The one file of that name."""
        (found,) = self.folder.glob(pattern)
        return found


def number(batch: Batch) -> int:
    """Which one it is; its body must be the one that was put."""
    assert batch.stored.spans[0].first_ns == batch.stored.spans[0].last_ns
    n = batch.stored.spans[0].first_ns
    assert batch.stored.body == random.Random(n).randbytes(len(batch.stored.body))
    return n
