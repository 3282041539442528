"""Devices and buses against an independent server: isolation, sharing, quirks."""

from __future__ import annotations

import time
from collections.abc import Iterator
from itertools import pairwise

import numpy as np
import pytest

from drivers.modbus import ModbusDriver
from drivers.modbus.bus import ModbusBus
from gateway.driver import DeviceMap
from gateway.errors import DeviceUnavailable
from tests.drivers.modbus_support import make, make_bus, read, values
from tests.sims.modbus_peer import ModbusPeer

PAIR = {"a": {"address": "holding:10", "type": "uint16[4]"}}
GOOD = {f"a_{i}": 10 + i for i in range(4)}


@pytest.fixture(scope="module")
def server() -> Iterator[ModbusPeer]:
    with ModbusPeer("tcp", 0) as running:
        yield running


@pytest.fixture
def peer(server: ModbusPeer) -> ModbusPeer:
    assert server.tell("reset") == "ok"
    return server


def at(peer: ModbusPeer, tags: dict[str, dict[str, object]], **config: object) -> ModbusDriver:
    driver = make(tags, host="127.0.0.1", port=peer.port, **config)
    driver.connect()
    return driver


# -- what the unit refuses ------------------------------------------------------------------------


def test_one_bad_register_is_isolated_and_the_rest_stays_good_and_merged(peer: ModbusPeer) -> None:
    tags = {f"t{n}": {"address": f"holding:{n}", "type": "uint16"} for n in range(100)}
    peer.tell("refuse holding 37 1")
    driver = at(peer, tags)
    for _ in range(2):
        found = values(driver)
        assert found.pop("t37") == "BAD:illegal_address"
        assert found == {f"t{n}": n for n in range(100) if n != 37}
        found["t37"] = None
    assert driver.quarantined() == [("process", "t37", "illegal_address")]
    peer.log()
    values(driver)
    assert [entry[3:] for entry in peer.log()] == [(0, 37), (38, 62)]
    driver.close()


def test_a_hole_between_tags_is_learnt_and_costs_no_value(peer: ModbusPeer) -> None:
    tags = {f"t{n}": {"address": f"holding:{n}", "type": "uint16"} for n in (0, 1, 2, 6, 7, 9)}
    peer.tell("refuse holding 4 1")
    driver = at(peer, tags)
    good = {f"t{n}": n for n in (0, 1, 2, 6, 7, 9)}
    assert values(driver) == good, "already in the first poll"
    peer.log()
    assert values(driver) == good
    assert [entry[3:] for entry in peer.log()] == [(0, 3), (6, 4)]
    driver.close()


def test_a_unit_that_takes_fewer_registers_than_configured_is_learnt(peer: ModbusPeer) -> None:
    peer.tell("limit 40")
    driver = at(peer, {"t": {"address": "holding:0", "type": "uint16[100]"}})
    assert values(driver) == {f"t_{n}": n for n in range(100)}
    driver.close()


def test_a_busy_unit_is_bad_for_one_poll_and_teaches_nothing(peer: ModbusPeer) -> None:
    driver = at(peer, PAIR)
    peer.tell("busy 1")
    assert set(values(driver).values()) == {"BAD:busy"}
    assert driver.quarantined() == []
    peer.log()
    assert values(driver) == GOOD
    assert [entry[3:] for entry in peer.log()] == [(10, 4)]
    driver.close()


def test_a_table_that_the_unit_lacks_is_not_asked_for_in_every_poll(peer: ModbusPeer) -> None:
    tags = {**PAIR, "x": {"address": "input:0", "type": "uint16[8]"}}
    peer.tell("refuse input 0 9000 1")
    driver = at(peer, tags)
    for _ in range(2):
        peer.log()
        found = values(driver)
        assert {found[f"x_{i}"] for i in range(8)} == {"BAD:illegal_function"}
        assert found["a_0"] == 10
    assert [entry[2:] for entry in peer.log()] == [("holding", 10, 4)]
    driver.close()


@pytest.mark.parametrize(("unit", "reason"), [(17, "gateway_no_path"), (18, "gateway_no_answer")])
def test_a_unit_that_the_gateway_cannot_reach_is_unavailable(
    peer: ModbusPeer, unit: int, reason: str
) -> None:
    driver = at(peer, PAIR, unit=unit)
    with pytest.raises(DeviceUnavailable) as caught:
        values(driver)
    assert caught.value.reason == reason
    driver.close()


# -- torn values ----------------------------------------------------------------------------------


def test_no_value_is_torn_where_a_request_must_end(peer: ModbusPeer) -> None:
    """All registers hold one number, the next one every 5 ms; 125 registers are 62.5 values."""
    tags = {"t": {"address": "holding:1", "type": "uint32[200]"}}
    peer.write("holding", 0, bytes(2000))
    peer.tell("move holding 0 1000 5")
    driver = at(peer, tags, timeout_s=10.0)
    table = driver.groups[0].tables[0]
    assert len(table.columns) == 200
    straddling = 0
    for _ in range(10_000):
        (numbers,) = read(driver).parts
        high, low = np.divmod(np.asarray(numbers), 65536)
        assert (high == low).all()
        straddling += len(set(high.tolist())) > 1
    assert straddling > 10, "the peer never moved between two requests"
    driver.close()


# -- several units on one bus ---------------------------------------------------------------------


def shared(bus: ModbusBus, *units: int, timeout_s: float = 3.0) -> dict[int, ModbusDriver]:
    return {u: make(PAIR, name=f"m{u}", on=bus, unit=u, timeout_s=timeout_s) for u in units}


@pytest.mark.parametrize("kind", ["tcp", "rtu", "rtu_tcp"])
def test_a_silent_unit_does_not_take_the_others_of_its_bus_down(kind: str) -> None:
    arguments = (0,) if kind == "tcp" else (1, 2, 20)
    with ModbusPeer(kind, *arguments) as peer:
        if kind == "rtu":
            bus = make_bus(serial=peer.place, baud=115200, parity="none")
        else:
            transport = "tcp" if kind == "tcp" else "rtu_over_tcp"
            bus = make_bus(host="127.0.0.1", port=peer.port, transport=transport)
        # 19 never answers, 20 answers 100 ms after the time-out, which the others do not have:
        # over TCP the peer sleeps meanwhile, and they must wait for it
        drivers: dict[int, ModbusDriver] = {}
        for unit in (1, 19, 2, 20):
            drivers |= shared(bus, unit, timeout_s=0.2 if unit >= 19 else 3.0)
        for driver in drivers.values():
            driver.connect()
        for _ in range(3):
            for unit, driver in drivers.items():
                if unit >= 19:
                    with pytest.raises(DeviceUnavailable) as caught:
                        values(driver)
                    assert caught.value.reason == "timeout"
                    driver.close()
                    driver.connect()
                else:
                    assert values(driver) == GOOD
        assert {entry[1] for entry in peer.log()} >= ({1, 2, 20})
        for driver in drivers.values():
            driver.close()


@pytest.mark.parametrize("kind", ["tcp", "rtu_tcp"])
def test_dead_units_that_come_and_go_do_not_disturb_the_others_of_their_bus(kind: str) -> None:
    with ModbusPeer(kind, *((0,) if kind == "tcp" else (1,))) as peer:
        transport = "tcp" if kind == "tcp" else "rtu_over_tcp"
        bus = make_bus(host="127.0.0.1", port=peer.port, transport=transport)
        # over TCP only 19 is silent, on the line all that are not there
        dead = [shared(bus, 19, timeout_s=0.3)[19]] * 3
        if kind != "tcp":
            dead = list(shared(bus, 31, 32, 33, timeout_s=0.3).values())
        good = shared(bus, 1)[1]
        good.connect()
        assert values(good) == GOOD
        took_s: list[float] = []
        for _ in range(3):
            for driver in dead:
                driver.connect()
                with pytest.raises(DeviceUnavailable) as caught:
                    values(driver)
                assert caught.value.reason == "timeout"
                driver.close()
                begun = time.monotonic()
                assert values(good) == GOOD
                took_s.append(time.monotonic() - begun)
                assert good.bus.is_attached(good.name)
        # without another pause of the bus, and no settling for what others owe: those would be in
        # every read, and what this machine does besides is not
        assert sorted(took_s)[len(took_s) // 2] < 0.5
        assert len([e for e in peer.log() if e[1] == 1]) <= 10 + 3
        good.close()


def test_closing_one_device_leaves_the_bus_to_the_others(peer: ModbusPeer) -> None:
    bus = make_bus(host="127.0.0.1", port=peer.port)
    drivers = shared(bus, 1, 2)
    for driver in drivers.values():
        driver.connect()
    drivers[1].close()
    assert values(drivers[2]) == GOOD
    with pytest.raises(DeviceUnavailable) as caught:
        values(drivers[1])
    assert caught.value.reason == "closed"
    assert bus.connects == 1
    drivers[2].close()


def test_a_device_takes_its_time_out_from_its_bus_unless_it_has_its_own() -> None:
    bus = make_bus(host="127.0.0.1", timeout_s=7.0)
    config = ModbusDriver.config_class.model_validate(
        {"driver": "modbus", "bus": bus.name, "map": "map.yaml"}
    )
    driver = make(PAIR, on=bus)
    assert driver._pace.timeout_s == 3.0
    patient = ModbusDriver("p", config, DeviceMap("m.yaml"), bus)
    assert patient._pace.timeout_s == 7.0


# -- quirks, counted on the wire ------------------------------------------------------------------


def test_pauses_are_kept_on_the_wire(peer: ModbusPeer) -> None:
    tags = {f"t{n}": {"address": f"holding:{100 * n}", "type": "uint16"} for n in range(4)}
    begun = time.monotonic()  # the pause begins with the connection
    driver = at(peer, tags, pause_after_connect_s=0.15, pause_between_requests_s=0.03)
    values(driver)
    times = [entry[0] for entry in peer.log()]
    assert times[0] - begun >= 0.15
    assert len(times) == 4
    assert all(later - earlier >= 0.029 for earlier, later in pairwise(times))
    driver.close()


def test_pauses_of_a_bus_hold_between_its_devices(peer: ModbusPeer) -> None:
    bus = make_bus(host="127.0.0.1", port=peer.port, pause_between_requests_s=0.03)
    drivers = shared(bus, 1, 2)
    for driver in drivers.values():
        driver.connect()
    for _ in range(2):
        for driver in drivers.values():
            values(driver)
    times = [entry[0] for entry in peer.log()]
    assert len(times) == 4
    assert all(later - earlier >= 0.029 for earlier, later in pairwise(times))
    for driver in drivers.values():
        driver.close()


def test_requests_are_as_many_and_as_long_as_the_quirks_say(peer: ModbusPeer) -> None:
    tags = {
        "a": {"address": "holding:0", "type": "uint16"},
        "b": {"address": "holding:1", "type": "uint16[3]"},
        "c": {"address": "holding:6", "type": "uint16"},
        "d": {"address": "coil:0", "type": "bool[40]"},
    }
    wanted = {
        (): [(3, 0, 7), (1, 0, 40)],
        ("max_gap",): [(3, 0, 4), (3, 6, 1), (1, 0, 40)],
        ("max_registers",): [(3, 0, 3), (3, 3, 1), (3, 6, 1), (1, 0, 40)],
        ("max_coils",): [(3, 0, 7), (1, 0, 16), (1, 16, 16), (1, 32, 8)],
        ("one_request_per_tag",): [(3, 0, 1), (3, 1, 3), (3, 6, 1), (1, 0, 40)],
    }
    settings = {"max_gap": 1, "max_registers": 3, "max_coils": 16, "one_request_per_tag": True}
    functions = {"holding": 3, "coil": 1}
    for quirks, requests in wanted.items():
        driver = at(peer, tags, **{q: settings[q] for q in quirks})
        found = values(driver)
        assert [found[n] for n in ("a", "b_2", "c", "d_39")] == [0, 3, 6, True]
        assert [(functions[e[2]], *e[3:]) for e in peer.log()] == requests, quirks
        driver.close()
