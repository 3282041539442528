"""Redis by redis-py with hiredis: connection, pipelines, and what its answers mean.

The only module that imports redis-py. Raw commands in, raw answers out (RESP 2, bytes).
"""

from __future__ import annotations

import re
import ssl
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any, TypeAlias

import redis
from pydantic import Field, model_validator
from redis.backoff import NoBackoff
from redis.exceptions import (
    AskError,
    AuthenticationError,
    AuthorizationError,
    BusyLoadingError,
    ClusterCrossSlotError,
    ClusterDownError,
    NoPermissionError,
    OutOfMemoryError,
    ReadOnlyError,
    RedisError,
    ResponseError,
    TryAgainError,
)
from redis.exceptions import TimeoutError as RedisTimeout
from redis.retry import Retry

from gateway.driver import Settings
from gateway.errors import GatewayError, Rejected, SinkUnavailable
from gateway.logs import without_secrets
from gateway.secretfiles import (
    CaFile,
    CertFile,
    KeyFile,
    PasswordCredential,
    PasswordFile,
    check_certificates,
    one_of,
)
from gateway.settings import HostName
from gateway.sinks.payload import TooSlow
from gateway.sinks.secrets import read_secret, tls_context

Argument: TypeAlias = str | bytes | int | float
Command: TypeAlias = Sequence[Argument]

MAX_WORDS = 300

_TAKES_NOTHING = (BusyLoadingError, ClusterDownError, ReadOnlyError, TryAgainError)
_LATER = ("BUSY", "MISCONF", "NOREPLICAS")
"""First words of answers of a Redis that does not take anything now, which have no class."""
_REFUSES_US = (AuthenticationError, AuthorizationError, NoPermissionError)
_OF_A_PERSON = ("DENIED",)
_OF_PIPELINE = re.compile(r"^Command # \d+ \(.*\) of pipeline caused error: ", re.DOTALL)


class RedisServer(Settings):
    """Where a Redis is, and how it is spoken to."""

    host: HostName = Field(description="Name or IP address of the Redis server.")
    port: int = Field(6379, ge=1, le=65535, description="Its TCP port.")
    db: int = Field(0, ge=0, le=10_000, description="Number of the database.")
    user: str | None = Field(None, min_length=1, description="User (ACL), where it has any.")
    password_file: PasswordFile = None
    password_credential: PasswordCredential = None
    tls: bool = Field(False, description="Encrypt, and verify the server's certificate and name.")
    ca_file: CaFile = None
    cert_file: CertFile = None
    key_file: KeyFile = None
    timeout_s: float = Field(
        10.0, gt=0, le=120, description="Longest wait for one answer, in seconds."
    )

    @model_validator(mode="after")
    def _fits(self) -> RedisServer:
        one_of(self, "password_file", "password_credential")
        check_certificates(self)
        return self


class Refusal(GatewayError):
    """Redis refused a command, in its own words."""

    @property
    def code(self) -> str:
        """Its first word: ``WRONGTYPE``, ``BUSYGROUP``, ``NOGROUP``..."""
        return str(self).partition(" ")[0]


class RedisClient:
    """One connection, made when it is needed. Used by one thread; `close` from any.

    SinkUnavailable where it cannot be reached, or does not take anything now; Refusal where it
    says no to a command.
    """

    def __init__(self, server: RedisServer, name: str, *, raw: bool = False) -> None:
        """``raw``: answers as Redis gives them; else as redis-py makes them over."""
        self._raw = raw
        self.where = f"{server.host}:{server.port}"
        self._server = server
        self._name = re.sub(r"[^!-~]", "_", name)
        self._redis: redis.Redis | None = None
        self._closed = False
        self._is_stale = False

    def call(self, *command: Argument) -> Any:
        """Run one command."""
        with self._errors():
            return self._connected().execute_command(*command)  # type: ignore[no-untyped-call]

    def run(self, commands: Sequence[Command], *, atomic: bool = False) -> list[Any]:
        """Run many at once; the answers, a Refusal in the place of one that was refused.

        ``atomic``: as one transaction (MULTI), of which nothing is done where Redis says no to
        any before it begins.
        """
        if not commands:
            return []
        with self._errors(), self._connected().pipeline(transaction=atomic) as pipeline:
            for command in commands:
                pipeline.execute_command(*command)  # type: ignore[no-untyped-call]
            answers = pipeline.execute(raise_on_error=False)
        return [self._judged(a) if isinstance(a, Exception) else a for a in answers]

    @contextmanager
    def subscribed(self, *channels: str) -> Iterator[Any]:
        """redis-py's PubSub on these channels (patterns where they hold ``*``)."""
        with self._errors():
            listener = self._connected().pubsub(ignore_subscribe_messages=True)  # type: ignore[no-untyped-call]
            try:
                for channel in channels:
                    (listener.psubscribe if "*" in channel else listener.subscribe)(channel)
                yield listener
            finally:
                listener.close()

    def close(self) -> None:
        """End a command that is under way and close the connection. Idempotent, never raises."""
        self._closed = True
        self.drop()

    def drop(self) -> None:
        """Close the connection; the next command makes a new one."""
        client, self._redis = self._redis, None
        if client is not None:
            with suppress(RedisError, OSError, ValueError):
                client.connection_pool.disconnect(inuse_connections=True)

    def _connected(self) -> redis.Redis:
        if self._closed:
            raise SinkUnavailable("closed")
        if self._is_stale:
            self._is_stale = False
            self.drop()
        if self._redis is None:
            server = self._server
            secret = read_secret("password", server.password_file, server.password_credential)
            more: dict[str, Any] = {}
            if server.tls:
                tls_context(server.ca_file, server.cert_file, server.key_file)  # says what is wrong
                more = {
                    "ssl": True,
                    "ssl_cert_reqs": "required",
                    "ssl_check_hostname": True,
                    "ssl_min_version": ssl.TLSVersion.TLSv1_2,
                    "ssl_ca_certs": server.ca_file and str(server.ca_file),
                    "ssl_certfile": server.cert_file and str(server.cert_file),
                    "ssl_keyfile": server.key_file and str(server.key_file),
                }
            self._redis = redis.Redis(
                host=server.host,
                port=server.port,
                db=server.db,
                username=server.user,
                password=secret,
                protocol=2,
                client_name=self._name,
                driver_info=None,  # CLIENT SETINFO would be one more right to give
                socket_timeout=server.timeout_s,
                socket_connect_timeout=server.timeout_s,
                socket_keepalive=True,
                retry=Retry(NoBackoff(), 0),
                health_check_interval=0,
                **more,
            )
            if self._raw:
                self._redis.response_callbacks.clear()
        return self._redis

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except ResponseError as error:
            raise self._judged(error) from error
        except (RedisError, OSError, ValueError, AttributeError) as error:
            self.drop()
            if not self._closed and isinstance(error, (ValueError, AttributeError)):
                raise  # a fault of ours; a connection that was closed under way raises them, too
            raise self._unavailable(error) from error

    def _judged(self, error: Exception) -> GatewayError:
        """What a refused command means: not now, a matter for a person, or no."""
        words = said(error)
        code = words.partition(" ")[0]
        text = f"{self.where}: {words}"
        if isinstance(error, OutOfMemoryError):
            return SinkUnavailable(f"{self.where}: Redis is full: {words}")
        if isinstance(error, (AskError, ClusterCrossSlotError)):  # a MovedError is an AskError
            text = "is one of a Redis Cluster; expected one Redis, or the master of replicas"
            return SinkUnavailable(f"{self.where}: {text}", operator=True)
        if isinstance(error, _REFUSES_US) or code in _OF_A_PERSON or "unknown command" in words:
            return SinkUnavailable(text, operator=True)
        if isinstance(error, _TAKES_NOTHING) or code in _LATER:
            self._is_stale = True  # another one may have become master under the same name
            return SinkUnavailable(text)
        return Refusal(words) if isinstance(error, ResponseError) else SinkUnavailable(text)

    def _unavailable(self, error: Exception) -> GatewayError:
        if self._closed:
            return SinkUnavailable("closed")
        if isinstance(error, (AuthenticationError, AuthorizationError)):
            return SinkUnavailable(f"{self.where}: {said(error)}", operator=True)
        if isinstance(error, (RedisTimeout, TimeoutError)):
            return TooSlow(f"{self.where}: no answer within {self._server.timeout_s:g} s")
        cause: BaseException | None = error
        while cause is not None:
            if isinstance(cause, ssl.SSLError):
                words = getattr(cause, "verify_message", "") or cause.reason or said(cause)
                return SinkUnavailable(f"{self.where}: TLS: {words}", operator=True)
            cause = cause.__cause__ or cause.__context__
        return SinkUnavailable(f"{self.where}: {said(error)}")


def said(error: BaseException) -> str:
    """What Redis said, on one line, short and without secrets or what was sent."""
    words = _OF_PIPELINE.sub("", str(error)) or type(error).__name__
    words = "".join(c if c.isprintable() else " " for c in without_secrets(words))
    return " ".join(words.split())[:MAX_WORDS]


def refused(answers: Sequence[Any]) -> None:
    """Raise the first of the answers that is an error: Refusal as Rejected."""
    for answer in answers:
        if isinstance(answer, Refusal):
            raise Rejected(str(answer))
        if isinstance(answer, Exception):
            raise answer
