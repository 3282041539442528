"""The historian's one-minute roll-ups, against numpy on what was stored."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gateway.model import Column, Kind, Row, bad
from gateway.sinks import Selected
from tests.sinks.historykit import MINUTE_NS, SECOND_NS, START_NS, historian, ramp, row, sql, table

FIGURES = "SELECT tag, minute, min, mean, max, count, bad FROM history_minute ORDER BY 1, 2"


def expected(folder: Path) -> list[tuple[Any, ...]]:
    """What numpy makes of the raw rows of the file."""
    groups: dict[tuple[str, int], list[Any]] = {}
    for tag, time_ns, value in sql(folder, "SELECT tag, time_ns, value FROM history"):
        groups.setdefault((tag, time_ns // MINUTE_NS), []).append(value)
    out = []
    for (tag, minute), values in sorted(groups.items()):
        there = np.array([v for v in values if v is not None], dtype="f8")
        figures = (there.min(), there.mean(), there.max()) if len(there) else (None,) * 3
        out.append((tag, minute, *figures, len(there), len(values) - len(there)))
    return out


def same(found: list[tuple[Any, ...]], wanted: list[tuple[Any, ...]]) -> None:
    assert len(found) == len(wanted)
    for one, other in zip(found, wanted, strict=True):
        assert one[:2] == other[:2]
        assert one[5:] == other[5:]
        assert one[2:5] == pytest.approx(other[2:5], rel=1e-6, abs=1e-30)


def noisy_rows(count: int, seed: int) -> list[Selected]:
    """Rows of five columns in two tables, some BAD, some not finite, 0.4 s apart."""
    rng = np.random.default_rng(seed)
    kinds: list[Kind] = ["f4", "f8", "i8", "b1"]
    shapes = [
        table([Column(f"{name}_{k}", k) for k in kinds] + [Column(f"{name}_n", "f4")], name)
        for name in ("one", "two")
    ]
    rows = []
    for i in range(count):
        shape = shapes[int(rng.integers(2))]
        values = [
            *(rng.normal(0, 1000, 2)),
            int(rng.integers(-(2**62), 2**62)),
            bool(rng.integers(2)),
            np.nan if rng.random() < 0.2 else 7.25,
        ]
        marks = {int(rng.integers(5)): bad("timeout")} if rng.random() < 0.3 else None
        rows.append(row(shape, START_NS + i * 2 * SECOND_NS // 5, values, marks))
    return rows


def test_roll_ups_equal_numpy_on_the_raw_rows(tmp_path: Path) -> None:
    sink = historian(tmp_path)
    rows = noisy_rows(1500, 3)
    for at in range(0, len(rows), 170):
        sink.store(rows[at : at + 170])
    sink.close()
    same(sql(tmp_path, FIGURES), expected(tmp_path))


def abandon(sink: Any) -> None:
    """As a killed process leaves it: what is in memory is gone."""
    sink._connection.close()
    sink._connection = None


def test_after_an_unclean_stop_the_missing_minutes_are_made_of_raw_rows(tmp_path: Path) -> None:
    rows = noisy_rows(1500, 4)
    for begin in range(0, 1500, 500):
        sink = historian(tmp_path)
        for at in range(begin, begin + 500, 100):
            sink.store(rows[at : at + 100])
        abandon(sink)
    sink = historian(tmp_path)
    sink.series()
    sink.close()
    merged = (
        "SELECT tag, minute, min(min), sum(mean * count) / sum(count), max(max), sum(count),"
        " sum(bad) FROM history_minute GROUP BY tag, minute ORDER BY 1, 2"
    )
    same(sql(tmp_path, merged), expected(tmp_path))


@pytest.mark.parametrize("crash", [False, True])
def test_the_largest_integers_keep_all_their_digits_in_roll_ups(
    tmp_path: Path, *, crash: bool
) -> None:
    sink = historian(tmp_path)
    shape = table([Column("a", "u8"), Column("b", "u8"), Column("c", "i8")])
    sink.store(
        [
            row(shape, START_NS, [2**63 + 1, 5, -(2**63)]),
            row(shape, START_NS + 1, [2**64 - 1, 2**63 - 1, 2**63 - 1]),
        ]
    )
    if crash:
        abandon(sink)
        sink = historian(tmp_path)
        sink.series()
    sink.close()
    found = sql(tmp_path, "SELECT tag, min, max, count FROM history_minute ORDER BY tag")
    assert found == [
        ("a", str(2**63 + 1), str(2**64 - 1), 2),
        ("b", 5, 2**63 - 1, 2),
        ("c", -(2**63), 2**63 - 1, 2),
    ]


def test_roll_ups_count_the_rows_that_are_thinned_away(tmp_path: Path) -> None:
    shape = table(1, interval_s=0.1)
    sink = historian(tmp_path, store_every_s=10)
    rows = ramp(shape, 600, step_ns=SECOND_NS // 10)
    peak = row(shape, rows[333].row.time_ns, [5e6])
    sink.store([*rows[:333], peak, *rows[334:]])
    sink.close()
    assert sql(tmp_path, "SELECT count(*), max(value) FROM history") == [(6, 500.0)]
    assert sql(tmp_path, "SELECT min, max, count FROM history_minute") == [(0.0, 5e6, 600)]


def test_a_mean_of_equal_values_is_that_value_with_its_digits(tmp_path: Path) -> None:
    shape = table([Column("a", "f4"), Column("b", "f8")])
    sink = historian(tmp_path)
    values = [408.35, 0.1]
    sink.store([row(shape, START_NS + i * SECOND_NS, values) for i in range(59)])
    sink.close()
    found = sql(tmp_path, "SELECT min, mean, max FROM history_minute ORDER BY tag")
    assert found == [(v, v, v) for v in values]


def test_the_mean_of_the_largest_numbers_does_not_overflow(tmp_path: Path) -> None:
    shape = table([Column("a", "f8")])
    sink = historian(tmp_path)
    most = 1.7976931348623157e308
    sink.store([row(shape, START_NS + i, [v]) for i, v in enumerate([most, most, -most, -most])])
    sink.close()
    ((low, mean, high),) = sql(tmp_path, "SELECT min, mean, max FROM history_minute")
    assert (low, high) == (-most, most)
    assert abs(mean) < 1e293


def test_text_is_counted_only(tmp_path: Path) -> None:
    sink = historian(tmp_path)
    shape = table([Column("a", "str")])
    sink.store([row(shape, START_NS, ["x"]), row(shape, START_NS + 1, ["y"], {0: bad("code")})])
    sink.close()
    figures = sql(tmp_path, "SELECT min, mean, max, count, bad FROM history_minute")
    assert figures == [(None, None, None, 1, 1)]


def test_an_idle_table_closes_its_minute(tmp_path: Path) -> None:
    sink = historian(tmp_path)
    sink.store(ramp(table(1, "idle"), 1))
    busy = table(1, "busy")
    for minute in range(6):
        sink.store(ramp(busy, 1, START_NS + minute * MINUTE_NS))
    abandon(sink)
    found = sql(tmp_path, "SELECT count FROM history_minute WHERE table_name = 'idle'")
    assert found == [(1,)]


def test_a_retried_batch_is_counted_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The disk says no to a commit that went through after all."""
    failing = [False]

    class Flaky(sqlite3.Connection):
        def execute(self, *args: Any) -> sqlite3.Cursor:
            cursor = super().execute(*args)
            if failing[0] and args[0] == "COMMIT":
                failing[0] = False
                raise sqlite3.OperationalError("disk I/O error")
            return cursor

    connect = sqlite3.connect
    monkeypatch.setattr(sqlite3, "connect", lambda *a, **k: connect(*a, factory=Flaky, **k))
    sink = historian(tmp_path)
    shape = table(2)
    sink.store(ramp(shape, 10))
    rows = ramp(shape, 10, START_NS + MINUTE_NS)
    failing[0] = True
    with pytest.raises(Exception, match="disk I/O error"):
        sink.store(rows)
    sink.store(rows)
    sink.close()
    assert sql(tmp_path, "SELECT count(*) FROM history") == [(40,)]
    same(sql(tmp_path, FIGURES), expected(tmp_path))


def test_all_rows_of_a_bad_table_are_counted_bad(tmp_path: Path) -> None:
    shape = table(2)
    sink = historian(tmp_path)
    lost = [Selected(Row(shape, START_NS + i, (), {-1: bad("timeout")})) for i in range(3)]
    sink.store(lost)
    sink.close()
    assert sql(tmp_path, "SELECT count, bad, min FROM history_minute") == [(0, 3, None)] * 2
