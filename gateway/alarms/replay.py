"""Runs rules over rows that were recorded, on their own time: `gateway alarms test`."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from gateway.alarms.alarm import Alarm
from gateway.alarms.board import Board, Now
from gateway.alarms.conditions import Stale
from gateway.alarms.model import Transition
from gateway.alarms.rules import AlarmPlan
from gateway.model import Row

STORED_EVERY_S = 90.0
"""A historian stores a value that did not change only now and then (`max_silence_s`)."""


class Replay:
    """A board of its own, without a past; `transitions` is what would have been told."""

    def __init__(self, plan: AlarmPlan) -> None:
        self.transitions: list[Transition] = []
        self.rows = 0
        self._plan = plan
        self._board = Board(self)
        self._first_ns: int | None = None
        self._s = 0.0

    def run(self, rows: Iterable[Row]) -> None:
        """Judge rows in the order of their time; one that is late is judged when it comes."""
        for row in rows:
            self._until(row.time_ns)
            self._board.put(row, Now(self._s, row.time_ns))
            self.rows += 1

    def end(self, time_ns: int) -> None:
        """Nothing more comes until then."""
        if self._first_ns is not None:
            self._until(time_ns)

    def _until(self, time_ns: int) -> None:
        if self._first_ns is None:
            self._first_ns = time_ns
            self._board.update(self._plan, Now(0.0, time_ns))
        first_ns = self._first_ns
        to_s = max(self._s, (time_ns - first_ns) / 1e9)
        while (due_s := self._board.next_look_s) is not None and due_s <= to_s:
            self._s = max(self._s, due_s)
            self._board.tick(Now(self._s, first_ns + round(self._s * 1e9)))
        self._s = to_s

    # -- as the observer of its board ---------------------------------------------------------

    def told(self, alarm: Alarm, transition: Transition) -> None:
        """An alarm's state would have changed."""
        self.transitions.append(transition)

    def changed(self, alarm: Alarm) -> None:
        """Nothing is kept."""

    def removed(self, alarm: str) -> None:
        """Nothing is kept."""


def for_history(plan: AlarmPlan) -> tuple[AlarmPlan, list[str]]:
    """The rules as they can be tried on what a historian stored; and the ids of those left out.

    It stores no row where nothing changed: silence says nothing there, and old values are good.
    """
    kept, left_out = [], []
    for rule in plan.rules:
        if isinstance(rule.condition, Stale):
            left_out.append(rule.id)
        else:
            kept.append(replace(rule, max_age_s=max(rule.max_age_s, STORED_EVERY_S)))
    return replace(plan, rules=kept), left_out
