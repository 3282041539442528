"""Expressions: what they compute, what stays unknown, and what is said of mistakes."""

from __future__ import annotations

import itertools
import math
import pickle
import re

import pytest

from gateway.expr import MAX_LENGTH, ExpressionError, compile_expression
from gateway.model import Scalar
from tests.support import ROOT

TRUTHS = (True, False, None)
PAGE = (ROOT / "docs" / "expressions.md").read_text(encoding="utf-8")


def value(text: str, **values: Scalar) -> Scalar:
    return compile_expression(text).evaluate(values)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("running and 1450 < speed < 1550", True),
        ("running and 1450 < speed < 1499", False),
        ("baseline + 0.25*(speed/1000)", 2.375),
        ("speed > 0.9 * baseline", True),
        ("-2 ** 2", -4),
        ("2 ** -1 ** 2", 0.5),
        ("2 ** 3 ** 2", 512),
        ("-speed + +1", -1499),
        ("7 // 2 + 7 % 4 * 2", 9),
        ("not running == false", True),
        ("not (running and false) or false", True),
        ("1 < 2 == 2 != 3", True),
        ("1 < 2 > 5", False),
        ("mode == 'auto' and mode != \"hand\"", True),
        ("mode in ('hand', 'auto')", True),
        ("mode not in ('hand', 'auto')", False),
        ("speed in (1, 1500)", True),
        ("true and not False", True),
        ("(speed > 1) + (baseline > 1) + (baseline > 5) >= 2", True),
        ("min(speed, 3, baseline)", 2),
        ("max(speed, 3, baseline)", 1500),
        ("abs(-speed) + sqrt(4)", 1502),
        ("round(2.345678, 2) + round(2.5)", 4.35),
        ("known(speed) and not known(nobody)", True),
        ("mode", "auto"),
        ("baseline", 2),
        (" running\n\tand true ", True),
        (".5 + 5. + 1e2", 105.5),
        ("010", 10),
    ],
)
def test_it_computes(text: str, expected: Scalar) -> None:
    found = value(text, running=True, speed=1500, baseline=2, mode="auto")
    assert found == expected
    assert isinstance(found, bool) == isinstance(expected, bool)


def test_names_are_dotted_and_odd_ones_stand_in_backquotes() -> None:
    text = "`press-1`.process.`oil temp` > `a.b`.c or `press-1.process.oil temp` < µ_flow"
    compiled = compile_expression(text)
    assert compiled.names == ("press-1.process.oil temp", "a.b.c", "µ_flow")
    assert compiled.columns == {"press-1.process.oil temp": 1, "a.b.c": 32, "µ_flow": 72}
    assert compiled.evaluate({"press-1.process.oil temp": 2, "a.b.c": 1}) is True


@pytest.mark.parametrize("name", ["and_1", "plc.in.true", "max", "notified", "known"])
def test_names_may_look_like_words_and_functions(name: str) -> None:
    assert compile_expression(f"{name} == 3").evaluate({name: 3}) is True


def test_and_or_not_follow_kleene() -> None:
    for a, b in itertools.product(TRUTHS, TRUTHS):
        both = None if None in (a, b) else True
        both = False if False in (a, b) else both
        either = None if None in (a, b) else False
        either = True if True in (a, b) else either
        assert value("a and b", a=a, b=b) is both
        assert value("a or b", a=a, b=b) is either
    assert [value("not a", a=a) for a in TRUTHS] == [False, True, None]


def test_the_page_shows_the_same_truth_table() -> None:
    words = {"true": True, "false": False, "unknown": None}
    rows = re.findall(r"^\| (true|false|unknown) \|(.*)\|$", PAGE, re.MULTILINE)
    assert len(rows) == 9
    for first, rest in rows:
        a, b, both, either, neither = (words[w] for w in [first, *rest.replace("|", " ").split()])
        assert value("a and b", a=a, b=b) is both
        assert value("a or b", a=a, b=b) is either
        assert value("not a", a=a) is neither


def test_the_examples_of_the_page_compile() -> None:
    examples = PAGE.split("```")[1].strip().splitlines()
    assert len(examples) == 6
    for example in examples:
        assert compile_expression(example).names


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("gone > 1", None),
        ("gone > 1 or one == 1", True),
        ("gone < 1 < 0", False),
        ("0 < one < gone", None),
        ("gone + 1", None),
        ("one / 0", None),
        ("one // 0 == 1", None),
        ("one % 0 == 1", None),
        ("0 ** -1", None),
        ("(-8) ** 0.5", None),
        ("sqrt(-one)", None),
        ("10 ** 10 ** 10", None),
        ("1e308 * 10 > 1", None),
        ("huge > 1", None),
        ("nan == nan", None),
        ("-inf < 0", None),
        ("word > 1", None),
        ("word == 1", None),
        ("word != 1", None),
        ("word < word", None),
        ("word >= word", None),
        ("word + word", None),
        ("word * 3", None),
        ("not word", None),
        ("word or one == 1", True),
        ("word and one == 1", None),
        ("min(one, gone)", None),
        ("gone in (1, 2)", None),
        ("one in (gone, 1)", True),
        ("one in (gone, 2)", None),
        ("one not in (gone, 1)", False),
        ("word in (one, 'word')", True),
        ("word in ('other', one)", None),
        ("known(one / 0)", False),
        ("known(gone or one == 1)", True),
        ("thing == 1", None),
    ],
)
def test_what_cannot_be_known_is_none(text: str, expected: Scalar) -> None:
    values = {"one": 1, "word": "word", "nan": math.nan, "inf": math.inf, "huge": 10**400}
    odd: dict[str, Scalar] = {**values, "thing": [1]}  # type: ignore[dict-item]
    assert compile_expression(text).evaluate(odd) is expected


@pytest.mark.parametrize(
    ("text", "column", "message"),
    [
        ("", 1, "the expression ends too early; expected a name, a number or a text"),
        ("a and", 6, "the expression ends too early; expected a name, a number or a text"),
        ("(a or b", 8, "the expression ends too early; expected ')'"),
        ("a b", 3, "'b' does not fit here; expected an operator or the end"),
        ("a AND b", 3, "'AND' does not fit here; did you mean 'and'?"),
        ("1,5 < a", 2, "decimals have a point: 1.5"),
        ("max(1,5", 8, "expected ')'"),
        ("a && b", 3, "'&&' has no meaning here; write 'and'"),
        ("a = 1", 3, "'=' has no meaning here; write '==' to compare"),
        ("a <> 1", 3, "write '!='"),
        ("a => 1", 3, "write '>='"),
        ("!a", 1, "write 'not'"),
        ("press-1.speed > 2", 9, "odd names stand in backquotes"),
        ("plc.process.1st", 12, "odd names stand in backquotes"),
        ("speed > 1450rpm", 13, "numbers have no unit"),
        ("a == 1 or 2", 11, "a number has no meaning for 'or'; expected a condition"),
        ("not 3", 5, "a number has no meaning for 'not'"),
        ("'a' and b", 1, "a text has no meaning for 'and'"),
        ("'a' < b", 1, "a text has no meaning for '<'; expected a number"),
        ("b + 'a'", 5, "a text has no meaning for '+'; expected a number"),
        ("-'a'", 2, "a text has no meaning for '-'"),
        ("'a' == 3", 5, "'==' compares a text with a number"),
        ("a in (1, 'x')", 3, "'in' compares a text with a number"),
        ("a in b", 6, "'b' does not fit here; expected '('"),
        ("a < b in (1, 2)", 7, "expected 'and' between two comparisons"),
        ("a in (1, 2) < b", 13, "expected 'and' between two comparisons"),
        ("a not b", 7, "expected 'in'"),
        ("1 < not a", 5, "'not' does not fit here"),
        ("sqr(4)", 1, "unknown function 'sqr'; did you mean 'sqrt'?"),
        ("__import__('os')", 1, "unknown function '__import__'; expected abs, known"),
        ("a.b(1)", 1, "unknown function 'a.b'"),
        ("max(1)", 1, "'max' has 1 operands; expected 2 to 20"),
        ("known()", 1, "'known' has 0 operands; expected 1"),
        ("round(a, b)", 10, "expected a whole number from 0 to 15"),
        ("round(a, 16)", 10, "expected a whole number from 0 to 15"),
        ("'a", 1, "the closing quote is missing"),
        ("a == `b", 6, "a closing backquote"),
        ("a . b", 3, "names are joined without spaces"),
        ("(a).b", 4, "names are joined without spaces"),
        ("a[0]", 2, "'[' has no meaning here"),
        ("1e999", 1, "'1e999' is too large"),
        ("lambda: 1", 7, "':' has no meaning here"),
        ("a\x00", 2, r"'\x00' has no meaning here"),
        ("(" * 101 + "a" + ")" * 101, 101, "nested too deeply; expected at most 100 levels"),
        ("+".join("a" * 101), 200, "nested too deeply"),
        ("not " * 101 + "a", 401, "nested too deeply"),
        ("a" * 2001, MAX_LENGTH + 1, "has 2001 characters; expected at most 2000"),
    ],
)
def test_mistakes_get_words_and_a_column(text: str, column: int, message: str) -> None:
    with pytest.raises(ExpressionError, match=re.escape(message)) as caught:
        compile_expression(text)
    assert caught.value.column == column


def test_the_kind_is_known_as_far_as_the_text_tells() -> None:
    kinds = {
        "a > 1": "condition",
        "a + 1": "number",
        "a": "any",
        "'x'": "text",
        "(true)": "condition",
    }
    assert {text: compile_expression(text).kind for text in kinds} == kinds


def test_the_deepest_expression_evaluates() -> None:
    deep = "+".join("a" * 100)
    assert compile_expression(deep).evaluate({"a": 1}) == 100
    nested = "(" * 99 + "a" + ")" * 99
    assert compile_expression(nested).evaluate({"a": 1}) == 1


def test_it_survives_pickling() -> None:
    compiled = compile_expression("a and b > 2")
    again = pickle.loads(pickle.dumps(compiled))
    assert again == compiled
    assert hash(again) == hash(compiled)
    assert repr(again) == "<Expression 'a and b > 2'>"
    assert again.evaluate({"a": True, "b": 3}) is True
    with pytest.raises(ExpressionError) as caught:
        compile_expression("a b")
    error = pickle.loads(pickle.dumps(caught.value))
    assert (str(error), error.column) == (str(caught.value), caught.value.column)
