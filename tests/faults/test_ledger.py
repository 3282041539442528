"""The judge itself: each way to lose, double or invent a value must be found."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from tests.faults.ledger import (
    NEAR_NS,
    GivenUp,
    LossRange,
    StoredRow,
    Verdict,
    added,
    reconcile,
)
from tests.sims.counting import Answered

MS = 1_000_000
T0 = 1_700_000_000_000_000_000
ANSWERS = [Answered(n, T0 + 50 * n * MS) for n in range(1, 21)]
STORED = [StoredRow("plc", a.number, a.time_ns + MS) for a in ANSWERS]


def lost(first: int, last: int, rows: int, sink: str = "influx", device: str = "plc") -> LossRange:
    """A loss from the one number to the other."""
    times = T0 + 50 * first * MS, T0 + 50 * last * MS
    return LossRange(sink, device, "counts", *times, rows, "unclean_stop")


def judged(store: list[StoredRow], *losses: LossRange, cuts: Sequence[int] = ()) -> Verdict:
    """The verdict on one sink."""
    cuts_ns = [T0 + 50 * n * MS + 10 * MS for n in cuts]
    return reconcile({"plc": ANSWERS}, store, losses, "influx", cuts_ns=cuts_ns)


def test_all_stored_is_all_right() -> None:
    verdict = judged(STORED)
    assert (verdict.answered, verdict.stored, verdict.lost) == (20, 20, 0)
    assert not verdict.faults


@pytest.mark.parametrize(
    ("store", "losses", "fault"),
    [
        (STORED[:4] + STORED[5:], [], "plc: 5 is lost in silence"),
        (STORED[:4] + STORED[5:], [lost(9, 12, 4)], "plc: 5 is lost in silence"),
        (STORED[:4] + STORED[5:], [lost(4, 6, 3, sink="history")], "plc: 5 is lost in silence"),
        (STORED[:4] + STORED[5:], [lost(4, 6, 3, device="meter")], "plc: 5 is lost in silence"),
        ([*STORED, STORED[3]], [], "plc: 4 is stored 2 times"),
        ([*STORED, StoredRow("plc", 99, T0)], [], "plc: 99 was never answered"),
        ([*STORED[:-1], StoredRow("plc", 20, T0 - 50 * MS)], [], "plc: 20 is -1.05 s off"),
        (STORED[:4] + STORED[12:], [lost(4, 13, 2)], "plc: 8 is one more than"),
        (STORED[:4] + STORED[12:], [lost(4, 13, 2), lost(4, 9, 3)], "plc: 12 is one more than"),
    ],
)
def test_what_is_not_right_is_found(
    store: list[StoredRow], losses: list[LossRange], fault: str
) -> None:
    assert [found for found in judged(store, *losses).faults if found.startswith(fault)]


def test_what_is_named_is_counted_by_its_cause() -> None:
    verdict = judged(STORED[:4] + STORED[7:], lost(5, 7, 3))
    assert verdict.named == {"unclean_stop": 3}
    assert not verdict.faults


def test_only_the_last_answer_before_a_cut_may_be_in_flight() -> None:
    assert judged(STORED[:9] + STORED[10:], cuts=[10]).in_flight == 0
    # the cut's tolerance reaches two answers on: the last of them
    verdict = judged(STORED[:11] + STORED[12:], cuts=[10])
    assert (verdict.in_flight, verdict.faults) == (1, [])


def late(*numbers: int, device: str = "plc") -> Verdict:
    """Number 5 is not stored, but rows are that say at these numbers that nothing came in time."""
    rows = [GivenUp(device, T0 + 50 * n * MS + 10 * MS) for n in numbers]
    store = STORED[:4] + STORED[5:]
    return reconcile({"plc": ANSWERS}, store, [], "influx", given_up=rows, patience_ns=20 * MS)


def test_an_answer_that_came_too_late_is_told_by_its_row() -> None:
    assert (late(5).in_flight, late(5).faults) == (1, [])
    assert late(5, device="meter").faults
    assert late().faults
    far = NEAR_NS // (50 * MS) + 10
    assert late(far).faults


def test_one_row_accounts_for_one_late_answer() -> None:
    row = GivenUp("plc", T0 + 275 * MS)
    store = STORED[:4] + STORED[6:]
    verdict = reconcile({"plc": ANSWERS}, store, [], "influx", given_up=[row], patience_ns=MS)
    assert (verdict.in_flight, len(verdict.faults)) == (1, 1)


def test_within_a_loss_a_late_answer_is_told_by_its_row() -> None:
    row = GivenUp("plc", T0 + 50 * 8 * MS)
    for given_up, told in (([row], (1, 0)), ([], (0, 1))):
        verdict = reconcile(
            {"plc": ANSWERS},
            STORED[:4] + STORED[8:],  # four are missing, two are told, one may be in flight
            [lost(5, 8, 2)],
            "influx",
            given_up=given_up,
            patience_ns=MS,
        )
        assert (verdict.in_flight, len(verdict.faults)) == told, verdict.faults


def test_ranges_that_overlap_may_hold_what_they_tell_together() -> None:
    assert not judged(STORED[:4] + STORED[12:], lost(4, 13, 4), lost(4, 8, 4)).faults
    assert not judged(STORED[:4] + STORED[12:], lost(4, 8, 4), lost(4, 13, 4)).faults


def test_verdicts_of_several_runs_are_added() -> None:
    good = judged(STORED[:4] + STORED[7:], lost(5, 7, 3))
    bad = judged(STORED[:4] + STORED[5:])
    both = added([good, bad])
    assert (both.answered, both.stored, both.named) == (40, 36, {"unclean_stop": 3})
    assert both.faults == bad.faults != []
