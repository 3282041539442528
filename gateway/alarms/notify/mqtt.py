"""MQTT: each message is published with QoS 1, and is out when the broker has acknowledged it.

MQTT 5, in which a broker says why it refuses; 3.1.1 where it does not know that. The connection
lasts as long as something waits: alarms are rare, and so none has to be kept alive.
"""

from __future__ import annotations

import re
import select
import socket
import ssl
from collections.abc import Callable, Sequence
from typing import Any

from paho.mqtt.client import Client, ConnectFlags, DisconnectFlags, MQTTv5, MQTTv311
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from gateway.alarms.notify.channel import Channel
from gateway.alarms.notify.credentials import read_secret, tls_context
from gateway.alarms.notify.deadline import Deadline
from gateway.alarms.notify.dial import Sends, connect, said, secured
from gateway.alarms.notify.notice import Notice, Refused, Undelivered
from gateway.alarms.notify.settings import MqttConfig
from gateway.alarms.notify.template import fill

KEEPALIVE_S = 60
"""Told to the broker, which ends a connection after 1.5 times that; a send is shorter."""

OPERATOR = (0x85, 0x86, 0x87, 0x8A, 0x8C)
"""Reasons that only a person can mend: client id, user or password, not authorized, banned, bad
authentication (MQTT 5, 2.4)."""

OF_THE_MESSAGE = (0x90, 0x95, 0x99)
"""Topic name invalid, packet too large, payload format invalid."""

NO_SUCH_VERSION = 0x84

_NOT_IN_A_LEVEL = re.compile(r"[+#/\x00-\x1f\x7f]")


class MqttChannel(Channel):
    """Publishes to one broker."""

    def __init__(self, config: MqttConfig) -> None:
        self._config = config
        self._port = config.port or (8883 if config.tls else 1883)
        self._where = f"{config.host}:{self._port}"
        self._sends = Sends()
        self._session: _Session | None = None
        self._version = MQTTv5
        self.longest_s = config.timeout_s

    def send(self, notices: Sequence[Notice]) -> None:
        """Publish one message and wait for its PUBACK."""
        (notice,) = notices
        try:
            with self._sends.within(self._config.timeout_s, self._where) as deadline:
                self._publish(notice, deadline)
        except BaseException:
            self._drop()
            raise

    def idle(self) -> None:
        """Say good-bye to the broker."""
        if self._session is not None:
            self._session.goodbye()
        self._drop()

    def interrupt(self) -> None:
        """End the send that is under way."""
        self._sends.end()

    def _publish(self, notice: Notice, deadline: Deadline) -> None:
        config = self._config
        levels = {k: _NOT_IN_A_LEVEL.sub("_", v) for k, v in notice.fields().items()}
        topic = fill(config.topic, levels)
        retain = config.retain and not notice.is_test
        if self._session is not None:
            try:
                self._session.publish(topic, notice.body(), retain, deadline)
                return
            except _ConnectionLost:  # one that was kept may have been closed long ago
                self._drop()
        try:
            self._session = self._connected(deadline)
            self._session.publish(topic, notice.body(), retain, deadline)
        except _ConnectionLost as error:
            raise Undelivered(f"{self._where}: {error}") from error

    def _connected(self, deadline: Deadline) -> _Session:
        """A session in the newest version that the broker knows."""
        try:
            return self._open(self._version, deadline)
        except (_NoSuchVersion, _ConnectionLost):
            if self._version == MQTTv311 or deadline.over:
                raise
        session = self._open(MQTTv311, deadline)
        self._version = MQTTv311
        return session

    def _open(self, version: int, deadline: Deadline) -> _Session:
        config = self._config
        password = read_secret(
            "the MQTT password", config.password_file, config.password_credential
        )
        context = None
        if config.tls:
            context = tls_context(config.ca_file, config.cert_file, config.key_file)
        sock = connect(config.host, self._port, deadline)
        if context is not None:
            sock = secured(sock, context, config.host, deadline)
        session = _Session(_Client(version, sock), sock, self._where)
        try:
            session.open(config.user, password, deadline)
        except BaseException:
            session.shut()
            raise
        return session

    def _drop(self) -> None:
        session, self._session = self._session, None
        if session is not None:
            session.shut()


class _ConnectionLost(Exception):
    """The broker closed the connection, or it broke, or what came is not MQTT."""


class _NoSuchVersion(_ConnectionLost):
    """The broker does not know this version of MQTT."""


class _Client(Client):
    """paho's client on a connection that is there already; its own loops are not used.

    They wait by select(), which ends at 1024 descriptors.
    """

    def __init__(self, version: int, sock: socket.socket) -> None:
        super().__init__(
            CallbackAPIVersion.VERSION2,
            clean_session=None if version == MQTTv5 else True,
            protocol=version,  # type: ignore[arg-type]  # it takes its own constants
            reconnect_on_failure=False,
        )
        self._given_socket = sock

    def _create_socket(self) -> socket.socket:
        return self._given_socket


class _Session:
    """One connection to the broker."""

    def __init__(self, client: _Client, sock: socket.socket, where: str) -> None:
        self._client = client
        self._sock = sock
        self._where = where
        self._opened: ReasonCode | None = None
        self._acknowledged: dict[int, ReasonCode] = {}
        self._ended = ""
        client.on_connect = self._on_connect
        client.on_publish = self._on_publish
        client.on_disconnect = self._on_disconnect

    def open(self, user: str | None, password: str | None, deadline: Deadline) -> None:
        """Say hello; Undelivered where the broker does not want it."""
        if user is not None:
            self._client.username_pw_set(user, password)
        # the address is not used: the connection is there
        self._client.connect("localhost", 1, KEEPALIVE_S)
        self._work(lambda: self._opened is not None, deadline)
        reason = self._opened
        if reason is None or not reason.is_failure:
            return
        if reason.value == NO_SUCH_VERSION:
            raise _NoSuchVersion("the broker knows neither MQTT 5 nor 3.1.1")
        what = f"{self._where}: {said(str(reason))}"
        raise Undelivered(what, operator=reason.value in OPERATOR)

    def publish(self, topic: str, body: bytes, retain: bool, deadline: Deadline) -> None:
        """Publish and wait for the acknowledgement; Refused or Undelivered by its reason."""
        deadline.watch(self._sock)
        info = self._client.publish(topic, body, qos=1, retain=retain)
        self._work(lambda: info.mid in self._acknowledged, deadline)
        reason = self._acknowledged.pop(info.mid)
        if not reason.is_failure:
            return
        what = f"{self._where}: topic {said(topic)}: {said(str(reason))}"
        if reason.value in OF_THE_MESSAGE:
            raise Refused(what)
        raise Undelivered(what, operator=reason.value in OPERATOR)

    def goodbye(self) -> None:
        """Tell the broker that the connection ends."""
        self._client.disconnect()

    def shut(self) -> None:
        """Close the connection, whatever state it is in."""
        self._client.on_disconnect = None
        self._sock.close()

    def _work(self, done: Callable[[], bool], deadline: Deadline) -> None:
        """Read and write until it is done; _ConnectionLost, or TimeoutError."""
        sock, client = self._sock, self._client
        while not done():
            if deadline.over:
                raise TimeoutError
            if self._ended or client.socket() is None:
                raise _ConnectionLost(self._ended or "the broker closed the connection")
            if not (isinstance(sock, ssl.SSLSocket) and sock.pending()):
                poll = select.poll()
                events = select.POLLIN | (select.POLLOUT if client.want_write() else 0)
                poll.register(sock, events)
                poll.poll(deadline.left_s * 1000)
            try:
                client.loop_write()
                client.loop_read()
            except Exception as error:  # whatever a broker that is none makes paho raise
                raise _ConnectionLost(f"what it sent is not MQTT: {said(repr(error))}") from error

    def _on_connect(
        self, _c: Client, _u: Any, _f: ConnectFlags, reason: ReasonCode, _p: Properties | None
    ) -> None:
        self._opened = reason

    def _on_publish(
        self, _c: Client, _u: Any, mid: int, reason: ReasonCode, _p: Properties | None
    ) -> None:
        self._acknowledged[mid] = reason

    def _on_disconnect(
        self, _c: Client, _u: Any, _f: DisconnectFlags, reason: ReasonCode, _p: Properties | None
    ) -> None:
        self._ended = f"the broker ended the connection: {said(str(reason))}"
