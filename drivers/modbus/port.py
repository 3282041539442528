"""Sockets and serial ports for pymodbus' clients; the only file that imports it and pyserial.

Its clients hold the port and its framers make the frames. The opening is ours, because the
library's hides why it failed, and so is the receiving, because the library's waits twice the
timeout for a peer that drips, does not compare the byte count, and looks for a frame in garbage.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import select
import socket
import termios
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import Any, Final

import serial  # type: ignore[import-untyped]
from pymodbus.client import ModbusSerialClient, ModbusTcpClient
from pymodbus.framer import FramerRTU, FramerType

from drivers.modbus.frames import Read
from drivers.modbus.settings import Line
from gateway.errors import DeviceUnavailable

CHUNK: Final = 512
"""More than any frame, so that surplus bytes are seen with the answer."""

# the library logs every refused connection and odd frame as an error; we report them ourselves
logging.getLogger("pymodbus").setLevel(logging.CRITICAL)


def checksum_is_right(frame: bytes) -> bool:
    """Whether an RTU frame ends with the CRC of its bytes."""
    right: bool = FramerRTU.check_CRC(frame[:-2], int.from_bytes(frame[-2:], "big"))
    return right


class Port(ABC):
    """An open connection. OSError where it breaks, TimeoutError at a deadline."""

    silence_s = 0.0
    """Quiet that the line needs before a request, in seconds."""

    def __init__(self, client: ModbusTcpClient | ModbusSerialClient) -> None:
        self._client = client
        opened: Any = client.socket
        self._socket = opened
        self._poll = select.poll()
        self._poll.register(self._socket.fileno(), select.POLLIN)

    def frame(self, read: Read, transaction: int) -> bytes:
        """The request as it goes out."""
        frame: bytes = self._client.framer.encode(read.pdu, read.unit, transaction)
        return frame

    def waiting(self) -> bool:
        """Whether bytes have come (or the end) that nobody has read."""
        return bool(self._poll.poll(0))

    def close(self) -> None:
        """Close it. Never raises."""
        with contextlib.suppress(OSError):
            self._socket.close()

    @abstractmethod
    def send(self, frame: bytes, deadline: float) -> None:
        """Send all, before the deadline (monotonic seconds)."""

    @abstractmethod
    def receive(self, size: int, deadline: float) -> bytes:
        """At least one byte, and no more than ``size`` if reading more would make it wait."""

    @abstractmethod
    def discard(self) -> None:
        """Throw away what has come."""

    @abstractmethod
    def is_closed(self) -> bool:
        """Whether the peer has closed an idle connection."""

    @abstractmethod
    def interrupt(self) -> None:
        """Free the thread that waits for bytes. Never raises."""


class TcpPort(Port):
    """A TCP connection, for Modbus/TCP or for RTU frames."""

    @classmethod
    def open(cls, line: Line, timeout_s: float) -> TcpPort:
        """Connect; DeviceUnavailable within ``timeout_s`` (name look-ups are not counted)."""
        host, number = line.host or "", line.port
        framer = FramerType.RTU if line.is_rtu else FramerType.SOCKET
        client = ModbusTcpClient(host, port=number, framer=framer, retries=0)
        try:
            places = socket.getaddrinfo(host, number, type=socket.SOCK_STREAM)
        except OSError as error:
            why = ": no name server answers" if error.errno == socket.EAI_AGAIN else ""
            text = f"the name '{host}' is not known{why}"
            raise DeviceUnavailable("unknown_host", text) from error
        deadline = time.monotonic() + timeout_s
        failed = OSError("no address")
        for left, (_, _, _, _, place) in zip(range(len(places), 0, -1), places, strict=True):
            share_s = max((deadline - time.monotonic()) / left, 0.01)
            try:
                # not by client.connect(), which hides why it failed
                found = socket.create_connection((str(place[0]), number), timeout=share_s)
            except OSError as error:
                failed = error
                continue
            found.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            client.socket = found
            return cls(client)
        reason = "unreachable"
        if isinstance(failed, TimeoutError):
            reason = "timeout"
        elif isinstance(failed, ConnectionRefusedError):
            reason = "refused"
        raise DeviceUnavailable(reason, f"{host}:{number}: {failed}") from failed

    def send(self, frame: bytes, deadline: float) -> None:
        """See `Port.send`."""
        self._socket.settimeout(max(deadline - time.monotonic(), 0.001))
        self._socket.sendall(frame)

    def receive(self, size: int, deadline: float) -> bytes:
        """All that is there."""
        left_s = deadline - time.monotonic()
        if left_s <= 0:
            raise TimeoutError("no whole answer in time")
        self._socket.settimeout(left_s)
        received: bytes = self._socket.recv(CHUNK)
        if not received:
            raise ConnectionError("closed by the peer")
        return received

    def discard(self) -> None:
        """See `Port.discard`."""
        while self.waiting():
            if not self._socket.recv(CHUNK):
                raise ConnectionError("closed by the peer")

    def is_closed(self) -> bool:
        """See `Port.is_closed`."""
        try:
            return self.waiting() and not self._socket.recv(1, socket.MSG_PEEK)
        except OSError:
            return True

    def interrupt(self) -> None:
        """See `Port.interrupt`."""
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)


class SerialPort(Port):
    """A serial port of this machine."""

    def __init__(self, client: ModbusTcpClient | ModbusSerialClient) -> None:
        super().__init__(client)
        self._closing = threading.Lock()

    @classmethod
    def open(cls, line: Line, timeout_s: float) -> SerialPort:
        """Open it for ourselves alone; DeviceUnavailable if that is not possible."""
        client = ModbusSerialClient(line.serial or "", baudrate=line.baud, retries=0)
        client.socket = _serial(line, timeout_s)
        port = cls(client)
        # 3.5 characters begin a frame; above 19200 baud it is a fixed time
        port.silence_s = 0.00175 if line.baud > 19200 else 3.5 * 11 / line.baud
        return port

    def send(self, frame: bytes, deadline: float) -> None:
        """See `Port.send`."""
        with _breaks_as_os_error():
            self._socket.write_timeout = max(deadline - time.monotonic(), 0.001)
            self._socket.write(frame)

    def receive(self, size: int, deadline: float) -> bytes:
        """Up to ``size`` bytes."""
        left_s = deadline - time.monotonic()
        if left_s <= 0:
            raise TimeoutError("no whole answer in time")
        with _breaks_as_os_error():
            self._socket.timeout = left_s
            received: bytes = self._socket.read(size)
        if not received:
            if time.monotonic() < deadline - 0.005:
                raise ConnectionError("interrupted")
            raise TimeoutError("no whole answer in time")
        return received

    def discard(self) -> None:
        """See `Port.discard`."""
        if self.waiting():
            with _breaks_as_os_error():
                self._socket.reset_input_buffer()

    def is_closed(self) -> bool:
        """Never: a serial line has no end that could close it."""
        return False

    def close(self) -> None:
        """See `Port.close`."""
        with self._closing, contextlib.suppress(Exception):
            self._socket.close()

    def interrupt(self) -> None:
        """See `Port.interrupt`."""
        # the lock: while it closes, the descriptor to write to may already be another file's
        with self._closing, contextlib.suppress(Exception):
            self._socket.cancel_read()


def _serial(line: Line, timeout_s: float) -> Any:
    """The open port of pyserial, locked, with all settings of the line taken."""
    name = line.serial or ""
    try:
        made = serial.Serial(
            name,
            baudrate=line.baud,
            bytesize=line.data_bits,
            parity=_PARITY[line.parity],
            stopbits=line.stop_bits,
            timeout=timeout_s,
            write_timeout=timeout_s,
            exclusive=True,
        )
    except Exception as error:  # pyserial lets termios.error and ValueError through, too
        raise _unavailable(name, error, line) from error
    try:
        given = termios.tcgetattr(made.fileno())[2]
    except termios.error as error:  # pulled out meanwhile
        made.close()
        raise _unavailable(name, error, line) from error
    # a kernel's driver drops what it does not know, and may report success
    parity = "none" if not given & termios.PARENB else "odd" if given & termios.PARODD else "even"
    stop_bits = 2 if given & termios.CSTOPB else 1
    dropped = [f"parity {line.parity}"] * (parity != line.parity)
    dropped += [f"{line.stop_bits} stop bits"] * (stop_bits != line.stop_bits)
    if dropped:
        made.close()
        raise DeviceUnavailable("port_settings", f"{name} does not take {' and '.join(dropped)}")
    return made


_PARITY: Final = {"none": "N", "even": "E", "odd": "O"}
_BY_ERRNO: Final = {
    errno.ENOENT: ("no_port", "there is no such device file"),
    errno.EACCES: ("no_permission", "is the user in its group?"),
    errno.EPERM: ("no_permission", "is the user in its group?"),
    errno.EBUSY: ("port_busy", "does another program use it?"),
    errno.EWOULDBLOCK: ("port_busy", "does another program use it?"),
    errno.ENOTTY: ("no_port", "it is no serial port"),
    errno.EISDIR: ("no_port", "it is no serial port"),
    errno.EIO: ("no_port", "there is no port behind the device file"),
    errno.ENODEV: ("no_port", "there is no port behind the device file"),
    errno.ENXIO: ("no_port", "there is no port behind the device file"),
}


def _unavailable(name: str, error: BaseException, line: Line) -> DeviceUnavailable:
    """Why a port could not be opened. pyserial keeps the number of some errors in their cause."""
    code: Any = None
    for each in (error, error.__context__):
        if code is None and isinstance(each, OSError):
            code = each.errno
        elif code is None and isinstance(each, termios.error) and each.args:
            code = each.args[0]
    if code in _BY_ERRNO:
        reason, words = _BY_ERRNO[code]
        return DeviceUnavailable(reason, f"{name}: {words}")
    settings = f"{line.baud} baud, parity {line.parity}, {line.stop_bits} stop bits"
    return DeviceUnavailable("port_settings", f"{name} does not take {settings}: {error}")


@contextlib.contextmanager
def _breaks_as_os_error() -> Iterator[None]:
    """OSError for all that pyserial raises when the adapter is pulled out, e.g. termios.error."""
    try:
        yield
    except OSError:
        raise
    except Exception as error:
        raise ConnectionError(f"the serial port has failed: {error}") from error


def open_port(line: Line, timeout_s: float) -> Port:
    """Open what the line says."""
    return SerialPort.open(line, timeout_s) if line.serial else TcpPort.open(line, timeout_s)
