"""Rules over what was recorded: the same code on the recording's own time."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.alarms.replay import Replay, for_history
from gateway.alarms.rules import AlarmPlan
from gateway.errors import GatewayError
from gateway.model import Mark, Quality, Row, bad, make_parts
from gateway.sinks import Selected
from gateway.sinks.historian.playback import play_back
from tests.sinks.historykit import SECOND_NS, START_NS, historian
from tests.unit.enginekit import make_rules, process_table

HIGH = {"kind": "limits", "tag": "press_1.process.force", "high": 300, "on_delay_s": 3}
STALE = {"kind": "stale", "tag": "press_1.process.force", "after_s": 5}
TABLE = process_table()


def row(at_s: float, force: float, marks: dict[int, Mark] | None = None) -> Row:
    values = [force, 20.0, True, "tile-30", "running"]
    return Row(TABLE, START_NS + round(at_s * SECOND_NS), make_parts(TABLE, values), marks)


def test_delays_and_silence_are_those_of_the_recording() -> None:
    replay = Replay(AlarmPlan(make_rules([TABLE], {"force": HIGH, "stale": STALE})))
    replay.run([row(0, 100), row(10, 400), row(11, 400), row(30, 100)])
    replay.end(START_NS + 40 * SECOND_NS)
    found = [
        (t.alarm, str(t.state), round((t.time_ns - START_NS) / SECOND_NS, 1))
        for t in replay.transitions
    ]
    assert found == [
        ("stale", "unacknowledged", 5.0),
        ("stale", "returned", 10.0),
        ("force.high", "unacknowledged", 13.0),
        ("stale", "unacknowledged", 16.0),
        ("force.high", "returned", 30.0),
        ("stale", "returned", 30.0),
        ("stale", "unacknowledged", 35.0),
    ]


def test_a_recording_whose_time_steps_back_is_judged_in_its_order() -> None:
    replay = Replay(AlarmPlan(make_rules([TABLE], {"force": {**HIGH, "on_delay_s": 0}})))
    replay.run([row(10, 400), row(5, 100), row(6, 400)])
    assert [str(t.state) for t in replay.transitions] == [
        "unacknowledged", "returned", "unacknowledged",
    ]  # fmt: skip


def test_rows_come_back_from_the_historian_with_what_did_not_change(tmp_path: Path) -> None:
    sink = historian(tmp_path)
    only_force = tuple([part.kind == "f4" for _ in part.columns] for part in TABLE.parts)
    import numpy as np

    masks = tuple(np.array(mask) for mask in only_force)
    sink.store([Selected(row(0, 100.5), None)])
    sink.store([Selected(row(1, 400.25), masks)])
    sink.store([Selected(row(2, 0, {0: bad("timeout")}), None)])
    sink.store([Selected(row(3, 1.5, {0: Mark(Quality.UNCERTAIN, "cpu_stop")}), None)])
    sink.close()
    found = list(play_back(sink.path, [TABLE], 0, 2**62))
    assert [r.values()[0] for r in found] == [100.5, 400.25, None, 1.5]
    assert [r.values()[3] for r in found] == ["tile-30"] * 4
    assert [str(r.mark(0)) for r in found] == ["None", "None", "BAD:timeout", "UNCERTAIN:cpu_stop"]
    assert [r.time_ns for r in found] == [START_NS + i * SECOND_NS for i in range(4)]
    window = list(play_back(sink.path, [TABLE], START_NS + SECOND_NS, START_NS + SECOND_NS))
    assert [r.values()[0] for r in window] == [400.25]
    assert str(window[0].mark(1)) == "BAD:no_data"  # it is not known what it was before
    with pytest.raises(GatewayError, match="no history yet"):
        list(play_back(tmp_path / "none.db", [TABLE], 0, 1))


def test_silence_is_no_alarm_where_only_changes_are_stored() -> None:
    plan, left_out = for_history(AlarmPlan(make_rules([TABLE], {"force": HIGH, "stale": STALE})))
    assert left_out == ["press_1/stale"]
    replay = Replay(plan)
    replay.run([row(0, 400)])
    replay.end(START_NS + 60 * SECOND_NS)
    assert [t.alarm for t in replay.transitions] == ["force.high"]
