"""What is due to the clients of a feed, in a time of the test's own."""

from __future__ import annotations

import hypothesis.strategies as st
import numpy as np
from hypothesis import given

from gateway.api.livechoice import ALL_TABLES, Choice
from gateway.api.livefeed import BUNDLE, NOTHING, SLACK_S, Came, Feed
from gateway.model import Column, Row, Table

PERIOD_S = 0.1


class Reader:
    """A client, without a connection."""

    def __init__(self) -> None:
        self.seen = NOTHING
        self.missed = 0
        self.dropped = 0
        self.is_ready = True
        self.has: dict[str, int] = {}
        self.shapes: set[str] = set()

    def hand(self, frames: list[bytes]) -> None: ...

    def end(self) -> None: ...


def table(name: str) -> Table:
    return Table(name, "d", [Column("a", "f4")])


TABLES = [table(name) for name in "abc"]


def row(where: Table, number: int, at_s: float = 0.0) -> Came:
    return Came(Row(where, number, (np.zeros(1, "f4"),)), at_s)


def serve(feed: Feed, reader: Reader, now_s: float) -> int:
    """As the hub does it: how many rows the reader got."""
    due = feed.begin(now_s)
    if not reader.is_ready:
        reader.missed += len(due)
        return 0
    got = 0
    for pick, newest, is_new in list(feed.lacks(reader.seen, due)):
        assert is_new == (pick.name not in reader.shapes)
        reader.shapes.add(pick.name)
        reader.has[pick.table.name] = newest.time_ns
        got += 1
    reader.seen = feed.push
    return got


def make() -> tuple[Feed, Reader]:
    feed, reader = Feed(Choice(frozenset([ALL_TABLES])), PERIOD_S), Reader()
    feed.join(reader, [])
    assert feed.wait_s(0.0) == 0.0
    assert serve(feed, reader, 0.0) == 0
    return feed, reader


def test_the_first_row_is_due_at_once_and_the_next_of_its_table_after_the_period() -> None:
    feed, reader = make()
    assert feed.wait_s(1.0) is None
    feed.take(row(TABLES[0], 1, 1.0))
    assert feed.wait_s(1.0) == 0.0
    assert serve(feed, reader, 1.0) == 1
    feed.take(row(TABLES[0], 2, 1.0))
    wait_s = feed.wait_s(1.0)
    assert wait_s is not None
    assert abs(wait_s - (PERIOD_S - SLACK_S)) < 1e-9
    assert feed.begin(1.0 + PERIOD_S / 2) == set()


def test_a_push_that_is_late_holds_up_no_row_that_follows() -> None:
    feed, reader = make()
    for turn in range(1, 5):
        at_s = turn * PERIOD_S
        feed.take(row(TABLES[0], turn, at_s))
        assert feed.wait_s(at_s) == 0.0
        assert serve(feed, reader, at_s + PERIOD_S / 2) == 1
    feed.take(row(TABLES[0], 9, 4.5 * PERIOD_S))
    assert feed.begin(5 * PERIOD_S - 2 * SLACK_S) == set()


def test_a_row_of_another_table_waits_only_for_the_bundle() -> None:
    feed, reader = make()
    feed.take(row(TABLES[0], 1))
    serve(feed, reader, 1.0)
    feed.take(row(TABLES[1], 1))
    wait_s = feed.wait_s(1.0)
    assert wait_s is not None
    assert abs(wait_s - PERIOD_S * BUNDLE) < 1e-9
    assert serve(feed, reader, 1.0 + wait_s) == 1


def test_a_new_client_gets_all_at_once_without_waiting_for_periods() -> None:
    feed, reader = make()
    for each in TABLES:
        feed.take(row(each, 1))
    serve(feed, reader, 1.0)
    feed.take(row(TABLES[0], 2))
    late = Reader()
    feed.join(late, [])
    assert feed.wait_s(1.001) == 0.0
    assert serve(feed, late, 1.001) == 3
    assert late.has == {"a": 2, "b": 1, "c": 1}


def test_a_row_that_was_known_before_it_was_published_is_told_once() -> None:
    feed, reader = make()
    newest = row(TABLES[0], 1)
    feed.join(reader, [newest.row])
    assert serve(feed, reader, 10.0) == 1
    feed.take(newest)
    assert serve(feed, reader, 10.0 + PERIOD_S) == 0
    feed.take(row(TABLES[0], 2))
    assert serve(feed, reader, 10.0 + 2 * PERIOD_S) == 1


def test_a_slow_client_gets_the_newest_of_what_it_missed() -> None:
    feed, reader = make()
    reader.is_ready = False
    for turn in range(1, 6):
        feed.take(row(TABLES[0], turn))
        if turn == 1:
            feed.take(row(TABLES[1], turn))
        serve(feed, reader, float(turn))
    reader.is_ready = True
    assert reader.missed == 6
    assert serve(feed, reader, 5.5) == 2
    assert reader.has == {"a": 5, "b": 1}


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("row"), st.integers(0, 2)),
        st.tuples(st.just("wait"), st.integers(1, 250)),
        st.tuples(st.just("ready"), st.booleans()),
        st.tuples(st.just("gone"), st.integers(0, 2)),
    ),
    max_size=60,
)


@given(STEPS)
def test_whatever_happens_a_client_that_reads_ends_with_the_newest_of_each_table(
    steps: list[tuple[str, int]],
) -> None:
    feed, reader = make()
    now_s, number = 1.0, 0
    newest: dict[str, int] = {}
    pushed: dict[str, float] = {}
    for what, value in steps:
        if what == "row":
            number += 1
            newest[TABLES[value].name] = number
            feed.take(row(TABLES[value], number, now_s))
        elif what == "wait":
            now_s += value / 1000
        elif what == "ready":
            reader.is_ready = bool(value)
            feed.is_late |= reader.is_ready
        else:
            name = TABLES[value].name
            feed.forget(TABLES[value])
            newest.pop(name, None)
            reader.shapes.discard(f"d/{name}")
            pushed.pop(name, None)
        wait_s = feed.wait_s(now_s)
        if wait_s is not None and wait_s <= 0:
            had = dict(reader.has)
            serve(feed, reader, now_s)
            for name, at in reader.has.items():
                if reader.is_ready and had.get(name) != at:
                    pushed[name] = now_s
    reader.is_ready = feed.is_late = True
    for _ in range(3):
        now_s += PERIOD_S + SLACK_S
        if feed.wait_s(now_s) is not None:
            serve(feed, reader, now_s)
    assert {name: reader.has[name] for name in newest} == newest
    assert feed.wait_s(now_s + 1) is None
