"""The nouns of alarms: state, severity, alarm, transition; and what others see of the engine.

Words of ANSI/ISA-18.2-2016 (IEC 62682): an alarm is active or has returned to normal, and is
acknowledged or not; beside that it can be shelved by a person for a time, or suppressed by design.
"""

from __future__ import annotations

import difflib
import enum
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from gateway.errors import GatewayError


class State(enum.StrEnum):
    """Where an alarm stands."""

    NORMAL = "normal"
    UNACKNOWLEDGED = "unacknowledged"
    """Active, and nobody has acknowledged it."""
    ACKNOWLEDGED = "acknowledged"
    """Active and acknowledged."""
    RETURNED = "returned"
    """The condition is gone, and nobody has acknowledged that it was there."""
    LATCHED = "latched"
    """The condition is gone; a latching alarm stays until a person resets it by acknowledging."""
    SHELVED = "shelved"
    """A person put it aside until a time; it comes back by itself."""
    SUPPRESSED = "suppressed"
    """By design: the machine's operating state or a flood keeps it quiet."""


class Severity(enum.StrEnum):
    """How urgent it is; the order is from least to most."""

    LOW = "low"
    MEDIUM = "medium"
    HIGH = "high"
    CRITICAL = "critical"


ORDER = {severity: place for place, severity in enumerate(Severity)}
"""Severity -> place from the least, 0, to the most."""


@dataclass(slots=True, frozen=True)
class Transition:
    """A change of an alarm's state, as it is stored, published and pushed."""

    number: int
    """Rises by one with every transition of this gateway; what `/ws/alarms` resumes from."""
    time_ns: int
    device: str
    alarm: str
    """Name of the rule, or ``rule.high`` where a rule has several limits."""
    severity: Severity
    from_state: State
    state: State
    condition: str
    """What was looked at, in words: ``high``, ``rate``, ``stale``, ``zone D``, ``expression``..."""
    message: str
    value: float | None = None
    limit: float | None = None
    unit: str = ""
    who: str = ""
    """Who acknowledged, shelved...; empty where the machine did it."""
    why: str = ""
    first_out: bool = False
    """The first active one of its device since all were normal."""
    notify: tuple[str, ...] | None = None
    """Names of the notifiers that are told; None: all. Empty: a flood keeps it from them."""

    @property
    def id(self) -> str:
        """The alarm's: ``device/alarm``."""
        return f"{self.device}/{self.alarm}"


class UnknownAlarm(GatewayError):
    """There is no alarm of that id; the text has the nearest one."""


def unknown_alarm(id_: str, known: Iterable[str]) -> UnknownAlarm:
    """The error for an id, with the nearest one or all that there are."""
    names = sorted(known)
    near = difflib.get_close_matches(id_, names, 1, 0.6)
    more = ", ..." if len(names) > 20 else ""
    hint = f"did you mean '{near[0]}'?" if near else f"alarms: {', '.join(names[:20])}{more}"
    return UnknownAlarm(f"unknown alarm '{id_}'; {hint if names else 'there are none'}")


class NotAllowed(GatewayError):
    """The alarm's state does not allow it (acknowledge what is normal...); says why."""


class Alarms(Protocol):
    """The engine as the API, the CLI and those who push see it. From any thread.

    `active`, `rules` and `history` give plain documents, ready for JSON; their shapes are in
    `gateway.api.alarmschemas`.
    """

    def active(self) -> Sequence[Mapping[str, Any]]:
        """All alarms that are not normal, the most severe first, then the oldest. No I/O."""

    def rules(self) -> Sequence[Mapping[str, Any]]:
        """All alarms with their rule, limits as they are now, state and value. No I/O."""

    def history(
        self, from_ns: int, to_ns: int, most: int, alarm: str | None = None
    ) -> Sequence[Mapping[str, Any]]:
        """Transitions from the alarm database, the newest first. Blocks."""

    def acknowledge(self, alarm: str, who: str, why: str) -> Transition:
        """Acknowledge by id. UnknownAlarm, NotAllowed. Blocks until it is on disk."""

    def shelve(self, alarm: str, for_s: float, who: str, why: str) -> Transition:
        """Put aside for so long. UnknownAlarm, NotAllowed. Blocks until it is on disk."""

    def unshelve(self, alarm: str, who: str, why: str) -> Transition:
        """Bring back. UnknownAlarm, NotAllowed. Blocks until it is on disk."""

    def captures(self) -> Sequence[Mapping[str, Any]]:
        """Stored windows around alarms: name, alarm id, time, bytes; the newest first. Blocks."""

    def capture(self, name: str) -> bytes:
        """One stored window as an ``.npz`` file. UnknownAlarm where there is none. Blocks."""

    def listen(self, listener: Callable[[Transition], None]) -> Callable[[], None]:
        """Be told of every transition, at once; the listener never waits and never raises.

        Returns what ends it.
        """

    def status(self) -> Mapping[str, Any]:
        """Counts for the status: active by severity, unacknowledged, shelved, flood, dropped."""
