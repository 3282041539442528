"""Which series are in the historian, and which one a user means."""

from __future__ import annotations

import difflib
import sqlite3
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import orjson

from gateway.errors import GatewayError
from gateway.model import Kind

_MAX_ENDS = 50
"""A tag may have so many dots and colons where its table may end."""


class SeriesName(NamedTuple):
    """One series: ``table`` is its key, e.g. ``electricity.meter``."""

    device: str
    table: str
    module: str | None
    tag: str
    unit: str | None
    kind: str
    labels: dict[str, str]


class Target(NamedTuple):
    """Where a series' values are."""

    source: int
    position: int
    table: str
    tag: str
    unit: str | None
    kind: Kind


def list_series(connection: sqlite3.Connection) -> list[SeriesName]:
    """Every series in the file."""
    found = connection.execute(
        "SELECT device, table_name, module, tag, unit, kind, labels FROM tags"
    )
    return [
        SeriesName(device, _key(table, module), module, tag, unit, kind, orjson.loads(labels))
        for device, table, module, tag, unit, kind, labels in found
    ]


def find_targets(connection: sqlite3.Connection, device: str, tag: str) -> list[Target]:
    """The series of that name, oldest first: a change of unit, type or labels makes another.

    ``tag`` may name its table: ``electricity.meter:Pt``, or with a dot. GatewayError where there is
    none of that name, or more than one.
    """
    ends = [i + 1 for i, c in enumerate(tag) if c in ":."][:_MAX_ENDS]
    found = _series(connection, device, [tag, *(tag[end:] for end in ends)])
    matching = [
        Target(source, position, _key(table, module), name, unit, kind)
        for source, position, table, module, name, unit, kind in found
        if tag in (name, *(f"{_key(table, module)}{mark}{name}" for mark in ":."))
    ]
    if not matching:
        raise GatewayError(_nothing(connection, device, tag))
    tables = sorted({t.table for t in matching})
    if len(tables) > 1:
        raise GatewayError(
            f"device '{device}': tag '{tag}' is in {', '.join(tables)}; say which, e.g. "
            f"'{tables[0]}:{tag}'"
        )
    return matching


def _series(
    connection: sqlite3.Connection, device: str, names: Sequence[str] | None = None
) -> list[tuple[int, int, str, str | None, str, str | None, Kind]]:
    """All of a device, or those with tags of these names: far fewer come out of the file."""
    only = "" if names is None else f" AND s.tag IN ({', '.join('?' * len(names))})"
    return connection.execute(
        "SELECT o.id, s.position, o.table_name, o.module, s.tag, s.unit, s.kind"
        f" FROM source o JOIN series s ON s.source = o.id WHERE o.device = ?{only}"
        " ORDER BY o.id, s.position",
        (device, *(names or ())),
    ).fetchall()


def _nothing(connection: sqlite3.Connection, device: str, tag: str) -> str:
    found = _series(connection, device)
    if not found:
        devices = [d for (d,) in connection.execute("SELECT DISTINCT device FROM source")]
        return _unknown("device", device, devices)
    names = {name for *_, name, _, _ in found}
    names |= {f"{_key(f[2], f[3])}:{f[4]}" for f in found}
    return f"device '{device}': {_unknown('tag', tag, names)}"


def common_kind(targets: Sequence[Target]) -> Kind:
    """How the values of all can be kept together."""
    kinds = {t.kind for t in targets}
    if len(kinds) == 1:
        return targets[0].kind
    return "str" if "str" in kinds else "f8"


def _key(table: str, module: str | None) -> str:
    return f"{table}.{module}" if module else table


def _unknown(what: str, name: str, names: Iterable[str]) -> str:
    known = sorted(set(names))
    near = difflib.get_close_matches(name, known, 1)
    hint = f"did you mean '{near[0]}'?" if near else f"there are: {', '.join(known[:20])}"
    return f"unknown {what} '{name}'; {hint if known else 'nothing is stored yet'}"
