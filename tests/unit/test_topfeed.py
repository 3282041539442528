"""The lines of `gateway top` out of documents of the API."""

from __future__ import annotations

import time
from typing import Any

from gateway.api.valueschemas import TagValue
from gateway.commands import topfeed

NOW_NS = 1_700_000_000_000_000_000


def value(tag: str, **more: Any) -> dict[str, Any]:
    labels = {"gateway": "g", "device": more.pop("device", "oven"), **more.pop("labels", {})}
    given = {"table": "process", "labels": labels, "tag": tag, "value": 1.5, "quality": "GOOD",
             "unit": "kW", "time_ns": NOW_NS, "reason": None, **more}  # fmt: skip
    return TagValue.model_validate(given).model_dump()


def device(state: str, **more: Any) -> dict[str, Any]:
    return {"state": state, "reason": None, "driver": "s7", "endpoint": "10.0.0.1", "polls": 4,
            "tags": 3, "tags_bad": 0, "errors": 0, "since_s": 3600.0,
            "lateness_ms": {"p50": 0.1, "p99": 0.234, "max": 1.5},
            "read_ms": {"p50": 4.0, "p99": 5.0, "max": 6.0}, **more}  # fmt: skip


def words(lines: list[topfeed.Line]) -> list[list[str]]:
    return [[cell.text for cell in line.cells] for line in lines]


def test_devices_come_with_the_worst_first() -> None:
    status = {"devices": {"a": device("good"), "b": device("lost", tags_bad=3, errors=1234),
                          "c": device("degraded", since_s=None)}}  # fmt: skip
    assert words(topfeed.device_lines(status)) == [
        ["b", "lost", "3", "3", "0.234", "1,234", "60 min"],
        ["c", "degraded", "3", "-", "0.234", "-", "-"],
        ["a", "good", "3", "-", "0.234", "-", "60 min"],
    ]


def test_bad_tags_of_a_device_are_named_by_reason() -> None:
    status = {"devices": {"oven": device("degraded", reason="2 of 3 tags bad")}}
    values = [
        value("t1", value=None, quality="BAD", reason="timeout"),
        value("t2", value=None, quality="BAD", reason="timeout", labels={"module": "m"}),
        value("t3", value=None, quality="BAD", reason="range"),
        value("t4"),
        value("t5", value=None, quality="BAD", reason="timeout", device="other"),
    ]
    text = topfeed.device_text("oven", status, values)
    assert text[0] == "oven: degraded: 2 of 3 tags bad"
    assert text[2:] == ["BAD: timeout: process.t1, process.m.t2", "BAD: range: process.t3"]
    assert topfeed.device_text("gone", status, values) == []


def test_values_are_found_by_all_words_and_bounded() -> None:
    values = [value(f"t{n}", labels={"module": "pump" if n % 2 else "fan"}) for n in range(10)]
    lines, found = topfeed.value_lines(values, "PUMP oven", 2)
    assert (len(lines), found) == (2, 5)
    assert words(lines)[0][:4] == ["oven/process.pump", "t1", "1.5 kW", "GOOD"]
    assert topfeed.value_lines(values, "pump fan", 9) == ([], 0)


def test_text_of_a_plc_neither_moves_the_cursor_nor_widens_the_table() -> None:
    (line,), _ = topfeed.value_lines([value("name", value="\x1b[2J" + "x" * 80, unit=None)], "", 9)
    cell = line.cells[2].text
    assert "\x1b" not in cell
    assert len(cell) <= 18
    assert "…" in cell


def test_a_long_name_keeps_both_its_ends() -> None:
    (line,), _ = topfeed.value_lines([value("temperature_of_bearing_1_left")], "", 9)
    assert line.cells[1].text == "temperatu…g_1_left"


ALARM = {"id": "oven/hot.high", "device": "oven", "alarm": "hot.high", "severity": "high",
         "state": "acknowledged", "condition": "high", "message": "too hot", "value": 91.5,
         "limit": 90.0, "unit": "degC", "first_out": True, "shelved_until_ns": None,
         "acknowledged_by": "anna", "why": "seen"}  # fmt: skip


def test_an_alarm_says_how_long_it_is_in_its_state_and_who_knows_of_it() -> None:
    (line,) = topfeed.alarm_lines([{**ALARM, "since_ns": time.time_ns() - int(3600.2e9 * 3)}])
    assert [c.text for c in line.cells] == ["high", "acknowledged", "oven", "hot.high", "3 h"]
    assert topfeed.alarm_text(line.key, [ALARM]) == [
        "too hot",
        "high, value 91.5 degC, limit 90 degC, the first of its device",
        "by anna: seen",
    ]
    assert topfeed.alarm_text("", []) == ["All alarms are normal, or this gateway has none."]


def test_a_clock_that_was_set_back_makes_no_negative_age() -> None:
    (line,) = topfeed.alarm_lines([{**ALARM, "since_ns": time.time_ns() + 10**12}])
    assert line.cells[4].text == "0 ms"


def test_a_sink_says_why_it_is_not_good_and_what_is_lost() -> None:
    sink = {"type": "influxdb", "state": "retrying", "error": "refused", "rows_stored": 12345,
            "pending_rows": 70, "spool_age_s": 90.0, "spool_bytes": 5_000_000, "rows_rejected": 2,
            "rows_lost": 0, "last_stored_s": 91.0, "dead_letters": 1}  # fmt: skip
    status = {"sinks": {"influx": sink}, "losses": {"unclean_stop": 3, "spool_age": 0}}
    assert words(topfeed.sink_lines(status)) == [
        ["influx", "retrying", "12,345", "70", "90 s", "2", "-"]
    ]
    assert topfeed.sink_text("influx", status) == [
        "influx: retrying: refused",
        "influxdb, stored 91 s ago, spool 5 MB, 1 dead letter",
        "Lost since the start: 3 rows by unclean_stop",
    ]
