"""Each family of errors, by both routes: what is lost is said, and what comes after is right."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from drivers.nidaq import codes
from tests.drivers.nidaq_support import ACCELEROMETER, FOUR, RATE_HZ, at
from tests.sims.ni_peer import NiServer, Told, build_runtime, driver_process

pytestmark = pytest.mark.xdist_group("nidaq faults")  # one set of processes for all

BLOCK = 512
PART = 200
SETTINGS = {"block_s": BLOCK / RATE_HZ, "timeout_s": 2.0, "buffer_s": 20.0}


class Rig:
    """The driver in its process, and what makes its peer fail."""

    def __init__(self, route: str, driver: Told, server: NiServer | None) -> None:
        self.route = route
        self.driver = driver
        self.server = server

    def make(self, channels: dict[str, Any] = FOUR, **settings: Any) -> None:
        grpc = {"grpc": at(self.server.port)} if self.server else {}
        self.driver.tell("make", channels, {**SETTINGS, **grpc, **settings})

    def peer(self, command: str, *words: Any) -> Any:
        if self.server is not None:
            return self.server.tell(command, *words)
        return self.driver.tell("runtime", f"fake_{command}", *words)

    def reset(self) -> None:
        self.peer("fail", "", 0, 0)
        self.peer("limit", -1)
        self.peer("factor", 1.0)

    def connect(self) -> None:
        assert self.driver.tell("connect") == "ok"

    def lost(self, *command: Any) -> tuple[str, str]:
        found = self.driver.tell(*command)
        assert isinstance(found, dict), found
        return found["lost"], found["detail"]

    def blocks(self, count: int = 1) -> list[tuple[int, int, str | None]]:
        """(first, samples, gap) of the next blocks, all of whose samples are right."""
        found = self.driver.tell("read", count)
        assert isinstance(found, list), found
        assert all(block["exact"] for block in found)
        return [(b["first"], b["samples"], b["gap"]) for b in found]

    def assert_recovers(self) -> None:
        """A new connection counts from 0 and has the right samples."""
        assert self.lost("read", 1) == ("closed", "not connected")
        self.connect()
        assert self.blocks(2) == [(0, BLOCK, None), (BLOCK, BLOCK, None)]


@pytest.fixture(scope="module", params=["grpc", "local"])
def processes(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Rig]:
    if request.param == "grpc":
        with NiServer() as server, driver_process() as driver:
            yield Rig("grpc", driver, server)
    else:
        with driver_process(build_runtime(tmp_path_factory.mktemp("runtime"))) as driver:
            yield Rig("local", driver, None)


@pytest.fixture
def rig(processes: Rig) -> Iterator[Rig]:
    processes.reset()
    processes.make()
    yield processes
    processes.driver.tell("close")


@pytest.mark.parametrize("code", sorted(codes.OVERRUNS))
def test_after_an_overrun_the_task_goes_on_and_the_gap_is_marked(rig: Rig, code: int) -> None:
    rig.connect()
    assert rig.blocks(2) == [(0, BLOCK, None), (BLOCK, BLOCK, None)]
    rig.peer("fail", "read", code, 1)
    assert rig.blocks(2) == [(0, BLOCK, "overrun"), (BLOCK, BLOCK, None)]
    assert rig.driver.tell("status")["overruns"] == 1


def test_a_reader_that_stalls_longer_than_the_buffer_lasts_overruns(rig: Rig) -> None:
    rig.connect()
    rig.blocks(1)
    rig.peer("skip", 15.0)
    assert rig.blocks(2) == [(BLOCK, BLOCK, None), (2 * BLOCK, BLOCK, None)], "it was buffered"
    rig.peer("skip", 20.5)
    assert rig.blocks(2) == [(0, BLOCK, "overrun"), (BLOCK, BLOCK, None)]


def test_a_task_that_only_overruns_is_given_up(rig: Rig) -> None:
    rig.connect()
    rig.peer("fail", "read", -200361, 100)
    reason, detail = rig.lost("read", 1)
    assert reason == "overrun"
    assert "4 times without a block" in detail
    rig.reset()
    rig.assert_recovers()


def test_a_task_that_cannot_be_started_again_is_given_up(rig: Rig) -> None:
    rig.connect()
    rig.peer("skip", 20.5)
    rig.peer("fail", "start", -201003, 1)
    assert rig.lost("read", 1)[0] == "device_lost"
    rig.assert_recovers()


def test_no_samples_within_the_time_out_is_a_loss(rig: Rig) -> None:
    rig.connect()
    rig.peer("limit", 2 * BLOCK)
    assert rig.blocks(2) == [(0, BLOCK, None), (BLOCK, BLOCK, None)]
    begun = time.monotonic()
    assert rig.lost("read", 1)[0] == "timeout"
    assert time.monotonic() - begun < SETTINGS["block_s"] + 2 * SETTINGS["timeout_s"]
    rig.reset()
    rig.assert_recovers()


def test_the_part_of_a_block_that_came_in_time_is_kept(rig: Rig) -> None:
    rig.connect()
    rig.peer("limit", BLOCK + PART)
    assert rig.blocks(2) == [(0, BLOCK, None), (BLOCK, PART, None)]
    rig.peer("limit", -1)
    after = BLOCK + PART
    assert rig.blocks(2) == [(after, BLOCK, None), (after + BLOCK, BLOCK, None)]


LOST = [(c, "device_lost") for c in (-88709, -88710, -201003, -200324, -50405, -50808, -201250)]
OTHER = [(-200284, "timeout"), (-200999, "code_-200999"), (-200557, "config")]


@pytest.mark.parametrize(("code", "reason"), LOST + OTHER)
def test_an_error_of_a_read_ends_the_connection(rig: Rig, code: int, reason: str) -> None:
    rig.connect()
    rig.blocks(1)
    rig.peer("fail", "read", code, 1)
    found, detail = rig.lost("read", 1)
    assert found == reason
    assert f"Status Code: {code}" in detail
    rig.assert_recovers()


@pytest.mark.parametrize(
    ("where", "code", "reason"),
    [
        ("start", -50103, "reserved"),
        ("start", -200022, "reserved"),
        ("start", -201003, "device_lost"),
        ("start", -200279, "overrun"),
        ("channel", -200077, "config"),
        ("channel", -200430, "config"),
        ("create", -201252, "device_lost"),
    ],
)
def test_an_error_of_connecting_is_told_and_leaves_nothing_behind(
    rig: Rig, where: str, code: int, reason: str
) -> None:
    rig.peer("fail", where, code, 1)
    found, detail = rig.lost("connect")
    assert found == reason
    assert f"Status Code: {code}" in detail
    rig.assert_recovers()


@pytest.mark.parametrize(
    ("address", "code"), [("cDAQ7Mod1/ai0", -200220), ("cDAQ1Mod1/ai31", -200170)]
)
def test_an_input_that_does_not_exist_is_told(rig: Rig, address: str, code: int) -> None:
    rig.make({"x": {"address": address, **ACCELEROMETER}})
    found, detail = rig.lost("connect")
    assert found == "unknown_device"
    assert f"Status Code: {code}" in detail


def test_several_modules_are_one_task_in_the_order_of_the_channels(rig: Rig) -> None:
    rig.make(
        {
            "b": {"address": "cDAQ1Mod2/ai7", **ACCELEROMETER},
            "a": {"address": "cDAQ1Mod1/ai2", **ACCELEROMETER},
        }
    )
    rig.connect()
    assert rig.blocks(1) == [(0, BLOCK, None)]
    status = rig.driver.tell("status")
    assert status["devices"].count("serial") == 2
    assert status["route"] == rig.route


def test_the_coerced_rate_is_used_for_blocks_and_buffer(rig: Rig) -> None:
    rig.peer("factor", 2.0)
    rig.connect()
    (block,) = rig.driver.tell("read", 1)
    assert block["rate_hz"] == 51_200
    assert block["samples"] == 2 * BLOCK, "a block lasts as long as it should"
    rig.peer("skip", 15.0)
    assert rig.blocks(1) == [(2 * BLOCK, 2 * BLOCK, None)], "the buffer holds its 20 s"
    assert rig.driver.tell("status")["rate_hz"] == 51_200


@pytest.fixture
def runtime(tmp_path: Path) -> Iterator[Told]:
    with driver_process(build_runtime(tmp_path)) as driver:
        yield driver


def test_what_the_settings_say_reaches_the_runtime(runtime: Told) -> None:
    channels = {
        "a": {
            "address": "cDAQ1Mod1/ai0",
            "type": "accelerometer",
            "sensitivity_mv_per_g": 50.0,
            "excitation_ma": 4.0,
            "coupling": "dc",
            "unit": "m/s2",
        },
        "b": {
            "address": "cDAQ1Mod1/ai1",
            "type": "voltage",
            "min": 0.0,
            "max": 5.0,
            "terminal": "rse",
        },
        "c": {"address": "cDAQ1Mod1/ai2", "type": "iepe_voltage", "range_v": 2.5},
        "d": {"address": "cDAQ1Mod2/ai0", "type": "thermocouple", "thermocouple_type": "K"},
        "e": {
            "address": "cDAQ1Mod2/ai1",
            "type": "thermocouple",
            "thermocouple_type": "J",
            "cold_junction_degc": 21.5,
        },
        "f": {"address": "cDAQ1Mod2/ai2", "type": "rtd", "wires": 4, "r0_ohm": 1000.0},
    }
    runtime.tell("make", channels, {"rate_hz": 1000.0, "block_s": 0.1})
    assert runtime.tell("connect") == "ok"
    # numbers: NIDAQmx.h, by the names of nidaqmx.constants
    assert runtime.tell("runtime", "fake_configured").splitlines() == [
        "accelerometer cDAQ1Mod1/ai0 terminal -1 -980.665 to 980.665 units 12470 50 of 12509 "
        "source 10200 0.004 A",
        "cDAQ1Mod1/ai0 0x0064 = 10050",
        "voltage cDAQ1Mod1/ai1 terminal 10083 0 to 5",
        "iepe_voltage cDAQ1Mod1/ai2 terminal -1 -2.5 to 2.5 source 10200 0.002 A",
        "cDAQ1Mod1/ai2 0x17F6 = 10134",
        "cDAQ1Mod1/ai2 0x0064 = 10045",
        "thermocouple cDAQ1Mod2/ai0 -200 to 1370 units 10143 type 10073 junction 10200 25",
        "thermocouple cDAQ1Mod2/ai1 -200 to 1200 units 10143 type 10072 junction 10116 21.5",
        "rtd cDAQ1Mod2/ai2 -200 to 850 units 10143 type 10071 wires 4 source 10200 0.001 A "
        "1000 ohm",
        "kept 10000",
    ]


def test_interrupt_aborts_a_task_whose_read_waits(runtime: Told) -> None:
    runtime.tell("make", FOUR, {"rate_hz": 100.0, "block_s": 60.0, "timeout_s": 60.0})
    runtime.tell("connect")
    assert runtime.tell("interrupt") == "closed"
    runtime.tell("make", FOUR, SETTINGS)
    assert runtime.tell("connect") == "ok"
    assert runtime.tell("read", 1)[0]["exact"]


def test_without_a_runtime_it_is_said_what_to_install() -> None:
    with driver_process() as driver:
        driver.tell("make", FOUR, {})
        for _ in range(2):
            found = driver.tell("connect")
            assert found["lost"] == "no_runtime"
            assert "python -m nidaqmx installdriver" in found["detail"]
            assert "grpc: host:port" in found["detail"]
