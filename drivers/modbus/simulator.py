"""Simulated units on loopback: the addresses of a map, with values that move.

Always Modbus/TCP, also in place of a serial line, so that a map can be rehearsed on any machine.
"""

from __future__ import annotations

import contextlib
import selectors
import socket
import struct
import threading
from array import array
from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

import numpy as np

from drivers.modbus.address import REGISTERS, TableName
from drivers.modbus.frames import EXCEPTION, FUNCTIONS, MAX_BITS, MAX_REGISTERS, MBAP
from drivers.modbus.types import Text
from gateway.decode import Wire
from gateway.driver import Endpoint, Simulation, loopback_listener
from gateway.model import Array

PERIOD_S: Final = 60.0
"""One swing of every number, in seconds."""

_TABLE_OF: Final[dict[int, TableName]] = {code: table for table, code in FUNCTIONS.items()}
Cells = Mapping[tuple[TableName, Wire, int], "array[int]"]


class Station(NamedTuple):
    """One device to serve; ``cells`` are its values by table, wire and size: where they start."""

    name: str
    endpoint: str
    unit: int
    cells: Cells


class _Memory:
    """The tables of one unit, as long as its tags need; beyond is an illegal address."""

    def __init__(self) -> None:
        self.tables: dict[TableName, Array] = {}
        self.cells: list[tuple[TableName, Wire, int, Array]] = []

    def add(self, cells: Cells) -> None:
        for (table, wire, size), starts in cells.items():
            places = np.array(starts, "i8")
            end = int(places.max()) + size
            memory = self.tables.get(table, np.zeros(0, "u1"))
            if len(memory) < end:
                self.tables[table] = np.concatenate([memory, np.zeros(end - len(memory), "u1")])
            self.cells.append((table, wire, size, places))

    def step(self, time_s: float) -> None:
        for table, wire, size, places in self.cells:
            memory = self.tables[table]
            if isinstance(wire.text, Text):
                text = _text(wire.text, time_s, size)
                memory[places[:, None] + np.arange(size)] = text
                continue
            where = places[:, None] + np.array(wire.order)
            if wire.dtype == "b1":
                on = (np.floor(time_s / 2) + places + wire.mask.bit_length()) % 2 == 1
                byte = where[:, 0]
                memory[byte] = (memory[byte] & ~np.uint8(wire.mask)) | on * np.uint8(wire.mask)
                continue
            swing = 50 + 40 * np.sin(2 * np.pi * time_s / PERIOD_S + 0.1 * places)
            numbers = swing if wire.dtype[0] == "f" else np.rint(swing)
            raw = numbers.astype(f"<{wire.dtype}").view("u1").reshape(len(places), -1)
            memory[where] = raw

    def answer(self, pdu: bytes) -> bytes:
        """The answer to a request, without unit and header."""
        table = _TABLE_OF.get(pdu[0])
        if table is None or len(pdu) != 5:
            return bytes((pdu[0] | EXCEPTION, 1))
        start, count = struct.unpack(">HH", pdu[1:])
        width, most = (2, MAX_REGISTERS) if table in REGISTERS else (1, MAX_BITS)
        if not 1 <= count <= most:
            return bytes((pdu[0] | EXCEPTION, 3))
        memory = self.tables.get(table, np.zeros(0, "u1"))
        if (start + count) * width > len(memory):
            return bytes((pdu[0] | EXCEPTION, 2))
        data = memory[start * width : (start + count) * width]
        if width == 1:
            data = np.packbits(data, bitorder="little")
        return bytes((pdu[0], len(data))) + data.tobytes()


def _text(wire: Text, time_s: float, size: int) -> Array:
    raw = f"SIM {int(time_s):04d}".encode()[: wire.chars].ljust(size, b"\0")
    text = np.frombuffer(raw, "u1")
    return text.reshape(-1, 2)[:, ::-1].reshape(-1) if wire.swapped else text


class _Line:
    """One port and the units behind it."""

    def __init__(self, port: int | None) -> None:
        self.units: dict[int, _Memory] = {}
        self.listener = loopback_listener(port)
        self.listener.setblocking(False)


class ModbusSimulation(Simulation):
    """A thread that answers for all units, whose values `step` moves."""

    def __init__(self, stations: Sequence[Station], ports: Mapping[str, int]) -> None:
        self._lock = threading.Lock()
        self._selector = selectors.DefaultSelector()
        self._wake, self._woken = socket.socketpair()
        self._selector.register(self._woken, selectors.EVENT_READ, None)
        self._lines: dict[str, _Line] = {}
        self.endpoints: dict[str, Endpoint] = {}
        for station in stations:
            line = self._lines.get(station.endpoint)
            if line is None:
                line = _Line(ports.get(station.name))
                self._lines[station.endpoint] = line
                self._selector.register(line.listener, selectors.EVENT_READ, line)
            line.units.setdefault(station.unit, _Memory()).add(station.cells)
            host, port = line.listener.getsockname()
            self.endpoints[station.name] = Endpoint(host, port)
        self.step(0.0)
        self._thread = threading.Thread(target=self._serve, name="modbus-sim", daemon=True)
        self._thread.start()

    def step(self, time_s: float) -> None:
        """Move every value to its state at ``time_s`` seconds; no answer sees half of it."""
        with self._lock:
            for line in self._lines.values():
                for memory in line.units.values():
                    memory.step(time_s)

    def close(self) -> None:
        """Stop serving; idempotent."""
        if self._thread.is_alive():
            self._wake.send(b"x")
            self._thread.join()
        for key in list((self._selector.get_map() or {}).values()):
            if isinstance(key.fileobj, socket.socket):
                key.fileobj.close()
        self._selector.close()
        self._wake.close()

    def _serve(self) -> None:
        while True:
            for key, _ in self._selector.select():
                opened = key.fileobj
                if not isinstance(opened, socket.socket) or opened is self._woken:
                    return
                if isinstance(key.data, _Line):
                    with contextlib.suppress(OSError):
                        connection, _ = opened.accept()
                        connection.setblocking(False)
                        talk = _Talk(key.data, self._lock)
                        self._selector.register(connection, selectors.EVENT_READ, talk)
                elif not key.data.serve(opened):
                    self._selector.unregister(opened)
                    opened.close()


class _Talk:
    """One connection of a client."""

    def __init__(self, line: _Line, lock: threading.Lock) -> None:
        self._line = line
        self._lock = lock
        self._buffer = b""

    def serve(self, connection: socket.socket) -> bool:
        """Answer what has come; whether the connection is still good."""
        try:
            received = connection.recv(4096)
            self._buffer += received
            while len(self._buffer) > MBAP:
                protocol, length = struct.unpack_from(">HH", self._buffer, 2)
                if protocol or not 2 <= length <= 254:
                    return False
                frame, rest = self._buffer[: 6 + length], self._buffer[6 + length :]
                if len(frame) < 6 + length:
                    break
                self._buffer = rest
                connection.sendall(self._answer(frame))
        except OSError:
            return False
        return bool(received)

    def _answer(self, frame: bytes) -> bytes:
        pdu = frame[MBAP:]
        memory = self._line.units.get(frame[6])
        with self._lock:
            # a unit that is not there: what a gateway answers (target failed to respond)
            found = memory.answer(pdu) if memory else bytes((pdu[0] | EXCEPTION, 11))
        return frame[:4] + struct.pack(">HB", len(found) + 1, frame[6]) + found
