"""A Modbus peer that misbehaves as told: raw frames on a socket, written without any library."""

from __future__ import annotations

import contextlib
import heapq
import itertools
import selectors
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterable
from typing import NamedTuple


def crc(data: bytes) -> bytes:
    """CRC-16/MODBUS bit by bit, least significant byte first."""
    register = 0xFFFF
    for byte in data:
        register ^= byte
        for _ in range(8):
            register = (register >> 1) ^ 0xA001 if register & 1 else register >> 1
    return register.to_bytes(2, "little")


class Asked(NamedTuple):
    """A request; ``number`` counts them from 0."""

    number: int
    transaction: int
    unit: int
    function: int
    address: int
    count: int
    rtu: bool

    def frame(
        self, pdu: bytes, *, unit: int | None = None, transaction: int | None = None
    ) -> bytes:
        """An answer as it goes over the wire, right in all that is not given."""
        unit = self.unit if unit is None else unit
        if self.rtu:
            body = bytes((unit,)) + pdu
            return body + crc(body)
        transaction = self.transaction if transaction is None else transaction
        return struct.pack(">HHHB", transaction, 0, len(pdu) + 1, unit) + pdu

    def data(self, base: int = 0) -> bytes:
        """The right answer's PDU of a peer whose register n holds base + n."""
        values = [base + self.address + i for i in range(self.count)]
        return bytes((self.function, 2 * self.count)) + struct.pack(f">{self.count}H", *values)

    def refuse(self, code: int) -> bytes:
        return self.frame(bytes((self.function | 0x80, code)))

    def good(self) -> bytes:
        return self.frame(self.data())


Answer = Iterable[tuple[float, bytes]]
"""(seconds after the request, bytes); it goes to whoever is connected by then."""


class FaultyPeer:
    """Serves on ``port`` until closed; ``asked`` are the requests that came, in order.

    ``in_order``: as a slow unit does, no answer overtakes an earlier one, however busy this is.
    """

    def __init__(
        self, behave: Callable[[Asked], Answer], *, rtu: bool = False, in_order: bool = False
    ) -> None:
        self._in_order = in_order
        self._latest_s = 0.0
        self.asked: list[Asked] = []
        self.connections = 0
        self._behave = behave
        self._rtu = rtu
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._wake, self._woken = socket.socketpair()
        self._current: socket.socket | None = None
        self._due: list[tuple[float, int, bytes]] = []
        self._order = itertools.count()
        self._buffer = b""
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    @property
    def is_quiet(self) -> bool:
        """Whether all that was to be said has been sent."""
        return not self._due

    def __enter__(self) -> FaultyPeer:
        return self

    def __exit__(self, *_: object) -> None:
        self._wake.send(b"x")
        self._thread.join()
        for opened in (self._listener, self._wake, self._woken, self._current):
            if opened is not None:
                opened.close()

    def _serve(self) -> None:
        with selectors.DefaultSelector() as selector:
            selector.register(self._listener, selectors.EVENT_READ)
            selector.register(self._woken, selectors.EVENT_READ)
            while True:
                wait_s = self._due[0][0] - time.monotonic() if self._due else None
                for key, _ in selector.select(None if wait_s is None else max(wait_s, 0)):
                    if key.fileobj is self._woken:
                        return
                    if key.fileobj is self._listener:
                        self._accept(selector)
                    else:
                        self._receive(selector)
                while self._due and self._due[0][0] <= time.monotonic():
                    with contextlib.suppress(OSError):
                        if self._current is not None:
                            self._current.sendall(self._due[0][2])
                    heapq.heappop(self._due)

    def _accept(self, selector: selectors.BaseSelector) -> None:
        if self._current is not None:
            selector.unregister(self._current)
            self._current.close()
        self._current, _ = self._listener.accept()
        self._current.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._buffer = b""
        self.connections += 1
        selector.register(self._current, selectors.EVENT_READ)

    def _receive(self, selector: selectors.BaseSelector) -> None:
        assert self._current is not None
        with contextlib.suppress(OSError):
            received = self._current.recv(4096)
            if received:
                self._buffer += received
                self._split()
                return
        selector.unregister(self._current)
        self._current.close()
        self._current = None

    def _split(self) -> None:
        size = 8 if self._rtu else 12
        while len(self._buffer) >= size:
            frame, self._buffer = self._buffer[:size], self._buffer[size:]
            if self._rtu:
                assert crc(frame[:-2]) == frame[-2:], frame
                transaction, body = 0, frame[:-2]
            else:
                transaction, body = int.from_bytes(frame[:2], "big"), frame[6:]
            asked = Asked(
                len(self.asked), transaction, *struct.unpack(">BBHH", body), rtu=self._rtu
            )
            self.asked.append(asked)
            for delay_s, data in self._behave(asked):
                at_s = time.monotonic() + delay_s
                if self._in_order:
                    at_s = self._latest_s = max(at_s, self._latest_s)
                due = (at_s, next(self._order), data)
                heapq.heappush(self._due, due)
