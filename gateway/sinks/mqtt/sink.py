"""MQTT out: a JSON message a row, QoS 1; a batch leaves the spool when all are acknowledged."""

from __future__ import annotations

import logging
import re
import socket
import ssl
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import orjson

from gateway import __version__
from gateway.errors import Rejected, SinkUnavailable
from gateway.sinks import Payload, RemoteSink, Selected
from gateway.sinks.mqtt.messages import (
    FORMAT,
    Encoder,
    described,
    gateway_of,
    level,
    messages_of,
)
from gateway.sinks.mqtt.session import VERSIONS, NoSuchVersion, Session, Status, said
from gateway.sinks.mqtt.settings import MqttConfig
from gateway.sinks.naming import filled
from gateway.sinks.packing import compress
from gateway.sinks.payload import Described, TooSlow, plain_body
from gateway.sinks.secrets import read_secret, tls_context

log = logging.getLogger(__name__)

GZIP = f"{FORMAT}+gzip"
MAX_REFUSED = 1_000
_NOT_IN_AN_ID = re.compile(r"[^!-~]")


class MqttSink(RemoteSink):
    """Publishes to one broker. Used by two threads: one encodes, one delivers."""

    config_class = MqttConfig
    config: MqttConfig
    letter_format: ClassVar[str] = FORMAT

    def __init__(self, name: str, config: MqttConfig, state_dir: Path) -> None:
        super().__init__(name, config, state_dir)
        self._encoder = Encoder(config.topic, units=config.units)
        self._port = config.port or (8883 if config.tls else 1883)
        self._where = f"{config.host}:{self._port}"
        self._session: Session | None = None
        self._connecting: socket.socket | None = None
        self._version = VERSIONS[0]
        self._closed = False
        self._refused: dict[str, None] = {}
        """Topics that the broker said no to last: what goes there goes apart."""
        self._out: tuple[bytes, int] = (b"", 0)
        """A payload that is not done, and how many of its messages are."""

    # -- encoding

    def encode(self, rows: Sequence[Selected]) -> list[Payload]:
        """The rows as messages, in payloads of about 1 MB."""
        packed = self.config.gzip
        return [
            Payload(compress(text) if packed else text, GZIP if packed else FORMAT, count, values)
            for text, count, values in self._encoder.encode(rows)
        ]

    def pieces(self, body: bytes, format: str) -> list[bytes]:
        """Apart what goes to a topic that was refused: the others would be published twice."""
        if not self._refused or format not in (FORMAT, GZIP):
            return [body]
        return self._packed(body, format, self._apart(plain_body(body, format)))

    def split(self, body: bytes, format: str, words: str = "") -> list[bytes]:
        """By what was refused, or in halves; of one topic that was refused nothing is left."""
        if format not in (FORMAT, GZIP):
            return [body]
        text = plain_body(body, format)
        parts = self._apart(text) if words else [text]
        if len(parts) == 1:
            lines = text.splitlines(keepends=True)
            if len(lines) < 2 or (words and all(_topic(line) in self._refused for line in lines)):
                return [body]
            middle = len(lines) // 2
            parts = [b"".join(lines[:middle]), b"".join(lines[middle:])]
        return self._packed(body, format, parts)

    def _apart(self, text: bytes) -> list[bytes]:
        lines = text.splitlines(keepends=True)
        chosen = [_topic(line) in self._refused for line in lines]
        parts = [
            b"".join(line for line, c in zip(lines, chosen, strict=True) if c is wanted)
            for wanted in (False, True)
        ]
        return [part for part in parts if part]

    @staticmethod
    def _packed(body: bytes, format: str, texts: list[bytes]) -> list[bytes]:
        if len(texts) == 1:
            return [body]
        return [compress(text) for text in texts] if format == GZIP else texts

    def describe_each(self, body: bytes, format: str) -> list[tuple[bytes, Described]]:
        """What each message of a payload is about."""
        if format not in (FORMAT, GZIP):
            return []
        lines = plain_body(body, format).splitlines(keepends=True)
        return [(line, described(line)) for line in lines]

    def describe(self, body: bytes, format: str) -> Described:
        """What a payload of one message is about."""
        return described(plain_body(body, format))

    # -- delivering

    def deliver(self, body: bytes, format: str) -> None:
        """Publish all messages; returning means that the broker has acknowledged each."""
        if format not in (FORMAT, GZIP):
            raise Rejected(f"a payload of format {format} is not for MQTT")
        try:
            messages = messages_of(plain_body(body, format))
        except ValueError as error:
            raise Rejected(f"a damaged payload: {error}") from error
        if not messages:
            return
        deadline_s = time.monotonic() + self.config.timeout_s
        session = self._opened(gateway_of(messages[0]), deadline_s)
        done = self._out[1] if self._out[0] == body else 0
        self._out = (body, done)
        try:
            refused = session.publish(
                messages[done:], self.config.retain, deadline_s, self._one_is_out
            )
        except SinkUnavailable:
            self._drop()
            raise
        self._out = (b"", 0)
        bad = {r.message.topic for r in refused}
        for topic in {m.topic for m in messages} & self._refused.keys() - bad:
            del self._refused[topic]
        if refused:
            for topic in bad:
                if len(self._refused) >= MAX_REFUSED:
                    self._refused.pop(next(iter(self._refused)))
                self._refused[topic] = None
            raise Rejected(refused[0].words)

    def _one_is_out(self) -> None:
        self._out = (self._out[0], self._out[1] + 1)

    def _opened(self, gateway: str, deadline_s: float) -> Session:
        if self._closed:
            raise SinkUnavailable("closed")
        if self._session is not None and self._session.alive:
            return self._session
        self._drop()
        try:
            session = self._open(self._version, gateway, deadline_s)
        except _NoMqtt5:
            session = self._open(VERSIONS[1], gateway, deadline_s)
            self._version = VERSIONS[1]
        self._session = session
        return session

    def check(self) -> bool:
        """Connect and sign in; nothing is published, and no will is left."""
        deadline_s = time.monotonic() + self.config.timeout_s
        try:
            session = self._open(self._version, "check", deadline_s, silent=True)
        except _NoMqtt5:
            session = self._open(VERSIONS[1], "check", deadline_s, silent=True)
        session.goodbye()
        return True

    def _open(
        self, version: int, gateway: str, deadline_s: float, *, silent: bool = False
    ) -> Session:
        config = self.config
        password = read_secret("password", config.password_file, config.password_credential)
        context = None
        if config.tls:
            context = tls_context(config.ca_file, config.cert_file, config.key_file)
        sock = self._connected(context, deadline_s)
        client_id = config.client_id or _NOT_IN_AN_ID.sub("_", f"edge-{gateway}-{self.name}")
        keep, window = config.keepalive_s, config.in_flight
        session = Session(sock, self._where, client_id, version, keepalive_s=keep, in_flight=window)
        try:
            told = None if silent else self._status_of(gateway)
            session.open(config.user, password, told, deadline_s)
        except BaseException as error:
            session.shut()
            is_newest = version == VERSIONS[0]
            if isinstance(error, NoSuchVersion):
                if is_newest:
                    raise _NoMqtt5 from error
                text = f"{self._where}: the broker knows neither MQTT 5 nor 3.1.1"
                raise SinkUnavailable(text, operator=True) from error
            if is_newest and not session.answered and not isinstance(error, TooSlow):
                raise _NoMqtt5 from error  # an old one hangs up
            raise
        return session

    def _connected(self, context: ssl.SSLContext | None, deadline_s: float) -> socket.socket:
        left_s = max(0.01, deadline_s - time.monotonic())
        sock: socket.socket | None = None
        try:
            sock = socket.create_connection((self.config.host, self._port), left_s)
            self._connecting = sock
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if context is not None:
                sock = context.wrap_socket(sock, server_hostname=self.config.host)
            return sock
        except OSError as error:
            if sock is not None:
                sock.close()
            raise _unavailable(self._where, error) from error
        finally:
            self._connecting = None

    def _status_of(self, gateway: str) -> Status | None:
        if self.config.status_topic is None:
            return None
        topic = filled(self.config.status_topic, level(gateway))
        told = {"gateway": gateway, "version": __version__}
        birth = orjson.dumps({"state": "online", **told, "time_ns": time.time_ns()})
        return Status(topic, birth, orjson.dumps({"state": "offline", **told}))

    def _drop(self) -> None:
        session, self._session = self._session, None
        if session is not None:
            session.shut()

    def close(self) -> None:
        """End what is under way, say good-bye and close the connection."""
        if not self._closed:
            self._closed = True
            connecting, session = self._connecting, self._session
            if connecting is not None:
                connecting.close()
            self._session = None
            if session is not None:
                session.goodbye()

    def status(self) -> dict[str, Any]:
        """Where it publishes, and what the broker does not take."""
        session = self._session
        return {
            "broker": self._where,
            "topic": self.config.topic,
            "connected": session is not None and session.alive,
            "protocol": "5" if self._version == VERSIONS[0] else "3.1.1",
            "topics_refused": sorted(self._refused)[:100],
            "values_not_finite": self._encoder.not_finite,
        }


class _NoMqtt5(Exception):
    """The broker may know only MQTT 3.1.1."""


def _topic(line: bytes) -> str:
    return line.partition(b"\t")[0].decode()


def _unavailable(where: str, error: OSError) -> SinkUnavailable:
    if isinstance(error, TimeoutError):
        return SinkUnavailable(f"{where}: cannot connect in time")
    if isinstance(error, ssl.SSLCertVerificationError):
        return SinkUnavailable(f"{where}: its certificate: {error.verify_message}", operator=True)
    if isinstance(error, ssl.SSLError):
        return SinkUnavailable(f"{where}: TLS: {error.reason or said(str(error))}", operator=True)
    return SinkUnavailable(f"{where}: {error.strerror or said(str(error))}")
