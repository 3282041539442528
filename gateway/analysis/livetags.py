"""Live tags: the newest value of a tag by its name, with its quality and its age checked."""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import NamedTuple

from gateway.errors import GatewayError
from gateway.latest import Latest
from gateway.model import Quality, Scalar, Table

LEAST_AGE_S = 5.0
AGE_INTERVALS = 3.0


def age_limit_s(interval_s: float) -> float:
    """Older values of a table are not judged where a rule does not say when."""
    return max(LEAST_AGE_S, AGE_INTERVALS * interval_s)


class Reading(NamedTuple):
    """What is known of a tag now.

    ``value`` is None where nothing is, and ``reason`` then says why: ``no_data`` (no row yet),
    ``stale``, ``clock`` (the row is of the future) or the reason why the tag is BAD. An UNCERTAIN
    value is a value: its ``reason`` is the mark's. A GOOD one has none, the empty text.
    """

    value: Scalar
    reason: str = ""


@dataclass(slots=True, frozen=True)
class LiveTag:
    """One column of one table, looked up once. Can be pickled, together with its table."""

    text: str
    """The name that it was found by, e.g. ``plc_1.process.speed_rpm``."""
    table: Table
    column: int
    _part: int = field(init=False, repr=False, compare=False)
    _index: int = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        part, index = self.table.position(self.column)
        object.__setattr__(self, "_part", part)
        object.__setattr__(self, "_index", index)

    @property
    def is_text(self) -> bool:
        """Whether its values are texts."""
        return self.table.kinds[self.column] == "str"

    def read(self, latest: Latest, now_ns: int, max_age_s: float) -> Reading:
        """Its newest value, unless that is BAD or further than ``max_age_s`` from now."""
        row = latest.get(self.table)
        if row is None:
            return Reading(None, "no_data")
        mark = None if row.marks is None else row.mark(self.column)
        if mark is not None and mark.quality is Quality.BAD:
            return Reading(None, mark.reason)
        age_s = (now_ns - row.time_ns) * 1e-9
        if not -max_age_s <= age_s <= max_age_s:
            return Reading(None, "stale" if age_s > 0 else "clock")
        values = row.parts[self._part]
        reason = "" if mark is None else mark.reason
        if isinstance(values, list):
            return Reading(values[self._index], reason)
        value: float | int | bool = values[self._index].item()
        if value.__class__ is float:
            if not math.isfinite(value):
                return Reading(None, "not_finite")
            if self.table.kinds[self.column] == "f4":
                value = float(str(values[self._index]))  # 45.2 is compared as 45.2
        return Reading(value, reason)


def resolve(text: str, tables: Iterable[Table]) -> LiveTag:
    """The tag of that name: ``device.table.tag``, or ``device.table.part.tag``.

    The part is a placed module or a channel. Names that have dots themselves are found too.
    GatewayError where there is no such tag, with the nearest one, or where there are two.
    """
    tables = list(tables)
    found: list[LiveTag] = []
    for table in tables:
        prefix = f"{table.device}.{table.key}."
        if text.startswith(prefix) and text[len(prefix) :] in table.columns:
            found.append(LiveTag(text, table, table.columns.index(text[len(prefix) :])))
    if len(found) == 1:
        return found[0]
    if found:
        places = " and ".join(f"tag '{_name(t)}' of {t.table.device}/{t.table.key}" for t in found)
        raise GatewayError(f"'{text}' is {places}; rename one of them")
    raise GatewayError(f"unknown tag '{text}'; {_hint(text, tables)}")


def _name(tag: LiveTag) -> str:
    return tag.table.columns[tag.column]


def _hint(text: str, tables: list[Table]) -> str:
    """The tag that was meant, sought as near as the name is right; else what there is."""
    devices = {t.device for t in tables}
    inside = [t for t in tables if text.startswith(f"{t.device}.{t.key}.")]
    if inside:
        table = max(inside, key=lambda t: len(t.key))
        start = f"{table.device}.{table.key}."
        known = [c for t in inside if t.key == table.key for c in t.columns]
        choice = _listed(f"tags of {table.device}/{table.key}", known)
        return _nearest(text, start, known) or choice
    if own := [d for d in devices if text.startswith(f"{d}.")]:
        device = max(own, key=len)
        choice = _listed(f"tables of '{device}'", (t.key for t in tables if t.device == device))
    elif near := _near(text.partition(".")[0], devices):
        device = near
        choice = f"did you mean the device '{device}'?"
    else:
        tags = (f"{t.device}.{t.key}.{text}" for t in tables if text in t.columns)
        choice = _listed("expected device.table.tag; devices", devices)
        return next((f"did you mean '{tag}'?" for tag in tags), choice)
    names = [f"{t.key}.{column}" for t in tables if t.device == device for column in t.columns]
    start = f"{device}."
    return _nearest(text if own else start + text.partition(".")[2], start, names) or choice


def _nearest(text: str, start: str, names: Iterable[str]) -> str | None:
    near = _near(text[len(start) :], names)
    return f"did you mean '{start}{near}'?" if near else None


def _near(word: str, known: Iterable[str]) -> str | None:
    lower = {name.lower(): name for name in known}
    near = difflib.get_close_matches(word.lower(), lower, 1, 0.6)
    return lower[near[0]] if near else None


def _listed(what: str, known: Iterable[str]) -> str:
    names = sorted(set(known))
    return f"{what}: {', '.join(names[:20]) or 'none'}{', ...' if len(names) > 20 else ''}"
