"""Properties of expressions: they never raise, agree with Python, and stay small."""

from __future__ import annotations

import math
import string
import sys
import time
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.expr import MAX_LENGTH, Expression, ExpressionError, compile_expression
from gateway.model import Scalar

NAMES = ("a", "b", "c")
FLAGS = ("p", "q")

scalars: st.SearchStrategy[Scalar] = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.integers(min_value=10**300, max_value=10**310),
    st.floats(),
    st.text("ab1 ", max_size=5),
)
values = st.dictionaries(st.sampled_from(NAMES + FLAGS), scalars)


def _numbers(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    signs = st.sampled_from(["+", "-", "*", "/", "//", "%", "**"])
    return st.one_of(
        st.tuples(inner, signs, inner).map(" ".join),
        st.tuples(st.sampled_from(["-", "+", "abs", "sqrt", "round"]), inner).map(
            lambda t: f"{t[0]}({t[1]})"
        ),
        st.tuples(st.sampled_from(["min", "max"]), inner, inner).map(
            lambda t: f"{t[0]}({t[1]}, {t[2]})"
        ),
        inner.map(lambda text: f"({text})"),
        inner.map(lambda text: f"-{text}"),
    )


# not so small that a quotient is infinite, for Python goes on with that
literals = st.integers(0, 9999).map(str) | st.floats(0, 1e6).map(lambda x: repr(round(x, 3)))
numbers = st.recursive(literals | st.sampled_from(NAMES), _numbers, max_leaves=6)
compares = st.sampled_from(["<", "<=", ">", ">=", "==", "!="])
comparisons = st.one_of(
    st.sampled_from([*FLAGS, "true", "false"]),
    st.tuples(numbers, compares, numbers).map(" ".join),
    st.tuples(numbers, compares, numbers, compares, numbers).map(" ".join),
    st.tuples(numbers, st.sampled_from([" in", " not in"]), numbers, numbers).map(
        lambda t: f"{t[0]}{t[1]} ({t[2]}, {t[3]})"
    ),
)
conditions = st.recursive(
    comparisons,
    lambda inner: st.one_of(
        st.tuples(inner, st.sampled_from(["and", "or"]), inner).map(" ".join),
        inner.map(lambda text: f"not {text}"),
        inner.map(lambda text: f"({text})"),
    ),
    max_leaves=6,
)


@given(conditions | numbers, values)
def test_evaluating_never_raises(text: str, given: dict[str, Scalar]) -> None:
    compiled = compile_expression(text)
    found = compiled.evaluate(given)
    if compiled.kind != "any":  # a name alone may give a text
        assert not isinstance(found, str)
    if isinstance(found, int | float):
        assert abs(found) <= sys.float_info.max


def _python(text: str, names: dict[str, Scalar]) -> Scalar:
    """What Python makes of the same text; the powers are those of floating point."""
    allowed: dict[str, Callable[..., object]] = {
        "abs": abs, "max": max, "min": min, "round": round, "sqrt": math.sqrt,
    }  # fmt: skip
    known = {"__builtins__": {}, "true": True, "false": False, **allowed}
    answer: Scalar = eval(text, known, dict(names))
    return answer


small = st.integers(-99, 99) | st.floats(-1e3, 1e3).map(lambda x: round(x, 3))


@settings(max_examples=400)
@given(
    conditions.filter(lambda text: "**" not in text),
    st.fixed_dictionaries({**dict.fromkeys(NAMES, small), **dict.fromkeys(FLAGS, st.booleans())}),
)
def test_where_all_is_known_it_agrees_with_python(text: str, given: dict[str, Scalar]) -> None:
    found = compile_expression(text).evaluate(given)
    try:
        expected = _python(text, given)
    except (ArithmeticError, ValueError):
        return  # Python may stop early where we are not decided, and the other way round
    if found is not None:
        assert found is expected
    else:  # an operand that Python did not look at
        assert any(sign in text for sign in ("/", "%", "sqrt"))


@settings(max_examples=300)
@given(numbers, st.fixed_dictionaries(dict.fromkeys(NAMES, small)))
def test_numbers_agree_with_python(text: str, given: dict[str, Scalar]) -> None:
    found = compile_expression(text).evaluate(given)
    if "**" in text:
        return
    try:
        expected = _python(text, given)
    except (ArithmeticError, ValueError):
        expected = None
    assert found == expected
    assert type(found) is type(expected)


@given(st.integers(-9, 9), st.integers(-5, 5), st.integers(-5, 5))
def test_powers_bind_as_in_python(a: int, b: int, c: int) -> None:
    given: dict[str, Scalar] = {"a": float(a), "b": b, "c": c}
    for text in ("-a ** 2", "2 ** -b", "a ** 2 * c", "b * a ** 2", "-a ** -b", "2 ** b ** 2"):
        found = compile_expression(text).evaluate(given)
        try:
            expected = _python(text, given)
        except ArithmeticError:
            expected = None
        assert found == (pytest.approx(expected) if expected is not None else None)


@given(conditions, st.fixed_dictionaries(dict.fromkeys(NAMES + FLAGS, small)), st.data())
def test_a_known_result_does_not_hang_on_what_is_unknown(
    text: str, given: dict[str, Scalar], data: st.DataObject
) -> None:
    compiled = compile_expression(text)
    holes: dict[str, Scalar] = {
        name: value if data.draw(st.booleans()) else None for name, value in given.items()
    }
    found = compiled.evaluate(holes)
    if found is not None:
        assert found is compiled.evaluate(given)


@given(st.text(string.printable + "µ²٣\u2028\x00\ud800", max_size=60))
def test_any_text_gives_an_expression_or_words(text: str) -> None:
    _compile(text)


pieces = st.sampled_from(
    [*"()+-*/%<>=!,.`'\" &|^ab1", "**", "//", "==", "in", " and ", " or ", "not ", "max(", "known(",
     "round(", "true", "1.5", "plc.a", "\n", "'x'", "`o d`", "²", "µ", "٣"]
)  # fmt: skip


@settings(max_examples=500)
@given(st.lists(pieces, max_size=30).map("".join), values)
def test_any_pieces_give_an_expression_or_words(text: str, given: dict[str, Scalar]) -> None:
    compiled = _compile(text)
    if compiled is not None:
        compiled.evaluate(given)


def _compile(text: str) -> Expression | None:
    try:
        return compile_expression(text)
    except ExpressionError as error:
        fault = error
    assert 1 <= fault.column <= len(text) + 1
    assert "; " in str(fault)
    return None


@pytest.mark.parametrize(
    "piece", ["(", "-", "not ", "a+", "a<", "max(a,", "a and (", "2**", "'", "`"]
)
def test_the_longest_input_is_bounded(piece: str) -> None:
    text = (piece * MAX_LENGTH)[: MAX_LENGTH - 1] + "a"
    start = time.process_time()
    _compile(text)
    assert time.process_time() - start < 100 * _a_short_one()


def _a_short_one() -> float:
    """What a hundred short expressions cost, as the measure of this machine."""
    start = time.process_time()
    for _ in range(100):
        compile_expression("running and 1450 < speed < 1550")
    return time.process_time() - start
