"""The store of dead letters: bounds that are told, and letters on their way once more."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from gateway.losses import Cause
from gateway.writer.deadletters import AGE_LOOK_S, AGE_LUMP, DeadLetters

DAY_S = 86_400.0


class Times:
    def __init__(self) -> None:
        self.wall_s = 1_790_000_000.0
        self.monotonic_s = 0.0

    def go_on(self, seconds: float) -> None:
        self.wall_s += seconds
        self.monotonic_s += seconds


class Store:
    """A store with small bounds, and what it gave up."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.times = Times()
        self.dropped: list[tuple[str, Cause]] = []
        self.letters = self.open()

    def open(self, **bounds: float) -> DeadLetters:
        limits = {"max_letters": 200, "max_bytes": 100_000, "max_age_days": 90.0, **bounds}
        self.letters = DeadLetters(
            self.path,
            max_letters=int(limits["max_letters"]),
            max_bytes=int(limits["max_bytes"]),
            max_age_days=limits["max_age_days"],
            wall=lambda: self.times.wall_s,
            monotonic=lambda: self.times.monotonic_s,
        )
        self.letters.on_dropped = self._dropped
        return self.letters

    def _dropped(self, lines: Sequence[str], cause: Cause) -> None:
        # they are told before they are gone
        kept = {letter.line for letter in self.letters.newest(1000)}
        assert kept >= set(lines)
        self.dropped += [(line, cause) for line in lines]

    def lines(self) -> list[str]:
        """Oldest first."""
        found = (self.letters.get(i) for i in self.letters.ids())
        return [letter.line for letter in found if letter is not None]


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    made = Store(tmp_path / "spool" / "dead_letters.db")
    yield made
    made.letters.close()


def test_looking_at_no_store_makes_none(store: Store) -> None:
    assert not store.letters.look()
    assert (store.letters.newest(5), store.letters.ids(), store.letters.get(1)) == ([], [], None)
    assert store.letters.count == 0
    store.letters.tidy()
    assert not store.path.exists()


def test_a_line_is_kept_once_and_gets_the_words_of_the_last_refusal(store: Store) -> None:
    assert store.letters.add(b"m v=1 1\n", "400 first")
    assert store.letters.add(b"m v=2 2\n", "400 other")
    store.times.go_on(60)
    assert store.letters.add(b"m v=1 1\n", "422 second")
    assert store.letters.count == 2
    first, other = store.letters.newest(10)
    assert (first.id, first.reason, first.line) == (1, "422 second", "m v=1 1\n")
    assert first.time > other.time
    assert first.whole
    assert [x.id for x in store.letters.newest(1)] == [1]


def test_the_count_is_known_after_a_restart(store: Store) -> None:
    store.letters.add(b"m v=1 1\n", "400")
    store.letters.close()
    letters = store.open()
    assert letters.count == 0
    assert letters.look()
    assert letters.count == 1


def test_above_the_bounds_the_oldest_go_and_are_told(store: Store) -> None:
    store.open(max_letters=3)
    for n in range(5):
        store.letters.add(b"m v=%d 1\n" % n, "400")
    assert store.lines() == [f"m v={n} 1\n" for n in (2, 3, 4)]
    assert store.dropped == [(f"m v={n} 1\n", "dead_letter_bound") for n in (0, 1)]
    assert store.letters.count == 3


def test_the_bound_in_bytes_holds_too(store: Store) -> None:
    store.open(max_bytes=1000)
    for n in range(30):
        store.letters.add(b'm v="%d%s" 1\n' % (n, b"x" * 80), "400")
    size = sum(len(line) + len("400") for line in store.lines())
    assert 800 < size <= 1000
    assert len(store.dropped) + store.letters.count == 30


def test_a_line_too_long_is_cut_and_says_so(store: Store) -> None:
    store.open(max_bytes=800)
    store.letters.add(b"m v=" + b"1" * 500 + b" 1\n", "400")
    store.letters.add(b"m v=\xff 1\n", "400")
    assert [x.whole for x in store.letters.newest(2)] == [False, False]
    assert len(store.lines()[0]) == 100


def test_too_old_letters_go_and_are_told_but_only_some_at_a_look(store: Store) -> None:
    for n in range(AGE_LUMP + 10):
        store.letters.add(b"m v=%d 1\n" % n, "400")
    store.times.go_on(89 * DAY_S)
    store.letters.add(b"m v=young 1\n", "400")
    store.letters.tidy()
    assert store.dropped == []
    store.times.go_on(2 * DAY_S)
    store.letters.tidy()
    assert {cause for _, cause in store.dropped} == {"dead_letter_age"}
    assert len(store.dropped) == AGE_LUMP
    store.letters.tidy()  # not an hour later: the clock may be wrong
    assert len(store.dropped) == AGE_LUMP
    store.times.go_on(AGE_LOOK_S)
    store.letters.tidy()
    assert store.lines() == ["m v=young 1\n"]
    assert store.letters.count == 1


def test_letters_leave_when_their_batch_is_through(store: Store) -> None:
    for n in range(4):
        store.letters.add(b"m v=%d 1\n" % n, "400")
    assert not store.letters.is_replay(b"batch")
    store.letters.mark([1, 3], b"batch")
    assert store.letters.is_replay(b"batch")
    assert [x.on_its_way for x in store.letters.newest(4)] == [False, True, False, True]
    assert store.letters.finished(b"batch") == 2
    assert store.lines() == ["m v=1 1\n", "m v=3 1\n"]
    assert store.letters.count == 2
    assert not store.letters.is_replay(b"batch")


def test_one_that_is_refused_again_stays_with_its_new_words(store: Store) -> None:
    for n in range(3):
        store.letters.add(b"m v=%d 1\n" % n, "400 old")
    store.letters.mark([1, 2, 3], b"batch")
    store.letters.add(b"m v=1 1\n", "422 new")
    assert store.letters.finished(b"batch") == 2
    (left,) = store.letters.newest(9)
    assert (left.id, left.reason, left.on_its_way) == (2, "422 new", False)


def test_a_letter_sent_twice_leaves_with_the_second_batch_only(store: Store) -> None:
    store.letters.add(b"m v=1 1\n", "400")
    store.letters.mark([1], b"one")
    store.letters.mark([1], b"two")
    assert store.letters.finished(b"one") == 0
    assert store.letters.count == 1
    assert store.letters.finished(b"two") == 1


def test_what_is_on_its_way_is_known_after_a_restart(store: Store) -> None:
    store.letters.add(b"m v=1 1\n", "400")
    store.letters.mark([1], b"batch")
    store.letters.close()
    store.open().look()
    assert store.letters.is_replay(b"batch")
    assert store.letters.finished(b"batch") == 1
    assert store.letters.count == 0


def test_where_a_refusal_could_not_be_kept_nothing_leaves(store: Store) -> None:
    """The line may be the one that was refused again: better twice than never."""
    store.letters.add(b"m v=1 1\n", "400")
    store.letters.mark([1], b"batch")
    blocker = sqlite3.connect(store.path, isolation_level=None)
    blocker.execute("BEGIN IMMEDIATE")
    store.letters._open().execute("PRAGMA busy_timeout=1")
    assert not store.letters.add(b"m v=1 1\n", "422 again")
    blocker.execute("ROLLBACK")
    blocker.close()
    assert store.letters.finished(b"batch") == 0
    assert [x.line for x in store.letters.newest(9)] == ["m v=1 1\n"]


def test_a_store_of_an_earlier_version_is_read(store: Store) -> None:
    store.path.parent.mkdir()
    old = sqlite3.connect(store.path)
    old.execute(
        "CREATE TABLE dead_letter (id INTEGER PRIMARY KEY, time TEXT NOT NULL, reason TEXT "
        "NOT NULL, line TEXT NOT NULL, digest BLOB NOT NULL UNIQUE)"
    )
    row = ("2026-01-01T00:00:00Z", "400", "m v=1 1\n", os.urandom(16))
    old.execute("INSERT INTO dead_letter (time, reason, line, digest) VALUES (?,?,?,?)", row)
    old.commit()
    old.close()
    (letter,) = store.letters.newest(9)
    assert (letter.time, letter.line, letter.on_its_way) == ("2026-01-01T00:00:00Z", row[2], False)


def test_a_damaged_store_is_put_aside(store: Store) -> None:
    store.path.parent.mkdir()
    store.path.write_bytes(b"no database at all" * 100)
    assert not store.letters.add(b"m v=1 1\n", "400")
    assert store.letters.add(b"m v=1 1\n", "400")
    assert store.path.with_name("dead_letters.db.corrupt").exists()
