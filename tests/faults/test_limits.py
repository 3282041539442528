"""What the system grants runs out: memory, descriptors."""

from __future__ import annotations

import resource
import subprocess
from contextlib import suppress
from pathlib import Path

import pytest

from tests.faults.conftest import Proof
from tests.faults.results import size


def _memory_kb(pid: int) -> int:
    words = Path(f"/proc/{pid}/statm").read_text().split()
    return int(words[0]) * 4


@pytest.mark.timeout(size(120, 900))
def test_memory_limit(proof: Proof) -> None:
    """Memory limit (RLIMIT_AS): allocations fail or it ends, and is started again."""
    rig = proof.rig(load_tags=500)
    rig.start()
    times = size(3, 30)
    for _ in range(times):
        rig.run_for(20)
        assert rig.process is not None
        process = rig.process
        granted = proof.chance.choice((0, 200, 1000, 4000))  # KiB more than it has
        limit = (_memory_kb(process.pid) + granted) * 1024
        resource.prlimit(process.pid, resource.RLIMIT_AS, (limit, limit))
        with suppress(subprocess.TimeoutExpired):  # it may also go on, which is right
            process.wait(3.0)
        rig.kill()
        rig.start_gateway()
    rig.run_for(20)
    rig.settled(90)
    rig.stop(unharmed=False)  # what failed for want of memory is logged
    verdicts = [rig.verdict(), rig.verdict("history")]
    proof.holds(times, "times", *verdicts, may_lose={"unclean_stop", "encode_fault"})


@pytest.mark.timeout(size(120, 900))
def test_no_descriptors(proof: Proof) -> None:
    """No descriptors left (RLIMIT_NOFILE), while the server is away; then they are granted."""
    rig = proof.rig()
    assert rig.influx is not None
    rig.start()
    times = size(2, 20)
    for _ in range(times):
        rig.run_for(20)
        assert rig.process is not None
        pid = rig.process.pid
        before = resource.prlimit(pid, resource.RLIMIT_NOFILE)
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (4, before[1]))
        rig.influx.kill()
        rig.run_for(60)
        rig.influx.start()
        resource.prlimit(pid, resource.RLIMIT_NOFILE, before)
        rig.settled(90)
    rig.run_for(20)
    rig.stop()
    proof.holds(times, "times", rig.verdict(), rig.verdict("history"))
