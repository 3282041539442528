"""Which values of a row go out."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from gateway.model import ALL, Column, Mark, Quality, Row, Table, bad, bad_row, make_parts
from gateway.sinks import Selected
from gateway.writer.deadband import Deadband

S = 1_000_000_000


def table(*columns: Column) -> Table:
    return Table("m", "d", columns)


def sent(selected: Selected | None) -> set[str]:
    """Names of the columns that go out."""
    if selected is None:
        return set()
    t = selected.row.table
    masks = selected.masks or (None,) * len(t.parts)
    return {
        t.columns[c]
        for part, mask in zip(t.parts, masks, strict=True)
        for i, c in enumerate(part.columns)
        if mask is None or mask[i]
    }


def row(t: Table, time_s: float, *values: Any, marks: dict[int, Mark] | None = None) -> Row:
    return Row(t, int(time_s * S), make_parts(t, values), marks)


def test_a_table_without_dead_bands_passes_untouched() -> None:
    t = table(Column("a", "f4"), Column("s", "str"))
    deadband = Deadband()
    for at in range(3):
        selected = deadband.select(row(t, at, 1.0, "x"))
        assert selected is not None
        assert selected.masks is None


def test_only_a_change_of_more_than_the_dead_band_is_sent_against_what_was_sent_last() -> None:
    t = table(Column("a", "f8", deadband=1.0))
    deadband = Deadband()
    values = [10.0, 10.9, 11.0, 11.1, 10.2, 10.0]
    assert [bool(sent(deadband.select(row(t, i, v)))) for i, v in enumerate(values)] == [
        True,
        False,
        False,
        True,
        False,
        True,
    ]


def test_columns_without_a_dead_band_bools_and_texts_always_go() -> None:
    t = table(
        Column("a", "f4", deadband=1.0), Column("b", "f4"), Column("on", "b1"), Column("s", "str")
    )
    deadband = Deadband()
    deadband.select(row(t, 0, 1.0, 1.0, True, "x"))
    assert sent(deadband.select(row(t, 1, 1.0, 1.0, True, "x"))) == {"b", "on", "s"}


def test_a_dead_band_of_zero_sends_any_change_of_large_integers_too() -> None:
    t = table(Column("n", "u8", deadband=0.0))
    deadband = Deadband()
    values = [2**63, 2**63 + 1, 2**63 + 1, 2**63]
    assert [bool(sent(deadband.select(row(t, i, v)))) for i, v in enumerate(values)] == [
        True,
        True,
        False,
        True,
    ]


def test_silence_is_bounded_by_the_time_of_the_rows() -> None:
    t = table(Column("a", "f4", deadband=1.0, max_silence_s=10), Column("b", "f4", deadband=1.0))
    deadband = Deadband()
    deadband.select(row(t, 0, 1.0, 1.0))
    assert sent(deadband.select(row(t, 9.9, 1.0, 1.0))) == set()
    assert sent(deadband.select(row(t, 10, 1.0, 1.0))) == {"a"}
    assert sent(deadband.select(row(t, 19.9, 1.0, 1.0))) == set()
    assert sent(deadband.select(row(t, 60, 1.0, 1.0))) == {"a", "b"}


def test_a_clock_that_went_back_does_not_silence() -> None:
    t = table(Column("a", "f4", deadband=1.0))
    deadband = Deadband()
    deadband.select(row(t, 1000, 1.0))
    assert sent(deadband.select(row(t, 500, 1.0))) == {"a"}


def test_any_change_of_quality_sends_the_whole_row() -> None:
    t = table(Column("a", "f4", deadband=1.0), Column("b", "f4", deadband=1.0))
    deadband = Deadband()
    deadband.select(row(t, 0, 1.0, 1.0))
    marks = {0: bad("nan")}
    assert sent(deadband.select(row(t, 1, 1.0, 1.0, marks=marks))) == {"a", "b"}
    assert sent(deadband.select(row(t, 2, 1.0, 1.0, marks=dict(marks)))) == set()
    assert sent(deadband.select(row(t, 3, 1.0, 1.0, marks={0: bad("late")}))) == {"a", "b"}
    assert sent(deadband.select(row(t, 4, 1.0, 1.0))) == {"a", "b"}
    whole = {ALL: Mark(Quality.UNCERTAIN, "cpu_stop")}
    assert sent(deadband.select(row(t, 5, 1.0, 1.0, marks=whole))) == {"a", "b"}
    assert deadband.select(bad_row(t, 6 * S, "timeout")) is not None
    assert sent(deadband.select(row(t, 7, 1.0, 1.0))) == {"a", "b"}


def test_an_endless_silence_is_no_fault() -> None:
    t = table(Column("a", "f4", deadband=1.0, max_silence_s=1e300))
    deadband = Deadband()
    deadband.select(row(t, 0, 1.0))
    assert sent(deadband.select(row(t, 1e9, 1.0))) == set()


def test_after_a_reset_everything_goes_again() -> None:
    t, other = table(Column("a", "f4", deadband=1.0)), table(Column("a", "f4", deadband=1.0))
    deadband = Deadband()
    for each in (t, other):
        deadband.select(row(each, 0, 1.0))
    deadband.reset(t)
    assert sent(deadband.select(row(t, 1, 1.0))) == {"a"}
    assert sent(deadband.select(row(other, 1, 1.0))) == set()
    deadband.reset()
    assert sent(deadband.select(row(other, 2, 1.0))) == {"a"}


@given(
    st.lists(st.floats(-1e6, 1e6, width=32), min_size=1, max_size=60),
    st.floats(0, 1e5),
    st.floats(0.5, 20),
)
def test_what_was_sent_last_is_never_further_than_the_dead_band_nor_older_than_the_silence(
    values: list[float], band: float, silence_s: float
) -> None:
    t = table(Column("a", "f4", deadband=band, max_silence_s=silence_s))
    deadband = Deadband()
    last, at = np.float32(0), -1e9
    for i, value in enumerate(np.array(values, "f4")):
        if sent(deadband.select(Row(t, i * S, (np.array([value]),)))):
            last, at = value, i
        assert abs(float(value) - float(last)) <= band
        assert i - at < silence_s
