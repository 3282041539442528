"""Whoever acknowledges rows is told when they are on disk in every sink, or that they are not."""

from __future__ import annotations

import threading
from pathlib import Path

import anyio
import numpy as np
import pytest

from gateway.hub import Hub, NotStored, Published, Subscription
from gateway.model import Column, Row, Table
from gateway.sinks.historian import HistorianConfig, HistorianSink
from gateway.writer import writer as writer_module
from tests.sims import http_faults as hf
from tests.support import until
from tests.unit.test_hub import row, table
from tests.unit.writerkit import TABLE, Line

OWN = Table("gateway_event", "gateway", [Column("event", "f4")])


class Told:
    def __init__(self, hub: Hub, published: Published) -> None:
        self.answers: list[bool] = []
        hub.when_stored(published, self.answers.append)


def settle(queue: Subscription, *, lost: bool = False) -> None:
    queue.drain()
    queue.settle(queue.drained, lost=lost)


def test_rows_are_stored_when_every_queue_is_settled_up_to_them() -> None:
    hub = Hub()
    one, two = hub.subscribe("one"), hub.subscribe("two")
    of = table()
    first = Told(hub, hub.publish_all([row(of, 1), row(of, 2)]))
    one.drain()
    second = Told(hub, hub.publish_all([row(of, 3)]))
    one.settle(one.drained, lost=False)
    assert first.answers == []
    settle(two)
    assert (first.answers, second.answers) == ([True], [])
    settle(one)
    assert second.answers == [True]
    assert Told(hub, hub.publish_all([])).answers == [True]


def test_without_any_sink_nothing_is_waited_for() -> None:
    hub = Hub()
    assert Told(hub, hub.publish_all([row(table(), 1)])).answers == [True]


def test_rows_that_an_overflow_pushes_out_are_not_stored() -> None:
    hub = Hub()
    queue = hub.subscribe("s", max_cells=4000)
    of = table()
    lost = Told(hub, hub.publish_all([row(of, 1)]))
    hub.publish_all([row(OWN, 1), row(OWN, 2)])
    last = hub.publish_all([row(of, i) for i in range(60)])
    kept = Told(hub, Published(tuple((q, end - 1, end) for q, _, end in last.spans)))
    hub.report_drops()
    assert lost.answers == [False]
    assert kept.answers == []
    drained = queue.drain()
    assert queue.drained == queue.end, "positions count all that ever came"
    assert [r.time_ns for r in drained][:2] == [1, 2], "what the gateway says itself is spared"
    queue.settle(queue.drained, lost=False)
    assert kept.answers == [True]


def test_what_the_consumer_gave_up_is_not_stored_and_what_follows_may_be() -> None:
    hub = Hub()
    queue = hub.subscribe("s")
    of = table()
    first = Told(hub, hub.publish_all([row(of, 1)]))
    settle(queue, lost=True)
    second = Told(hub, hub.publish_all([row(of, 2)]))
    settle(queue)
    assert (first.answers, second.answers) == ([False], [True])


def test_many_losses_are_remembered_in_bounded_memory() -> None:
    hub = Hub()
    queue = hub.subscribe("s")
    of = table()
    spans = []
    for number in range(300):
        spans.append(hub.publish_all([row(of, number)]))
        settle(queue, lost=number % 2 == 0)
    assert len(queue._lost) <= 64
    answers = [Told(hub, span).answers[0] for span in spans]
    assert not any(answers[0::2])
    assert all(answers[-61::2]), "of old ones more is called lost than was, never less"


def test_it_can_be_waited_for() -> None:
    hub = Hub()
    queue = hub.subscribe("s")
    of = table()

    async def main() -> None:
        good, wrong = hub.publish_all([row(of, 1)]), hub.publish_all([row(of, 2)])
        queue.drain()
        thread = threading.Thread(target=lambda: queue.settle(1, lost=False))
        thread.start()
        with anyio.fail_after(5):
            await hub.stored(good)
        thread.join()
        queue.settle(2, lost=True)
        with pytest.raises(NotStored, match="send them again"):
            await hub.stored(wrong)

    anyio.run(main)


# -- with real writers


def test_the_historian_has_rows_that_are_called_stored(tmp_path: Path) -> None:
    line = Line(tmp_path, flush_interval_s=60.0)
    document = {"type": "sqlite", "store_every_s": 0}
    sink = HistorianSink("s", HistorianConfig.model_validate(document), tmp_path)
    line.start(sink)
    told = Told(line.hub, line.hub.publish_all([Row(TABLE, 5, (np.array([7]),))]))
    until(lambda: told.answers == [True], what="far before the flush interval")
    assert sink.newest_rows("d", "m", 0, 10) == [(5, {"v": 7})]
    line.stop()


def test_rows_on_their_way_to_a_server_that_is_away_are_stored_in_the_spool(tmp_path: Path) -> None:
    line = Line(tmp_path, flush_interval_s=60.0)
    with hf.faults(hf.said("503 Service Unavailable")) as server:
        line.influx(server.url)
        told = Told(line.hub, line.hub.publish_all([Row(TABLE, 5, (np.array([7]),))]))
        until(lambda: told.answers == [True])
        line.stop()
    assert any((tmp_path / "spool").rglob("*.db"))


def test_rows_that_only_memory_has_are_not_stored_until_the_disk_is_back(tmp_path: Path) -> None:
    line = Line(tmp_path)
    (tmp_path / "spool").write_text("in the way")
    with hf.faults(hf.said("503 Service Unavailable")) as server:
        writer = line.influx(server.url)
        told = Told(line.hub, line.hub.publish_all([Row(TABLE, 5, (np.array([7]),))]))
        until(lambda: "spool" in str(writer.status()["error"]) and writer.status()["rows_accepted"])
        assert told.answers == []
        (tmp_path / "spool").unlink()
        until(lambda: told.answers == [True])
        line.stop()


def test_rows_that_no_disk_has_at_the_end_are_not_stored(tmp_path: Path) -> None:
    line = Line(tmp_path)
    (tmp_path / "spool").write_text("in the way")
    with hf.faults(hf.said("503 Service Unavailable")) as server:
        writer = line.influx(server.url)
        told = Told(line.hub, line.hub.publish_all([Row(TABLE, 5, (np.array([7]),))]))
        until(lambda: writer.status()["rows_accepted"])
        line.stop()
        assert told.answers == [False]


def test_a_hurry_costs_no_more_than_a_batch_each_tenth_of_a_second(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writer_module, "HURRY_S", 30.0)
    line = Line(tmp_path, flush_interval_s=60.0)
    with hf.faults(hf.STORED) as server:
        writer = line.influx(server.url)
        line.hub.when_stored(
            line.hub.publish_all([Row(TABLE, 5, (np.array([7]),))]), lambda _: None
        )
        until(lambda: writer.status()["pending_rows"] == 1)
        assert writer.status()["rows_accepted"] == 0
        line.stop()
