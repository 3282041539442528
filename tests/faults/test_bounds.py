"""Every bounded buffer full at once: the server away, and a disk that takes nothing."""

from __future__ import annotations

import statistics
import time
from typing import Any

import pytest

from tests.faults import disks
from tests.faults.conftest import Proof
from tests.faults.results import size
from tests.faults.rig import Rig
from tests.faults.test_disk import FULL, fill
from tests.support import until

LOAD_TAGS = size(8000, 1000)
"""At ten rows a second; the long form has fewer, and fills for minutes."""

WATCH_S = size(10, 300)
SLOPE_KB = 4000
"""More in the last third than in the first is more than noise."""


def _dropped(rig: Rig, sink: str) -> int:
    return int(rig.sink(sink)["rows_lost"])


@pytest.mark.timeout(size(300, 2400))
def test_memory_with_a_dead_sink_and_a_full_disk(proof: Proof) -> None:
    """Server refused and disk full (tmpfs) at once, until every buffer in memory is full."""
    with disks.in_memory(proof.folder / "disk", "size=160M") as place:
        rig = proof.rig(state_dir=place / "state", load_tags=LOAD_TAGS)
        assert rig.influx is not None
        rig.start()
        rig.run_for(10)
        rig.influx.kill()
        ballast = fill(place)
        began = time.monotonic()
        for sink in ("influx", "history"):
            before = _dropped(rig, sink)
            until(
                lambda s=sink, n=before: _dropped(rig, s) > n, size(60, 1200), f"{sink} to be full"
            )
        filled_s = round(time.monotonic() - began, 1)
        used: list[int] = []
        end = time.monotonic() + WATCH_S
        while time.monotonic() < end:
            rig.run_for(5)
            used.append(rig.uses()[0])
        ballast.unlink()
        rig.settled(90, "history")
        rig.influx.start()
        rig.stop()
        rig.load_tags = 0  # what waits is delivered without it
        rig.write_config()
        rig.start_gateway()  # of losses whose rows were pushed out of memory the next start tells
        rig.run_for(20)
        rig.settled(100)
        rig.settled(90, "history")
        rig.run_for(20)
        rig.stop()
        third = len(used) // 3
        growth = round(statistics.median(used[-third:]) - statistics.median(used[:third]))
        more: dict[str, Any] = {"filled_s": filled_s, "growth_kb": growth}
        more |= {"rss_kb": [used[0], max(used), used[-1]]}
        verdicts = [rig.verdict(), rig.verdict("history")]
        proof.holds(WATCH_S, "seconds", *verdicts, may_lose={*FULL, "hub_overflow"}, **more)
        assert growth < SLOPE_KB, more
        rig.close()
