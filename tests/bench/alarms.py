"""(f) Alarms: what a row costs to be judged, and how long from a row until the alarm is told."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from gateway.alarms.board import Board, Now
from gateway.alarms.captures import Captures
from gateway.alarms.engine import Engine
from gateway.alarms.rules import AlarmPlan
from gateway.alarms.settings import FloodConfig
from gateway.analysis.stream import StreamAnalysis
from gateway.errors import GatewayError
from gateway.hub import Hub
from gateway.model import Column, Row, Table, make_parts
from tests.support import until
from tests.unit.enginekit import Silent, make_rules

RULES = (0, 1, 10, 100, 1000)
ALARMS = 300


def wide_table(tags: int = 1000) -> Table:
    columns = [Column(f"t{i}", "f4", "bar") for i in range(tags)]
    labels = [("gateway", "bench"), ("device", "m")]
    return Table("process", "m", columns, labels, "process", 0.1)


def plan_of(table: Table, rules: int) -> AlarmPlan:
    given = {
        f"r{i}": {"kind": "limits", "tag": f"m.process.t{i % 1000}", "high": 300, "hysteresis": 1}
        for i in range(rules)
    }
    flood = FloodConfig.model_validate({"alarms": 100_000})
    return AlarmPlan(make_rules([table], given), flood)


def row_of(table: Table, value: float, time_ns: int = 1) -> Row:
    return Row(table, time_ns, make_parts(table, [value] * len(table.columns)))


def cost_s(work: Callable[[], object], least_s: float = 0.3) -> float:
    """Seconds of this thread's CPU for one call: the best of five runs."""
    runs, took_s = 1, 0.0
    while took_s < least_s / 5:
        runs *= 2
        begun = time.thread_time()
        for _ in range(runs):
            work()
        took_s = time.thread_time() - begun
    best = took_s / runs
    for _ in range(4):
        begun = time.thread_time()
        for _ in range(runs):
            work()
        best = min(best, (time.thread_time() - begun) / runs)
    return best


def judging_s(rules: int) -> float:
    """Seconds to judge a row of 1000 tags by so many rules, all of them normal."""
    table = wide_table()
    board = Board(Silent())
    now = Now(1.0, 1)
    board.update(plan_of(table, rules), now)
    row = row_of(table, 100.0)
    return cost_s(lambda: board.put(row, now))


def handing_over_s(*, wanted: bool) -> float:
    """Seconds that whoever publishes a row waits for the alarms."""
    table, other = wide_table(), wide_table()
    with tempfile.TemporaryDirectory() as folder:
        engine = _engine(plan_of(table, 100), Hub(), Path(folder))
        engine._wanted = frozenset({table})  # it is not started: nobody empties it
        row = row_of(table if wanted else other, 100.0)
        return cost_s(lambda: engine.put(row))


def detection_ms(rules: int = 100) -> dict[str, float]:
    """From publishing a row until listeners have its alarm, with database and rows."""
    table, hub = wide_table(), Hub()
    with tempfile.TemporaryDirectory() as folder:
        engine = _engine(plan_of(table, rules), hub, Path(folder))
        hub.attach(engine)
        engine.start()
        told = 0
        for index in range(ALARMS):
            hub.publish(row_of(table, 400.0 if index % 2 == 0 else 100.0, time.time_ns()))
            told += rules
            until(lambda: engine.latency.count >= told)  # noqa: B023
        found = engine.latency.milliseconds()
        engine.stop(10)
    return found


def _engine(plan: AlarmPlan, hub: Hub, folder: Path) -> Engine:
    return Engine(plan, hub.publish, "bench", folder, Captures(folder, _nobody))


def _nobody(device: str, channel: str) -> tuple[StreamAnalysis, int]:
    raise GatewayError("no streams here")


def table() -> Sequence[str]:
    """The lines of the table."""
    lines = ["Alarms: rules on one table of 1000 tags", ""]
    lines += ["| rules | a row is judged in, us | of one core at 10 rows/s |", "|---|---|---|"]
    for rules in RULES:
        took_s = judging_s(rules)
        lines.append(f"| {rules} | {took_s * 1e6:.1f} | {took_s * 1000:.3f} % |")
    wanted, other = handing_over_s(wanted=True), handing_over_s(wanted=False)
    lines += ["", f"whoever publishes waits {wanted * 1e6:.2f} us for it "
              f"({other * 1e6:.2f} us where no rule wants the table)"]  # fmt: skip
    for rules in (1, 100):
        found = detection_ms(rules)
        lines.append(
            f"from the row to the listener, {rules} alarms a row, with the database: p50 "
            f"{found['p50']} ms, p99 {found['p99']} ms, most {found['max']} ms"
        )
    return lines


if __name__ == "__main__":
    print("\n".join(table()))
