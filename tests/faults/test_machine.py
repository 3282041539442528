"""The machines: refused, silent, restarted, and with answers that are not right."""

from __future__ import annotations

import signal
import struct
import time
from collections.abc import Callable, Iterable, Mapping

import pytest
from hypothesis import given, seed, settings
from hypothesis import strategies as st

from gateway.driver import Driver
from gateway.errors import DeviceUnavailable
from gateway.model import Quality, Row
from tests.drivers.modbus_support import make
from tests.faults.conftest import Proof
from tests.faults.results import size
from tests.faults.rig import Rig
from tests.sims import s7_faults
from tests.sims.modbus_faults import Answer, Asked, FaultyPeer
from tests.sims.s7_faults import FaultProxy, Piece
from tests.sims.s7_peer import S7Peer, s7_device
from tests.support import until

FUZZED = size(2000, 100_000)


def all_good(rig: Rig) -> bool:
    """Whether every machine is read again."""
    return all(device["state"] == "good" for device in rig.told()["devices"].values())


@pytest.mark.timeout(size(120, 900))
def test_machine_restarted(proof: Proof) -> None:
    """Machines killed in the middle of a poll (refused), and started again."""
    rig = proof.rig()
    rig.start()
    times = size(4, 60)
    for _ in range(times):
        rig.run_for(proof.chance.randrange(10, 30))
        for peer in rig.peers.values():
            peer.kill()
        rig.cuts_ns.append(time.time_ns())
        until(lambda: not all_good(rig), 20, "the loss to be told")
        for peer in rig.peers.values():
            peer.start()
        until(lambda: all_good(rig), 60, "all to be back")
    rig.run_for(20)
    rig.settled()
    rig.stop()
    proof.holds(times, "restarts", rig.verdict(), rig.verdict("history"))


@pytest.mark.timeout(size(120, 900))
def test_machine_stopped(proof: Proof) -> None:
    """Machines hang (SIGSTOP) for longer than the time-out, and go on."""
    rig = proof.rig(device_timeout_s=1.0)
    rig.start()
    times = size(4, 60)
    for _ in range(times):
        rig.run_for(proof.chance.randrange(10, 30))
        for peer in rig.peers.values():
            peer.send(signal.SIGSTOP)
        rig.cuts_ns.append(time.time_ns())
        until(lambda: not all_good(rig), 20, "the loss to be told")
        rig.backs_ns.append(time.time_ns())
        for peer in rig.peers.values():
            peer.send(signal.SIGCONT)
        until(lambda: all_good(rig), 60, "all to be back")
    rig.run_for(20)
    rig.settled()
    rig.stop()
    proof.holds(times, "stops", rig.verdict(), rig.verdict("history"))


# -- answers that are not right ---------------------------------------------------------------

Change = tuple[str, int, int]
CHANGES = st.lists(
    st.tuples(
        st.sampled_from(["flip", "flip", "flip", "cut", "more", "remove", "insert", "twice"]),
        st.integers(0, 10_000),
        st.integers(1, 255),
    ),
    min_size=1,
    max_size=4,
)


def changed(answer: bytes, changes: Iterable[Change], headers: list[int]) -> bytes:
    """The answer with changes, of which none is inside the data: nobody could see that."""
    out = bytearray(answer)
    for kind, where, value in changes:
        at = headers[where % len(headers)]
        match kind:
            case "flip" if at < len(out):
                out[at] ^= value
            case "cut":
                del out[where % (len(out) + 1) :]
            case "more":
                out += bytes((value,)) * (1 + where % 20)
            case "twice":
                out += answer
            case "remove" if at < len(out):
                del out[at]
            case "insert":
                out.insert(at, value)
    size = len(answer)
    if len(out) >= size and all(out[at] == answer[at] for at in headers):
        out[:size] = answer  # several changes together have come to one of the data alone
    return bytes(out)


def none_wrong(row: Row, true: Mapping[str, object]) -> bool:
    """Whether all is GOOD; a GOOD value that the machine does not have is the worst fault."""
    good = True
    for name, value, mark in row.items():
        if mark is None or mark.quality is not Quality.BAD:
            assert value == true[name], (name, value)
        else:
            good = False
    return good


def polled(read: Callable[[], Row], true: Mapping[str, object]) -> bool:
    """One poll; True: all is GOOD. Any exception but DeviceUnavailable is a bug."""
    try:
        return none_wrong(read(), true)
    except DeviceUnavailable:
        return False


def connected(driver: Driver) -> None:
    """On a busy machine even that may take longer than the short time-out."""

    def is_there() -> bool:
        try:
            driver.connect()
        except DeviceUnavailable:
            driver.close()
            return False
        return True

    until(is_there, 20, "a connection within the time-out")


@pytest.mark.timeout(size(300, 20_000))
def test_fuzzed_s7_answers(proof: Proof) -> None:
    """Fuzzed S7 answers: headers changed, pieces cut, added, doubled."""
    tags = [("a", "DB1.DBD0", "real"), ("b", "DB1.DBD200", "dint"), ("c", "DB1.DBB300", "byte[3]")]
    true = {"a": 1.25, "b": -5, "c_0": 7, "c_1": 8, "c_2": 9}
    count = 0
    accepted = 0
    with S7Peer() as peer, FaultProxy(peer.port) as proxy:
        peer.db(1, 400)
        peer.write(1, 0, struct.pack(">f", 1.25))
        peer.write(1, 200, struct.pack(">i", -5))
        peer.write(1, 300, bytes((7, 8, 9)))
        pending: list[list[Change]] = []

        def mangle(_: bytes, answer: bytes) -> Iterable[Piece]:
            try:
                changes = pending.pop()
            except IndexError:
                return [answer]
            # 21 bytes before the items, 4 before the data of each; the data stays as it is
            headers, at = [*range(21)], 21
            for item in s7_faults.items(answer):
                headers += range(at, at + 4)
                at += len(item)
            wrong = changed(answer, changes, headers)
            return [wrong] if wrong == answer else [wrong, s7_faults.HANG_UP]

        proxy.mangle = mangle

        @seed(proof.seed)
        @settings(max_examples=FUZZED, deadline=None, database=None)
        @given(CHANGES)
        def never_wrong(changes: list[Change]) -> None:
            nonlocal count, accepted
            count += 1
            driver = s7_device(tags, proxy.port, timeout_s=0.5)
            try:
                connected(driver)
                pending[:] = [changes]
                accepted += polled(lambda: driver.read(driver.groups[0])[0], true)
                pending.clear()
                driver.close()
                connected(driver)
                polled(lambda: driver.read(driver.groups[0])[0], true)
            finally:
                driver.close()

        never_wrong()
        driver = s7_device(tags, proxy.port, timeout_s=10.0)
        connected(driver)
        assert polled(lambda: driver.read(driver.groups[0])[0], true), "a right answer is good"
        driver.close()
    proof.holds(count, "answers", accepted=accepted)


@pytest.mark.timeout(size(300, 20_000))
@pytest.mark.parametrize("transport", ["tcp", "rtu_over_tcp"])
def test_fuzzed_modbus_answers(proof: Proof, transport: str) -> None:
    """Fuzzed Modbus answers: headers changed, pieces cut, added, doubled."""
    rtu = transport != "tcp"
    true = {f"a_{i}": 10 + i for i in range(4)}
    pending: list[list[Change]] = []
    count = 0
    accepted = 0

    def behave(asked: Asked) -> Answer:
        answer = asked.good()
        if pending:
            # on a serial line the checksum sees one change anywhere, over TCP nothing the data
            changes = pending.pop()[: 1 if rtu else None]
            headers = [*range(len(answer))] if rtu else [*range(9)]
            answer = changed(answer, changes, headers)
        return [(0, answer)]

    with FaultyPeer(behave, rtu=rtu) as peer:

        @seed(proof.seed)
        @settings(max_examples=FUZZED, deadline=None, database=None)
        @given(CHANGES)
        def never_wrong(changes: list[Change]) -> None:
            nonlocal count, accepted
            count += 1
            driver = make(
                {"a": {"address": "holding:10", "type": "uint16[4]"}},
                host="127.0.0.1",
                port=peer.port,
                transport=transport,
                timeout_s=0.04,
            )
            try:
                connected(driver)
                pending[:] = [changes]
                accepted += polled(lambda: driver.read(driver.groups[0])[0], true)
                pending.clear()
                driver.close()
                connected(driver)
                polled(lambda: driver.read(driver.groups[0])[0], true)
            finally:
                driver.close()

        never_wrong()
        tags = {"a": {"address": "holding:10", "type": "uint16[4]"}}
        driver = make(tags, host="127.0.0.1", port=peer.port, transport=transport, timeout_s=10.0)
        connected(driver)
        assert polled(lambda: driver.read(driver.groups[0])[0], true), "a right answer is good"
        driver.close()
    proof.holds(count, "answers", accepted=accepted)
