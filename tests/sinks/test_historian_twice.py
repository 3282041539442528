"""A row that comes again is in the historian's file once, whatever lies between the two."""

from __future__ import annotations

import random
import sqlite3
from pathlib import Path

import numpy as np
import pytest

from gateway.model import Column, Row, Selected, Table, bad
from gateway.sinks.historian import HistorianSink
from tests.sinks.historykit import (
    MINUTE_NS,
    SECOND_NS,
    START_NS,
    Clock,
    historian,
    ramp,
    row,
    sql,
    table,
)

COUNT = "SELECT count(*) FROM sample"
TWICE = "SELECT count(*) FROM (SELECT 1 FROM row_time GROUP BY source, time_ns HAVING count(*) > 1)"
MINUTES = "SELECT sum(count), sum(bad) FROM minute_sample"


def known(sink: HistorianSink) -> int:
    return int(sink.status()["rows_known_already"])


@pytest.mark.parametrize("reopened", [False, True])
def test_a_batch_that_comes_again_is_stored_once_and_counted_once(
    tmp_path: Path, reopened: bool
) -> None:
    clock = Clock()
    batch = [*ramp(table(3), 200), *ramp(table(2, "other"), 200)]
    sink = historian(tmp_path, clock)
    sink.store(batch)
    if reopened:
        sink.close()
        sink = historian(tmp_path, clock)
    sink.store(list(batch))
    # part of it, and what comes after
    again = ramp(table(3), 250)[150:]
    sink.store([Selected(Row(s.row.table, s.row.time_ns, s.row.parts)) for s in again])
    assert known(sink) == 450
    sink.close()
    assert sql(tmp_path, COUNT) == [(250 * 3 + 200 * 2,)]
    assert sql(tmp_path, TWICE) == [(0,)]
    assert sql(tmp_path, MINUTES) == [(250 * 3 + 200 * 2, 0)]


def test_the_same_row_twice_in_one_batch(tmp_path: Path) -> None:
    sink = historian(tmp_path)
    shape = table(2)
    sink.store(ramp(shape, 10) + ramp(shape, 10) + ramp(shape, 20)[5:])
    assert known(sink) == 15
    sink.close()
    assert sql(tmp_path, COUNT) == [(40,)]


def test_another_row_of_the_same_time_is_no_row_that_comes_again(tmp_path: Path) -> None:
    sink = historian(tmp_path)
    shape = table(2)
    for _ in range(2):
        sink.store([row(shape, START_NS, (1.0, 2.0)), row(shape, START_NS, (1.0, 3.0))])
        sink.store([row(table(2, device="crusher"), START_NS, (1.0, 2.0))])
        sink.store([row(shape, START_NS, (float("nan"), 2.0))])
    assert known(sink) == 4
    sink.close()
    assert sql(tmp_path, COUNT) == [(8,)]


def test_all_kinds_of_values_are_told_to_be_the_same(tmp_path: Path) -> None:
    kinds = ("f4", "f8", "i8", "u8", "b1", "str")
    shape = Table("t", "d", [Column(k, k) for k in kinds], (("gateway", "g"), ("device", "d")))  # type: ignore[arg-type]
    values = (408.35, 1 / 3, -(2**63), 2**64 - 1, True, 'ä"\\')
    batch = [
        row(shape, START_NS, values),
        row(shape, START_NS + 1, values, {0: bad("timeout")}),
        row(shape, START_NS + 2, values),
    ]
    for _ in range(3):
        sink = historian(tmp_path)
        sink.store(batch)
        sink.close()
    assert sql(tmp_path, COUNT) == [(18,)]


def test_what_thinning_left_out_is_left_out_again(tmp_path: Path) -> None:
    clock = Clock()
    sink = historian(tmp_path, clock, store_every_s=1)
    batch = ramp(table(2, interval_s=0.1), 600, step_ns=SECOND_NS // 10)
    sink.store(batch)
    before = sink.status()["raw_values"]
    sink.store(list(batch))
    assert known(sink) == 600
    assert sink.status()["raw_values"] == before
    sink.close()
    assert sql(tmp_path, MINUTES) == [(1200, 0)]


def test_rows_in_any_order_from_several_places_each_once(tmp_path: Path) -> None:
    """Live rows and those of outages in turn, some again, with restarts in between."""
    rng = random.Random(5)
    clock = Clock()
    shapes = [table(2, device=f"d{n}") for n in range(3)]
    minutes = 6
    wanted = {(n, at) for n in range(3) for at in range(0, minutes * 60)}
    todo = sorted(wanted, key=lambda key: (key[1] // 40 * rng.random(), key))
    sink = historian(tmp_path, clock)
    sent: list[tuple[int, int]] = []
    while todo:
        batch, todo = todo[:50], todo[50:]
        batch += rng.sample(sent, min(len(sent), rng.randrange(30)))
        rng.shuffle(batch)
        sink.store(
            [
                Selected(Row(shapes[n], START_NS + at * SECOND_NS, (np.full(2, float(at)),)))
                for n, at in batch
            ]
        )
        sent += batch
        if rng.random() < 0.2:
            sink.close()
            sink = historian(tmp_path, clock)
    sink.close()
    assert sql(tmp_path, "SELECT count(*) FROM row_time") == [(len(wanted),)]
    assert sql(tmp_path, TWICE) == [(0,)]
    assert sql(tmp_path, MINUTES) == [(2 * len(wanted), 0)]


def test_a_file_of_before_takes_no_row_twice(tmp_path: Path) -> None:
    """Whose minutes were left out by a kill; nothing in it is changed but what is added."""
    clock = Clock()
    batch = ramp(table(2), 300)
    sink = historian(tmp_path, clock)
    sink.store(batch)
    copy = tmp_path / "killed"
    copy.mkdir()
    sink.copy_to(copy / "history.db")
    sink.close()
    before = sqlite3.connect(copy / "history.db")
    schema = before.execute("SELECT sql FROM sqlite_schema ORDER BY name").fetchall()
    before.close()
    sink = historian(copy, clock)
    sink.store(list(batch))
    assert known(sink) == 300
    sink.close()
    assert sql(copy, COUNT) == [(600,)]
    assert sql(copy, "SELECT sql FROM sqlite_schema ORDER BY name") == schema


def test_a_clock_that_was_ahead_makes_no_row_look_known(tmp_path: Path) -> None:
    clock = Clock()
    shape = table(1)
    sink = historian(tmp_path, clock)
    sink.store(ramp(shape, 5, START_NS + 1000 * MINUTE_NS))
    for n in range(5):
        sink.store(ramp(shape, 10, START_NS + n * 10 * SECOND_NS))
    assert known(sink) == 0
    sink.close()
    assert sql(tmp_path, COUNT) == [(55,)]
