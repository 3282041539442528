"""Long running at twenty times the usual rate, with an outage of the server every minute."""

from __future__ import annotations

import time
from typing import Any

import pytest

from tests.faults.conftest import Proof
from tests.faults.results import size
from tests.faults.rig import passed
from tests.support import until

ROUNDS = size(3, 30)
GOOD_S, OUTAGE_S = size(6, 45), size(4, 15)
MEMORY_KB = 8_000
"""So much more at the end than in the middle is within noise."""


@pytest.mark.timeout(ROUNDS * (GOOD_S + OUTAGE_S) * 2 + 120)
def test_soak(proof: Proof) -> None:
    """Soak at 20 polls a second and 5,000 values/s, the server away once a round."""
    rig = proof.rig(load_tags=500)
    assert rig.influx is not None
    rig.start()
    used: list[tuple[int, int]] = []
    began = time.monotonic()
    for _ in range(ROUNDS):
        passed(GOOD_S)
        used.append(rig.uses())
        rig.influx.kill()
        passed(OUTAGE_S)
        rig.influx.start()
        rig.settled(120)
    seconds = round(time.monotonic() - began)
    middle = used[(len(used) + 1) // 2]
    # right after the replay the last files of the spool are still open
    until(lambda: rig.uses()[1] <= middle[1] + 2, 20, "the descriptors to be given back")
    used.append(rig.uses())
    rig.run_for(20)
    rig.settled()
    rig.stop()
    end = used[-1]
    more: dict[str, Any] = {"rss_kb": [kb for kb, _ in used], "descriptors": [n for _, n in used]}
    proof.holds(seconds, "seconds", rig.verdict(), rig.verdict("history"), **more)
    assert end[0] < middle[0] + MEMORY_KB, more
    assert end[1] <= middle[1] + 2, more
