"""Rules as the engine takes them: checked, their tags found; they can be pickled."""

from __future__ import annotations

from dataclasses import dataclass, field

from gateway.alarms.conditions import Condition, View, live_tags, rebound
from gateway.alarms.model import Severity
from gateway.alarms.settings import (
    CaptureConfig,
    CapturesConfig,
    FloodConfig,
    HistoryConfig,
)
from gateway.alarms.words import Template
from gateway.analysis.livetags import LiveTag
from gateway.analysis.states import UNKNOWN
from gateway.expr import Expression
from gateway.model import Scalar, Table


@dataclass(slots=True, frozen=True)
class Guard:
    """When a rule is judged: in some operating states, and while an expression holds."""

    states: tuple[str, ...] = ()
    state: LiveTag | None = None
    """The column that has the operating state, where `states` says anything."""
    expression: Expression | None = None
    named: tuple[tuple[str, LiveTag], ...] = ()

    def open(self, view: View) -> bool | None:
        """Whether the rule is judged now; None where that is not known."""
        holds: bool | None = True
        if self.state is not None:
            state = view.read(self.state).value
            if state is None or state == UNKNOWN:
                holds = None
            elif state not in self.states:
                return False
        if self.expression is not None:
            values: dict[str, Scalar] = {n: view.read(tag).value for n, tag in self.named}
            found = self.expression.evaluate(values)
            if found is None or isinstance(found, str):
                return None
            if not found:
                return False
        return holds


@dataclass(slots=True, frozen=True)
class Rule:
    """One alarm to be: a rule with several limits makes several."""

    device: str
    alarm: str
    severity: Severity
    condition: Condition
    message: Template
    text: str
    """The rule in words."""
    print: str
    """Hash of all that it is judged by: where it is another one, the alarm begins anew."""
    unit: str = ""
    """Of value and limit."""
    guard: Guard | None = None
    on_delay_s: float = 0.0
    off_delay_s: float = 0.0
    latch: bool = False
    max_age_s: float = 5.0
    notify: tuple[str, ...] | None = None
    """Notifiers that are told; None: all."""
    capture: CaptureConfig | None = None
    channel: LiveTag | None = None
    """A tag of the channel whose raw samples are stored."""

    @property
    def id(self) -> str:
        """``device/alarm``."""
        return f"{self.device}/{self.alarm}"

    def tables(self) -> list[Table]:
        """The tables whose rows it depends on, that of its first tag first."""
        looked_at = (self.condition, self.guard)
        return list(dict.fromkeys(tag.table for tag in live_tags(looked_at)))


@dataclass(slots=True)
class AlarmPlan:
    """All rules of a gateway, and how alarms are kept."""

    rules: list[Rule] = field(default_factory=list)
    flood: FloodConfig = field(default_factory=lambda: FloodConfig.model_validate({}))
    history: HistoryConfig = field(default_factory=lambda: HistoryConfig.model_validate({}))
    captures: CapturesConfig = field(default_factory=lambda: CapturesConfig.model_validate({}))

    def bind(self, tables: dict[tuple[str, str], Table]) -> None:
        """Read the tags from these tables, by (device, key)."""
        self.rules = [rebound(rule, tables) for rule in self.rules]

    def prints(self) -> dict[str, str]:
        """Alarm id -> hash of its rule."""
        return {rule.id: rule.print for rule in self.rules}
