"""Two lanes: live first, backlog oldest first and never without its share."""

from __future__ import annotations

import itertools

from gateway.spool.batch import Batch, Key
from gateway.spool.manifest import Span
from gateway.spool.segment import Stored
from gateway.writer.lanes import BACKLOG_BATCHES, FRESH_S, SHARE, Lanes
from tests.unit.spoolkit import Clock


class Bench:
    def __init__(self, live_bytes: int = 1_000_000) -> None:
        self.clock = Clock()
        self.asked = 0
        self.lanes = Lanes(self._ask, live_bytes=live_bytes, clock=self.clock)
        self.ids = itertools.count(1)

    def _ask(self) -> None:
        self.asked += 1

    def batch(self, name: str, age_s: float = 0.0) -> Batch:
        key = Key("data", 1, next(self.ids))
        stored = Stored(b"x" * 1000, name, 1, 1, ())
        return Batch(key, stored, self.clock.now - age_s)

    def live(self, *names: str) -> list[str]:
        pushed_out = self.lanes.add_live([self.batch(name) for name in names])
        return [batch.stored.format for batch in pushed_out]

    def backlog(self, *names: str, age_s: float = 3600.0, more: bool = False) -> None:
        self.lanes.add_backlog([self.batch(name, age_s) for name in names], more)

    def next(self, *, live_only: bool = False) -> str | None:
        batch = self.lanes.next(0.0, live_only=live_only)
        return None if batch is None else batch.stored.format

    def order(self, count: int = 1000, *, live_only: bool = False) -> list[str]:
        found = (self.next(live_only=live_only) for _ in range(count))
        return list(itertools.takewhile(bool, found))  # type: ignore[arg-type]


def test_live_goes_first_and_the_backlog_has_all_the_time_between() -> None:
    bench = Bench()
    bench.backlog("a", "b", "c", "d")
    assert bench.next() == "a"
    bench.live("1")
    assert bench.order(2) == ["1", "b"]
    bench.live("2", "3")
    assert bench.order() == ["2", "3", "c", "d"]
    assert bench.next() is None


def test_a_sink_that_is_busy_with_live_rows_still_gets_backlog_within_its_share() -> None:
    bench = Bench()
    bench.backlog(*"abc")
    order = []
    for n in range(10 * (SHARE + 1)):
        bench.live(str(n))  # another one always waits
        order += bench.order(1)
        bench.clock.now += 0.01
    assert [n for n, name in enumerate(order) if name in "abc"] == [4, 9, 14]
    live = [name for name in order if name not in "abc"]
    assert live == sorted(live, key=int)


def test_what_an_outage_has_left_in_memory_does_not_delay_what_is_new() -> None:
    bench = Bench()
    for n in range(30):
        bench.live(f"old {n}")
        bench.clock.now += 1.0
    bench.clock.now += FRESH_S
    bench.live("new")
    order = bench.order()
    assert order == ["new", *(f"old {n}" for n in range(30))]


def test_what_is_in_memory_and_what_is_on_disk_go_oldest_first_together() -> None:
    bench = Bench()
    bench.live("second", "third")
    bench.clock.now += 100.0
    bench.backlog("first", age_s=200.0)
    bench.backlog("fourth", age_s=50.0)
    assert bench.order() == ["first", "second", "third", "fourth"]


def test_memory_is_bounded_and_the_oldest_leave_it() -> None:
    bench = Bench(live_bytes=10_500)
    pushed_out = []
    for n in range(100):
        pushed_out += bench.live(str(n))
        bench.clock.now += 0.3
    assert pushed_out == [str(n) for n in range(90)]
    assert sorted(bench.order(), key=int) == [str(n) for n in range(90, 100)]
    bench.live("alone")
    assert bench.order() == ["alone"]


def test_at_the_stop_all_that_came_in_this_run_goes_in_order_and_no_backlog() -> None:
    bench = Bench()
    bench.backlog("stays on disk")
    bench.live("1", "2")
    bench.clock.now += 2 * FRESH_S
    bench.live("3")
    assert bench.order(live_only=True) == ["1", "2", "3"]


def test_more_is_asked_for_once_before_the_backlog_runs_dry() -> None:
    bench = Bench()
    names = [str(n) for n in range(BACKLOG_BATCHES)]
    bench.backlog(*names, more=True)
    assert bench.order(BACKLOG_BATCHES // 2) == names[: BACKLOG_BATCHES // 2]
    assert bench.asked == 0
    bench.order()
    assert bench.asked == 1


def test_an_oldest_batch_is_known() -> None:
    bench = Bench()
    assert bench.lanes.oldest_s() is None
    bench.live("1")
    began_s = bench.clock.now
    bench.clock.now += 100.0
    bench.live("2")
    assert bench.next() == "2"
    assert bench.lanes.oldest_s() == began_s


def test_between_two_pieces_of_a_batch_live_ones_go_first_within_their_share() -> None:
    bench = Bench()
    bench.backlog("long")
    assert bench.next() == "long"
    assert bench.lanes.overtaker() is None
    bench.live(*(str(n) for n in range(SHARE + 2)))
    passed = []
    while (batch := bench.lanes.overtaker()) is not None:
        assert bench.lanes.in_hand is batch
        bench.lanes.finished(batch)
        passed.append(batch.stored.format)
    assert passed == [str(n) for n in range(SHARE)]
    bench.lanes.goes_on()
    again = bench.lanes.overtaker()
    assert again is not None
    bench.clock.now += 2 * FRESH_S
    assert bench.lanes.overtaker() is None, "it has waited too long to be live"


def test_what_is_in_hand_is_known_until_it_is_finished() -> None:
    bench = Bench()
    bench.live("1")
    (batch,) = bench.lanes.unkept() or [bench.lanes.next(0.0)]
    assert batch is not None
    began_s, batch.key = batch.since_s, None
    bench.clock.now += 5.0
    assert bench.lanes.in_hand is batch
    assert bench.lanes.unkept() == [batch]
    assert bench.lanes.oldest_s() == began_s
    bench.lanes.finished(batch)
    assert (bench.lanes.in_hand, bench.lanes.unkept()) == (None, [])
    assert bench.lanes.take_finished() == [batch]


def test_what_is_put_back_goes_after_live_and_before_other_backlog() -> None:
    bench = Bench(live_bytes=3_500)
    bench.backlog("a", "b")
    bench.live("1", "2")
    bench.clock.now += 2 * FRESH_S
    first = bench.lanes.next(0.0)
    assert first is not None
    assert (first.stored.format, first.lane) == ("a", "backlog")
    bench.lanes.put_back(first)
    assert bench.lanes.in_hand is None
    bench.live("3")
    assert bench.order(2) == ["3", "a"]
    assert bench.next() == "b"
    late = bench.lanes.next(0.0)
    assert late is not None
    assert (late.stored.format, late.lane) == ("1", "late")
    bench.lanes.put_back(late)
    assert bench.live("4", "5") == ["1"], "what was put back counts in the bound"
    assert bench.order() == ["4", "5", "2"]


def test_alarms_leave_memory_last_unless_they_fill_half_of_it() -> None:
    bench = Bench(live_bytes=10_000)

    def own(name: str) -> list[str]:
        batch = bench.batch(name)
        batch.key = Key("events", 1, 1)
        spans = (Span("gateway", "gateway_alarm", 1, 1, 1),)
        batch.stored = batch.stored._replace(spans=spans)
        return [out.stored.format for out in bench.lanes.add_live([batch])]

    assert own("A") == own("B") == bench.live(*"12345678") == []
    assert bench.live("9") == ["1"]
    assert [own(name) for name in "CDE"] == [["2"], ["3"], ["4"]]
    assert own("F") == ["A"]
    bench.clock.now += 2 * FRESH_S
    assert bench.live("x") == ["5"]
    assert sorted(bench.order()) == sorted("B6789CDEFx")
