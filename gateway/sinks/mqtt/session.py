"""One connection to a broker by paho-mqtt, whose loops are not used: they wait by select().

A batch is published with a bounded number of messages in flight; each is known to be out by its
PUBACK. MQTT 5, in which a broker says why it refuses a message; 3.1.1 where it knows no other:
there it acknowledges also what its rights made it drop, and nobody can know.
"""

from __future__ import annotations

import select
import socket
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, NamedTuple

from paho.mqtt.client import Client, ConnectFlags, DisconnectFlags, MQTTv5, MQTTv311
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from gateway.errors import SinkUnavailable
from gateway.logs import without_secrets
from gateway.sinks.mqtt.buffered import BufferedSocket
from gateway.sinks.mqtt.messages import Message
from gateway.sinks.payload import TooSlow

NO_SUCH_VERSION = 0x84

OPERATOR = (0x85, 0x86, 0x87, 0x8A, 0x8C)
"""Reasons of a refused connection that only a person can mend: client id, user or password, not
authorized, banned, bad authentication (MQTT 5, 2.4)."""

OF_THE_MESSAGE = (0x87, 0x90, 0x95, 0x99)
"""Reasons of a refused message: not authorized for its topic, topic name invalid, packet too large,
payload format invalid. Others are of a broker that does not take anything now."""

HEADROOM = 16
"""Bytes of a PUBLISH packet beside topic and payload."""


class NoSuchVersion(Exception):
    """The broker does not know this version of MQTT."""


class Status(NamedTuple):
    """What is published, retained, when the gateway comes and goes."""

    topic: str
    birth: bytes
    will: bytes


class Refused(NamedTuple):
    """A message that the broker did not take, and why."""

    message: Message
    words: str


class _Client(Client):
    """paho's client on a connection that is there already."""

    def __init__(self, version: int, client_id: str, sock: BufferedSocket) -> None:
        super().__init__(
            CallbackAPIVersion.VERSION2,
            client_id=client_id,
            clean_session=None if version == MQTTv5 else True,
            protocol=version,  # type: ignore[arg-type]  # it takes its own constants
            reconnect_on_failure=False,
        )
        self._given_socket = sock

    def _create_socket(self) -> BufferedSocket:  # type: ignore[override]
        return self._given_socket


class Session:
    """A connection that is open; used by the thread that delivers, and kept alive by its own."""

    def __init__(
        self,
        sock: socket.socket,
        where: str,
        client_id: str,
        version: int = MQTTv5,
        *,
        keepalive_s: int = 60,
        in_flight: int = 100,
    ) -> None:
        self.is_newest = version == MQTTv5
        self._sock = sock
        self._where = where
        self._keepalive_s = keepalive_s
        self._window = in_flight
        self._max_packet: int | None = None
        self._buffered = BufferedSocket(sock)
        self._client = client = _Client(version, client_id, self._buffered)
        client.max_inflight_messages_set(0)  # the bound is ours
        client.on_connect = self._on_connect
        client.on_publish = self._on_publish
        client.on_disconnect = self._on_disconnect
        self._opened: ReasonCode | None = None
        self._takes_qos_1 = True
        self._acknowledged: dict[int, ReasonCode] = {}
        self._ended = ""
        self._status: Status | None = None
        self._busy = threading.Lock()
        """Held by whoever works on the connection."""
        self._over = threading.Event()
        self._keeper: threading.Thread | None = None

    @property
    def answered(self) -> bool:
        """Whether the broker has said anything to our hello."""
        return self._opened is not None

    @property
    def alive(self) -> bool:
        """Whether the connection is there, as far as is known."""
        return not self._ended and not self._over.is_set()

    def open(
        self, user: str | None, password: str | None, status: Status | None, deadline_s: float
    ) -> None:
        """Say hello, with the will, and publish the birth. NoSuchVersion or SinkUnavailable."""
        client = self._client
        if user is not None:
            client.username_pw_set(user, password)
        if status is not None:
            client.will_set(status.topic, status.will, qos=1, retain=True)
        with self._busy, self._faults():
            client.connect("localhost", 1, self._keepalive_s)  # the address is not used
            self._work(lambda: self._opened is not None, deadline_s)
        reason = self._opened
        if reason is not None and reason.is_failure:
            if reason.value == NO_SUCH_VERSION:
                raise NoSuchVersion
            self._ended = self._ended or str(reason)
            what = f"{self._where}: {said(str(reason))}"
            raise SinkUnavailable(what, operator=reason.value in OPERATOR)
        if not self._takes_qos_1:
            raise SinkUnavailable(f"{self._where}: takes messages of QoS 0 only", operator=True)
        self._status = status
        if status is not None:
            refused = self.publish([Message(status.topic, status.birth)], True, deadline_s)
            if refused:
                raise SinkUnavailable(f"{self._where}: {refused[0].words}", operator=True)
        self._keeper = threading.Thread(target=self._keep, name="mqtt keepalive", daemon=True)
        self._keeper.start()

    def publish(
        self,
        messages: Sequence[Message],
        retain: bool,
        deadline_s: float,
        out: Callable[[], None] = lambda: None,
    ) -> list[Refused]:
        """Publish all; on return each was acknowledged, or is among the refused.

        SinkUnavailable otherwise. ``out`` is called for each message, from the first on, that is
        out; not any more when one was refused.
        """
        waiting: dict[int, Message] = {}
        refused: list[Refused] = []
        with self._busy, self._faults():
            for message in messages:
                size = len(message.topic.encode()) + len(message.body) + HEADROOM
                if self._max_packet is not None and size > self._max_packet:
                    words = f"{size} bytes; the broker takes at most {self._max_packet}"
                    refused.append(Refused(message, words))
                    continue
                if len(waiting) >= self._window:  # half of it at once, so that packets are full
                    self._work(lambda: 2 * len(self._acknowledged) >= self._window, deadline_s)
                    self._settle(waiting, refused, out)
                info = self._client.publish(message.topic, message.body, 1, retain)
                waiting[info.mid] = message
            self._work(lambda: len(self._acknowledged) >= len(waiting), deadline_s)
            self._settle(waiting, refused, out)
        return refused

    def _settle(
        self, waiting: dict[int, Message], refused: list[Refused], out: Callable[[], None]
    ) -> None:
        """Note what was acknowledged, in the order in which it was sent (MQTT 5, 4.6)."""
        acknowledged, self._acknowledged = self._acknowledged, {}
        for mid, reason in acknowledged.items():
            message = waiting.pop(mid, None)
            if message is None:
                continue
            if not reason.is_failure:
                if not refused:
                    out()
            elif reason.value in OF_THE_MESSAGE:
                words = f"topic {message.topic}: {said(str(reason))}"
                refused.append(Refused(message, words))
            else:
                raise SinkUnavailable(f"{self._where}: {said(str(reason))}")

    def goodbye(self) -> None:
        """Say that the gateway goes, unless a batch is under way; end the connection.

        From any thread; never raises.
        """
        is_free = self._busy.acquire(timeout=0.2)
        if is_free:
            self._busy.release()
        with suppress(SinkUnavailable):
            if not is_free:
                raise SinkUnavailable("a batch is under way: the broker publishes the will")
            if self.alive and self._status is not None:
                last = Message(self._status.topic, self._status.will)
                self.publish([last], True, time.monotonic() + 1.0)
            with self._busy, self._faults():
                self._client.disconnect()
        self.shut()

    def shut(self) -> None:
        """Close the connection, whatever state it is in. From any thread; never raises."""
        self._over.set()
        with suppress(OSError):
            # not the method of a TLS socket: that would throw away what another thread reads by
            socket.socket.shutdown(self._sock, socket.SHUT_RDWR)
        with self._busy:
            self._client.on_disconnect = None
            self._sock.close()
        if self._keeper is not None and self._keeper is not threading.current_thread():
            self._keeper.join(5.0)

    def _keep(self) -> None:
        """Pings while nothing is published, and notice of an end."""
        while not self._over.wait(1.0):
            if not self._busy.acquire(blocking=False):
                continue
            try:
                if self._ended:
                    return
                if self._poll(0.0):
                    self._client.loop_read()
                self._client.loop_misc()
                self._client.loop_write()
                self._buffered.flush()
            except Exception as error:  # whatever it is, the connection is of no use any more
                self._ended = said(repr(error))
                return
            finally:
                self._busy.release()

    def _work(self, done: Callable[[], bool], deadline_s: float) -> None:
        """Read and write until it is done. TimeoutError, ConnectionError."""
        client = self._client
        while not done():
            left_s = deadline_s - time.monotonic()
            if left_s <= 0:
                raise TimeoutError
            if self._ended or self._over.is_set() or client.socket() is None:
                raise ConnectionError(self._ended or "the broker closed the connection")
            client.loop_write()
            self._buffered.flush()
            self._buffered.hurry()
            self._poll(left_s)
            client.loop_read()
            client.loop_misc()

    def _poll(self, timeout_s: float) -> bool:
        if self._buffered.pending():
            return True
        poll = select.poll()
        writes = self._buffered.is_waiting or self._client.want_write()
        poll.register(self._sock, select.POLLIN | (select.POLLOUT if writes else 0))
        return bool(poll.poll(min(timeout_s, 1.0) * 1000))

    def _faults(self) -> _Faults:
        return _Faults(self)

    def failed(self, error: BaseException) -> SinkUnavailable:
        """The connection is of no use any more."""
        if isinstance(error, TimeoutError):
            self._ended = "not done in time"
            return TooSlow(f"{self._where}: not done in time")
        words = self._ended or said(str(error) or repr(error))
        self._ended = words
        return SinkUnavailable(f"{self._where}: {words}")

    def _on_connect(
        self, _c: Client, _u: Any, _f: ConnectFlags, reason: ReasonCode, more: Properties | None
    ) -> None:
        self._opened = reason
        self._takes_qos_1 = getattr(more, "MaximumQoS", 1) > 0
        self._window = min(self._window, getattr(more, "ReceiveMaximum", 65_535))
        self._max_packet = getattr(more, "MaximumPacketSize", None)

    def _on_publish(
        self, _c: Client, _u: Any, mid: int, reason: ReasonCode, _p: Properties | None
    ) -> None:
        self._acknowledged[mid] = reason

    def _on_disconnect(
        self, _c: Client, _u: Any, _f: DisconnectFlags, reason: ReasonCode, _p: Properties | None
    ) -> None:
        self._ended = f"the broker ended the connection: {said(str(reason))}"


class _Faults:
    """What goes wrong with the connection is SinkUnavailable."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def __enter__(self) -> None:
        """Begin."""

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        """Translate: a broker that is none makes paho raise whatever it likes."""
        if isinstance(error, Exception) and not isinstance(error, SinkUnavailable):
            raise self._session.failed(error) from error


def said(text: str) -> str:
    """What a broker says, on one line, short, without secrets."""
    words = "".join(c if c.isprintable() else " " for c in without_secrets(text))
    return " ".join(words.split())[:300]


VERSIONS = (MQTTv5, MQTTv311)
"""The newest first."""
