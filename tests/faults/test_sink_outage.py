"""The server is away, hangs or dies, and comes back."""

from __future__ import annotations

import os
import signal
import time

import pytest

from tests.faults.conftest import Proof
from tests.faults.results import size
from tests.faults.rig import Rig
from tests.support import until

OUTAGE_S = size(30, 600)
LIVE_AGE_S = 2.0
REPLAY_FACTOR = 10.0


def newest_age_s(rig: Rig) -> float:
    """How old the newest row of the server was when it was asked."""
    assert rig.influx is not None
    asked_s = time.time()
    found = rig.influx.query("SELECT last(n) FROM counts")
    return asked_s - float(found[0]["values"][0][0]) / 1e9


@pytest.mark.timeout(OUTAGE_S + 200)
def test_server_down_and_back(proof: Proof) -> None:
    """Server down (refused), then back: replay while live rows stay young."""
    rig = proof.rig(load_tags=500)
    assert rig.influx is not None
    rig.start()
    rig.run_for(20)
    rig.influx.kill()
    down_s = time.monotonic()
    until(lambda: time.monotonic() - down_s > OUTAGE_S, OUTAGE_S + 10)
    waited = rig.sink()
    backlog, stored_before = waited["pending_rows"], waited["rows_stored"]
    away_s = time.monotonic()
    rig.influx.start()

    def is_back() -> bool:
        nonlocal away_s
        asked_s = time.monotonic()
        if rig.sink()["state"] == "good":
            return True
        away_s = asked_s
        return False

    # the pause before the next try is at most a minute
    until(is_back, 100, "the sink to be back")
    back_s = time.monotonic()
    ages: list[float] = []
    live_after_s = 0.0

    def caught_up() -> bool:
        nonlocal live_after_s
        age_s = newest_age_s(rig)
        if ages or age_s < LIVE_AGE_S:
            ages.append(age_s)
        else:
            live_after_s = time.monotonic() - back_s
        spool_age_s = rig.sink()["spool_age_s"]
        return bool(ages) and (spool_age_s is None or spool_age_s < 1.0)

    until(caught_up, size(60, 300), "the backlog to be delivered")
    replay_s = time.monotonic() - back_s
    # a part may be delivered before the return is seen: all of it, from when it was not yet back
    rate = (rig.sink()["rows_stored"] - stored_before) / (time.monotonic() - away_s)
    rig.run_for(20)
    rig.settled()
    rig.stop()
    live = 2 / 0.05 + 1 / 0.1  # two machines and the load, rows a second
    more = {
        "backlog_rows": backlog,
        "replay_times_live": round(rate / live, 1),
        "live_after_s": round(live_after_s, 2),
        "live_age_s": round(max(ages), 2),
        "replay_s": round(replay_s, 2),
    }
    proof.holds(OUTAGE_S, "seconds", rig.verdict(), rig.verdict("history"), **more)
    assert rate > REPLAY_FACTOR * live, more
    # rows made after the return, behind what of the outage is still in memory
    assert live_after_s < LIVE_AGE_S, more
    assert max(ages) < LIVE_AGE_S, more


@pytest.mark.timeout(size(120, 900))
def test_server_stopped(proof: Proof) -> None:
    """Server hangs (SIGSTOP), and stores what it had taken when it goes on."""
    rig = proof.rig()
    assert rig.influx is not None
    rig.start()
    times = size(3, 30)
    for _ in range(times):
        rig.run_for(10)
        os.kill(rig.influx.pid, signal.SIGSTOP)
        try:
            until(lambda: rig.sink()["state"] == "retrying", 20, "the sink to be ill")
            rig.run_for(10)
        finally:
            os.kill(rig.influx.pid, signal.SIGCONT)
        rig.settled(90)
    rig.stop()
    proof.holds(times, "times", rig.verdict())


@pytest.mark.timeout(size(120, 1800))
def test_server_killed(proof: Proof) -> None:
    """Server killed (SIGKILL) under load and started again."""
    rig = proof.rig(load_tags=500)
    assert rig.influx is not None
    rig.start()
    kills = size(10, 200)
    for _ in range(kills):
        rig.run_for(proof.chance.randrange(5, 20))
        rig.influx.kill()
        rig.influx.start()
    rig.settled(90)
    rig.stop()
    proof.holds(kills, "kills", rig.verdict())


def test_type_conflict(proof: Proof) -> None:
    """A column has another type on the server: what it refuses is named and kept."""
    rig = proof.rig()
    assert rig.influx is not None
    rig.start()
    rig.run_for(20)
    rig.settled()
    influx = rig.influx

    def taken_by_another_type() -> bool:  # unless the gateway's next row comes first
        influx.query("DROP MEASUREMENT counts")
        line = b"counts,device=other n=1.5 %d" % time.time_ns()
        return influx.write("sensors", "ns", None, line)[0] == 204

    until(taken_by_another_type)
    until(lambda: rig.sink()["rows_rejected"] > 0, 20, "rows to be refused")
    rig.run_for(20)
    influx.query("DROP MEASUREMENT counts")
    rig.run_for(20)
    rig.settled()
    rig.stop()
    refused = [loss for loss in rig.losses() if loss.cause == "rejected"]
    assert refused, "the refused rows are in the loss ledger"
    letters = rig.state_dir / "spool" / "influx" / "dead_letters.db"
    assert letters.exists()
    proof.holds(1, "conflicts", rig.verdict("history"), rejected=sum(r.rows for r in refused))
