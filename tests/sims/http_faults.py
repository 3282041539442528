"""A server that answers wrongly in every way a network has shown."""

from __future__ import annotations

import socket
import threading
import time
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

Answer = bytes | Callable[[socket.socket, threading.Event], None]
"""What is sent after a request was read, or what is done with its connection."""

Judge = Callable[[bytes], bytes]
"""The answer to a request with this body."""

STORED = b"HTTP/1.1 204 No Content\r\n\r\n"


def said(status: str, body: bytes = b"", *headers: str) -> bytes:
    """A whole answer."""
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", *headers]
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1") + body


def drip(sock: socket.socket, stop: threading.Event) -> None:
    """One byte every 50 ms: never silent, never done."""
    sock.sendall(b"HTTP/1.1 204 No Content\r\nX: ")
    while not stop.wait(0.05):
        sock.sendall(b"x")


def drip_body(sock: socket.socket, stop: threading.Event) -> None:
    """A refusal whose page does not end."""
    sock.sendall(b"HTTP/1.1 503 Busy\r\nContent-Length: 1000000\r\n\r\n")
    while not stop.wait(0.05):
        sock.sendall(b"x")


def huge_body(sock: socket.socket, stop: threading.Event) -> None:
    """A refusal with a page of 100 MB."""
    sock.sendall(b"HTTP/1.1 500 Oops\r\nContent-Length: 100000000\r\n\r\n")
    for _ in range(100):
        sock.sendall(b"x" * 1_000_000)


def hang(sock: socket.socket, stop: threading.Event) -> None:
    """No answer at all."""
    stop.wait(30)


def reset(sock: socket.socket, stop: threading.Event) -> None:
    """The connection is torn down."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")


def endless_head(sock: socket.socket, stop: threading.Event) -> None:
    """Interim answers, fast and for ever."""
    while not stop.is_set():
        sock.sendall(b"HTTP/1.1 100 Continue\r\n\r\n" * 1000)


def bomb(sock: socket.socket, stop: threading.Event) -> None:
    """A refusal with a small page that unpacks to 200 MB."""
    packer = zlib.compressobj(9, wbits=31)
    page = b"".join(packer.compress(bytes(1_000_000)) for _ in range(200)) + packer.flush()
    head = f"HTTP/1.1 500 Oops\r\nContent-Encoding: gzip\r\nContent-Length: {len(page)}\r\n\r\n"
    sock.sendall(head.encode() + page)


class FaultServer:
    """Answers request after request with what stands in ``answers``; the last one stays.

    Or as the ``judge`` says of each body. ``rate``: bytes a second that it reads at most.
    """

    def __init__(
        self, *answers: Answer, judge: Judge | None = None, rate: float | None = None
    ) -> None:
        self.answers = list(answers)
        self.judge = judge
        self.rate = rate
        self.requests: list[tuple[bytes, bytes]] = []
        """(head, body) of every request."""
        self.times_s: list[float] = []
        """Monotonic time at which each of them was there."""
        self.ended = 0
        """Connections that are over."""
        self._stop = threading.Event()
        self._threads: list[threading.Thread] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        if rate is not None:  # what waits in buffers must not count as read
            self._listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        self.port: int = self._listener.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self._spawn(self._accept)

    def _spawn(self, target: Callable[..., None], *args: object) -> None:
        thread = threading.Thread(target=target, args=args)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        self._listener.settimeout(0.05)
        while not self._stop.is_set():
            with suppress(TimeoutError):
                sock, _ = self._listener.accept()
                self._spawn(self._serve, sock)

    def _serve(self, sock: socket.socket) -> None:
        try:
            self._serve_all(sock)
        finally:
            self.ended += 1

    def _serve_all(self, sock: socket.socket) -> None:
        with sock, suppress(OSError):
            sock.settimeout(0.05)
            while (request := self._read(sock)) is not None:
                self.times_s.append(time.monotonic())
                self.requests.append(request)
                answer = self._answer(request[1])
                sock.settimeout(5.0)
                if not isinstance(answer, bytes):
                    answer(sock, self._stop)
                    return
                sock.sendall(answer)
                if not answer.startswith(b"HTTP/1.1") or b"\r\n\r\n" not in answer:
                    return
                sock.settimeout(0.05)

    def _answer(self, body: bytes) -> Answer:
        if self.judge is not None:
            return self.judge(body)
        return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]

    def _read(self, sock: socket.socket) -> tuple[bytes, bytes] | None:
        data = b""
        while not self._stop.is_set():
            head, end, body = data.partition(b"\r\n\r\n")
            if end:
                fields = dict(line.lower().split(b": ", 1) for line in head.split(b"\r\n")[1:])
                if len(body) >= int(fields.get(b"content-length", b"0")):
                    return head, body
            try:
                rate = self.rate
                chunk = sock.recv(65536 if rate is None else 2048)
            except TimeoutError:
                continue
            if not chunk:
                return None
            data += chunk
            if rate is not None:
                self._stop.wait(len(chunk) / rate)
        return None

    def close(self) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()
        self._listener.close()


@contextmanager
def faults(
    *answers: Answer, judge: Judge | None = None, rate: float | None = None
) -> Iterator[FaultServer]:
    """A fault server that is gone afterwards."""
    server = FaultServer(*answers, judge=judge, rate=rate)
    try:
        yield server
    finally:
        server.close()
