"""Dead letters on their way back: by way of the spool, to a server that takes them or does not."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway.errors import SinkUnavailable
from gateway.losses import Loss
from gateway.sinks.influxdb import InfluxConfig, InfluxSink
from gateway.spool import Spool, SpoolConfig
from gateway.writer.deadletters import DeadLetters
from gateway.writer.replay import BATCH_LETTERS, LetterBox, Replayed, UnknownLetter
from tests.sims import http_faults as hf
from tests.support import until
from tests.unit.letterkit import Line

REFUSED = hf.said("400 Bad", b'{"message":"still no"}')


@pytest.fixture
def line(tmp_path: Path) -> Iterator[Line]:
    made = Line(tmp_path)
    yield made
    made.stop()


def numbers(server: hf.FaultServer) -> list[int]:
    texts = [text for _, body in server.requests for text in body.decode().splitlines()]
    return [int(text.rsplit(" ", 1)[1]) for text in texts]


def test_letters_go_once_more_and_leave_when_they_are_stored(line: Line) -> None:
    line.refused(3)
    with hf.faults(hf.STORED) as server:
        box = line.start(server.url)
        assert line.status("dead_letters") == 3
        assert box.replay() == Replayed(3, 0, 0)
        until(lambda: line.status("dead_letters") == 0)
        until(lambda: line.status("dead_letters_replayed") == 3)  # counted after they have left
        assert line.status("pending_rows") == 0
        until(lambda: line.status("pending_batches") == 0)
        assert box.newest(9) == []
        assert box.replay() == Replayed(0, 0, 0)
        line.stop()
    assert numbers(server) == [1, 2, 3]
    assert line.losses == []


def test_a_letter_stays_while_the_server_is_away_and_is_left_out_meanwhile(line: Line) -> None:
    line.refused(2)
    with hf.faults(hf.said("503 Busy")) as server:
        box = line.start(server.url)
        assert box.replay([2]) == Replayed(1, 0, 0)
        until(lambda: len(server.requests) >= 2)
        assert {x.id: x.on_its_way for x in box.newest(9)} == {1: False, 2: True}
        assert box.replay() == Replayed(1, 1, 0)
        server.answers = [hf.STORED]
        until(lambda: line.status("dead_letters") == 0)
        line.stop()
    assert sorted(set(numbers(server))) == [1, 2]


def test_what_is_refused_again_has_new_words_and_the_others_leave(line: Line) -> None:
    line.refused(3)
    # 1-3 refused, 1 stored (the half), 2-3 refused, 2 stored, 3 refused
    with hf.faults(REFUSED, hf.STORED, REFUSED, hf.STORED, REFUSED) as server:
        box = line.start(server.url)
        box.replay()
        until(lambda: line.status("dead_letters") == 1)
        (left,) = box.newest(9)
        assert (left.id, left.reason, left.on_its_way) == (3, "400 still no", False)
        until(lambda: line.status("dead_letters_replayed") == 2)
        line.stop()
    assert line.losses == []  # they were told when they were refused first
    assert numbers(server)[:3] == [1, 2, 3]


def test_on_their_way_over_a_restart(line: Line) -> None:
    line.refused(2)
    with hf.faults(hf.said("503 Busy")) as server:
        box = line.start(server.url)
        box.replay()
        until(lambda: len(server.requests) >= 1)
        line.stop()
        server.answers = [hf.STORED]
        box = line.start(server.url)
        until(lambda: line.status("dead_letters") == 0)
        assert line.status("pending_rows") == 0
        line.stop()
    assert line.losses == []
    letters = DeadLetters(line.path)
    assert letters.ids() == []
    letters.close()


def test_many_letters_go_in_several_batches_while_rows_are_written(line: Line) -> None:
    line.refused(2 * BATCH_LETTERS + 1)
    with hf.faults(hf.STORED) as server:
        box = line.start(server.url)
        assert box.replay().spooled == 2 * BATCH_LETTERS + 1
        until(lambda: line.status("dead_letters") == 0)
        line.stop()
    assert sorted(numbers(server)) == list(range(1, 2 * BATCH_LETTERS + 2))
    assert len(server.requests) == 3


def test_a_letter_that_was_cut_is_not_sent(line: Line) -> None:
    letters = DeadLetters(line.path, max_bytes=800)
    letters.add(b"m,device=d v=" + b"1" * 200 + b" 1\n", "400")
    letters.close()
    with hf.faults(hf.STORED) as server:
        box = line.start(server.url)
        assert box.replay() == Replayed(0, 0, 1)
        assert line.status("dead_letters") == 1
        line.stop()
    assert server.requests == []


def test_a_letter_that_is_not_there_is_named(line: Line) -> None:
    line.refused(1)
    with hf.faults(hf.STORED) as server:
        box = line.start(server.url)
        with pytest.raises(UnknownLetter, match="sink s has no dead letter 7"):
            box.replay([7])
        line.stop()


def test_after_the_stop_nothing_is_taken_and_the_file_is_left_alone(line: Line) -> None:
    """In its place another one may have begun, after a reload: one file, one connection."""
    line.refused(1)
    with hf.faults(hf.STORED) as server:
        box = line.start(server.url)
        line.stop()
        for ask in (box.replay, lambda: box.newest(9), lambda: list(box.all())):
            with pytest.raises(SinkUnavailable, match="the store is closed"):
                ask()
        successor = line.start(server.url)
        assert len(successor.newest(9)) == 1
        line.stop()
    assert server.requests == []


def test_where_the_spool_takes_nothing_the_letters_stay(line: Line) -> None:
    line.refused(1)
    document = {"type": "influxdb", "url": "http://127.0.0.1:9", "bucket": "b"}
    sink = InfluxSink("s", InfluxConfig.model_validate(document), line.folder)
    spool = Spool(line.path.parent, SpoolConfig(), "s", line.losses.append)
    spool.disk.error = "Read-only file system"

    def serve() -> None:
        box.serve(spool_is_open=False)

    box = LetterBox(DeadLetters(line.path), sink, spool, lambda *_: None, serve)
    with pytest.raises(SinkUnavailable, match="cannot be spooled: Read-only file system"):
        box.replay()
    (letter,) = box.newest(9)
    assert not letter.on_its_way
    box.close()


def test_letters_whose_batch_is_not_in_the_spool_any_more_are_not_on_their_way(line: Line) -> None:
    line.refused(2)
    letters = DeadLetters(line.path)
    letters.mark([1], b"a batch of a segment that was given up")
    letters.close()
    with hf.faults(hf.STORED) as server:
        box = line.start(server.url)
        until(lambda: not any(x.on_its_way for x in box.newest(9)))
        assert box.replay() == Replayed(2, 0, 0)
        until(lambda: line.status("dead_letters") == 0)
        line.stop()
    assert numbers(server) == [1, 2]


def test_a_letter_given_up_is_a_loss_of_its_own_and_no_row_is_counted_twice(line: Line) -> None:
    line.refused(2)
    with hf.faults(REFUSED) as server:
        box = line.start(server.url)
        box._letters._max_letters = 1
        box.replay([2])  # refused again: the bound is looked at
        until(lambda: line.losses)
        assert line.status("rows_lost") == 0
        line.stop()
    words = "refused before; its dead letter was given up"
    assert line.losses == [Loss("s", "d", "m", 1, 1, 1, "dead_letter_bound", words)]


def test_two_who_replay_at_once_send_each_letter_at_least_once(line: Line) -> None:
    line.refused(50)
    with hf.faults(hf.STORED) as server:
        box = line.start(server.url)
        threads = [threading.Thread(target=box.replay) for _ in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        until(lambda: line.status("dead_letters") == 0)
        line.stop()
    assert set(numbers(server)) == set(range(1, 51))
