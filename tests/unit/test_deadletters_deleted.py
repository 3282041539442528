"""Somebody deletes or replaces the store of dead letters while it is in use."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway.writer.deadletters import DeadLetters
from tests.sims import http_faults as hf
from tests.support import until
from tests.unit.letterkit import Line


class Store:
    def __init__(self, path: Path) -> None:
        self.path = path
        self.lost: list[tuple[int, str]] = []
        self.letters = self.open()

    def open(self) -> DeadLetters:
        self.letters = DeadLetters(self.path)
        self.letters.on_lost = lambda count, why: self.lost.append((count, why))
        return self.letters

    def add(self, *numbers: int) -> None:
        for n in numbers:
            assert self.letters.add(b"m v=%d 1\n" % n, "400 no")

    def on_disk(self) -> list[str]:
        """What a start would find, oldest first."""
        other = DeadLetters(self.path)
        try:
            found = (other.get(i) for i in other.ids())
            return [letter.line for letter in found if letter is not None]
        finally:
            other.close()


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    made = Store(tmp_path / "spool" / "dead_letters.db")
    yield made
    made.letters.close()


def lines(*numbers: int) -> list[str]:
    return [f"m v={n} 1\n" for n in numbers]


def delete(path: Path, how: str) -> None:
    """In one of the ways in which a file can go."""
    names = {"file": [""], "log": ["-wal"], "file and logs": ["", "-wal", "-shm"]}
    for suffix in names.get(how, []):
        # a writer that runs may have noticed that the first of several is gone
        path.with_name(path.name + suffix).unlink(missing_ok=how == "file and logs")
    if how == "folder":  # in one step: a writer that runs would make it anew meanwhile
        shutil.rmtree(path.parent.rename(path.parent.with_name("away")))
    elif how == "replaced":
        path.unlink()
        path.write_bytes(b"nothing of ours")


HOW = ("file", "log", "file and logs", "folder", "replaced")


@pytest.mark.parametrize("how", HOW)
def test_it_is_written_anew_with_all_letters_and_goes_on(
    store: Store, how: str, caplog: pytest.LogCaptureFixture
) -> None:
    store.add(1, 2)
    store.letters.mark([1], b"batch")
    delete(store.path, how)
    store.letters.tidy()
    assert store.on_disk() == lines(1, 2)
    assert store.letters.is_replay(b"batch")
    store.add(3)
    assert store.letters.count == 3
    assert [x.on_its_way for x in store.letters.newest(9)] == [False, False, True]
    store.letters.close()
    assert store.on_disk() == lines(1, 2, 3)
    assert store.lost == []
    assert "2 dead letters are written anew" in caplog.text
    replaced = store.path.with_name("dead_letters.db.replaced")
    assert replaced.exists() == (how == "replaced")


@pytest.mark.parametrize("how", HOW)
def test_it_is_noticed_at_the_next_write_too(store: Store, how: str) -> None:
    store.add(1)
    delete(store.path, how)
    store.add(2)
    assert store.on_disk() == lines(1, 2)
    assert store.lost == []


def test_one_that_nothing_happens_to_is_left_alone(
    store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    store.add(1)
    store.letters.close()
    store.open()
    store.letters.look()
    before = store.path.stat().st_ino
    store.letters.tidy()
    store.add(2)
    store.letters.tidy()
    store.letters.close()
    assert store.path.stat().st_ino == before
    assert caplog.records == []


def test_what_cannot_be_read_any_more_is_counted(store: Store) -> None:
    store.add(1, 2, 3)
    store.letters.close()  # as after a fault of the disk
    store.path.unlink()
    store.letters.tidy()
    assert [count for count, _ in store.lost] == [3]
    assert "deleted by somebody" in store.lost[0][1]
    assert store.letters.count == 0
    store.add(4)
    assert store.on_disk() == lines(4)
    assert len(store.lost) == 1


def test_a_damaged_one_is_put_aside_and_counted(store: Store) -> None:
    store.add(1, 2)
    store.letters.close()
    store.path.write_bytes(b"no database" * 1000)
    assert not store.letters.add(b"m v=3 1\n", "400 no")
    store.add(4)
    assert [count for count, _ in store.lost] == [2]
    assert store.on_disk() == lines(4)
    assert store.path.with_name("dead_letters.db.corrupt").exists()


@pytest.mark.parametrize("how", HOW)
def test_under_a_running_writer_it_is_there_again_within_a_second(tmp_path: Path, how: str) -> None:
    line = Line(tmp_path)
    line.refused(3)
    with hf.faults(hf.STORED) as server:
        box = line.start(server.url)
        try:
            before = line.path.stat().st_ino
            delete(line.path, how)

            def is_anew() -> bool:
                return line.path.exists() and line.path.stat().st_ino != before

            until(is_anew if how != "replaced" else lambda: len(box.newest(9)) == 3, 5.0)
            assert len(box.newest(9)) == 3
        finally:
            line.stop()
    assert line.losses == []


def test_letters_lost_under_a_running_writer_are_in_the_ledger(tmp_path: Path) -> None:
    line = Line(tmp_path)
    line.refused(3)
    line.path.write_bytes(b"no database" * 1000)
    with hf.faults(hf.STORED) as server:
        line.start(server.url)
        line.stop()
    (loss,) = line.losses
    assert loss.cause == "dead_letter_lost"
    assert "dead_letters.db: damaged" in loss.detail
