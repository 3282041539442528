"""What `gateway top` shows: asked of the running gateway, and made into cells of tables."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, NamedTuple

from gateway.commands.live import value_line, worst_first
from gateway.commands.values import quality, shown
from gateway.model import OWN_TABLES
from gateway.terminal import count, duration, number, printable, size

if TYPE_CHECKING:
    from gateway.api.client import Client

NOTHING = ""
"""As the device of whose values are asked: of none."""

ASK_S = 3.0
"""A gateway that does not answer for so long is shown as away."""

_NOT_FOUND = 404


@dataclass(frozen=True, slots=True)
class Frame:
    """The gateway at one moment, as its API says."""

    status: dict[str, Any]
    values: list[dict[str, Any]]
    """`gateway.api.valueschemas.TagValue` of the device that was asked for, or of all; only tags,
    not what the gateway says of itself."""
    alarms: list[dict[str, Any]]
    """The alarms that are not normal; empty where the gateway has no rules."""


def ask(client: Client, device: str | None) -> Frame:
    """Ask once. ``device`` None: values of all; NOTHING: of none. Raises as `Client.get_json`."""
    status = client.get_json("/v1/status", timeout_s=ASK_S)
    values: list[dict[str, Any]] = []
    if device is None or device in status["devices"]:
        latest = _found(client, "/v1/latest", {"device": device}).get("values", [])
        values = [value for value in latest if value["table"] not in OWN_TABLES]
    return Frame(status, values, _found(client, "/v1/alarms").get("alarms", []))


def _found(
    client: Client, path: str, params: Mapping[str, str | None] | None = None
) -> dict[str, Any]:
    """An answer; empty where there is none: no row yet, or a gateway without that route."""
    from gateway.api.client import RequestFailed

    try:
        answer: dict[str, Any] = client.get_json(path, params, timeout_s=ASK_S)
    except RequestFailed as error:
        if error.status != _NOT_FOUND:
            raise
        return {}
    return answer


class Cell(NamedTuple):
    """Text without control characters; ``state`` is the word that decides its colour."""

    text: str
    state: str = ""


class Line(NamedTuple):
    """A line of a table; the key stays when its numbers change."""

    key: str
    cells: tuple[Cell, ...]


DEVICE_COLUMNS = ("DEVICE", "STATE", "TAGS", "BAD", "LATE MS", "ERRORS", "SINCE")
VALUE_COLUMNS = ("DEVICE/TABLE", "TAG", "VALUE", "QUALITY", "TIME")
ALARM_COLUMNS = ("SEVERITY", "STATE", "DEVICE", "ALARM", "SINCE")
SINK_COLUMNS = ("SINK", "STATE", "STORED", "WAITING", "AGE", "REFUSED", "LOST")


def _line(key: str, *cells: str | Cell) -> Line:
    return Line(key, tuple(c if isinstance(c, Cell) else Cell(printable(c)) for c in cells))


def _number_or_dash(value: float | None) -> str:
    return f"{value:,}" if value else "-"


def device_lines(status: Mapping[str, Any]) -> list[Line]:
    """One line a device, the worst first."""
    return [
        _line(
            name,
            name,
            Cell(device["state"], device["state"]),
            f"{device['tags']:,}",
            _number_or_dash(device["tags_bad"]),
            number(device["lateness_ms"]["p99"], 3),
            _number_or_dash(device["errors"]),
            "-" if device["since_s"] is None else duration(device["since_s"]),
        )
        for name, device in worst_first(status["devices"])
    ]


def device_text(
    name: str, status: Mapping[str, Any], values: Iterable[Mapping[str, Any]]
) -> list[str]:
    """What there is to say of one device: its connection, and its bad tags with their reasons."""
    device = status["devices"].get(name)
    if device is None:
        return []
    lines = [
        f"{name}: {device['state']}" + (f": {device['reason']}" if device["reason"] else ""),
        f"{device['driver']} {device['endpoint'] or '(no address)'}, "
        f"{count(device['polls'], 'poll')}, "
        f"reading takes {number(device['read_ms']['p50'], 3)} ms, "
        f"late at most {number(device['lateness_ms']['max'], 3)} ms",
    ]
    bad = [v for v in values if v["quality"] == "BAD" and v["labels"].get("device") == name]
    by_reason: dict[str, list[str]] = {}
    for value in bad:
        by_reason.setdefault(quality(value), []).append(_tag(value))
    lines += [f"{reason}: {', '.join(tags)}" for reason, tags in by_reason.items()]
    return [printable(line) for line in lines]


def _where(value: Mapping[str, Any]) -> str:
    labels = value["labels"]
    part = labels.get("module") or labels.get("channel")
    table = f"{value['table']}.{part}" if part else value["table"]
    return f"{labels.get('device', '')}/{table}"


def _tag(value: Mapping[str, Any]) -> str:
    return f"{_where(value).partition('/')[2]}.{value['tag']}"


def value_lines(
    values: Iterable[Mapping[str, Any]], search: str, most: int
) -> tuple[list[Line], int]:
    """The values whose place, tag or quality has all the words, at most so many; and how many."""
    words = search.lower().split()
    lines: list[Line] = []
    found = 0
    for value in values:
        where, mark = _where(value), quality(value)
        text = f"{where} {value['tag']} {mark}".lower()
        if not all(word in text for word in words):
            continue
        found += 1
        if found > most:
            continue
        unit = f" {value['unit']}" if value["unit"] and value["value"] is not None else ""
        lines.append(
            _line(
                _key(value),
                _cut(where, 24),
                _cut(value["tag"], 18),
                _cut(f"{shown(value['value'])}{unit}", 18),
                Cell(printable(mark), value["quality"]),
                _clock(value["time_ns"]),
            )
        )
    return lines, found


def value_text(key: str, values: Iterable[Mapping[str, Any]]) -> list[str]:
    """One value in full, with its time."""
    return [value_line(value) for value in values if _key(value) == key]


def _key(value: Mapping[str, Any]) -> str:
    return f"{_where(value)} {value['tag']}"


def _cut(text: str, most: int) -> str:
    """The text without its middle where it is longer: names differ at their ends."""
    safe = printable(text)
    half = (most - 1) // 2
    return safe if len(safe) <= most else f"{safe[: most - 1 - half]}…{safe[-half:]}"


def _clock(time_ns: int) -> str:
    return datetime.fromtimestamp(time_ns / 1e9).strftime("%H:%M:%S.%f")[:-5]


def sink_lines(status: Mapping[str, Any]) -> list[Line]:
    """One line a sink, the worst first."""
    return [
        _line(
            name,
            name,
            Cell(sink["state"], sink["state"]),
            f"{sink['rows_stored']:,}",
            _number_or_dash(sink["pending_rows"]),
            duration(sink["spool_age_s"]) if sink["spool_age_s"] else "-",
            _number_or_dash(sink["rows_rejected"]),
            _number_or_dash(sink["rows_lost"]),
        )
        for name, sink in worst_first(status["sinks"])
    ]


def sink_text(name: str, status: Mapping[str, Any]) -> list[str]:
    """What there is to say of one sink, and what was lost on the way to any of them."""
    lines = []
    sink = status["sinks"].get(name)
    if sink is not None:
        lines.append(f"{name}: {sink['state']}" + (f": {sink['error']}" if sink["error"] else ""))
        stored_s = sink["last_stored_s"]
        last = "nothing stored yet" if stored_s is None else f"stored {duration(stored_s)} ago"
        spool = f", spool {size(sink['spool_bytes'])}" if sink["spool_bytes"] else ""
        letters = sink.get("dead_letters")
        refused = f", {count(letters, 'dead letter')}" if letters else ""
        lines.append(f"{sink['type']}, {last}{spool}{refused}")
    lost = {cause: rows for cause, rows in status["losses"].items() if rows}
    said = ", ".join(f"{count(rows, 'row')} by {cause}" for cause, rows in lost.items())
    lines.append(f"Lost since the start: {said or 'nothing'}")
    return [printable(line) for line in lines]


SEVERITY_STATES = {"low": "uncertain", "medium": "uncertain", "high": "bad", "critical": "bad"}
"""Severity -> the state whose colour it takes."""


def alarm_lines(alarms: Iterable[Mapping[str, Any]]) -> list[Line]:
    """One line an alarm, in the order of the gateway: the most severe first."""
    return [
        _line(
            alarm["id"],
            Cell(alarm["severity"], SEVERITY_STATES.get(alarm["severity"], "bad")),
            alarm["state"],
            alarm["device"],
            alarm["alarm"],
            duration(round(max(time.time_ns() - alarm["since_ns"], 0) / 1e9)),
        )
        for alarm in alarms
    ]


def alarm_text(key: str, alarms: Iterable[Mapping[str, Any]]) -> list[str]:
    """What there is to say of one alarm."""
    for alarm in alarms:
        if alarm["id"] == key:
            lines = [alarm["message"]]
            facts = [f"{alarm['condition']}"]
            if alarm["value"] is not None:
                facts.append(f"value {number(alarm['value'])} {alarm['unit']}".rstrip())
            if alarm["limit"] is not None:
                facts.append(f"limit {number(alarm['limit'])} {alarm['unit']}".rstrip())
            if alarm["first_out"]:
                facts.append("the first of its device")
            if alarm["shelved_until_ns"] is not None:
                facts.append(f"shelved until {_clock(alarm['shelved_until_ns'])}")
            lines.append(", ".join(facts))
            if alarm["acknowledged_by"]:
                lines.append(f"by {alarm['acknowledged_by']}: {alarm['why']}")
            return [printable(line) for line in lines]
    return [] if key else ["All alarms are normal, or this gateway has none."]
