"""The PostgreSQL sink against a real server: what stands in the tables, and each value once."""

from __future__ import annotations

import threading
import time
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway.alarms.rows import COLUMNS as ALARM_COLUMNS
from gateway.alarms.rows import NAME as ALARM
from gateway.api.audit import AuditLog
from gateway.errors import Rejected
from gateway.events import EventLog
from gateway.losses import Loss, LossLedger
from gateway.model import ALL, Column, Kind, Mark, Quality, Row, Selected, Table, bad, make_parts
from gateway.sinks.postgres import PostgresConfig, PostgresSink
from gateway.sinks.postgres.own import COLUMNS as OWN_COLUMNS
from gateway.wire import decode_batch
from tests.sinks.postgreskit import DAY_NS, Plant, plant, row, send, server, sink, table_of

__all__ = ["plant", "server", "sink"]

KINDS: tuple[Kind, ...] = ("f4", "f8", "i8", "u8", "b1", "str")
NOW = time.time_ns()
UNCERTAIN = Mark(Quality.UNCERTAIN, "clock")


def every_kind() -> Table:
    return table_of(*(Column(f"c_{kind}", kind, "mm") for kind in KINDS))


def test_every_kind_of_value_reads_back(sink: PostgresSink, plant: Plant) -> None:
    values = (408.35, 2.25, -(2**63), 2**64 - 1, True, 'ä\n"x\\')
    send(sink, row(every_kind(), NOW, *values))
    found = plant.ask("SELECT tag, f8, i8, u8, b1, str FROM sample JOIN tags USING (series_id)")
    assert sorted(found) == [
        ("c_b1", None, None, None, True, None),
        ("c_f4", 408.35, None, None, None, None),
        ("c_f8", 2.25, None, None, None, None),
        ("c_i8", None, -(2**63), None, None, None),
        ("c_str", None, None, None, None, 'ä\n"x\\'),
        ("c_u8", None, None, 2**64 - 1, None, None),
    ]
    shown = dict(plant.ask("SELECT tag, text FROM history"))
    assert shown["c_f4"] == "408.35"
    assert shown["c_u8"] == str(2**64 - 1)
    assert {unit for (unit,) in plant.ask("SELECT unit FROM tags")} == {"mm"}


def test_times_are_exact_to_the_nanosecond_and_know_no_time_zone(
    sink: PostgresSink, plant: Plant
) -> None:
    table = table_of(Column("v", "f8"))
    summer_ends = datetime(2026, 10, 25, 0, 30, tzinfo=UTC)  # 02:30 twice in Berlin
    first_ns = int(summer_ends.timestamp()) * 10**9 + 123_456_789
    send(sink, *(row(table, first_ns + hour * 3600 * 10**9, float(hour)) for hour in range(3)))
    plant.ask(f"ALTER DATABASE {plant.database} SET timezone TO 'Europe/Berlin'")
    found = plant.ask("SELECT time_ns, number FROM history ORDER BY time")
    assert found == [(first_ns + hour * 3600 * 10**9, hour) for hour in range(3)]
    assert plant.one("SELECT to_ns(to_time(%s))", first_ns) == first_ns // 1000 * 1000


def test_what_is_not_good_keeps_its_reason(sink: PostgresSink, plant: Plant) -> None:
    table = table_of(Column("a", "f4"), Column("b", "i8"), Column("c", "str"))
    send(
        sink,
        row(table, NOW, 1.5, 2, "x"),
        Selected(Row(table, NOW + 1, (), {ALL: bad("timeout")})),
        row(table, NOW + 2, 1.5, 2, "x", marks={1: bad("address"), ALL: UNCERTAIN}),
    )
    found = plant.ask("SELECT time_ns - %s, tag, text, quality, reason FROM history"
                      " ORDER BY time_ns, tag", NOW)  # fmt: skip
    assert found == [
        (0, "a", "1.5", "GOOD", None),
        (0, "b", "2", "GOOD", None),
        (0, "c", "x", "GOOD", None),
        (1, "a", None, "BAD", "timeout"),
        (1, "b", None, "BAD", "timeout"),
        (1, "c", None, "BAD", "timeout"),
        (2, "a", "1.5", "UNCERTAIN", "clock"),
        (2, "b", None, "BAD", "address"),
        (2, "c", "x", "UNCERTAIN", "clock"),
    ]


def test_columns_that_a_dead_band_left_out_have_no_line(sink: PostgresSink, plant: Plant) -> None:
    table = every_kind()
    values = (1.0, 2.0, 3, 4, True, "x")
    masks = tuple(np.array([kind in ("i8", "str")]) for kind in KINDS)
    send(sink, Selected(Row(table, NOW, make_parts(table, values)), masks))
    assert plant.ask("SELECT tag FROM history ORDER BY tag") == [("c_i8",), ("c_str",)]


ROWS = st.lists(
    st.tuples(
        st.integers(0, 40),  # time
        st.tuples(
            st.floats(width=32, allow_nan=False, allow_infinity=False),
            st.floats(allow_nan=False, allow_infinity=False),
            st.integers(-(2**63), 2**63 - 1),
            st.integers(0, 2**64 - 1),
            st.booleans(),
            st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=8),
        ),
        st.dictionaries(
            st.integers(-1, 5),
            st.sampled_from([bad("x"), Mark(Quality.UNCERTAIN, "y")]),
            max_size=3,
        ),
        st.lists(st.booleans(), min_size=6, max_size=6),
    ),
    min_size=1,
    max_size=12,
    unique_by=lambda r: r[0],
)


@settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck))
@given(ROWS)
def test_whatever_is_sent_reads_back(sink: PostgresSink, plant: Plant, given_rows: list) -> None:  # type: ignore[type-arg]
    table = every_kind()
    plant.ask("TRUNCATE sample")
    rows, expected = [], {}
    for time_ns, values, marks, keep in given_rows:
        made = Row(table, NOW + time_ns, make_parts(table, values), marks)
        rows.append(Selected(made, tuple(np.array([k]) for k in keep)))
        for c, (name, value) in enumerate(zip(table.columns, made.values(), strict=True)):
            mark = made.mark(c)
            is_bad = mark is not None and mark.quality is Quality.BAD
            if keep[c] or is_bad:
                said = None if is_bad else value
                expected[NOW + time_ns, name] = (said, None if mark is None else mark.reason)
    send(sink, *rows)
    found = plant.ask(
        "SELECT v.time_ns, s.tag, f8, i8, b1, u8, str, q.reason FROM sample AS v"
        " JOIN series AS s ON s.id = v.series_id LEFT JOIN quality AS q ON q.id = v.quality_id"
    )
    shown = {}
    for time_ns, tag, *values, reason in found:
        there = [v for v in values if v is not None]
        assert len(there) < 2
        shown[time_ns, tag] = (there[0] if there else None, reason)
    assert shown == expected


def test_the_same_batch_twice_is_there_once(sink: PostgresSink, plant: Plant) -> None:
    table = every_kind()
    rows = [row(table, NOW + i, i, i, i, 2**63 + i, True, "x") for i in range(100)]
    send(sink, *rows[:60])
    send(sink, *rows)  # the quick way meets what is there
    send(sink, *rows)
    assert plant.one("SELECT count(*) FROM sample") == 600
    assert sink.status()["values_known_already"] == 360 + 600


def test_a_row_twice_in_one_batch_is_there_once(sink: PostgresSink, plant: Plant) -> None:
    table = table_of(Column("v", "f8"))
    send(sink, row(table, NOW, 1.0), row(table, NOW, 1.0))
    assert plant.one("SELECT count(*) FROM sample") == 1


def test_two_writers_of_the_same_rows_store_each_once(plant: Plant, tmp_path: Path) -> None:
    sinks = [PostgresSink(f"plant{n}", plant.config(), tmp_path) for n in range(2)]
    table = table_of(*(Column(f"c{i}", "f8") for i in range(50)))
    batches = [[row(table, NOW + b * 100 + i, *([1.0] * 50)) for i in range(20)] for b in range(10)]
    failures: list[BaseException] = []

    def write(sink: PostgresSink) -> None:
        try:
            for batch in batches:
                send(sink, *batch)
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=write, args=(sink,)) for sink in sinks]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    for each in sinks:
        each.close()
    assert not failures
    assert plant.one("SELECT count(*) FROM sample") == 10 * 20 * 50
    assert plant.one("SELECT count(*) FROM series") == 50


def test_labels_in_another_order_are_the_same_source(sink: PostgresSink, plant: Plant) -> None:
    labels = [("gateway", "g"), ("device", "d"), ("line", "4")]
    for order in (labels, labels[::-1]):
        table = Table("t", "d", [Column("v", "f8")], order)
        send(sink, row(table, NOW, 1.0))
    assert plant.one("SELECT count(*) FROM source") == 1
    assert plant.one("SELECT count(*) FROM sample") == 1
    assert plant.one("SELECT labels->>'line' FROM tags") == "4"


def test_new_tags_and_units_come_without_a_restart(sink: PostgresSink, plant: Plant) -> None:
    send(sink, row(table_of(Column("a", "f8", "mm")), NOW, 1.0))
    send(sink, row(table_of(Column("a", "f8", "m"), Column("b", "str")), NOW + 1, 2.0, "x"))
    assert plant.ask("SELECT tag, unit FROM tags ORDER BY tag") == [("a", "m"), ("b", None)]
    assert plant.one("SELECT count(*) FROM history") == 3


def test_a_series_that_was_deleted_is_made_again(sink: PostgresSink, plant: Plant) -> None:
    table = table_of(Column("a", "f8"))
    send(sink, row(table, NOW, 1.0))
    plant.ask("DELETE FROM source")
    send(sink, row(table, NOW + 1, 2.0))
    assert plant.ask("SELECT number FROM history") == [(2.0,)]


def test_text_and_names_with_a_nul_are_taken(sink: PostgresSink, plant: Plant) -> None:
    table = Table("t\0", "d", [Column("a\0b", "str", "m\0")], [("device", "d"), ("l", "\0")])
    send(sink, row(table, NOW, "x\0y"))
    assert plant.ask("SELECT tag, unit, text FROM history") == [("a\ufffdb", "m\ufffd", "x\ufffdy")]


def test_values_outside_all_partitions_are_kept(sink: PostgresSink, plant: Plant) -> None:
    table = table_of(Column("v", "f8"))
    far = [0, -5, 4_000_000_000 * 10**9, 2**63 - 1, -(2**63)]
    old = [NOW - days * DAY_NS for days in (0, 30, 365)]
    send(sink, *(row(table, time_ns, 1.0) for time_ns in (*far, *old)))
    assert {t for (t,) in plant.ask("SELECT time_ns FROM sample")} == {*far, *old}
    assert plant.one("SELECT count(*) FROM sample_other") == len(far)
    made = time.time_ns() // (7 * DAY_NS)  # the week of NOW may have ended since
    weeks = {t // (7 * DAY_NS) for t in old} | {made, made + 1, made + 2}
    assert plant.one("SELECT count(*) FROM partitions") == len(weeks)


def test_the_gateways_own_rows_have_tables_of_their_own(sink: PostgresSink, plant: Plant) -> None:
    made: list[Row] = []
    LossLedger(made.append, "hall-3").record(
        Loss("influx", "press_1", "press", NOW, NOW + 5, 6, "spool_bound", "old")
    )
    EventLog(made.append, "hall-3").record("clock_step", "gateway", "3 s")
    labels = (("gateway", "hall-3"), ("device", "press_1"))
    alarm = Table(ALARM, "press_1", ALARM_COLUMNS, labels)
    values = dict.fromkeys(alarm.columns, "x") | {"alarm": "hot", "state": "unacknowledged"}
    values |= {"value": 91.5, "limit": 90.0, "first_out": True, "number": 7}  # type: ignore[dict-item]
    made.append(Row(alarm, NOW, make_parts(alarm, list(values.values()))))
    for _ in range(2):
        send(sink, *map(Selected, made))
    assert plant.ask("SELECT device_lost, rows, cause FROM gateway_loss") == [
        ("press_1", 6, "spool_bound")
    ]
    assert plant.ask("SELECT event, detail FROM gateway_event") == [("clock_step", "3 s")]
    assert plant.ask(
        'SELECT alarm, value, "limit", first_out, number, more FROM gateway_alarm'
    ) == [("hot", 91.5, 90.0, True, 7, None)]
    assert plant.ask("SELECT device, alarm, state FROM active_alarms") == [
        ("press_1", "hot", "unacknowledged")
    ]
    values["state"] = "normal"
    back = Row(alarm, NOW + 1, make_parts(alarm, list(values.values())))
    send(sink, Selected(back))
    assert plant.ask("SELECT * FROM active_alarms") == []


def test_the_schema_knows_every_column_of_the_gateways_own_tables() -> None:
    made: list[Row] = []
    tables = [
        LossLedger(made.append, "g").table,
        EventLog(made.append, "g").table,
        AuditLog(made.append, "g").table,
        Table(ALARM, "d", ALARM_COLUMNS),
    ]
    assert {t.name: set(t.columns) for t in tables} == {
        name: set(columns) for name, columns in OWN_COLUMNS.items()
    }


def test_a_column_that_a_newer_gateway_adds_is_kept(sink: PostgresSink, plant: Plant) -> None:
    columns = [Column(name, "str") for name in ("event", "about", "detail", "mood")]
    table = Table("gateway_event", "gateway", columns, [("gateway", "g"), ("device", "gateway")])
    send(sink, row(table, NOW, "e", "a", "d", "good"))
    assert plant.ask("SELECT event, more FROM gateway_event") == [("e", {"mood": "good"})]


def test_the_views_of_features_and_devices(sink: PostgresSink, plant: Plant) -> None:
    labels = (("gateway", "hall-3"), ("device", "pump"), ("channel", "DE"))
    features = Table("vib", "pump", [Column("rms", "f8", "mm/s")], labels, interval_s=1.0)
    send(sink, *(row(features, NOW + i, float(i)) for i in range(3)))
    sink.close()  # what it has seen last is noted at the latest now
    assert plant.ask("SELECT device, channel, feature, value, unit FROM latest_features") == [
        ("pump", "DE", "rms", 2.0, "mm/s")
    ]
    (found,) = plant.ask("SELECT gateway, device, tags, active_alarms, rows_lost_1d, last_row"
                         " FROM device_status")  # fmt: skip
    assert found[:5] == ("hall-3", "pump", 1, 0, 0)
    assert abs(found[5].timestamp() - NOW / 1e9) < 0.001


def test_a_payload_that_holds_no_rows_is_refused_for_good(sink: PostgresSink) -> None:
    with pytest.raises(Rejected, match="format lp"):
        sink.deliver(b"m v=1 1\n", "lp")
    with pytest.raises(Rejected, match="no rows"):
        sink.deliver(b'{"v":1}\n', "rows+json1")
    with pytest.raises(Rejected, match="no rows"):
        sink.deliver(b"\x1f\x8bnonsense", "rows+json1+gzip")


def test_payloads_have_a_bound_and_lose_nothing(sink: PostgresSink) -> None:
    wide = table_of(*(Column(f"c{i}", "f8") for i in range(30_000)))
    rows = [row(wide, NOW + i, *([float(i)] * 30_000)) for i in range(4)]
    payloads = sink.encode(rows)
    assert [p.rows for p in payloads] == [1, 1, 1, 1]
    times = [s.row.time_ns for p in payloads for s in decode_batch(p.body)]
    assert times == [s.row.time_ns for s in rows]
    assert {p.values for p in payloads} == {30_000}


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"schema": "Plant"}, "expected small letters"),
        ({"schema": "pg_plant"}, "expected small letters"),
        ({"ca_file": "/ca.pem"}, "expected verify-full"),
        ({"password_credential": "x", "password_file": "/x"}, "exclude each other"),
        ({"host": "postgres://db"}, "is a URL"),
    ],
)
def test_settings_that_make_no_sense_are_told(wrong: dict[str, str], words: str) -> None:
    given = {"type": "postgres", "database": "d", "user": "u", **wrong}
    with pytest.raises(ValueError, match=words):
        PostgresConfig.model_validate(given)
