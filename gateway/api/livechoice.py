"""What a client of `/ws/live` has chosen: tables and tags, by name."""

from __future__ import annotations

import difflib
import itertools
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property

from gateway.api.livetext import Pick
from gateway.model import Table

ALL_TABLES = "*"
MAX_NAMES = 10_000
"""Most tables and tags that one client may name."""

MAX_TOLD = 5
"""Of names that nothing has, so many are told with the nearest there is."""

MAX_DOTS = 12
"""Dots in a tag's name at which it may be divided."""

MAX_NEAR = 2000
"""The nearest is looked for among so many names."""


@dataclass(frozen=True)
class Choice:
    """Tables as ``device/key``, ``device/*`` or ``*``; tags as ``device.key.tag``."""

    tables: frozenset[str] = frozenset()
    tags: frozenset[str] = frozenset()

    def __bool__(self) -> bool:
        return bool(self.tables or self.tags)

    @cached_property
    def _columns(self) -> dict[str, set[str]]:
        """``device.key`` -> columns, wherever a tag's name may be divided so."""
        found: dict[str, set[str]] = {}
        for tag in self.tags:
            dot = tag.find(".")
            while (dot := tag.find(".", dot + 1)) > 0:
                found.setdefault(tag[:dot], set()).add(tag[dot + 1 :])
        return found

    def plus(self, tables: Iterable[str], tags: Iterable[str]) -> Choice:
        """With these, too."""
        return Choice(self.tables.union(tables), self.tags.union(tags))

    def minus(self, tables: Iterable[str], tags: Iterable[str]) -> Choice:
        """Without these; without any where ``*`` is among the tables."""
        if ALL_TABLES in (gone := frozenset(tables)):
            return Choice()
        return Choice(self.tables - gone, self.tags.difference(tags))

    def pick(self, table: Table) -> Pick | None:
        """The columns of a table that are chosen, None where there is none."""
        device = table.device
        if not self.tables.isdisjoint((ALL_TABLES, f"{device}/*", f"{device}/{table.key}")):
            return Pick(table, range(len(table.columns)))
        if not self.tags:
            return None
        wanted = self._columns.get(f"{device}.{table.key}")
        if wanted is None:
            return None
        columns = [i for i, name in enumerate(table.columns) if name in wanted]
        return Pick(table, columns) if columns else None


def unknown_names(
    tables: Iterable[str], tags: Iterable[str], known: Iterable[Table]
) -> list[tuple[str, str]]:
    """(what there is not, what was expected) for each name that nothing has, the first of them."""
    index = TagIndex(known)
    names = index.names
    absent_tables = [t for t in tables if t not in names]
    absent_tags = [t for t in tags if index.find(t) is None]
    faults = [(f"no table '{t}'", nearest(t, names)) for t in absent_tables[:MAX_TOLD]]
    faults += [(f"no tag '{t}'", index.expected(t)) for t in absent_tags[:MAX_TOLD]]
    for what, absent in (("tables", absent_tables), ("tags", absent_tags)):
        if (more := len(absent) - MAX_TOLD) > 0:
            faults.append((f"{more} more {what} that there are not", "names that the gateway has"))
    return faults


class TagIndex:
    """Finds tags by ``device.key.tag``; any of the three may have dots in it."""

    def __init__(self, tables: Iterable[Table]) -> None:
        self._tables = {(table.device, table.key): table for table in tables}
        self._columns: dict[Table, frozenset[str]] = {}

    @property
    def names(self) -> set[str]:
        """All that stands for tables: ``device/key``, ``device/*``, ``*``."""
        pairs = list(self._tables)
        return {f"{d}/{k}" for d, k in pairs} | {f"{d}/*" for d, _ in pairs} | {ALL_TABLES}

    def find(self, tag: str) -> tuple[Table, str] | None:
        """The table and the column; None where there is none."""
        for table, column in self._split(tag):
            if table not in self._columns:
                self._columns[table] = frozenset(table.columns)
            if column in self._columns[table]:
                return table, column
        return None

    def expected(self, tag: str) -> str:
        """What was expected instead of a tag that there is not."""
        near = next(self._split(tag), None)
        if near is not None:
            table, _ = near
            prefix = f"{table.device}.{table.key}."
            return nearest(tag, [prefix + column for column in table.columns])
        heads = [f"{device}.{key}" for device, key in self._tables]
        head = nearest(tag.rpartition(".")[0], heads)
        return f"device.table.tag; of device.table {head}" if heads else "there is none"

    def _split(self, tag: str) -> Iterator[tuple[Table, str]]:
        dots = [i for i, c in enumerate(tag) if c == "."][:MAX_DOTS]
        for first, second in itertools.combinations(dots, 2):
            table = self._tables.get((tag[:first], tag[first + 1 : second]))
            if table is not None:
                yield table, tag[second + 1 :]


def nearest(name: str, names: Iterable[str]) -> str:
    """The nearest spelling, or what there is."""
    listed = sorted(names)
    near = difflib.get_close_matches(name, listed[:MAX_NEAR], 1)
    if near:
        return f"did you mean '{near[0]}'?"
    return f"one of: {', '.join(listed[:20])}{', ...' if len(listed) > 20 else ''}"
