"""Answers that are not those to the question: late, late by one, or of a CPU in STOP."""

from __future__ import annotations

import random
import signal
import struct
import time
from collections.abc import Iterable

import pytest

from gateway.errors import DeviceUnavailable
from gateway.model import Quality, Row
from tests.drivers.modbus_support import make
from tests.drivers.modbus_support import read as read_modbus
from tests.faults.conftest import Proof
from tests.faults.results import size
from tests.faults.rig import Rig
from tests.faults.test_machine import connected
from tests.sims import s7_faults
from tests.sims.modbus_faults import Answer, Asked, FaultyPeer
from tests.sims.s7_faults import FaultProxy, Piece
from tests.sims.s7_peer import S7Peer, s7_device
from tests.support import until

POLLS = size(150, 5000)
TIMEOUT_S = 0.1
LATE_S = 0.12
EACH = 3
"""About every third answer comes late."""


def good_number(row: Row) -> int | None:
    """The number that a row holds as GOOD."""
    ((_, value, mark),) = row.items()
    return None if mark is not None and mark.quality is not Quality.GOOD else int(value or 0)


@pytest.mark.timeout(size(120, 3600))
def test_late_s7_answers(proof: Proof) -> None:
    """S7 answers late by one, or after the time-out: none is taken for another."""
    number = late = good = 0
    before = b""

    def mangle(_: bytes, answer: bytes) -> Iterable[Piece]:
        nonlocal number, late, before
        number += 1
        (item,) = s7_faults.items(answer)
        right = s7_faults.with_items(answer, [item[:4] + struct.pack(">I", number)])
        old, before = before, right
        chosen = proof.chance.randrange(3 * EACH)
        late += chosen < 3
        match chosen:
            case 0:
                return [LATE_S, right]
            case 1 if old:
                return [old]
            case 2 if old:
                return [old, right]
            case _:
                return [right]

    with S7Peer() as peer, FaultProxy(peer.port) as proxy:
        peer.db(1, 8)
        proxy.mangle = mangle
        driver = s7_device([("n", "DB1.DBD0", "dword")], proxy.port, timeout_s=TIMEOUT_S)
        try:
            connected(driver)
            for _ in range(POLLS):
                first = number
                try:
                    found = good_number(driver.read(driver.groups[0])[0])
                except DeviceUnavailable:
                    driver.close()
                    connected(driver)
                    continue
                if found is not None:
                    assert first < found <= number, (proof.seed, first, found, number)
                    good += 1
        finally:
            driver.close()
    proof.holds(late, "late answers", good=good)
    assert late > POLLS / (3 * EACH)
    assert good > POLLS / EACH, "most answers are right and in time"


@pytest.mark.timeout(size(120, 3600))
@pytest.mark.parametrize("transport", ["tcp", "rtu_over_tcp"])
def test_late_modbus_answers(proof: Proof, transport: str) -> None:
    """Modbus answers after the time-out, during the next request: none is taken for another."""
    rtu = transport != "tcp"
    late = good = 0
    chance = random.Random(proof.seed)  # of the peer's own thread

    def behave(asked: Asked) -> Answer:
        nonlocal late
        is_late = chance.randrange(EACH) == 0
        late += is_late
        number = struct.pack(">I", asked.number)[-2 * asked.count :]
        data = bytes(2 * asked.count - len(number)) + number
        answer = asked.frame(bytes((asked.function, len(data))) + data)
        return [(LATE_S if is_late else 0.0, answer)]

    with FaultyPeer(behave, rtu=rtu, in_order=True) as peer:
        tags = {"n": {"address": "holding:0", "type": "uint32"}}
        driver = make(
            tags, host="127.0.0.1", port=peer.port, transport=transport, timeout_s=TIMEOUT_S
        )
        try:
            connected(driver)
            for _ in range(POLLS):
                first = len(peer.asked)
                try:
                    found = good_number(read_modbus(driver))
                except DeviceUnavailable:
                    connected(driver)
                    continue
                if found is not None:
                    assert first <= found < len(peer.asked), (proof.seed, first, found)
                    good += 1
        finally:
            driver.close()
    proof.holds(late, "late answers", good=good)
    assert late > POLLS / EACH / 2
    assert good, "what comes in time is taken"


# -- STOP -------------------------------------------------------------------------------------


def _marks(rig: Rig) -> dict[int, str]:
    """Time of each row of the PLC, ns, and what its column ``_quality`` says."""
    assert rig.influx is not None
    rows = rig.influx.rows("counts")
    return {row["time"]: row.get("_quality") or "" for row in rows if row["device"] == "plc"}


@pytest.mark.timeout(size(120, 900))
def test_cpu_in_stop(proof: Proof) -> None:
    """S7 CPU goes to STOP, and runs again: its values are told apart (UNCERTAIN), and stored."""
    rig = proof.rig()
    rig.start()
    times = size(2, 30)
    stopped: list[tuple[int, int]] = []

    def state() -> str:
        return str(rig.told()["devices"]["plc"]["facts"]["cpu_state"])

    for _ in range(times):
        rig.run_for(20)
        rig.peers["plc"].send(signal.SIGUSR1)
        until(lambda: state() == "stop", 20, "the STOP to be told")
        begun_ns = time.time_ns()
        rig.run_for(40)
        stopped.append((begun_ns, time.time_ns()))
        rig.peers["plc"].send(signal.SIGUSR2)
        until(lambda: state() == "run", 20, "the RUN to be told")
    back_ns = time.time_ns()
    rig.run_for(20)
    rig.settled()
    rig.stop()
    marks = _marks(rig)
    in_stop = [marks[at] for at in marks if any(a <= at <= b for a, b in stopped)]
    after = [marks[at] for at in marks if at > back_ns]
    proof.holds(times, "stops", rig.verdict(), rig.verdict("history"), in_stop=len(in_stop))
    assert len(in_stop) >= 30 * times
    assert set(in_stop) == {"*=UNCERTAIN:cpu_stop"}
    assert set(after) == {""}
