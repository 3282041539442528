"""What a spool knows of the last rows after a kill or a power cut: losses are reckoned from it."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from gateway.spool import SpoolUnwritable
from gateway.spool.segment import Segment, Stored
from tests.unit.spoolkit import Bench

LAST = ("d", "t")


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    made = Bench(tmp_path / "spool")
    yield made
    made.spool.close(clean=True)


@pytest.fixture
def cut(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Cuts the power: of the files written by us nothing is left that was not synced.

    Of the databases all is left: SQLite syncs each commit.
    """
    synced: dict[int, int] = {}
    fdatasync = os.fdatasync

    def sync(fd: int) -> None:
        fdatasync(fd)
        found = os.fstat(fd)
        synced[found.st_ino] = found.st_size

    monkeypatch.setattr(os, "fdatasync", sync)

    def cut() -> None:
        for path in bench.folder.glob("*.manifest"):
            os.truncate(path, synced.get(path.stat().st_ino, 0))
        bench.crash()

    return cut


def test_an_unclean_stop_tells_the_last_spooled_time_of_each_table(bench: Bench) -> None:
    for _ in range(300):  # over several segments
        batch = bench.put()
        bench.spool.settle([batch.key] if batch.key else [])
        bench.spool.tick(idle=False)
    bench.crash()
    assert bench.spool.interrupted == {("d", "t"): 300}
    bench.put()
    bench.spool.close(clean=True)
    assert bench.open().interrupted == {}


@pytest.mark.parametrize("delivers", [True, False], ids=["delivering", "away"])
@pytest.mark.parametrize("batches", [1, 2, 3, 150, 300])  # a hundred are a segment
def test_a_power_cut_takes_none_of_these_times(
    bench: Bench, cut: Callable[[], None], batches: int, delivers: bool
) -> None:
    before = None
    for _ in range(batches):
        batch = bench.put()
        if delivers:
            bench.spool.settle([before] if before else [])
            bench.spool.tick(idle=False)
            before = batch.key
    cut()
    assert bench.spool.interrupted == {LAST: batches}
    assert not bench.spool.is_new
    cut()
    assert bench.spool.interrupted == {LAST: batches}, "also if nothing came since"


def test_a_kill_before_the_first_batch_is_that_of_a_spool_that_stored_nothing(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(self: Segment, batches: Sequence[Stored], done: Sequence[int] = ()) -> list[int]:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(Segment, "store", killed)
        bench.put()
    assert list(bench.folder.glob("*-data.db"))
    bench.crash()
    assert bench.spool.interrupted == {}
    assert bench.spool.is_new
    bench.put()
    bench.crash()
    assert not bench.spool.is_new


def test_a_segment_whose_first_line_is_not_on_disk_is_not_used(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Older ones, which have the times of all tables too, may go as soon as it is used."""

    def refuse(fd: int) -> None:
        raise OSError(5, "Input/output error")

    with monkeypatch.context() as patch, pytest.raises(SpoolUnwritable):
        patch.setattr(os, "fdatasync", refuse)
        bench.put()
    assert not list(bench.folder.glob("*-data.db"))


def test_a_database_that_cannot_be_read_does_not_stop_the_start(bench: Bench) -> None:
    bench.put()
    bench.spool._shelves["data"]._seal()
    (path,) = bench.folder.glob("*-data.db")
    path.write_bytes(b"no database" * 1000)
    with pytest.raises(sqlite3.DatabaseError):
        Segment(bench.folder, 1, "data").pending()
    bench.crash()
    assert bench.spool.interrupted == {LAST: 1}, "as the manifest has it"
