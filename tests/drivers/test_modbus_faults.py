"""A peer that lies, is late or falls silent: a value is GOOD only if it was asked for and came."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest

from drivers.modbus import ModbusDriver
from drivers.modbus.frames import Read
from drivers.modbus.late import KEEP_S, LateAnswers
from gateway.errors import DeviceUnavailable
from tests.drivers.modbus_support import make, make_bus, values
from tests.sims.modbus_faults import Answer, Asked, FaultyPeer, crc
from tests.support import until

TIMEOUT_S = 0.15
"""Where no answer is to come in time."""
PATIENT_S = 5.0
"""Where one must come: this machine may be busy."""
SLOW_S = 0.5
LATE_S = 1.5 * SLOW_S
"""An answer that is late by half a time-out, so that it is neither in time nor missed."""
TAGS = {"a": {"address": "holding:10", "type": "uint16[4]"}}
GOOD = {f"a_{i}": 10 + i for i in range(4)}
TRANSPORTS = pytest.mark.parametrize("rtu", [False, True], ids=["tcp", "rtu_over_tcp"])


def connected(peer: FaultyPeer, rtu: bool, tags: Any = None, **config: Any) -> ModbusDriver:
    driver = make(
        tags or TAGS,
        host="127.0.0.1",
        port=peer.port,
        transport="rtu_over_tcp" if rtu else "tcp",
        **{"timeout_s": PATIENT_S, **config},
    )
    driver.connect()
    return driver


def wait_longer(driver: ModbusDriver) -> None:
    """From now on answers are to come."""
    driver._pace = driver._pace._replace(timeout_s=PATIENT_S)


def once(first: Callable[[Asked], Answer]) -> Callable[[Asked], Answer]:
    """The given answer to the first request, right ones afterwards."""
    return lambda asked: first(asked) if asked.number == 0 else [(0, asked.good())]


def drip(asked: Asked) -> Answer:
    return [(0.1 * i, bytes((byte,))) for i, byte in enumerate(asked.good())]


WRONG: dict[str, tuple[str, Callable[[Asked], Answer]]] = {
    "another unit": ("protocol", lambda a: [(0, a.frame(a.data(), unit=a.unit + 1))]),
    "another function": ("protocol", lambda a: [(0, a.frame(b"\x04" + a.data()[1:]))]),
    "a function that nobody knows": ("protocol", lambda a: [(0, a.frame(b"\x2b" + a.data()[1:]))]),
    "fewer registers": ("protocol", lambda a: [(0, a.frame(b"\x03\x06" + a.data()[2:8]))]),
    "more registers": ("protocol", lambda a: [(0, a.frame(b"\x03\x0a" + a.data()[2:] + b"\0\0"))]),
    "two answers": ("protocol", lambda a: [(0, a.good() + a.good())]),
    "garbage": ("protocol", lambda a: [(0, bytes(range(90, 130)))]),
    "silence": ("timeout", lambda a: []),
    "half an answer": ("timeout", lambda a: [(0, a.good()[:9])]),
    "one byte": ("timeout", lambda a: [(0, a.good()[:1])]),
    "drip": ("timeout", drip),
}
WRONG_TCP: dict[str, tuple[str, Callable[[Asked], Answer]]] = {
    "another transaction": (
        "protocol",
        lambda a: [(0, a.frame(a.data(), transaction=a.transaction ^ 1))],
    ),
    "a wrong byte count": ("protocol", lambda a: [(0, a.frame(b"\x03\x06" + a.data()[2:]))]),
    "a longer byte count": ("protocol", lambda a: [(0, a.frame(b"\x03\xfa" + a.data()[2:]))]),
    "a wrong protocol": ("protocol", lambda a: [(0, a.good()[:2] + b"\0\1" + a.good()[4:])]),
    "a frame too long": ("protocol", lambda a: [(0, a.good()[:4] + b"\xff\xff" + a.good()[6:])]),
    "an empty frame": ("protocol", lambda a: [(0, a.good()[:4] + b"\0\1" + a.good()[6:])]),
}
WRONG_RTU: dict[str, tuple[str, Callable[[Asked], Answer]]] = {
    "a wrong checksum": ("protocol", lambda a: [(0, a.good()[:-1] + bytes((a.good()[-1] ^ 1,)))]),
    "a flipped bit": ("protocol", lambda a: [(0, a.good()[:5] + b"\x55" + a.good()[6:])]),
    "a wrong byte count": ("protocol", lambda a: [(0, a.frame(b"\x03\x06" + a.data()[2:]))]),
    "a long byte count": ("timeout", lambda a: [(0, a.frame(b"\x03\xfa" + a.data()[2:]))]),
    "its own echo": ("protocol", lambda a: [(0, a.frame(b"\x01\x03\x00\x0a\x00\x04"))]),
}
CASES = [
    *((rtu, name, *case) for rtu in (False, True) for name, case in WRONG.items()),
    *((False, name, *case) for name, case in WRONG_TCP.items()),
    *((True, name, *case) for name, case in WRONG_RTU.items()),
]


@pytest.mark.parametrize(
    ("rtu", "name", "reason", "fault"),
    CASES,
    ids=[f"{'rtu' if rtu else 'tcp'}-{name}" for rtu, name, *_ in CASES],
)
def test_an_answer_that_is_not_right_in_every_byte_gives_no_value(
    rtu: bool, name: str, reason: str, fault: Callable[[Asked], Answer]
) -> None:
    with FaultyPeer(once(fault), rtu=rtu) as peer:
        # what is wrong must come in time; that an RTU line has no other is known only after it
        timeout_s = TIMEOUT_S if reason == "timeout" else 1.0
        driver = connected(peer, rtu, timeout_s=timeout_s)
        begun = time.monotonic()
        with pytest.raises(DeviceUnavailable) as caught:
            values(driver)
        assert caught.value.reason == reason, caught.value
        assert time.monotonic() - begun < timeout_s + 5.0
        # bytes that still come would be taken for part of the next answer, which is then not GOOD
        until(lambda: peer.asked and peer.is_quiet)
        wait_longer(driver)
        driver.connect()
        assert values(driver) == GOOD
        assert peer.connections == 2, "a connection that lied is not used again"
        driver.close()


@TRANSPORTS
def test_the_rest_of_a_slow_answer_is_in_no_value(rtu: bool) -> None:
    """It comes while the next requests wait: those answers are right, or they are none."""
    with FaultyPeer(once(drip), rtu=rtu) as peer:
        driver = connected(peer, rtu, timeout_s=TIMEOUT_S)
        with pytest.raises(DeviceUnavailable):
            values(driver)
        until(lambda: peer.asked)
        reasons = set()
        while not peer.is_quiet:
            try:
                driver.connect()
                assert values(driver) == GOOD
            except DeviceUnavailable as error:
                reasons.add(error.reason)
        assert reasons <= {"protocol", "timeout"}
        wait_longer(driver)
        driver.close()  # what came after a right answer may wait in this connection
        driver.connect()
        assert values(driver) == GOOD
        driver.close()


@TRANSPORTS
@pytest.mark.parametrize("other", ["holding:10", "holding:500"], ids=["same", "another"])
def test_an_answer_that_comes_late_is_never_taken_for_the_next(rtu: bool, other: str) -> None:
    """Each late answer arrives while the next request waits: the shift that RTU is known for."""

    def late(asked: Asked) -> Answer:
        right = asked.frame(asked.data(base=1000 * asked.number))
        # as a slow unit does, later answers never overtake earlier ones
        return [(SLOW_S + 0.1 if asked.number % 4 == 0 else 0.2, right)]

    tags = {
        "a": {"address": "holding:10", "type": "uint16[4]"},
        "b": {"address": other, "type": "uint16[4]"},
    }
    with FaultyPeer(late, rtu=rtu, in_order=rtu) as peer:
        driver = connected(peer, rtu, tags, one_request_per_tag=True, timeout_s=SLOW_S)
        good = 0
        for _ in range(12):
            try:
                found = values(driver)
            except DeviceUnavailable as error:
                if error.reason == "protocol":  # else each answer could meet the next request
                    until(lambda: peer.is_quiet)
                driver.connect()
                continue
            sent = {a.number: a for a in peer.asked}
            for name, start in (("a", 10), ("b", int(other.split(":")[1]))):
                number, rest = divmod(int(found[f"{name}_0"] or 0) - start, 1000)
                assert rest == 0, found
                assert sent[number].address == start
                assert sent[number].count == 4
                # of this cycle: nothing that was asked before the last two settled requests
                assert number >= len(sent) - 4, (number, len(sent))
            good += 1
        assert good >= 1
        driver.close()


def test_a_unit_that_answers_everything_one_timeout_late_gives_no_value_at_all() -> None:
    def shifted(asked: Asked) -> Answer:
        return [(LATE_S, asked.frame(asked.data(base=100 * asked.number)))]

    with FaultyPeer(shifted, rtu=True) as peer:
        driver = connected(peer, rtu=True, timeout_s=SLOW_S)
        for _ in range(6):
            with pytest.raises(DeviceUnavailable):
                values(driver)
            driver.connect()
        assert len({a.count for a in peer.asked}) > 1, "other lengths tell late answers apart"
        driver.close()


def test_a_late_refusal_does_not_make_a_good_tag_bad() -> None:
    def behave(asked: Asked) -> Answer:
        if asked.number == 0:
            return [(LATE_S, asked.refuse(2))]
        return [(0.08, asked.good())]

    with FaultyPeer(behave, rtu=True, in_order=True) as peer:
        driver = connected(peer, rtu=True, timeout_s=SLOW_S)
        with pytest.raises(DeviceUnavailable):
            values(driver)
        wait_longer(driver)
        driver.connect()
        assert values(driver) == GOOD
        driver.close()


def test_a_late_answer_of_one_unit_does_not_disturb_another_on_the_line() -> None:
    def behave(asked: Asked) -> Answer:
        return [(LATE_S if asked.unit == 2 else 0.1, asked.good())]

    with FaultyPeer(behave, rtu=True, in_order=True) as peer:
        bus = make_bus(host="127.0.0.1", port=peer.port, transport="rtu_over_tcp")
        slow, quick = (
            make(TAGS, name=n, on=bus, unit=u, timeout_s=timeout_s)
            for n, u, timeout_s in (("slow", 2, SLOW_S), ("quick", 1, PATIENT_S))
        )
        slow.connect()
        quick.connect()
        for _ in range(3):
            with pytest.raises(DeviceUnavailable):
                values(slow)
            assert values(quick) == GOOD
        slow.close()
        quick.close()


def test_what_a_unit_owes_is_forgotten_after_a_time() -> None:
    late, read = LateAnswers(), Read(1, "holding", 0, 2)
    late.owe(read, now=100.0)
    assert late.is_owed(read, 100.0 + KEEP_S - 1)
    assert late.is_owed(read._replace(address=50), 100.0)
    assert not late.is_owed(read._replace(length=3), 100.0)
    assert not late.is_owed(read._replace(unit=2), 100.0)
    assert not late.is_owed(read, 100.0 + KEEP_S)


def test_a_unit_that_owes_too_much_is_left_alone() -> None:
    """A refusal settles one owed answer at a time; the bus does not go on forever."""
    with FaultyPeer(lambda a: [(0, a.refuse(4))] if a.number > 5 else [], rtu=True) as peer:
        driver = connected(peer, rtu=True, timeout_s=0.05)
        for _ in range(6):
            with pytest.raises(DeviceUnavailable):
                values(driver)
            driver.connect()
        before = len(peer.asked)
        with pytest.raises(DeviceUnavailable) as caught:
            values(driver)
        assert caught.value.reason in ("late", "timeout")
        assert len(peer.asked) - before <= 5
        driver.close()


@pytest.mark.parametrize(
    ("code", "mark"),
    [
        (1, "BAD:illegal_function"),
        (2, "BAD:illegal_address"),
        (3, "BAD:illegal_value"),
        (4, "BAD:device_failure"),
        (5, "BAD:exception_5"),
    ],
)
@TRANSPORTS
def test_a_refusal_is_a_bad_value_with_its_reason(rtu: bool, code: int, mark: str) -> None:
    with FaultyPeer(lambda a: [(0, a.refuse(code))], rtu=rtu) as peer:
        # an RTU line listens for one time-out before it believes a unit that refuses all lengths
        driver = connected(peer, rtu, timeout_s=1.0)
        assert set(values(driver).values()) == {mark}
        assert driver.status()["last_exception"].startswith(mark.removeprefix("BAD:"))
        driver.close()


@pytest.mark.parametrize(("code", "reason"), [(10, "gateway_no_path"), (11, "gateway_no_answer")])
def test_a_gateway_that_cannot_reach_the_unit_makes_it_unavailable(code: int, reason: str) -> None:
    with FaultyPeer(lambda a: [(0, a.refuse(code))]) as peer:
        driver = connected(peer, rtu=False)
        with pytest.raises(DeviceUnavailable) as caught:
            values(driver)
        assert caught.value.reason == reason
        driver.close()


@TRANSPORTS
def test_a_connection_that_the_peer_closed_while_idle_is_opened_again_unnoticed(rtu: bool) -> None:
    with FaultyPeer(lambda a: [(0, a.good())], rtu=rtu) as peer:
        driver = connected(peer, rtu)
        assert values(driver) == GOOD
        # the new connection makes the peer close the idle one
        other = connected(peer, rtu)
        until(lambda: peer.connections == 2)
        driver.bus._last -= 10
        assert values(driver) == GOOD
        assert peer.connections == 3
        driver.close()
        other.close()


def test_the_checksum_of_the_test_peer_is_the_standards() -> None:
    assert crc(bytes.fromhex("010300000001")) == bytes.fromhex("840a")
