"""Losses that come again and again: told at once, then as ranges, and on disk in between."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from gateway.losses import Loss
from gateway.model import Column, Row, Table
from gateway.spool.manifest import Note, Span
from gateway.spool.notes import LossNotes
from gateway.writer.repeats import CALM_S, DETAILS, TELL_EVERY_S, Repeats
from tests.sims import http_faults as hf
from tests.support import until
from tests.unit.spoolkit import Clock
from tests.unit.writerkit import Line, Shelfless, line, stored

__all__ = ["line"]


def note(table: str = "t", detail: str = "x") -> Note:
    return ("rejected", Span("d", table, 1, 5, 5), detail)


@pytest.fixture
def clock() -> Clock:
    return Clock()


def test_the_first_of_a_table_is_told_at_once_and_again_after_a_quiet_minute(clock: Clock) -> None:
    repeats = Repeats(clock)
    assert repeats.is_new(note())
    for _ in range(100):
        clock.now += 1.0
        assert not repeats.is_new(note())
    assert repeats.is_new(note("other"))
    clock.now += TELL_EVERY_S
    assert repeats.is_new(note())


def test_other_words_are_told_at_once_but_not_a_flood_of_them(clock: Clock) -> None:
    repeats = Repeats(clock)
    told = [repeats.is_new(note(detail=f"row {n} is wrong")) for n in range(100)]
    assert told == [True] * DETAILS + [False] * (100 - DETAILS)


def test_those_that_follow_are_told_each_minute_and_soon_after_the_last(clock: Clock) -> None:
    repeats = Repeats(clock)
    told_at: list[float] = []
    for second in range(200):
        repeats.is_new(note())
        if repeats.is_due():
            told_at.append(second)
            repeats.told()
        clock.now += 1.0
    assert told_at == [61, 122, 183]
    begun = clock.now
    while not repeats.is_due():
        clock.now += 0.5
    assert clock.now - begun <= CALM_S


def test_at_the_stop_they_are_told_once(clock: Clock) -> None:
    repeats = Repeats(clock)
    repeats.is_new(note())
    assert [repeats.is_due(ending=True) for _ in range(3)] == [True, False, False]


def test_what_is_refused_in_every_batch_is_told_at_once_and_then_as_one_range(line: Line) -> None:
    refuse = hf.said("400 Bad", b'{"message":"no such field"}')
    with hf.faults(hf.STORED) as server:
        writer = line.influx(server.url, gzip=False)
        for n in range(1, 5):
            server.answers[:] = [hf.STORED]  # else nobody would believe the server
            line.publish()
            until(stored(writer, n))
            server.answers[:] = [refuse]
            line.publish()
            until(lambda n=n: writer.status()["rows_rejected"] == n)
        until(lambda: line.losses)
        line.stop()
    first, rest = line.losses
    assert first == Loss("s", "d", "m", 2, 2, 1, "rejected", "column v: 400 no such field")
    assert (rest.first_ns, rest.last_ns, rest.rows) == (4, 8, 3)


@pytest.mark.parametrize("durable", [False, True])
def test_a_kill_before_they_are_told_does_not_make_them_silent(
    line: Line, tmp_path: Path, durable: bool
) -> None:
    """What is on disk while the writer still runs is all that a kill leaves."""
    broken = Table("broken", "d", [Column("s", "str")])
    with hf.faults(hf.STORED) as server:
        sink = Encoding(line.folder)
        writer = line.start(sink) if durable else line.influx(server.url)
        for n in range(1, 4):
            line.hub.publish(Row(broken, n, ([b"x"],)))  # type: ignore[list-item]
            until(lambda n=n: writer.status()["rows_lost"] == n)
        path = line.folder / ("s.losses.jsonl" if durable else "spool/losses.jsonl")
        until(lambda: sum(note[1].rows for note in LossNotes(kept(path, tmp_path)).load()) == 3)
        assert len(line.losses) == 1
        line.stop()
    assert sum(loss.rows for loss in line.losses) == 3


class Encoding(Shelfless):
    """Cannot store text that is none."""

    def store(self, rows) -> None:  # type: ignore[no-untyped-def]
        for row, _ in rows:
            for value in row.values():
                if isinstance(value, bytes):
                    raise TypeError("bytes")
        super().store(rows)


def kept(path: Path, folder: Path) -> Path:
    """A copy of a file that is in use."""
    copy = folder / "copy"
    copy.unlink(missing_ok=True)
    if path.exists():
        shutil.copy(path, copy)
    return copy


def test_a_fault_of_one_table_leaves_the_others_whole(line: Line) -> None:
    broken = Table("broken", "d", [Column("s", "str")])
    sink = Encoding(line.folder)
    writer = line.start(sink)
    other = Table("m", "d", [Column("v", "i8")])
    for n in range(1, 21):
        line.hub.publish(Row(broken, n, ([b"x"],)))  # type: ignore[list-item]
        line.hub.publish(Row(other, n, (np.array([n]),)))
    until(lambda: writer.status()["rows_lost"] == 20)
    line.stop()
    assert sorted(sink.rows) == list(range(1, 21))
    assert sum(loss.rows for loss in line.losses) == 20
    assert {(x.table, x.cause) for x in line.losses} == {("broken", "encode_fault")}
