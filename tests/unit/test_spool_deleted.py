"""Somebody deletes or replaces files of a spool while it is in use."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway.spool.batch import Batch
from tests.unit.spoolkit import Bench, number


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """These tests are not about power cuts: they spare the disk."""
    monkeypatch.setattr("gateway.spool.segment.SYNCHRONOUS", "OFF")
    monkeypatch.setattr(os, "fdatasync", lambda fd: None)


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    made = Bench(tmp_path / "spool", segment_bytes=20_000)
    yield made
    made.spool.close(clean=True)


def fill(bench: Bench, count: int = 50, *, in_memory: int = 10) -> list[int]:
    """Batches over several segments, of which only the newest are in memory."""
    batches = [bench.put() for _ in range(count)]
    bench.spool.release(b.key for b in batches[: count - in_memory] if b.key)
    assert len(list(bench.folder.glob("*-data.db"))) >= 3
    return [number(b) for b in batches]


def as_killed(bench: Bench, folder: Path) -> Bench:
    """Another bench on the files as a kill at this moment would leave them."""
    shutil.copytree(bench.folder, folder)
    copy = Bench(folder, **bench.options)
    copy.tables = bench.tables
    return copy


def settled_up(bench: Bench, everything: list[int]) -> set[int]:
    """What is lost, once all that is left was delivered: each batch is one or the other."""
    held = [n for n in everything if n not in bench.lost()]
    bench.crash()
    assert bench.drain() == held
    return bench.lost()


@pytest.mark.parametrize("with_manifest", [False, True])
def test_an_old_segment_deleted_is_a_loss_of_what_was_not_in_memory(
    bench: Bench, with_manifest: bool
) -> None:
    everything = fill(bench)
    oldest = min(bench.folder.glob("*-data.db"))
    oldest.unlink()
    if with_manifest:
        oldest.with_suffix(".manifest").unlink()
    bench.spool.tick(idle=True)
    (loss,) = bench.losses
    lost = settled_up(bench, everything)
    assert lost == set(range(1, max(lost) + 1)) < set(everything)
    assert (loss.cause, loss.rows) == ("corrupt_segment", len(lost))
    assert oldest.name in loss.detail


def test_of_a_segment_without_manifest_what_was_delivered_is_no_loss(bench: Bench) -> None:
    batches = [bench.put() for _ in range(50)]
    bench.spool.settle(b.key for b in batches[:5] if b.key)
    bench.spool.release(b.key for b in batches[5:] if b.key)
    oldest = min(bench.folder.glob("*-data.db"))
    oldest.unlink()
    oldest.with_suffix(".manifest").unlink()
    bench.spool.tick(idle=True)
    left = bench.drain()
    assert sum(loss.rows for loss in bench.losses) == 50 - 5 - len(left) > 0


def test_a_deleted_segment_that_was_not_yet_looked_through_is_a_loss_too(bench: Bench) -> None:
    everything = fill(bench)
    bench.crash()
    oldest = min(bench.folder.glob("*-data.db"))
    oldest.unlink()
    oldest.with_suffix(".manifest").unlink()
    bench.spool.tick(idle=True)
    assert settled_up(bench, everything)


@pytest.mark.parametrize("with_manifest", [False, True])
def test_the_segment_that_is_written_to_is_written_anew(bench: Bench, with_manifest: bool) -> None:
    everything = fill(bench)
    newest = max(bench.folder.glob("*-data.db"))
    newest.unlink()
    if with_manifest:
        newest.with_suffix(".manifest").unlink()
    bench.spool.tick(idle=True)
    assert newest.exists()
    everything.append(number(bench.put()))
    assert settled_up(bench, everything) == set()


def test_a_deleted_log_is_noticed_before_a_kill_could_lose_it(bench: Bench, tmp_path: Path) -> None:
    everything = fill(bench)
    (log,) = bench.folder.glob("*-data.db-wal")
    log.unlink()
    bench.spool.tick(idle=False)
    with as_killed(bench, tmp_path / "killed").closing() as killed:
        assert killed.drain() == everything
        assert killed.losses == []
    everything.append(number(bench.put()))
    assert settled_up(bench, everything) == set()


def test_the_folder_deleted_costs_what_was_not_in_memory_and_says_so(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    everything = fill(bench)
    event = number(bench.put("events"))
    shutil.rmtree(bench.folder)
    bench.spool.tick(idle=True)
    everything.append(number(bench.put()))
    lost = bench.lost()
    assert lost
    assert lost < set(range(1, 41))
    assert len([r for r in caplog.records if r.levelname == "ERROR"]) == 2, "one a family"
    bench.crash()
    assert bench.drain() == [event, *(n for n in everything if n not in lost)]


def test_the_folder_renamed_is_begun_anew_and_what_lies_in_the_other_can_be_sent(
    bench: Bench, tmp_path: Path
) -> None:
    everything = fill(bench)
    bench.folder.rename(tmp_path / "moved")
    bench.spool.tick(idle=True)
    everything.append(number(bench.put()))
    lost = settled_up(bench, everything)
    assert lost
    moved = Bench(tmp_path / "moved", **bench.options)
    with moved.closing():
        assert lost <= set(moved.drain()), "a person can bring it back"


def test_losses_noted_outlive_the_file_that_notes_them(bench: Bench) -> None:
    for _ in range(300):
        bench.put_away(size=10_000)
    told = {loss.first_ns for loss in bench.losses}
    assert told
    bench.only("losses.jsonl").unlink()
    bench.spool.tick(idle=True)
    bench.losses.clear()
    bench.crash()
    assert {loss.first_ns for loss in bench.losses} == told


def test_what_a_deleted_segment_costs_is_noted_before_it_is_told(bench: Bench) -> None:
    fill(bench)
    min(bench.folder.glob("*-data.db")).unlink()
    bench.spool.tick(idle=True)
    told = sum(loss.rows for loss in bench.losses)
    bench.losses.clear()
    bench.crash()  # the row that tells was not stored yet
    assert sum(loss.rows for loss in bench.losses) == told > 0


@pytest.mark.parametrize("how", ["deleted", "replaced"])
def test_a_lost_manifest_is_written_anew_and_serves_again(bench: Bench, how: str) -> None:
    everything = fill(bench)
    for manifest in bench.folder.glob("*-data.manifest"):
        manifest.unlink()
        if how == "replaced":
            manifest.write_bytes(b'{"id":1}\n{"spans":7,"id":"x"}\n[]\n\xff')
    bench.spool.tick(idle=True)
    everything.append(number(bench.put()))
    bench.crash()
    segments = sorted(bench.folder.glob("*-data.db"))
    for path in segments if how == "deleted" else segments[-1:]:
        path.write_bytes(b"no database" * 1000)
        path.with_name(f"{path.name}-wal").unlink(missing_ok=True)
    left = bench.drain()
    assert bench.lost()
    assert sorted([*left, *bench.lost()]) == everything


def test_a_segment_replaced_by_an_old_copy_of_itself_is_noticed(bench: Bench) -> None:
    batches = [bench.put() for _ in range(50)]
    oldest = min(bench.folder.glob("*-data.db"))
    copy = oldest.read_bytes()
    bench.spool.settle(b.key for b in batches[:5] if b.key)
    bench.spool.release(b.key for b in batches[5:] if b.key)
    bench.spool.tick(idle=True)
    oldest.unlink()
    oldest.write_bytes(copy)
    bench.spool.tick(idle=True)
    assert bench.drain() == list(range(6, 51)), "nothing is sent again, and nothing is missing"
    assert bench.losses == []


def test_a_line_after_a_torn_one_is_whole(bench: Bench) -> None:
    bench.put()
    bench.spool._shelves["data"].close()
    manifest = bench.only("*-data.manifest")
    with manifest.open("ab") as file:
        file.write(b'{"id":9,"sp')
    bench.put()
    bench.crash()
    database = bench.only("*-data.db")
    database.write_bytes(b"")
    assert bench.drain() == []
    assert bench.lost() == {1, 2}


def test_what_was_noted_as_delivered_is_not_sent_again_after_a_kill_in_between(
    bench: Bench,
) -> None:
    for _ in range(10):
        bench.put()
    segment = bench.spool._shelves["data"].segments[-1]
    segment.manifest.append({"done": [1, 2, 3]}, sync=True)  # the database comes after it
    bench.crash()
    assert bench.drain() == list(range(4, 11))
    assert bench.losses == []


DELETED = {
    "database": ("*.db",),
    "manifest": ("*.manifest",),
    "log": ("*.db-wal",),
    "both": ("*.db", "*.manifest"),
    "all": ("*",),
}


@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.data())
def test_each_row_is_delivered_or_kept_or_told_whatever_is_deleted(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    folder = tmp_path_factory.mktemp("spool") / "s"
    bench = Bench(folder, max_bytes=1_000_000, segment_bytes=20_000)
    with bench.closing():
        _whatever(bench, data)


def _whatever(bench: Bench, data: st.DataObject) -> None:
    delivered: list[int] = []
    held: list[Batch] = []
    steps = st.sampled_from(["put"] * 8 + ["deliver", "deliver", "release", "tick", *DELETED])
    for step in data.draw(st.lists(steps, min_size=30, max_size=120)):
        if step == "put":
            held.append(bench.put(size=3_000))
        elif step == "deliver":
            held += bench.spool.take(5, 100_000)
            done, held = held[:4], held[4:]
            delivered += bench.deliver(done)
        elif step == "release":
            bench.spool.release(b.key for b in held if b.key)
            held = []
        elif step == "tick":
            bench.spool.tick(idle=data.draw(st.booleans()))
        else:
            _delete(bench.folder, DELETED[step], data)
            bench.spool.tick(idle=False)
    bench.spool.tick(idle=True)
    told = sum(loss.rows for loss in bench.losses)
    bench.crash()
    rest = bench.drain()
    assert len(rest) == len(set(rest)), "a batch came twice"
    assert set(rest).isdisjoint(delivered)
    assert len(rest) + len(delivered) + told == len(bench.tables)


def _delete(folder: Path, patterns: tuple[str, ...], data: st.DataObject) -> None:
    numbers = sorted({path.name.split("-")[0] for path in folder.glob("*-*")})
    if patterns == ("*",):
        shutil.rmtree(folder)
    elif numbers:
        one = data.draw(st.sampled_from(numbers))
        for pattern in patterns:
            for path in folder.glob(f"{one}-data{pattern[1:]}"):
                path.unlink()
