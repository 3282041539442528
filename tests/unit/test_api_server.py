"""The server: its limits against slow and idle clients, its idle cost, its end."""

from __future__ import annotations

import gc
import logging
import resource
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from gateway.api import protocol, server
from gateway.api.settings import ApiConfig
from tests.support import free_port, until
from tests.unit.apikit import Plant, Served, ask, served, unix_connection


@pytest.fixture
def api(tmp_path: Path) -> Iterator[Served]:
    config = ApiConfig(socket=tmp_path / "gw.sock", listen=f"127.0.0.1:{free_port()}")
    with served(config) as running:
        yield running


def listen(running: Served) -> str:
    assert running.api.listen is not None
    return running.api.listen


def test_a_thousand_idle_connections_keep_nobody_out(api: Served) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(4096, hard), hard))
    host, _, port = listen(api).partition(":")
    idle: list[socket.socket] = []
    try:
        while len(idle) < 1000:
            idle.append(socket.create_connection((host, int(port)), timeout=10))
        begun = time.perf_counter()
        assert api.tcp.get_json("/healthz", timeout_s=5) == {"alive": True}
        assert api.client.get_json("/healthz", timeout_s=5) == {"alive": True}
        assert time.perf_counter() - begun < 8
        held = until(lambda: _open(idle) <= protocol.MAX_CONNECTIONS, what="the oldest to go")
        assert held
        assert idle[-1] in _still_open(idle)
        told = api.client.get_json("/v1/connections")["cut_off"]
        assert told["made_way"] >= 1000 - protocol.MAX_CONNECTIONS
        assert told["refused"] == 0
    finally:
        for sock in idle:
            sock.close()
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def _still_open(connections: list[socket.socket]) -> list[socket.socket]:
    found = []
    for sock in connections:
        sock.setblocking(False)
        try:
            if sock.recv(1):
                found.append(sock)
        except BlockingIOError:
            found.append(sock)
        except OSError:
            continue
    return found


def _open(connections: list[socket.socket]) -> int:
    return len(_still_open(connections))


def test_who_is_refused_has_the_answer_before_the_body_and_makes_way(
    api: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(protocol, "MAX_CONNECTIONS", 2)
    refused = [api.connect() for _ in range(2)]
    try:
        for sock in refused:
            sock.sendall(b"GET /healthz HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\n")
            assert sock.recv(12) == b"HTTP/1.1 413"
        with api.connect() as third:
            third.sendall(b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n")
            assert third.recv(12) == b"HTTP/1.1 200"
    finally:
        for sock in refused:
            sock.close()


def test_busy_connections_are_not_sacrificed_for_new_ones(
    api: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(protocol, "MAX_CONNECTIONS", 2)
    tails = [api.client.stream_lines("/v1/tail") for _ in range(2)]
    try:
        firsts = [threading.Thread(target=next, args=(tail,)) for tail in tails]
        for thread in firsts:
            thread.start()
        until(lambda: len(api.plant.hub._subscriptions) == 2)
        with api.connect() as third:
            assert b"503" in third.recv(100)
        metrics = ask(listen(api), "/metrics")[2].decode()
        assert 'gateway_api_clients_cut_off_total{why="refused"} 1\n' in metrics
        assert 'gateway_api_clients_cut_off_total{why="made_way"} 0\n' in metrics
        api.plant.publish()
        for thread in firsts:
            thread.join(5)
            assert not thread.is_alive()
    finally:
        for tail in tails:
            tail.close()  # type: ignore[attr-defined]


@pytest.mark.parametrize("first", [b"", b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nX-Slow: "])
def test_a_request_that_does_not_come_is_not_waited_for(
    api: Served, monkeypatch: pytest.MonkeyPatch, first: bytes
) -> None:
    with monkeypatch.context() as patched:  # who asks afterwards has its time
        patched.setattr(protocol, "REQUEST_S", 0.2)
        with api.connect() as slow:
            with suppress(BrokenPipeError):  # it may be given up before its first byte
                slow.sendall(first)
            assert _read_to_end(slow) == b""
    assert api.client.get_json("/v1/connections")["cut_off"]["no_request"] == 1


def test_a_second_request_that_trickles_in_is_not_waited_for(
    api: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    with api.connect() as slow:
        slow.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert slow.recv(12) == b"HTTP/1.1 200"
        monkeypatch.setattr(protocol, "REQUEST_S", 0.3)
        slow.sendall(b"GET /v1")
        assert b"alive" in _read_to_end(slow)


def test_a_connection_may_ask_again_and_again(api: Served) -> None:
    with api.connect() as sock:
        for _ in range(3):
            sock.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
            answer = b""
            while b'{"alive":true}' not in answer:
                answer += sock.recv(4096)


@pytest.mark.parametrize(
    "garbage",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01",
        b"GET / HTTP/1.1\r\nHost: localhost\r\nX: " + b"y" * 70_000,
        b"GET / HTTP/1.1\r\nHost: localhost\r\n" + b"X: y\r\n" * 10_000 + b"\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
        b"no request at all\r\n\r\n",
    ],
)
def test_garbage_and_huge_headers_are_refused_in_json(api: Served, garbage: bytes) -> None:
    with api.connect() as sock:
        with suppress(BrokenPipeError, ConnectionResetError):
            sock.sendall(garbage)
        answer = _read_to_end(sock)
    if answer:  # what is refused at once may be cut off before all of it was sent
        assert answer.startswith(b"HTTP/1.1 400 ")
        assert b'{"error":"' in answer
    assert api.client.get_json("/healthz") == {"alive": True}


def _read_to_end(sock: socket.socket) -> bytes:
    sock.settimeout(5)
    out = b""
    try:
        while chunk := sock.recv(65536):
            out += chunk
    except (ConnectionResetError, BrokenPipeError):
        pass
    return out


# -- cost and end -----------------------------------------------------------------------------


def _cpu_s(thread: threading.Thread) -> float:
    spent_ns = Path(f"/proc/self/task/{thread.native_id}/schedstat").read_text().split()[0]
    return int(spent_ns) / 1e9


def _wakeups(thread: threading.Thread) -> int:
    status = Path(f"/proc/self/task/{thread.native_id}/status").read_text()
    (line,) = (x for x in status.splitlines() if x.startswith("voluntary_ctxt_switches"))
    return int(line.split()[1])


def test_the_idle_server_sleeps(api: Served) -> None:
    assert api.thread is not None
    with api.connect() as sock:  # an open, quiet connection costs nothing either
        sock.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert sock.recv(4096)
        gc.collect()
        before, cpu = _wakeups(api.thread), _cpu_s(api.thread)
        threading.Event().wait(2.0)  # the length of the measurement
        woken, spent_s = _wakeups(api.thread) - before, _cpu_s(api.thread) - cpu
    print(f"in 2 s: {woken} wake-ups, {spent_s * 1e3:.3f} ms of CPU")
    assert woken <= 3
    assert spent_s < 0.01


def test_a_stop_lets_a_running_answer_finish(api: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "GRACE_S", 10.0)  # it is let go on only after the stop was seen
    api.plant.hold_reads.clear()
    results: list[object] = []
    reader = threading.Thread(
        target=lambda: results.append(api.client.get_json("/v1/read", {"device": "hopper_4"}))
    )
    reader.start()
    until(lambda: api.plant.reads_waiting == 1)
    api.stop()
    until(lambda: not _accepts(api.api.socket))
    api.plant.hold_reads.set()
    reader.join(5)
    assert len(results) == 1


def _accepts(path: Path) -> bool:
    try:
        unix_connection(path).close()
    except OSError:
        return False
    return True


def test_a_stop_waits_for_nobody_longer_than_three_seconds(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert server.GRACE_S + server.CANCEL_S < 3
    monkeypatch.setattr(server, "GRACE_S", 0.5)  # the rest is for a machine that is busy
    plant = Plant()
    plant.hold_reads.clear()
    sockets = []
    try:
        with (
            caplog.at_level(logging.WARNING),
            served(ApiConfig(socket=tmp_path / "s"), plant) as running,
        ):
            for path in ("/v1/tail", "/v1/tail", "/v1/read?device=hopper_4", "/healthz"):
                sock = running.connect()
                sockets.append(sock)
                sock.sendall(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
            until(lambda: plant.reads_waiting == 1 and len(plant.hub._subscriptions) == 2)
            sockets.append(running.connect())
            for _ in range(3000):  # more than the socket takes: the streams hang in sending
                plant.publish()
            begun = time.monotonic()
        took_s = time.monotonic() - begun
    finally:
        plant.hold_reads.set()
        for sock in sockets:
            sock.close()
    print(f"stopped within {took_s:.2f} s")
    assert took_s < 5
    assert [r for r in caplog.records if r.levelno >= logging.WARNING] == []
    until(lambda: plant.reads_waiting == 0)
