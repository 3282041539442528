"""One alarm: its rule, its state with the delays, and what is told of it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from gateway.alarms.baseline import Deviation, Learned
from gateway.alarms.conditions import Bad, Condition, Verdict
from gateway.alarms.machine import Machine
from gateway.alarms.model import State
from gateway.alarms.newest import Newest
from gateway.alarms.rules import Rule
from gateway.model import Scalar

AGAIN_S = 0.001
"""A look that came a rounding error too early is repeated after this."""

NOT_JUDGED = Verdict(None, why="not judged yet")


@dataclass(slots=True, eq=False)
class Alarm:
    """One rule over time. `time`s are UTC in ns, what ends in ``_s`` is of the monotonic clock."""

    rule: Rule
    machine: Machine = field(default_factory=Machine)
    state: State = State.NORMAL
    """As it was told last."""
    memory: Any = None
    verdict: Verdict = NOT_JUDGED
    since_ns: int = 0
    active_since_ns: int | None = None
    first_out: bool = False
    number: int = 0
    message: str = ""
    value: float | None = None
    limit: float | None = None
    who: str = ""
    """Who acknowledged or shelved it, while that holds."""
    why: str = ""
    shelved_until_ns: int | None = None
    shelved_for_s: float = 0.0
    shelf_end_s: float | None = None
    capture: str | None = None
    is_off: bool = False
    """All that it looks at is of devices that are disabled: it is not judged, by design."""
    is_faulty: bool = False
    """Its rule failed, which is a bug and was logged."""
    scheduled_s: float | None = None
    """When the board looks at it next."""
    document: Mapping[str, Any] = field(default_factory=dict)
    """In the shape of `alarmschemas.ActiveAlarm`; never changed, only replaced."""
    _pending_s: float | None = None
    _unknown_s: float | None = None
    """Since when it is not known whether the condition holds; None: it is."""

    def __post_init__(self) -> None:
        self.machine.latch = self.rule.latch
        self.memory = self.rule.condition.begin()
        self.renew_document()

    # -- judging ------------------------------------------------------------------------------

    def judge(self, view: Newest) -> bool:
        """Judge by what is known now; whether its state, or what lies beneath it, changed."""
        rule, machine = self.rule, self.machine
        if self.is_off:
            return self._suppress("its device is disabled")
        view.max_age_s = rule.max_age_s
        if rule.guard is not None:
            is_open = rule.guard.open(view)
            if is_open is None:
                return False
            if not is_open:
                return self._suppress()
        was_suppressed = machine.suppressed
        if was_suppressed:
            machine.suppress(False)
        condition: Condition = rule.condition
        verdict = condition.judge(view, self.memory, active=machine.active)
        self.verdict = verdict
        holds = verdict.holds
        now_s = view.now_s
        if holds is None:
            if self._unknown_s is None:
                self._unknown_s = now_s
            return was_suppressed
        if self._unknown_s is not None:
            if now_s - self._unknown_s > rule.max_age_s:
                self._pending_s = None  # not known for so long is a break
            self._unknown_s = None
        if holds is machine.active:
            self._pending_s = None
            return was_suppressed
        if self._pending_s is None:
            self._pending_s = now_s
        if now_s < self._pending_s + (rule.on_delay_s if holds else rule.off_delay_s):
            return was_suppressed
        self._pending_s = None
        if holds:
            machine.raised()
        else:
            machine.cleared()
        return True

    def _suppress(self, why: str = "suppressed") -> bool:
        machine = self.machine
        if machine.suppressed:
            return False
        machine.suppress(True)
        self._pending_s = None
        self.verdict = Verdict(None, why=why)
        if not isinstance(self.memory, Learned):  # a window must not reach over the pause
            self.memory = self.rule.condition.begin()
        return True

    def look_at_s(self, now_s: float) -> float | None:
        """When to look again although no row comes; None: never."""
        due = self.shelf_end_s
        if self.machine.suppressed:
            return due
        rule = self.rule
        if self._pending_s is not None:
            delay_s = rule.off_delay_s if self.machine.active else rule.on_delay_s
            due = _earliest(due, max(self._pending_s + delay_s, now_s + AGAIN_S))
        look = rule.condition.look_at_s(self.memory)
        if look is not None:
            if look > now_s:
                due = _earliest(due, look)
            elif self._pending_s is None and not self.machine.active:
                due = _earliest(due, now_s + AGAIN_S)
        return due

    def exchange(self, rule: Rule) -> bool:
        """Go on by this rule; whether it is another one, so that the alarm begins anew."""
        is_same = rule.print == self.rule.print
        self.rule = rule
        self.machine.latch = rule.latch
        if is_same:
            return False
        memory = rule.condition.begin()
        old = self.memory
        if not (isinstance(old, Learned) and isinstance(memory, Learned)
                and old.print == memory.print):  # fmt: skip
            self.memory = memory
        self.verdict = NOT_JUDGED
        self._pending_s = None
        self.is_faulty = False
        self.machine.restart()
        return True

    # -- what is told -------------------------------------------------------------------------

    def render(self, view: Newest) -> str:
        """The message, with the values that are known now."""
        rule, verdict = self.rule, self.verdict
        tags = rule.condition.tags
        words: dict[str, Scalar] = {
            "value": verdict.value,
            "limit": verdict.limit,
            "unit": rule.unit,
            "tag": tags[0].text if tags else "",
            "device": rule.device,
            "alarm": rule.alarm,
            "condition": rule.condition.word,
            "state": self.machine.inner.value,
            "severity": rule.severity.value,
        }
        text = rule.message.render(words, view.read)
        if not verdict.why:
            return text
        is_bad = isinstance(rule.condition, Bad)
        return f"{text}: {verdict.why}" if is_bad else f"{text} (UNCERTAIN: {verdict.why})"

    def renew_document(self) -> None:
        """After a change."""
        rule = self.rule
        self.document = {
            "id": rule.id,
            "device": rule.device,
            "alarm": rule.alarm,
            "severity": rule.severity,
            "state": self.state,
            "condition": rule.condition.word,
            "message": self.message,
            "value": self.value,
            "limit": self.limit,
            "unit": rule.unit,
            "since_ns": self.since_ns,
            "active_since_ns": self.active_since_ns,
            "first_out": self.first_out,
            "number": self.number,
            "shelved_until_ns": self.shelved_until_ns,
            "acknowledged_by": self.who,
            "why": self.why,
            "latch": rule.latch,
            "capture": self.capture,
        }

    def rule_document(self) -> dict[str, Any]:
        """In the shape of `alarmschemas.AlarmRule`."""
        rule, verdict = self.rule, self.verdict
        condition = rule.condition
        baseline = None
        if isinstance(condition, Deviation) and self.memory.done:
            baseline = self.memory.mean
        limit = verdict.limit if verdict.limit is not None else getattr(condition, "limit", None)
        return {
            "id": rule.id,
            "device": rule.device,
            "alarm": rule.alarm,
            "severity": rule.severity,
            "state": self.state,
            "condition": condition.word,
            "text": rule.text,
            "tags": [_name(tag) for tag in condition.tags],
            "value": finite(verdict.value),
            "limit": finite(limit),
            "unit": rule.unit,
            "on_delay_s": rule.on_delay_s,
            "off_delay_s": rule.off_delay_s,
            "hysteresis": getattr(condition, "hysteresis", 0.0),
            "states": list(rule.guard.states) or None if rule.guard else None,
            "baseline": baseline,
            "latch": rule.latch,
            "not_known": verdict.why if verdict.holds is None else "",
        }

    # -- what outlives a restart --------------------------------------------------------------

    def saved(self) -> dict[str, Any]:
        """All that is to be kept, ready for JSON."""
        rule = self.rule
        document = {
            "print": rule.print,
            "severity": rule.severity,
            "condition": rule.condition.word,
            "unit": rule.unit,
            "inner": self.machine.inner,
            "shelved": self.machine.shelved,
            "suppressed": self.machine.suppressed,
            "shelved_for_s": self.shelved_for_s,
            **{key: getattr(self, key) for key in _KEPT},
        }
        if isinstance(self.memory, Learned) and self.memory.count:
            document["learned"] = {key: getattr(self.memory, key) for key in _LEARNED}
        return document

    def restore(self, saved: Mapping[str, Any], now_s: float, now_ns: int) -> None:
        """As it was when it was saved; KeyError, ValueError or TypeError where that is damaged."""
        inner = State(saved["inner"])
        if inner in (State.SHELVED, State.SUPPRESSED):
            raise ValueError(f"'{inner}' lies beneath nothing")
        values = {key: saved[key] for key in _KEPT}
        for_s, until_ns = float(saved["shelved_for_s"]), values["shelved_until_ns"]
        shelf_end_s = None
        if saved["shelved"]:
            # not longer than was asked for, wherever the wall clock went meanwhile
            left_s = min(for_s, max(0.0, (int(until_ns) - now_ns) / 1e9))
            shelf_end_s = now_s + left_s
        its = self.memory
        learned = saved.get("learned")
        if learned and isinstance(its, Learned) and learned["print"] == its.print:
            for key in _LEARNED:
                setattr(its, key, learned[key])
            its.saved = its.count
        machine = self.machine
        machine.inner = inner
        machine.shelved, machine.suppressed = bool(saved["shelved"]), bool(saved["suppressed"])
        for key, value in values.items():
            setattr(self, key, value)
        self.shelved_for_s, self.shelf_end_s = for_s, shelf_end_s
        self.state = machine.state
        self.renew_document()


_KEPT = ("since_ns", "active_since_ns", "first_out", "number", "message", "value", "limit", "who",
         "why", "shelved_until_ns", "capture")  # fmt: skip
_LEARNED = ("print", "count", "mean", "squares", "first_ns", "last_ns", "done")


def finite(value: float | None) -> float | None:
    """The number, None where it is none."""
    return value if value is not None and math.isfinite(value) else None


def _earliest(first: float | None, second: float) -> float:
    return second if first is None else min(first, second)


def _name(tag: Any) -> str:
    return f"{tag.table.device}.{tag.table.key}.{tag.table.columns[tag.column]}"
