"""What a segment that is given up takes with it: each row and each loss is told exactly once."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway.losses import Loss
from gateway.spool.batch import Batch
from tests.sims import spool_evict, spool_mend
from tests.support import ROOT
from tests.unit.spoolkit import Bench

EVICTING = {"max_bytes": 600_000, "segment_bytes": 20_000}


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.spool.segment.SYNCHRONOUS", "OFF")
    monkeypatch.setattr("os.fdatasync", lambda fd: None)


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    made = Bench(tmp_path / "spool", **EVICTING)
    yield made
    made.spool.close(clean=True)


def numbers_in(losses: Iterable[Loss], table: str) -> Counter[int]:
    """How often each number of a table was told; a range must hold as many rows as it says."""
    found: Counter[int] = Counter()
    for loss in losses:
        if loss.table == table:
            assert loss.rows == loss.last_ns - loss.first_ns + 1
            found.update(range(loss.first_ns, loss.last_ns + 1))
    return found


@pytest.mark.parametrize("where", ["on-disk", "in-memory"])
def test_a_kill_at_any_call_while_events_are_given_up_leaves_an_exact_ledger(
    tmp_path: Path, where: str
) -> None:
    command = [sys.executable, "-m", "tests.sims.spool_evict", str(tmp_path), where]
    subprocess.run(command, cwd=ROOT, check=True, timeout=120)
    runs = [path for path in tmp_path.iterdir() if path.is_dir()]
    assert len(runs) > 10, "it was hardly killed"
    evicted = 0
    for folder in runs:
        stored = {int(line) for line in folder.with_suffix(".stored").read_text().split()}
        losses: list[Loss] = []
        bench = Bench(folder, max_bytes=10_000_000)
        losses = bench.losses
        with bench.closing():
            left = bench.spool.take(1_000, 10_000_000)
            spans = [span for batch in left for span in batch.stored.spans]
            rows = Counter(span.first_ns for span in spans if span.table == spool_evict.EVENT)
            told = Counter(note[1].first_ns for batch in left for note in batch.stored.told)
            bench.spool.settle(batch.key for batch in left if batch.key)
        lost = numbers_in(losses, spool_evict.EVENT)
        evicted += len(lost)
        told += numbers_in(losses, "lost before")
        # the kill may have come between the disk and the answer
        everything = {*stored, *(n for n in (*rows, *lost) if n == max(stored) + 1)}
        once = dict.fromkeys(everything, 1)
        assert dict(rows + lost) == once, f"killed at call {folder.name}"
        assert dict(told) == once, f"killed at call {folder.name}"
    assert evicted > len(runs)


@pytest.mark.parametrize("how", spool_mend.HOW)
def test_a_kill_at_any_call_while_a_damaged_segment_is_mended_leaves_an_exact_ledger(
    tmp_path: Path, how: str
) -> None:
    command = [sys.executable, "-m", "tests.sims.spool_mend", str(tmp_path), how]
    subprocess.run(command, cwd=ROOT, check=True, timeout=120)
    runs = [path for path in tmp_path.iterdir() if path.is_dir()]
    assert len(runs) > 10, "it was hardly killed"
    everything = dict.fromkeys(range(1, spool_mend.BATCHES + 1), 1)
    for folder in runs:
        bench = Bench(folder, max_bytes=10_000_000)
        with bench.closing():
            bench.spool.tick(idle=True)
            left = bench.spool.take(1_000, 10_000_000)
            bench.spool.settle(batch.key for batch in left if batch.key)
        spans = [span for batch in left for span in batch.stored.spans]
        rows = Counter(span.first_ns for span in spans if span.table == spool_evict.EVENT)
        told = Counter(note[1].first_ns for batch in left for note in batch.stored.told)
        bench.losses.clear()
        bench.open().close(clean=True)  # no row has told of any yet
        lost = numbers_in(bench.losses, spool_evict.EVENT)
        told += numbers_in(bench.losses, "lost before")
        assert lost, f"killed at call {folder.name}"
        assert dict(rows + lost) == everything, f"killed at call {folder.name}"
        assert dict(told) == everything, f"killed at call {folder.name}"


def test_events_given_up_are_told_by_this_run_and_what_they_told_by_the_next(bench: Bench) -> None:
    before = [Loss("sink", "d", "lost before", n, n, 1, "hub_overflow", "told") for n in (1, 2)]
    for loss in before:
        bench.spool.release([key] if (key := bench.put("events", 4_000, [loss]).key) else [])
    for _ in range(200):
        bench.put_away("events", 4_000)
    assert {1, 2} < bench.lost()
    assert numbers_in(bench.losses, "lost before") == {}
    bench.spool.close(clean=True)
    bench.losses.clear()
    bench.open()
    assert numbers_in(bench.losses, "lost before") == {1: 1, 2: 1}


@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.data())
def test_a_batch_in_memory_whose_segment_goes_is_delivered_or_lost_and_never_both(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    bench = Bench(tmp_path_factory.mktemp("spool") / "s", **EVICTING)
    bench.tables_apart = True
    with bench.closing():
        delivered, held = _in_memory(bench, data)
        delivered += bench.deliver(held)
        delivered += bench.drain()
        assert {(loss.table, loss.rows) for loss in bench.losses} == {
            (f"t{loss.first_ns}", 1) for loss in bench.losses
        }
        lost = [loss.first_ns for loss in bench.losses]
        assert Counter(delivered + lost) == dict.fromkeys(bench.tables, 1)


def _in_memory(bench: Bench, data: st.DataObject) -> tuple[list[int], list[Batch]]:
    delivered: list[int] = []
    held: list[Batch] = []
    steps = st.sampled_from(["put", "put", "put", "big", "deliver", "release", "keep", "tick"])
    for step in data.draw(st.lists(steps, min_size=30, max_size=120)):
        if step in ("put", "big"):
            held.append(bench.put(size=100_000 if step == "big" else 15_000))
        elif step == "deliver":
            held += bench.spool.take(2, 100_000)
            done, held = held[1:3], held[:1] + held[3:]
            delivered += bench.deliver(done)
        elif step == "release":
            away = [b for b in held if b.key]
            held = [b for b in held if not b.key]
            bench.spool.release(b.key for b in away if b.key)
        elif step == "keep":
            _keep(bench, [b for b in held if not b.key])
        else:
            bench.spool.tick(idle=data.draw(st.booleans()))
    return delivered, held


def _keep(bench: Bench, batches: list[Batch]) -> None:
    """As the writer does, as far as there is room."""
    for batch in batches:
        if bench.spool.size() + 400_000 < EVICTING["max_bytes"]:
            bench.spool.keep("data", [batch])
