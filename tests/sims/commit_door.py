"""A way to a PostgreSQL server at which the answer to a COMMIT can be lost, or held."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress


class CommitDoor:
    """Passes everything, until one of the events is set."""

    def __init__(self, port: int) -> None:
        self.lose = threading.Event()
        """The way breaks once the next COMMIT has gone through; cleared by that."""
        self.hold = threading.Event()
        """From the next COMMIT of a connection on, no answer passes until it is cleared."""
        self.held = 0
        """Connections whose COMMIT has gone through while answers were held."""
        self._server_port = port
        self._closing = threading.Event()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        self._sockets: list[socket.socket] = []
        self._threads: list[threading.Thread] = []
        self._acceptor = threading.Thread(target=self._accept)
        self._acceptor.start()

    def close(self) -> None:
        """End all connections."""
        self._closing.set()
        for made in (self._listener, *self._sockets):
            with suppress(OSError):
                made.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._acceptor.join()
        for thread in self._threads:
            thread.join()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                self._sockets.append(client)
                self._threads.append(threading.Thread(target=self._serve, args=(client,)))
                self._threads[-1].start()

    def _serve(self, client: socket.socket) -> None:
        silent = threading.Event()
        with client, ExitStack() as stack:
            try:
                address = ("127.0.0.1", self._server_port)
                upstream = stack.enter_context(socket.create_connection(address))
            except OSError:
                return
            self._sockets.append(upstream)
            back = threading.Thread(target=self._answers, args=(upstream, client, silent))
            back.start()
            self._questions(client, upstream, silent)
            back.join()

    def _questions(
        self, client: socket.socket, upstream: socket.socket, silent: threading.Event
    ) -> None:
        with suppress(OSError):
            while data := client.recv(65536):
                if b"COMMIT" in data and self.hold.is_set():
                    silent.set()
                    self.held += 1
                if b"COMMIT" in data and self.lose.is_set():
                    self.lose.clear()
                    client.shutdown(socket.SHUT_RDWR)  # it hears nothing any more
                    upstream.sendall(data)
                    break
                upstream.sendall(data)
            upstream.shutdown(socket.SHUT_WR)

    def _answers(
        self, upstream: socket.socket, client: socket.socket, silent: threading.Event
    ) -> None:
        with suppress(OSError):
            while data := upstream.recv(65536):
                while silent.is_set() and self.hold.is_set() and not self._closing.wait(0.01):
                    pass
                silent.clear()
                client.sendall(data)
            client.shutdown(socket.SHUT_WR)


@contextmanager
def commit_door(port: int) -> Iterator[CommitDoor]:
    """A door before the server of that port."""
    made = CommitDoor(port)
    try:
        yield made
    finally:
        made.close()
