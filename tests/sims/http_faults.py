"""A server that answers wrongly in every way a network has shown."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

Answer = bytes | Callable[[socket.socket, threading.Event], None]
"""What is sent after a request was read, or what is done with its connection."""

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


class FaultServer:
    """Answers request after request with what stands in ``answers``; the last one stays."""

    def __init__(self, *answers: Answer) -> None:
        self.answers = list(answers)
        self.requests: list[tuple[bytes, bytes]] = []
        """(head, body) of every request."""
        self._stop = threading.Event()
        self._threads: list[threading.Thread] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
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
        with sock, suppress(OSError):
            sock.settimeout(0.05)
            while (request := self._read(sock)) is not None:
                self.requests.append(request)
                answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
                sock.settimeout(5.0)
                if not isinstance(answer, bytes):
                    answer(sock, self._stop)
                    return
                sock.sendall(answer)
                if not answer.startswith(b"HTTP/1.1") or b"\r\n\r\n" not in answer:
                    return
                sock.settimeout(0.05)

    def _read(self, sock: socket.socket) -> tuple[bytes, bytes] | None:
        data = b""
        while not self._stop.is_set():
            head, end, body = data.partition(b"\r\n\r\n")
            if end:
                fields = dict(line.lower().split(b": ", 1) for line in head.split(b"\r\n")[1:])
                if len(body) >= int(fields.get(b"content-length", b"0")):
                    return head, body
            try:
                chunk = sock.recv(65536)
            except TimeoutError:
                continue
            if not chunk:
                return None
            data += chunk
        return None

    def close(self) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()
        self._listener.close()


@contextmanager
def faults(*answers: Answer) -> Iterator[FaultServer]:
    """A fault server that is gone afterwards."""
    server = FaultServer(*answers)
    try:
        yield server
    finally:
        server.close()
