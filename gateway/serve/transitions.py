"""Transitions of all gateways in one order, the same on every node: Redis numbers them.

An entry of the stream ``transitions`` has an id of milliseconds and a place among those of the same
one. The number made of it rises with each, and fits what JavaScript holds exactly; so a client that
lost its node goes on at another one with the last number that it has.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

import orjson

from gateway.alarms.model import Severity, State, Transition
from gateway.serve.names import fleet_name

KEPT: Final = 10_000
PLACES: Final = 1_000
"""Most in one millisecond that get numbers of their own; Redis does not take as many."""


class Entry(NamedTuple):
    """One transition."""

    gateway: str
    own_number: int
    """As its gateway counts."""
    document: dict[str, Any]
    """In the shape of `alarmschemas.AlarmTransition`, with its names among all gateways."""


def number_of(id_: bytes) -> int:
    """The number of an entry of the stream."""
    ms, _, place = id_.partition(b"-")
    return int(ms) * PLACES + min(int(place or 0), PLACES - 1)


def number_at(time_ns: int) -> int:
    """What the number of a transition was about, of which only the time is known."""
    return time_ns // 1_000_000 * PLACES


def entry_of(id_: bytes, fields: Mapping[bytes, bytes]) -> Entry | None:
    """A transition; None for what is none."""
    try:
        gateway = fields[b"g"].decode()
        document = orjson.loads(fields[b"t"])
        own_number = int(document["number"])
        shown = of_fleet(gateway, document)
        as_transition({**shown, "number": 0})  # raises where something of it is missing
    except (KeyError, TypeError, ValueError, AttributeError):
        return None
    return Entry(gateway, own_number, {**shown, "number": number_of(id_)})


def of_fleet(gateway: str, document: Mapping[str, Any]) -> dict[str, Any]:
    """An alarm or a transition with its names among all gateways."""
    device = fleet_name(gateway, str(document["device"]))
    return {**document, "device": device, "id": fleet_name(gateway, str(document["id"]))}


def as_transition(document: Mapping[str, Any]) -> Transition:
    """A document as what the engine would tell. KeyError, TypeError or ValueError."""
    return Transition(
        int(document["number"]),
        int(document["time_ns"]),
        str(document["device"]),
        str(document["alarm"]),
        Severity(document["severity"]),
        State(document["from_state"]),
        State(document["state"]),
        str(document["condition"]),
        str(document["message"]),
        document.get("value"),
        document.get("limit"),
        str(document.get("unit") or ""),
        str(document.get("who") or ""),
        str(document.get("why") or ""),
        bool(document.get("first_out")),
    )


class Log:
    """The newest transitions, oldest first; each once, also where it was sent again."""

    def __init__(self) -> None:
        self._entries: deque[Entry] = deque(maxlen=KEPT)
        self._known: dict[tuple[str, int, int], int] = {}
        """Number by gateway, its own number, and time."""

    def add(self, entry: Entry) -> bool:
        """Take one; False where it is known."""
        key = (entry.gateway, entry.own_number, int(entry.document["time_ns"]))
        if key in self._known:
            return False
        if len(self._entries) == KEPT:
            old = self._entries[0]
            self._known.pop((old.gateway, old.own_number, int(old.document["time_ns"])), None)
        self._entries.append(entry)
        self._known[key] = entry.document["number"]
        return True

    def find(self, gateway: str, own_number: int, time_ns: int) -> int | None:
        """The number of a transition."""
        return self._known.get((gateway, own_number, time_ns))

    def newest(self) -> list[Entry]:
        """All, the newest first. From any thread."""
        return list(self._entries)[::-1]
