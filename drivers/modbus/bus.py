"""One connection and the units behind it: one request at a time, and only answers to it."""

from __future__ import annotations

import secrets
import threading
import time
from typing import Final, NamedTuple

from drivers.modbus.frames import (
    EXCEPTION,
    GATEWAY_EXCEPTIONS,
    MBAP,
    Odd,
    Read,
    Refusal,
    Shape,
    answer,
    rtu_length,
    tcp_length,
)
from drivers.modbus.late import LateAnswers
from drivers.modbus.port import Port, checksum_is_right, open_port
from drivers.modbus.settings import Line
from gateway.errors import DeviceUnavailable

SETTLING_REQUESTS: Final = 4
"""Most requests spent on settling late answers before one that counts."""

FITTING_MARKERS: Final = 2
"""So many answers of random shapes that fit show that a unit owes nothing older."""

IDLE_S: Final = 1.0
"""After this long without traffic the peer may have closed the connection: look first."""


class Pace(NamedTuple):
    """What a unit needs: how long to wait for it, and when to leave it in peace (seconds)."""

    timeout_s: float
    after_connect_s: float = 0.0
    between_s: float = 0.0


class ModbusBus:
    """Owns the connection. Used from one thread; only `interrupt` may come from another.

    Until it is opened it can be pickled, together with the drivers that share it.
    """

    def __init__(self, name: str, line: Line, timeout_s: float) -> None:
        self.name = name
        self.line = line
        self.timeout_s = timeout_s
        self.requests = 0
        """Requests sent since the start."""
        self.connects = 0
        """Connections made since the start."""
        self._users: set[str] = set()
        self._port: Port | None = None
        self._units: set[int] = set()
        self._late = LateAnswers()
        self._heard = False
        # at random: a converter may still hold an answer to an earlier process
        self._transaction = secrets.randbelow(65535)
        self._opened = 0.0
        self._last = 0.0
        self._stop: threading.Event | None = None

    # -- opening and closing ------------------------------------------------------------------

    def redirect(self, host: str, port: int) -> None:
        """Talk Modbus/TCP to that address instead; before opening."""
        changes = {"host": host, "port": port, "serial": None, "transport": "tcp"}
        self.line = self.line.model_copy(update=changes)

    def expect(self, unit: int) -> None:
        """That unit is on the line: an earlier process may have asked it too."""
        self._units.add(unit)

    def attach(self, user: str) -> None:
        """A device begins to use the bus: open it if it is not; DeviceUnavailable if it fails."""
        if self._port is None:
            self._open()
        self._users.add(user)

    def detach(self, user: str) -> None:
        """A device is done with the bus; the last one closes it. Never raises."""
        self._users.discard(user)
        if not self._users:
            self.drop()

    def is_attached(self, user: str) -> bool:
        """Whether that device uses the bus."""
        return user in self._users

    def drop(self) -> None:
        """Close the connection; the next request opens it again. Never raises."""
        port, self._port = self._port, None
        if port is not None:
            port.close()

    def interrupt(self) -> None:
        """Free the thread that waits on this bus. Never raises."""
        port, stop = self._port, self._stop
        if stop is not None:
            stop.set()
        if port is not None:
            port.interrupt()

    def _open(self) -> Port:
        self._stop = threading.Event()
        self._port = open_port(self.line, self.timeout_s)
        self.connects += 1
        self._opened = self._last = time.monotonic()
        return self._port

    # -- one request --------------------------------------------------------------------------

    def read(self, read: Read, pace: Pace, user: str) -> bytes | Refusal:
        """The data that the unit answers, or its refusal; opens the bus again if it was dropped.

        DeviceUnavailable after a timeout or on any doubt; the connection is dropped then.
        """
        if user not in self._users:
            raise DeviceUnavailable("closed", "not connected")
        idle_s = time.monotonic() - self._last
        if self._port is not None and idle_s > IDLE_S and self._port.is_closed():
            self.drop()
        if self.line.is_rtu:
            if not self._late.is_trusted(read.unit):
                self._prove(read, pace)
            self._settle(read, pace)
        return self._transact(read, pace)

    def _prove(self, read: Read, pace: Pace) -> None:
        """Make sure that what an earlier process asked of the unit can no longer be answered.

        Two answers that fit random lengths show it. Where the unit refuses other lengths or says
        nothing to them, one time-out without a word from it must do.
        """
        begun = time.monotonic()
        # first what the unit is sure to know: if it is not there, this is all that it costs
        known = not self._late.is_owed(read, begun)
        if known:
            self._mark(read, pace)
        fitting = 0
        for marker in self._late.markers(read, begun):
            try:
                fitting += self._mark(marker, pace)
            except DeviceUnavailable as error:
                interrupted = self._stop is not None and self._stop.is_set()
                if error.reason != "timeout" or self._heard or not known or interrupted:
                    raise
                break
            known = True
            if fitting == FITTING_MARKERS:
                self._late.settle(read.unit)
                break
        else:
            # what was asked before the line was opened is out after a time-out of other traffic too
            if begun < self._opened + pace.timeout_s:
                self._listen(pace)
        self._late.trust(read.unit)

    def _mark(self, marker: Read, pace: Pace) -> bool:
        """Whether the answer fits; a refusal may be the answer to anything."""
        found = self._transact(marker, pace, settling=True)
        if isinstance(found, Refusal) and found.code in GATEWAY_EXCEPTIONS:
            raise DeviceUnavailable(found.reason, f"unit {marker.unit}")
        return not isinstance(found, Refusal)

    def _listen(self, pace: Pace) -> None:
        """Drop all that comes within the time-out."""
        port = self._port or self._open()
        deadline = time.monotonic() + pace.timeout_s
        try:
            while True:
                port.receive(1, deadline)
        except TimeoutError:
            return
        except OSError as error:
            self.drop()
            raise DeviceUnavailable("closed", str(error)) from error

    def _settle(self, read: Read, pace: Pace) -> None:
        """Make sure that no late answer can pass for the answer to this."""
        for _ in range(SETTLING_REQUESTS):
            now = time.monotonic()
            if not self._late.is_owed(read, now):
                return
            other = next((o for o in read.others() if not self._late.is_owed(o, now)), None)
            if other is None:
                break
            if isinstance(self._transact(other, pace, settling=True), Refusal):
                # the refusal may have been an older request's: then this one's may still come
                self._late.owe(other, now)
        raise DeviceUnavailable("late", f"unit {read.unit} owes too many late answers")

    def _transact(self, read: Read, pace: Pace, *, settling: bool = False) -> bytes | Refusal:
        port = self._port or self._open()
        self._rest(port, pace)
        deadline = time.monotonic() + pace.timeout_s
        self.requests += 1
        self._heard = False
        try:
            if self.line.is_rtu:
                found = self._ask_rtu(port, read, deadline, settling=settling)
            else:
                found = self._ask_tcp(port, read, deadline)
        except (Odd, OSError) as error:
            self.drop()
            if self.line.is_rtu:
                self._late.owe(read, time.monotonic())
            reason = "closed"
            if isinstance(error, Odd):
                reason = "protocol"
            elif isinstance(error, TimeoutError):
                reason = "timeout"
            raise DeviceUnavailable(reason, f"unit {read.unit}, {read}: {error}") from error
        self._last = time.monotonic()
        return found

    def _ask_tcp(self, port: Port, read: Read, deadline: float) -> bytes | Refusal:
        self._transaction = self._transaction % 65535 + 1
        port.send(port.frame(read, self._transaction), deadline)
        buffer = port.receive(8, deadline)
        while len(buffer) < 8:
            buffer += port.receive(8 - len(buffer), deadline)
        length = tcp_length(read, self._transaction, buffer)
        while len(buffer) < length:
            buffer += port.receive(length - len(buffer), deadline)
        if len(buffer) > length:
            raise Odd(f"{len(buffer) - length} bytes follow the answer")
        return answer(read, buffer[MBAP:])

    def _ask_rtu(
        self, port: Port, read: Read, deadline: float, *, settling: bool
    ) -> bytes | Refusal:
        port.discard()
        port.send(port.frame(read, 0), deadline)
        buffer = b""
        strange = ""
        while True:
            length = rtu_length(buffer)
            if not length or len(buffer) < length:
                try:
                    buffer += port.receive((length or 3) - len(buffer), deadline)
                except TimeoutError:
                    if strange:
                        raise Odd(strange) from None
                    raise
                self._heard = True
                continue
            frame, buffer = buffer[:length], buffer[length:]
            if not checksum_is_right(frame):
                raise Odd(f"wrong checksum: {frame[:8].hex(' ')}...")
            unit, pdu = frame[0], frame[1:-2]
            refused = pdu[0] == read.function | EXCEPTION
            trusted = self._late.is_trusted(unit)
            if self._late.explain(unit, pdu):
                if settling and unit == read.unit and refused:
                    return answer(read, pdu)
                continue
            if unit != read.unit:
                if not trusted and unit in self._units:
                    continue
                raise Odd(f"the answer comes from unit {unit} instead of {read.unit}")
            if not trusted and not refused and Shape(pdu[0], len(pdu) - 2) != read.shape:
                # an earlier process may have asked for it; if nothing else comes, it is just odd
                strange = f"only answers to something else came, e.g. {frame[:8].hex(' ')}"
                continue
            found = answer(read, pdu)
            if buffer or port.waiting():
                raise Odd("more bytes follow the answer")
            if trusted:
                self._late.settle(unit)
            return found

    def _rest(self, port: Port, pace: Pace) -> None:
        line = self.line
        between_s = max(pace.between_s, line.pause_between_requests_s, port.silence_s)
        after_connect_s = max(pace.after_connect_s, line.pause_after_connect_s)
        if not between_s and not after_connect_s:
            return
        until = max(self._last + between_s, self._opened + after_connect_s)
        wait_s = until - time.monotonic()
        if wait_s > 0 and self._stop is not None and self._stop.wait(wait_s):
            self.drop()
            raise DeviceUnavailable("closed", "interrupted")
