"""A spool that finds a damaged segment, killed at each of its calls to the disk in turn.

``python -m tests.sims.spool_mend FOLDER HOW``: folders as in `tests.sims.spool_evict`. All batches
are of one segment, on disk only, and each tells of a loss of the same number.
"""

from __future__ import annotations

import sys
from pathlib import Path

from gateway.spool import Spool, SpoolConfig
from tests.sims.spool_evict import at_each_call, event, kill_at_call

BATCHES = 8


def _header(path: Path) -> None:
    with path.open("r+b") as file:
        file.write(b"\0" * 100)


def _batch(path: Path) -> None:
    piece = event(BATCHES // 2).body[-100:]
    data = path.read_bytes()
    assert data.count(piece) == 1
    path.write_bytes(data.replace(piece, bytes(100)))


HOW = {"header": _header, "batch": _batch, "file": Path.unlink}


def run(folder: Path, kill_at: int, how: str) -> None:
    """Fill a spool, damage it, and let the next one find that; then once more."""
    for is_after in (False, True):
        if is_after:
            (path,) = folder.glob("*-events.db")
            HOW[how](path)
            kill_at_call(folder, kill_at)
        spool = Spool(folder, SpoolConfig(), "sink", lambda loss: None)
        spool.open()
        if not is_after:
            batches = spool.put("events", [event(n) for n in range(1, BATCHES + 1)])
            spool.release(batch.key for batch in batches if batch.key)
        for _ in range(3):
            spool.tick(idle=True)
        spool.release(batch.key for batch in spool.take(100, 10_000_000) if batch.key)
        spool.close(clean=True)


if __name__ == "__main__":
    at_each_call(Path(sys.argv[1]), lambda folder, kill_at: run(folder, kill_at, sys.argv[2]))
