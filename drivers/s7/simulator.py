"""Simulated CPUs for `gateway sim`: the tags of a device, with values that move."""

from __future__ import annotations

import math
import struct
import threading
from collections.abc import Callable, Mapping, Sequence
from datetime import date, datetime, timedelta
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from drivers.s7.address import Space
from drivers.s7.server import AREA_CODES, Memory, S7Server
from drivers.s7.types import NAMES, TYPES
from gateway.driver import Endpoint, Simulation
from gateway.model import Array

if TYPE_CHECKING:
    from drivers.s7.driver import S7Driver

_CLOCKS = ("time", "ltime", "tod", "ltod")

_LEVELS = {
    "rpm": (1480.0, 15.0), "degC": (60.0, 8.0), "bar": (6.0, 0.5), "Hz": (50.0, 0.05),
    "V": (230.0, 3.0), "A": (40.0, 15.0), "kW": (50.0, 20.0), "m3/h": (12.0, 3.0),
    "mm/s": (2.0, 0.8),
}  # fmt: skip
"""Unit of a float -> middle and swing, so that rules and limits can be rehearsed."""

_ANY_LEVEL = (50.0, 40.0)
_ON = ("running", "run", "on", "ready", "enabled")
"""Bits of these names are on for 50 s of every minute; others toggle every few seconds."""


class _Place(NamedTuple):
    """Where a value stands, and what it should look like."""

    start: int
    size: int
    level: tuple[float, float]
    is_on: bool


class S7Simulation(Simulation):
    """Each device on a port of its own."""

    def __init__(self, devices: Sequence[S7Driver], ports: Mapping[str, int]) -> None:
        self._cpus: list[_Cpu] = []
        self.endpoints = {}
        try:
            for device in devices:
                cpu = _Cpu(device, ports.get(device.name))
                self._cpus.append(cpu)
                self.endpoints[device.name] = Endpoint("127.0.0.1", cpu.server.port)
        except BaseException:
            self.close()
            raise

    def step(self, time_s: float) -> None:
        """Move every value."""
        for cpu in self._cpus:
            cpu.step(time_s)

    def close(self) -> None:
        """Stop serving."""
        for cpu in self._cpus:
            cpu.server.close()


class _Cpu:
    """The memory of one device, and what moves in it."""

    def __init__(self, device: S7Driver, port: int | None) -> None:
        places: dict[tuple[Space, int], list[_Place]] = {}
        columns = [
            column
            for group in device.groups
            for table in group.tables
            for column in zip(table.columns, table.units, strict=True)
        ]
        for (space, code, start, size), (name, unit) in zip(device.values(), columns, strict=True):
            level = _LEVELS.get(unit or "", _ANY_LEVEL)
            place = _Place(start, size, level, name.lower() in _ON)
            places.setdefault((space, code), []).append(place)
        sizes: dict[Space, int] = {}
        for (space, _), found in places.items():
            sizes[space] = max(sizes.get(space, 0), *(p.start + p.size for p in found))
        memory: Memory = {
            (AREA_CODES[space.area], space.db): bytearray(size + size % 2)
            for space, size in sizes.items()
        }
        self._lock = threading.Lock()
        self._moves: list[Callable[[float], None]] = []
        # bits last: they may lie in bytes that other tags name, too
        for (space, code), found in sorted(places.items(), key=lambda p: -p[0][1]):
            raw = np.frombuffer(memory[AREA_CODES[space.area], space.db], "u1")
            self._moves.append(_mover(space, code, found, raw))
        self.step(0.0)
        self.server = S7Server(memory, self._lock, port)

    def step(self, time_s: float) -> None:
        with self._lock:
            for move in self._moves:
                move(time_s)


def _mover(space: Space, code: int, places: list[_Place], raw: Array) -> Callable[[float], None]:
    """What writes all values of one type in one area."""
    starts = np.array([p.start for p in places], "i8")
    number = np.arange(len(places), dtype="f8")
    if code < 8:
        mask, rest = np.uint8(1 << code), np.uint8(~(1 << code) & 0xFF)
        steady = np.array([p.is_on for p in places], "b1")

        def toggle(time_s: float) -> None:
            on = (time_s // (2 + number % 5) + number) % 2 == 1
            on = np.where(steady, time_s % 60 < 50, on)
            raw[starts] = raw[starts] & rest | np.where(on, mask, np.uint8(0))

        return toggle
    name = NAMES[code - 8]
    kind = TYPES.get(name)
    if kind is not None and kind.wire.order and space.area != "C":
        size, wire_type = kind.size, np.dtype(f">{kind.wire.dtype}")
        index = starts[:, None] + np.arange(size)
        level = np.array([p.level for p in places]).T

        def count(time_s: float) -> None:
            values = _numbers(name, wire_type, number, level, time_s).astype(wire_type)
            raw[index] = values.view("u1").reshape(-1, size)

        return count
    if space.area == "C":
        name = "counter"
    begun = datetime.now()

    def tell(time_s: float) -> None:
        for i, place in enumerate(places):
            value = _encoded(name, place.size, i, time_s, begun)
            raw[place.start : place.start + len(value)] = np.frombuffer(value, "u1")

    return tell


def _numbers(name: str, wire: np.dtype[Any], number: Array, level: Array, time_s: float) -> Array:
    """Sines for floats and 16-bit numbers, clocks for times, counters for all others."""
    if name in _CLOCKS:
        per_s = 10**9 if name.startswith("l") else 1000
        whole: Array = (np.int64(time_s * 1000) + 1000 * number.astype("i8")) % 86_400_000
        return whole * (per_s // 1000)
    if wire.kind == "f" or wire.itemsize == 2:
        period_s = 10.0 + number % 7 * 5.0
        wave = np.sin(2 * math.pi * time_s / period_s + 0.7 * number)
        return 500 + 400 * wave if wire.itemsize == 2 else level[0] + level[1] * wave
    counted: Array = (np.int64(time_s * 10) + 7 * number.astype("i8")) % (
        100 if wire.itemsize == 1 else 1_000_000_000
    )
    return counted


def _encoded(name: str, size: int, i: int, time_s: float, begun: datetime) -> bytes:
    """One value of a type that is no plain number, in the bytes of the CPU."""
    tick, now = int(time_s) + i, begun + timedelta(seconds=time_s)
    if name == "string":
        text = f"lot {tick % 10000:04d}".encode("latin-1")[-(size - 2) :]
        return bytes((size - 2, len(text))) + text
    if name == "wstring":
        wide = f"Ladung {tick % 10000:04d} °C"[-((size - 4) // 2) :]
        return struct.pack(">HH", (size - 4) // 2, len(wide)) + wide.encode("utf-16-be")
    if name == "char":
        return bytes((65 + tick % 26,))
    if name == "wchar":
        return struct.pack(">H", 0x391 + tick % 17)
    if name == "date":
        return struct.pack(">H", (now.date() - date(1990, 1, 1)).days)
    if name == "counter":
        return _bcd(tick % 1000, 2)
    if name == "s5time":  # in tenths of a second
        return bytes((0x10 | _bcd(tick % 1000, 2)[0], _bcd(tick % 1000, 2)[1]))
    if name == "dtl":
        return struct.pack(
            ">HBBBBBBI", now.year, now.month, now.day, now.isoweekday() % 7 + 1,
            now.hour, now.minute, now.second, now.microsecond * 1000,
        )  # fmt: skip
    digits = (now.year % 100, now.month, now.day, now.hour, now.minute, now.second)
    ms = now.microsecond // 1000
    tail = bytes((_bcd(ms // 10, 1)[0], ms % 10 << 4 | now.isoweekday() % 7 + 1))
    return b"".join(_bcd(d, 1) for d in digits) + tail


def _bcd(number: int, size: int) -> bytes:
    return bytes.fromhex(f"{number:0{2 * size}d}")
