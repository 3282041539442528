"""What alarms cost, by ratio: judging against reading, and what whoever publishes waits for."""

from __future__ import annotations

import math
from pathlib import Path

from gateway.alarms.board import Board, Now
from gateway.alarms.captures import Captures
from gateway.alarms.engine import Engine
from gateway.hub import Hub
from gateway.latest import Latest
from tests.bench.alarms import _nobody, cost_s, plan_of, row_of, wide_table
from tests.unit.enginekit import Silent


def test_a_rule_costs_a_few_times_what_reading_its_value_costs() -> None:
    table = wide_table()
    plan = plan_of(table, 100)
    board, now, row = Board(Silent()), Now(1.0, 1), row_of(table, 100.0)
    board.update(plan, now)
    latest = Latest()
    latest.put(row)
    tags = [rule.condition.tags[0] for rule in plan.rules]
    reading_s = cost_s(lambda: [tag.read(latest, 1, math.inf) for tag in tags])
    judging_s = cost_s(lambda: board.put(row, now))
    assert judging_s < 8 * reading_s


def test_a_row_that_no_rule_wants_costs_hardly_more_than_nobody_listening(tmp_path: Path) -> None:
    table, other = wide_table(), wide_table()
    engine = Engine(plan_of(table, 1000), Hub().publish, "g", tmp_path, Captures(tmp_path, _nobody))
    engine.start()
    row = row_of(other, 100.0)
    put_s = cost_s(lambda: engine.put(row), 0.1)
    nothing_s = cost_s(lambda: len(row.table.columns), 0.1)
    engine.stop(10)
    assert put_s < 20 * nothing_s
    assert engine.status()["rows_missed"] == 0
