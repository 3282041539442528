"""Where the members of a data block with standard access lie.

The rules, and where they are written:

- A BOOL takes the next bit, a type of one byte the next byte, everything else begins at an even
  byte ("word limit"). STRUCT, UDT and ARRAY begin at an even byte and fill up to the next one.
- Of an array with several dimensions each row of bits or bytes begins at the next byte, each row of
  anything else at the next even byte.

(TIA Portal's help, "Structure of an ARRAY tag", "... of a STRUCT tag", "... of a STRING tag".) That
nothing is filled up behind a STRING of odd length is not written there; two other programs that
read STEP 7 projects do it so (S7-Project-Explorer, DotNetSiemensPLCToolBoxLibrary).
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product
from typing import NamedTuple

from gateway.errors import Fault
from gateway.importers.declared import DataType, Declared, Member, Udt
from gateway.importers.files import clip
from gateway.importers.s7types import TYPES, nearest

MAX_BLOCK = 65_536
"""Bytes that an S7 address can reach."""

MAX_DEPTH = 32

BIT, BYTE, WORD = 1, 8, 16


class Shape(NamedTuple):
    """Size of one element in bits, and the multiple of bits at which it begins."""

    bits: int
    step: int


class Cell(NamedTuple):
    """One element or row of an array: its indexes, its first bit, and elements side by side."""

    indexes: tuple[int, ...]
    bit: int
    elements: int | None


def up(bits: int, step: int) -> int:
    """The next multiple of a step."""
    return -(-bits // step) * step


class Layout:
    """Computes sizes and offsets; collects what it cannot."""

    def __init__(self, declared: Declared) -> None:
        self.declared = declared
        self.faults: list[Fault] = []
        self._shapes: dict[str, Shape] = {}
        self._open: set[str] = set()

    def udt(self, kind: DataType) -> Udt | None:
        """The PLC data type that a type names, None where it names none."""
        elementary = kind.name.upper() in (*TYPES, "STRING", "WSTRING")
        if kind.members is not None or (elementary and not kind.named):
            return None
        return self.declared.udts.get(kind.name.lower())

    def members_of(self, kind: DataType) -> list[Member] | None:
        """The members of a structure or PLC data type, None of all else."""
        if kind.members is not None:
            return kind.members
        udt = self.udt(kind)
        return None if udt is None else udt.members

    def struct_bits(self, members: list[Member], depth: int = 0) -> int:
        """Bits of a whole structure."""
        ends = [end for _, end in self._walk(members, depth)]
        return up(ends[-1], WORD) if ends else 0

    def offsets(self, members: list[Member]) -> Iterator[tuple[Member, int]]:
        """Each member with its first bit, counted from the structure's own."""
        at = 0
        for member, end in self._walk(members, 0):
            yield member, self._start(member, at)
            at = end

    def _walk(self, members: list[Member], depth: int) -> Iterator[tuple[Member, int]]:
        at = 0
        for member in members:
            shape = self.element(member.type, depth)
            at = self._start(member, at)
            if member.type.bounds:
                at = up(at + self._array_bits(member.type, shape), WORD)
            else:
                at += shape.bits
            yield member, at

    def _start(self, member: Member, at: int) -> int:
        return up(at, WORD if member.type.bounds else self.element(member.type, 0).step)

    def element(self, kind: DataType, depth: int) -> Shape:
        """One element of a type; a type that is not known is a fault and takes no room."""
        if kind.members is None:
            key = f"{int(kind.named)}{kind.name.lower()}[{kind.length}]"
            if key not in self._shapes:
                self._shapes[key] = self._named(kind, depth)
            return self._shapes[key]
        if not kind.members:
            return self._fault(kind, "the structure has no members")
        if depth > MAX_DEPTH:
            return self._fault(kind, f"structures are nested deeper than {MAX_DEPTH}")
        key = f"struct {id(kind)}"
        if key not in self._shapes:
            self._shapes[key] = Shape(self.struct_bits(kind.members, depth + 1), WORD)
        return self._shapes[key]

    def _named(self, kind: DataType, depth: int) -> Shape:
        name = kind.name.upper()
        if not kind.named and name in ("STRING", "WSTRING"):
            return self._string(kind, wide=name == "WSTRING")
        if not kind.named and name in TYPES:
            size = TYPES[name].size
            return Shape(8 * size or BIT, BIT if size == 0 else BYTE if size == 1 else WORD)
        udt = self.udt(kind)
        if udt is None:
            return self._fault(kind, self._unknown(kind))
        if name in self._open:
            return self._fault(kind, f"the type '{kind.name}' contains itself")
        if depth > MAX_DEPTH:
            return self._fault(kind, f"types are nested deeper than {MAX_DEPTH}")
        if not udt.members:
            return self._fault(kind, f"the type '{kind.name}' has no members")
        self._open.add(name)
        shape = Shape(self.struct_bits(udt.members, depth + 1), WORD)
        self._open.discard(name)
        return shape

    def _string(self, kind: DataType, *, wide: bool) -> Shape:
        most = 16_382 if wide else 254
        length = 254 if kind.length is None else kind.length
        if not 1 <= length <= most:
            return self._fault(kind, f"the length of a {kind.name} must be 1 to {most}")
        return Shape(8 * (2 * length + 4 if wide else length + 2), WORD)

    def _unknown(self, kind: DataType) -> str:
        name = kind.name
        if name.upper() == "VARIANT":
            return "a Variant lies in no block with standard access; take it out of the declaration"
        if name.lower() in self.declared.function_blocks or name.upper().startswith(("FB", "SFB")):
            return (
                f"'{name}' is a function block; how its instance data lie is not computed. "
                "Copy what you need into a data block of its own"
            )
        hint = nearest(name, [udt.name for udt in self.declared.udts.values()])
        return (
            f"the type '{name}' is not in these files, so all behind it would be a guess; give its "
            f"source too{hint}"
        )

    def _fault(self, kind: DataType, message: str) -> Shape:
        self.faults.append(kind.place.fault(clip(message)))
        return Shape(WORD, WORD)

    # -- arrays -------------------------------------------------------------------------------

    def _row(self, kind: DataType, shape: Shape) -> tuple[int, int, int]:
        """(rows, elements in a row, bits from one row to the next)."""
        *outer, last = kind.bounds
        rows = 1
        for bounds in outer:
            rows *= bounds.size
        # a row of bits or bytes begins at the next byte; all else has even strides anyway
        return rows, last.size, up(last.size * stride(shape), BYTE)

    def _array_bits(self, kind: DataType, shape: Shape) -> int:
        rows, _, row_bits = self._row(kind, shape)
        bits = rows * row_bits
        if bits > 8 * MAX_BLOCK:
            self._fault(
                kind, f"the array has {bits // 8:,} bytes; a block has at most {MAX_BLOCK:,}"
            )
            return WORD
        return bits

    def cells(self, kind: DataType, start: int, *, whole_rows: bool) -> Iterator[Cell]:
        """What an array (or a single value) consists of: its rows, or else each element."""
        if not kind.bounds:
            yield Cell((), start, None)
            return
        shape = self.element(kind, 0)
        _, count, row_bits = self._row(kind, shape)
        *outer, last = kind.bounds
        for row, indexes in enumerate(product(*(range(b.low, b.high + 1) for b in outer))):
            at = start + row * row_bits
            if whole_rows:
                yield Cell(indexes, at, count)
                continue
            for n in range(count):
                yield Cell((*indexes, last.low + n), at + n * stride(shape), None)


def stride(shape: Shape) -> int:
    """Bits from one element of an array to the next."""
    return up(shape.bits, shape.step)
