"""A spool that gives up its oldest segments, killed at each of its calls to the disk in turn.

``python -m tests.sims.spool_evict FOLDER``: in folder 1 the kill comes at the first call after the
spool is full, in folder 2 at the second, and so on, until one run gets through. Each batch tells of
a loss of the same number; a number is printed in the folder's ``stored`` when its batch is on disk.
"""

from __future__ import annotations

import os
import random
import signal
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from gateway.model import OWN_TABLES
from gateway.spool import LOSS_TABLE, Spool, SpoolConfig, segment
from gateway.spool.batch import Batch
from gateway.spool.manifest import Note, Span
from gateway.spool.segment import Stored

BEFORE = 30
"""Batches that fill the spool."""
AFTER = 12
"""Batches for which others have to go."""
EVENT = next(table for table in sorted(OWN_TABLES) if table != LOSS_TABLE)
CALLS = ("open", "os.remove", "os.rename", "sqlite3.connect")


def told(number: int) -> Note:
    """The loss that the rows of a batch tell of."""
    return ("hub_overflow", Span("d", "lost before", 1, number, number), "told")


def event(number: int) -> Stored:
    """A batch of one row of the gateway's own, and one that tells of a loss."""
    spans = (Span("d", EVENT, 1, number, number), Span("d", LOSS_TABLE, 1, number, number))
    return Stored(random.Random(number).randbytes(4_000), "lp", 2, 3, spans, (told(number),))


def run(folder: Path, kill_at: int, *, in_memory: bool) -> None:
    """Fill a spool until it gives up segments, and be killed at that call."""
    spool = Spool(
        folder, SpoolConfig(), "sink", lambda loss: None, max_bytes=400_000, segment_bytes=30_000
    )
    spool.open()
    stored = os.open(folder.with_suffix(".stored"), os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    def put(numbers: Iterable[int]) -> None:
        for number in numbers:
            batches: list[Batch] = spool.put("events", [event(number)])
            os.write(stored, b"%d\n" % number)
            if not in_memory:
                spool.release(batch.key for batch in batches if batch.key)
            spool.tick(idle=False)

    put(range(1, BEFORE + 1))
    kill_at_call(folder, kill_at)
    put(range(BEFORE + 1, BEFORE + AFTER + 1))


def kill_at_call(folder: Path, number: int) -> None:
    """Be killed at the n-th call from now that is about this folder, before it is done."""
    left = number

    def hook(name: str, args: tuple[Any, ...]) -> None:
        nonlocal left
        if name in CALLS and str(folder) in str(args[0]):
            left -= 1
            if left == 0:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(hook)


def at_each_call(place: Path, run: Callable[[Path, int], None]) -> None:
    """One run after another in a process of its own, killed one call later each time."""
    segment.SYNCHRONOUS = "OFF"  # a kill is no power cut
    os.fdatasync = os.fsync = lambda fd: None
    for kill_at in range(1, 10_000):
        child = os.fork()
        if child == 0:
            try:
                run(place / f"{kill_at}", kill_at)
                os._exit(0)
            except BaseException as error:
                print(repr(error), file=sys.stderr, flush=True)
                os._exit(1)
        _, status = os.waitpid(child, 0)
        if not os.WIFSIGNALED(status):
            sys.exit(os.waitstatus_to_exitcode(status))


def main(place: Path, *, in_memory: bool) -> None:
    """All runs."""
    at_each_call(place, lambda folder, kill_at: run(folder, kill_at, in_memory=in_memory))


if __name__ == "__main__":
    main(Path(sys.argv[1]), in_memory=sys.argv[2:] == ["in-memory"])
