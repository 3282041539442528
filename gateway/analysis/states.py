"""Operating states: which of a machine's states holds now, by rules on live tags."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

from gateway.analysis.livetags import LiveTag, resolve
from gateway.errors import GatewayError
from gateway.expr import Expression, ExpressionError, compile_expression
from gateway.latest import Latest
from gateway.model import Scalar, Table

UNKNOWN = "unknown"
"""The state where no rule holds before one that cannot be decided."""


@dataclass(slots=True, frozen=True)
class StateRules:
    """Rules in their order: the first that holds names the state. Can be pickled."""

    rules: tuple[tuple[str, Expression], ...]
    tags: tuple[tuple[str, LiveTag], ...]
    """Name in the rules -> tag."""
    otherwise: str
    """The state where every rule is known not to hold."""
    publish_in: frozenset[str] | None
    """States in which features are stored; None: in all."""
    max_age_s: float
    """A tag that is older is not known."""

    @classmethod
    def make(
        cls,
        rules: Mapping[str, str],
        inputs: Mapping[str, LiveTag],
        tables: Iterable[Table],
        otherwise: str,
        publish_in: Collection[str] | None,
        max_age_s: float,
    ) -> StateRules:
        """Compile the rules (state -> expression); their names are inputs or ``device.table.tag``.

        GatewayError tells all that is wrong, one fault a line.
        """
        tables = list(tables)
        known = {*rules, otherwise, UNKNOWN}
        strange = [name for name in publish_in or () if name not in known]
        faults = [f"unknown state '{name}'; {_hint(name, known)}" for name in strange]
        if UNKNOWN in rules:
            faults.append(f"'{UNKNOWN}' is what no rule decides; choose another name for the state")
        compiled: list[tuple[str, Expression]] = []
        tags: dict[str, LiveTag] = {}
        for state, text in rules.items():
            try:
                expression = _compile(text, inputs, tables, tags)
            except ExpressionError as error:
                faults.append(f"state '{state}', column {error.column}: {error}")
            else:
                compiled.append((state, expression))
        if faults:
            raise GatewayError("\n".join(faults))
        states = None if publish_in is None else frozenset(publish_in)
        return cls(tuple(compiled), tuple(tags.items()), otherwise, states, max_age_s)

    def evaluate(self, latest: Latest, now_ns: int) -> str:
        """The state now; ``unknown`` where a rule that comes first cannot be decided."""
        values: dict[str, Scalar] = {
            name: tag.read(latest, now_ns, self.max_age_s).value for name, tag in self.tags
        }
        for state, expression in self.rules:
            holds = expression.evaluate(values)
            if holds is None or isinstance(holds, str):
                return UNKNOWN
            if holds:
                return state
        return self.otherwise

    def publishes(self, state: str) -> bool:
        """Whether features are stored in this state; always where it is unknown."""
        return self.publish_in is None or state in self.publish_in or state == UNKNOWN


def _compile(
    text: str, inputs: Mapping[str, LiveTag], tables: list[Table], tags: dict[str, LiveTag]
) -> Expression:
    """The rule, its tags added to ``tags``."""
    expression = compile_expression(text)
    if expression.kind in ("number", "text"):
        message = f"a {expression.kind} is no rule; expected a condition such as speed > 1450"
        raise ExpressionError(message, 1)
    for name in expression.names:
        try:
            tags[name] = inputs[name] if name in inputs else resolve(name, tables)
        except GatewayError as error:
            near = difflib.get_close_matches(name, inputs, 1)
            message = f"unknown name '{name}'; did you mean '{near[0]}'?" if near else str(error)
            if "-" in text:
                message += " (names with '-' stand in backquotes)"
            raise ExpressionError(message, expression.columns[name]) from error
    return expression


def _hint(word: str, known: Iterable[str]) -> str:
    names = sorted(known)
    near = difflib.get_close_matches(word.lower(), names, 1, 0.6)
    return f"did you mean '{near[0]}'?" if near else f"states: {', '.join(names)}"
