"""Live tags: found by name, read only where they are not BAD and not old."""

from __future__ import annotations

import math
import pickle

import numpy as np
import pytest

from gateway.analysis.livetags import LiveTag, Reading, resolve
from gateway.errors import GatewayError
from gateway.latest import Latest
from gateway.model import ALL, Column, Mark, Quality, Row, Scalar, Table, bad, bad_row, make_parts

NOW_NS = 1_800_000_000_000_000_000
SECOND_NS = 1_000_000_000

PROCESS = Table(
    "process",
    "plc_1",
    [
        Column("mode", "str"),
        Column("speed_rpm", "f4", "rpm"),
        Column("running", "b1"),
        Column("count", "u8"),
        Column("level", "f8"),
        Column("offset", "i8"),
        Column("oil.temp", "f4"),
    ],
    [("gateway", "g"), ("device", "plc_1")],
)
METER = Table("electricity", "plc_1", [Column("Pt", "f8")], [("module", "meter")])
DRIVE_END = Table("vibration", "pump", [Column("rms", "f8", "g")], [("channel", "drive_end")])
FREE_END = Table("vibration", "pump", [Column("rms", "f8", "g")], [("channel", "free_end")])
ODD = Table("day.shift", "press-1", [Column("oil temp", "f8")])
TABLES = (PROCESS, METER, DRIVE_END, FREE_END, ODD)
VALUES: list[Scalar] = ["auto", 45.2, True, 2**64 - 1, 0.1, -(2**63), 60.5]


def latest(age_s: float = 0.0, marks: dict[int, Mark] | None = None) -> Latest:
    newest = Latest()
    time_ns = NOW_NS - round(age_s * SECOND_NS)
    newest.put(Row(PROCESS, time_ns, make_parts(PROCESS, VALUES), marks))
    return newest


@pytest.mark.parametrize(
    ("text", "table", "column"),
    [
        ("plc_1.process.speed_rpm", PROCESS, 1),
        ("plc_1.process.oil.temp", PROCESS, 6),
        ("plc_1.electricity.meter.Pt", METER, 0),
        ("pump.vibration.free_end.rms", FREE_END, 0),
        ("press-1.day.shift.oil temp", ODD, 0),
    ],
)
def test_a_tag_is_found_by_its_name(text: str, table: Table, column: int) -> None:
    tag = resolve(text, TABLES)
    assert tag.table is table
    assert (tag.text, tag.column) == (text, column)


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("plc_1.process.sped_rpm", "did you mean 'plc_1.process.speed_rpm'?"),
        ("plc_1.process.Speed_RPM", "did you mean 'plc_1.process.speed_rpm'?"),
        ("plc_1.proces.running", "did you mean 'plc_1.process.running'?"),
        ("plc_2.process.running", "did you mean 'plc_1.process.running'?"),
        ("plc_1.electricity.metre.Pt", "did you mean 'plc_1.electricity.meter.Pt'?"),
        ("plc_1.electricity.Pt", "did you mean 'plc_1.electricity.meter.Pt'?"),
        ("plc_2.zzz.xyz", "did you mean the device 'plc_1'?"),
        ("pump.vibration.drive-end.rms", "did you mean 'pump.vibration.drive_end.rms'?"),
        ("pump.vibration.free_end.xyz", "tags of pump/vibration.free_end: rms"),
        ("pump.zzz.rms", "tables of 'pump': vibration.drive_end, vibration.free_end"),
        ("speed_rpm", "did you mean 'plc_1.process.speed_rpm'?"),
        ("zzz", "expected device.table.tag; devices: plc_1, press-1, pump"),
        ("", "expected device.table.tag"),
        ("plc_1.process.", "tags of plc_1/process: count, level"),
    ],
)
def test_an_unknown_name_is_answered_with_the_nearest(text: str, hint: str) -> None:
    with pytest.raises(GatewayError) as caught:
        resolve(text, TABLES)
    assert str(caught.value).startswith(f"unknown tag '{text}'; ")
    assert hint in str(caught.value)


def test_there_may_be_no_tables_at_all() -> None:
    with pytest.raises(GatewayError, match="devices: none"):
        resolve("plc.process.speed", ())


def test_a_name_that_means_two_tags_is_refused() -> None:
    one = Table("a", "d", [Column("b.c", "f8")])
    other = Table("a.b", "d", [Column("c", "f8")])
    with pytest.raises(GatewayError) as caught:
        resolve("d.a.b.c", (one, other))
    assert str(caught.value) == (
        "'d.a.b.c' is tag 'b.c' of d/a and tag 'c' of d/a.b; rename one of them"
    )


def test_values_are_plain_and_exact() -> None:
    newest = latest()
    for name, value in zip(PROCESS.columns, VALUES, strict=True):
        reading = resolve(f"plc_1.process.{name}", TABLES).read(newest, NOW_NS, 1.0)
        assert reading == Reading(value, "")
        assert type(reading.value) is type(value)
    assert resolve("plc_1.process.mode", TABLES).is_text
    assert not resolve("plc_1.process.running", TABLES).is_text


def test_without_a_row_there_is_no_data() -> None:
    assert resolve("plc_1.process.level", TABLES).read(Latest(), NOW_NS, 1.0) == (None, "no_data")


@pytest.mark.parametrize(
    ("age_s", "expected"),
    [(2.0, (0.1, "")), (2.001, (None, "stale")), (-2.0, (0.1, "")), (-2.001, (None, "clock"))],
)
def test_an_old_value_is_none_and_so_is_one_of_the_future(
    age_s: float, expected: tuple[Scalar, str]
) -> None:
    tag = resolve("plc_1.process.level", TABLES)
    assert tag.read(latest(age_s), NOW_NS, 2.0) == expected


@pytest.mark.parametrize(
    ("marks", "expected"),
    [
        ({4: bad("address_out_of_range")}, (None, "address_out_of_range")),
        ({3: bad("timeout")}, (0.1, "")),
        ({4: Mark(Quality.UNCERTAIN, "torn")}, (0.1, "torn")),
        ({ALL: Mark(Quality.UNCERTAIN, "cpu_stop")}, (0.1, "cpu_stop")),
        ({ALL: Mark(Quality.UNCERTAIN, "clock"), 4: bad("nan")}, (None, "nan")),
    ],
)
def test_the_quality_counts(marks: dict[int, Mark], expected: tuple[Scalar, str]) -> None:
    assert resolve("plc_1.process.level", TABLES).read(latest(0, marks), NOW_NS, 1.0) == expected


def test_of_a_lost_device_the_reason_is_told_however_old_it_is() -> None:
    newest = Latest()
    newest.put(bad_row(PROCESS, NOW_NS - 3600 * SECOND_NS, "timeout"))
    tag = resolve("plc_1.process.level", TABLES)
    assert tag.read(newest, NOW_NS, 1.0) == (None, "timeout")


@pytest.mark.parametrize("column", ["level", "speed_rpm"])
@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_number_that_is_not_finite_is_no_value(column: str, value: float) -> None:
    newest = Latest()
    values = [value if name == column else 0 for name in PROCESS.columns]
    newest.put(Row(PROCESS, NOW_NS, make_parts(PROCESS, values)))
    tag = resolve(f"plc_1.process.{column}", TABLES)
    assert tag.read(newest, NOW_NS, 1.0) == (None, "not_finite")


def test_pickled_with_its_table_it_still_reads_that_table() -> None:
    tag: LiveTag
    table: Table
    tag, table = pickle.loads(pickle.dumps((resolve("plc_1.process.count", TABLES), PROCESS)))
    assert tag.table is table
    newest = Latest()
    newest.put(Row(table, NOW_NS, make_parts(table, VALUES)))
    assert tag.read(newest, NOW_NS, 1.0).value == 2**64 - 1


def test_it_reads_the_same_as_the_row() -> None:
    columns = [Column(f"c{i}", ("f4", "i8", "b1", "f8", "u8")[i % 5]) for i in range(60)]
    table = Table("wide", "d", columns)
    numbers = np.random.default_rng(1).uniform(0, 100, len(columns))
    row = Row(table, NOW_NS, make_parts(table, [float(n) for n in numbers]))
    newest = Latest()
    newest.put(row)
    read = [LiveTag("", table, i).read(newest, NOW_NS, 1.0).value for i in range(len(columns))]
    assert read == row.values()
