"""HTTP answers that cannot hurt: bounded in time and memory, and complete or not believed.

urllib3 counts a time-out for each read, so a server that sends a byte now and then holds a
request for ever; it reads error pages of any size, and takes an answer that ends within its
headers for a whole one. And what was written to a connection that was given up is still sent: over
a slow line it stands in the way of what follows. The connections made here do none of that.
`Transport.interrupt` ends a request from another thread.
"""

from __future__ import annotations

import http.client
import io
import socket
import struct
import threading
import time
from contextlib import suppress
from typing import Any

import urllib3
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool

MAX_BODY = 65_536
"""Bytes of an answer that are read."""


class _TimedReader(io.RawIOBase):
    """Reads a socket until a deadline, whatever comes how slowly."""

    def __init__(self, sock: socket.socket, keep: io.BufferedIOBase) -> None:
        self._sock = sock
        self._keep = keep
        """Its file on the socket, which stays open until this is closed."""
        timeout_s = sock.gettimeout()
        self._deadline_s = time.monotonic() + (60.0 if timeout_s is None else timeout_s)
        self.ended = False

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        left_s = self._deadline_s - time.monotonic()
        if left_s <= 0:
            raise TimeoutError("the answer took too long")
        self._sock.settimeout(left_s)
        count = self._sock.recv_into(buffer)
        self.ended = count == 0
        return count

    def close(self) -> None:
        self._keep.close()
        super().close()


class _TimedResponse(http.client.HTTPResponse):
    def __init__(self, sock: socket.socket, *args: Any, **kwargs: Any) -> None:
        super().__init__(sock, *args, **kwargs)
        self._reader = _TimedReader(sock, self.fp)
        self.fp = io.BufferedReader(self._reader)

    def begin(self) -> None:
        super().begin()
        if self._reader.ended:
            raise http.client.IncompleteRead(b"", None)


class Transport:
    """Makes the pools of one client use these connections."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._socket: socket.socket | None = None
        self._closed = False

    def install(self, manager: urllib3.PoolManager) -> None:
        """Use bounded connections for all requests of a pool manager."""
        transport = self

        class Plain(_Bounded, HTTPConnection):  # type: ignore[misc]
            owner = transport

        class Secure(_Bounded, HTTPSConnection):  # type: ignore[misc]
            owner = transport

        class PlainPool(HTTPConnectionPool):
            ConnectionCls = Plain

        class SecurePool(HTTPSConnectionPool):
            ConnectionCls = Secure

        manager.pool_classes_by_scheme = {"http": PlainPool, "https": SecurePool}

    def opened(self, sock: socket.socket | None) -> None:
        """A connection was made."""
        with self._lock:
            self._socket = sock
            closed = self._closed
        if closed:
            self.interrupt()

    def interrupt(self) -> None:
        """End the request that is under way, and any later one. Never raises."""
        with self._lock:
            self._closed = True
            if self._socket is not None:
                with suppress(OSError):
                    self._socket.shutdown(socket.SHUT_RDWR)


class _Bounded:
    """Mixed into urllib3's connections."""

    owner: Transport
    response_class = _TimedResponse
    sock: Any
    _is_waiting = False
    """A request was begun, and there is no answer yet."""

    def connect(self) -> None:
        super().connect()  # type: ignore[misc]
        self.owner.opened(self.sock)

    def request(self, *args: Any, **kwargs: Any) -> None:
        kwargs["preload_content"] = False
        self._is_waiting = True
        super().request(*args, **kwargs)  # type: ignore[misc]

    def getresponse(self) -> urllib3.HTTPResponse:
        raw: urllib3.HTTPResponse = super().getresponse()  # type: ignore[misc]
        self._is_waiting = False
        body = b""
        with suppress(Exception):  # the status is known; of the body whatever came
            body = raw.read(MAX_BODY, decode_content=True)
        whole = raw.length_remaining == 0 and not raw.headers.get("transfer-encoding")
        if not whole:
            raw.close()
            self.close()
        return urllib3.HTTPResponse(
            # what the client decodes as UTF-8 must be UTF-8
            body=io.BytesIO(body.decode(errors="replace").encode()),
            headers=raw.headers,
            status=raw.status,
            reason=raw.reason,
            version=raw.version,
            version_string=raw.version_string,
            decode_content=False,
        )

    def close(self) -> None:
        """Close; a request that is given up is reset, so that its rest is not sent any more."""
        if self._is_waiting and self.sock is not None:
            with suppress(OSError):
                self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._is_waiting = False
        super().close()  # type: ignore[misc]
