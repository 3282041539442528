"""Rules over a small machine, judged on a clock that only the test moves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from gateway.alarms.alarm import Alarm
from gateway.alarms.board import Board, Now
from gateway.alarms.making import RuleMaker
from gateway.alarms.model import State, Transition
from gateway.alarms.rules import AlarmPlan, Rule
from gateway.alarms.settings import RULES, FloodConfig
from gateway.model import Column, Mark, Quality, Row, Table, bad, bad_row, make_parts

START_NS = 1_795_000_000_000_000_000
START_S = 1000.0


def process_table(device: str = "press_1", interval_s: float = 1.0) -> Table:
    columns = [
        Column("force", "f4", "kN"),
        Column("temperature", "f8", "degC"),
        Column("closed", "b1"),
        Column("recipe", "str"),
        Column("state", "str"),
    ]
    labels = [("gateway", "hall-3"), ("device", device), ("line", "forming")]
    return Table("process", device, columns, labels, "process", interval_s)


def other_table(device: str = "press_1") -> Table:
    labels = [("gateway", "hall-3"), ("device", device)]
    return Table("totals", device, [Column("strokes", "i8")], labels, "totals", 5.0)


def make_rules(
    tables: Sequence[Table],
    rules: Mapping[str, Mapping[str, Any]],
    states: Mapping[str, Sequence[str]] | None = None,
) -> list[Rule]:
    """The rules of these settings; fails with what is wrong with them."""
    faults: list[str] = []
    maker = RuleMaker(
        tables, states or {}, fault=lambda keys, text: faults.append(f"{'.'.join(keys)}: {text}")
    )
    made = [
        rule
        for name, given in rules.items()
        for rule in maker.make(name, RULES[given["kind"]].model_validate(given))
    ]
    assert not faults, faults
    return made


class Hall:
    """A board whose clocks stand still until the test moves them."""

    def __init__(
        self,
        rules: Mapping[str, Mapping[str, Any]],
        *,
        tables: Sequence[Table] | None = None,
        flood: FloodConfig | None = None,
        states: Mapping[str, Sequence[str]] | None = None,
    ) -> None:
        self.process = process_table()
        self.totals = other_table()
        self.tables = list(tables or (self.process, self.totals))
        self.states = states
        self.now = Now(START_S, START_NS)
        self.log: list[Transition] = []
        self.kept: dict[str, dict[str, Any]] = {}
        self.flood = flood or FloodConfig.model_validate({"alarms": 100_000})
        self.board = Board(self)
        self.update(rules)

    # -- what a board tells -------------------------------------------------------------------

    def told(self, alarm: Alarm, transition: Transition) -> None:
        self.log.append(transition)
        self.kept[alarm.rule.id] = alarm.saved()

    def changed(self, alarm: Alarm) -> None:
        self.kept[alarm.rule.id] = alarm.saved()

    def removed(self, alarm: str) -> None:
        self.kept.pop(alarm, None)

    # -- what happens -------------------------------------------------------------------------

    def plan(self, rules: Mapping[str, Mapping[str, Any]]) -> AlarmPlan:
        return AlarmPlan(make_rules(self.tables, rules, self.states), self.flood)

    def update(self, rules: Mapping[str, Mapping[str, Any]]) -> None:
        self.board.update(self.plan(rules), self.now)

    def restart(self, rules: Mapping[str, Mapping[str, Any]], after_s: float = 10.0) -> None:
        """Another run, which has only what was kept; the monotonic clock begins anew."""
        number = self.board.number
        self.now = Now(3.0, self.now.ns + round(after_s * 1e9))
        self.board = Board(self, number)
        self.board.update(self.plan(rules), self.now, dict(self.kept))

    def wait(self, seconds: float) -> None:
        """Time passes; what is due meanwhile is looked at when it is due."""
        end = Now(self.now.s + seconds, self.now.ns + round(seconds * 1e9))
        looks = 0
        while (due_s := self.board.next_look_s) is not None and due_s <= end.s:
            at_s = max(due_s, self.now.s)
            self.now = Now(at_s, self.now.ns + round((at_s - self.now.s) * 1e9))
            self.board.tick(self.now)
            looks += 1
            assert looks < 10_000, "it looks again and again"
        self.now = end
        self.board.tick(end)

    def step_clock(self, seconds: float) -> None:
        """The wall clock is set; the monotonic one goes on."""
        self.now = Now(self.now.s, self.now.ns + round(seconds * 1e9))

    def row(
        self,
        force: float | None = 100.0,
        temperature: float = 20.0,
        *,
        closed: bool = True,
        recipe: str = "tile-30",
        state: str = "running",
        marks: dict[int, Mark] | None = None,
        after_s: float = 1.0,
        table: Table | None = None,
    ) -> list[Transition]:
        """A row of the process, ``after_s`` later; what it made of the alarms."""
        self.wait(after_s)
        before = len(self.log)
        marks = dict(marks or {})
        if force is None:
            marks[0] = bad("address")
        values = [0.0 if force is None else force, temperature, closed, recipe, state]
        row = Row(table or self.process, self.now.ns, make_parts(self.process, values), marks)
        self.board.put(row, self.now)
        return self.log[before:]

    def strokes(self, strokes: int) -> list[Transition]:
        """A row of the other table."""
        before = len(self.log)
        self.board.put(Row(self.totals, self.now.ns, make_parts(self.totals, [strokes])), self.now)
        return self.log[before:]

    def lost(self, after_s: float = 1.0) -> list[Transition]:
        """The connection is gone."""
        self.wait(after_s)
        before = len(self.log)
        self.board.put(bad_row(self.process, self.now.ns, "timeout"), self.now)
        return self.log[before:]

    def acknowledge(self, alarm: str, who: str = "anna", why: str = "seen") -> Transition:
        return self.board.acknowledge(alarm, who, why, self.now)

    def shelve(self, alarm: str, for_s: float = 60.0, who: str = "anna") -> Transition:
        return self.board.shelve(alarm, for_s, who, "being mended", self.now)

    def state(self, alarm: str) -> State:
        return self.board.alarms[alarm].state

    def changes(self) -> list[str]:
        """The log in short: ``force.high normal>unacknowledged``."""
        return [f"{t.alarm} {t.from_state}>{t.state}" for t in self.log]


class Silent:
    """Is told, and does nothing."""

    def told(self, alarm: Alarm, transition: Transition) -> None: ...

    def changed(self, alarm: Alarm) -> None: ...

    def removed(self, alarm: str) -> None: ...


def uncertain(reason: str = "cpu_stop") -> Mark:
    return Mark(Quality.UNCERTAIN, reason)
