"""The gRPC server of `proto/telemetry.proto`: who may call, and a thread or two for each stream.

gRPC is imported only here and in `gateway.ingest.client`.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final

import grpc  # type: ignore[import-untyped]

from gateway.errors import GatewayError
from gateway.ingest.counts import Outcome
from gateway.ingest.intake import Intake
from gateway.ingest.messages import MAX_MESSAGE, METHOD, SERVICE, messages
from gateway.ingest.settings import GrpcConfig, GrpcTlsConfig, listen_address
from gateway.ingest.stream import Ended, Stream

log = logging.getLogger("gateway.ingest")

MAX_STREAMS: Final = 64
WINDOW: Final = 262_144
"""Bytes of a sender that are on their way, or read and not looked at."""
MAX_TOLD: Final = 100
"""Refusals of one acknowledgement that are told one by one."""

_OPTIONS: Final = [
    ("grpc.max_receive_message_length", MAX_MESSAGE),
    ("grpc.max_metadata_size", 16384),
    ("grpc.max_concurrent_streams", MAX_STREAMS),
    # a window that grew with the line would hold megabytes for each sender that has to wait
    ("grpc.http2.bdp_probe", 0),
    ("grpc.http2.lookahead_bytes", WINDOW),
    ("grpc.so_reuseport", 0),  # a second gateway must not share the port in silence
    # who is gone without a word is found out
    ("grpc.keepalive_time_ms", 20_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.min_recv_ping_interval_without_data_ms", 5_000),
    ("grpc.max_connection_idle_ms", 300_000),
]

Identify = Callable[[str, str], str]
"""(authorization, peer) -> name of the sender; PermissionError in words where it is not known."""


class RpcServer:
    """Serves until `stop`."""

    def __init__(self, config: GrpcConfig, intake: Intake, identify: Identify) -> None:
        self._config = config
        self._intake = intake
        self._identify = identify
        self._needs_token = config.tls is None or config.tls.client_ca_file is None
        self._streams: set[Stream] = set()
        self._lock = threading.Lock()
        self._pool = ThreadPoolExecutor(MAX_STREAMS, "ingest")
        self._server: Any = None

    def start(self) -> None:
        """Listen. GatewayError where that cannot be."""
        host, port = listen_address(self._config.listen)
        at = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        server = grpc.server(self._pool, options=_OPTIONS, maximum_concurrent_rpcs=MAX_STREAMS)
        handler = grpc.stream_stream_rpc_method_handler(
            self._stream_rows, response_serializer=_serialized
        )
        server.add_generic_rpc_handlers(
            (grpc.method_handlers_generic_handler(SERVICE, {METHOD: handler}),)
        )
        try:
            if self._config.tls is None:
                server.add_insecure_port(at)
            else:
                server.add_secure_port(at, _credentials(self._config.tls))
        except RuntimeError as error:
            self._pool.shutdown(wait=False)
            raise GatewayError(
                f"ingest.grpc.listen: {at} cannot be listened on; is it taken by another program?"
            ) from error
        server.start()
        self._server = server
        log.info("listening for rows", extra={"at": at, "tls": self._config.tls is not None})

    def stop(self, grace_s: float) -> None:
        """Take no more streams; those that are open get what is left of their words."""
        if self._server is None:
            return
        stopped = self._server.stop(grace_s)
        if not stopped.wait(grace_s + 1.0):
            log.warning("streams of rows were cut off")
        with self._lock:
            streams = list(self._streams)
        for stream in streams:
            stream.stop()
        self._pool.shutdown()

    def _stream_rows(self, bodies: Iterator[bytes], context: Any) -> Iterator[Any]:
        counts = self._intake.counts
        try:
            sender = self._admit(context)
        except BaseException:
            counts.answered("grpc", "refused")
            raise
        stream = Stream(self._intake, sender, messages().batch.FromString)
        with self._lock:
            self._streams.add(stream)
        counts.opened(stream)
        context.add_callback(stream.stop)
        reader = threading.Thread(target=stream.read, args=(bodies,), name="ingest read")
        reader.daemon = True  # waits within grpc until the call has ended
        reader.start()
        outcome: Outcome = (
            "again"  # also where the sender hangs up, or grpc gives up this generator
        )
        has_refused = False
        try:
            for told in stream.acknowledged():
                has_refused = has_refused or bool(told[1])
                yield told
            outcome = "partly" if has_refused else "stored"
        except Ended as error:
            if error.is_fault:
                outcome = "refused"
            code = grpc.StatusCode.INVALID_ARGUMENT if error.is_fault else _AGAIN
            context.abort(code, str(error))
        finally:
            counts.answered("grpc", outcome)
            counts.closed(stream)
            with self._lock:
                self._streams.discard(stream)

    def _admit(self, context: Any) -> str:
        peer = _address(context.peer())
        if not self._needs_token:
            names = context.auth_context().get("x509_common_name", [])
            return names[0].decode("utf-8", "replace")[:64] if names else "a certificate"
        given = dict(context.invocation_metadata()).get("authorization", "")
        try:
            if not isinstance(given, str):
                raise PermissionError("authorization: expected text")
            return self._identify(given, peer)
        except PermissionError as error:
            context.abort(grpc.StatusCode.UNAUTHENTICATED, str(error))
            raise  # abort has raised


_AGAIN: Final = grpc.StatusCode.UNAVAILABLE


def _serialized(told: tuple[int, list[tuple[int, int, str]]]) -> bytes:
    seq, refused = told
    ack = messages().ack(seq=seq)
    for of_seq, rows, why in refused[:MAX_TOLD]:
        ack.refused.add(seq=of_seq, rows=rows, why=why[:500])
    if len(refused) > MAX_TOLD:
        rows = sum(r[1] for r in refused[MAX_TOLD:])
        ack.refused.add(seq=seq, rows=rows, why="and more")
    body: bytes = ack.SerializeToString()
    return body


def _address(peer: str) -> str:
    """The address in gRPC's ``ipv4:127.0.0.1:4711`` or ``ipv6:%5B::1%5D:4711``."""
    _, _, rest = peer.partition(":")
    host, _, _ = rest.rpartition(":")
    return host.replace("%5B", "").replace("%5D", "").strip("[]")


def _credentials(tls: GrpcTlsConfig) -> Any:
    """Server credentials that follow the files: a renewed certificate is taken by itself."""
    seen = [_state(tls)]
    first = _configuration(tls)

    def newest() -> Any:
        state = _state(tls)
        if state == seen[0]:
            return None
        try:
            made = _configuration(tls)
        except GatewayError as error:
            log.error("the old certificate stays", extra={"detail": str(error)})
            return None
        seen[0] = state
        return made

    return grpc.dynamic_ssl_server_credentials(
        first, newest, require_client_authentication=tls.client_ca_file is not None
    )


def _configuration(tls: GrpcTlsConfig) -> Any:
    try:
        key, chain = tls.key_file.read_bytes(), tls.certificate_file.read_bytes()
        ca = None if tls.client_ca_file is None else tls.client_ca_file.read_bytes()
    except OSError as error:
        raise GatewayError(f"{error.filename}: {error.strerror}") from error
    return grpc.ssl_server_certificate_configuration([(key, chain)], root_certificates=ca)


def _state(tls: GrpcTlsConfig) -> list[tuple[int, int, int] | None]:
    return [_of_file(p) for p in (tls.certificate_file, tls.key_file, tls.client_ca_file)]


def _of_file(path: Path | None) -> tuple[int, int, int] | None:
    try:
        about = None if path is None else path.stat()
    except OSError:
        return None
    return None if about is None else (about.st_ino, about.st_size, about.st_mtime_ns)
