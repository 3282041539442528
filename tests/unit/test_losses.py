"""The ledger of losses, in memory and read back from the historian, and how both are listed."""

from __future__ import annotations

import itertools
import math
import random
import re
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from gateway.api.client import RequestFailed
from gateway.api.settings import ApiConfig
from gateway.losses import CAUSES, COUNTED_APART, KEPT, Loss, LossLedger, Told, loss_of
from gateway.model import Row
from gateway.sinks import Selected
from tests.sinks.historykit import Clock, historian, ramp, table
from tests.support import ROOT
from tests.unit.apikit import Plant, Served, served


def loss(number: int, cause: Any = "spool_bound") -> Loss:
    return Loss("influx", "hopper_4", "process", number, number + 5, 3, cause, "0001-data.db")


def test_a_loss_is_read_back_from_its_row_as_it_was() -> None:
    rows: list[Row] = []
    ledger = LossLedger(rows.append, "hall-3")
    for cause in CAUSES:
        ledger.record(loss(7, cause))
    for row, told in zip(rows, ledger.told(), strict=True):
        stored = dict(zip(row.table.columns, row.values(), strict=True))
        assert Told(row.time_ns, loss_of(stored)) == told
    assert loss_of({}) == Loss("", "", "", 0, 0, 0, "", "")  # type: ignore[arg-type]


def test_no_two_losses_have_the_same_time_whatever_thread_tells_them() -> None:
    ledger = LossLedger(lambda _: None, "g")
    threads = [
        threading.Thread(target=lambda: [ledger.record(loss(n)) for n in range(100)])
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    times = [told.time_ns for told in ledger.told()]
    assert len(times) == 400
    assert all(a < b for a, b in itertools.pairwise(times))


def test_the_ledger_keeps_the_last_and_counts_all() -> None:
    ledger = LossLedger(lambda _: None, "g")
    for n in range(KEPT + 10):
        ledger.record(loss(n))
    assert [told.loss.first_ns for told in ledger.told()] == list(range(10, KEPT + 10))
    assert ledger.status() == {"spool_bound": 3 * (KEPT + 10)}


def test_causes_that_are_counted_apart_are_causes() -> None:
    assert set(CAUSES) >= COUNTED_APART


def test_every_cause_is_explained() -> None:
    page = (ROOT / "docs" / "losses.md").read_text("utf-8")
    assert tuple(sorted(re.findall(r"^\| `([a-z_]+)` \|", page, re.M))) == tuple(sorted(CAUSES))


def test_rows_of_a_small_table_are_found_among_many_others(tmp_path: Path) -> None:
    clock = Clock()
    sink = historian(tmp_path, clock)
    rows: list[Row] = []
    ledger = LossLedger(rows.append, "hall-3")
    step_ns = 10**9
    others = [row for n in range(3) for row in ramp(table(2, f"t{n}"), 400)]
    for n in range(40):
        ledger.record(loss(n))
    told = [
        Selected(Row(ledger.table, clock.now_ns + n * 7 * step_ns + 1, row.parts))
        for n, row in enumerate(rows)
    ]
    mixed = others + told
    random.Random(4).shuffle(mixed)
    sink.store(mixed)

    def numbers(from_ns: int, most: int) -> list[int]:
        found = sink.newest_rows("gateway", "gateway_loss", from_ns, most)
        assert [t for t, _ in found] == sorted((t for t, _ in found), reverse=True)
        return [loss_of(row).first_ns for _, row in found]

    assert numbers(0, 100) == list(range(39, -1, -1))
    assert numbers(clock.now_ns + 35 * 7 * step_ns, 100) == [39, 38, 37, 36, 35]
    assert numbers(2**62, 100) == []
    assert sink.newest_rows("gateway", "gateway_event", 0, 9) == []
    sink.close()
    again = historian(tmp_path, clock)
    found = again.newest_rows("gateway", "gateway_loss", 0, 100)
    assert sorted(loss_of(row) for _, row in found) == sorted(loss(n) for n in range(40))
    again.close()


@pytest.fixture
def api(tmp_path: Path) -> Iterator[Served]:
    """A gateway that lost something, and whose historian has the losses of an earlier run."""
    sink = historian(tmp_path)
    rows: list[Row] = []
    earlier = LossLedger(rows.append, "hall-3")
    for n in range(3):
        earlier.record(loss(n))
    sink.store([Selected(row) for row in rows])
    plant = Plant(historian=sink)
    plant.hub.subscribe("history")
    with served(ApiConfig(socket=tmp_path / "gw.sock"), plant) as running:
        yield running
    sink.close()


def test_both_runs_are_listed_once_newest_first(api: Served) -> None:
    queue = api.plant.hub.subscribe("writer")
    for n in (10, 11, 12):
        api.plant.ledger.record(loss(n))
    half = queue.drain()[:2]  # the third is not in the historian yet
    assert api.plant.historian is not None
    api.plant.historian.store([Selected(row) for row in half])
    answer = api.client.get_json("/v1/losses", {"from": "-1d"})
    assert [x["first_ns"] for x in answer["losses"]] == [12, 11, 10, 2, 1, 0]
    assert answer["notes"] == []
    assert answer["rows_by_cause"] == {"spool_bound": 9}
    assert [x["first_ns"] for x in answer["recent"]] == [10, 11, 12]
    few = api.client.get_json("/v1/losses", {"from": "-1d", "max": 4})
    assert [x["first_ns"] for x in few["losses"]] == [12, 11, 10, 2]
    assert few["notes"] == ["there are more than 4: only the newest are listed"]
    assert api.client.get_json("/v1/losses", {"from": "now"})["losses"] == []


def test_without_from_nothing_but_this_run_is_told(api: Served) -> None:
    assert api.client.get_json("/v1/losses") == {"rows_by_cause": {}, "recent": []}


def test_a_wrong_time_is_told(api: Served) -> None:
    with pytest.raises(RequestFailed, match="'from' is no time: 'yesterday'") as caught:
        api.client.get_json("/v1/losses", {"from": "yesterday"})
    assert caught.value.status == 400


def test_without_a_historian_that_is_said(tmp_path: Path) -> None:
    plant = Plant()
    plant.lose()
    with served(ApiConfig(socket=tmp_path / "gw.sock"), plant) as running:
        answer = running.client.get_json("/v1/losses", {"from": "-1h"})
    assert len(answer["losses"]) == 1
    (note,) = answer["notes"]
    assert "no sink of type sqlite" in note


def test_a_historian_that_cannot_be_read_does_not_hide_the_losses_of_this_run(
    tmp_path: Path,
) -> None:
    sink = historian(tmp_path)
    (tmp_path / "history.db").mkdir()
    plant = Plant(historian=sink)
    plant.lose()
    with served(ApiConfig(socket=tmp_path / "gw.sock"), plant) as running:
        answer = running.client.get_json("/v1/losses", {"from": "-1h"})
    assert [x["rows"] for x in answer["losses"]] == [7]
    (note,) = answer["notes"]
    assert note.startswith("what earlier runs lost is not listed: the historian cannot be read")


def test_the_time_to_find_losses_does_not_grow_with_the_rows_of_others(tmp_path: Path) -> None:
    """They are found by the minutes in which there are any."""
    sink = historian(tmp_path)
    rows: list[Row] = []
    LossLedger(rows.append, "g").record(loss(1))
    first = Row(rows[0].table, 1_790_000_040_000_000_001, rows[0].parts)
    sink.store([Selected(first), *ramp(table(1), 100)])

    def best_s() -> float:
        best = math.inf
        for _ in range(5):
            begun = time.perf_counter()
            assert len(sink.newest_rows("gateway", "gateway_loss", 0, 10)) == 1
            best = min(best, time.perf_counter() - begun)
        return best

    few_s = best_s()
    sink.store(ramp(table(1, "later"), 60_000, from_ns=1_790_000_640_000_000_000))
    many_s = best_s()
    sink.close()
    assert many_s < 20 * few_s, (few_s, many_s)
