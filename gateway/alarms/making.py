"""From the settings of rules to rules: tags are found, units and states checked, words compiled."""

from __future__ import annotations

import difflib
import json
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from hashlib import blake2b
from typing import Any, TypeVar

from gateway.alarms import kinds
from gateway.alarms.conditions import Condition
from gateway.alarms.model import Severity
from gateway.alarms.rules import Guard, Rule
from gateway.alarms.settings import DEFAULT_SEVERITY, EXTREME_SEVERITY, RuleConfig
from gateway.alarms.words import WORDS, parse
from gateway.analysis.livetags import LiveTag, age_limit_s, resolve
from gateway.analysis.states import UNKNOWN
from gateway.errors import GatewayError
from gateway.expr import Expression, ExpressionError, compile_expression
from gateway.model import Table

T = TypeVar("T")


class Told(Exception):
    """The fault has been told, or is another one's consequence."""


def digest(*parts: Any) -> str:
    """Hash of plain data."""
    text = json.dumps(parts, sort_keys=True, default=str)
    return blake2b(text.encode(), digest_size=8).hexdigest()


@dataclass(slots=True)
class RuleMaker:
    """Makes rules; what is wrong goes to ``fault(keys, message)``, keys below the rule's entry."""

    tables: Sequence[Table]
    states: Mapping[str, Collection[str]]
    """Device that streams -> its operating states."""
    broken: Callable[[str], bool] = lambda _: False
    """Whether a name is of a device that could not be made, which has been told."""
    fault: Callable[[tuple[str, ...], str], None] = lambda keys, message: None
    own: str | None = None
    """The device whose map has the rule: names are looked for there first."""
    _found: dict[str, LiveTag] = field(default_factory=dict)
    _of_device: dict[str, list[Table]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self._of_device:
            for table in self.tables:
                self._of_device.setdefault(table.device, []).append(table)

    def of(self, own: str | None, fault: Callable[[tuple[str, ...], str], None]) -> RuleMaker:
        """The same for the rules of a device's map, or of the gateway's file (None)."""
        found = self._found if own is None else {}
        return replace(self, own=own, fault=fault, _found=found)

    def make(self, name: str, config: RuleConfig) -> list[Rule]:
        """The rules of one entry; none where there is a fault."""
        try:
            return self._make(name, config)
        except Told:
            return []

    def _make(self, name: str, config: RuleConfig) -> list[Rule]:
        made = kinds.make(config, self)
        main = made[0].condition.tags[0]
        device = getattr(config, "device", None) or main.table.device
        guard = self._guard(config, main)
        message = self.attempt(
            ("message",), lambda: parse(config.message, self._message_tag)  # type: ignore[arg-type]
        ) if config.message is not None else None  # fmt: skip
        channel = self._channel(config, made[0].condition)
        rules = []
        for each in made:
            tables = {tag.table for tag in each.condition.tags}
            interval_s = max((t.interval_s for t in tables), default=0.0)
            shared = config.model_dump(
                mode="json", exclude={"message", "notify", "capture", *each.others}
            )
            tag_names = [(t.table.device, t.table.key, t.text) for t in each.condition.tags]
            rules.append(
                Rule(
                    device,
                    f"{name}.{each.suffix}" if each.suffix else name,
                    _severity(config, each.extreme),
                    each.condition,
                    message or parse(each.message, self._message_tag),
                    _in_words(config, each.text),
                    digest(shared, each.suffix, each.unit, tag_names),
                    each.unit,
                    guard,
                    config.on_delay_s,
                    config.off_delay_s,
                    config.latch,
                    config.max_age_s or age_limit_s(interval_s),
                    None if config.notify is None else tuple(config.notify),
                    config.capture,
                    channel,
                )
            )
        return rules

    # -- what the kinds use -------------------------------------------------------------------

    def attempt(self, keys: tuple[str, ...], work: Callable[[], T]) -> T:
        """Do it; a fault is told at the keys, and Told is raised."""
        try:
            return work()
        except ExpressionError as error:
            self.fault(keys, f"column {error.column}: {error}")
        except (GatewayError, ValueError) as error:
            for line in str(error).split("\n"):
                self.fault(keys, line)
        raise Told

    def tag(self, text: str, *keys: str) -> LiveTag:
        """The tag of that name, of the rule's own device or by its whole name."""
        return self.attempt(keys, lambda: self.find(text))

    def find(self, text: str) -> LiveTag:
        """The tag; GatewayError where there is none, Told where its device could not be made."""
        bare = text.replace("`", "")
        if bare in self._found:
            return self._found[bare]
        if self.own is not None:
            tables = self._of_device.get(self.own, [])
            try:
                self._found[bare] = found = resolve(f"{self.own}.{bare}", tables)
            except GatewayError as error:
                if not self._named(bare):
                    if self.broken(self.own) or self.broken(bare) or "{" in bare:
                        raise Told from None
                    raise GatewayError(str(error)) from None
            else:
                return found
        if self.broken(bare) or "{" in bare:
            raise Told
        # the devices that it begins with; all, where it is wrong, to say what is near
        self._found[bare] = found = resolve(bare, self._named(bare) or self.tables)
        return found

    def _named(self, text: str) -> list[Table]:
        """The tables of the devices whose name the text begins with."""
        parts = text.split(".")
        names = (".".join(parts[:end]) for end in range(1, len(parts)))
        return [table for name in names for table in self._of_device.get(name, ())]

    def number_tag(self, text: str, unit: str | None = None) -> LiveTag:
        """The tag of key ``tag``, which has to be a number, in that unit if one is said."""
        tag = self.tag(text, "tag")
        if tag.is_text:
            self.fault(("tag",), f"'{text}' is a text; expected a number")
            raise Told
        its = tag.table.units[tag.column]
        if unit is not None and unit != its:
            has = f"'{its}'" if its else "none"
            self.fault(("unit",), f"'{unit}' is not the unit of '{tag.text}'; it has {has}")
            raise Told
        return tag

    def expression(
        self, text: str, keys: tuple[str, ...], inputs: Mapping[str, LiveTag]
    ) -> tuple[Expression, tuple[tuple[str, LiveTag], ...]]:
        """A condition and its tags by name."""

        def build() -> tuple[Expression, tuple[tuple[str, LiveTag], ...]]:
            expression = compile_expression(text)
            if expression.kind in ("number", "text"):
                raise ValueError(f"a {expression.kind} is no condition; expected e.g. speed > 1450")
            named = []
            for name in expression.names:
                try:
                    named.append((name, inputs[name] if name in inputs else self.find(name)))
                except GatewayError as error:
                    near = difflib.get_close_matches(name, inputs, 1)
                    hint = f"unknown name '{name}'; did you mean '{near[0]}'?" if near else error
                    raise ExpressionError(str(hint), expression.columns[name]) from error
            return expression, tuple(named)

        return self.attempt(keys, build)

    # -- what all rules have ------------------------------------------------------------------

    def _message_tag(self, name: str) -> LiveTag:
        try:
            return self.find(name)
        except GatewayError as error:
            near = difflib.get_close_matches(name, WORDS, 1, 0.7)
            if near:
                raise ValueError(f"unknown {{{name}}}; did you mean {{{near[0]}}}?") from error
            raise ValueError(f"{{{name}}}: {error}; or one of {', '.join(WORDS)}") from error

    def _guard(self, config: RuleConfig, main: LiveTag) -> Guard | None:
        if config.states is None and config.while_ is None:
            return None
        state = None
        if config.states is not None:
            device = main.table.device
            known = sorted({*self.states.get(device, ()), UNKNOWN} - {UNKNOWN})
            if not known or "state" not in main.table.columns:
                self.fault(
                    ("states",),
                    f"'{device}' has no operating states; use `while:` with a condition",
                )
                raise Told
            for index, name in enumerate(config.states):
                if name not in known:
                    near = difflib.get_close_matches(name.lower(), known, 1, 0.6)
                    hint = f"did you mean '{near[0]}'?" if near else f"states: {', '.join(known)}"
                    self.fault(("states", str(index)), f"unknown state '{name}'; {hint}")
                    raise Told
            state = LiveTag("state", main.table, main.table.columns.index("state"))
        expression: Expression | None = None
        named: tuple[tuple[str, LiveTag], ...] = ()
        if config.while_ is not None:
            inputs = self.inputs(config)
            expression, named = self.expression(config.while_, ("while",), inputs)
        return Guard(tuple(config.states or ()), state, expression, named)

    def inputs(self, config: RuleConfig) -> dict[str, LiveTag]:
        """The tags of ``inputs``."""
        given: Mapping[str, str] = getattr(config, "inputs", {})
        return {name: self.tag(text, "inputs", name) for name, text in given.items()}

    def _channel(self, config: RuleConfig, condition: Condition) -> LiveTag | None:
        if config.capture is None:
            return None
        for tag in condition.tags:
            if tag.table.channel is not None:
                return tag
        self.fault(("capture",), "none of its tags is of a channel that streams; remove it")
        raise Told


def _severity(config: RuleConfig, extreme: bool) -> Severity:
    if config.severity is not None:
        return Severity(config.severity)
    return EXTREME_SEVERITY if extreme else DEFAULT_SEVERITY


def _in_words(config: RuleConfig, text: str) -> str:
    parts = [text]
    if config.on_delay_s:
        parts.append(f"for {config.on_delay_s:g} s")
    if config.states:
        parts.append(f"in {_listed(config.states)}")
    if config.while_:
        parts.append(f"while {config.while_}")
    if config.off_delay_s:
        parts.append(f"returns after {config.off_delay_s:g} s")
    if config.latch:
        parts.append("latches")
    return ", ".join(parts)


def _listed(names: Iterable[str]) -> str:
    return " or ".join(names)
