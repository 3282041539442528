"""WebSocket clients for the tests of the API: websockets' own, over the Unix socket."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from websockets.exceptions import InvalidStatus
from websockets.sync.client import ClientConnection, unix_connect

WAIT_S = 5.0


class Listening:
    """A client that keeps what it reads."""

    def __init__(self, connection: ClientConnection) -> None:
        self.connection = connection
        self.shapes: dict[str, list[str]] = {}
        self.dropped = 0

    def send(self, **message: Any) -> None:
        self.connection.send(json.dumps(message))

    def read(self, timeout_s: float = WAIT_S) -> dict[str, Any]:
        """The next message."""
        message: dict[str, Any] = json.loads(self.connection.recv(timeout_s))
        if message["type"] == "shape":
            self.shapes[message["table"]] = message["columns"]
        self.dropped += message.get("dropped", 0)
        return message

    def next(self, kind: str, timeout_s: float = WAIT_S) -> dict[str, Any]:
        """The next message of this type; others are passed over."""
        while True:
            message = self.read(timeout_s)
            if message["type"] == kind:
                return message

    def settle(self) -> None:
        """Wait until it is served as its address and its messages so far ask for."""
        self.send(type="ping", id="settled")
        self.next("pong")

    def row(self, table: str | None = None) -> dict[str, Any]:
        """The next row (of a table), the values by the name of their columns."""
        while True:
            for row in self.next("values")["rows"]:
                if table in (None, row["table"]):
                    columns = self.shapes[row["table"]]
                    return {**row, **dict(zip(columns, row["values"], strict=True))}


@contextmanager
def listening(path: Path, address: str = "/ws/live") -> Iterator[Listening]:
    """A client of the WebSocket at that address."""
    with unix_connect(str(path), f"ws://localhost{address}", close_timeout=2) as connection:
        yield Listening(connection)


def refused(path: Path, address: str) -> tuple[int, dict[str, Any]]:
    """How a WebSocket is refused: status and the problem."""
    try:
        with unix_connect(str(path), f"ws://localhost{address}"):
            raise AssertionError("it was not refused")
    except InvalidStatus as error:
        return error.response.status_code, json.loads(error.response.body or b"{}")


def handshake(path: Path, address: str = "/ws/live", receive_bytes: int = 0) -> socket.socket:
    """A bare connection after the handshake, which answers no ping and reads only if told to."""
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    if receive_bytes:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_bytes)
    sock.settimeout(WAIT_S)
    sock.connect(str(path))
    sock.sendall(
        f"GET {address} HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\n"
        "Connection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
        "Sec-WebSocket-Version: 13\r\n\r\n".encode()
    )
    head = b""
    while b"\r\n\r\n" not in head:
        head += sock.recv(1)
    assert b" 101 " in head.split(b"\r\n")[0], head
    return sock
