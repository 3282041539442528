"""What a kill cost is told by the next start: of each table, from its last row to its first."""

from __future__ import annotations

import os

import numpy as np

from gateway.hub import Hub
from gateway.model import Column, Row, Table
from tests.sims import http_faults as hf
from tests.support import until
from tests.unit.writerkit import Line, leave_as_a_kill, line, stored

__all__ = ["line"]


def test_an_unclean_stop_is_told_when_a_table_comes_back(line: Line) -> None:
    with hf.faults(hf.STORED) as server:
        second = 1_000_000_000
        table = Table("t", "d", [Column("v", "i8")], interval_s=0.01)
        writer = line.influx(server.url)
        line.hub.publish(Row(table, second, (np.array([1]),)))
        until(stored(writer, 1))
        line.stop()
        leave_as_a_kill(line.folder, second + 30_000_000)
        line.hub = Hub()
        line.influx(server.url)
        line.hub.publish(Row(table, 5 * second, (np.array([1]),)))
        until(lambda: line.losses)
        line.stop()
    (loss,) = line.losses
    assert (loss.cause, loss.table, loss.rows) == ("unclean_stop", "t", 3)
    assert (loss.first_ns, loss.last_ns) == (second + 1, 5 * second - 1)


def test_a_kill_before_the_first_row_of_a_table_was_stored_is_told_though_others_had_rows(
    line: Line,
) -> None:
    with hf.faults(hf.STORED) as server:
        second = 1_000_000_000
        columns = [Column("v", "i8")]
        known, slow = (Table(n, "d", columns, interval_s=0.01) for n in ("known", "slow"))
        writer = line.influx(server.url)
        line.hub.publish(Row(known, second, (np.array([1]),)))
        until(stored(writer, 1))
        line.stop()
        leave_as_a_kill(line.folder, second + 30_000_000, second // 2)
        line.hub = Hub()
        line.influx(server.url)
        line.hub.publish(Row(known, 5 * second, (np.array([1]),)))
        for time_ns in (6 * second, 7 * second):
            line.hub.publish(Row(slow, time_ns, (np.array([1]),)))
        until(lambda: len(line.losses) == 2)
        line.stop()
    told = {loss.table: (loss.first_ns, loss.last_ns, loss.rows) for loss in line.losses}
    assert told["slow"] == (second // 2 + 1, 6 * second - 1, 53)
    assert told["known"] == (second + 1, 5 * second - 1, 3)
    assert len(line.losses) == 2, "each once"


def test_of_rows_that_come_now_and_then_a_kill_costs_what_came_last_and_no_hours(
    line: Line,
) -> None:
    with hf.faults(hf.STORED) as server:
        second = 1_000_000_000
        columns = [Column("v", "i8")]
        gated = Table("t", "d", columns, interval_s=0.01, steady=False)
        writer = line.influx(server.url)
        line.hub.publish(Row(gated, second, (np.array([1]),)))
        until(stored(writer, 1))
        line.stop()
        (line.folder / "spool" / "stopped").unlink()  # as a kill leaves it
        alive = line.folder / "spool" / "alive"
        alive.touch()
        killed_ns = 3600 * second  # the machine stood for an hour
        os.utime(alive, ns=(killed_ns - 60_000_000, killed_ns))
        line.hub = Hub()
        line.influx(server.url)
        line.hub.publish(Row(gated, 7200 * second, (np.array([1]),)))
        until(lambda: line.losses)
        line.stop()
    (loss,) = line.losses
    assert (loss.cause, loss.table, loss.rows) == ("unclean_stop", "t", 6), (
        "what was not stored then"
    )
    assert killed_ns - second < loss.first_ns < killed_ns
