"""The clock of the PC: steps of an hour both ways, and a machine that is up for a month."""

from __future__ import annotations

import os
import signal
import sqlite3

import pytest

from tests.faults.conftest import Proof
from tests.faults.results import size
from tests.faults.rig import INTERVAL_S, Rig
from tests.faults.shim import Shim
from tests.support import missing, need_program, until

HOUR_S = 3600.0
TOO_MANY = 400
"""Polls skipped for other reasons than the clock, on a machine that stands still for seconds; a
schedule that goes by the wall clock would skip an hour of them, 144,000."""


def missed(rig: Rig) -> int:
    """Polls that were skipped."""
    return sum(g["missed"] for d in rig.told()["devices"].values() for g in d["groups"])


def events(rig: Rig, event: str) -> int:
    """Rows of table ``gateway_event``; of a gateway that was stopped."""
    with sqlite3.connect(rig.state_dir / "history.db") as store:
        (count,) = store.execute(
            "select count(*) from history where table_name='gateway_event' and value=?", (event,)
        ).fetchone()
    store.close()
    return int(count)


@pytest.fixture
def stepping(proof: Proof) -> tuple[Rig, Shim]:
    """A rig whose gateway sees the clock of the shim."""
    rig = proof.rig()
    shim = Shim(proof.folder)
    proof.cleanups.append(shim.close)
    rig.environment = shim.environment
    return rig, shim


def _step(rig: Rig, shim: Shim, offset_s: float) -> None:
    told = rig.log().count("clock step")
    shim.clock(offset_s)
    until(lambda: rig.log().count("clock step") > told, 20, "the step to be told")


@pytest.mark.timeout(size(90, 900))
def test_clock_steps(proof: Proof, stepping: tuple[Rig, Shim]) -> None:
    """Wall clock stepped by an hour, forth and back, while it runs."""
    rig, shim = stepping
    rig.start()
    rig.run_for(20)
    steps = [HOUR_S, 0.0] * size(1, 20)
    for offset_s in steps:
        _step(rig, shim, offset_s)
        rig.run_for(round(1 / INTERVAL_S))
    assert missed(rig) <= TOO_MANY * size(1, 20), "the schedule follows the monotonic clock"
    rig.settled()
    rig.stop()
    assert events(rig, "clock_step") == len(steps), "each step is an event row"
    verdicts = [rig.verdict(sink, same_clock=False) for sink in ("influx", "history")]
    proof.holds(len(steps), "steps", *verdicts)


@pytest.mark.timeout(size(90, 900))
def test_clock_steps_across_a_restart(proof: Proof, stepping: tuple[Rig, Shim]) -> None:
    """Wall clock stepped by an hour, forth and back, between a stop and a start."""
    rig, shim = stepping
    rig.start()
    steps = [HOUR_S, 0.0, -HOUR_S, 0.0] * size(1, 10)
    for offset_s in steps:
        rig.run_for(20)
        rig.stop()
        shim.clock(offset_s)
        rig.start_gateway()
    rig.run_for(20)
    rig.settled()
    rig.stop()
    verdicts = [rig.verdict(sink, same_clock=False) for sink in ("influx", "history")]
    proof.holds(len(steps), "steps", *verdicts)


def test_monotonic_clock_at_thirty_days(proof: Proof) -> None:
    """Monotonic clock at 30 days (time namespace)."""
    if os.geteuid():
        missing("a time namespace", "run as root")
    days = size(30, 300)
    rig = proof.rig()
    unshare = need_program("unshare", "util-linux")
    rig.prefix = [unshare, "-T", "--kill-child", "--monotonic", str(days * 86400)]
    rig.start()
    rig.run_for(40)
    assert missed(rig) <= TOO_MANY
    rig.settled()
    os.kill(rig.told()["gateway"]["pid"], signal.SIGTERM)
    assert rig.process is not None
    process = rig.process
    until(lambda: process.poll() is not None, 15, "the end")
    assert process.returncode == 0, rig.log()
    rig.process = None
    proof.holds(days, "days", rig.verdict(), rig.verdict("history"))
