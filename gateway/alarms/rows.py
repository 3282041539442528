"""Transitions as rows of table ``gateway_alarm``: one table for each device that has alarms."""

from __future__ import annotations

from gateway.alarms.conditions import live_tags
from gateway.alarms.model import Transition
from gateway.alarms.rules import AlarmPlan
from gateway.model import Column, Mark, Row, Table, bad, make_parts

NAME = "gateway_alarm"

_TEXTS = ("alarm", "severity", "from_state", "state", "condition", "message", "unit", "who", "why")
COLUMNS = (
    *(Column(name, "str") for name in _TEXTS),
    Column("value", "f8"),
    Column("limit", "f8"),
    Column("first_out", "b1"),
    Column("number", "i8", store_int=True),
)
_NONE = bad("no_value")
"""Of value and limit where the condition is about no number."""


class AlarmRows:
    """Makes the rows; for one thread at a time."""

    def __init__(self, gateway: str) -> None:
        self._gateway = gateway
        self._tables: dict[str, Table] = {}
        self._labels: dict[str, tuple[tuple[str, str], ...]] = {}

    def update(self, plan: AlarmPlan) -> None:
        """Take the labels of the devices from these rules; those that are the same stay."""
        labels: dict[str, tuple[tuple[str, str], ...]] = {}
        for rule in plan.rules:
            of_device = (t.table.labels for t in live_tags(rule) if t.table.device == rule.device)
            for its in of_device:
                users = tuple((k, v) for k, v in its if k not in ("module", "channel"))
                labels.setdefault(rule.device, users)
                break
        for device, its in labels.items():
            if self._labels.get(device) != its:
                self._tables.pop(device, None)
        self._labels |= labels

    def row_of(self, transition: Transition) -> Row:
        """The row of a transition."""
        device = transition.device
        table = self._tables.get(device)
        if table is None:
            bare = (("gateway", self._gateway), ("device", device))
            labels = self._labels.get(device, bare)
            table = self._tables[device] = Table(NAME, device, COLUMNS, labels)
        marks: dict[int, Mark] = {}
        values = []
        for index, name in enumerate(table.columns):
            value = getattr(transition, name)
            if value is None:
                marks[index] = _NONE
            values.append(value)
        return Row(table, transition.time_ns, make_parts(table, values), marks)
