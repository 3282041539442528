"""The journal of systemd: an entry with fields for each message, by its native protocol."""

from __future__ import annotations

import errno
import socket
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path

from gateway.alarms.model import Severity, State
from gateway.alarms.notify.channel import Channel
from gateway.alarms.notify.notice import Notice, Refused, Undelivered, bounded
from gateway.alarms.notify.settings import JournaldConfig
from gateway.logs import JOURNAL, journal_fields
from gateway.terminal import number

MESSAGE_ID = "c7a6e2f0d2a84e0b9f6d5b1e7a3c4d21"
"""Of all entries about alarms: ``journalctl MESSAGE_ID=...``."""

TIMEOUT_S = 5.0

PRIORITIES: Mapping[Severity, int] = {
    Severity.CRITICAL: 2,
    Severity.HIGH: 3,
    Severity.MEDIUM: 4,
    Severity.LOW: 5,
}
"""syslog(3), for an alarm that has come; what people and time do to it is 6, info."""


class JournaldChannel(Channel):
    """Writes to the journal of this machine."""

    longest_s = TIMEOUT_S

    def __init__(self, config: JournaldConfig, path: Path = JOURNAL) -> None:
        self._path = str(path)
        self._lock = threading.Lock()
        self._socket: socket.socket | None = None
        self._over = False

    def send(self, notices: Sequence[Notice]) -> None:
        """Hand one entry over; the journal has taken it when this returns."""
        (notice,) = notices
        with self._lock:
            if self._over:
                raise Undelivered("the gateway is stopping")
            sock = self._socket = socket.socket(
                socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC
            )
        try:
            sock.settimeout(TIMEOUT_S)
            sock.connect(self._path)
            sock.sendall(entry_of(notice))
        except TimeoutError as error:
            what = f"{self._path}: takes nothing within {TIMEOUT_S:g} s"
            raise Undelivered(what) from error
        except OSError as error:
            what = f"{self._path}: {error.strerror}"
            if error.errno == errno.EMSGSIZE:  # it would be so again
                raise Refused(what) from error
            raise Undelivered(what, operator=True) from error
        finally:
            with self._lock:
                self._socket = None
            sock.close()

    def interrupt(self) -> None:
        """End the send that is under way."""
        with self._lock:
            self._over = True
            if self._socket is not None:
                self._socket.shutdown(socket.SHUT_RDWR)


def entry_of(notice: Notice) -> bytes:
    """The entry: MESSAGE for people, fields ``GATEWAY_...`` for journalctl."""
    t = notice.transition
    has_come = t.state is State.UNACKNOWLEDGED
    text = f"alarm {bounded(t.id)} {t.state} ({t.severity}): {bounded(t.message)}"
    if t.who:
        text += f" by {bounded(t.who)}: {bounded(t.why)}"
    fields = {
        "MESSAGE": f"test, no alarm: {bounded(t.message)}" if notice.is_test else text,
        "MESSAGE_ID": MESSAGE_ID,
        "PRIORITY": PRIORITIES[t.severity] if has_come else 6,
        "SYSLOG_IDENTIFIER": "gateway-alarm",
    }
    for name, value in notice.document().items():
        if name == "dropped":
            value = ", ".join(f"{cause} {n}" for cause, n in notice.dropped.items())
        elif value is None:
            continue
        elif isinstance(value, float):
            value = number(value)
        fields[f"GATEWAY_{name.upper()}"] = value
    return journal_fields(fields)
