"""The worker's status in Prometheus' text format, version 0.0.4."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, Literal

STATES: Final = ("good", "retrying", "blocked")

_METRICS: tuple[tuple[str, str, Literal["counter", "gauge"], str, str], ...] = (
    ("worker", "uptime_s", "gauge", "uptime_seconds", "Time since the start."),
    ("worker", "ready", "gauge", "ready", "1 while rows flow, as /readyz says."),
    ("redis", "streams", "gauge", "streams", "Streams that are read."),
    ("redis", "lag_entries", "gauge", "lag_entries", "Entries the group has not read yet."),
    ("redis", "pending_entries", "gauge", "pending_entries", "Read and not acknowledged."),
    ("redis", "dead_letters", "gauge", "dead_letters", "Dead letters of the group."),
    ("redis", "entries_in_hand", "gauge", "entries_in_hand", "Entries this worker has."),
    ("redis", "entries_read", "counter", "entries_read_total", "Entries read."),
    ("redis", "entries_claimed", "counter", "entries_claimed_total", "Taken over from others."),
    ("redis", "entries_settled", "counter", "entries_settled_total", "Entries acknowledged."),
    (
        *("redis", "entries_deleted", "counter", "entries_deleted_total"),
        "Deleted by somebody while they were pending: lost.",
    ),
    ("redis", "dead_letters_made", "counter", "dead_letters_made_total", "Dead letters made."),
    (
        *("redis", "dead_letters_dropped", "counter", "dead_letters_dropped_total"),
        "Dead letters that went because there were too many: lost.",
    ),
    ("sink", "rows_stored", "counter", "rows_stored_total", "Rows the sink confirmed as stored."),
    ("sink", "values_stored", "counter", "values_stored_total", "Values in those rows."),
    ("sink", "rows_rejected", "counter", "rows_rejected_total", "Rows refused for good."),
    ("sink", "rows_per_s", "gauge", "rows_per_second", "Rows stored a second, over 10 s."),
    ("sink", "last_stored_s", "gauge", "last_stored_age_seconds", "Since something was stored."),
    ("process", "cpu_s", "counter", "cpu_seconds_total", "CPU time spent."),
)


def render(status: Mapping[str, Any]) -> str:
    """The whole exposition; what is not known (None) is left out."""
    lines: list[str] = []
    labels = f'group="{status["worker"]["group"]}",worker="{status["worker"]["name"]}"'
    for part, key, kind, suffix, text in _METRICS:
        value = status[part].get(key)
        if value is None:
            continue
        name = f"gateway_writer_{suffix}"
        number = repr(value) if isinstance(value, float) else str(int(value))
        lines += [f"# HELP {name} {text}", f"# TYPE {name} {kind}", f"{name}{{{labels}}} {number}"]
    name = "gateway_writer_sink_state"
    lines += [f"# HELP {name} 1 for the state the sink is in.", f"# TYPE {name} gauge"]
    for state in STATES:
        is_it = int(status["sink"]["state"] == state)
        lines.append(f'{name}{{{labels},state="{state}"}} {is_it}')
    return "\n".join(lines) + "\n"
