"""A socket that gathers what is sent: paho sends each message by a call of its own.

Many small messages in one packet take a third of the processor's time.
"""

from __future__ import annotations

import socket
import ssl
from contextlib import suppress
from typing import Final

FULL: Final = 65_536
_NOT_NOW = (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError)


class BufferedSocket:
    """As paho uses a socket that does not block. What it holds is bounded by what is in flight."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._out = bytearray()

    @property
    def is_waiting(self) -> bool:
        """Whether there is something that was not sent yet."""
        return bool(self._out)

    def send(self, data: bytes) -> int:
        """Take it; sent when there is enough, or by `flush`."""
        self._out += data
        if len(self._out) >= FULL:
            self.flush()
        return len(data)

    def flush(self) -> None:
        """Send what the network takes now. OSError."""
        with suppress(*_NOT_NOW):
            while self._out:
                sent = self._sock.send(self._out[:FULL])
                del self._out[:sent]

    def hurry(self) -> None:
        """Have what comes be acknowledged at once (Linux): a broker whose packets wait for that
        (Nagle, which is mosquitto's default) sends but one PUBACK in 40 ms otherwise.
        """
        if hasattr(socket, "TCP_QUICKACK"):
            with suppress(OSError):
                self._sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)

    def recv(self, size: int) -> bytes:
        """As of the socket."""
        return self._sock.recv(size)

    def setblocking(self, flag: bool) -> None:
        """As of the socket."""
        self._sock.setblocking(flag)

    def fileno(self) -> int:
        """As of the socket."""
        return self._sock.fileno()

    def pending(self) -> int:
        """Bytes that were decrypted and not read."""
        return self._sock.pending() if isinstance(self._sock, ssl.SSLSocket) else 0

    def close(self) -> None:
        """Send what there is, and close."""
        with suppress(OSError, ValueError):
            self.flush()
        self._sock.close()
