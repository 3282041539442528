"""An end to a conversation on a socket, however slowly the other side speaks.

The time-out of a socket begins anew with every byte; a server that sends one now and then holds a
thread for ever.
"""

from __future__ import annotations

import socket
import threading
import time
from contextlib import suppress
from types import TracebackType


class Deadline:
    """Shuts a socket down when the time is over, or at once from another thread."""

    def __init__(self, timeout_s: float) -> None:
        self._end_s = time.monotonic() + timeout_s
        self._timer = threading.Timer(timeout_s, self.cut)
        self._timer.daemon = True
        self._lock = threading.Lock()
        self._socket: socket.socket | None = None
        self.over = False

    def __enter__(self) -> Deadline:
        self._timer.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._timer.cancel()
        with self._lock:
            self._socket = None
        self._timer.join()

    @property
    def left_s(self) -> float:
        """Seconds that are left; a little where none are, since 0 would mean "do not wait"."""
        return max(0.001, self._end_s - time.monotonic())

    def watch(self, sock: socket.socket) -> None:
        """It is this socket that is to be shut down; OSError where the time is over already."""
        with self._lock:
            self._socket = sock
            if self.over:
                self._shut()
                raise TimeoutError("the time is over")

    def cut(self) -> None:
        """End the conversation now."""
        with self._lock:
            self.over = True
            self._shut()

    def _shut(self) -> None:
        if self._socket is not None:
            # not the method of a TLS socket: that would throw away what the other thread reads by
            with suppress(OSError):
                socket.socket.shutdown(self._socket, socket.SHUT_RDWR)
