"""A peer that does wrong: a proxy that changes the answers of a real S7 server to reads."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
from collections.abc import Callable, Iterable

HANG_UP = None
Piece = bytes | float | None
"""What the proxy sends: bytes; a number is a pause in seconds; None hangs up."""
Mangle = Callable[[bytes, bytes], Iterable[Piece]]
"""(request, true answer), both with their TPKT header -> what is sent instead."""


def honest(_request: bytes, answer: bytes) -> Iterable[Piece]:
    return [answer]


class FaultProxy:
    """Forwards one request at a time; ``mangle`` says what becomes of the answers to reads."""

    def __init__(self, target_port: int) -> None:
        self.mangle: Mangle = honest
        self.mangle_state: Mangle = honest
        """For the answers to questions for the CPU's state."""
        self._target = target_port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._ended = threading.Event()
        self._links: list[socket.socket] = []
        self._threads = [threading.Thread(target=self._accept)]
        self._threads[0].start()

    def __enter__(self) -> FaultProxy:
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        for link in (self._listener, *self._links):
            with contextlib.suppress(OSError):
                link.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join()
        self._listener.close()

    def _accept(self) -> None:
        while not self._ended.is_set():
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            server = socket.create_connection(("127.0.0.1", self._target))
            self._links += [client, server]
            thread = threading.Thread(target=self._forward, args=(client, server))
            self._threads.append(thread)
            thread.start()

    def _forward(self, client: socket.socket, server: socket.socket) -> None:
        with client, server, contextlib.suppress(OSError):
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            while request := _frame(client):
                server.sendall(request)
                answer = _frame(server)
                mangle = honest
                if request[5] == 0xF0 and request[8] == 7:
                    mangle = self.mangle_state
                elif request[5] == 0xF0 and request[17] == 0x04:
                    mangle = self.mangle
                for piece in mangle(request, answer):
                    if piece is None:
                        return
                    if isinstance(piece, float):
                        self._ended.wait(piece)
                    else:
                        client.sendall(piece)


def _frame(link: socket.socket) -> bytes:
    data = b""
    wanted = 4
    while len(data) < wanted:
        more = link.recv(wanted - len(data))
        if not more:
            return b""
        data += more
        if len(data) == 4:
            wanted = struct.unpack(">H", data[2:])[0]
    return data


def items(answer: bytes) -> list[bytes]:
    """The items of the answer to a read, each with its header and filler."""
    at, found = 21, []
    while at < len(answer):
        code, unit, count = struct.unpack_from(">BBH", answer, at)
        size = (count // 8 if unit in (3, 4, 5) else count) if code == 0xFF else 0
        end = min(at + 4 + size + size % 2, len(answer))
        found.append(answer[at:end])
        at = end
    return found


def with_items(answer: bytes, changed: list[bytes], count: int | None = None) -> bytes:
    """The answer with other items, all lengths put right."""
    data = b"".join(changed)
    out = bytearray(answer[:21] + data)
    struct.pack_into(">H", out, 2, len(out))
    struct.pack_into(">H", out, 15, len(data))
    out[20] = len(changed) if count is None else count
    return bytes(out)


def refusing(answer: bytes, number: int, code: int) -> bytes:
    """The answer with one item refused, as a CPU does it: its header without data."""
    changed = items(answer)
    changed[number] = bytes((code, 0, 0, 0))
    return with_items(answer, changed)


def header_error(request: bytes, code: int) -> bytes:
    """The answer of a CPU that refuses a request as a whole."""
    pdu = struct.pack(">BBH2sHHH", 0x32, 2, 0, request[11:13], 0, 0, code)
    return struct.pack(">BBHBBB", 3, 0, len(pdu) + 7, 2, 0xF0, 0x80) + pdu


def resequenced(answer: bytes, step: int) -> bytes:
    """The answer with another sequence number."""
    out = bytearray(answer)
    number = struct.unpack_from(">H", out, 11)[0]
    struct.pack_into(">H", out, 11, (number + step) & 0xFFFF)
    return bytes(out)


def fragmented(answer: bytes, size: int) -> bytes:
    """The same S7 PDU in several COTP frames, of which only the last is marked as the last."""
    pdu = answer[7:]
    out = b""
    for at in range(0, len(pdu), size):
        piece = pdu[at : at + size]
        mark = 0x80 if at + size >= len(pdu) else 0
        out += struct.pack(">BBHBBB", 3, 0, len(piece) + 7, 2, 0xF0, mark) + piece
    return out
