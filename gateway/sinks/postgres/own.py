"""Alarms, losses, events and actions: the gateway's own tables, each row a line of its own."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from psycopg.types.json import Jsonb

from gateway.model import Selected
from gateway.sinks.postgres.arrays import MAX_INT, clean
from gateway.sinks.postgres.client import Connection

COLUMNS: Final[dict[str, tuple[str, ...]]] = {
    "gateway_alarm": (
        *("alarm", "severity", "from_state", "state", "condition", "message", "unit", "who"),
        *("why", "value", "limit", "first_out", "number"),
    ),
    "gateway_loss": (
        *("sink", "device_lost", "table_lost", "first_ns", "last_ns", "rows", "cause", "detail"),
    ),
    "gateway_event": ("event", "about", "detail"),
    "gateway_audit": ("who", "via", "peer", "action", "about", "why", "ok", "error"),
}
"""What the schema knows of each; anything else goes into ``more``."""


def store_own(db: Connection, name: str, rows: Sequence[tuple[int, Selected]]) -> None:
    """Store rows of one of those tables, each with the number of its source; known ones stay."""
    columns = COLUMNS[name]
    quoted = ", ".join(f'"{column}"' for column in columns)
    marks = ", ".join(["%s"] * len(columns))
    db.cursor().executemany(
        f"INSERT INTO {name} (source_id, time_ns, {quoted}, more)"
        f" VALUES (%s, %s, {marks}, %s) ON CONFLICT DO NOTHING",
        [_line(source_id, selected, columns) for source_id, selected in rows],
    )


def _line(source_id: int, selected: Selected, columns: Sequence[str]) -> list[Any]:
    given = {name: _value(value) for name, value, _ in selected.row.items() if value is not None}
    known = [given.pop(column, None) for column in columns]
    return [source_id, selected.row.time_ns, *known, Jsonb(given) if given else None]


def _value(value: Any) -> Any:
    if isinstance(value, str):
        return clean(value)
    return str(value) if type(value) is int and value > MAX_INT else value
