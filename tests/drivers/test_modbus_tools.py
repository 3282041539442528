"""What technicians use: the simulation of a config, and the probe of one address."""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterator

import pytest

from drivers.modbus import ModbusDriver
from gateway.errors import DeviceUnavailable
from tests.drivers.modbus_support import make, make_bus, read, values
from tests.sims.modbus_peer import ModbusPeer

EVERY = {
    **{
        f"{kind}_{order}": {"address": f"holding:{10 * i + 100 * j}", "type": kind, "order": order}
        for i, kind in enumerate(("int16", "uint32", "int64", "float32", "float64", "int8h"))
        for j, order in enumerate(("ABCD", "CDAB", "BADC", "DCBA"))
    },
    "text": {"address": "input:3", "type": "string[9]"},
    "swapped": {"address": "input:13", "type": "string[9]", "order": "DCBA"},
    "bit": {"address": "input:20.9", "type": "bool"},
    "coils": {"address": "coil:5", "type": "bool[20]"},
    "discrete": {"address": "discrete:17", "type": "bool"},
}


@pytest.fixture(scope="module")
def peer() -> Iterator[ModbusPeer]:
    with ModbusPeer("tcp", 0) as running:
        yield running


def test_every_type_is_simulated_so_that_it_reads_plausibly_and_moves() -> None:
    driver = make(EVERY, serial="/dev/ttyUSB0", unit=3)
    simulation = ModbusDriver.simulate([driver])
    try:
        driver.redirect(simulation.endpoints["d"])
        driver.connect()
        seen = []
        for second in (2.0, 17.0):
            simulation.step(second)
            found = values(driver)
            numbers = {n: v for n, v in found.items() if "int" in n or "float" in n}
            assert all(10 <= float(v or 0) <= 90 for v in numbers.values()), numbers
            assert found["text"] == found["swapped"] == f"SIM {int(second):04d}"
            seen.append(found)
        assert all(seen[0][n] != seen[1][n] for n in ("text", "float32_CDAB", "bit", "coils_3"))
        driver.close()
    finally:
        simulation.close()


def test_units_of_one_bus_share_a_port_and_keep_their_numbers() -> None:
    tags = {"x": {"address": "40001", "type": "uint16"}}
    bus = make_bus(serial="/dev/ttyUSB0")
    first, second = (make(tags, name=f"m{u}", on=bus, unit=u) for u in (1, 2))
    alone = make(tags, name="alone", host="10.0.0.7")
    simulation = ModbusDriver.simulate([first, second, alone])
    ports = {name: endpoint.port for name, endpoint in simulation.endpoints.items()}
    try:
        assert ports["m1"] == ports["m2"] != ports["alone"]
        for driver in (first, second, alone):
            driver.redirect(simulation.endpoints[driver.name])
            driver.connect()
            assert read(driver).marks is None
        assert bus.connects == 1
        stranger = make(tags, name="m3", host="127.0.0.1", port=ports["m1"], unit=3)
        stranger.connect()
        with pytest.raises(DeviceUnavailable) as caught:
            values(stranger)
        assert caught.value.reason == "gateway_no_answer"
        for driver in (first, second, alone, stranger):
            driver.close()
    finally:
        simulation.close()
        simulation.close()


def test_a_simulated_unit_refuses_what_the_map_does_not_need_and_survives_garbage() -> None:
    driver = make({"x": {"address": "holding:9", "type": "uint16"}}, host="a")
    simulation = ModbusDriver.simulate([driver])
    place = (simulation.endpoints["d"].host, simulation.endpoints["d"].port)
    try:
        for pdu, answer in (
            ("0300090001", "0302"),
            ("03000a0001", "8302"),
            ("0400000001", "8402"),
            ("0300000000", "8303"),
            ("06000900ff", "8601"),
            ("2b0e0100", "ab01"),
        ):
            body = bytes.fromhex(pdu)
            with socket.create_connection(place) as connection:
                connection.sendall(struct.pack(">HHHB", 7, 0, len(body) + 1, 1) + body)
                got = connection.recv(300)
            assert got[:4] == b"\0\x07\0\0"
            assert got[7:].hex().startswith(answer), (pdu, got.hex())
        with socket.create_connection(place) as connection:
            connection.sendall(b"GET / HTTP/1.1\r\n\r\n")
            assert connection.recv(300) == b""
        driver.redirect(simulation.endpoints["d"])
        driver.connect()
        assert read(driver).marks is None
        driver.close()
    finally:
        simulation.close()


def test_a_probe_shows_a_place_under_all_orders_and_its_neighbours(peer: ModbusPeer) -> None:
    peer.write("holding", 99, bytes.fromhex("0007 43cc 2ccd 4142 4344"))
    driver = make({"x": {"address": "40001", "type": "uint16"}}, host="127.0.0.1", port=peer.port)
    probe = driver.probe("40101")
    assert probe.address == "holding:100"
    assert probe.raw == bytes.fromhex("43cc2ccd41424344")
    found = dict(probe.readings)
    assert found["float32 ABCD"] == "408.35"
    assert found["uint32 CDAB"] == str(0x2CCD43CC)
    assert found["uint32 BADC"] == str(0xCC43CD2C)
    assert found["uint32 DCBA"] == str(0xCD2CCC43)
    assert found["uint16 ABCD"] == str(0x43CC)
    assert found["uint16 BADC"] == str(0xCC43)
    assert found["bits 15..0"] == "0100001111001100"
    assert found["string[8] ABCD"].endswith("ABCD'")
    assert found["holding:99 uint16 ABCD"] == "7"
    assert found["holding:101 uint16 ABCD"] == str(0x2CCD)
    assert not driver.bus.is_attached("d"), "a probe leaves a closed device closed"


def test_a_probe_of_bits_and_of_the_ends_of_a_table(peer: ModbusPeer) -> None:
    driver = make({"x": {"address": "40001", "type": "uint16"}}, host="127.0.0.1", port=peer.port)
    driver.connect()
    peer.write("holding", 0, bytes.fromhex("0208"))
    assert dict(driver.probe("holding:0.3").readings)["bool ABCD"] == "true"
    assert dict(driver.probe("holding:0.3").readings)["bool BADC"] == "false"
    coil = driver.probe("00004")
    assert (coil.address, dict(coil.readings)["bool"]) == ("coil:3", "true")
    assert dict(coil.readings)["coil:2 bool"] == "false"
    # the peer has 10,000 registers
    last = driver.probe("holding:9999")
    assert len(last.raw) == 2
    assert dict(last.readings)["holding:10000"] == "illegal_address"
    with pytest.raises(ValueError, match=r"refuses holding:20000: illegal_address \(2\)"):
        driver.probe("holding:20000")
    with pytest.raises(ValueError, match="did you mean 'holding:1'"):
        driver.probe("hold:1")
    assert read(driver).marks is None
    driver.close()


def test_a_probe_of_a_unit_that_is_not_there_says_so(peer: ModbusPeer) -> None:
    tags = {"x": {"address": "40001", "type": "uint16"}}
    driver = make(tags, host="127.0.0.1", port=peer.port, unit=17)
    with pytest.raises(DeviceUnavailable) as caught:
        driver.probe("40001")
    assert caught.value.reason == "gateway_no_path"


def test_the_status_tells_where_the_unit_is_and_what_it_refused(peer: ModbusPeer) -> None:
    tags = {"x": {"address": "holding:30000", "type": "uint16"}}
    driver = make(tags, host="127.0.0.1", port=peer.port, unit=5)
    driver.connect()
    values(driver)
    status = driver.status()
    assert status["endpoint"] == f"127.0.0.1:{peer.port}"
    assert (status["transport"], status["unit"]) == ("tcp", 5)
    assert status["last_exception"] == "illegal_address (2) for holding:30000"
    driver.close()
