"""Connections by the thousand to the status socket."""

from __future__ import annotations

import select
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from gateway.api.protocol import MAX_CONNECTIONS
from gateway.api.server import ACCEPTED_AT_ONCE
from tests.faults.clients import Newcomers
from tests.faults.conftest import Proof
from tests.faults.results import size
from tests.faults.rig import Rig
from tests.support import ROOT, until

FLOOD = 10_000
"""Half of them to the Unix socket, half on TCP."""

ANSWER_S = 2.0
"""On a busy machine."""

SPARE = 20
"""Descriptors of the gateway's own that may come meanwhile: files of the spool, queries."""


@contextmanager
def flood(rig: Rig) -> Iterator[subprocess.Popen[bytes]]:
    """A process that makes the connections; it says so when all are made."""
    _, _, port = rig.tcp.partition(":")
    words = [sys.executable, "-m", "tests.sims.flood", str(FLOOD), str(rig.folder / "s"), port]
    with subprocess.Popen(
        words, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def _open(process: subprocess.Popen[bytes]) -> int:
    """How many of its connections nobody has ended."""
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(b"?\n")
    process.stdin.flush()
    return int(process.stdout.readline())


@pytest.mark.timeout(size(90, 600))
def test_thousands_of_connections(proof: Proof) -> None:
    """Silent connections, 5,000 to the Unix socket and 5,000 on TCP."""
    rig = proof.rig(listens=True)
    rig.start()
    rig.run_for(10)
    before = most = rig.uses()[1]
    times = size(1, 10)
    with Newcomers(rig) as newcomers:
        for _ in range(times):
            with flood(rig) as process:
                assert process.stdout is not None
                while not select.select([process.stdout], [], [], 0.05)[0]:
                    most = max(most, rig.uses()[1])
                assert process.stdout.readline() == b"made\n", "each was accepted"
                most = max(most, rig.uses()[1])
                # a connection that found the queue full is asked again after seconds (SYN, ACK)
                until(lambda p=process: _open(p) <= 2 * MAX_CONNECTIONS, 30, "all others to end")
                asked = len(newcomers.took_s)
                until(lambda n=asked: len(newcomers.took_s) >= n + 20, 20, "answers to newcomers")
            until(lambda: rig.uses()[1] <= before + SPARE, 10, "the descriptors to be given back")
    cut_off = rig.ask("/v1/connections")["cut_off"]
    rig.run_for(20)
    rig.settled()
    rig.stop()
    took_s = newcomers.took_s
    more = {
        "descriptors": most,
        "cut_off": cut_off,
        "newcomers": len(took_s),
        "slowest_s": round(max(took_s), 2),
    }
    proof.holds(FLOOD * times, "connections", rig.verdict(), rig.verdict("history"), **more)
    told = cut_off["made_way"] + cut_off["refused"]
    assert FLOOD * times - 2 * MAX_CONNECTIONS * times <= told <= FLOOD * times + len(took_s), more
    assert not newcomers.faults, newcomers.faults[:5]
    assert max(took_s) < ANSWER_S, more
    held = 2 * (MAX_CONNECTIONS + 3 * ACCEPTED_AT_ONCE)
    assert most <= before + held + SPARE, more
