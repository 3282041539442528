"""Modbus connections that cannot be made, break, or are stopped."""

from __future__ import annotations

import os
import threading
import time
import tty
from pathlib import Path

import pytest

from drivers.modbus.port import open_port
from gateway.errors import DeviceUnavailable
from tests.drivers.modbus_support import make, make_bus, values
from tests.sims.modbus_peer import ModbusPeer
from tests.support import free_port, until

PAIR = {"a": {"address": "holding:10", "type": "uint16[4]"}}
GOOD = {f"a_{i}": 10 + i for i in range(4)}


def test_an_unreachable_host_is_given_up_within_the_time_out() -> None:
    # an address reserved for documentation: nobody answers, or the network says so
    driver = make(PAIR, host="192.0.2.1", timeout_s=0.3)
    begun = time.monotonic()
    with pytest.raises(DeviceUnavailable) as caught:
        driver.connect()
    assert time.monotonic() - begun < 5.0, "the kernel alone tries for minutes"
    assert caught.value.reason in ("timeout", "unreachable", "refused")
    driver.close()


@pytest.mark.parametrize(
    ("config", "reason"),
    [
        ({"host": "127.0.0.1", "port": 0}, "refused"),
        ({"host": "no-such-host.invalid"}, "unknown_host"),
        ({"serial": "/dev/no-such-port"}, "no_port"),
        ({"serial": "/dev/null"}, "no_port"),
        ({"serial": "/tmp"}, "no_port"),
    ],
)
def test_why_a_connection_failed_is_told(config: dict[str, object], reason: str) -> None:
    if config.get("port") == 0:
        config = {**config, "port": free_port()}
    driver = make(PAIR, **config)
    with pytest.raises(DeviceUnavailable) as caught:
        driver.connect()
    assert caught.value.reason == reason
    driver.close()


def test_a_serial_port_that_another_program_holds_is_reported_as_busy() -> None:
    with ModbusPeer("rtu", 1) as peer:
        first, second = (make(PAIR, serial=peer.place, parity="none") for _ in range(2))
        first.connect()
        with pytest.raises(DeviceUnavailable) as caught:
            second.connect()
        assert caught.value.reason == "port_busy"
        assert values(first) == GOOD
        first.close()
        second.close()


@pytest.mark.parametrize("parity", ["even", "odd"])
def test_a_port_that_does_not_take_the_parity_is_not_reported_as_busy(parity: str) -> None:
    """A pseudo-terminal has none: the kernel drops it, and at the first time says nothing."""
    adapter, line = os.openpty()
    tty.setraw(line)
    try:
        for _ in range(3):
            driver = make(PAIR, serial=os.ttyname(line), parity=parity)
            with pytest.raises(DeviceUnavailable, match=f"does not take .*parity {parity}") as told:
                driver.connect()
            assert told.value.reason == "port_settings"
            driver.close()
        driver = make(PAIR, serial=os.ttyname(line), parity="none", stop_bits=2)
        driver.connect()  # and nothing was left open that would keep it
        driver.close()
    finally:
        os.close(line)
        os.close(adapter)


def test_a_serial_adapter_that_is_pulled_out_makes_the_device_unavailable(tmp_path: Path) -> None:
    adapter, line = os.openpty()
    tty.setraw(line)
    # by a name of its own, which goes with it: the kernel gives that of a terminal to the next
    port = tmp_path / "ttyUSB0"
    port.symlink_to(os.ttyname(line))
    driver = make(PAIR, serial=str(port), parity="none", timeout_s=0.2)
    driver.connect()
    port.unlink()
    os.close(line)
    os.close(adapter)
    for expected in ("closed", "no_port"):
        with pytest.raises(DeviceUnavailable) as caught:
            driver.connect()
            values(driver)
        assert caught.value.reason == expected, caught.value
        driver.interrupt()
    driver.close()


def test_every_use_of_a_dead_serial_port_is_an_os_error_and_stopping_none() -> None:
    adapter, line = os.openpty()
    tty.setraw(line)
    port = open_port(make_bus(serial=os.ttyname(line), parity="none").line, 0.2)
    os.close(line)
    os.close(adapter)
    soon = time.monotonic() + 1
    for use in (port.discard, lambda: port.send(b"x", soon), lambda: port.receive(1, soon)):
        with pytest.raises(OSError, match=r"port"):
            use()
    port.interrupt()
    port.close()
    port.interrupt()
    port.close()


def test_interrupting_a_serial_port_while_it_is_closed_never_raises() -> None:
    adapter, line = os.openpty()
    tty.setraw(line)
    port = open_port(make_bus(serial=os.ttyname(line), parity="none").line, 0.2)
    serial = port._socket
    # half closed, as another thread may find it: it has no pipe any more and still counts as open
    pipe, serial.pipe_abort_read_w = serial.pipe_abort_read_w, None
    port.interrupt()
    serial.pipe_abort_read_w = pipe
    port.close()
    port.interrupt()
    os.close(line)
    os.close(adapter)


def test_status_says_where_the_unit_is() -> None:
    device = make(PAIR, host="127.0.0.1", port=1502, unit=9)
    on_line = make(PAIR, on=make_bus(serial="/dev/ttyUSB0"), unit=7)
    assert [(d.status()["endpoint"], d.status()["unit"]) for d in (device, on_line)] == [
        ("127.0.0.1:1502", 9),
        ("/dev/ttyUSB0", 7),
    ]


def test_after_a_restart_of_the_peer_it_is_read_again() -> None:
    port = free_port()
    driver = make(PAIR, host="127.0.0.1", port=port)
    with ModbusPeer("tcp", port):
        driver.connect()
        assert values(driver) == GOOD
    for expected in ("closed", "refused"):
        with pytest.raises(DeviceUnavailable) as caught:
            values(driver)
        assert caught.value.reason == expected
    driver.close()
    with ModbusPeer("tcp", port):
        driver.connect()
        assert values(driver) == GOOD
    driver.close()


@pytest.mark.parametrize("kind", ["tcp", "rtu"])
def test_a_wait_for_an_answer_can_be_interrupted(kind: str) -> None:
    with ModbusPeer(kind, 0 if kind == "tcp" else 1) as peer:
        line = {"host": "127.0.0.1", "port": peer.port} if kind == "tcp" else {}
        serial = {"serial": peer.place, "parity": "none"} if kind == "rtu" else {}
        driver = make(PAIR, unit=19, timeout_s=30.0, **line, **serial)
        driver.connect()
        found: list[str] = []

        def poll() -> None:
            try:
                values(driver)
            except DeviceUnavailable as error:
                found.append(error.reason)

        thread = threading.Thread(target=poll)
        thread.start()
        until(lambda: driver.bus.requests == 1)
        driver.interrupt()
        thread.join(5)
        assert found == ["closed"]
        driver.close()


def test_a_pause_can_be_interrupted() -> None:
    with ModbusPeer("tcp", 0) as peer:
        driver = make(PAIR, host="127.0.0.1", port=peer.port, pause_after_connect_s=10.0)
        driver.connect()
        threading.Timer(0.05, driver.interrupt).start()
        begun = time.monotonic()
        with pytest.raises(DeviceUnavailable) as caught:
            values(driver)
        assert caught.value.reason == "closed"
        assert time.monotonic() - begun < 5, "half the pause"
        driver.close()


def test_a_dropped_connection_leaves_no_descriptor_behind() -> None:
    with ModbusPeer("tcp", 0) as peer:
        driver = make(PAIR, host="127.0.0.1", port=peer.port, unit=19, timeout_s=0.02)
        driver.connect()
        before = len(os.listdir("/proc/self/fd"))
        for _ in range(20):
            with pytest.raises(DeviceUnavailable):
                values(driver)
            driver.connect()
        assert len(os.listdir("/proc/self/fd")) <= before + 1
        driver.close()
        driver.close()
