"""From the bytes of a poll to the parts of a row: one gather per type, not one call per value.

The bytes of all values of one type are picked from the buffer by a prepared index that already
has them in native order, so every byte and word order costs the same and nothing is unpacked
value by value.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from fractions import Fraction
from typing import Any, NamedTuple

import numpy as np

from gateway.driver import TagConfig
from gateway.model import Array, Column, Kind, Mark, Quality, Row, Table, Values, bad

TextDecoder = Callable[[bytes], str]
"""Bytes of one value to text; ValueError with a short reason word where they make none."""

IntDecoder = Callable[[bytes], int]
"""Bytes of one value to an integer (BCD and the like); ValueError with a short reason word."""


class Wire(NamedTuple):
    """How one value lies in the device's memory.

    ``dtype`` is the numpy type of the raw number (``i2``, ``u4``, ``f4``...) and ``order`` where
    its bytes lie, least significant first, relative to the value's first byte. A bit has
    ``dtype`` ``b1``, ``order`` (byte,) and ``mask``. What no numpy type says has a decoder.
    """

    dtype: str
    order: tuple[int, ...] = ()
    mask: int = 0
    text: TextDecoder | None = None
    integer: IntDecoder | None = None


def big_endian(size: int) -> tuple[int, ...]:
    """Byte positions, least significant first, of a big-endian number of ``size`` bytes."""
    return tuple(range(size - 1, -1, -1))


class Scaling(NamedTuple):
    """value = (raw x num + off) / den; exact for decimal scales such as 0.1 on integers."""

    num: float = 1.0
    den: float = 1.0
    off: float = 0.0

    @property
    def trivial(self) -> bool:
        """Whether the value is the raw number."""
        return self == (1.0, 1.0, 0.0)


def scaling(scale: float, offset: float) -> Scaling:
    """The scaling in whole numbers where the decimals allow: 3 x 0.1 is then 0.3 exactly."""
    exact_scale, exact_offset = Fraction(repr(scale)), Fraction(repr(offset))
    den = exact_scale.denominator * exact_offset.denominator
    num, off = exact_scale * den, exact_offset * den
    if max(float(abs(num)), float(abs(off)), float(den)) < 2**31:
        return Scaling(float(num), float(den), float(off))
    return Scaling(scale, 1.0, offset)


def kind_of(wire: Wire, by: Scaling) -> Kind:
    """The kind of a column: float32 stays float32 under a scale, but not under an offset."""
    if wire.text is not None:
        return "str"
    if wire.dtype == "b1":
        return "b1"
    if wire.dtype == "f4":
        return "f4" if by.off == 0.0 else "f8"
    if wire.dtype == "f8" or not by.trivial:
        return "f8"
    return "u8" if wire.dtype[0] == "u" else "i8"


def column_of(
    name: str, spec: TagConfig, kind: Kind, by: Scaling, unit: str | None = None
) -> Column:
    """The column of a value of that kind; ValueError where the tag asks what it cannot have.

    ``unit`` is that of the raw value, for a tag that names none and does not scale.
    """
    if kind in ("str", "b1") and (not by.trivial or spec.deadband is not None):
        raise ValueError(f"type {spec.type} has no scale, offset or deadband")
    as_int = spec.store == "int"
    if as_int and kind not in ("i8", "u8"):
        raise ValueError("store: int needs an integer type without scale and offset")
    shown = unit if spec.unit is None and spec.scale == 1.0 else spec.unit
    return Column(name, kind, shown, spec.deadband, spec.max_silence_s, as_int)


class Slot(NamedTuple):
    """One value of a table: where its first byte lies in the buffer, and how."""

    column: int
    at: int
    size: int
    wire: Wire
    scaling: Scaling


class _Gather:
    """All values of one part that share a wire type and whether they are scaled."""

    def __init__(
        self, slots: Sequence[Slot], places: Sequence[int], total: int, kind: Kind
    ) -> None:
        wire = slots[0].wire
        self.kind = kind
        self.dtype = np.dtype(wire.dtype)
        self.mask: Array | None = None
        self.whole = len(places) == total
        self.places = np.array(places, "i8")
        index = [slot.at + byte for slot in slots for byte in slot.wire.order]
        size = len(wire.order)
        self.run = -1
        """First byte where the values lie one after the other, big-endian: no gather needed."""
        first = slots[0].at
        if wire.dtype != "b1" and all(
            s.at == first + i * size and s.wire.order == big_endian(size)
            for i, s in enumerate(slots)
        ):
            self.run = first
        self.index = np.array([] if self.run >= 0 else index, "i8")
        if wire.dtype == "b1":
            self.mask = np.array([s.wire.mask for s in slots], "u1")
        self.scale: tuple[Array, Array, Array] | None = None
        if any(not s.scaling.trivial for s in slots):
            num, den, off = zip(*(s.scaling for s in slots), strict=True)
            self.scale = (np.array(num, "f8"), np.array(den, "f8"), np.array(off, "f8"))

    def values(self, buffer: Array) -> Array:
        """The values, native and contiguous; ``buffer`` is uint8."""
        if self.run >= 0:
            size = len(self.places) * self.dtype.itemsize
            raw: Array = buffer[self.run : self.run + size].view(self.dtype.newbyteorder(">"))
        else:
            raw = buffer.take(self.index)
            if self.mask is not None:
                bits: Array = (raw & self.mask) != 0
                return bits
            raw = raw.view(self.dtype)
        if self.scale is None:
            return raw
        num, den, off = self.scale
        with np.errstate(all="ignore"):  # what overflows is marked as infinite
            scaled: Array = ((raw.astype("f8") * num + off) / den).astype(self.kind)
        return scaled


class TableDecoder:
    """Decodes one table's row from the buffer of its group."""

    def __init__(self, table: Table, slots: Sequence[Slot]) -> None:
        self.table = table
        self._numeric: list[tuple[int, str, int, list[_Gather]]] = []
        self._decoded: list[tuple[int, list[tuple[int, Slot]]]] = []
        by_column = {slot.column: slot for slot in slots}
        for number, part in enumerate(table.parts):
            groups: dict[tuple[str, bool], tuple[list[Slot], list[int]]] = {}
            decoded: list[tuple[int, Slot]] = []
            for place, column in enumerate(part.columns):
                slot = by_column[column]
                if slot.wire.text or slot.wire.integer:
                    decoded.append((place, slot))
                    continue
                key = (slot.wire.dtype, slot.scaling.trivial)
                chosen, places = groups.setdefault(key, ([], []))
                chosen.append(slot)
                places.append(place)
            total = len(part.columns)
            gathers = [_Gather(s, p, total, part.kind) for s, p in groups.values()]
            self._numeric.append((number, part.kind, total, gathers))
            if decoded:
                self._decoded.append((number, decoded))

    def row(self, buffer: Array, time_ns: int, marks: dict[int, Mark]) -> Row:
        """The row; what cannot be decoded is added to ``marks``."""
        parts: list[Values] = []
        for number, kind, total, gathers in self._numeric:
            if kind == "str":
                parts.append([""] * total)
                continue
            if len(gathers) == 1 and gathers[0].whole:
                values = gathers[0].values(buffer).astype(kind)
            else:
                values = np.zeros(total, kind)
                for gather in gathers:
                    values[gather.places] = gather.values(buffer)
            if kind[0] == "f" and not np.isfinite(values).all():
                self._mark_not_finite(number, values, marks)
            parts.append(values)
        for number, slots in self._decoded:
            self._decode(parts[number], slots, buffer, marks)
        return Row(self.table, time_ns, tuple(parts), marks)

    def _mark_not_finite(self, number: int, values: Array, marks: dict[int, Mark]) -> None:
        columns = self.table.parts[number].columns
        for place in np.flatnonzero(~np.isfinite(values)).tolist():
            known = marks.get(columns[place])
            if known is None or known.quality is not Quality.BAD:
                reason = "nan" if np.isnan(values[place]) else "infinite"
                marks[columns[place]] = bad(reason)

    def _decode(
        self,
        values: Values,
        slots: list[tuple[int, Slot]],
        buffer: Array,
        marks: dict[int, Mark],
    ) -> None:
        for place, slot in slots:
            if slot.column in marks and marks[slot.column].quality == 2:
                continue
            raw = buffer[slot.at : slot.at + slot.size].tobytes()
            try:
                value: Any = slot.wire.text(raw) if slot.wire.text else _integer(slot, raw)
                values[place] = value
            except ValueError as error:
                marks[slot.column] = bad(str(error))


def _integer(slot: Slot, raw: bytes) -> float | int:
    number = slot.wire.integer(raw) if slot.wire.integer else 0
    num, den, off = slot.scaling
    return number if slot.scaling.trivial else (number * num + off) / den
