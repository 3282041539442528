"""What a client of `/ws/live` has chosen: tables and tags, by name."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from dataclasses import dataclass

from gateway.api.livetext import Pick
from gateway.model import Table

ALL_TABLES = "*"
MAX_NAMES = 10_000
"""Most tables and tags that one client may name."""


@dataclass(frozen=True)
class Choice:
    """Tables as ``device/key``, ``device/*`` or ``*``; tags as ``device.key.tag``."""

    tables: frozenset[str] = frozenset()
    tags: frozenset[str] = frozenset()

    def __bool__(self) -> bool:
        return bool(self.tables or self.tags)

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
        prefix = f"{device}.{table.key}."
        wanted = {tag.removeprefix(prefix) for tag in self.tags if tag.startswith(prefix)}
        if not wanted:
            return None
        columns = [i for i, name in enumerate(table.columns) if name in wanted]
        return Pick(table, columns) if columns else None


def unknown_names(
    tables: Iterable[str], tags: Iterable[str], known: Iterable[Table]
) -> list[tuple[str, str]]:
    """(what there is not, what was expected) for each name that nothing has."""
    found = {(table.device, table.key): table for table in known}
    names = {f"{device}/{key}" for device, key in found}
    names |= {f"{device}/*" for device, _ in found} | {ALL_TABLES}
    faults = [(f"no table '{t}'", _nearest(t, names)) for t in tables if t not in names]
    for tag in tags:
        table, expected = _table_of(tag, found)
        if expected is not None:
            what = f"no tag '{tag}'"
            faults.append((what, expected if table is None else _nearest(*_in(tag, table))))
    return faults


def _table_of(tag: str, tables: dict[tuple[str, str], Table]) -> tuple[Table | None, str | None]:
    """The table of ``device.key.tag``; any of the three may have dots. With a fault's words."""
    dots = [i for i, c in enumerate(tag) if c == "."]
    near = None
    for first in dots:
        for second in dots:
            if second <= first:
                continue
            table = tables.get((tag[:first], tag[first + 1 : second]))
            if table is not None:
                if tag[second + 1 :] in table.columns:
                    return table, None
                near = table
    return near, "device.key.tag, of the tables that the gateway has"


def _in(tag: str, table: Table) -> tuple[str, list[str]]:
    prefix = f"{table.device}.{table.key}."
    return tag, [prefix + column for column in table.columns]


def _nearest(name: str, names: Iterable[str]) -> str:
    listed = sorted(names)
    near = difflib.get_close_matches(name, listed[:5000], 1)
    if near:
        return f"did you mean '{near[0]}'?"
    return f"one of: {', '.join(listed[:20])}{', ...' if len(listed) > 20 else ''}"
