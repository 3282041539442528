"""The historian's retention by age and by size, on a virtual clock."""

from __future__ import annotations

import re
import sqlite3
from pathlib import Path

import numpy as np
import pytest

from gateway.model import Column, Row
from gateway.sinks import Selected
from gateway.sinks.historian.retention import LEAST_DELETED
from gateway.sinks.historian.sink import HistorianSink, days_that_fit
from tests.sinks.historykit import (
    DAY_NS,
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

MB = 1_000_000


def on_disk(folder: Path) -> int:
    return sum(f.stat().st_size for f in folder.iterdir())


def noise(columns: int, count: int, from_ns: int, step_ns: int = SECOND_NS) -> list[Selected]:
    shape = table([Column(f"c{i}", "f4") for i in range(columns)])
    rng = np.random.default_rng(from_ns % 1000)
    return [
        Selected(Row(shape, from_ns + i * step_ns, (rng.random(columns).astype("f4"),)))
        for i in range(count)
    ]


def fill(sink: HistorianSink, clock: Clock, folder: Path, minutes: int, columns: int) -> int:
    """Store for so long; the most bytes that were on disk after any batch."""
    shape = table([Column(f"c{i}", "f4") for i in range(columns)])
    rng = np.random.default_rng(1)
    most = 0
    for _ in range(minutes):
        rows = []
        for _ in range(60):
            rows.append(Selected(Row(shape, clock.now_ns, (rng.random(columns).astype("f4"),))))
            clock.now_ns += SECOND_NS
        sink.store(rows)
        most = max(most, on_disk(folder))
    return most


def test_raw_rows_go_by_age_and_minutes_ten_times_later(tmp_path: Path) -> None:
    clock = Clock()
    sink = historian(tmp_path, clock, retention_days=1)
    shape = table(2)
    for day in range(14):
        clock.now_ns = START_NS + day * DAY_NS
        sink.store(ramp(shape, 10, clock.now_ns))
    sink.close()
    kept = {(t - START_NS) // DAY_NS for (t,) in sql(tmp_path, "SELECT time_ns FROM row_time")}
    assert kept == {12, 13}
    first = START_NS // MINUTE_NS
    found = sql(tmp_path, "SELECT DISTINCT (minute - ?) / 1440 FROM history_minute", first)
    assert {day for (day,) in found} == set(range(3, 14))
    assert sql(tmp_path, "SELECT samples, minute_samples FROM state") == [(40, 22)]
    assert sql(tmp_path, "SELECT count(*) FROM sample") == [(40,)]
    assert sql(tmp_path, "SELECT count(*) FROM minute_sample") == [(22,)]


def test_a_clock_that_jumps_ahead_deletes_nothing_also_after_a_restart(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    clock = Clock()
    shape = table(4)
    sink = historian(tmp_path, clock, retention_days=30)
    sink.store(ramp(shape, 500))
    clock.jump(40 * DAY_NS)
    sink.store(ramp(shape, 1, clock.now_ns))
    sink.close()
    sink = historian(tmp_path, clock, retention_days=30)
    sink.store(ramp(shape, 1, clock.now_ns + 1))
    assert sink.status()["raw_values"] == 502 * 4
    clock.jump(-40 * DAY_NS)
    sink.store(ramp(shape, 1, clock.now_ns + 1))
    sink.close()
    assert sql(tmp_path, "SELECT count(*) FROM row_time") == [(503,)]
    assert "+40.0 days off" in caplog.text


def test_after_weeks_off_age_counts_again_after_a_day_of_running(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    clock = Clock()
    shape = table(4)
    sink = historian(tmp_path, clock, retention_days=30)
    sink.store(ramp(shape, 500))
    sink.close()
    clock.jump(40 * DAY_NS)
    kept = []
    for _ in range(4):  # a restart every eight hours
        sink = historian(tmp_path, clock, retention_days=30)
        sink.store(ramp(shape, 1, clock.now_ns + 1))
        clock.now_ns += DAY_NS // 3
        sink.store(ramp(shape, 1, clock.now_ns))
        kept.append(sink.status()["raw_values"] // 4)
        sink.close()
    assert kept == [502, 504, 6, 8]
    assert "are older than retention_days" in caplog.text


def test_a_file_without_a_trusted_time_is_as_old_as_its_newest_row(tmp_path: Path) -> None:
    clock = Clock()
    sink = historian(tmp_path, clock, retention_days=30)
    sink.store(ramp(table(4), 10))
    sink.close()
    file = sqlite3.connect(tmp_path / "history.db")
    for column in ("trusted_ns", "doubted_ns", "doubted_for_ns"):
        file.execute(f"ALTER TABLE state DROP COLUMN {column}")
    file.close()
    clock.jump(40 * DAY_NS)
    sink = historian(tmp_path, clock, retention_days=30)
    sink.store(ramp(table(4), 1, clock.now_ns))
    sink.close()
    assert sql(tmp_path, "SELECT count(*) FROM row_time") == [(11,)]


def test_an_age_that_is_due_is_worked_off_in_small_pieces(tmp_path: Path) -> None:
    clock = Clock()
    sink = historian(tmp_path, clock, retention_days=1)
    sink.store(noise(100, 600, START_NS))
    clock.now_ns = START_NS + 2 * DAY_NS
    counts = []
    for i in range(4):
        sink.store(ramp(table(1, "other"), 1, clock.now_ns + i))
        counts.append(sink.status()["raw_values"])
    sink.close()
    assert counts == [60_000 - LEAST_DELETED + 1, 60_000 - 2 * LEAST_DELETED + 2, 3, 4]


def test_a_full_file_gives_up_its_oldest_rows_and_stays_below_its_bound(tmp_path: Path) -> None:
    clock = Clock()
    sink = historian(tmp_path, clock, max_bytes="8MB")
    most = fill(sink, clock, tmp_path, 40, 400)
    status = sink.status()
    sink.close()
    assert most <= 8 * MB
    assert status["raw_values"] * 22 > 0.3 * 8 * MB
    times = [t for (t,) in sql(tmp_path, "SELECT time_ns FROM row_time ORDER BY id")]
    assert times == list(range(times[0], clock.now_ns, SECOND_NS))  # the newest, without a hole
    (minutes,) = sql(tmp_path, "SELECT count(DISTINCT minute) FROM history_minute")[0]
    assert minutes == 40
    assert sql(tmp_path, "SELECT samples FROM state") == sql(
        tmp_path, "SELECT count(*) FROM sample"
    )
    assert sql(tmp_path, "PRAGMA integrity_check") == [("ok",)]


def test_minutes_give_way_once_raw_rows_are_down_to_half(tmp_path: Path) -> None:
    clock = Clock()
    sink = historian(tmp_path, clock, max_bytes="8MB", store_every_s=20)
    most = fill(sink, clock, tmp_path, 130, 1500)
    found = sink.query("hopper", "c7", START_NS, clock.now_ns)
    sink.close()
    assert most <= 8 * MB
    ((raw, minutes),) = sql(tmp_path, "SELECT samples, minute_samples FROM state")
    assert 0.3 * 8 * MB < raw * 22 < 0.6 * 8 * MB
    assert 0.1 * 8 * MB < minutes * 41 < 0.6 * 8 * MB
    assert (found.resolution, found.truncated) == ("minute", True)
    first_raw = sql(tmp_path, "SELECT min(time_ns) FROM row_time")[0][0] // MINUTE_NS
    first_minute = sql(tmp_path, "SELECT min(minute) FROM history_minute")[0][0]
    first_index = sql(tmp_path, "SELECT min(minute) FROM minute_time")[0][0]
    assert first_minute > START_NS // MINUTE_NS
    assert first_index <= min(first_raw, first_minute)


def test_raw_rows_whose_minutes_are_gone_are_still_found(tmp_path: Path) -> None:
    clock = Clock()
    sink = historian(tmp_path, clock, max_bytes="8MB", store_every_s=60)
    fill(sink, clock, tmp_path, 120, 1500)  # a minute is one raw row: roll-ups are the larger part
    found = sink.query("hopper", "c7", clock.now_ns - 60 * MINUTE_NS, clock.now_ns)
    sink.close()
    first_raw = sql(tmp_path, "SELECT min(time_ns) FROM row_time")[0][0]
    first_minute = sql(tmp_path, "SELECT min(minute) FROM history_minute")[0][0]
    assert first_minute * MINUTE_NS > first_raw + 2 * MINUTE_NS
    assert found.resolution == "raw"
    assert len(found.points) == pytest.approx(60, abs=1)


def test_a_smaller_bound_shrinks_the_file_and_loses_nothing_newer(tmp_path: Path) -> None:
    clock = Clock()
    sink = historian(tmp_path, clock, max_bytes="40MB")
    fill(sink, clock, tmp_path, 20, 800)
    sink.close()
    assert on_disk(tmp_path) > 18 * MB
    sink = historian(tmp_path, clock, max_bytes="8MB")
    for _ in range(30):
        fill(sink, clock, tmp_path, 1, 10)
    sink.close()
    assert on_disk(tmp_path) <= 8 * MB
    assert sql(tmp_path, "SELECT count(*) FROM history WHERE tag = 'c7'")[0][0] > 30 * 60
    assert sql(tmp_path, "PRAGMA integrity_check") == [("ok",)]


def test_long_texts_count_for_the_bound(tmp_path: Path) -> None:
    clock = Clock()
    sink = historian(tmp_path, clock, max_bytes="8MB")
    shape = table([Column("t", "str")])
    for batch in range(30):
        sink.store([row(shape, START_NS + batch * 100 + i, ["x" * 20_000]) for i in range(50)])
        assert on_disk(tmp_path) <= 8 * MB
    assert sink.status()["raw_values"] >= 100
    sink.close()


def test_days_that_fit_is_what_the_file_really_holds(tmp_path: Path) -> None:
    sink = historian(tmp_path)
    for begin in range(0, 4000, 1000):
        sink.store(noise(50, 1000, START_NS + begin * SECOND_NS))
    measured = sink.bytes_per_value()
    status = sink.status()
    sink.close()
    assert measured is not None
    assert 50 * 86_400 * measured * days_that_fit(50, 10**9, 50) == pytest.approx(5e8, rel=0.1)
    assert status["bytes"] == pytest.approx(4000 * 50 * 22, abs=1.5e6)  # its WAL included
    assert status["raw_from_ns"] == START_NS
    assert status["raw_to_ns"] == START_NS + 3999 * SECOND_NS
    readme = Path(__file__).parents[2] / "gateway" / "sinks" / "historian" / "README.md"
    stated = re.search(r"A float takes ([\d.]+) bytes", readme.read_text("utf-8"))
    assert stated is not None
    # a young file has shorter row numbers
    assert float(stated[1]) == pytest.approx(measured, rel=0.12)
