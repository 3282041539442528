"""The gateway itself ends, in the middle of everything."""

from __future__ import annotations

import os
import signal

import pytest

from tests.faults import stores
from tests.faults.conftest import Proof
from tests.faults.results import size
from tests.faults.rig import passed
from tests.sims.influx_peer import BUCKET, InfluxPeer
from tests.support import until

KILLS = size(35, 250)
"""Of each gateway; in the long form one after the other, so that a run can be cut short."""
GATEWAYS = range(size(2, 8))


@pytest.mark.timeout(KILLS * 6 + 60)
@pytest.mark.parametrize("gateway", GATEWAYS)
def test_killed_at_random_points(proof: Proof, gateway: int) -> None:
    """SIGKILL of the gateway at a random moment, also while it starts."""
    rig = proof.rig(victoria=gateway % 2 == 1)
    rig.start()
    for _ in range(KILLS):
        passed(proof.chance.choice((0.1, 0.9, 1.0, 1.2)) + proof.chance.random())
        rig.kill()
        rig.launch()
    until(lambda: rig.status() is not None, 20)
    rig.run_for(20)
    rig.settled()
    rig.stop()
    sinks = ["influx", "history"] + ["victoria"] * (rig.victoria is not None)
    verdicts = [rig.verdict(sink) for sink in sinks]
    proof.holds(KILLS, "kills", *verdicts, may_lose={"unclean_stop"})


@pytest.mark.parametrize("kills", [1, 3])
def test_killed_before_anything_was_stored(proof: Proof, kills: int) -> None:
    """SIGKILL of the very first run before its first flush."""
    rig = proof.rig()
    rig.start_others()
    for _ in range(kills):
        rig.launch()
        rig.run_for(2)
        rig.kill()
    rig.start_gateway()
    rig.run_for(20)
    rig.settled()
    rig.stop()
    proof.holds(kills, "kills", rig.verdict(), rig.verdict("history"), may_lose={"unclean_stop"})


def _wait_for_rows(influx: InfluxPeer) -> None:
    before = len(stores.in_influx(influx, BUCKET))
    until(lambda: len(stores.in_influx(influx, BUCKET)) > before, 20, "new rows")


@pytest.mark.timeout(size(120, 900))
def test_killed_again_before_the_loss_is_stored(proof: Proof) -> None:
    """SIGKILL again, between the first new rows and the row that tells of the loss before them."""
    rig = proof.rig(flush_s=1.0)
    assert rig.influx is not None
    influx = rig.influx
    rig.start()
    kills = size(3, 5)
    for _ in range(kills):
        rig.run_for(30)
        rig.kill()
        rig.launch()
        _wait_for_rows(influx)
        rig.kill()
        rig.start_gateway()
    rig.run_for(30)
    rig.settled()
    rig.stop()
    verdicts = [rig.verdict(), rig.verdict("history")]
    proof.holds(2 * kills, "kills", *verdicts, may_lose={"unclean_stop"})


@pytest.mark.timeout(size(90, 900))
@pytest.mark.parametrize("server", ["good", "dead", "hanging"])
def test_stopped_under_load(proof: Proof, server: str) -> None:
    """SIGTERM under load: it ends in time, and what is not delivered is on disk."""
    rig = proof.rig(load_tags=500)
    rig.start()
    assert rig.influx is not None
    stops = size(4, 40)
    for _ in range(stops):
        rig.run_for(20)
        if server == "dead":
            rig.influx.kill()
        if server == "hanging":
            os.kill(rig.influx.pid, signal.SIGSTOP)
        try:
            rig.run_for(10)
            rig.stop(within_s=7.0)  # shutdown_s is 5
        finally:
            if server == "hanging":
                os.kill(rig.influx.pid, signal.SIGCONT)
        if server == "dead":
            rig.influx.start()
        rig.start_gateway()
    rig.run_for(20)
    rig.settled()
    rig.stop(within_s=7.0)
    proof.holds(stops, "stops", rig.verdict(), rig.verdict("history"))
