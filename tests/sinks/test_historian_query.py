"""Reading the historian: decimation, minutes, names, clocks that step."""

from __future__ import annotations

import threading
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.errors import GatewayError, SinkUnavailable
from gateway.model import Column, bad
from gateway.sinks.historian import query as history
from gateway.sinks.historian.points import Collector, Point
from tests.sinks.historykit import (
    DAY_NS,
    MINUTE_NS,
    SECOND_NS,
    START_NS,
    Clock,
    historian,
    ramp,
    row,
    table,
)

VALUES = st.lists(
    st.none() | st.integers(-(2**63), 2**63 - 1), min_size=1, max_size=200
)  # None: BAD


@given(VALUES, st.integers(2, 60), st.lists(st.integers(1, 200), max_size=5))
@settings(max_examples=150, deadline=None)
def test_decimation_keeps_extremes_gaps_and_order(
    values: list[int | None], most: int, cuts: list[int]
) -> None:
    points = [Point(START_NS + i * 7, v, "GOOD" if v is not None else "BAD:x")
              for i, v in enumerate(values)]  # fmt: skip
    collector = Collector("i8", START_NS, points[-1].time_ns, most)
    for begin, end in zip([0, *sorted(cuts)], [*sorted(cuts), 300], strict=True):
        collector.add(points[begin:end])
    kept = collector.result()
    assert len(kept) <= most
    assert set(kept) <= set(points)
    assert [p.time_ns for p in kept] == sorted(p.time_ns for p in kept)
    there = [v for v in values if v is not None]
    found = [p.value for p in kept if p.value is not None]
    if there:
        assert (min(found), max(found)) == (min(there), max(there))
    if None in values and most > 2:
        assert any(p.value is None for p in kept)
    assert collector.decimated == (len(kept) < len(points))


def test_a_long_answer_keeps_every_peak(tmp_path: Path) -> None:
    sink = historian(tmp_path)
    shape = table([Column("v", "f4")], interval_s=0.01)
    rng = np.random.default_rng(5)
    values = rng.normal(0, 1, 20_000)
    values[rng.integers(0, 500, 20) + np.arange(20) * 1000] = 1000 + np.arange(20)
    sink.store([row(shape, START_NS + i * 10**7, [float(v)]) for i, v in enumerate(values)])
    found = sink.query("hopper", "v", START_NS, START_NS + 600 * SECOND_NS, 900)
    sink.close()
    assert (found.resolution, found.decimated, found.truncated) == ("raw", True, False)
    assert 500 <= len(found.points) <= 900
    assert {1000.0 + i for i in range(20)} <= {p.value for p in found.points}


def test_the_range_is_exact_at_both_ends(tmp_path: Path) -> None:
    sink = historian(tmp_path)
    sink.store(ramp(table(1), 200))
    found = sink.query("hopper", "c0", START_NS + 50 * SECOND_NS, START_NS + 140 * SECOND_NS)
    assert [p.value for p in found.points] == list(range(50, 141))
    assert sink.query("hopper", "c0", 0, START_NS - 1).points == []
    assert sink.query("hopper", "c0", START_NS + DAY_NS, START_NS + 2 * DAY_NS).points == []
    sink.close()


def test_minutes_answer_where_raw_rows_are_deleted(tmp_path: Path) -> None:
    clock = Clock()
    sink = historian(tmp_path, clock, retention_days=1)
    shape = table(1)
    sink.store([*ramp(shape, 120), row(shape, START_NS + 121 * SECOND_NS, [0.0], {0: bad("x")})])
    clock.now_ns = START_NS + 2 * DAY_NS
    sink.store(ramp(shape, 3, clock.now_ns))
    found = sink.query("hopper", "c0", START_NS, clock.now_ns + 9 * SECOND_NS)
    assert (found.resolution, found.truncated) == ("minute", False)
    assert [tuple(p) for p in found.points] == [
        (START_NS, 0.0, "GOOD"),
        (START_NS, 59.0, "GOOD"),
        (START_NS + MINUTE_NS, 60.0, "GOOD"),
        (START_NS + MINUTE_NS, 119.0, "GOOD"),
        (START_NS + 2 * MINUTE_NS, None, "BAD"),
        (clock.now_ns, 0.0, "GOOD"),
        (clock.now_ns, 2.0, "GOOD"),
    ]
    found = sink.query("hopper", "c0", clock.now_ns, clock.now_ns + 9 * SECOND_NS)
    assert (found.resolution, [p.value for p in found.points]) == ("raw", [0.0, 1.0, 2.0])
    sink.close()


def test_minutes_answer_where_too_many_rows_would_be_looked_through(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sink = historian(tmp_path)
    shape, text = table(1), table([Column("t", "str")], "texts")
    sink.store(ramp(shape, 600))
    sink.store([row(text, START_NS + i * SECOND_NS, [f"{i // 100}"]) for i in range(900)])
    monkeypatch.setattr(history, "RAW_ROWS", 500)
    found = sink.query("hopper", "c0", START_NS, START_NS + 599 * SECOND_NS, 100)
    assert found.resolution == "minute"
    assert [p.value for p in found.points[:3]] == [0.0, 59.0, 60.0]
    found = sink.query("hopper", "t", 0, START_NS + DAY_NS, 100)
    assert (found.resolution, found.truncated) == ("raw", True)
    assert [p.value for p in found.points] == list("45678")  # the newest 500 rows
    monkeypatch.setattr(history, "RAW_ROWS", 900)
    found = sink.query("hopper", "t", 0, START_NS + DAY_NS, 100)
    assert [p.value for p in found.points] == list("012345678")
    assert found.decimated
    sink.close()


def test_a_query_that_takes_too_long_is_given_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sink = historian(tmp_path)
    shape = table([Column("v", "f8"), Column("t", "str")])
    sink.store([row(shape, START_NS + i * SECOND_NS, [i, "same"]) for i in range(12_000)])
    monkeypatch.setattr(history, "RAW_S", -1.0)
    found = sink.query("hopper", "v", 0, START_NS + DAY_NS)
    assert (found.resolution, found.points[-1].value) == ("minute", 11_999.0)
    with pytest.raises(SinkUnavailable, match="ask for less time"):
        sink.query("hopper", "t", 0, START_NS + DAY_NS)
    sink.store(ramp(table(1, "later"), 1))
    sink.close()


def test_rows_are_found_after_the_clock_was_set_back(tmp_path: Path) -> None:
    sink = historian(tmp_path)
    shape = table(1)
    sink.store(ramp(shape, 150))
    sink.store(ramp(shape, 150, START_NS + 45 * SECOND_NS + 1))
    sink.store(ramp(shape, 10, START_NS - 3600 * SECOND_NS))
    for _ in range(2):
        found = sink.query("hopper", "c0", START_NS, START_NS + 200 * SECOND_NS)
        assert len(found.points) == 300
        times = [p.time_ns for p in found.points]
        assert times == sorted(times)
        early = sink.query("hopper", "c0", 0, START_NS - 1)
        assert [p.value for p in early.points] == list(range(10))
        sink.close()  # the same once more from the file
    sink.close()


def test_equal_times_are_both_kept(tmp_path: Path) -> None:
    sink = historian(tmp_path)
    shape = table(1)
    sink.store([row(shape, START_NS, [1.0]), row(shape, START_NS, [2.0])])
    assert [p.value for p in sink.query("hopper", "c0", 0, START_NS).points] == [1.0, 2.0]
    sink.close()


def test_a_change_of_unit_or_type_is_read_as_one_tag(tmp_path: Path) -> None:
    sink = historian(tmp_path)
    old, new = table([Column("v", "i8", "mbar")]), table([Column("v", "f4", "bar")])
    sink.store([row(old, START_NS, [1000]), row(new, START_NS + 1, [1.25])])
    found = sink.query("hopper", "v", 0, START_NS + 1)
    assert ([p.value for p in found.points], found.unit) == ([1000, 1.25], "bar")
    assert [(s.unit, s.kind) for s in sink.series()] == [("mbar", "i8"), ("bar", "f4")]
    sink.close()


def test_names_are_found_or_the_nearest_is_told(tmp_path: Path) -> None:
    sink = historian(tmp_path)
    with pytest.raises(GatewayError, match="nothing is stored yet"):
        sink.query("hopper", "v", 0, 1)
    for module in ("meter", "fan"):
        columns = [Column("Pt", "f4", "kW"), Column(f"only_{module}", "f4")]
        sink.store(ramp(table(columns, "electricity", module=module), 1))
    for tag in ("electricity.meter:Pt", "electricity.meter.Pt", "only_meter"):
        found = sink.query("hopper", tag, 0, START_NS)
        assert (found.table, len(found.points)) == ("electricity.meter", 1)
    wrong = {
        ("hoper", "Pt"): "unknown device 'hoper'; did you mean 'hopper'?",
        ("hopper", "only_metre"): "unknown tag 'only_metre'; did you mean 'only_meter'?",
        ("hopper", "electricity.metre:Pt"): "did you mean 'electricity.meter:Pt'?",
        ("hopper", "zzz"): "there are: Pt, ",
        ("hopper", "Pt"): "is in electricity.fan, electricity.meter; say which, e.g. "
        "'electricity.fan:Pt'",
    }
    for (device, tag), text in wrong.items():
        with pytest.raises(GatewayError) as refused:
            sink.query(device, tag, 0, START_NS)
        assert text in str(refused.value)
    for arguments, text in [((5, 4, 10), "ends before it begins"), ((4, 5, 1), "at least 2")]:
        with pytest.raises(GatewayError, match=text):
            sink.query("hopper", "only_fan", *arguments)
    named = sink.series()[0]
    assert (named.table, named.module, named.labels["device"]) == (
        "electricity.fan",
        "fan",
        "hopper",
    )
    sink.close()


def test_queries_and_storing_share_the_connection_from_many_threads(tmp_path: Path) -> None:
    sink = historian(tmp_path)
    shape = table(20)
    rows = ramp(shape, 3000, step_ns=SECOND_NS // 10)
    faults: list[BaseException] = []
    seen: list[int] = []

    def ask() -> None:
        try:
            while len(seen) < 100 or seen[-1] < 3000:
                found = sink.query("hopper", "c7", 0, START_NS + DAY_NS, 6000)
                values = [p.value for p in found.points]
                assert values == list(range(len(values)))  # whole batches, in order
                seen.append(len(values))
        except BaseException as error:
            faults.append(error)

    sink.store(rows[:100])
    threads = [threading.Thread(target=ask) for _ in range(3)]
    for thread in threads:
        thread.start()
    for at in range(100, 3000, 100):
        sink.store(rows[at : at + 100])
    for thread in threads:
        thread.join(30)
    sink.close()
    assert not faults
    assert set(seen) <= set(range(0, 3001, 100))


@pytest.mark.parametrize(("gaps", "most"), [(2, 30), (40, 30), (200, 9)])
def test_fewer_texts_keep_gaps_and_what_ends_them(gaps: int, most: int) -> None:
    collector = Collector("str", 0, 1000, most)
    at = set(np.linspace(3, 996, gaps).astype(int).tolist())
    collector.add(
        Point(i, None, "BAD:timeout") if i in at else Point(i, f"t{i}") for i in range(1000)
    )
    found = collector.result()
    assert len(found) <= most
    assert collector.decimated
    shown = [i for i, p in enumerate(found) if p.value is None]
    assert len(shown) >= min(gaps, most // 3)
    assert all(found[i + 1].time_ns == found[i].time_ns + 1 for i in shown)
