"""What lies at one address: raw bytes, and what they say under every type that fits."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TypeAlias

import numpy as np

from drivers.s7.address import LAST_BYTE, Address, Space
from drivers.s7.types import COUNTER, TYPES, S7Type, string_text, wstring_text
from gateway.blocks import Refused
from gateway.driver import Probe
from gateway.errors import AddressRefused

Ask: TypeAlias = Callable[[Space, int, int], bytes | Refused]
"""(space, first byte, size) -> the bytes."""

_SIZES = {"B": (1, 2, 4, 8, 12), "W": (2,), "D": (4,)}
_NEIGHBOURS = {1: "byte", 2: "int", 4: "real"}


def probe(address: Address, ask: Ask, longest: int) -> Probe:
    """Read the address and its neighbours; ``longest`` is what one request may carry.

    Raises:
        AddressRefused: the CPU refuses the address.
    """
    space, width, byte, bit = address
    if width == "":
        raw = _must(address, ask(space, 2 * byte, 2))
        kind = COUNTER if space.area == "C" else TYPES["s5time"]
        unit = "counter" if space.area == "C" else "s5time, ms"
        readings = [(unit, _text(kind, raw)), ("word", _text(TYPES["word"], raw))]
        return Probe(str(address), raw, tuple(readings))
    if width == "X":
        raw = _must(address, ask(space, byte, 1))
        bits = [(f"bool {byte}.{n}", str(bool(raw[0] >> n & 1)).lower()) for n in range(8)]
        return Probe(str(address), raw, (bits[bit], *(b for b in bits if b != bits[bit])))
    sizes = _SIZES[width]
    raw = _must(address, ask(space, byte, sizes[0]))
    readings = list(_readings(raw))
    for size in sizes[1:]:
        more = ask(space, byte, size)
        if isinstance(more, Refused):
            break
        raw = more
        readings += _readings(raw)
    if width == "B":
        readings += _strings(raw, lambda size: ask(space, byte, size), longest)
    readings += _neighbours(address, sizes[0], ask)
    return Probe(str(address), raw, tuple(readings))


def _must(address: Address, answer: bytes | Refused) -> bytes:
    if isinstance(answer, Refused):
        raise AddressRefused(f"{address}: the CPU refuses it: {answer.reason}")
    return answer


def _readings(raw: bytes) -> Iterator[tuple[str, str]]:
    """Under all types of exactly this size, and those of numbers with their words swapped."""
    for kind in TYPES.values():
        if kind.size == len(raw):
            yield kind.name, _text(kind, raw)
    if len(raw) in (4, 8):
        swapped = b"".join(raw[i : i + 2] for i in range(len(raw) - 2, -1, -2))
        for name in ("real", "dint") if len(raw) == 4 else ("lreal", "lint"):
            yield f"{name}, words swapped", _text(TYPES[name], swapped)


def _text(kind: S7Type, raw: bytes) -> str:
    wire = kind.wire
    try:
        if wire.text:
            return repr(wire.text(raw))
        if wire.integer:
            return str(wire.integer(raw))
    except ValueError as error:
        return f"({error})"
    return str(np.frombuffer(raw, f">{wire.dtype}")[0])


def _strings(
    raw: bytes, ask: Callable[[int], bytes | Refused], longest: int
) -> Iterator[tuple[str, str]]:
    """As string and wstring, where the lengths in front of the text could be ones."""
    heads = [("string", raw[:1], raw[1:2], 1, string_text)]
    heads.append(("wstring", raw[:2], raw[2:4], 2, wstring_text))
    for name, most, actual, unit, decode in heads:
        declared, length = int.from_bytes(most, "big"), int.from_bytes(actual, "big")
        size = unit * (2 + length)
        if len(actual) < unit or not declared > 0 or length > declared or size > longest:
            continue
        more = ask(size)
        if not isinstance(more, Refused):
            try:
                yield f"{name}[{declared}]", repr(decode(more))
            except ValueError as error:
                yield f"{name}[{declared}]", f"({error})"


def _neighbours(address: Address, size: int, ask: Ask) -> Iterator[tuple[str, str]]:
    steps = (-size, size) if size < 4 else (-4, -2, 2, 4)
    for step in steps:
        near = address._replace(byte=address.byte + step)
        if not 0 <= near.byte <= LAST_BYTE + 1 - size:
            continue
        answer = ask(near.space, near.byte, size)
        if not isinstance(answer, Refused):
            name = _NEIGHBOURS[size]
            yield f"{near} {name}", _text(TYPES[name], answer)
