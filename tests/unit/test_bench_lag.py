"""The calculation of docs/scale.md: no row comes or goes, and cases that one can do by hand."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.bench.lag import Fleet, main, simulate, table
from tests.support import ROOT

SMALL = Fleet(
    gateways=4, region=2, outage_s=10, rows_s=1, line_rows_s=6, writers=1, writer_rows_s=8,
    row_bytes=100, redis_bytes=1_000_000, trim_every_s=1,
)  # fmt: skip


def with_(**changes: int) -> Fleet:
    return Fleet(**{**vars(SMALL), **changes})


def test_a_case_done_by_hand() -> None:
    """Two gateways have 10 rows each when they are back; 2 others send 1 a second each.

    second: spools of both, into Redis (2 x 6 of the region, 2 of the others), 8 stored, lag
         1:        22 -> 10,       14,  peak 14,  lag 6
         2:        12 ->  0,       14,  peak 20,  lag 12
         3:         2 ->  0,        4,  peak 16,  lag 8
         4:                         4,  peak 12,  lag 4
         5:                         4,  peak  8,  lag 0
    """
    got = simulate(SMALL)
    assert got.spools_empty_s == 2
    assert got.drained_s == 5
    assert got.peak_lag_rows == 20
    assert got.peak_lag_s == 20 / 8
    assert got.peak_redis_bytes == 2000
    assert got.peak_spool_rows == 11
    assert not got.was_redis_full
    assert got.rows == got.stored == 4 * 15


def test_what_redis_cannot_hold_waits_in_the_spools() -> None:
    got = simulate(with_(redis_bytes=1000))
    assert got.was_redis_full
    assert got.peak_lag_rows <= 10
    assert got.peak_redis_bytes <= 1000
    assert got.rows == got.stored
    assert got.drained_s == simulate(SMALL).drained_s, "the writers are as busy as before"


def test_stored_rows_count_until_they_are_trimmed() -> None:
    assert simulate(with_(trim_every_s=100)).peak_redis_bytes > 2000


def test_writers_that_are_too_few_never_catch_up() -> None:
    got = simulate(with_(writer_rows_s=3), longest_s=500)
    assert got.drained_s is None
    assert got.spools_empty_s is not None
    assert got.rows - got.stored > 500


def test_a_line_that_is_too_thin_never_empties_its_spool() -> None:
    got = simulate(with_(line_rows_s=1), longest_s=500)
    assert (got.spools_empty_s, got.drained_s) == (None, None)


def test_nothing_is_late_where_nothing_was_cut_off() -> None:
    got = simulate(with_(region=0))
    assert (got.drained_s, got.peak_lag_rows, got.peak_spool_rows) == (1, 4, 0)


numbers = st.integers(1, 50)


@given(numbers, st.integers(0, 50), st.integers(0, 60), numbers, numbers, numbers, numbers, numbers)
def test_no_row_comes_or_goes(
    gateways: int, region: int, outage_s: int, rows_s: int, line: int, stores: int, redis: int,
    trim_every_s: int,
) -> None:  # fmt: skip
    """`simulate` looks at it in every step; here that nothing is left where it says so."""
    fleet = Fleet(
        gateways=gateways, region=min(region, gateways), outage_s=outage_s, rows_s=rows_s,
        line_rows_s=line, writers=2, writer_rows_s=10 * stores, row_bytes=10,
        redis_bytes=1000 * redis, trim_every_s=trim_every_s,
    )  # fmt: skip
    got = simulate(fleet, longest_s=200)
    assert got.stored <= got.rows
    assert got.peak_redis_bytes <= fleet.redis_bytes
    if got.drained_s is not None:
        assert got.rows == got.stored == (outage_s + got.drained_s) * gateways * rows_s
        assert got.spools_empty_s is not None
        assert got.spools_empty_s <= got.drained_s
    assert simulate(fleet, longest_s=200) == got


@pytest.mark.parametrize("changes", [{"region": 5}, {"writers": 0}, {"outage_s": -1}])
def test_numbers_that_make_no_fleet_are_refused(changes: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="expected"):
        simulate(with_(**changes))


def test_the_table_is_made_from_the_command_line(capsys: pytest.CaptureFixture[str]) -> None:
    main(["--gateways", "10", "--region", "5", "--outage-s", "60", "--writers", "1"])
    out = capsys.readouterr().out.splitlines()
    assert out == table([Fleet(gateways=10, region=5, outage_s=60, writers=1)])
    assert out[2].startswith("| 10, 5, 60 s | 1 | 4 GB | 610 rows |")


def test_the_page_shows_what_is_calculated() -> None:
    page = (ROOT / "docs" / "scale.md").read_text("utf-8")
    assert "\n".join(table()) in page
