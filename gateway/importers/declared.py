"""What an export declares, before it has addresses: types, members, blocks, symbols."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

from gateway.errors import ConfigError, Place


class Bounds(NamedTuple):
    """One dimension of an array, both ends included."""

    low: int
    high: int

    @property
    def size(self) -> int:
        """Elements of this dimension."""
        return self.high - self.low + 1


@dataclass(slots=True)
class DataType:
    """A type as declared: elementary, a string of ``length``, a structure, or the name of one."""

    name: str
    place: Place
    bounds: tuple[Bounds, ...] = ()
    length: int | None = None
    """Characters of a string; None where none is said."""
    members: list[Member] | None = None
    """Of a STRUCT that is declared in place."""
    named: bool = False
    """The name stood in quotes or behind UDT, FB, SFB: it is surely no elementary type."""


@dataclass(slots=True)
class Member:
    """One line of a declaration."""

    name: str
    type: DataType
    place: Place
    comment: str = ""


@dataclass(slots=True)
class Udt:
    """A PLC data type."""

    name: str
    members: list[Member]
    place: Place
    comment: str = ""


@dataclass(slots=True)
class Block:
    """A data block: its own members, or ``of`` a type that has them."""

    name: str
    place: Place
    number: int | None = None
    members: list[Member] = field(default_factory=list)
    of: DataType | None = None
    standard: bool | None = None
    """False: optimized access; None: the file does not say."""
    comment: str = ""


@dataclass(slots=True)
class Symbol:
    """One line of a tag table or symbol table."""

    name: str
    type: str
    address: str
    comment: str
    place: Place


@dataclass(slots=True)
class SymbolTable:
    """A tag table; becomes a group."""

    name: str
    symbols: list[Symbol]


@dataclass(slots=True)
class Declared:
    """All that the files declare of an S7 CPU."""

    udts: dict[str, Udt] = field(default_factory=dict)
    """By name in lower case: STEP 7's names are not case sensitive."""
    blocks: list[Block] = field(default_factory=list)
    tables: list[SymbolTable] = field(default_factory=list)
    function_blocks: set[str] = field(default_factory=set)
    """Names of function blocks, in lower case."""

    def add(self, udt: Udt) -> None:
        """Keep a type.

        Raises:
            ConfigError: there is another one of that name, which looks different.
        """
        first = self.udts.setdefault(udt.name.lower(), udt)
        if first is not udt and _shape(first.members) != _shape(udt.members):
            where = f"{first.place.file}:{first.place.line}"
            raise ConfigError(
                [udt.place.fault(f"the type '{udt.name}' looks different in {where}; which is it?")]
            )


def _shape(members: list[Member]) -> tuple[object, ...]:
    """All of a declaration that decides where its members lie, and what they are called."""
    return tuple(
        (m.name, t.name.lower(), t.bounds, t.length, t.members and _shape(t.members))
        for m in members
        for t in (m.type,)
    )
