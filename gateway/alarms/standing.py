"""Which alarms are not normal: those that people see, and who was first on a device."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping
from typing import Any

from gateway.alarms.alarm import Alarm
from gateway.alarms.model import ORDER, Severity, State

STANDING = frozenset({State.UNACKNOWLEDGED, State.ACKNOWLEDGED, State.RETURNED, State.LATCHED})
"""States of an alarm that is not over; the first of its device is the first-out."""


class Standing:
    """Written by one thread at a time; `documents` and `counts` may be called from any."""

    def __init__(self) -> None:
        self._alarms: dict[str, Alarm] = {}
        self._of_device: defaultdict[str, set[Alarm]] = defaultdict(set)
        self._counted: dict[str, tuple[State, Severity]] = {}
        self._in: Counter[State | Severity] = Counter()
        """Alarms by state, and those whose condition holds by severity."""

    def note(self, alarm: Alarm) -> None:
        """Its state changed."""
        id_, device = alarm.rule.id, alarm.rule.device
        if alarm.state is State.NORMAL:
            self._alarms.pop(id_, None)
        else:
            self._alarms[id_] = alarm
        self._count(id_, alarm)
        if alarm.state in STANDING:
            self._of_device[device].add(alarm)
        elif alarm in self._of_device.get(device, ()):
            self._of_device[device].discard(alarm)
            if not self._of_device[device]:
                del self._of_device[device]

    def _count(self, id_: str, alarm: Alarm) -> None:
        if (before := self._counted.pop(id_, None)) is not None:
            self._in.subtract(_places(*before))
        if alarm.state is not State.NORMAL:
            self._counted[id_] = now = (alarm.state, alarm.rule.severity)
            self._in.update(_places(*now))

    def is_first(self, alarm: Alarm) -> bool:
        """Whether an alarm that is raised now is the first one of its device."""
        mates = self._of_device.get(alarm.rule.device, set())
        return alarm.first_out if alarm in mates else not mates

    def documents(self) -> list[Mapping[str, Any]]:
        """Of all, the most severe first, then the oldest."""
        documents = [alarm.document for alarm in list(self._alarms.values())]
        documents.sort(key=lambda d: (-ORDER[d["severity"]], d["since_ns"]))
        return documents

    def counts(self) -> dict[str, Any]:
        """In the shape of `alarmschemas.AlarmStatus`; `active` are those whose condition holds."""
        found = self._in
        unseen = (State.UNACKNOWLEDGED, State.RETURNED, State.LATCHED)
        return {
            "active": {severity.value: found[severity] for severity in reversed(ORDER)},
            "unacknowledged": sum(found[state] for state in unseen),
            "shelved": found[State.SHELVED],
            "suppressed": found[State.SUPPRESSED],
        }


def _places(state: State, severity: Severity) -> tuple[State | Severity, ...]:
    active = state in (State.UNACKNOWLEDGED, State.ACKNOWLEDGED)
    return (state, severity) if active else (state,)
