"""Storing in the historian: kinds, quality, thinning, dead bands."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from pydantic import ValidationError

from gateway.errors import GatewayError
from gateway.model import ALL, Column, Kind, Mark, Quality, Scalar, bad, bad_row
from gateway.sinks import Selected
from gateway.sinks.historian.sink import HistorianConfig
from tests.sinks.historykit import SECOND_NS, START_NS, historian, ramp, row, sql, table

EXTREMES: dict[Kind, list[Scalar]] = {
    "f4": [0.0, -0.0, 408.35, 3.4028234663852886e38, -1e-45, 16777216.0],
    "f8": [0.1 + 0.2, 1.7976931348623157e308, -1.7976931348623157e308, 5e-324, -0.0],
    "i8": [0, -1, 2**63 - 1, -(2**63), 9007199254740993],
    "u8": [0, 1, 2**63 - 1, 2**63, 2**64 - 1],
    "b1": [True, False],
    "str": ["", "0012", "1e5", "ä\"'\n\x00z", "x" * 5000, "\U0001f525"],
}


@pytest.mark.parametrize("kind", EXTREMES)
def test_every_kind_comes_back_exactly(tmp_path: Path, kind: Kind) -> None:
    shape = table([Column("v", kind, "u")])
    sink = historian(tmp_path)
    rows = [row(shape, START_NS + i, [v]) for i, v in enumerate(EXTREMES[kind])]
    sink.store(rows)
    found = sink.query("hopper", "v", START_NS, START_NS + SECOND_NS)
    sink.close()
    assert (found.kind, found.unit, found.resolution) == (kind, "u", "raw")
    values = [p.value for p in found.points]
    if kind == "f4":
        assert values == [s.row.value(0) for s in rows]
        assert 408.35 in values
    else:
        assert values == EXTREMES[kind]
    assert [type(v) for v in values] == [type(v) for v in EXTREMES[kind]]
    assert [p.time_ns for p in found.points] == [s.row.time_ns for s in rows]
    assert {p.quality for p in found.points} == {"GOOD"}


def test_integers_above_2_63_are_stored_as_text(tmp_path: Path) -> None:
    shape = table([Column("v", "u8")])
    sink = historian(tmp_path)
    sink.store([row(shape, START_NS, [2**64 - 1]), row(shape, START_NS + 1, [2**63 - 1])])
    sink.close()
    assert sql(tmp_path, "SELECT typeof(value), value FROM history ORDER BY time_ns") == [
        ("text", str(2**64 - 1)),
        ("integer", 2**63 - 1),
    ]


def test_half_a_surrogate_pair_does_not_stop_the_batch(tmp_path: Path) -> None:
    shape = table([Column("v", "str")])
    sink = historian(tmp_path)
    sink.store([row(shape, START_NS, ["a\ud800b"])])
    assert sink.query("hopper", "v", 0, START_NS).points[0].value == "a?b"
    sink.close()


def test_bad_and_not_finite_values_are_null_with_their_reason(tmp_path: Path) -> None:
    shape = table([Column("a", "f4"), Column("b", "f4"), Column("c", "i8"), Column("d", "f8")])
    sink = historian(tmp_path)
    marks = {0: bad("timeout"), 2: Mark(Quality.UNCERTAIN, "cpu_stop")}
    sink.store([row(shape, START_NS, [1.0, np.nan, 7, np.inf], marks)])
    sink.store([Selected(bad_row(shape, START_NS + 1, "closed"))])
    whole = {ALL: Mark(Quality.UNCERTAIN, "clock")}
    sink.store([row(shape, START_NS + 2, [1.0, 2.0, 3, 4.0], whole)])
    sink.close()
    found = sql(tmp_path, "SELECT tag, value, quality FROM history ORDER BY time_ns, tag")
    assert found == [
        ("a", None, "BAD:timeout"),
        ("b", None, "BAD:nan"),
        ("c", 7, "UNCERTAIN:cpu_stop"),
        ("d", None, "BAD:infinite"),
        *[(tag, None, "BAD:closed") for tag in "abcd"],
        *[(tag, i + 1, "UNCERTAIN:clock") for i, tag in enumerate("abcd")],
    ]


def test_a_column_that_is_not_selected_is_not_stored(tmp_path: Path) -> None:
    shape = table(3)
    sink = historian(tmp_path)
    row_0, row_1 = ramp(shape, 2)
    masks = (np.array([False, True, False]),)
    sink.store([row_0, Selected(row_1.row, masks)])
    sink.close()
    found = sql(tmp_path, "SELECT tag, value FROM history ORDER BY time_ns, tag")
    assert found == [("c0", 0.0), ("c1", 0.0), ("c2", 0.0), ("c1", 1.0)]


@pytest.mark.parametrize(
    ("interval_s", "every_s", "expected_s"),
    [(0.1, 1.0, 1.0), (1.0, 1.0, 1.0), (0.7, 1.0, 1.0), (5.0, 1.0, 5.0), (0.25, 60.0, 60.0)],
)
def test_rows_are_thinned_to_the_interval_in_spite_of_jitter(
    tmp_path: Path, interval_s: float, every_s: float, expected_s: float
) -> None:
    shape = table(1, interval_s=interval_s)
    sink = historian(tmp_path, store_every_s=every_s)
    rng = np.random.default_rng(7)
    count = int(max(100, 5 * every_s) / interval_s)
    rows = [
        row(shape, START_NS + round(i * interval_s * SECOND_NS + rng.normal(0, 2e5)), [float(i)])
        for i in range(count)
    ]
    for at in range(0, count, 30):
        sink.store(rows[at : at + 30])
    stored = sink.status()["raw_values"]
    sink.close()
    assert stored == pytest.approx(count * interval_s / expected_s, rel=0.02, abs=1)


def test_a_row_whose_quality_changes_is_never_thinned(tmp_path: Path) -> None:
    shape = table(1, interval_s=0.1)
    sink = historian(tmp_path, store_every_s=10)
    marks = [None, {0: bad("timeout")}, {0: bad("timeout")}, None, None]
    rows = [row(shape, START_NS + i * SECOND_NS // 10, [1.0], m) for i, m in enumerate(marks)]
    sink.store(rows)
    sink.close()
    found = sql(tmp_path, "SELECT quality FROM history ORDER BY time_ns")
    assert found == [("GOOD",), ("BAD:timeout",), ("GOOD",)]


def test_own_tables_are_never_thinned(tmp_path: Path) -> None:
    shape = table(1, name="gateway_loss", device="gateway", interval_s=0.0)
    sink = historian(tmp_path, store_every_s=3600)
    sink.store(ramp(shape, 20, step_ns=1))
    assert sink.status()["raw_values"] == 20
    sink.close()


def test_a_change_in_a_thinned_row_is_stored_with_the_next_row(tmp_path: Path) -> None:
    shape = table([Column("a", "f8", None, 0.5), Column("b", "f8", None, 0.5)], interval_s=0.1)
    sink = historian(tmp_path, store_every_s=1)
    only_a, only_b = (np.array([True, False]),), (np.array([False, True]),)
    times = [START_NS, START_NS + SECOND_NS // 2, START_NS + SECOND_NS]
    first, thinned, last = (
        row(shape, t, v) for t, v in zip(times, [[0, 0], [9, 0], [9, 5]], strict=True)
    )
    sink.store([first, Selected(thinned.row, only_a), Selected(last.row, only_b)])
    sink.close()
    found = sql(tmp_path, "SELECT time_ns, tag, value FROM history ORDER BY time_ns, tag")
    assert found[2:] == [(times[2], "a", 9.0), (times[2], "b", 5.0)]


@pytest.mark.parametrize("by_close", [True, False])
def test_a_change_in_a_thinned_row_is_stored_where_no_row_follows(
    tmp_path: Path, *, by_close: bool
) -> None:
    shape = table([Column("a", "f8", None, 0.5), Column("b", "f8", None, 0.5)], interval_s=0.1)
    other = table(1, name="other")
    sink = historian(tmp_path, store_every_s=1)
    time_ns = START_NS + SECOND_NS // 2
    thinned = Selected(row(shape, time_ns, [9, 0]).row, (np.array([True, False]),))
    sink.store([row(shape, START_NS, [0, 0]), thinned])
    if not by_close:
        sink.store(ramp(other, 1, START_NS + 3 * SECOND_NS))
        found = sink.query("hopper", "a", 0, START_NS + 9 * SECOND_NS)
        assert [p[:2] for p in found.points] == [(START_NS, 0.0), (time_ns, 9.0)]
    sink.close()
    found = sql(tmp_path, "SELECT time_ns, tag, value FROM history WHERE tag = 'a' ORDER BY 1")
    assert found == [(START_NS, "a", 0.0), (time_ns, "a", 9.0)]


def test_a_bad_column_outside_the_dead_band_selection_is_stored_when_it_turns_bad(
    tmp_path: Path,
) -> None:
    shape = table([Column("a", "f8", None, 0.5), Column("b", "f8", None, 0.5)])
    sink = historian(tmp_path)
    only_a = (np.array([True, False]),)
    turned = row(shape, START_NS + 1, [1, 1], {1: bad("code_5")})
    sink.store([row(shape, START_NS, [1, 1]), Selected(turned.row, only_a)])
    sink.close()
    found = sql(tmp_path, "SELECT tag, quality FROM history WHERE time_ns = ?", START_NS + 1)
    assert sorted(found) == [("a", "GOOD"), ("b", "BAD:code_5")]


def test_a_series_goes_on_after_a_restart_with_other_tags(tmp_path: Path) -> None:
    for columns in (["a", "b"], ["new", "b"], ["a"]):
        sink = historian(tmp_path)
        shape = table([Column(c, "f8") for c in columns])
        sink.store(ramp(shape, 1, START_NS + len(columns)))
        sink.close()
    found = sql(tmp_path, "SELECT tag, position FROM series ORDER BY position")
    assert found == [("a", 0), ("b", 1), ("new", 2)]
    assert sql(tmp_path, "SELECT count(*) FROM source") == [(1,)]
    assert sql(tmp_path, "SELECT count(*) FROM history") == [(5,)]


def test_a_copy_is_consistent_and_stands_alone(tmp_path: Path) -> None:
    sink = historian(tmp_path)
    sink.store(ramp(table(50), 200))
    sink.copy_to(tmp_path / "copy.db")
    sink.store(ramp(table(50), 5, START_NS + 10**12))
    with pytest.raises(GatewayError, match="exists"):
        sink.copy_to(tmp_path / "copy.db")
    (tmp_path / "copy").mkdir()
    (tmp_path / "copy.db").rename(tmp_path / "copy" / "history.db")
    assert sql(tmp_path / "copy", "SELECT count(*) FROM history") == [(10_000,)]
    assert [f.name for f in (tmp_path / "copy").iterdir()] == ["history.db"]
    sink.close()


def test_settings_that_make_no_sense_are_refused() -> None:
    for key, value in [("retention_days", 0), ("max_bytes", "1MB"), ("store_every_s", -1)]:
        with pytest.raises(ValidationError, match=key):
            HistorianConfig.model_validate({"type": "sqlite", key: value})
    assert HistorianConfig.model_validate({"max_bytes": "2GB"}).max_bytes == 2_000_000_000


def test_a_row_of_mixed_kinds_has_one_time(tmp_path: Path) -> None:
    mixed = [Column("b", "b1"), Column("f", "f4"), Column("i", "i8"), Column("f2", "f4")]
    shape = table(mixed)
    sink = historian(tmp_path)
    sink.store([row(shape, START_NS, [True, 1.5, 3, 2.5])])
    sink.close()
    assert sql(tmp_path, "SELECT DISTINCT time_ns, time FROM history") == [
        (START_NS, "2026-09-21 14:14:00.000")
    ]
    stored = dict(sql(tmp_path, "SELECT tag, value FROM history"))
    assert stored == {"b": 1, "f": 1.5, "i": 3, "f2": 2.5}
