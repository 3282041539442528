"""The first reads of a process on an RTU line: what an earlier process left is never believed.

A new driver on a new bus stands for a new process: nothing is remembered from one to the next.
"""

from __future__ import annotations

import threading
import time
from typing import Any

import pytest

from drivers.modbus import ModbusDriver
from gateway.errors import DeviceUnavailable
from tests.drivers.modbus_support import make, make_bus, values
from tests.sims.modbus_faults import Answer, Asked, FaultyPeer
from tests.sims.modbus_peer import ModbusPeer
from tests.support import until

TIMEOUT_S = 0.5
"""Of units that answer too late, or not at all."""
PATIENT_S = 5.0
"""Where answers must come: this machine may be busy."""


def unit_at(peer: FaultyPeer, address: int, length: int = 4, **config: Any) -> ModbusDriver:
    driver = make(
        {"a": {"address": f"holding:{address}", "type": f"uint16[{length}]"}},
        host="127.0.0.1",
        port=peer.port,
        transport="rtu_over_tcp",
        **{"timeout_s": PATIENT_S, **config},
    )
    driver.connect()
    return driver


def counting(start: int, length: int = 4) -> dict[str, int]:
    return {f"a_{i}": start + i for i in range(length)}


def give_up(driver: ModbusDriver, requests: int = 1) -> None:
    """Read, and be stopped as by SIGTERM while the answer to that request is waited for."""

    def stop() -> None:
        until(lambda: driver.bus.requests >= requests)
        driver.interrupt()

    stopper = threading.Thread(target=stop)
    stopper.start()
    with pytest.raises(DeviceUnavailable):
        values(driver)
    stopper.join()
    driver.close()


def test_a_request_that_a_stop_abandoned_is_not_answered_to_the_next_process() -> None:
    def behave(asked: Asked) -> Answer:
        # the first answer comes when the next process waits for its own, and well before that one
        return [(0.4 if asked.number == 0 else 0.8, asked.good())]

    with FaultyPeer(behave, rtu=True) as peer:
        give_up(unit_at(peer, 111))
        until(lambda: peer.asked, what="the request that was abandoned")
        driver = unit_at(peer, 222)
        assert values(driver) == counting(222)
        assert values(driver) == counting(222)
        driver.close()


@pytest.mark.parametrize("kind", ["rtu", "rtu_tcp"])
def test_a_restart_while_a_real_unit_owes_an_answer_gives_no_wrong_value(kind: str) -> None:
    with ModbusPeer(kind, 20) as peer:  # this one answers 300 ms late
        line = {"serial": peer.place, "parity": "none", "baud": 115200}
        if kind == "rtu_tcp":
            line = {"host": "127.0.0.1", "port": peer.port, "transport": "rtu_over_tcp"}
        first, second = (
            make({"a": {"address": f"holding:{n}", "type": "uint16"}}, unit=20, **line)
            for n in (111, 222)
        )
        first.connect()
        give_up(first)
        second.connect()
        assert [values(second) for _ in range(2)] == [{"a": 222}] * 2
        second.close()


def test_commands_one_after_the_other_do_not_read_each_others_late_answers() -> None:
    """Each waits shorter than the unit takes: an error is right, a value of the other is not."""
    with FaultyPeer(lambda a: [(1.5 * TIMEOUT_S, a.good())], rtu=True) as peer:
        for start in (100, 200, 300, 400):
            driver = unit_at(peer, start, timeout_s=TIMEOUT_S)
            for _ in range(2):
                with pytest.raises(DeviceUnavailable):
                    values(driver)
                driver.connect()
            driver.close()


def leftovers() -> list[Any]:
    lengths = [pytest.param(lambda a, n=n: a._replace(count=n).data(7000), id=f"{n} registers")
               for n in (1, 2, 3, 4, 5, 9, 100)]  # fmt: skip
    refusals = [pytest.param(lambda a, c=c: bytes((0x83, c)), id=f"refusal {c}") for c in (2, 6)]
    return [
        *lengths,
        *refusals,
        pytest.param(lambda a: bytes((0x84, 2)), id="refusal of input registers"),
        pytest.param(lambda a: b"\x04" + a.data(7000)[1:], id="input registers"),
        pytest.param(lambda a: b"\x01\x02\x55\xaa", id="coils"),
    ]


@pytest.mark.parametrize("length", [1, 4, 40])
@pytest.mark.parametrize("left", leftovers())
def test_whatever_an_earlier_process_asked_for_comes_out_of_no_read(left: Any, length: int) -> None:
    def behave(asked: Asked) -> Answer:
        old = [(0.0, asked.frame(left(asked)))] if asked.number == 0 else []
        return [*old, (0.02, asked.good())]

    with FaultyPeer(behave, rtu=True) as peer:
        bus = make_bus(host="127.0.0.1", port=peer.port, transport="rtu_over_tcp")
        drivers = {
            start: make(
                {"a": {"address": f"holding:{start}", "type": f"uint16[{length}]"}},
                name=f"d{start}",
                on=bus,
            )
            for start in (50, 500)
        }
        for driver in drivers.values():
            driver.connect()
        expected = counting(0, length) if length > 1 else {"a": 0}
        for _ in range(2):
            for start, driver in drivers.items():
                assert values(driver) == {k: v + start for k, v in expected.items()}
        for driver in drivers.values():
            driver.close()


def test_an_old_answer_of_another_unit_on_the_line_is_dropped() -> None:
    def behave(asked: Asked) -> Answer:
        old = [(0.0, asked.frame(asked.data(7000), unit=2))] if asked.number == 0 else []
        return [*old, (0.02, asked.good())]

    with FaultyPeer(behave, rtu=True) as peer:
        bus = make_bus(host="127.0.0.1", port=peer.port, transport="rtu_over_tcp")
        tags = {"a": {"address": "holding:50", "type": "uint16[4]"}}
        one, two = (make(tags, name=f"m{u}", on=bus, unit=u) for u in (1, 2))
        one.connect()
        two.connect()
        assert values(one) == values(two) == counting(50)
        one.close()
        two.close()


# -- what it costs --------------------------------------------------------------------------------


def test_the_first_read_of_a_unit_costs_three_requests_more_and_only_the_first() -> None:
    with FaultyPeer(lambda a: [(0, a.good())], rtu=True) as peer:
        driver = unit_at(peer, 10, 20)
        assert values(driver) == counting(10, 20)
        counts = [a.count for a in peer.asked]
        assert [counts[0], counts[-1], len(counts)] == [20, 20, 4]
        assert len(set(counts)) == 3
        assert all(a.address == 10 and a.count <= 20 for a in peer.asked), "inside what is known"
        for _ in range(2):
            driver.close()
            driver.connect()
            assert values(driver) == counting(10, 20)
        assert len(peer.asked) == 6
        driver.close()


def test_a_silent_unit_costs_one_request_and_one_time_out_from_the_first_read_on() -> None:
    with FaultyPeer(lambda a: [], rtu=True) as peer:
        driver = unit_at(peer, 10, timeout_s=TIMEOUT_S)
        for number in (1, 2, 3):
            begun = time.monotonic()
            with pytest.raises(DeviceUnavailable) as caught:
                values(driver)
            assert caught.value.reason == "timeout"
            # how many time-outs it waits is seen by the requests
            assert time.monotonic() - begun < TIMEOUT_S + 2
            until(lambda number=number: len(peer.asked) >= number)
            assert len(peer.asked) == number
            driver.connect()
        driver.close()


@pytest.mark.parametrize("answer", ["refuses", "ignores"])
@pytest.mark.parametrize("length", [1, 4])
def test_a_unit_that_knows_only_one_length_is_read_after_one_time_out_of_silence(
    answer: str, length: int
) -> None:
    def behave(asked: Asked) -> Answer:
        if asked.count == length:
            return [(0, asked.good())]
        return [(0, asked.refuse(3))] if answer == "refuses" else []

    with FaultyPeer(behave, rtu=True) as peer:
        driver = unit_at(peer, 10, length, timeout_s=2.0)
        expected = counting(10, length) if length > 1 else {"a": 10}
        begun = time.monotonic()
        assert values(driver) == expected
        assert 2.0 <= time.monotonic() - begun < 4.0, "one time-out"
        before = len(peer.asked)
        assert values(driver) == expected
        assert len(peer.asked) == before + 1
        driver.close()


def test_units_that_refuse_other_lengths_make_a_line_listen_once_for_all_of_them() -> None:
    def behave(asked: Asked) -> Answer:
        return [(0, asked.good() if asked.count == 4 else asked.refuse(2))]

    with FaultyPeer(behave, rtu=True) as peer:
        bus = make_bus(host="127.0.0.1", port=peer.port, transport="rtu_over_tcp", timeout_s=1.0)
        tags = {"a": {"address": "holding:10", "type": "uint16[4]"}}
        drivers = [make(tags, name=f"m{u}", on=bus, unit=u, timeout_s=1.0) for u in range(1, 11)]
        begun = time.monotonic()
        for driver in drivers:
            driver.connect()
            assert values(driver) == counting(10)
        assert time.monotonic() - begun < 5, "ten units, not ten time-outs"
        for driver in drivers:
            driver.close()


def test_a_stop_while_it_listens_is_not_waited_for() -> None:
    def behave(asked: Asked) -> Answer:
        return [(0, asked.good() if asked.count == 4 else asked.refuse(2))]

    with FaultyPeer(behave, rtu=True) as peer:
        driver = unit_at(peer, 10, timeout_s=20.0)
        begun = time.monotonic()
        give_up(driver, requests=4)
        assert time.monotonic() - begun < 15, "it was to listen for 20 s"


def test_transaction_numbers_begin_elsewhere_in_each_process() -> None:
    """So that a converter that still holds an old answer cannot pass it to us."""
    with FaultyPeer(lambda a: [(0, a.good())]) as peer:
        for _ in range(4):
            driver = make(
                {"a": {"address": "holding:10", "type": "uint16[4]"}},
                host="127.0.0.1",
                port=peer.port,
            )
            driver.connect()
            assert values(driver) == counting(10)
            driver.close()
        assert len({a.transaction for a in peer.asked}) > 1
