"""A gRPC client that costs little, so that the gateway is measured and not Python's client.

It knows of HTTP/2 (RFC 9113) what one call without TLS needs. It hands the messages that are ready
to the kernel in one piece, each in a DATA frame of its own, as for example the writer of grpc-go
does (internal/transport/controlbuf.go).

    python -m tests.bench.h2_sender HOST:PORT TOKEN ROWS_A_MESSAGE SECONDS
    -> rows, seconds until the last was acknowledged, rows refused, its own CPU seconds
"""

from __future__ import annotations

import socket
import struct
import sys
import time
from collections.abc import Iterator

import numpy as np

from gateway.ingest.client import WINDOW, WINDOW_ROWS, Encoder
from gateway.ingest.messages import METHOD, SERVICE, messages
from gateway.model import Column, Row, Table

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, RESET, SETTINGS, PING, GOAWAY, WINDOW_UPDATE = 0, 1, 3, 4, 6, 7, 8
END_STREAM, ACK, END_HEADERS = 1, 1, 4
ROOM = 1 << 20
CHUNK = 32
"""Messages handed over at once, at most."""
TABLE = Table("press", "other", [Column("force", "f8", "kN"), Column("on", "b1")])


def frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    """One frame of HTTP/2."""
    return struct.pack(">I", len(payload))[1:] + struct.pack(">BBI", kind, flags, stream) + payload


def bodies(size: int, seconds: float) -> Iterator[bytes]:
    """Messages for that long."""
    encoder, parts = Encoder(), (np.array([12.5]), np.array([True]))
    time_ns, end_s = time.time_ns(), time.monotonic() + seconds
    while time.monotonic() < end_s:
        yield encoder.encode([Row(TABLE, time_ns + i, parts) for i in range(size)])
        time_ns += size


class Call:
    """One stream of one connection."""

    def __init__(self, address: str, token: str) -> None:
        host, _, port = address.rpartition(":")
        self._socket = socket.create_connection((host, int(port)), 30)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._rest = b""
        self._room = {0: 65535, 1: 65535}
        self._initial = 65535
        self._answer = b""
        self.acked = self.refused = 0
        self.is_done = False
        headers = {
            ":method": "POST", ":scheme": "http", ":path": f"/{SERVICE}/{METHOD}",
            ":authority": address, "te": "trailers", "content-type": "application/grpc",
            "authorization": f"Bearer {token}",
        }  # fmt: skip
        block = b"".join(
            b"\0" + bytes([len(k)]) + k.encode() + bytes([len(v)]) + v.encode()
            for k, v in headers.items()
        )
        self._socket.sendall(
            PREFACE
            + frame(SETTINGS, 0, 0, struct.pack(">HI", 4, ROOM))
            + frame(WINDOW_UPDATE, 0, 0, struct.pack(">I", ROOM))
            + frame(HEADERS, END_HEADERS, 1, block)
        )

    def send(self, chunk: list[bytes]) -> None:
        """Send messages, once the gateway has room for them."""
        size = sum(map(len, chunk)) + 5 * len(chunk)
        while min(self._room.values()) < size:
            self.receive()
        for stream in self._room:
            self._room[stream] -= size
        self._socket.sendall(
            b"".join(frame(DATA, 0, 1, struct.pack(">BI", 0, len(b)) + b) for b in chunk)
        )

    def end(self) -> None:
        """No more messages."""
        self._socket.sendall(frame(DATA, END_STREAM, 1, b""))

    def close(self) -> None:
        """Hang up."""
        self._socket.close()

    def receive(self, *, wait: bool = True) -> None:
        """Take what the gateway has sent; wait for something."""
        self._socket.setblocking(wait)
        try:
            got = self._socket.recv(65536)
        except BlockingIOError:
            return
        finally:
            self._socket.settimeout(30)
        assert got, "the gateway hung up"
        self._rest += got
        while len(self._rest) >= 9:
            length = int.from_bytes(self._rest[:3], "big")
            if len(self._rest) < 9 + length:
                return
            kind, flags, stream = struct.unpack(">BBI", self._rest[3:9])
            payload, self._rest = self._rest[9 : 9 + length], self._rest[9 + length :]
            self._take(kind, flags, stream, payload)

    def _take(self, kind: int, flags: int, stream: int, payload: bytes) -> None:
        if kind == WINDOW_UPDATE:
            self._room[stream] += int.from_bytes(payload, "big")
        elif kind == SETTINGS and not flags & ACK:
            for at in range(0, len(payload), 6):
                key, value = struct.unpack(">HI", payload[at : at + 6])
                if key == 4:
                    self._room[1] += value - self._initial
                    self._initial = value
            self._socket.sendall(frame(SETTINGS, ACK, 0, b""))
        elif kind == PING and not flags & ACK:
            self._socket.sendall(frame(PING, ACK, 0, payload))
        elif kind in (RESET, GOAWAY):
            raise AssertionError(f"the gateway ended the call: {payload!r}")
        elif kind == DATA:
            self._acknowledged(payload)
        self.is_done |= kind in (DATA, HEADERS) and bool(flags & END_STREAM)

    def _acknowledged(self, payload: bytes) -> None:
        self._answer += payload
        while len(self._answer) >= 5:
            length = int.from_bytes(self._answer[1:5], "big")
            if len(self._answer) < 5 + length:
                return
            ack = messages().ack.FromString(self._answer[5 : 5 + length])
            self._answer = self._answer[5 + length :]
            self.acked = ack.seq
            self.refused += sum(refused.rows for refused in ack.refused)


def main(address: str, token: str, size: int, seconds: float) -> None:
    """Send for that long, and say what came of it."""
    call = Call(address, token)
    window = min(WINDOW, max(1, WINDOW_ROWS // size))
    at_once = max(1, min(CHUNK, 16_000 // (20 * size)))
    sent, chunk, begun = 0, list[bytes](), time.monotonic()
    for body in bodies(size, seconds):
        chunk.append(body)
        if len(chunk) >= at_once:
            call.receive(wait=False)
            while sent + len(chunk) - call.acked > window:
                call.receive()
            call.send(chunk)
            sent, chunk = sent + len(chunk), []
    if chunk:
        call.send(chunk)
        sent += len(chunk)
    call.end()
    while not call.is_done:
        call.receive()
    took_s = time.monotonic() - begun
    call.close()
    assert call.acked == sent, (call.acked, sent)
    print(sent * size, took_s, call.refused, time.process_time())


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]), float(sys.argv[4]))
