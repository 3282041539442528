"""Makes the map of an S7 device from data blocks and tag tables."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

from gateway.errors import ConfigError, Fault, Place
from gateway.importers.declared import Block, DataType, Declared, Member, SymbolTable, Udt
from gateway.importers.files import stop
from gateway.importers.layout import MAX_BLOCK, Layout
from gateway.importers.made import Made, MadeGroup, MadeModule, MadePlaced, MadeTag, Report
from gateway.importers.names import Names, table_names
from gateway.importers.s7types import TYPES, letter, takes_unit
from gateway.importers.symbols import made_symbol
from gateway.importers.units import unit_in

MAX_TAGS = 100_000
"""Most tags of one import."""

OPTIMIZED = (
    "has optimized access: its values have no addresses. In TIA Portal clear 'Optimized block "
    "access' in the block's properties, compile, load it into the CPU, and export it again"
)


class Leaf(NamedTuple):
    """A value, or values side by side, at a bit counted from the block or module."""

    path: str
    bit: int
    type: DataType
    elements: int | None
    comment: str
    place: Place


class Spot(NamedTuple):
    """A PLC data type that is placed as a module."""

    path: str
    bit: int
    udt: Udt
    comment: str
    place: Place


@dataclass(slots=True)
class Wanted:
    """What the user chose. ``db`` is the number of the only block; ``name`` the group's."""

    db: int | None = None
    name: str | None = None


def make_s7(declared: Declared, wanted: Wanted, report: Report) -> Made:
    """The map of everything that was declared.

    Raises:
        ConfigError: with all that keeps addresses from being known.
    """
    if not declared.blocks and not declared.tables:
        place = next((udt.place for udt in declared.udts.values()), Place("", 0, 0, ""))
        raise stop(place, "there are only types here; give the data block that uses them too")
    if wanted.name is not None and len(declared.blocks) + len(declared.tables) > 1:
        raise stop(_second(declared), "--name names one group, but here is a second; leave it out")
    if wanted.db is not None and len(declared.blocks) != 1:
        place = _second(declared) if declared.blocks else declared.tables[0].symbols[0].place
        raise stop(place, "--db is for a single data block; import each block by itself")
    return _Maker(declared, wanted, report).make()


def _second(declared: Declared) -> Place:
    places = [block.place for block in declared.blocks]
    places += [table.symbols[0].place for table in declared.tables if table.symbols]
    return places[min(1, len(places) - 1)]


class _Maker:
    def __init__(self, declared: Declared, wanted: Wanted, report: Report) -> None:
        self.declared = declared
        self.wanted = wanted
        self.report = report
        self.layout = Layout(declared)
        self.tables = table_names(report)
        self.instances = Names(report, frozenset())
        self.modules: dict[str, MadeModule] = {}
        self.made = Made("s7", [])
        self._tags = 0
        self._numbers = self._known_numbers()

    def make(self) -> Made:
        faults: list[Fault] = []
        blocks = [(block, self._members(block, faults)) for block in self.declared.blocks]
        for block, members in blocks:
            size = self.layout.struct_bits(members) // 8
            if size > MAX_BLOCK:
                message = f"the data block has {size:,} bytes; an address reaches {MAX_BLOCK:,}"
                faults.append(block.place.fault(message))
        faults += self.layout.faults
        if faults:
            raise ConfigError(faults)
        uses = self._uses([members for _, members in blocks])
        for block, members in blocks:
            self._block(block, members, {name for name, n in uses.items() if n > 1})
        for table in self.declared.tables:
            self._table(table)
        self.made.groups = [g for g in self.made.groups if g.tags or g.placed]
        self.made.modules = list(self.modules.values())
        if not self.made.groups:
            first = self.report.omitted[0] if self.report.omitted else None
            place = first.place if first else _second(self.declared)
            why = f"; the first: {first.message}" if first else ""
            raise stop(place, f"nothing is left that could be read{why}")
        return self.made

    # -- data blocks --------------------------------------------------------------------------

    def _members(self, block: Block, faults: list[Fault]) -> list[Member]:
        members = block.members
        if block.of is not None:
            found = self.layout.udt(block.of)
            if found is None:
                known = block.of.name.lower() in self.declared.function_blocks
                what = "is the function block" if known else "is in none of these files"
                message = (
                    f"the data block '{block.name}' has the layout of '{block.of.name}', which "
                    f"{what}; of a PLC data type give the source too. How the instance data of a "
                    "function block lie is not computed: copy what you need into a block of its own"
                )
                faults.append(block.of.place.fault(message))
                return []
            members = found.members
        if block.standard is False:
            faults.append(block.place.fault(f"the data block '{block.name}' {OPTIMIZED}"))
        elif block.standard is None:
            self.report.warn(
                block.place,
                f"the file does not say that the data block '{block.name}' has standard access "
                "(those of S7-300 and S7-400 always have)",
            )
        if not members:
            faults.append(block.place.fault(f"the data block '{block.name}' has no members"))
        return members

    def _known_numbers(self) -> dict[str, int]:
        """Numbers of data blocks that a symbol table says."""
        found = {}
        for table in self.declared.tables:
            for symbol in table.symbols:
                words = symbol.address.upper().replace("DB", "DB ").split()
                if len(words) == 2 and words[0] == "DB" and words[1].isdecimal():
                    found[symbol.name.lower()] = int(words[1])
        return found

    def _base(self, block: Block) -> str:
        """The block as an address names it; with a placeholder where its number is not known."""
        number = self.wanted.db or block.number or self._numbers.get(block.name.lower())
        if number is not None:
            if not 1 <= number <= 65_535:
                raise stop(block.place, f"DB{number}: the number must be 1 to 65535")
            return f"DB{number}"
        free = [b for b in self.declared.blocks if b.number is None]
        name = "db" if len(free) == 1 else f"db_{len(self.made.placeholders) + 1}"
        self.made.placeholders.append(name)
        return f"DB{{{name}}}"

    def _uses(self, blocks: list[list[Member]]) -> Counter[str]:
        """How often each PLC data type occurs, with all elements of arrays."""
        uses: Counter[str] = Counter()

        def look(members: list[Member], times: int) -> None:
            for member in members:
                each = times
                for bounds in member.type.bounds:
                    each *= bounds.size
                udt = self.layout.udt(member.type)
                if udt is not None:
                    uses[udt.name.lower()] += each
                inner = self.layout.members_of(member.type)
                if inner is not None:
                    look(inner, each)

        for members in blocks:
            look(members, 1)
        return uses

    def _walk(
        self, members: list[Member], start: int, prefix: str, modules: set[str], comment: str = ""
    ) -> Iterator[Leaf | Spot]:
        for member, offset in self.layout.offsets(members):
            said = member.comment or comment
            path = f"{prefix}{member.name}"
            inner = self.layout.members_of(member.type)
            whole = inner is None
            for cell in self.layout.cells(member.type, start + offset, whole_rows=whole):
                own = path + "".join(f"_{i}" if i >= 0 else f"_m{-i}" for i in cell.indexes)
                if inner is None:
                    # a structure's comment, and above all its unit, need not hold for each member
                    note = member.comment
                    if cell.elements:
                        note = _elements(member.type, note)
                    yield Leaf(own, cell.bit, member.type, cell.elements, note, member.place)
                    continue
                udt = self.layout.udt(member.type)
                if udt is not None and udt.name.lower() in modules:
                    yield Spot(own, cell.bit, udt, said, member.place)
                else:
                    yield from self._walk(inner, cell.bit, f"{own}.", modules, said)

    def _block(self, block: Block, members: list[Member], modules: set[str]) -> None:
        base = self._base(block)
        name = self.tables.take(self.wanted.name or block.name, block.place)
        size = self.layout.struct_bits(members) // 8
        said = f": {block.comment}" if block.comment else ""
        group = MadeGroup(name, comment=f"data block '{block.name}', {base}, {size} bytes{said}")
        self.made.groups.append(group)
        names = Names(self.report)
        self._warn_of_strings(members, set())
        for found in self._walk(members, 0, "", modules):
            if isinstance(found, Spot):
                instance = self.instances.take(found.path, found.place)
                module = self._module(found.udt)
                at = f"{base}.DBB{found.bit // 8}"
                group.placed.append(MadePlaced(instance, module.name, at, found.comment))
                self._count(len(module.tags), found.place)
            elif (tag := self._tag(found, names, base)) is not None:
                group.tags.append(tag)

    def _module(self, udt: Udt) -> MadeModule:
        module = self.modules.get(udt.name.lower())
        if module is None:
            said = f": {udt.comment}" if udt.comment else ""
            module = MadeModule(self.tables.take(udt.name, udt.place), [], f"'{udt.name}'{said}")
            self.modules[udt.name.lower()] = module
            names = Names(self.report)
            for found in self._walk(udt.members, 0, "", set()):
                if isinstance(found, Leaf) and (tag := self._tag(found, names, None)) is not None:
                    module.tags.append(tag)
        return module

    def _tag(self, leaf: Leaf, names: Names, base: str | None) -> MadeTag | None:
        self._count(1, leaf.place)
        kind = leaf.type
        if kind.name.upper() in ("STRING", "WSTRING"):
            name: str | None = f"{kind.name.lower()}[{kind.length or 254}]"
        else:
            name = TYPES[kind.name.upper()].name
        if name is None:
            why = TYPES[kind.name.upper()].why
            self.report.omit(leaf.place, f"'{leaf.path}' is of type {kind.name}: {why}")
            return None
        byte, bit = divmod(leaf.bit, 8)
        if base is None:
            where = f"{byte}.{bit}"
        elif name == "bool":
            where = f"{base}.DBX{byte}.{bit}"
        else:
            where = f"{base}.DB{letter(name)}{byte}"
        legal = names.take(leaf.path, leaf.place, leaf.elements)
        full = name if leaf.elements is None else f"{name}[{leaf.elements}]"
        unit = unit_in(leaf.comment) if takes_unit(name) else None
        return MadeTag(legal, where, full, leaf.comment, unit)

    def _count(self, how_many: int, place: Place) -> None:
        self._tags += how_many
        if self._tags > MAX_TAGS:
            raise stop(place, f"these are more than {MAX_TAGS:,} tags; import fewer blocks at once")

    def _warn_of_strings(self, members: list[Member], seen: set[int]) -> None:
        """A byte or bit right behind a STRING of odd length: see `gateway.importers.layout`."""
        if id(members) in seen:
            return
        seen.add(id(members))
        before: Member | None = None
        for member in members:
            step = self.layout.element(member.type, 0).step
            if before is not None and step < 16 and not member.type.bounds:
                self.report.warn(
                    member.place,
                    f"'{member.name}' stands behind '{before.name}', a string of odd length; "
                    "compare its offset with TIA Portal's column 'Offset'",
                )
            odd = (
                not member.type.bounds
                and not member.type.named
                and member.type.name.upper() == "STRING"
                and (member.type.length or 254) % 2 == 1
            )
            before = member if odd else None
            inner = self.layout.members_of(member.type)
            if inner is not None:
                self._warn_of_strings(inner, seen)

    # -- tag tables ---------------------------------------------------------------------------

    def _table(self, table: SymbolTable) -> None:
        names = Names(self.report)
        tags = []
        for symbol in table.symbols:
            self._count(1, symbol.place)
            tag = made_symbol(symbol, names, self.report)
            if tag is not None:
                tags.append(tag)
        if tags:
            place = table.symbols[0].place
            name = self.tables.take(self.wanted.name or table.name, place)
            self.made.groups.append(MadeGroup(name, tags, comment=f"tag table '{table.name}'"))


def _elements(kind: DataType, comment: str) -> str:
    """The comment of an array, which says where its elements go if they do not count from 0."""
    low, high = kind.bounds[-1]
    if low == 0:
        return comment
    count = high - low
    note = f"[{low}..{high}] become _0 to _{count}" if count else f"[{low}] becomes _0"
    return f"{comment} ({note})" if comment else note
