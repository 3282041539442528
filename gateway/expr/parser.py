"""From tokens to what computes: precedence climbing, operators bind as in Python."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable

from gateway.expr import nodes
from gateway.expr.nodes import COMPARISONS, FUNCTIONS, LARGEST, MAX_DEPTH, Node, too_deep
from gateway.expr.tokens import ExpressionError, Token, split

_OR, _AND, _NOT, _COMPARISON, _SUM, _PRODUCT, _SIGN, _POWER = range(1, 9)
_BINDING = {
    "or": _OR,
    "and": _AND,
    **dict.fromkeys(("not", "in", *COMPARISONS), _COMPARISON),
    **dict.fromkeys("+-", _SUM),
    **dict.fromkeys(("*", "/", "//", "%"), _PRODUCT),
    "**": _POWER,
}
"""How tightly an operator binds that stands after its first operand."""


class Parser:
    """Reads one expression."""

    def __init__(self, text: str) -> None:
        self.names: dict[str, int] = {}
        """Name -> column of its first use."""
        self._tokens = split(text)
        self._at = 0
        self._nesting = 0

    def parse(self) -> Node:
        """The whole text as one expression."""
        node = self._expression(_OR)
        if self._next.kind != "end":
            raise self._misplaced("expected an operator or the end")
        return node

    @property
    def _next(self) -> Token:
        return self._tokens[self._at]

    @property
    def _strength(self) -> int:
        """How tightly the next token binds as an operator; 0 where it is none."""
        token = self._next
        return _BINDING.get(token.text, 0) if token.kind in ("symbol", "word") else 0

    def _take(self, *texts: str) -> Token | None:
        token = self._next
        if token.kind not in ("symbol", "word") or token.text not in texts:
            return None
        self._at += 1
        return token

    def _need(self, text: str) -> None:
        if self._take(text) is None:
            raise self._misplaced(f"expected '{text}'")

    def _misplaced(self, expected: str) -> ExpressionError:
        token, before = self._next, self._tokens[max(self._at - 1, 0)]
        if token.text == "," and before.kind == "number":
            expected += "; decimals have a point: 1.5"
        elif token.kind == "name" and before.kind == "number":
            expected += "; numbers have no unit, and odd names stand in backquotes: `press-1`"
        elif token.kind == "number" and before.kind == "name":
            expected += "; odd names stand in backquotes: `press-1`"
        elif token.kind == "name" and (near := _near(token.text, ("and", "or", "not", "in"))):
            expected = f"did you mean '{near}'?"
        what = (
            "the expression ends too early" if token.kind == "end" else f"{token} does not fit here"
        )
        return ExpressionError(f"{what}; {expected}", token.column)

    def _expression(self, binding: int) -> Node:
        """All that binds at least so tightly."""
        self._nesting += 1
        if self._nesting > MAX_DEPTH:
            raise too_deep(self._next)
        left = self._operand(binding)
        while (strength := self._strength) >= binding:
            if strength == _COMPARISON:
                left = self._comparison(left)
            elif strength <= _AND:
                left = self._junction(left, strength)
            else:
                token = self._next
                self._at += 1
                right = self._expression(_SIGN if strength == _POWER else strength + 1)
                left = nodes.arithmetic(token, left, right)
        self._nesting -= 1
        return left

    def _operand(self, binding: int) -> Node:
        token = self._next
        if binding <= _NOT and self._take("not"):
            return nodes.negation(token, self._expression(_NOT))
        if self._take("-", "+"):
            return nodes.sign(token, self._expression(_SIGN))
        if self._take("("):
            inner = self._expression(_OR)
            self._need(")")
            return inner
        if self._take("true", "True", "false", "False"):
            return nodes.constant(token, token.text in ("true", "True"), "condition")
        if token.kind not in ("number", "text", "name"):
            raise self._misplaced("expected a name, a number or a text")
        self._at += 1
        if token.kind == "number":
            return nodes.constant(token, _number(token), "number")
        if token.kind == "text":
            return nodes.constant(token, token.text[1:-1], "text")
        if self._take("("):
            return self._call(token)
        self.names.setdefault(token.text, token.column)
        return nodes.name(token)

    def _list(self) -> list[Node]:
        """What follows an opening parenthesis, up to the closing one."""
        items = [self._expression(_OR)]
        while self._take(","):
            items.append(self._expression(_OR))
        self._need(")")
        return items

    def _call(self, token: Token) -> Node:
        if token.text not in FUNCTIONS:
            near = _near(token.text, FUNCTIONS)
            hint = f"did you mean '{near}'?" if near else f"expected {', '.join(FUNCTIONS)}"
            raise ExpressionError(f"unknown function {token}; {hint}", token.column)
        operands = [] if self._take(")") else self._list()
        fewest, most = FUNCTIONS[token.text]
        if not fewest <= len(operands) <= most:
            expected = f"{fewest}" if fewest == most else f"{fewest} to {most}"
            message = f"{token} has {len(operands)} operands; expected {expected}"
            raise ExpressionError(message, token.column)
        if token.text == "known":
            return nodes.known(token, operands[0])
        if token.text == "round":
            return nodes.rounded(token, operands[0], _digits(operands[1:]))
        return nodes.function(token, operands)

    def _junction(self, left: Node, strength: int) -> Node:
        token, operands = self._next, [left]
        while self._take(token.text):
            operands.append(self._expression(strength + 1))
        return nodes.junction(token, operands)

    def _comparison(self, left: Node) -> Node:
        token = self._next
        negated = self._take("not") is not None
        if self._take("in"):
            self._need("(")
            node = nodes.membership(token, left, self._list(), negated=negated)
        elif negated:
            raise self._misplaced("expected 'in'")
        else:
            steps: list[tuple[Token, Node]] = []
            while sign := self._take(*COMPARISONS):
                steps.append((sign, self._expression(_SUM)))
            node = nodes.comparison(token, left, steps)
        if self._strength == _COMPARISON:
            raise self._misplaced("expected 'and' between two comparisons")
        return node


def _near(word: str, known: Iterable[str]) -> str | None:
    near = difflib.get_close_matches(word.lower(), known, 1, 0.6)
    return near[0] if near else None


def _number(token: Token) -> float:
    number = int(token.text) if token.text.isdigit() else float(token.text)
    if number > LARGEST:
        raise ExpressionError(f"{token} is too large; expected less than 1.8e308", token.column)
    return number


def _digits(operands: list[Node]) -> int | None:
    """What `round` keeps after the point. Not computed: 1e9 digits would take hours."""
    if not operands:
        return None
    token = operands[0].token
    if token.kind != "number" or not re.fullmatch(r"[0-9]|1[0-5]", token.text):
        message = f"{token} is no number of digits; expected a whole number from 0 to 15"
        raise ExpressionError(message, token.column)
    return int(token.text)
