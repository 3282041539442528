"""Rolling aggregates: as computed directly, with gaps, doubts, losses and clocks that step."""

from __future__ import annotations

import logging
import pickle
import re
import time
from collections.abc import Sequence

import numpy as np
import pytest

from gateway.analysis.aggregates import MAX_VALUES, Aggregator, plan_aggregate
from gateway.analysis.rolling import FUNCTIONS
from gateway.errors import GatewayError
from gateway.hub import Hub
from gateway.model import ALL, Column, Mark, Quality, Row, Scalar, Table, bad, bad_row, make_parts

START_NS = 1_800_000_000_000_000_000
SECOND_NS = 1_000_000_000
LABELS = [("gateway", "g"), ("device", "plc"), ("line", "k2")]
PROCESS = Table(
    "process",
    "plc",
    [
        Column("mode", "str"),
        Column("level", "f4", "mm"),
        Column("running", "b1"),
        Column("count", "u8"),
        Column("flow", "f8", "m3/h"),
    ],
    LABELS,
    "process",
    1.0,
)
METER = Table(
    "electricity", "plc", [Column("Pt", "f8", "kW")], [*LABELS, ("module", "meter")], "process", 1.0
)
TABLES = (PROCESS, METER)


class Machine:
    """Rows of the table `process` once a second, and what becomes of them."""

    def __init__(
        self, functions: Sequence[str] = FUNCTIONS, window_s: float = 10.0, every_s: float = 5.0,
        tags: Sequence[str] = ("flow", "level"),
    ) -> None:  # fmt: skip
        self.out: list[Row] = []
        plans = plan_aggregate(TABLES, tags, "trend", functions, window_s, every_s)
        self.aggregator = Aggregator(plans, self.out.append)

    def row(
        self, at_s: float, flow: float = 0.0, level: float = 0.0, *, running: bool = True,
        count: int = 0, marks: dict[int, Mark] | None = None,
    ) -> None:  # fmt: skip
        parts = make_parts(PROCESS, ["auto", level, running, count, flow])
        time_ns = START_NS + round(at_s * SECOND_NS)
        self.aggregator.put(Row(PROCESS, time_ns, parts, marks))

    def lost(self, at_s: float, reason: str = "timeout") -> None:
        time_ns = START_NS + round(at_s * SECOND_NS)
        self.aggregator.put(bad_row(PROCESS, time_ns, reason))

    def times_s(self) -> list[float]:
        return [(row.time_ns - START_NS) / SECOND_NS for row in self.out]


def last(machine: Machine) -> dict[str, Scalar]:
    return {name: value for name, value, _ in machine.out[-1].items()}


def marks_of(row: Row) -> dict[str, str]:
    return {name: str(mark) for name, _, mark in row.items() if mark is not None}


# -- plans ------------------------------------------------------------------------------------


def test_a_plan_makes_the_table_to_be() -> None:
    plan, meter = plan_aggregate(TABLES, ["level", "meter.Pt"], "trend", ["mean", "slope", "count"],
                                 60.0, 10.0)  # fmt: skip
    assert (plan.source, plan.columns, plan.samples) == (PROCESS, (1,), 60)
    assert plan.target.key == "process_trend"
    assert plan.target.columns == ("level_mean", "level_slope", "level_count")
    assert plan.target.units == ("mm", "mm/s", None)
    assert plan.target.labels == PROCESS.labels
    assert (plan.target.group, plan.target.interval_s) == ("process", 10.0)
    assert meter.source is METER
    assert meter.target.key == "electricity_trend.meter"
    assert plan_aggregate(TABLES, ["running"], "x", ["slope"], 60.0, 10.0)[0].target.units == (
        "1/s",
    )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"tags": ["levle"]}, "the group has no tag 'levle'; did you mean 'level'?"),
        ({"tags": ["Pt"]}, "the group has no tag 'Pt'; known: count, flow, level, meter.Pt"),
        ({"tags": ["mode"]}, "'mode' is a text; expected a number or a bit"),
        ({"tags": []}, "there is nothing to aggregate"),
        ({"functions": ["men"]}, "unknown function 'men'; did you mean 'mean'?"),
        ({"window_s": 0.0}, "window_s: 0 is out of range; expected more than 0"),
        ({"every_s": -1.0}, "every_s: -1 is out of range"),
        ({"window_s": 0.5}, "window_s: 0.5 is less than one poll; expected at least 1"),
        ({"window_s": 86400.0, "tags": ["level", "flow", "count"]},
         f"3 tags x 86400 samples are 259200 values; expected at most {MAX_VALUES}"),
        ({"tables": (*TABLES, Table("process_trend", "plc", ()))},
         "there is a table 'process_trend' already; choose another name"),
        ({"tables": [Table("t", "plc", [Column("level", "f4")])]},
         "the table 't' is not polled at an interval"),
        ({"tables": [Table("t", "d", [Column("a", "f4"), Column("a_std", "f4")],
                           [("a_mean", "x")], "", 1.0)], "tags": ["a"]},
         "the column 'a_mean' has the name of a label"),
        ({"tables": (*TABLES, Table("t", "plc", [Column("meter.Pt", "f8")])),
          "tags": ["meter.Pt"]}, "'meter.Pt' is a tag of the group and one of a module"),
    ],
)  # fmt: skip
def test_mistakes_in_a_plan_get_words(change: dict[str, object], message: str) -> None:
    given: dict[str, object] = {
        "tables": TABLES,
        "tags": ["level"],
        "name": "trend",
        "functions": ["mean"],
        "window_s": 60.0,
        "every_s": 10.0,
    }
    with pytest.raises(GatewayError, match=re.escape(message)):
        plan_aggregate(**{**given, **change})  # type: ignore[arg-type]


def test_all_mistakes_are_told_at_once() -> None:
    with pytest.raises(GatewayError) as caught:
        plan_aggregate(TABLES, ["mode", "zzz"], "x", ["median"], 0.0, 1.0)
    assert len(str(caught.value).splitlines()) == 4


def test_plans_are_pickled_together_with_their_tables() -> None:
    plans = plan_aggregate(TABLES, ["level"], "trend", ["mean"], 60.0, 10.0)
    again, table = pickle.loads(pickle.dumps((plans, PROCESS)))
    assert again[0].source is table
    assert again[0].target.columns == ("level_mean",)


# -- windows ----------------------------------------------------------------------------------


def test_rows_come_on_the_grid_with_the_time_of_the_newest_sample() -> None:
    machine = Machine(["mean", "count"], window_s=10.0, every_s=5.0)
    for i in range(26):
        machine.row(i + 0.25, flow=float(i))
    assert machine.times_s() == [5.25, 10.25, 15.25, 20.25, 25.25]
    assert last(machine) == {
        "flow_mean": 20.5, "flow_count": 10, "level_mean": 0, "level_count": 10,
    }  # fmt: skip
    assert machine.out[-1].marks is None
    assert machine.out[0].table is machine.out[-1].table


def test_rows_that_come_at_no_regular_time_are_aggregated_too() -> None:
    machine = Machine(["mean", "count"], window_s=10.0, every_s=5.0, tags=["flow"])
    for at_s, flow in ((0.0, 1.0), (3.0, 2.0), (9.9, 3.0), (10.5, 4.0), (31.0, 5.0)):
        machine.row(at_s, flow)
    assert machine.times_s() == [9.9, 10.5, 31.0]
    assert [row.values() for row in machine.out] == [[2.0, 3.0], [3.0, 3.0], [5.0, 1.0]]


def test_every_function_of_a_ramp() -> None:
    machine = Machine(window_s=10.0, every_s=10.0, tags=["flow"])
    for i in range(11):
        machine.row(i, flow=1000.0 - 3.0 * i)
    assert last(machine) == pytest.approx(
        {"flow_mean": 983.5, "flow_std": np.std(3.0 * np.arange(10)), "flow_min": 970.0,
         "flow_max": 997.0, "flow_slope": -3.0, "flow_count": 10.0}
    )  # fmt: skip


def test_bits_count_as_0_and_1_and_large_integers_as_numbers() -> None:
    machine = Machine(["mean", "max"], window_s=4.0, every_s=4.0, tags=["running", "count"])
    for i in range(5):
        machine.row(i, running=i > 2, count=2**53 + 8 * i)
    assert last(machine) == {
        "running_mean": 0.5, "running_max": 1.0,
        "count_mean": 2.0**53 + 20, "count_max": 2.0**53 + 32,
    }  # fmt: skip


def test_float32_values_keep_their_shortest_digits() -> None:
    machine = Machine(["min", "max", "mean"], window_s=2.0, every_s=1.0, tags=["level"])
    for i in range(3):
        machine.row(i, level=45.2)
    assert machine.out[-1].values() == [45.2, 45.2, 45.2]


def test_bad_values_are_left_out() -> None:
    machine = Machine(["mean", "count"], window_s=10.0, every_s=10.0)
    for i in range(11):
        marks = {4: bad("nan")} if i % 3 == 1 else None
        machine.row(i, flow=1e9 if marks else 2.0, level=1.0, marks=marks)
    assert last(machine) == {
        "flow_mean": 2.0, "flow_count": 6, "level_mean": 1.0, "level_count": 10,
    }  # fmt: skip
    assert machine.out[-1].marks is None


def test_a_window_without_samples_is_bad_and_a_slope_needs_two() -> None:
    machine = Machine(window_s=10.0, every_s=10.0)
    for i in range(11):
        marks = {4: bad("nan")} if i != 5 else {}
        machine.row(i, flow=2.0, level=1.0, marks=marks | {1: bad("nan")})
    row = machine.out[-1]
    assert marks_of(row) == {
        **{f"level_{f}": "BAD:no_data" for f in FUNCTIONS if f != "count"},
        **{f"flow_{f}": "UNCERTAIN:few_samples" for f in ("mean", "std", "min", "max")},
        "flow_slope": "BAD:no_data",
    }
    values = last(machine)
    assert (values["flow_mean"], values["flow_std"], values["flow_count"]) == (2.0, 0.0, 1.0)
    assert (values["level_mean"], values["level_count"]) == (None, 0.0)


@pytest.mark.parametrize(("good", "mark"), [(4, "UNCERTAIN:few_samples"), (5, None)])
def test_less_than_half_of_the_samples_are_few(good: int, mark: str | None) -> None:
    machine = Machine(["mean", "count"], window_s=10.0, every_s=10.0, tags=["flow"])
    for i in range(11):
        machine.row(i, flow=2.0, marks=None if i > 10 - good else {4: bad("nan")})
    assert marks_of(machine.out[-1]).get("flow_mean") == mark
    assert last(machine)["flow_count"] == good


def test_what_is_made_of_uncertain_values_is_uncertain() -> None:
    machine = Machine(["mean", "count"], window_s=5.0, every_s=1.0)
    for i in range(50):  # long enough for the arrays to be used again
        marks = {
            8: {4: Mark(Quality.UNCERTAIN, "torn")},
            9: {ALL: Mark(Quality.UNCERTAIN, "clock")},
        }
        machine.row(i, flow=1.0, marks=marks.get(i))
    told = [marks_of(row) for row in machine.out]  # the first at 1 s
    few = "UNCERTAIN:few_samples"
    assert told[0] == {"flow_mean": few, "level_mean": few}
    assert told[1:7] == [{}] * 6
    assert told[7] == {"flow_mean": "UNCERTAIN:torn"}
    clock = "UNCERTAIN:clock"
    assert told[8:13] == [{"flow_mean": clock, "level_mean": clock}] * 5
    assert told[13:] == [{}] * 36


def test_a_lost_device_is_told_at_once_and_then_on_the_grid() -> None:
    machine = Machine(["mean", "count"], window_s=10.0, every_s=10.0, tags=["flow"])
    for i in range(8):
        machine.row(i, flow=4.0)
    for i in range(8, 22):
        machine.lost(i)
    assert machine.times_s() == [8.0, 10.0, 20.0]
    assert all(row.all_bad and str(row.mark(0)) == "BAD:timeout" for row in machine.out)
    for i in range(22, 31):
        machine.row(i, flow=6.0)
    assert machine.times_s()[3:] == [30.0]
    assert last(machine) == {"flow_mean": 6.0, "flow_count": 9.0}


def test_when_the_clock_steps_back_the_window_begins_anew() -> None:
    machine = Machine(["mean", "count"], window_s=10.0, every_s=5.0, tags=["flow"])
    for i in range(100, 111):
        machine.row(i, flow=1000.0)
    for i in range(50, 56):
        machine.row(i, flow=2.0)
    assert machine.times_s() == [105.0, 110.0, 55.0]
    assert last(machine) == {"flow_mean": 2.0, "flow_count": 6.0}


def test_when_the_clock_steps_forward_old_samples_are_out() -> None:
    machine = Machine(["mean", "count"], window_s=10.0, every_s=5.0, tags=["flow"])
    machine.row(0, flow=1000.0)
    machine.row(3600, flow=2.0)
    assert machine.out[-1].values() == [2.0, 1.0]


def test_a_row_that_comes_twice_counts_once() -> None:
    machine = Machine(["count"], window_s=10.0, every_s=5.0, tags=["flow"])
    for i in (0, 1, 1, 2, 2, 2, 5, 5):
        machine.row(i)
    assert [row.values() for row in machine.out] == [[4.0]]


def test_numbers_too_large_for_the_sum_are_bad() -> None:
    machine = Machine(["mean", "std", "max"], window_s=2.0, every_s=2.0, tags=["flow"])
    for i, flow in enumerate((0.0, -1.7e308, 1.7e308)):
        machine.row(i, flow=flow)
    assert marks_of(machine.out[-1]) == {"flow_mean": "BAD:overflow", "flow_std": "BAD:overflow"}
    assert last(machine)["flow_max"] == 1.7e308


def test_a_large_mean_costs_no_digits() -> None:
    machine = Machine(["std", "slope", "mean"], window_s=100.0, every_s=100.0, tags=["flow"])
    for i in range(101):
        machine.row(i, flow=1e9 + 1e-3 * i)
    values = last(machine)
    assert values["flow_std"] == pytest.approx(1e-3 * np.std(np.arange(100)), rel=1e-4)
    assert values["flow_slope"] == pytest.approx(1e-3, rel=1e-4)
    assert values["flow_mean"] == pytest.approx(1e9 + 0.0505, abs=1e-6)


def test_it_runs_long_in_the_same_memory_and_agrees_with_numpy() -> None:
    machine = Machine(["mean", "max", "slope"], window_s=7.0, every_s=1.0, tags=["flow"])
    flows = np.random.default_rng(5).normal(size=500)
    window = next(iter(machine.aggregator._windows.values()))[0]
    arrays = (window._times, window._values, window._doubts)
    for i, flow in enumerate(flows):
        machine.row(i, flow=float(flow))
        if i >= 7:
            newest = flows[i - 6 : i + 1]
            slope = np.polyfit(np.arange(7.0), newest, 1)[0]
            expected = [newest.mean(), newest.max(), slope]
            assert machine.out[-1].values() == pytest.approx(expected)
    now = (window._times, window._values, window._doubts)
    assert all(a is b for a, b in zip(arrays, now, strict=True))
    assert len(window._times) <= 2 * (7 + 2)


def test_it_is_attached_to_the_hub() -> None:
    hub = Hub()
    plans = plan_aggregate(TABLES, ["meter.Pt", "flow"], "trend", ["max"], 10.0, 2.0)
    hub.attach(Aggregator(plans, hub.publish))
    for i in range(5):
        time_ns = START_NS + i * SECOND_NS
        hub.publish(Row(METER, time_ns, make_parts(METER, [float(i)])))
        hub.publish(Row(PROCESS, time_ns, make_parts(PROCESS, ["", 0, True, 0, 10.0 * i])))
    newest = {row.table.key: row.values() for row in hub.latest.rows()}
    assert newest["electricity_trend.meter"] == [4.0]
    assert newest["process_trend"] == [40.0]


def test_a_failure_costs_the_aggregate_and_never_the_poll(
    caplog: pytest.LogCaptureFixture,
) -> None:
    out: list[Row] = []

    def publish(row: Row) -> None:
        if len(out) == 1:
            out.append(row)
            raise RuntimeError("full")
        out.append(row)

    plans = plan_aggregate(TABLES, ["flow"], "trend", ["count"], 10.0, 1.0)
    aggregator = Aggregator(plans, publish)
    with caplog.at_level(logging.ERROR):
        for i in range(6):
            parts = make_parts(PROCESS, ["", 0, True, 0, 1.0])
            aggregator.put(Row(PROCESS, START_NS + i * SECOND_NS, parts))
    assert [row.values() for row in out] == [[2.0], [3.0], [2.0], [3.0]]
    assert [record.getMessage() for record in caplog.records] == ["an aggregate failed"]


def test_rows_of_other_tables_cost_next_to_nothing() -> None:
    machine = Machine(window_s=100.0, every_s=1.0)
    other = Row(METER, START_NS, make_parts(METER, [1.0]))
    parts = make_parts(PROCESS, ["auto", 1.0, True, 0, 1.0])
    rows = [Row(PROCESS, START_NS + i * SECOND_NS, parts) for i in range(300)]

    def cost(rows: list[Row]) -> float:
        start = time.process_time()
        for row in rows:
            machine.aggregator.put(row)
        return time.process_time() - start

    own = cost(rows)
    # the least of some: garbage of the whole suite may be collected in any of them
    assert min(cost([other] * 300) for _ in range(3)) < own / 10
