"""How each device does of which other programs send rows: whether they still come, as declared."""

from __future__ import annotations

import time
from collections.abc import Collection, Iterable, Mapping
from typing import Any

from gateway.analysis.livetags import age_limit_s
from gateway.device import count_bad
from gateway.ingest.declared import SentDeviceConfig
from gateway.latest import Latest
from gateway.model import Table
from gateway.terminal import duration


def by_device(
    tables: Iterable[Table], declared: Collection[str] = ()
) -> dict[str, list[Table]]:  # fmt: skip
    """Device -> its tables; those that are declared are there before anything comes."""
    found: dict[str, list[Table]] = {name: [] for name in declared}
    for table in tables:
        found.setdefault(table.device, []).append(table)
    return found


def interval_s(declared: SentDeviceConfig | None, table: Table) -> float:
    """The declared interval of a table; 0 where nothing says when the next row comes."""
    its = declared.tables.get(table.key) if declared is not None else None
    return 0.0 if its is None else its.interval_s


def sent_states(
    tables: Iterable[Table], declared: Mapping[str, SentDeviceConfig], latest: Latest
) -> dict[str, dict[str, Any]]:
    """Device -> state, reason, newest_s, tags and tags_bad; see `api.schemas.SentDeviceStatus`."""
    now_ns = time.time_ns()
    return {
        name: _state(its, declared.get(name), latest, now_ns)
        for name, its in by_device(tables, declared).items()
    }


def _state(
    tables: list[Table], declared: SentDeviceConfig | None, latest: Latest, now_ns: int
) -> dict[str, Any]:
    newest_ns: dict[str, int] = {}
    tags_bad = 0
    for table in tables:
        row = latest.get(table)
        if row is not None:
            newest_ns[table.key] = max(newest_ns.get(table.key, 0), row.time_ns)
            tags_bad += count_bad(row)
    expected = declared.tables if declared is not None else {}
    silent: list[str] = []
    for key, its in expected.items():
        last_ns = newest_ns.get(key)
        if last_ns is None:
            silent.append(f"{key}: nothing came yet")
        elif (old_s := abs(now_ns - last_ns) / 1e9) > age_limit_s(its.interval_s):
            side = "ago" if now_ns > last_ns else "ahead of this gateway's clock"
            silent.append(f"{key}: the newest row is of {duration(old_s)} {side}")
    state = "degraded" if silent or tags_bad else "good"
    if silent and len(silent) == len(expected):
        state = "stale" if newest_ns else "connecting"
    newest = max(newest_ns.values(), default=None)
    return {
        "state": state,
        "reason": "; ".join(silent[:5]) or None,
        "newest_s": None if newest is None else round((now_ns - newest) / 1e9, 3),
        "tags": sum(len(table.columns) for table in tables),
        "tags_bad": tags_bad,
    }
