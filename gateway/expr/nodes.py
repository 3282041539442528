"""What an expression computes: closures that give a value, or None where it is not known.

``and``, ``or`` and ``not`` follow the strong logic of S. C. Kleene (Introduction to
Metamathematics, 1952, section 64): they are decided where what is not known cannot matter. Types
are checked while compiling as far as the text tells them; later a wrong one gives None.
"""

from __future__ import annotations

import math
import operator
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Literal, NamedTuple, TypeAlias

from gateway.expr.tokens import ExpressionError, Token

MAX_DEPTH = 100
"""Deepest nesting, of parentheses and of operators of which one uses the other's result."""

LARGEST = sys.float_info.max
"""Larger numbers are not known: so no product or power can grow without a bound."""

Kind: TypeAlias = Literal["condition", "number", "text", "any"]
Values: TypeAlias = Mapping[str, Any]

COMPARISONS: dict[str, Callable[[Any, Any], Any]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
    "==": operator.eq,
    "!=": operator.ne,
}
_ARITHMETIC: dict[str, Callable[[Any, Any], Any]] = {
    "+": operator.add,
    "-": operator.sub,
    "*": operator.mul,
    "/": operator.truediv,
    "//": operator.floordiv,
    "%": operator.mod,
    "**": math.pow,  # Python's own has no bound for integers
}
FUNCTIONS = {
    "abs": (1, 1),
    "known": (1, 1),
    "max": (2, 20),
    "min": (2, 20),
    "round": (1, 2),
    "sqrt": (1, 1),
}
"""Name -> fewest and most operands."""

_COMPUTES: dict[str, Callable[..., Any]] = {"abs": abs, "max": max, "min": min, "sqrt": math.sqrt}
_CONDITION = "a condition such as x == 2"
_NUMBERS = frozenset({float, int})
_OTHERS = frozenset({bool, str})


class Node(NamedTuple):
    """A part of an expression; ``token`` is where it is blamed for what it is."""

    run: Callable[[Values], Any]
    kind: Kind
    token: Token
    depth: int = 1


def too_deep(token: Token) -> ExpressionError:
    """The error for nesting beyond MAX_DEPTH."""
    message = f"the expression is nested too deeply; expected at most {MAX_DEPTH} levels"
    return ExpressionError(message, token.column)


def constant(token: Token, value: float | str, kind: Kind) -> Node:
    """A value that is written down."""
    return Node(lambda _: value, kind, token)


def name(token: Token) -> Node:
    """The value of a name."""
    key = token.text

    def run(values: Values) -> Any:
        value = values.get(key)
        if value.__class__ in _NUMBERS:
            return value if -LARGEST <= value <= LARGEST else None  # type: ignore[operator]
        return value if value.__class__ in _OTHERS else None

    return Node(run, "any", token)


def arithmetic(token: Token, left: Node, right: Node) -> Node:
    """One of ``+ - * / // % **``."""
    return _computed(token, (left, right), _ARITHMETIC[token.text])


def sign(token: Token, operand: Node) -> Node:
    """A leading ``-`` or ``+``."""
    return _computed(token, (operand,), operator.neg if token.text == "-" else operator.pos)


def function(token: Token, operands: Sequence[Node]) -> Node:
    """A function that computes with numbers."""
    return _computed(token, operands, _COMPUTES[token.text])


def rounded(token: Token, operand: Node, digits: int | None) -> Node:
    """A rounded number: whole, or with so many digits after the point."""
    return _computed(token, (operand,), lambda number: round(number, digits))


def known(token: Token, operand: Node) -> Node:
    """Whether the operand is known: the one condition that always is."""
    inner = operand.run
    return _node(token, "condition", lambda values: inner(values) is not None, (operand,))


def negation(token: Token, operand: Node) -> Node:
    """``not``."""
    _refuse(operand, ("text", "number"), token, _CONDITION)
    inner = operand.run

    def run(values: Values) -> bool | None:
        value = inner(values)
        return None if value is None or value.__class__ is str else not value

    return _node(token, "condition", run, (operand,))


def junction(token: Token, operands: Sequence[Node]) -> Node:
    """``and`` or ``or`` of two or more."""
    for operand in operands:
        _refuse(operand, ("text", "number"), token, _CONDITION)
    runs = tuple(operand.run for operand in operands)
    decisive = token.text == "or"

    def run(values: Values) -> bool | None:
        out: bool | None = not decisive
        for operand in runs:
            value = operand(values)
            if value is None or value.__class__ is str:
                out = None
            elif bool(value) is decisive:
                return decisive
        return out

    return _node(token, "condition", run, operands)


def comparison(token: Token, first: Node, steps: Sequence[tuple[Token, Node]]) -> Node:
    """``a < b <= c``: each with its neighbour, and all of them together."""
    left = first
    for symbol, right in steps:
        _check_pair(symbol, left, right)
        left = right
    start = first.run
    chain = tuple((COMPARISONS[s.text], s.text in ("==", "!="), node.run) for s, node in steps)

    def run(values: Values) -> bool | None:
        left = start(values)
        out: bool | None = True
        for compare, takes_texts, operand in chain:
            right = operand(values)
            if left is None or right is None:
                out = None
            elif left.__class__ is str or right.__class__ is str:
                if not takes_texts or left.__class__ is not right.__class__:
                    out = None
                elif not compare(left, right):
                    return False
            elif not compare(left, right):
                return False
            left = right
        return out

    return _node(token, "condition", run, (first, *(node for _, node in steps)))


def membership(token: Token, left: Node, items: Sequence[Node], *, negated: bool) -> Node:
    """``x in (a, b)``: whether it equals one of them."""
    for item in items:
        for other in (left, items[0]):
            _check_pair(token._replace(text="in"), other, item)
    inner, runs = left.run, tuple(item.run for item in items)

    def run(values: Values) -> bool | None:
        value = inner(values)
        if value is None:
            return None
        out: bool | None = negated
        is_text = value.__class__ is str
        for item in runs:
            other = item(values)
            if other is None or (other.__class__ is str) is not is_text:
                out = None
            elif value == other:
                return not negated
        return out

    return _node(token, "condition", run, (left, *items))


def _node(token: Token, kind: Kind, run: Callable[[Values], Any], operands: Iterable[Node]) -> Node:
    depth = 1 + max(operand.depth for operand in operands)
    if depth > MAX_DEPTH:
        raise too_deep(token)
    return Node(run, kind, token, depth)


def _computed(token: Token, operands: Sequence[Node], compute: Callable[..., Any]) -> Node:
    """A number from numbers; true and false count as 1 and 0."""
    for operand in operands:
        _refuse(operand, ("text",), token, "a number")
    runs = tuple(operand.run for operand in operands)

    def run(values: Values) -> Any:
        numbers = [operand(values) for operand in runs]
        for number in numbers:
            if number is None or number.__class__ is str:
                return None
        try:
            out = compute(*numbers)
        except (ArithmeticError, ValueError):
            return None
        return out if -LARGEST <= out <= LARGEST else None

    return _node(token, "number", run, operands)


def _refuse(operand: Node, kinds: tuple[Kind, ...], operation: Token, expected: str) -> None:
    if operand.kind in kinds:
        message = f"a {operand.kind} has no meaning for {operation}; expected {expected}"
        raise ExpressionError(message, operand.token.column)


def _check_pair(token: Token, left: Node, right: Node) -> None:
    if token.text not in ("==", "!=", "in"):
        for operand in (left, right):
            _refuse(operand, ("text",), token, "a number; texts compare with '==' and '!='")
    elif "any" not in (left.kind, right.kind) and (left.kind == "text") != (right.kind == "text"):
        message = f"{token} compares a text with a number; expected two of one kind"
        raise ExpressionError(message, token.column)
