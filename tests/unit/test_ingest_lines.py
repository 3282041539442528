"""Line protocol of others: what is taken, what is refused and where, and nothing else happens."""

from __future__ import annotations

import math
import time
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.ingest.shapes import Refused
from gateway.model import ALL, Column, Mark, Quality, Row, Selected, Table, bad, make_parts
from gateway.sinks.influxdb import InfluxConfig, InfluxSink
from tests.unit.ingestkit import NOW_NS, Line, labels, values


@pytest.fixture
def line() -> Line:
    return Line()


def test_a_line_becomes_a_row_with_its_types_and_labels(line: Line) -> None:
    row = line.one(
        f'press,device=press_9,line=kiln force=12.5,n=-7i,u=18446744073709551615u,on=t,m="a b" '
        f"{NOW_NS}\n"
    )
    assert (row.table.device, row.table.name, row.time_ns) == ("press_9", "press", NOW_NS)
    assert values(row) == {"force": 12.5, "n": -7, "u": 2**64 - 1, "on": True, "m": "a b"}
    assert row.table.kinds == ("f8", "i8", "u8", "b1", "str")
    assert row.table.stores_int == {1, 2}
    assert row.marks is None
    assert row.table.labels == (
        ("gateway", "hall-3"), ("device", "press_9"), ("module", "kiln"), ("line", "kiln"),
        ("via", "ingest"),
    )  # fmt: skip


@pytest.mark.parametrize(
    ("text", "device"),
    [("t,host=pc1 a=1", "pc1"), ("t,host=pc1,device=d a=1", "d"), ("t a=1", "me")],
)
def test_the_device_is_the_tag_device_or_host_or_who_sends(
    line: Line, text: str, device: str
) -> None:
    assert line.one(text).table.device == device


def test_equally_named_tables_of_a_device_have_keys_of_their_own(line: Line) -> None:
    line.take("cpu,host=a,cpu=cpu0 use=1\ncpu,host=a,cpu=cpu1 use=1\ncpu,host=a,module=m,x=y use=1")
    rows = line.rows()
    assert [row.table.key for row in rows] == ["cpu.cpu0", "cpu.cpu1", "cpu.m"]
    assert labels(rows[2])["x"] == "y"


def test_who_sends_cannot_pass_for_this_gateway(line: Line) -> None:
    row = line.one("t,gateway=other,via=plc,device=d a=1")
    assert labels(row) == {
        "gateway": "hall-3", "device": "d", "from_gateway": "other", "module": "other",
        "via": "ingest",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("text", "precision", "time_ns"),
    [
        ("t a=1 1772000000123456789", "ns", 1772000000123456789),
        ("t a=1 1772000000123456", "us", 1772000000123456000),
        ("t a=1 1772000000123", "ms", 1772000000123000000),
        ("t a=1 1772000000", "s", 1772000000000000000),
        ("t a=1   1772000000  ", "s", 1772000000000000000),
        ("t   a=1   1772000000\r", "s", 1772000000000000000),
        ('t a="x"   1772000000  ', "s", 1772000000000000000),
    ],
)
def test_times_in_any_precision(line: Line, text: str, precision: str, time_ns: int) -> None:
    assert not line.take(text, precision=precision).faults.count
    assert line.rows()[0].time_ns == time_ns


def test_rows_without_a_time_get_one_each_later_than_the_one_before(line: Line) -> None:
    before = time.time_ns()
    line.take("t a=1\nt a=2\nt a=3")
    line.take("t a=4")
    found = [row.time_ns for row in line.rows()]
    assert found == sorted(set(found))
    assert before <= found[0] <= found[-1] <= time.time_ns() + 3


@pytest.mark.parametrize(
    ("text", "col", "words"),
    [
        ("x", 1, "'x': 1 part; expected TABLE,LABEL=VALUE COLUMN=VALUE TIME"),
        (" x y=1", 1, "parts; expected TABLE"),
        ("x y=1 5 6", 1, "4 parts"),
        ("x y", 3, "'y'; expected COLUMN=VALUE"),
        ("x y=", 3, "expected COLUMN=VALUE"),
        ("x =1", 3, "expected COLUMN=VALUE"),
        ("x y=1,,z=2", 1, "expected COLUMN=VALUE"),
        ("x,a y=1", 3, "'a'; expected LABEL=VALUE"),
        ("x,a= y=1", 3, "expected LABEL=VALUE"),
        ("x,a=1,a=2 y=1", 7, "label 'a' comes twice"),
        ("x y=1,y=2", 1, "column 'y' comes twice"),
        ("x,y=1 y=2", 1, "'y' is a label and a column"),
        ("x y=1_0", 5, "'1_0' is no value"),
        ("x y=nan", 5, "'nan' is no value"),
        ("x y=inf", 5, "'inf' is no value"),
        ("x y=--1", 5, "'--1' is no number"),
        ("x y=1.2.3", 5, "is no number"),
        ("x y=1-2i", 5, "'1-2i' is no whole number"),
        ("x y=9223372036854775808i", 5, "expected -9223372036854775808 to 9223372036854775807"),
        ("x y=-1u", 5, "expected 0 to 18446744073709551615"),
        ("x y=99999999999999999999999999999999i", 5, "expected -9223372036854775808"),
        ("x y=yes", 5, "is no value; expected e.g. 1.5, 3i, true"),
        ('x y="abc', 5, "the text has no end"),
        ('x y="a"b', 8, "'b' after a text; expected , or a space"),
        ("x y=1 later", 7, "'later' is no time"),
        ("x y=1 1.5", 7, "'1.5' is no time"),
        ("x y=1 -5", 1, "a time of -5 ns; expected one after 1970"),
        ("x y=1 0", 1, "expected one after 1970"),
        ("x y=1 9" + "9" * 18, 1, "days ahead of this gateway's clock"),
        ("x y=1 " + "9" * 400, 7, "is no time"),
        (",a=b y=1", 1, "the table: an empty name"),
        ("x,a=b time=1", 1, "a column 'time': that name is the gateway's own"),
        ("x,time=b y=1", 1, "a label 'time': that name is the gateway's own"),
        ("gateway_loss y=1", 1, "names of the gateway's own begin so"),
        ("x,device=gateway y=1", 1, "device 'gateway' is the gateway itself"),
        ("x,device=press_1 y=1", 1, "device 'press_1' is read by this gateway itself"),
        ("x,device=" + "d" * 201 + " y=1", 1, "a name of 201 characters; expected at most 200"),
        ("x\x07y z=1", 1, "expected text without control characters"),
    ],
)
def test_a_wrong_line_is_refused_alone_and_at_its_place(
    line: Line, text: str, col: int, words: str
) -> None:
    faults = line.faults(f"good a=1\n{text}\ngood a=2\n")
    assert len(faults) == 1, faults
    assert faults[0][:2] == (2, col), faults
    assert words in faults[0][2]
    assert [values(row)["a"] for row in line.rows()] == [1.0, 2.0]


def test_bytes_that_are_no_text_are_refused(line: Line) -> None:
    faults = line.faults(b'x y="\xff"\n\xfe\xfd y=1\nx y=1\n')
    assert [fault[0] for fault in faults] == [1, 2]
    assert len(line.rows()) == 1


def test_comments_and_empty_lines_are_none(line: Line) -> None:
    assert line.faults("# a comment\n\n  \nx y=1\n\r\n") == []
    assert len(line.rows()) == 1


def test_escapes_are_undone(line: Line) -> None:
    row = line.one(r'my\ table,la\=b=c\,d,device=e\ f "q\ x"="a\"b\\c, d=1",w=2')
    assert (row.table.name, row.table.device) == ("my table", "e f")
    assert labels(row)["la=b"] == "c,d"
    assert values(row) == {'"q x"': 'a"b\\c, d=1', "w": 2.0}


def test_the_number_of_tables_and_columns_is_bounded() -> None:
    line = Line(max_tables=3, max_columns=2)
    faults = line.faults("\n".join(f"t{i} a=1" for i in range(5)) + "\nt0 a=1,b=1,c=1\nt0 a=2\n")
    assert [fault[0] for fault in faults] == [4, 5, 6]
    assert "3 tables already" in faults[0][2]
    assert "3 columns; expected at most 2" in faults[2][2]
    assert len(line.rows()) == 4, "those that are known go on"


def test_a_device_that_is_configured_later_is_refused_from_then_on(line: Line) -> None:
    assert not line.faults("t,device=d a=1")
    line.configured.add("d")
    assert "read by this gateway itself" in line.faults("t,device=d a=1")[0][2]


def test_an_unknown_precision_is_refused(line: Line) -> None:
    with pytest.raises(Refused, match="expected ns, us, ms or s"):
        line.take("t a=1", precision="fortnight")


# -- quality, as another gateway writes it


def test_quality_comes_with_the_values(line: Line) -> None:
    row = line.one('t,device=d a=1,b=2,_quality="b=UNCERTAIN:cpu_stop,c=BAD:timeout" 5')
    assert values(row) == {"a": 1.0, "b": 2.0, "c": None}
    assert row.marks == {1: Mark(Quality.UNCERTAIN, "cpu_stop"), 2: bad("timeout")}
    row = line.one('t,device=d a=1,_quality="*=UNCERTAIN:clock" 6')
    assert row.marks == {ALL: Mark(Quality.UNCERTAIN, "clock")}
    assert line.one('t,device=d a=1,_quality="" 7').marks is None


@pytest.mark.parametrize("text", ["b", "b=BAD", "a=GOOD:x", "a=BAD:", 'a=BAD:x=y\\"', "…(+3)"])
def test_a_quality_that_is_none_is_refused(line: Line, text: str) -> None:
    assert len(line.faults(f't a=1,_quality="{text}"')) == 1
    assert line.rows() == []


names = st.text(
    st.characters(codec="utf-8", exclude_categories=("C", "Z")) | st.sampled_from(' ,="'),
    min_size=1, max_size=12,
).filter(lambda t: t == t.strip() and t.isprintable() and "\\" not in t)  # fmt: skip


@settings(max_examples=150, deadline=None)
@given(
    table=names, label=names, value=names, column=names,
    number=st.floats(allow_nan=False, allow_infinity=False), integer=st.integers(0, 2**63 - 1),
    text=st.text(st.characters(codec="utf-8", exclude_categories=("Cc", "Cs", "Zl", "Zp")),
                 max_size=30),
)  # fmt: skip
def test_what_our_own_sink_writes_reads_back_as_it_was(
    table: str, label: str, value: str, column: str, number: float, integer: int, text: str
) -> None:
    own = ("gateway", "device", "module", "channel", "time", "via", "host", "_quality")
    if label in own or column in (*own, "n", "t", label) or table.startswith(("#", "gateway_")):
        return
    columns = [Column(column, "f8"), Column("n", "i8", store_int=True), Column("t", "str")]
    made = Table(table, "dev", columns, [("gateway", "g"), ("device", "dev"), (label, value)])
    row = Row(made, NOW_NS, make_parts(made, [number, integer, text]))
    document = {"type": "influxdb", "url": "http://127.0.0.1:1", "bucket": "b"}
    sink = InfluxSink("s", InfluxConfig.model_validate(document), Path("."))
    lines = b"".join(zlib.decompress(p.body, wbits=47) for p in sink.encode([Selected(row)]))
    line = Line()
    if label in ("n", "t"):
        return
    taken = line.take(lines)
    assert not taken.faults.count, (taken.faults.told, lines)
    (read,) = line.rows()
    assert (read.table.name, read.table.device, read.time_ns) == (table, "dev", NOW_NS)
    assert labels(read)[label] == value
    found = values(read)
    assert math.isclose(float(str(found[column])), number, rel_tol=1e-15)
    assert (found["n"], found["t"]) == (integer, text)


# -- hostile


@settings(max_examples=400, deadline=None)
@given(st.binary(max_size=400) | st.text(alphabet='abt,= "\\\n\r#1.5ieE-+u_0é\x00', max_size=200))
def test_whatever_comes_is_taken_or_refused_line_by_line(data: bytes | str) -> None:
    line = Line(max_tables=10_000)
    body = data if isinstance(data, bytes) else data.encode()
    taken = line.take(body)
    rows = line.rows()
    lines = [each for each in body.split(b"\n") if each.strip() and not each.startswith(b"#")]
    assert taken.rows == len(rows)
    assert len(rows) + taken.faults.count <= len(lines)
    for row in rows:
        for part in row.parts:
            if isinstance(part, np.ndarray):
                assert part.dtype.kind != "f" or np.isfinite(part).all() or row.marks
        assert row.time_ns > 0


def test_a_line_of_many_quotes_and_backslashes_costs_no_more_than_its_length() -> None:
    line = Line()
    begun = time.process_time()
    for body in (
        b'x y="' + b'\\"' * 30_000,
        b"x" + b"\\" * 60_000 + b" y=1",
        b'x y="' + b"\\" * 60_000,
    ):
        line.take(body)
    assert time.process_time() - begun < 2.0
    assert line.faults(b"x y=1" + b" " * 70_000)[0][2].startswith("a line of 70005 bytes")
