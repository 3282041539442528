"""The gRPC channel to an NI gRPC Device Server: bounded in time, and closed for good."""

from __future__ import annotations

import errno
import socket
import time
from hashlib import blake2b
from pathlib import Path
from typing import Any, Final

from drivers.nidaq import vendor
from gateway.driver import Endpoint
from gateway.errors import DeviceUnavailable

LAST_S: Final = 1.0
"""What a server gets to end the task; one that hangs may keep it, the next task finds it."""

_OPTIONS: Final = (
    # a block of many channels is longer than the usual limit of 4 MiB
    ("grpc.max_receive_message_length", -1),
    # a card is in the plant, and not behind the proxy for the web
    ("grpc.enable_http_proxy", 0),
)


class _Deadline(vendor.grpc.UnaryUnaryClientInterceptor):  # type: ignore[misc]
    """Gives every call a deadline: nidaqmx sets none, and would wait for a frozen host for ever."""

    def __init__(self, timeout_s: float, read_s: float, until: float) -> None:
        self._timeout_s = timeout_s
        self._read_s = read_s
        self.until: float | None = until
        """Where several calls have one time together, its end on the monotonic clock."""

    def intercept_unary_unary(self, continuation: Any, details: Any, request: Any) -> Any:
        """The call with its deadline; a read of samples waits for them, too."""
        if (until := self.until) is not None:
            limit_s = until - time.monotonic()
            if limit_s <= 0:
                raise DeviceUnavailable("timeout", "the server is too slow")
        elif details.method.endswith("/ReadAnalogF64"):
            limit_s = self._read_s
        else:
            limit_s = self._timeout_s
        return continuation(details._replace(timeout=limit_s), request)


class Link:
    """One connection to one server."""

    def __init__(self, endpoint: Endpoint, ca_file: Path | None, timeout_s: float) -> None:
        self._endpoint = endpoint
        self._ca_file = ca_file
        self._timeout_s = timeout_s
        self._channel: Any = None
        self._deadline: _Deadline | None = None
        self._peer = ""
        self._claim: socket.socket | None = None

    def open(self, read_s: float) -> Any:
        """The channel, once the server has answered; ``read_s`` is the longest wait of a read.

        All calls until `opened` must end within ``timeout_s``. Raises DeviceUnavailable: refused,
        unreachable, timeout or config.
        """
        until = time.monotonic() + self._timeout_s
        self._knock()
        target = f"{self._endpoint.host}:{self._endpoint.port}"
        if ":" in self._endpoint.host:
            target = f"[{self._endpoint.host}]:{self._endpoint.port}"
        if self._ca_file is None:
            channel = vendor.grpc.insecure_channel(target, _OPTIONS)
        else:
            channel = vendor.grpc.secure_channel(target, self._credentials(), _OPTIONS)
        self._channel = channel
        self._greet(channel, target, until)
        self._deadline = _Deadline(self._timeout_s, read_s, until)
        return vendor.grpc.intercept_channel(channel, self._deadline)

    def claim(self, task: str) -> None:
        """Be the only process of this computer that uses this task of the server, until `close`.

        A server tells tasks apart by their names alone: of two readers of one name each would get a
        part of the samples, and take it for all. Raises DeviceUnavailable: reserved.
        """
        name = blake2b(f"{self._peer} {task}".encode(), digest_size=16).hexdigest()
        claim = socket.socket(socket.AF_UNIX)
        try:
            # of Linux's abstract names, which end with their process, however that ends
            claim.bind(f"\0edge-gateway-nidaq-{name}")
        except OSError as error:
            claim.close()
            if error.errno == errno.EADDRINUSE:
                detail = f"another gateway on this computer has the task {task} at {self._peer}"
                raise DeviceUnavailable("reserved", detail) from None
            return
        self._claim = claim

    def opened(self) -> None:
        """The task runs: from now on each call has a time of its own."""
        if self._deadline is not None:
            self._deadline.until = None

    def hurry(self) -> None:
        """The last calls begin; together they get no more than `LAST_S`."""
        if self._deadline is not None:
            self._deadline.until = time.monotonic() + LAST_S

    def close(self) -> None:
        """End the channel and every call on it; idempotent, from any thread."""
        channel, self._channel = self._channel, None
        if channel is not None:
            channel.close()
        claim, self._claim = self._claim, None
        if claim is not None:
            claim.close()

    def _knock(self) -> None:
        # gRPC itself would try again and again, and say no more than that it is not ready
        where = (self._endpoint.host, self._endpoint.port)
        try:
            with socket.create_connection(where, self._timeout_s) as connection:
                self._peer = "{} {}".format(*connection.getpeername())
        except ConnectionRefusedError as error:
            raise DeviceUnavailable("refused", f"{where[0]}:{where[1]}: {error}") from None
        except TimeoutError as error:
            raise DeviceUnavailable("timeout", f"{where[0]}:{where[1]}: {error}") from None
        except OSError as error:
            raise DeviceUnavailable("unreachable", f"{where[0]}:{where[1]}: {error}") from None

    def _greet(self, channel: Any, target: str, until: float) -> None:
        # a call that waits for the connection; gRPC's own way to watch one leaves a thread behind
        # that fails when the channel is closed
        ask = channel.unary_unary(
            "/nidaqmx_grpc.NiDAQmx/GetSystemInfoAttributeUInt32",
            request_serializer=vendor.messages.GetSystemInfoAttributeUInt32Request.SerializeToString,
        )
        version = vendor.messages.GetSystemInfoAttributeUInt32Request(attribute_raw=0x1272)
        try:
            ask(version, timeout=max(0.05, until - time.monotonic()), wait_for_ready=True)
        except vendor.grpc.RpcError as error:
            if error.code() is vendor.grpc.StatusCode.DEADLINE_EXCEEDED:
                tls = "without TLS" if self._ca_file is None else f"with TLS by {self._ca_file}"
                detail = f"no gRPC server answers at {target} ({tls})"
                raise DeviceUnavailable("timeout", detail) from None
            if error.code() in (
                vendor.grpc.StatusCode.CANCELLED,
                vendor.grpc.StatusCode.UNAVAILABLE,
            ):
                raise DeviceUnavailable("closed", f"{target}: {error.details()}") from None
            # any other answer is one, too: that it has no runtime is told when the task is made

    def _credentials(self) -> Any:
        try:
            certificate = Path(str(self._ca_file)).read_bytes()
        except OSError as error:
            raise DeviceUnavailable("config", f"grpc_ca_file: {error}") from None
        return vendor.grpc.ssl_channel_credentials(root_certificates=certificate)
