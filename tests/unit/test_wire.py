"""Batches on the wire: what comes out is what went in, and what is none is refused in words."""

from __future__ import annotations

import gzip
import math
from typing import Any

import numpy as np
import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.model import ALL, KINDS, Column, Kind, Mark, Quality, Row, Selected, Table, make_parts
from gateway.wire import decode_batch, encode_batch

LABELS = (("gateway", "hall-3"), ("device", "press_1"), ("line", "7"))
REASONS = st.sampled_from(["timeout", "cpu_stop", "a:b", ""])
TEXTS = st.text(max_size=20)
VALUES: dict[Kind, st.SearchStrategy[Any]] = {
    "f4": st.floats(width=32, allow_nan=False, allow_infinity=False),
    "f8": st.floats(allow_nan=False, allow_infinity=False),
    "i8": st.integers(-(2**63), 2**63 - 1),
    "u8": st.integers(0, 2**64 - 1),
    "b1": st.booleans(),
    "str": TEXTS,
}


@st.composite
def batches(draw: st.DrawFn) -> list[Selected]:
    tables = []
    for number in range(draw(st.integers(1, 3))):
        kinds = draw(st.lists(st.sampled_from(KINDS), min_size=0, max_size=5))
        columns = [
            Column(
                f"c{i}", kind, draw(st.sampled_from([None, "kN"])), store_int=draw(st.booleans())
            )
            for i, kind in enumerate(kinds)
        ]
        tables.append(Table(f"t{number}", "press_1", columns, LABELS, "fast", 0.5))
    out = []
    for _ in range(draw(st.integers(1, 8))):
        table = draw(st.sampled_from(tables))
        time_ns = draw(st.integers(-(2**63), 2**63 - 1))
        places = st.sampled_from([ALL, *range(len(table.columns))])
        marks = st.builds(Mark, st.sampled_from([Quality.UNCERTAIN, Quality.BAD]), REASONS)
        marked = draw(st.dictionaries(places, marks, max_size=2))
        if not table.columns or draw(st.integers(0, 9)) == 0:
            out.append(Selected(Row(table, time_ns, (), {ALL: Mark(Quality.BAD, "timeout")})))
            continue
        row = Row(table, time_ns, make_parts(table, [draw(VALUES[k]) for k in table.kinds]), marked)
        masks = None
        if draw(st.booleans()):
            masks = tuple(
                draw(st.none() | st.lists(st.booleans(), min_size=n, max_size=n).map(np.array))
                for n in (len(part.columns) for part in table.parts)
            )
        out.append(Selected(row, masks))
    return out


def shape(table: Table) -> Any:
    names = ("name", "device", "labels", "group", "interval_s", "steady", "columns", "kinds")
    return *(getattr(table, name) for name in names), table.units, table.stores_int, table.key


def plain(selected: Selected) -> Any:
    """All that is to come out again: what goes out, with exact values, and the quality of all."""
    row, masks = selected
    out = []
    for column in range(len(row.table.columns)):
        mark = row.mark(column)
        if not row.parts or row.is_bad(column):
            out.append((None, mark))
            continue
        part, place = row.table.position(column)
        goes = masks is None or masks[part] is None or bool(masks[part][place])  # type: ignore[index]
        value = row.parts[part][place]
        exact = value if isinstance(value, str) else value.tobytes()
        out.append((exact if goes else "left out", mark))
    return shape(row.table), row.time_ns, row.marks, out


def by_table(rows: list[Selected]) -> list[Selected]:
    order = list(dict.fromkeys(s.row.table for s in rows))
    return sorted(rows, key=lambda s: order.index(s.row.table))


@given(batches())
@settings(max_examples=300, deadline=None)
def test_what_comes_out_is_what_went_in(rows: list[Selected]) -> None:
    got = decode_batch(encode_batch(rows))
    assert [plain(s) for s in got] == [plain(s) for s in by_table(rows)]
    assert encode_batch(got) == encode_batch(by_table(rows))


def table_of(kind: Kind, count: int = 1) -> Table:
    return Table("t", "d", [Column(f"c{i}", kind) for i in range(count)], LABELS)


def one(kind: Kind, value: Any) -> Selected:
    table = table_of(kind)
    return Selected(Row(table, 1, make_parts(table, [value])))


def test_the_largest_integers_and_the_smallest_floats_come_through() -> None:
    assert decode_batch(encode_batch([one("u8", 2**64 - 1)]))[0].row.value(0) == 2**64 - 1
    assert decode_batch(encode_batch([one("i8", -(2**63))]))[0].row.value(0) == -(2**63)
    for kind in ("f4", "f8"):
        tiny = np.finfo(kind).smallest_subnormal
        assert decode_batch(encode_batch([one(kind, tiny)]))[0].row.parts[0][0] == tiny  # type: ignore[arg-type]


def test_the_float32_whose_digits_are_rounded_twice_comes_through() -> None:
    awkward = np.array([0x15AE43FD, 0x95AE43FD], "u4").view("f4")
    table = table_of("f4", 2)
    (got,) = decode_batch(encode_batch([Selected(Row(table, 1, (awkward,)))]))
    assert got.row.parts[0].tobytes() == awkward.tobytes()  # type: ignore[union-attr]


def test_minus_zero_keeps_its_sign() -> None:
    assert math.copysign(1, decode_batch(encode_batch([one("f8", -0.0)]))[0].row.parts[0][0]) == -1


@pytest.mark.parametrize(
    ("value", "reason"), [(math.nan, "nan"), (math.inf, "infinite"), (-math.inf, "infinite")]
)
@pytest.mark.parametrize("kind", ["f4", "f8"])
def test_what_is_not_finite_is_bad_with_its_reason(kind: Kind, value: float, reason: str) -> None:
    table = table_of(kind, 2)
    qualities = (None, {1: Mark(Quality.UNCERTAIN, "cpu_stop")})
    rows = [Selected(Row(table, 1, make_parts(table, [1.5, value]), q)) for q in qualities]
    for got in decode_batch(encode_batch(rows)):
        assert got.row.values() == [1.5, None]
        assert got.row.mark(1) == Mark(Quality.BAD, reason)
        assert got.masks is None


def test_a_table_is_the_same_object_in_every_batch() -> None:
    first = decode_batch(encode_batch([one("f4", 1.0)]))[0].row.table
    assert decode_batch(encode_batch([one("f4", 2.0)]))[0].row.table is first


def test_half_of_a_pair_of_utf16_does_not_stop_the_batch() -> None:
    assert decode_batch(encode_batch([one("str", "a\ud800")]))[0].row.value(0) == "a\ufffd"


def test_a_body_may_be_packed_and_may_be_two_bodies() -> None:
    body = encode_batch([one("f4", 1.0)])
    assert len(decode_batch(body + body)) == 2
    assert decode_batch(gzip.compress(body))[0].row.value(0) == 1.0


def changed(line: int, **keys: Any) -> bytes:
    """A good body of two rows of an integer with one thing in it changed."""
    table = table_of("i8")
    rows = [Selected(Row(table, t, make_parts(table, [7]))) for t in (1, 2)]
    lines = encode_batch(rows).splitlines()
    lines[line] = orjson.dumps({**orjson.loads(lines[line]), **keys})
    return b"\n".join(lines) + b"\n"


GOOD = changed(1)


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"", "expected two"),
        (b"x", "the last line has no end"),
        (b"x\ny\n", "not JSON"),
        (GOOD[:-1], "the last line has no end"),
        (GOOD.splitlines(keepends=True)[0], "expected two"),
        (gzip.compress(GOOD)[:-4], "its end is missing"),
        (b"\x1f\x8bxx", "damaged gzip"),
        (gzip.compress(bytes(70_000_000)), "longer than"),
        (b"[]\n{}\n", "what a table is"),
        (changed(0, v=2), "version 2"),
        (changed(0, columns=[["c0", "f2", None, 0]]), "kind 'f2'"),
        (changed(0, columns=[["c0", "i8"]]), "expected name, kind"),
        (changed(0, device=None), "None is no text"),
        (changed(1, times=[1, True]), "a list of integers"),
        (changed(1, times=[1, 2**63]), "times of t"),
        (changed(1, times=[1]), "2 rows; expected 1"),
        (changed(1, values={}), "kinds of t"),
        (changed(1, values={"f4": [[1], [2]]}), "kinds of t"),
        (changed(1, values={"i8": [[1], [2, 3]]}), "lists of 1"),
        (changed(1, values={"i8": [[1], [1.5]]}), "is a float"),
        (changed(1, values={"i8": [[1], ["1"]]}), "is a str"),
        (changed(1, values={"i8": [[1], [True]]}), "is a bool"),
        (changed(1, values={"i8": [[1], [2**63]]}), "too large"),
        (changed(1, values={"i8": [[1], {"a": 1}]}), "lists of 1"),
        (changed(1, marks=[[0, 1, "BAD:x"]]), "no column 1"),
        (changed(1, marks=[[2, 0, "BAD:x"]]), "marks of t"),
        (changed(1, marks=[[0, 0, "EVIL:x"]]), "marks of t"),
        (changed(1, marks=[[0, 0]]), "marks of t"),
        (changed(1, marks=7), "rows of t"),
    ],
)  # fmt: skip
def test_what_is_no_batch_is_refused_in_words(body: bytes, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        decode_batch(body)


@given(st.binary(max_size=40), st.integers(0, len(GOOD)))
@settings(max_examples=300, deadline=None)
def test_nothing_that_comes_raises_anything_else(noise: bytes, at: int) -> None:
    for body in (noise, GOOD[:at] + noise + GOOD[at + len(noise) :]):
        try:
            decode_batch(body)
        except ValueError:
            continue
