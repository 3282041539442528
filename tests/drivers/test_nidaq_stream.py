"""Every sample arrives, by both routes, through the unmodified client of NI."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.drivers.nidaq_support import FOUR, RATE_HZ, at
from tests.sims.ni_peer import NiServer, build_runtime, driver_process
from tests.support import CI

SECONDS = 60.0 if CI else 3.0


@pytest.mark.timeout(180)
def test_four_channels_at_25600_hz_arrive_sample_for_sample_by_both_routes(tmp_path: Path) -> None:
    with (
        NiServer() as server,
        driver_process() as remote,
        driver_process(build_runtime(tmp_path)) as local,
    ):
        remote.tell("make", FOUR, {"grpc": at(server.port)})
        local.tell("make", FOUR, {})
        for driver in (remote, local):
            assert driver.tell("connect") == "ok"
        for driver in (remote, local):
            driver.ask("stream", SECONDS)
        for driver in (remote, local):
            found = driver.answer()
            assert found["samples"] >= SECONDS * RATE_HZ
            assert found["blocks"] == round(SECONDS * 10), "a block came in pieces"
            assert (found["wrong"], found["gaps"]) == (0, 0)
            # paced by the sample clock: what came faster would not have been waited for
            assert found["took_s"] > 0.99 * SECONDS
