"""A gRPC server that is not there, dies, freezes, hides or speaks TLS; and what is left behind."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from drivers.nidaq import NidaqDriver, vendor
from drivers.nidaq.partial import part_of_block
from drivers.nidaq.server import DeviceServer, Service
from drivers.nidaq.session import task_name
from drivers.nidaq.simulator import Sensors
from gateway.driver import Endpoint
from gateway.errors import DeviceUnavailable
from gateway.model import Array
from tests.drivers.nidaq_support import ACCELEROMETER, FOUR, at, is_exact, make, wave
from tests.sims.ni_peer import NiServer
from tests.support import free_port, need_program, until

BLOCK_S = 0.02
TIMEOUT_S = 2.0
BLOCK = 512


@pytest.fixture
def server() -> Iterator[NiServer]:
    with NiServer() as server:
        yield server


@pytest.fixture
def driver(server: NiServer) -> Iterator[NidaqDriver]:
    driver = make(FOUR, block_s=BLOCK_S, timeout_s=TIMEOUT_S, grpc=at(server.port))
    yield driver
    driver.close()


def lost(driver: NidaqDriver, *, connecting: bool = False) -> str:
    with pytest.raises(DeviceUnavailable) as caught:
        if connecting:
            driver.connect()
        else:
            for _ in range(100):  # what is on its way may still arrive
                driver.read_block()
    return caught.value.reason


def assert_reads(driver: NidaqDriver) -> None:
    driver.connect()
    for number in range(3):
        block = driver.read_block()
        assert (block.first, block.samples, block.gap) == (number * BLOCK, BLOCK, None)
        assert is_exact(driver, block)


def test_a_server_that_was_killed_is_lost_refused_and_found_again(driver: NidaqDriver) -> None:
    with NiServer() as doomed:
        driver.redirect(Endpoint("127.0.0.1", doomed.port))
        assert_reads(driver)
        doomed.kill()
        assert lost(driver) == "closed"
        assert lost(driver, connecting=True) == "refused"
    with NiServer(doomed.port):
        assert_reads(driver)
        driver.close()


def test_a_frozen_server_is_given_up_in_time_and_its_old_task_ended(
    server: NiServer, driver: NidaqDriver
) -> None:
    assert_reads(driver)
    os.kill(server.process.pid, signal.SIGSTOP)
    try:
        begun = time.monotonic()
        assert lost(driver) == "timeout"
        # the read, and the attempt to end the task in peace
        assert time.monotonic() - begun < BLOCK_S + 2 * TIMEOUT_S + 5.0
        begun = time.monotonic()
        assert lost(driver, connecting=True) == "timeout"
        assert time.monotonic() - begun < TIMEOUT_S + 5.0
    finally:
        os.kill(server.process.pid, signal.SIGCONT)
    # the card is still reserved by the task of the connection that was lost
    assert_reads(driver)
    assert len(server.tell("tasks")) == 1


def test_a_task_of_a_gateway_that_was_killed_is_found_and_ended(
    server: NiServer, driver: NidaqDriver
) -> None:
    channel = vendor.grpc.insecure_channel(at(server.port))
    options = vendor.GrpcSessionOptions(channel, task_name("daq"))
    left = vendor.nidaqmx.Task(task_name("daq"), grpc_options=options)
    left.ai_channels.add_ai_voltage_chan("cDAQ1Mod1/ai0")
    left.start()
    channel.close()
    assert server.tell("tasks") == [task_name("daq")]
    assert_reads(driver)


def test_a_card_that_another_task_has_is_reserved(server: NiServer, driver: NidaqDriver) -> None:
    other = make(FOUR, block_s=BLOCK_S, grpc=at(server.port))
    other.name = "other"
    other.connect()
    assert lost(driver, connecting=True) == "reserved"
    other.close()
    assert_reads(driver)


def test_two_gateways_never_share_a_task_by_its_name(server: NiServer, driver: NidaqDriver) -> None:
    """As `gateway read` of a copied configuration beside the daemon would."""
    assert_reads(driver)
    copy = make(FOUR, block_s=BLOCK_S, grpc=f"localhost:{server.port}")
    assert lost(copy, connecting=True) == "reserved"
    block = driver.read_block()
    assert (block.first, block.gap) == (3 * BLOCK, None)
    assert is_exact(driver, block)
    driver.close()
    assert_reads(copy)
    copy.close()
    assert_reads(driver)


def test_samples_that_a_server_tells_of_and_does_not_send_are_no_values(
    server: NiServer, driver: NidaqDriver
) -> None:
    assert_reads(driver)
    server.tell("withhold", True)
    server.tell("limit", 4 * BLOCK + 100)
    driver.read_block()
    assert lost(driver) == "timeout"
    server.tell("limit", -1)
    assert_reads(driver)


def test_interrupt_frees_a_waiting_read(server: NiServer, driver: NidaqDriver) -> None:
    slow = make(FOUR, rate_hz=100.0, block_s=60.0, timeout_s=60.0, grpc=at(server.port))
    slow.connect()
    found: list[str] = []
    reader = threading.Thread(target=lambda: found.append(lost(slow)))
    before = server.tell("reads")
    reader.start()
    until(lambda: server.tell("reads") > before)
    begun = time.monotonic()
    slow.interrupt()
    reader.join(5.0)
    assert not reader.is_alive()
    assert found == ["closed"]
    assert time.monotonic() - begun < 5.0
    slow.interrupt()
    slow.close()


def test_interrupt_frees_a_connect_to_a_silent_host() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        driver = make(FOUR, timeout_s=60.0, grpc=at(silent.getsockname()[1]))
        found: list[str] = []
        connector = threading.Thread(target=lambda: found.append(lost(driver, connecting=True)))
        connector.start()
        silent.accept()[0].close()  # that is only to see whether anything listens
        with silent.accept()[0]:
            driver.interrupt()
            connector.join(5.0)
        assert not connector.is_alive()
        assert found == ["closed"]


def test_close_ends_the_task_and_may_come_at_any_time(
    server: NiServer, driver: NidaqDriver
) -> None:
    driver.close()
    assert_reads(driver)
    driver.connect()
    assert len(server.tell("tasks")) == 1
    driver.close()
    driver.close()
    driver.interrupt()
    assert server.tell("tasks") == []
    with pytest.raises(DeviceUnavailable, match="closed"):
        driver.read_block()


def test_close_with_the_server_gone_raises_nothing(server: NiServer, driver: NidaqDriver) -> None:
    driver.connect()
    server.kill()
    driver.close()
    driver.close()


def test_a_port_that_speaks_no_grpc_is_given_up_in_time() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        driver = make(FOUR, timeout_s=0.4, grpc=at(silent.getsockname()[1]))
        begun = time.monotonic()
        assert lost(driver, connecting=True) == "timeout"
        assert time.monotonic() - begun < 10, "what grpc does by itself takes 20 s"
        driver.close()


def test_connecting_as_a_whole_is_bounded() -> None:
    """Each call of a slow server ends in time, but there are many of them."""

    class Slow(Service):
        def GetSystemInfoAttributeUInt32(self, request: Any, context: Any) -> Any:
            self.closing.wait(0.2)
            return super().GetSystemInfoAttributeUInt32(request, context)

    server = DeviceServer(Slow({"cDAQ1Mod1": set(range(4))}, Sensors()))
    try:
        driver = make(FOUR, timeout_s=0.5, grpc=at(server.port))
        assert lost(driver, connecting=True) == "timeout"
    finally:
        server.close()


def test_a_name_that_nobody_has_is_unreachable() -> None:
    driver = make(FOUR, grpc="no-such-host.invalid:31763")
    assert lost(driver, connecting=True) == "unreachable"


def test_a_proxy_for_the_web_is_not_asked(
    driver: NidaqDriver, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("http_proxy", "https_proxy", "grpc_proxy"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{free_port()}")
    assert_reads(driver)


def test_a_block_longer_than_the_usual_message_limit_arrives(server: NiServer) -> None:
    channels = {
        f"c{m}{i}": {"address": f"cDAQ1Mod{m}/ai{i}", **ACCELEROMETER}
        for m in (1, 2)
        for i in range(8)
    }
    # 16 x 40,000 doubles are 5.1 MB
    driver = make(channels, rate_hz=400_000.0, block_s=0.1, timeout_s=5.0, grpc=at(server.port))
    driver.connect()
    block = driver.read_block()
    assert block.data.nbytes > 4 << 20
    assert is_exact(driver, block)
    driver.close()


# -- TLS ------------------------------------------------------------------------------------------


@pytest.fixture
def certificate(tmp_path: Path) -> tuple[Path, Path]:
    """(key, certificate) of 127.0.0.1, signed by itself."""
    key, cert = tmp_path / "key.pem", tmp_path / "cert.pem"
    command = [
        need_program("openssl", "openssl"), "req", "-x509", "-newkey", "ec", "-pkeyopt",
        "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2", "-subj", "/CN=daq", "-addext",
        "subjectAltName=IP:127.0.0.1", "-keyout", str(key), "-out", str(cert),
    ]  # fmt: skip
    subprocess.run(command, check=True, capture_output=True)
    return key, cert


def test_a_server_with_tls_is_known_by_its_certificate(certificate: tuple[Path, Path]) -> None:
    key, cert = certificate
    pair = ((key.read_bytes(), cert.read_bytes()),)
    server = DeviceServer(
        Service({"cDAQ1Mod1": set(range(4))}, Sensors()),
        credentials=vendor.grpc.ssl_server_credentials(pair),
    )
    try:
        driver = make(FOUR, block_s=BLOCK_S, grpc=at(server.port), grpc_ca_file=cert)
        driver.connect()
        assert driver.read_block().samples == BLOCK
        driver.close()
        plain = make(FOUR, timeout_s=0.4, grpc=at(server.port))
        assert lost(plain, connecting=True) == "timeout"
    finally:
        server.close()


def test_a_certificate_that_cannot_be_read_is_told(tmp_path: Path, server: NiServer) -> None:
    driver = make(FOUR, grpc=at(server.port), grpc_ca_file=tmp_path / "ca.pem")
    assert lost(driver, connecting=True) == "config"


# -- a part of a block ----------------------------------------------------------------------------


@pytest.mark.parametrize("behind", [np.nan, 0.0])
@pytest.mark.parametrize("packed", [False, True])
def test_a_part_of_a_block_is_found_however_it_lies(packed: bool, behind: float) -> None:
    buffer: Array = np.full((3, 10), behind)
    sent = wave(100, 4, [0, 1, 2])
    if packed:
        buffer.reshape(-1)[:12] = sent.reshape(-1)
    else:
        buffer[:, :4] = sent
    found = part_of_block(buffer, 4)
    assert found is not None
    assert np.array_equal(found, sent)
    assert found.flags.c_contiguous


def test_a_part_that_could_lie_in_two_ways_is_lost() -> None:
    # [[1, 2], [3, 4], [0, 0]] with room behind each, or [[1, 2], [0, 0], [3, 4]] packed
    buffer: Array = np.array([[1.0, 2, 0, 0], [3, 4, 0, 0], [0, 0, 0, 0]])
    assert part_of_block(buffer, 2) is None


@pytest.mark.parametrize("count", [0, 4, 10, -1])
def test_a_part_that_was_not_sent_is_lost(count: int) -> None:
    assert part_of_block(np.full((3, 10), np.nan), count) is None
