"""All alarms of a gateway: judged row by row and by time, acted upon by people.

There is no thread, clock or I/O in here: `gateway.alarms.engine` gives them, and
`gateway alarms test` runs the same over what was recorded.
"""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple, Protocol

from gateway.alarms.alarm import Alarm, finite
from gateway.alarms.baseline import Learned
from gateway.alarms.conditions import Gone, live_tags
from gateway.alarms.flood import DEVICE, NAME, Flood, flood_rule
from gateway.alarms.looks import Looks
from gateway.alarms.machine import Machine
from gateway.alarms.model import NotAllowed, Severity, State, Transition, unknown_alarm
from gateway.alarms.newest import Newest
from gateway.alarms.rising import Rising
from gateway.alarms.rules import AlarmPlan, Rule
from gateway.alarms.standing import Standing
from gateway.alarms.words import Template
from gateway.analysis.ingested import Ingested
from gateway.model import Row, Table

log = logging.getLogger("gateway.alarms")

FLOOD_ID = f"{DEVICE}/{NAME}"


class Now(NamedTuple):
    """The clocks: monotonic seconds, and UTC in ns."""

    s: float
    ns: int


class Observer(Protocol):
    """Who is told by the board, at once and in order."""

    def told(self, alarm: Alarm, transition: Transition) -> None:
        """An alarm's state changed."""

    def changed(self, alarm: Alarm) -> None:
        """What lies beneath its state changed: it has to be kept, and is not told."""

    def removed(self, alarm: str) -> None:
        """There is no alarm of that id any more."""


class Board:
    """Not for two threads at a time, but for what `standing` tells."""

    def __init__(self, observer: Observer, number: int = 0) -> None:
        """``number``: of the last transition before."""
        self.alarms: dict[str, Alarm] = {}
        self.standing = Standing()
        self.number = number
        self.tables: frozenset[Table] = frozenset()
        """Tables whose rows are wanted."""
        self.ingested = Ingested()
        """Finds the tags that other programs send in rows of further tables."""
        self.faults = 0
        """Rules that failed, which is a bug."""
        self.flood: Flood | None = None
        self._disabled: frozenset[str] = frozenset()
        self._observer = observer
        self._view = Newest()
        self._of_table: dict[Table, tuple[tuple[Alarm, bool], ...]] = {}
        self._rising = Rising()
        self._looks = Looks()

    # -- rules --------------------------------------------------------------------------------

    def update(
        self, plan: AlarmPlan, now: Now, saved: Mapping[str, Mapping[str, Any]] | None = None
    ) -> None:
        """Have these rules. An alarm whose rule is the same goes on; else what it was is told.

        ``saved``: alarms of before the start, each with the ``print`` of its rule.
        """
        self._set(now, now.ns)
        saved = dict(saved or {})
        rules = list(plan.rules)
        if rules:
            if self.flood is None:
                self.flood = Flood(plan.flood)
            self.flood.configure(plan.flood)
            rules.append(flood_rule(self.flood, plan.flood))
        before, self.alarms = self.alarms, {}
        for rule in rules:
            alarm = before.pop(rule.id, None)
            if alarm is not None:
                is_another = alarm.exchange(rule)
            else:
                alarm = Alarm(rule, Machine())
                kept = saved.pop(rule.id, None)
                is_another = kept is not None and self._restore(alarm, kept, now)
            self.alarms[rule.id] = alarm
            if is_another:
                self._changed(alarm, why="its rule was changed")
            alarm.renew_document()
        for alarm in before.values():
            self._remove(alarm)
        for id_, kept in saved.items():
            self._remove_saved(id_, kept, now)
        self._index()
        for alarm in self.alarms.values():
            alarm.is_off = self._is_off(alarm)
            self._judge(alarm)

    def disable(self, devices: frozenset[str], now: Now) -> None:
        """These devices, and no others, are not asked: what looks only at them is suppressed."""
        self._disabled = devices
        self._set(now, now.ns)
        for alarm in self.alarms.values():
            is_off = self._is_off(alarm)
            if is_off is not alarm.is_off:
                alarm.is_off = is_off
                self._judge(alarm)

    def _is_off(self, alarm: Alarm) -> bool:
        """One that looks at other machines, too, must not be silent because one is off."""
        tags = alarm.rule.condition.tags
        return bool(tags) and all(tag.table.device in self._disabled for tag in tags)

    def _restore(self, alarm: Alarm, kept: Mapping[str, Any], now: Now) -> bool:
        """As it was; whether its rule is another one now."""
        try:
            alarm.restore(kept, now.s, now.ns)
        except (KeyError, ValueError, TypeError) as error:
            extra = {"alarm": alarm.rule.id, "error": repr(error)}
            log.warning("the kept state of an alarm is damaged; it begins anew", extra=extra)
            return False
        self.standing.note(alarm)
        if kept.get("print") == alarm.rule.print:
            return False
        alarm.machine.restart()
        return True

    def _remove(self, alarm: Alarm) -> None:
        if alarm.state is not State.NORMAL:
            alarm.machine.shelved = False
            alarm.machine.restart()
            self._changed(alarm, why="its rule was removed")
        self._observer.removed(alarm.rule.id)

    def _remove_saved(self, id_: str, kept: Mapping[str, Any], now: Now) -> None:
        """An alarm of before the start whose rule is not there any more."""
        device, _, name = id_.partition("/")
        try:
            condition = Gone(str(kept["condition"]))
            severity, unit = Severity(kept["severity"]), str(kept["unit"])
            rule = Rule(device, name, severity, condition, Template(()), id_, "", unit)
            alarm = Alarm(rule, Machine())
            alarm.restore(kept, now.s, now.ns)
        except (KeyError, ValueError, TypeError):
            self._observer.removed(id_)
            return
        self.standing.note(alarm)
        self._remove(alarm)

    def _index(self) -> None:
        of_table: defaultdict[Table, list[tuple[Alarm, bool]]] = defaultdict(list)
        wanted: set[Table] = set()
        for alarm in self.alarms.values():
            tables = alarm.rule.tables()
            own = {tag.table for tag in alarm.rule.condition.tags}
            for table in tables:
                of_table[table].append((alarm, table in own))
            wanted |= {tag.table for tag in live_tags(alarm.rule)}
        self._of_table = {table: tuple(alarms) for table, alarms in of_table.items()}
        self.tables = frozenset(wanted)
        self.ingested = Ingested(wanted)
        self._view.keep(self.tables)
        self._looks.keep(self.alarms.values())

    # -- what comes by itself -----------------------------------------------------------------

    def put(self, row: Row, now: Now) -> None:
        """A row came: judge what depends on it."""
        if self.ingested.wants(row.table):
            for own, old_s in self.ingested.rows(row, now.ns):
                self._put(own, now, old_s)
        else:
            self._put(row, now)

    def _put(self, row: Row, now: Now, old_s: float = 0.0) -> None:
        self._set(now, row.time_ns)
        view = self._view
        view.put(row, old_s)
        for alarm, is_own in self._of_table.get(row.table, ()):
            view.fresh = is_own
            self._judge(alarm)
        view.fresh = False

    def tick(self, now: Now) -> None:
        """Look at what is due by now."""
        for alarm in self._looks.due(now.s):
            self._set(now, now.ns)
            if alarm.shelf_end_s is not None and alarm.shelf_end_s <= now.s:
                self._unshelve(alarm, why="its time is over")
            self._judge(alarm)

    @property
    def next_look_s(self) -> float | None:
        """When `tick` is due next."""
        return self._looks.next_s

    def rule_document(self, alarm: Alarm, now_s: float) -> dict[str, Any]:
        """Its rule and how it stands; nobody looks when what is sent by others stops coming."""
        document = alarm.rule_document()
        if self._view.is_sent_and_old(alarm.rule, now_s):
            document |= {"value": None, "not_known": "stale"}
        return document

    def learning(self) -> Iterable[Alarm]:
        """Alarms whose baseline has learned of rows since it was last kept."""
        for alarm in self.alarms.values():
            memory = alarm.memory
            if isinstance(memory, Learned) and memory.count != memory.saved:
                memory.saved = memory.count
                yield alarm

    # -- what people do -----------------------------------------------------------------------

    def acknowledge(self, id_: str, who: str, why: str, now: Now) -> Transition:
        """UnknownAlarm, NotAllowed."""
        alarm = self._find(id_)
        self._allowed(alarm, alarm.machine.acknowledge)
        self._set(now, now.ns)
        alarm.who, alarm.why = who, why
        return self._move(alarm, who, why)

    def shelve(self, id_: str, for_s: float, who: str, why: str, now: Now) -> Transition:
        """Put aside, or for longer or shorter than it is; UnknownAlarm."""
        alarm = self._find(id_)
        self._set(now, now.ns)
        alarm.machine.shelve()
        alarm.shelved_for_s = for_s
        alarm.shelf_end_s = now.s + for_s
        alarm.shelved_until_ns = now.ns + round(for_s * 1e9)
        alarm.who, alarm.why = who, why
        transition = self._move(alarm, who, why)
        self._looks.schedule(alarm, now.s)
        return transition

    def unshelve(self, id_: str, who: str, why: str, now: Now) -> Transition:
        """UnknownAlarm, NotAllowed."""
        alarm = self._find(id_)
        self._set(now, now.ns)
        return self._unshelve(alarm, who, why)

    def _unshelve(self, alarm: Alarm, who: str = "", why: str = "") -> Transition:
        self._allowed(alarm, alarm.machine.unshelve)
        alarm.shelf_end_s = alarm.shelved_until_ns = None
        alarm.shelved_for_s = 0.0
        alarm.who = alarm.why = ""
        return self._move(alarm, who, why)

    def _find(self, id_: str) -> Alarm:
        alarm = self.alarms.get(id_)
        if alarm is None:
            raise unknown_alarm(id_, self.alarms)
        return alarm

    @staticmethod
    def _allowed(alarm: Alarm, event: Any) -> None:
        try:
            event()
        except NotAllowed as error:
            raise NotAllowed(f"alarm '{alarm.rule.id}': {error}") from None

    # -- inside -------------------------------------------------------------------------------

    def _set(self, now: Now, time_ns: int) -> None:
        view = self._view
        view.now_s, view.time_ns, view.fresh = now.s, time_ns, False

    def _judge(self, alarm: Alarm) -> None:
        if alarm.is_faulty:
            return
        try:
            changed = alarm.judge(self._view)
        except Exception:
            # one rule's bug may cost that rule, but no other
            alarm.is_faulty = True
            self.faults += 1
            log.exception("a rule failed and is not judged", extra={"alarm": alarm.rule.id})
            return
        if changed:
            self._changed(alarm, why="its device is disabled" if alarm.is_off else "")
        self._looks.schedule(alarm, self._view.now_s)

    def _changed(self, alarm: Alarm, why: str = "") -> None:
        """Tell what came of a judgement."""
        machine = alarm.machine
        was_active = alarm.active_since_ns is not None
        if machine.active and not was_active:
            alarm.active_since_ns = self._view.time_ns
            self._raised(alarm)
        elif not machine.active:
            alarm.active_since_ns = None
        if machine.state is alarm.state:
            self._observer.changed(alarm)  # shelved: it is followed beneath
            alarm.renew_document()
        else:
            self._move(alarm, "", why)

    def _raised(self, alarm: Alarm) -> None:
        verdict = alarm.verdict
        alarm.value, alarm.limit = finite(verdict.value), finite(verdict.limit)
        alarm.message = alarm.render(self._view)
        if alarm.machine.shelved:
            return
        alarm.who = alarm.why = ""
        alarm.capture = None
        alarm.first_out = self.standing.is_first(alarm)
        flood = self.flood
        if flood is None or alarm.rule.id == FLOOD_ID:
            return
        if flood.raised(self._view.now_s):
            its, view = self.alarms[FLOOD_ID], self._view
            fresh, view.fresh = view.fresh, False
            self._judge(its)
            view.fresh = fresh

    def _move(self, alarm: Alarm, who: str, why: str) -> Transition:
        """To the state where it is now: number it, and tell it."""
        rule, machine = alarm.rule, alarm.machine
        from_state, state = alarm.state, machine.state
        first_out = alarm.first_out
        value, limit = alarm.value, alarm.limit
        message = alarm.message
        if not machine.active and not who and alarm.verdict.holds is False:
            value = finite(alarm.verdict.value)  # with which it returned
            message = f"returned: {message}" if message else message
        if rule.id == FLOOD_ID and not machine.active and self.flood and not who:
            message = f"the alarm flood is over; not notified: {self.flood.held_back}"
        alarm.state = state
        if state is State.NORMAL:
            alarm.first_out = False
            alarm.who = alarm.why = alarm.message = ""
            alarm.value = alarm.limit = None
        self.standing.note(alarm)
        time_ns = self._rising.time_ns(rule.device, self._view.time_ns)
        self.number += 1
        alarm.number, alarm.since_ns = self.number, time_ns
        is_quiet = rule.id != FLOOD_ID and self._holds_back(rule.severity)
        transition = Transition(
            self.number,
            time_ns,
            rule.device,
            rule.alarm,
            rule.severity,
            from_state,
            state,
            rule.condition.word,
            message or rule.text,
            value,
            limit,
            rule.unit,
            who,
            why,
            first_out,
            () if is_quiet else rule.notify,
        )
        alarm.renew_document()
        self._observer.told(alarm, transition)
        return transition

    def _holds_back(self, severity: Severity) -> bool:
        """Whether a flood keeps it from notifiers: not where they may not be told of the flood."""
        its = self.alarms.get(FLOOD_ID)
        if self.flood is None or (its is not None and its.machine.shelved):
            return False
        return self.flood.holds_back(severity)
