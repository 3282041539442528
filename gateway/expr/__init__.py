"""The one expression language, of operating states and rules: ``running and 1450 < speed < 1550``.

Grammar: docs/expressions.md. No library fits: to simpleeval 1.0 and rule-engine 5.1 ``not`` of an
operand that is not known is true, cel-python 0.5 brings five packages, and Python's own parser
knows no odd names and alters others (``µ`` becomes ``μ``).
"""

from __future__ import annotations

from collections.abc import Mapping

from gateway.expr.nodes import MAX_DEPTH, Kind
from gateway.expr.parser import Parser
from gateway.expr.tokens import MAX_LENGTH, ExpressionError
from gateway.model import Scalar

__all__ = [
    "MAX_DEPTH",
    "MAX_LENGTH",
    "Expression",
    "ExpressionError",
    "Kind",
    "compile_expression",
]


class Expression:
    """A compiled expression: cheap to evaluate, from any thread. Can be pickled."""

    __slots__ = ("_run", "columns", "kind", "names", "text")

    def __init__(self, text: str) -> None:
        """ExpressionError where the text is no expression."""
        parser = Parser(text)
        node = parser.parse()
        self.text = text
        self.kind: Kind = node.kind
        """What it gives: a condition, a number, a text, or any where that depends on a name."""
        self.columns: Mapping[str, int] = parser.names
        """Name it uses, without backquotes -> where it stands first, in characters from 1."""
        self.names = tuple(parser.names)
        """The names in the order of their first use."""
        self._run = node.run

    def __repr__(self) -> str:
        return f"<Expression {self.text!r}>"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Expression) and self.text == other.text

    def __hash__(self) -> int:
        return hash(self.text)

    def __reduce__(self) -> tuple[type[Expression], tuple[str]]:
        return (type(self), (self.text,))

    def evaluate(self, values: Mapping[str, Scalar]) -> Scalar:
        """Its value; None where that is not known. Never raises.

        Not known are: a name without a value, a number that is not finite, and what cannot be
        computed (division by zero, overflow, a text where a number belongs).
        """
        value: Scalar = self._run(values)
        return value


def compile_expression(text: str) -> Expression:
    """Compile an expression; ExpressionError says what is wrong, where, and what was expected."""
    return Expression(text)
