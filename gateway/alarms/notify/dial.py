"""Connections to receivers: opened, and made safe by TLS, before a deadline."""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from gateway.alarms.notify.deadline import Deadline
from gateway.alarms.notify.notice import Undelivered, bounded
from gateway.errors import GatewayError
from gateway.logs import without_secrets

MAX_WORDS = 300
"""Characters of what a receiver says, in our own words."""


class Sends:
    """The sends of one channel, one after the other; another thread can end them all."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._deadline: Deadline | None = None
        self._over = False

    @contextmanager
    def within(self, timeout_s: float, where: str) -> Iterator[Deadline]:
        """One send, over after so long; what goes wrong with its sockets is Undelivered."""
        with self._lock:
            if self._over:
                raise Undelivered("the gateway is stopping")
            deadline = self._deadline = Deadline(timeout_s)
        try:
            with deadline:
                yield deadline
        except GatewayError:
            raise
        except Exception as error:
            if self._over:
                raise Undelivered("the gateway is stopping") from error
            # whatever a library makes of it, a conversation that was cut was not at fault itself
            if not (deadline.over or isinstance(error, OSError)):
                raise
            raise _undelivered(error, deadline, where, timeout_s) from error
        finally:
            with self._lock:
                self._deadline = None

    def end(self) -> None:
        """End the one that is under way, and let none begin."""
        with self._lock:
            self._over = True
            if self._deadline is not None:
                self._deadline.cut()


def connect(host: str, port: int, deadline: Deadline) -> socket.socket:
    """A TCP connection to the first address of the host that takes it. OSError."""
    fault: OSError | None = None
    for family, kind, protocol, _, address in socket.getaddrinfo(
        host, port, type=socket.SOCK_STREAM
    ):
        sock = socket.socket(family, kind, protocol)
        try:
            deadline.watch(sock)
            sock.settimeout(deadline.left_s)
            sock.connect(address)
            sock.settimeout(deadline.left_s)
            return sock
        except OSError as error:
            sock.close()
            fault = fault or error
            if deadline.over:
                break
    raise fault or OSError("the name has no address")


def secured(
    sock: socket.socket, context: ssl.SSLContext, host: str, deadline: Deadline
) -> ssl.SSLSocket:
    """TLS on that connection; OSError (an SSLError is one), and the connection is closed."""
    try:
        # the handshake apart: while it goes on the socket must be one that can be shut down
        safe = context.wrap_socket(sock, server_hostname=host, do_handshake_on_connect=False)
    except BaseException:
        sock.close()
        raise
    try:
        safe.settimeout(deadline.left_s)
        deadline.watch(safe)
        safe.do_handshake()
        safe.settimeout(deadline.left_s)
    except BaseException:
        safe.close()
        raise
    return safe


def said(text: str | bytes) -> str:
    """What a receiver says, fit to be told: on one line, short, without secrets."""
    if isinstance(text, bytes):
        text = text.decode("utf-8", "replace")
    words = without_secrets(" ".join(text.split()))
    return bounded(words if len(words) <= MAX_WORDS else f"{words[:MAX_WORDS]}...")


def _undelivered(error: Exception, deadline: Deadline, where: str, timeout_s: float) -> Undelivered:
    if deadline.over or isinstance(error, TimeoutError):
        return Undelivered(f"{where}: not done within {timeout_s:g} s")
    if isinstance(error, ssl.SSLCertVerificationError):
        return Undelivered(f"{where}: its certificate: {error.verify_message}", operator=True)
    if isinstance(error, ssl.SSLError):
        return Undelivered(f"{where}: TLS: {error.reason or said(str(error))}", operator=True)
    if isinstance(error, socket.gaierror):
        return Undelivered(f"{where}: {error.strerror}")
    if isinstance(error, ConnectionError) and error.strerror is None:
        return Undelivered(f"{where}: {said(str(error))}")
    return Undelivered(f"{where}: {getattr(error, 'strerror', None) or said(str(error))}")
