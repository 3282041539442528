"""Lines taken apart; what a server's words say; what is remembered, and how it is counted."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.model import Column as TableColumn
from gateway.model import Mark, Row, Table, bad, make_parts
from gateway.sinks import Selected
from gateway.sinks.influxdb import lineprotocol as lp
from gateway.sinks.influxdb.refusals import FORGET_S, MAX_COLUMNS, VAIN, Column, Refusals, read
from gateway.sinks.influxdb.wide import LineEncoder
from gateway.sinks.payload import Described
from gateway.spool.manifest import Span
from gateway.writer.tally import Tally

CONFLICT = (
    '422 partial write: field type conflict: input field "{}" on measurement "{}" is type {}, '
    "already exists as type integer dropped={}"
)
TEXT = st.text(
    st.one_of(st.sampled_from(list("\\\",= '\n#%aé\U0001f600")), st.characters()), max_size=8
)


class Clock:
    now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


def encoded(encoder: LineEncoder, row: Row) -> bytes:
    return b"".join(e.text for e in encoder.encode([Selected(row)]))


@settings(deadline=None)  # a busy machine is no fault
@given(TEXT, TEXT, st.lists(st.tuples(TEXT, TEXT), min_size=1, max_size=6))
def test_a_line_is_the_same_after_it_was_taken_apart(
    name: str, label: str, fields: list[tuple[str, str]]
) -> None:
    columns = [TableColumn(f"{key}{n}", "str") for n, (key, _) in enumerate(fields)]
    table = Table(name, "d", columns, [("device", "d"), ("l", label)])
    row = Row(table, -5, make_parts(table, [text for _, text in fields]), {0: bad("x y=,")})
    (raw,) = encoded(LineEncoder(0), row).splitlines(keepends=True)
    line = lp.parse(raw)
    assert line is not None
    assert line.only(line.fields) == raw
    assert len(line.fields) == len(fields)  # one is BAD, and _quality is there
    assert lp.count_fields(raw) == len(fields) - 1
    assert lp.measured(line.head) == lp.measurement(name).encode()


@pytest.mark.parametrize("raw", [b"", b"m", b"m a=1", b"m a 1", b"m =1 1", b'm a="x 1', b"m a=1 x"])
def test_what_is_no_line_is_not_taken_apart(raw: bytes) -> None:
    assert lp.parse(raw) is None
    assert Refusals().divide(raw, "") == [raw]
    assert Refusals().divide(raw, "400 no") == [raw]


@settings(deadline=None)  # a busy machine is no fault
@given(
    st.lists(st.sets(st.integers(0, 5), min_size=1), min_size=1, max_size=12),
    st.sets(st.integers(0, 5)),
    st.sampled_from(["", "400 no", "422 dropped=1", CONFLICT.format("c1", "m", "float", 2)]),
)
def test_what_is_divided_says_the_same(rows: list[set[int]], refused: set[int], words: str) -> None:
    refusals = Refusals()
    for c in refused:
        refusals.refused(b"m c%d=1.5 1\n" % c, "400 no")
    text = b"".join(
        b"m %b %d\n" % (b",".join(b"c%d=1.5" % c for c in sorted(row)), n)
        for n, row in enumerate(rows)
    )

    def points(pieces: list[bytes]) -> list[tuple[bytes, bytes]]:
        parsed = [lp.parse(line) for piece in pieces for line in piece.splitlines()]
        return sorted((x.time, key) for x in parsed if x is not None for key, _ in x.fields)

    pieces, whole = refusals.divide(text, words), points([text])
    assert points(pieces) == whole
    assert points(refusals.apart(text)) == whole
    assert all(refusals.apart(piece) == [piece] for piece in refusals.apart(text))
    while len(pieces) > 1:
        assert all(pieces)
        smaller = [p for piece in pieces for p in refusals.divide(piece, "")]
        assert points(smaller) == whole
        pieces = smaller if smaller != pieces else []


def test_the_words_of_a_server_are_understood() -> None:
    assert read(CONFLICT.format('a "b, c', "m x", "float", 7)) == (
        Column(b"m\\ x", b'a\\ "b\\,\\ c', "float"),
        7,
        False,
    )
    assert read("422 partial write: points beyond retention policy dropped=2") == (None, 2, True)
    assert read("400 unable to parse 'timestamp,d=retention v=x 1': invalid number") == (
        None,
        None,
        False,
    )
    assert read("400 no") == (None, None, False)


def test_a_column_is_known_by_its_type_until_it_is_taken_or_long_ago() -> None:
    clock = Clock()
    refusals = Refusals(clock)
    refusals.refused(b"m a=1.5,b=2 1\nm a=2.5 2\n", CONFLICT.format("a", "m", "float", 2))
    assert refusals.names() == ["m.a as float"]
    assert refusals.apart(b"m a=1.5,b=2 1\nm a=7i 2\nn a=1.5 3\n") == [
        b"m b=2 1\nm a=7i 2\nn a=1.5 3\n",
        b"m a=1.5 1\n",
    ]
    refusals.stored(lambda: b'm a=7i,s=" a=1.5" 1\n')
    assert refusals.known, "another type was taken"
    refusals.stored(lambda: b"m a=1.5 1\n")
    assert not refusals.known
    refusals.refused(b"m a=1.5 1\n", "400 no")
    clock.now_s = FORGET_S / 2
    refusals.refused(b"m b=1.5 1\n", "400 no")
    clock.now_s = FORGET_S
    refusals.stored(lambda: b"m c=1 1\n")
    assert refusals.names() == ["m.b as float"]


def test_what_is_remembered_is_bounded() -> None:
    clock = Clock()
    refusals = Refusals(clock)
    for n in range(MAX_COLUMNS + 10):
        clock.now_s = float(n)
        refusals.refused(b"m c%d=1 1\n" % n, "400 no")
    assert len(refusals.known) == MAX_COLUMNS
    assert Column(b"m", b"c9", "float") not in refusals.known
    assert Column(b"m", b"c10", "float") in refusals.known


def test_lines_that_were_all_refused_are_not_asked_for_one_by_one() -> None:
    refusals = Refusals()
    text = b"m a=1.5 1\nm a=2.5 2\n"
    words = CONFLICT.format("a", "m", "float", 2)
    assert len(refusals.divide(text, words)) == 2, "it was not known"
    refusals.refused(text, words)
    assert refusals.divide(text, words) == [text]
    assert len(refusals.divide(text, words.replace("=2", "=1"))) == 2, "one of them is stored"
    assert len(refusals.divide(text, "400 no")) == 2, "nobody said that both are refused"
    for _ in range(VAIN):
        refusals.refused(b"m a=1.5 1\n", "400 no")
    assert refusals.divide(text, "400 no") == [text]
    assert len(refusals.divide(text, "")) == 2, "it was too much at once"


def test_a_line_is_divided_no_more_where_nothing_of_it_is_taken() -> None:
    refusals = Refusals()
    line = b"m " + b",".join(b"c%d=1" % n for n in range(200)) + b" 1\n"
    asked = 0
    waiting = [line]
    while waiting:
        piece = waiting.pop()
        asked += 1
        refusals.refused(piece, "400 no")
        pieces = refusals.divide(piece, "400 no")
        waiting += reversed(pieces) if len(pieces) > 1 else []
    assert asked < 40
    refusals.stored(lambda: b"x y=1 1\n")
    assert len(refusals.divide(b"n a=1,b=1 1\n", "400 no")) == 2


def test_refused_columns_have_lines_of_their_own() -> None:
    refusals = Refusals()
    encoder = LineEncoder(3, refusals)
    kinds = ["f4", "i8", "f4", "str", "f4"]
    columns = [TableColumn(f"c{n}", kind) for n, kind in enumerate(kinds)]  # type: ignore[arg-type]
    table = Table("m", "d", columns, [("device", "d")])
    values = [0.5, 1, 2.5, "x", 4.5]

    def lines(marks: dict[int, Mark] | None = None) -> list[str]:
        row = Row(table, 9, make_parts(table, values), marks)
        return encoded(encoder, row).decode().splitlines()

    lines()
    whole = ["m,device=d c0=0.5,c2=2.5,c1=1 9", 'm_2,device=d c4=4.5,c3="x" 9']
    assert lines() == whole
    refusals.refused(b"m,device=e c2=1.0 1\n", "400 no")
    refusals.refused(b'm_2,device=e c3="y" 1\n', "400 no")
    refusals.refused(b"m_2,device=e c4=7i 1\n", "400 no")
    apart = ["m,device=d c0=0.5,c1=1 9", "m,device=d c2=2.5 9"]
    apart += ["m_2,device=d c4=4.5 9", 'm_2,device=d c3="x" 9']
    assert lines() == apart
    assert lines({2: bad("x"), 4: bad("y")}) == [
        'm,device=d c0=0.5,c1=1,_quality="c2=BAD:x" 9',
        'm_2,device=d _quality="c4=BAD:y" 9',
        'm_2,device=d c3="x" 9',
    ]
    refusals.refused(b"m_2,device=e c4=1.0 1\n", "400 no")
    assert lines()[2:] == [
        'm_2,device=d _quality="" 9',
        'm_2,device=d c3="x" 9',
        "m_2,device=d c4=4.5 9",
    ]
    for text in (b"m c2=1.0 1\n", b'm_2 c3="x",c4=1 1\n'):
        refusals.stored(lambda text=text: text)
    assert lines() == whole


def described(table: str, time_ns: int, column: str | None, values: int = 1) -> Described:
    return Described("d", table, time_ns, values, column)


def test_each_refused_row_is_told_once_with_its_columns() -> None:
    tally = Tally([Span("d", "m.a", 9, 1, 9), Span("d", "m_3", 1, 1, 1)])
    tally.add([described("m.a", t, "x") for t in (1, 2)], "400 x is wrong")
    tally.add([described("m_2.a", 2, "y")], "400 y is wrong")
    tally.add([described("m.a", 3, "x"), described("m.a", 3, None, 5)], "400 no")
    tally.add([described("m_3", 1, "z")], "400 z")
    tally.add([described("m.a", 4, f"c{n}") for n in range(8)], "400 c")
    assert (tally.rows, tally.values) == (5, 2 + 1 + 6 + 1 + 8)
    assert [(r.span, r.words) for r in tally.refused()] == [
        (Span("d", "m.a", 1, 1, 1), "column x: 400 x is wrong"),
        (Span("d", "m.a", 1, 2, 2), "columns x, y: 400 x is wrong"),
        (Span("d", "m.a", 1, 3, 3), "400 no"),
        (Span("d", "m_3", 1, 1, 1), "column z: 400 z"),
        (Span("d", "m.a", 1, 4, 4), "columns c0, c1, c2, c3, c4 and 3 more: 400 c"),
    ]


def test_a_batch_that_nobody_can_read_is_told_by_its_spans() -> None:
    spans = [Span("d", "m", 4, 1, 4), Span("e", "n", 2, 1, 2)]
    tally = Tally(spans)
    tally.add_all(6, 12, "400 what is it")
    assert (tally.rows, tally.values) == (6, 12)
    assert [(r.span, r.words) for r in tally.refused()] == [(s, "400 what is it") for s in spans]
