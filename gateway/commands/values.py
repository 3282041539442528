"""Values as people read them, from the objects of `gateway.rowjson`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from itertools import groupby
from typing import TYPE_CHECKING, Any

from gateway.commands.console import coloured, table
from gateway.terminal import printable

if TYPE_CHECKING:
    from gateway.driver import Probe

MAX_TEXT = 80
"""Longest text value in a table; ``--json`` has it all."""


def shown(value: Any) -> str:
    """A value on one line: true and false as in a device map, a long text cut."""
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        safe = printable(value)
        return f'"{safe if len(safe) <= MAX_TEXT else safe[:MAX_TEXT] + "..."}"'
    return str(value)


def quality(value: Mapping[str, Any]) -> str:
    """``GOOD``, or ``BAD: timeout``."""
    reason = value["reason"]
    return f"{value['quality']}: {reason}" if reason else str(value["quality"])


def value_tables(values: Iterable[Mapping[str, Any]]) -> list[str]:
    """One aligned table for each table of the device, with its labels and time above."""
    lines: list[str] = []
    for (name, labels, time_ns), members in groupby(values, _row_of):
        when = datetime.fromtimestamp(time_ns / 1e9).isoformat(" ", "milliseconds")
        said = ", ".join(f"{key}={value}" for key, value in labels)
        rows = [[v["tag"], shown(v["value"]), v["unit"] or "", quality(v)] for v in members]
        lines += [""] if lines else []
        lines.append(f"{coloured(printable(name), 'bold')}  {printable(said)}  {when}")
        header = ("TAG", "VALUE", "UNIT", "QUALITY")
        lines += ["  " + line for line in table(rows, header, right=(1,), states=3)]
    return lines


def _row_of(value: Mapping[str, Any]) -> tuple[str, tuple[tuple[str, str], ...], int]:
    return value["table"], tuple(value["labels"].items()), value["time_ns"]


def good(values: Iterable[Mapping[str, Any]]) -> bool:
    """Whether none of the values is BAD."""
    return all(value["quality"] != "BAD" for value in values)


def probe_object(device: str, found: Probe) -> dict[str, Any]:
    """What a probe found, as JSON has it."""
    return {
        "device": device,
        "address": found.address,
        "raw": found.raw.hex(" "),
        "readings": [{"as": how, "value": value} for how, value in found.readings],
    }
