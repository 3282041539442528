"""Rows as line protocol: exact text, substitutions, layouts; read back from a real engine."""

from __future__ import annotations

import re
import time
from typing import Any

import numpy as np
import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway.model import ALL, Column, Mark, Quality, Row, Table, bad, bad_row, make_parts
from gateway.sinks import Selected
from gateway.sinks.influxdb import lineprotocol as lp
from gateway.sinks.influxdb.narrow import NarrowEncoder
from gateway.sinks.influxdb.wide import MAX_LINE, LineEncoder
from tests.sims.influx_peer import InfluxPeer, influx

__all__ = ["influx"]

LABELS = (("gateway", "g"), ("device", "press 1"))
MIXED = [
    Column("a", "f4"),
    Column("on", "b1"),
    Column("text", "str"),
    Column("n", "i8"),
    Column("big", "u8", store_int=True),
    Column("d", "f8"),
]
VALUES = [408.35, True, 'say "hi"', -5, 7, 1e300]


def lines(encoder: LineEncoder, *rows: Selected) -> list[str]:
    return "".join(e.text.decode() for e in encoder.encode(rows)).splitlines()


def again(encoder: LineEncoder, *rows: Selected) -> list[str]:
    """The lines of rows that are not the first ones of their tables."""
    lines(encoder, *rows)
    return lines(encoder, *rows)


def mixed(time_ns: int = 1, marks: dict[int, Mark] | None = None, *, table: Table) -> Selected:
    return Selected(Row(table, time_ns, make_parts(table, VALUES), marks))


def test_a_row_is_one_line_with_the_shortest_digits() -> None:
    table = Table("process", "press 1", MIXED, LABELS)
    assert again(LineEncoder(), mixed(table=table)) == [
        r"process,gateway=g,device=press\ 1 "
        r'a=408.35,d=1e+300,n=-5,big=7i,on=true,text="say \"hi\"" 1'
    ]


def test_numbers_are_floats_unless_the_column_stores_integers() -> None:
    table = Table("m", "d", [Column("i", "i8"), Column("u", "u8", store_int=True)])
    row = Selected(Row(table, 5, make_parts(table, [-1, 2**63 - 1])))
    assert again(LineEncoder(), row) == [f"m i=-1,u={2**63 - 1}i 5"]


def test_an_integer_beyond_int64_is_written_as_text_beside_its_column() -> None:
    columns = [Column("u", "u8", store_int=True), Column("u_text", "b1")]
    table = Table("m", "d", columns)
    encoder = LineEncoder()
    row = Selected(Row(table, 5, make_parts(table, [2**63, True])))
    assert again(encoder, row) == [f'm u_text_2="{2**63}",u_text=true 5']
    assert encoder.as_text == 2
    narrow = NarrowEncoder()
    assert again(narrow, row)[0] == f'm,tag=u text="{2**63}" 5'
    assert narrow.as_text == 2


@given(st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), min_size=1))
def test_every_float32_reads_back_exactly(values: list[float]) -> None:
    table = Table("m", "d", [Column(f"c{i}", "f4") for i in range(len(values))])
    line = again(LineEncoder(0), Selected(Row(table, 1, (np.array(values, "f4"),))))[0]
    got = [np.float32(field.split("=")[1]) for field in line.split(" ")[1].split(",")]
    assert np.array(got, "f4").tobytes() == np.array(values, "f4").tobytes()


@given(
    st.lists(st.booleans(), min_size=6, max_size=6),
    st.sets(st.integers(0, 5)),
    st.integers(1, 6),
)
def test_only_what_is_selected_and_not_bad_is_written(
    chosen: list[bool], bads: set[int], width: int
) -> None:
    table = Table("m", "d", MIXED)
    masks = tuple(np.array([chosen[c] for c in part.columns]) for part in table.parts)
    row = Row(table, 1, make_parts(table, VALUES), {c: bad("x") for c in bads})
    encoder = LineEncoder(width)
    found = {
        field.split("=")[0]
        for line in lines(encoder, Selected(row, masks))
        for field in re.sub(r'"(\\.|[^"])*"', "t", line).split(" ")[1].split(",")
    }
    expected = {MIXED[c].name for c in range(6) if chosen[c] and c not in bads}
    assert {name for name in found if name in table.columns} == expected


def test_quality_is_written_while_it_is_not_good_and_once_empty_after() -> None:
    table = Table("m", "d", [Column("a", "f4"), Column("b", "f4")])
    encoder = LineEncoder()
    parts = make_parts(table, [1.5, 2.5])
    uncertain = Mark(Quality.UNCERTAIN, "clock")
    assert lines(
        encoder,
        Selected(Row(table, 1, parts)),
        Selected(Row(table, 2, parts, {0: bad("timeout"), 1: uncertain})),
        Selected(bad_row(table, 3, "refused")),
        Selected(Row(table, 4, parts)),
        Selected(Row(table, 5, parts)),
    ) == [
        'm a=1.5,b=2.5,_quality="" 1',
        'm b=2.5,_quality="a=BAD:timeout,b=UNCERTAIN:clock" 2',
        'm _quality="*=BAD:refused" 3',
        'm a=1.5,b=2.5,_quality="" 4',
        "m a=1.5,b=2.5 5",
    ]


def test_quality_goes_only_to_the_cut_whose_columns_it_concerns() -> None:
    table = Table("m", "d", [Column(n, "f4") for n in "abc"], [("device", "d")])
    encoder = LineEncoder(2)
    parts = make_parts(table, [1, 2, 3])
    assert lines(encoder, Selected(Row(table, 1, parts, {2: bad("x")}))) == [
        'm,device=d a=1.0,b=2.0,_quality="" 1',
        'm_2,device=d _quality="c=BAD:x" 1',
    ]
    assert lines(encoder, Selected(Row(table, 2, parts))) == [
        "m,device=d a=1.0,b=2.0 2",
        'm_2,device=d c=3.0,_quality="" 2',
    ]
    whole = Selected(Row(table, 3, parts, {ALL: Mark(Quality.UNCERTAIN, "clock")}))
    assert [line.count("*=UNCERTAIN:clock") for line in lines(encoder, whole)] == [1, 1]


@pytest.mark.parametrize("made", [LineEncoder, NarrowEncoder])
def test_the_first_good_row_and_the_next_after_a_loss_end_what_was_told_before(
    made: type[LineEncoder],
) -> None:
    tables = [Table(name, "d", [Column("a", "f4")]) for name in ("m", "gateway_event")]
    encoder = made()
    told = []
    for n in range(5):
        if n == 3:
            encoder.start_over()
        rows = [Selected(Row(t, n, make_parts(t, [1.0]))) for t in tables]
        told.append([line.count('_quality=""') for line in lines(encoder, *rows)])
    assert told == [[1, 0], [0, 0], [0, 0], [1, 0], [0, 0]]


def test_a_long_quality_is_cut_and_says_how_much_is_missing() -> None:
    table = Table("m", "d", [Column(f"column_{i}", "f4") for i in range(1000)])
    row = Row(table, 1, make_parts(table, [0.0] * 1000), {i: bad("refused") for i in range(1000)})
    text = lines(LineEncoder(0), Selected(row))[0]
    listed = text.count("=BAD:refused")
    assert len(text.encode()) < lp.MAX_QUALITY + 100
    assert text.endswith(f'…(+{1000 - listed})" 1')


def test_unmarked_nan_is_left_out_and_counted() -> None:
    table = Table("m", "d", [Column("a", "f8"), Column("b", "f8")])
    for encoder, expected in (
        (LineEncoder(), "m b=1.0 1"),
        (NarrowEncoder(), "m,tag=b value=1.0 1"),
    ):
        row = Selected(Row(table, 1, (np.array([np.nan, 1.0]),)))
        assert again(encoder, row) == [expected]
        assert encoder.not_finite == 2


def test_a_row_wider_than_a_line_goes_out_as_several_of_one_series_and_time() -> None:
    columns = [Column(f"a_rather_long_column_name_{i}", "f8") for i in range(5000)]
    table = Table("m", "d", [*columns, Column("s", "str")], [("device", "d")])
    values = [*np.random.default_rng(1).random(5000).tolist(), "x" * 50_000]
    row = Selected(Row(table, 9, make_parts(table, values)))
    out = again(LineEncoder(0), row)
    assert len(out) > 3
    assert max(len(line) for line in out) < MAX_LINE
    assert all(line.startswith("m,device=d ") and line.endswith(" 9") for line in out)
    assert sum(lp.count_fields(line.encode()) for line in out) == 5001


def test_a_table_is_cut_into_measurements_in_column_order() -> None:
    table = Table("m", "d", [Column(f"c{i}", "b1" if i % 2 else "f4") for i in range(450)])
    row = Selected(Row(table, 1, make_parts(table, [1] * 450)))
    out = again(LineEncoder(200), row)
    assert [line.split(" ")[0] for line in out] == ["m", "m_2", "m_3"]
    names = [{f.split("=")[0] for f in line.split(" ")[1].split(",")} for line in out]
    assert names == [{f"c{i}" for i in range(a, min(a + 200, 450))} for a in (0, 200, 400)]


def test_narrow_writes_a_line_a_tag() -> None:
    table = Table("process", "press 1", MIXED, LABELS)
    encoder = NarrowEncoder()
    assert again(encoder, mixed(table=table)) == [
        r"process,tag=a,gateway=g,device=press\ 1 value=408.35 1",
        r"process,tag=d,gateway=g,device=press\ 1 value=1e+300 1",
        r"process,tag=n,gateway=g,device=press\ 1 value=-5 1",
        r"process,tag=big,gateway=g,device=press\ 1 integer=7i 1",
        r"process,tag=on,gateway=g,device=press\ 1 state=true 1",
        r'process,tag=text,gateway=g,device=press\ 1 text="say \"hi\"" 1',
    ]
    found = lines(encoder, mixed(2, {0: bad("nan"), 1: Mark(Quality.UNCERTAIN, "x")}, table=table))
    assert [line for line in found if "_quality" in line] == [
        r'process,tag=on,gateway=g,device=press\ 1 state=true,_quality="UNCERTAIN:x" 2',
        r'process,tag=a,gateway=g,device=press\ 1 _quality="BAD:nan" 2',
    ]
    found = lines(encoder, mixed(3, table=table))
    assert [line.count('_quality=""') for line in found] == [1, 0, 0, 0, 1, 0]
    assert not any("_quality" in line for line in lines(encoder, mixed(4, table=table)))


def test_payloads_hold_whole_rows_in_order() -> None:
    table = Table("m", "d", [Column("s", "str")])
    rows = [Selected(Row(table, i, (["x" * 50_000],))) for i in range(200)]
    parts = list(LineEncoder().encode(rows))
    assert len(parts) > 1
    assert [e.text.count(b"\n") for e in parts] == [e.rows for e in parts]
    assert sum(e.rows for e in parts) == 200
    assert max(len(e.text) for e in parts) < 4_200_000


def test_names_that_become_equal_stay_apart() -> None:
    table = Table("m", "d", [Column(n, "b1") for n in ("a\\b", "a/b", "", "_", "time", "_quality")])
    row = Selected(Row(table, 1, make_parts(table, [True] * 6)))
    fields = again(LineEncoder(), row)[0].split(" ")[1].split(",")
    assert [f.split("=")[0] for f in fields] == ["a/b", "a/b_2", "_", "__2", "time_", "_quality_2"]


@pytest.mark.parametrize("name", ["a b", "a,b", "a=b", "ä", "#", "a\\", "x.y"])
def test_a_line_tells_whom_it_is_about(name: str) -> None:
    table = Table(name, "d", [Column("v", "b1"), Column("s", "str")], [("device", name)])
    row = Selected(Row(table, 77, make_parts(table, [True, 'x,y "=\\ z'])))
    line = lines(LineEncoder(), row)[0].encode()
    plain = name.replace("\\", "/")
    measurement, labels, time_ns = lp.identity(line)
    assert (measurement.replace("_", "#"), labels, time_ns) == (plain, {"device": plain}, 77)
    assert lp.count_fields(line) == 2
    assert lp.identity(b"broken") == ("?", {}, 0)


# -- against the real engine

NASTY = st.text(
    st.one_of(
        st.sampled_from(list("\\\",= '\n\r\t\0#%{}[]/_aé中\U0001f600\x7f\x85\u2028")),
        st.characters(),
    ),
    max_size=12,
)


def documented(text: str) -> str:
    return lp.clean(text)


def documented_name(text: str) -> str:
    return {"": "_", "time": "time_"}.get(text) or documented(text).replace("\\", "/")


@pytest.mark.servers
@settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.data())
def test_nasty_names_and_texts_are_stored_as_documented(
    influx: InfluxPeer,
    data: st.DataObject,
) -> None:
    encoder = LineEncoder()
    body, expected = [], []
    start = time.time_ns()
    for n in range(100):
        name, column, label, text = (data.draw(NASTY) for _ in range(4))
        column = "c" + column
        table = Table(name, "d", [Column(column, "str")], [("n", f"{n}-{start}"), ("l", label)])
        body.append(lines_of(encoder, Row(table, start + n, ([text],))))
        measurement = documented(name).replace("\\", "/")
        if measurement.startswith("#"):
            measurement = "_" + measurement[1:]
        expected.append((measurement or "_", documented_name(column), label, text, start + n))
    status, answer = influx.write("sensors", "ns", None, b"".join(body))
    assert status == 204, answer
    for n, (measurement, column, label, text, time_ns) in enumerate(expected):
        point = find(influx, measurement, f"{n}-{start}")
        assert point.pop("_quality", "") == ""
        assert point.pop("time") == time_ns
        assert point.pop(column) == documented(text)
        assert point.pop("n") == f"{n}-{start}"
        assert (point.pop("l", None) or "") == documented(label).replace("\\", "/")
        assert not any(value is not None for key, value in point.items() if key != "l")


def lines_of(encoder: LineEncoder, row: Row) -> bytes:
    return b"".join(e.text for e in encoder.encode([Selected(row)]))


def find(peer: InfluxPeer, measurement: str, n: str) -> dict[str, Any]:
    quoted = measurement.replace("\\", "\\\\").replace('"', '\\"')
    series = peer.query(f"SELECT * FROM \"{quoted}\" WHERE n = '{n}'")
    assert len(series) == 1, measurement
    assert len(series[0]["values"]) == 1
    return dict(zip(series[0]["columns"], series[0]["values"][0], strict=True))


@pytest.mark.servers
@pytest.mark.parametrize("layout", ["wide", "narrow"])
def test_rows_of_all_kinds_are_stored_exactly(influx: InfluxPeer, layout: str) -> None:
    columns = [
        Column("f", "f4"),
        Column("d", "f8"),
        Column("i", "i8", store_int=True),
        Column("u", "u8", store_int=True),
        Column("b", "b1"),
        Column("s", "str"),
    ]
    table = Table("kinds", "d", columns, [("device", "d")])
    extremes: list[list[Any]] = [
        [3.4028235e38, 1.7976931348623157e308, 2**63 - 1, 2**63 - 1, True, "ä\u2028😀"],
        [1e-45, 5e-324, -(2**63), 0, False, ""],
        [-0.0, 0.1, 0, 12, True, '\\"quoted\\" = , '],
        [16777217.0, 123456789.123456789, 2**53 + 1, 2**53 + 1, False, "x" * 60_000],
    ]
    encoder = NarrowEncoder() if layout == "narrow" else LineEncoder(4)
    rows = [
        Selected(Row(table, 10**18 + n, make_parts(table, values)))
        for n, values in enumerate(extremes)
    ]
    text = b"".join(e.text for e in encoder.encode(rows))
    status, answer = influx.write("sensors", "ns", None, text)
    assert status == 204, answer
    stored: dict[tuple[int, str], Any] = {}
    for measurement in ("kinds", "kinds_2"):
        for point in influx.rows(measurement):
            at, tag = point.pop("time"), point.pop("tag", None)
            point.pop("device")
            for key, value in point.items():
                if value is not None and key != "_quality":
                    stored[at - 10**18, tag or key] = value
    for n, values in enumerate(extremes):
        expected = [np.float32(values[0]), *values[1:]]
        got = [stored[n, c.name] for c in columns]
        assert [np.float32(got[0]), *got[1:]] == expected
        assert orjson.dumps(got[1]) == orjson.dumps(values[1])
