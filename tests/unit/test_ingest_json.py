"""Rows as JSON, what collectd sends, and bodies that are packed, too large or broken."""

from __future__ import annotations

import gzip
import json
import zlib
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.ingest.bodies import MAX_TEXT, TooMuch
from gateway.ingest.intake import Busy
from gateway.model import Mark, Quality, bad
from tests.unit.ingestkit import NOW_NS, Line, labels, times, values


@pytest.fixture
def line() -> Line:
    return Line()


ROW: dict[str, Any] = {
    "device": "press_9", "table": "press", "module": "left", "time_ns": NOW_NS,
    "labels": {"line": "kiln"}, "units": {"force": "kN"}, "kinds": {"count": "u8"},
    "quality": {"mode": "UNCERTAIN:cpu_stop", "force": "GOOD"},
    "values": {"force": 12, "count": 2**63, "mode": "auto", "on": True, "pm10": None},
}  # fmt: skip


def text(**changes: Any) -> str:
    return json.dumps({k: v for k, v in {**ROW, **changes}.items() if v is not ...})


def test_an_object_becomes_a_row(line: Line) -> None:
    row = line.one(text(), "json")
    assert (row.table.device, row.table.key, row.time_ns) == ("press_9", "press.left", NOW_NS)
    assert values(row) == {
        "force": 12.0, "count": 2**63, "mode": "auto", "on": True, "pm10": None
    }  # fmt: skip
    assert row.table.kinds == ("f8", "u8", "str", "b1", "f8"), "3 is no other column than 3.5"
    assert row.table.units == ("kN", None, None, None, None)
    assert row.marks == {2: Mark(Quality.UNCERTAIN, "cpu_stop"), 4: bad("null")}
    assert labels(row)["line"] == "kiln"


@pytest.mark.parametrize("body", [f"[{text()}]", f'{{"rows": [{text()}]}}'])
def test_objects_come_in_lists(line: Line, body: str) -> None:
    assert values(line.one(body, "json"))["mode"] == "auto"


@pytest.mark.parametrize(
    ("item", "words"),
    [
        ("3", "a whole number; expected an object"),
        ("null", "a null; expected an object"),
        (text(tabel="x"), "unknown key 'tabel'; did you mean 'table'?"),
        (text(table=...), "table: expected text"),
        (text(table=3), "table: expected text"),
        (text(device=[]), "device: expected text"),
        (text(values=...), "values: expected an object"),
        (text(values={}, units={}, kinds={}, quality={}), "no values"),
        (text(values={"force": [1], "count": 1, "mode": 1}), "'force': a list; expected f8"),
        (text(values={"force": 1, "count": "x", "mode": 1}), "'count': a text; expected u8"),
        (text(values={"force": 1, "count": -1, "mode": 1}), "'count': -1 does not fit u8"),
        (text(kinds={"count": "u9"}), "kinds: 'u9' of 'count'; expected f4, f8"),
        (text(kinds={"cuont": "u8"}), "kinds: there is no value 'cuont'"),
        (text(units={"force": 1}), "units: expected texts"),
        (text(labels={"device": "x"}), "a label 'device': that name is the gateway's own"),
        (text(labels={"via": "plc"}), "a label 'via': that name is the gateway's own"),
        (text(quality={"mode": "bad"}), "a reason ''"),
        (text(quality={"nix": "BAD:x"}), "expected COLUMN=UNCERTAIN:REASON"),
        (text(time_ns="now"), "time_ns: a text; expected a whole number"),
        (text(time_ns=True), "time_ns: a boolean"),
        (text(time_ns=-1), "expected one after 1970"),
        (text(time_ns=NOW_NS * 2), "days ahead of this gateway's clock"),
        (text(device="press_1"), "read by this gateway itself"),
        (text(table="gateway_alarm"), "names of the gateway's own begin so"),
    ],
)
def test_a_wrong_object_is_refused_alone(line: Line, item: str, words: str) -> None:
    faults = line.faults(f"{text()}\n{item}\n\n{text(time_ns=NOW_NS + 1)}", "ndjson")
    assert len(faults) == 1
    assert faults[0][0] == 2
    assert words in faults[0][2]
    assert times(line.rows()) == [NOW_NS, NOW_NS + 1]
    assert line.faults(f"[{text(time_ns=5)},{item}]", "json")[0][0] == 2


def test_what_is_no_json_is_refused_at_its_place(line: Line) -> None:
    assert line.faults('{"table": }', "json")[0][:2] == (1, 11)
    faults = line.faults(f'{{"table": }}\n{text()}\n{{', "ndjson")
    assert [fault[:2] for fault in faults] == [(1, 11), (3, 2)]
    assert "not JSON" in faults[0][2]
    deep = "[" * 5000
    assert line.faults(deep, "json")
    assert line.faults('{"a":' * 5000, "ndjson")


def test_a_json_document_has_to_be_small_and_lines_do_not(line: Line) -> None:
    many = [text(time_ns=NOW_NS + i) for i in range(2000)]
    with pytest.raises(TooMuch, match="send one object a line"):
        line.take(f"[{','.join(many)}]", "json")
    assert line.take("\n".join(many), "ndjson").rows == 2000
    assert times(line.rows()) == [NOW_NS + i for i in range(2000)]


def collectd(**changes: Any) -> dict[str, Any]:
    return {
        "values": [0.5, None], "dstypes": ["gauge", "gauge"], "dsnames": ["rx", "tx"],
        "time": NOW_NS // 1000 / 1e6, "interval": 10.0, "host": "pc9", "plugin": "interface",
        "plugin_instance": "eth0", "type": "if_octets", "type_instance": "", **changes,
    }  # fmt: skip


def test_what_collectd_sends_is_taken(line: Line) -> None:
    row = line.one(json.dumps([collectd()]), "json")
    assert (row.table.device, row.table.key) == ("pc9", "interface.eth0.if_octets")
    assert values(row) == {"rx": 0.5, "tx": None}
    assert row.marks == {1: bad("nan")}
    assert abs(row.time_ns - NOW_NS) < 1_000_000
    wrong = [collectd(values=[1]), collectd(time=None), collectd(dsnames=[1, 2]), collectd(host=3)]
    assert len(line.faults(json.dumps(wrong), "json")) == 4
    assert line.rows() == []


@settings(max_examples=300, deadline=None)
@given(
    st.recursive(
        st.none() | st.booleans() | st.floats() | st.text(max_size=9) | st.integers(),
        lambda inner: (
            st.lists(inner, max_size=4)
            | st.dictionaries(st.sampled_from([*ROW, "plugin", "dsnames", "x", "force"]), inner)
        ),
        max_leaves=12,
    )
)
def test_any_json_is_taken_or_refused(document: Any) -> None:
    line = Line(max_tables=1000)
    taken = line.take(json.dumps(document), "json")
    assert len(line.rows()) == taken.rows
    base = {**ROW, "values": document if isinstance(document, dict) else {"a": document}}
    taken = line.take(json.dumps({**base, "kinds": {}, "units": {}, "quality": {}}), "ndjson")
    assert len(line.rows()) + taken.faults.count == 1


# -- bodies


def test_packed_bodies_are_unpacked(line: Line) -> None:
    body = gzip.compress(b"".join(b"t a=%d\n" % i for i in range(20_000)))
    assert line.take(body, is_gzip=True).rows == 20_000
    found = line.rows()
    assert [values(row)["a"] for row in found] == [float(i) for i in range(20_000)]
    assert times(found) == sorted(set(times(found)))


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"t a=1", "damaged gzip"),
        (gzip.compress(b"t a=1\n")[:-9], "its end is missing"),
        (gzip.compress(b"t a=1\n") + b"x", "something follows its end"),
        (zlib.compress(b"t a=1\n"), "damaged gzip"),
        (gzip.compress(b"#\n" * (MAX_TEXT // 2 + 1)), "unpacked it is longer than"),
        (gzip.compress(b"x" * 4_000_000), "a line without an end"),
    ],
    ids=["plain", "cut", "more", "zlib", "bomb", "endless"],
)
def test_packed_bodies_that_are_none_or_bombs_are_refused(
    line: Line, body: bytes, words: str
) -> None:
    with pytest.raises(TooMuch, match=words):
        line.take(body, is_gzip=True)


def test_rows_wait_for_room_and_never_push_out_others(line: Line) -> None:
    many = "\n".join(f"t a={i}" for i in range(60_000))
    with pytest.raises(Busy, match="there is no room"):
        line.take(many, timeout_s=0.0)
    assert line.queue.dropped_rows == 0
    waiting = len(line.queue)
    assert 10_000 < waiting < 30_000
    assert line.intake.status()["waiting_cells"] > 0
    line.rows()
    assert line.intake.status()["waiting_cells"] == 0
    assert line.take("t a=1", timeout_s=0.0).rows == 1
    line.intake.close()
    with pytest.raises(Busy, match="is stopping"):
        line.take("t a=1")


def test_rows_that_are_not_the_newest_change_nothing_that_is_live(line: Line) -> None:
    class Live:
        def __init__(self) -> None:
            self.times: list[int] = []

        def put(self, row: Any) -> None:
            self.times.append(row.time_ns)

    live = Live()
    line.hub.attach(live)
    for second in (5, 3, 5, 9):
        line.take(f"t a={second} {second}", precision="s")
    assert [t // 10**9 for t in times(line.rows())] == [5, 3, 5, 9], "the sinks get all"
    assert [t // 10**9 for t in live.times] == [5, 9]
    (newest,) = line.hub.latest.rows()
    assert newest.time_ns == 9 * 10**9
    assert line.intake.status()["rows_late"] == 2


def test_what_came_of_each_sender_is_counted(line: Line) -> None:
    line.take("t a=1\nt a=2\nx")
    status = line.intake.status()
    assert (status["rows"], status["refused"], status["messages"], status["tables"]) == (2, 1, 1, 1)
    assert status["senders"] == {"me": {"messages": 1, "rows": 2, "refused": 1}}
    for number in range(300):
        line.intake.note(f"s{number}", 1)
    assert len(line.intake.status()["senders"]) <= 201
