"""Bounded fan-out: who is slow loses the oldest rows, is told how many, and slows nobody."""

from __future__ import annotations

import numpy as np
import pytest

from gateway import hub as hub_module
from gateway.hub import ROW_CELLS, Dropped, Hub, Subscription, cells
from gateway.losses import Loss, LossLedger
from gateway.model import Column, Row, Table, make_parts


def table(name: str = "t", columns: int = 1) -> Table:
    return Table(name, "d", [Column(f"c{i}", "f4") for i in range(columns)])


def row(of: Table, time_ns: int) -> Row:
    return Row(of, time_ns, (np.zeros(len(of.columns), "f4"),))


def gateway_hub(max_cells: int) -> tuple[Hub, LossLedger, Subscription]:
    """A hub whose drops become losses, as the daemon has it."""
    ledger: LossLedger

    def dropped(what: Dropped) -> None:
        if what.table is not ledger.table:
            times = (what.first_ns, what.last_ns)
            ledger.record(Loss(what.subscription, "d", what.table.key, *times, what.rows,
                               "hub_overflow"))  # fmt: skip

    hub = Hub(dropped)
    ledger = LossLedger(hub.publish, "g")
    return hub, ledger, hub.subscribe("slow", max_cells=max_cells)


def test_rows_come_out_in_order_and_once() -> None:
    hub, _, queue = gateway_hub(10_000)
    of = table()
    for i in range(5):
        hub.publish(row(of, i))
    assert [r.time_ns for r in queue.drain()] == [0, 1, 2, 3, 4]
    assert queue.drain() == []
    assert hub.latest.get(of) is not None


def test_an_overflow_of_narrow_tables_is_counted_row_by_row_and_does_not_feed_itself() -> None:
    hub, ledger, queue = gateway_hub(100 * (ROW_CELLS + 2))
    tables = [table(f"t{i}") for i in range(40)]
    for i in range(4000):
        hub.publish(row(tables[i % 40], i))
    hub.report_drops()
    left = [r for r in queue.drain() if r.table is not ledger.table]
    hub.report_drops()  # what the reports pushed out in their turn
    assert ledger.rows_by_cause["hub_overflow"] + len(left) == 4000
    assert queue.dropped_rows >= 4000 - len(left)
    assert len(ledger.told()) <= 3 * 40, "a report a table, not one a row"


def test_rows_of_losses_and_alarms_outlast_those_of_machines_in_a_full_queue() -> None:
    hub, ledger, queue = gateway_hub(100 * (ROW_CELLS + 2))
    for i in range(3):
        ledger.record(Loss("other", "d", "t", i, i, 1, "spool_bound"))
    for i in range(4000):
        hub.publish(row(table(), i))
    assert [r.table for r in queue.drain()][:3] == [ledger.table] * 3


def test_even_losses_go_where_they_alone_would_fill_the_queue() -> None:
    _, ledger, queue = gateway_hub(20_000)
    for i in range(4000):
        ledger.record(Loss("other", "d", "t", i, i, 1, "spool_bound"))
    assert sum(map(cells, queue.drain())) <= 20_000


def test_what_a_full_queue_gives_up_is_told_once_it_has_room_or_at_the_end() -> None:
    hub, ledger, queue = gateway_hub(100 * (ROW_CELLS + 2))
    of = table()
    for at in range(0, 4000, 100):
        for i in range(100):
            hub.publish(row(of, at + i))
        hub.report_drops()
    assert ledger.told() == []
    left = len(queue.drain())
    hub.report_drops()
    (told,) = ledger.told()
    assert (told.loss.first_ns, told.loss.rows) == (0, 4000 - left)
    for i in range(1000):
        hub.publish(row(of, i))
    hub.report_drops(ending=True)
    before = ledger.rows_by_cause["hub_overflow"]
    assert before > 4000 - left
    for i in range(1000):
        hub.publish(row(of, i))
    hub.unsubscribe(queue)
    assert ledger.rows_by_cause["hub_overflow"] > before, "a sink that is removed"


def test_what_is_given_up_for_an_hour_is_told_in_a_full_queue_too(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    hub, ledger, _ = gateway_hub(100 * (ROW_CELLS + 2))
    of = table()
    for i in range(1000):
        hub.publish(row(of, i))
    hub.report_drops()
    assert ledger.told() == []
    monkeypatch.setattr(hub_module, "TELL_S", 0.0)
    hub.report_drops()
    assert len(ledger.told()) == 1


def test_the_bound_is_one_of_memory_texts_included() -> None:
    hub, _, queue = gateway_hub(20_000)
    of = Table("texts", "d", [Column("text", "str")])
    for i in range(100):
        hub.publish(Row(of, i, make_parts(of, ["x" * 1000])))
    assert len(queue) <= 20
    assert [r.time_ns for r in queue.drain()][-1] == 99, "the newest stay"


def test_a_listener_with_a_queue_of_its_own_makes_no_losses() -> None:
    hub, ledger, _ = gateway_hub(1_000_000)
    listener = Subscription("tail", 500, 10)
    hub.attach(listener)
    of = table()
    for i in range(100):
        hub.publish(row(of, i))
    hub.report_drops()
    assert listener.dropped_rows > 90
    assert not ledger.rows_by_cause
    hub.unsubscribe(listener)
    hub.publish(row(of, 100))
    assert listener.drain()[-1].time_ns == 99


def test_what_lies_there_after_the_consumers_ended_is_counted() -> None:
    hub, _, _ = gateway_hub(10_000)
    hub.publish(row(table(), 1))
    assert hub.close() == 1
