"""Connections that never shake hands: bounded, counted, and in nobody's way."""

from __future__ import annotations

import os
import socket
import ssl
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import pytest

from gateway.api import protocol
from tests.support import until
from tests.unit.apikit import Served
from tests.unit.test_api_server import listen
from tests.unit.test_api_tls import api, asked, pairs, trusting

__all__ = ["api", "pairs"]  # fixtures


@contextmanager
def silent(running: Served, count: int) -> Iterator[list[socket.socket]]:
    """So many connections on TCP that say nothing."""
    host, _, port = listen(running).partition(":")
    with ExitStack() as opened:
        yield [
            opened.enter_context(socket.create_connection((host, int(port)), timeout=10))
            for _ in range(count)
        ]


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


def test_silent_connections_make_way_before_any_handshake(
    api: Served, pairs: dict[str, tuple[Path, Path]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(protocol, "MAX_CONNECTIONS", 20)
    before = descriptors()
    with silent(api, 300):
        assert asked(listen(api), trusting(pairs["first"][0]))[0] == 200  # it came after them
        until(lambda: descriptors() <= before + 300 + 20, 3, "the oldest to go")
        told = api.client.get_json("/v1/connections")["cut_off"]
        assert 280 <= told["made_way"] <= 285
        assert told["refused"] == 0
    until(lambda: descriptors() <= before + 2, what="all to be closed")


def test_a_request_that_comes_with_the_handshake_is_answered(
    api: Served, pairs: dict[str, tuple[Path, Path]]
) -> None:
    host, _, port = listen(api).partition(":")
    came, goes = ssl.MemoryBIO(), ssl.MemoryBIO()
    link = trusting(pairs["first"][0]).wrap_bio(came, goes, server_hostname=host)
    with socket.create_connection((host, int(port)), timeout=10) as sock:
        while True:
            try:
                link.do_handshake()
                break
            except ssl.SSLWantReadError:
                sock.sendall(goes.read())
                came.write(sock.recv(65536))
        link.write(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
        sock.sendall(goes.read())  # the last of the handshake and the request in one piece
        answer = b""
        while b"alive" not in answer:
            came.write(sock.recv(65536))
            with suppress(ssl.SSLWantReadError):
                while True:
                    answer += link.read(65536)
    assert answer.startswith(b"HTTP/1.1 200")
