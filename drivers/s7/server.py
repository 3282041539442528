"""A small S7 server for the simulator: reads and the CPU's state, nothing else; loopback only."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
from collections.abc import Callable

from gateway.driver import loopback_listener

Memory = dict[tuple[int, int], bytearray]
"""(area code, number of the data block or 0) -> its bytes."""

AREA_CODES = {"I": 0x81, "Q": 0x82, "M": 0x83, "DB": 0x84, "C": 0x1C, "T": 0x1D}
LARGEST_PDU = 960
_LAST = 0x80
_RUN = 0x08


class S7Server:
    """Serves one memory on 127.0.0.1, at the wished port where that is free."""

    def __init__(self, memory: Memory, lock: threading.Lock, port: int | None = None) -> None:
        self._memory = memory
        self._lock = lock
        self._listener = loopback_listener(port)
        self.port: int = self._listener.getsockname()[1]
        self._peers: dict[socket.socket, threading.Thread] = {}
        self._closing = False
        self._accepter = threading.Thread(target=self._accept, name="s7 server", daemon=True)
        self._accepter.start()

    def close(self) -> None:
        """Stop serving; idempotent."""
        self._closing = True
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._accepter.join()
        self._listener.close()
        for peer, thread in list(self._peers.items()):
            with contextlib.suppress(OSError):
                peer.shutdown(socket.SHUT_RDWR)
            thread.join()

    def _accept(self) -> None:
        while not self._closing:
            try:
                peer, _ = self._listener.accept()
            except OSError:
                return
            peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            thread = threading.Thread(target=self._serve, args=(peer,), daemon=True)
            self._peers[peer] = thread
            thread.start()

    def _serve(self, peer: socket.socket) -> None:
        with peer, contextlib.suppress(OSError, struct.error, IndexError), peer.makefile("rb") as f:
            while head := f.read(4):
                body = f.read(struct.unpack(">BBH", head)[2] - 4)
                answer = self._answer(body)
                if answer is None:
                    break
                peer.sendall(struct.pack(">BBH", 3, 0, len(answer) + 4) + answer)
        self._peers.pop(peer, None)

    def _answer(self, body: bytes) -> bytes | None:
        if body[1] == 0xE0:  # connection request: confirmed with its own parameters
            return bytes((body[0], 0xD0, *body[4:6], 0, 1, *body[6:]))
        if body[1] != 0xF0 or not body[2] & _LAST or body[3] != 0x32:
            return None
        job, sequence = body[4], body[7:9]
        if job == 7:
            return body[:3] + self._state(sequence, body[13:])
        function = body[13]
        known: Callable[[bytes], tuple[bytes, bytes]] | None
        known = {0xF0: self._setup, 0x04: self._read}.get(function)
        if known is None:  # whoever tries to write learns that it is refused
            return body[:3] + struct.pack(">BBH2sHHH", 0x32, 2, 0, sequence, 0, 0, 0x8104)
        parameters, data = known(body[13:])
        header = struct.pack(
            ">BBH2sHHH", 0x32, 3, 0, sequence, len(parameters), len(data), 0
        )  # fmt: skip
        return body[:3] + header + parameters + data

    def _setup(self, asked: bytes) -> tuple[bytes, bytes]:
        pdu = min(struct.unpack_from(">H", asked, 6)[0], LARGEST_PDU)
        return struct.pack(">BBHHH", 0xF0, 0, 1, 1, pdu), b""

    def _read(self, asked: bytes) -> tuple[bytes, bytes]:
        count = asked[1]
        data = b""
        with self._lock:
            for i in range(count):
                length, n, db, area = struct.unpack_from(">BHHB", asked, 2 + 12 * i + 3)
                at = int.from_bytes(asked[2 + 12 * i + 9 : 2 + 12 * i + 12], "big")
                start, size = (2 * at, 2 * n) if length in (0x1C, 0x1D) else (at // 8, n)
                data += bytes(len(data) & 1) + self._item(area, db, start, size)
        return asked[:2], data

    def _item(self, area: int, db: int, start: int, size: int) -> bytes:
        memory = self._memory.get((area, db))
        if memory is None:
            return struct.pack(">BBH", 0x0A, 0, 0)
        if start + size > len(memory):
            return struct.pack(">BBH", 0x05, 0, 0)
        return struct.pack(">BBH", 0xFF, 4, 8 * size) + memory[start : start + size]

    def _state(self, sequence: bytes, parameters: bytes) -> bytes:
        """System state list 0x0424: the CPU runs; any other list is not there."""
        szl = parameters[12:16]
        known = szl == b"\x04\x24\x00\x00"
        data = b""
        if known:
            data = szl + struct.pack(">HHHBB16x", 20, 1, 0x5102, 0xFF, _RUN)
        answer = struct.pack(">BBBBBBBBBBH", 0, 1, 0x12, 8, 0x12, 0x84, 1, 0, 0, 0, 0)
        answer = answer if known else answer[:-2] + b"\xd4\x01"
        content = struct.pack(">BBH", 0xFF if known else 0x0A, 9 if known else 0, len(data)) + data
        header = struct.pack(">BBH2sHH", 0x32, 7, 0, sequence, len(answer), len(content))
        return header + answer + content
