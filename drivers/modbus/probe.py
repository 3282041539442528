"""One place of a unit under every type and order, to find out what a manual does not say."""

from __future__ import annotations

from typing import Final

import numpy as np

from drivers.modbus.address import LAST, Address
from drivers.modbus.bus import ModbusBus, Pace
from drivers.modbus.frames import GATEWAY_EXCEPTIONS, Read, Refusal
from drivers.modbus.types import ORDERS, Order, parse_type, wire_of
from gateway.driver import Probe
from gateway.errors import AddressRefused, DeviceUnavailable

_READINGS: Final = (
    ("uint16", ("ABCD", "BADC")),
    ("int16", ("ABCD", "BADC")),
    ("float32", ORDERS),
    ("uint32", ORDERS),
    ("int32", ORDERS),
    ("float64", ORDERS),
    ("uint64", ORDERS),
    ("int64", ORDERS),
    ("string[8]", ("ABCD", "BADC")),
)
_NEIGHBOUR: Final = (("uint16", ("ABCD",)), ("int16", ("ABCD",)), ("float32", ORDERS))


def probe_unit(bus: ModbusBus, unit: int, place: Address, pace: Pace, user: str) -> Probe:
    """Read there and one place before and after it.

    DeviceUnavailable where the unit does not answer, AddressRefused where it refuses the place.
    """

    def read(number: int, counts: tuple[int, ...]) -> bytes | Refusal:
        found: bytes | Refusal = Refusal(2)
        for count in counts:
            if 0 <= number <= LAST + 1 - count:
                found = bus.read(Read(unit, place.table, number, count), pace, user)
                if not isinstance(found, Refusal) or found.code in GATEWAY_EXCEPTIONS:
                    break
        return found

    lengths = (4, 2, 1) if place.is_register else (1,)
    raw = read(place.number, lengths)
    if isinstance(raw, Refusal):
        if raw.code in GATEWAY_EXCEPTIONS:
            raise DeviceUnavailable(raw.reason, f"unit {unit}")
        raise AddressRefused(f"unit {unit} refuses {place}: {raw.reason} ({raw.code})")
    readings = _readings(raw, place)
    for number in (place.number - 1, place.number + 1):
        near = Address(place.table, number)
        if 0 <= number <= LAST:
            beside = read(number, (2, 1) if place.is_register else (1,))
            readings += [(f"{near} {name}".rstrip(), text) for name, text in _beside(beside, near)]
    return Probe(str(place), raw, tuple(readings))


def _readings(raw: bytes, place: Address) -> list[tuple[str, str]]:
    if not place.is_register:
        return [("bool", _bit(raw))]
    found = _decoded(raw, _READINGS)
    found.insert(0, ("bits 15..0", f"{int.from_bytes(raw[:2], 'big'):016b}"))
    if place.bit is not None:
        for order in ("ABCD", "BADC"):
            number = int.from_bytes(raw[:2], "big" if order == "ABCD" else "little")
            found.insert(0, (f"bool {order}", str(bool(number >> place.bit & 1)).lower()))
    return found


def _beside(raw: bytes | Refusal, near: Address) -> list[tuple[str, str]]:
    if isinstance(raw, Refusal):
        return [("", raw.reason)]
    return _decoded(raw, _NEIGHBOUR) if near.is_register else [("bool", _bit(raw))]


def _bit(raw: bytes) -> str:
    return "true" if raw[0] & 1 else "false"


def _decoded(
    raw: bytes, wanted: tuple[tuple[str, tuple[Order, ...]], ...]
) -> list[tuple[str, str]]:
    found: list[tuple[str, str]] = []
    for name, orders in wanted:
        kind = parse_type(name)
        if 2 * kind.registers > len(raw):
            continue
        for order in orders:
            wire = wire_of(kind, order)
            if wire.text:
                text = repr(wire.text(raw[:8]))
            else:
                ordered = bytes(raw[i] for i in wire.order)
                text = str(np.frombuffer(ordered, f"<{wire.dtype}")[0])
            found.append((f"{name} {order}", text))
    return found
