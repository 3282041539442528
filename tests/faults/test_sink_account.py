"""What an administrator does to the server: the token is revoked, the bucket deleted."""

from __future__ import annotations

import signal

import pytest

from tests.faults import stores
from tests.faults.conftest import Proof
from tests.faults.ledger import StoredRow
from tests.faults.results import size
from tests.faults.rig import Rig, passed
from tests.support import until

REVOKED, DELETED = "revoked", "deleted"
"""Sinks, which are buckets too: of each, one thing is wrong."""


def _delete(rig: Rig) -> list[StoredRow]:
    """The bucket is gone, with all that was in it, which is returned."""
    influx = rig.influx
    assert influx is not None
    assert rig.process is not None
    rig.process.send_signal(signal.SIGSTOP)  # so that nothing comes between the two
    try:
        passed(1.0)  # what is on its way arrives
        until(lambda: not influx.busy)
        rows = stores.in_influx(influx, DELETED)
        influx.query(f"DROP DATABASE {DELETED}", database="")
    finally:
        rig.process.send_signal(signal.SIGCONT)
    return rows


def _goes_on(rig: Rig, stored: int) -> bool:
    """Whether the sink with nothing wrong is good; the pause may have cost it a request."""
    sink = rig.sink()
    return bool(sink["state"] == "good" and sink["rows_stored"] > stored)


@pytest.mark.timeout(size(240, 3600))
def test_revoked_and_deleted(proof: Proof) -> None:
    """On the server, by its administrator."""
    rig = proof.rig()
    influx = rig.influx
    assert influx is not None
    rig.sinks = dict.fromkeys((REVOKED, DELETED), influx.url)
    rig.write_config()
    rig.start()
    gone: list[StoredRow] = []
    times = size(1, 20)
    for _ in range(times):
        rig.run_for(20)
        influx.revoked.add(REVOKED)
        gone += _delete(rig)
        for name, word in ((REVOKED, "401"), (DELETED, "404")):
            until(lambda n=name: rig.sink(n)["state"] == "blocked", 20, f"{name} to be blocked")
            assert word in rig.sink(name)["error"], rig.sink(name)
        before = rig.sink()["rows_stored"]
        until(lambda n=before: _goes_on(rig, n), 20, "the others to go on")
        rig.run_for(20)
        influx.revoked.clear()
        influx.query(f"CREATE DATABASE {DELETED}", database="")
        for name in (REVOKED, DELETED):
            rig.settled(90, name)
    rig.stop()
    rig.deleted = {DELETED: gone}
    for name, case in ((REVOKED, "token revoked, then valid"), (DELETED, "bucket deleted")):
        proof.holds(times, "times", rig.verdict(name), rig.verdict(), case=case)
