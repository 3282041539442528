"""The disk below a spool: read-only, full, without inodes, failing."""

from __future__ import annotations

import errno
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from gateway.spool import SpoolUnwritable
from tests.faults import disks
from tests.support import ROOT, missing, need_program
from tests.unit.spoolkit import Bench, number


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Path]:
    """A disk of 3 MB in memory, smaller than the bound of the spool on it."""
    with disks.in_memory(tmp_path / "disk", "size=3M,nr_inodes=60") as place:
        yield place


@pytest.fixture
def ext4(tmp_path: Path) -> Iterator[disks.Ext4]:
    """An ext4 in a file."""
    disk = disks.Ext4(tmp_path)
    disk.mount()
    try:
        yield disk
    finally:
        disk.unmount()


@contextmanager
def immutable(*paths: Path) -> Iterator[None]:
    """The kernel refuses every write to these files, even through open descriptors."""
    chattr = need_program("chattr", "e2fsprogs")
    names = [str(path) for path in paths]
    done = subprocess.run([chattr, "+i", *names], capture_output=True, text=True, check=False)
    if done.returncode:
        missing("chattr +i", f"run as root on ext4: {done.stderr.strip()}")
    try:
        yield
    finally:
        subprocess.run([chattr, "-i", *names], check=True)


def fill(place: Path) -> Path:
    """Another program takes all the room."""
    ballast = place / "ballast"
    with ballast.open("ab", buffering=0) as file, pytest.raises(OSError, match="No space"):
        while True:
            file.write(bytes(4096))
    return ballast


def lines(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [f"{r.levelname}: {r.getMessage()}" for r in caplog.records if "spool" in r.name]


def refused(bench: Bench) -> int:
    """The next batch is not taken."""
    with pytest.raises(SpoolUnwritable):
        bench.put()
    assert bench.spool.disk.error
    return max(bench.tables)


def test_a_read_only_disk_is_said_once_and_taken_up_again(
    small: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "gateway")
    bench = Bench(small / "spool")
    with bench.closing():
        before = [number(bench.put()) for _ in range(20)]
        bench.spool.tick(idle=False)
        bench.spool._shelves["data"].close()  # a mount with open files cannot be made read-only
        disks.remount(small, "ro")
        try:
            not_taken = []
            for _ in range(5):
                not_taken.append(refused(bench))
                bench.spool.tick(idle=False)
                bench.clock.now += 1
        finally:
            disks.remount(small, "rw")
        after = [number(bench.put()) for _ in range(5)]
        assert bench.spool.disk.error == ""
        told = lines(caplog)
        assert [line.split(":")[0] for line in told] == ["ERROR", "INFO"], told
        assert "takes batches again after 5" in told[1]
        bench.crash()
        assert bench.drain() == before + after
        assert bench.losses == []
        assert set(not_taken).isdisjoint(before + after)


def test_a_start_on_a_read_only_disk_begins_when_it_can(small: Path) -> None:
    bench = Bench(small / "spool")
    before = [number(bench.put()) for _ in range(20)]
    bench.spool.close(clean=True)
    disks.remount(small, "ro")
    try:
        for _ in range(3):
            with pytest.raises(OSError, match="Read-only"):
                bench.spool.open()
    finally:
        disks.remount(small, "rw")
    bench.spool.open()
    with bench.closing():
        assert bench.spool.interrupted == {}
        assert bench.drain() == before, "each once"
        assert bench.losses == []


def test_a_full_disk_costs_only_the_oldest_and_what_it_costs_is_told(small: Path) -> None:
    bench = Bench(small / "spool", max_bytes=100_000_000, segment_bytes=200_000)
    with bench.closing():
        batches = [bench.put(size=10_000) for _ in range(800)]
        everything = [number(b) for b in batches]
        # what was in memory when its segment went is no loss, but without a disk now
        orphans = {number(b) for b in bench.spool.orphans}
        assert orphans == {number(b) for b in batches if b.key is None}
        assert bench.losses == []
        assert len(orphans) < 700
        bench.crash()
        assert bench.drain() == [n for n in everything if n not in orphans]
        assert bench.lost() == orphans, "they were in memory only, and the kill is noted"


def test_a_full_disk_costs_backlog_that_is_not_in_memory(small: Path) -> None:
    bench = Bench(small / "spool", max_bytes=100_000_000, segment_bytes=200_000)
    with bench.closing():
        everything = []
        for _ in range(800):
            batch = bench.put(size=10_000)
            everything.append(number(batch))
            bench.spool.release([batch.key] if batch.key else [])
        assert bench.spool.orphans == []
        lost = bench.lost()
        assert lost
        assert {loss.cause for loss in bench.losses} == {"spool_bound"}
        assert lost == set(range(1, max(lost) + 1))
        bench.crash()
        assert bench.drain() == [n for n in everything if n not in lost]


def test_when_another_program_takes_all_the_room_memory_holds_on(
    small: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "gateway")
    bench = Bench(small / "spool", max_bytes=100_000_000)
    with bench.closing():
        held = [bench.put(size=10_000) for _ in range(20)]
        ballast = fill(small)
        with pytest.raises(SpoolUnwritable):
            bench.put(size=900_000)
        fill(small)  # it eats what the spool has freed, too
        for _ in range(5):
            with pytest.raises(SpoolUnwritable):
                bench.put(size=10_000)
        assert bench.losses == []
        without = [b for b in held if b.key is None]
        assert without == bench.spool.orphans == held
        with pytest.raises(SpoolUnwritable):
            bench.spool.keep("data", without)
        ballast.unlink()
        bench.spool.keep("data", without)
        assert all(b.key is not None for b in held)
        assert [line.split(":")[0] for line in lines(caplog)].count("INFO") == 1
        everything = {number(b) for b in held}
        bench.crash()
        assert set(bench.drain()) == everything
        assert bench.losses == []


def test_a_put_ends_however_little_room_there_is(small: Path) -> None:
    bench = Bench(small / "spool", max_bytes=100_000_000)
    with bench.closing():
        outcomes = set()
        ballast = fill(small)
        for _ in range(30):
            with ballast.open("r+b") as file:  # one page more
                file.truncate(ballast.stat().st_size - 4096)
            bench.spool.disk.error = ""
            try:
                bench.put(size=10_000)
                outcomes.add("taken")
                break
            except SpoolUnwritable:
                outcomes.add("refused")
                assert bench.spool.status()["pending_batches"] == 0
        assert outcomes == {"taken", "refused"}


def test_without_inodes_memory_holds_on(small: Path) -> None:
    bench = Bench(small / "spool")
    with bench.closing():
        taken = []
        with pytest.raises(OSError, match="No space"):
            while True:
                path = small / f"file {len(taken)}"
                path.touch()
                taken.append(path)
        refused(bench)
        for path in taken:
            path.unlink()
        kept = number(bench.put())
        bench.crash()
        assert bench.drain() == [kept]


def test_after_a_failed_write_the_batch_goes_to_a_new_segment_and_the_old_one_is_left_alone(
    ext4: disks.Ext4, caplog: pytest.LogCaptureFixture
) -> None:
    bench = Bench(ext4.place / "spool")
    with bench.closing():
        batches = [bench.put() for _ in range(20)]
        old = [bench.only("*-data.db"), bench.only("*-data.db-wal")]
        with immutable(*old):
            batches += [bench.put() for _ in range(5)]
            assert len(list(bench.folder.glob("*-data.db"))) == 2
            assert bench.spool.disk.error == ""
            bench.spool.settle(b.key for b in batches[:5] if b.key)
            bench.spool.tick(idle=True)
        assert len(lines(caplog)) == 1, "only the write that failed"
        before = old[0].stat().st_mtime_ns
        bench.spool.settle(b.key for b in batches[5:8] if b.key)
        bench.spool.release(b.key for b in batches[8:] if b.key)
        bench.spool.tick(idle=True)
        assert old[0].stat().st_mtime_ns <= before, "nothing is deleted in it"
        bench.crash()
        assert bench.drain() == list(range(9, 26)), "what was delivered is known all the same"
        assert bench.losses == []
        assert not old[0].exists()


@pytest.fixture
def failing(tmp_path: Path) -> Iterator[disks.Failing]:
    """A file system whose calls fail as told."""
    disk = disks.Failing(tmp_path)
    try:
        yield disk
    finally:
        disk.close()


def test_a_sync_that_fails_moves_on_to_a_new_segment(failing: disks.Failing) -> None:
    folder = failing.place / "spool"
    command = [sys.executable, "-m", "tests.sims.spool_steps", str(folder)]
    pipe = subprocess.PIPE
    steps = subprocess.Popen(command, cwd=ROOT, stdin=pipe, stdout=pipe)
    assert steps.stdin is not None
    assert steps.stdout is not None

    def acknowledged(number_: int) -> bytes:
        assert steps.stdin is not None
        assert steps.stdout is not None
        steps.stdin.write(b"%d\n" % number_)
        steps.stdin.flush()
        return steps.stdout.readline()

    try:
        for n in range(1, 11):
            assert acknowledged(n) == b"%d\n" % n
        # of the newest segment only: a disk that syncs nothing anywhere takes no batch at all
        failing.tell(sync=errno.EIO, only="0000000001-data")
        for n in range(11, 21):
            assert acknowledged(n) == b"%d\n" % n
        assert failing.seen
    finally:
        steps.kill()
        steps.wait()
        steps.stdin.close()
        steps.stdout.close()
        failing.tell()
    assert len(list(folder.glob("*-data.db"))) == 2
    bench = Bench(folder, max_bytes=1_000_000_000)
    with bench.closing():
        assert bench.drain() == list(range(1, 21)), "each once, though the log has one of them too"
        assert bench.losses == []


def test_a_disk_that_dies_and_comes_back_has_all_that_was_acknowledged(ext4: disks.Ext4) -> None:
    bench = Bench(ext4.place / "spool")
    before = [number(bench.put()) for _ in range(20)]
    ext4.cut()
    not_taken = [refused(bench) for _ in range(3)]
    bench.spool.tick(idle=True)
    assert bench.losses == []
    bench.spool._shelves["data"].close()
    bench.spool._notes.close()
    ext4.unmount()
    ext4.mount()
    after = [number(bench.put()) for _ in range(3)]
    assert bench.spool.disk.error == ""
    bench.crash()
    with bench.closing():
        assert bench.drain() == before + after
        assert bench.losses == []
    assert not_taken == [21, 22, 23]
