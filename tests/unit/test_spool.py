"""The spool: order, bound, damage and reopening at any point."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway.spool import SpoolConfig, SpoolUnwritable
from gateway.spool.batch import Batch, Family
from gateway.spool.segment import Segment
from tests.unit.spoolkit import Bench, number


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """These tests are not about power cuts: they spare the disk."""
    monkeypatch.setattr("gateway.spool.segment.SYNCHRONOUS", "OFF")
    monkeypatch.setattr(os, "fdatasync", lambda fd: None)


def test_every_commit_is_synchronous(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    segment = Segment(tmp_path, 1, "data")
    segment.create()
    assert segment.db.execute("PRAGMA synchronous").fetchone() == (2,)
    assert segment.db.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    segment.close()


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    made = Bench(tmp_path / "spool")
    yield made
    made.spool.close(clean=True)


def test_what_was_stored_is_there_after_a_crash_in_order(bench: Bench) -> None:
    for _ in range(250):
        bench.put()
    bench.crash()
    assert bench.drain() == list(range(1, 251))
    assert bench.losses == []


def test_a_delivered_batch_is_not_sent_again_after_a_restart(bench: Bench) -> None:
    batches = [bench.put() for _ in range(10)]
    bench.spool.settle(b.key for b in batches[:5] if b.key)
    bench.put()
    bench.crash()
    assert bench.drain() == [6, 7, 8, 9, 10, 11]
    bench.crash()
    assert bench.drain() == []


def test_what_waits_is_told_as_soon_as_the_spool_is_open(bench: Bench) -> None:
    for _ in range(3):
        bench.put_away()
    with bench.closing():
        pass
    status = bench.open().status()
    assert (status["pending_batches"], status["pending_rows"]) == (3, 3)
    assert status["backlog_since_s"] is not None


def test_delivered_segments_leave_the_disk(bench: Bench) -> None:
    for _ in range(300):
        batch = bench.put()
        bench.spool.settle([batch.key] if batch.key else [])
        bench.spool.tick(idle=False)
    assert bench.disk() < 300_000
    assert bench.spool.status()["pending_rows"] <= 1


def test_a_released_batch_is_backlog_again_at_its_place(bench: Bench) -> None:
    batches = [bench.put() for _ in range(5)]
    assert not bench.spool.backlog()
    bench.spool.release(b.key for b in batches[1:4] if b.key)
    assert bench.spool.backlog()
    assert bench.drain() == [2, 3, 4]


def test_the_bound_gives_up_the_oldest_segments_and_says_so(bench: Bench) -> None:
    for _ in range(400):
        bench.put_away(size=10_000)
        assert bench.disk() <= 2_000_000
    told = sum(loss.rows for loss in bench.losses)
    kept = bench.crash() and bench.drain()
    assert kept == list(range(kept[0], 401))
    assert bench.lost() == set(range(1, kept[0]))
    assert {loss.cause for loss in bench.losses} == {"spool_bound"}
    assert told == kept[0] - 1
    assert len(kept) > 120, "far less was kept than there was room for"


def test_what_the_gateway_says_of_itself_goes_last(bench: Bench) -> None:
    first = bench.put_away("events")
    for _ in range(300):
        bench.put_away(size=10_000)
    assert first not in bench.lost() != set()
    bench.crash()
    assert bench.drain()[0] == first


def test_age_gives_up_a_segment_and_says_so(bench: Bench) -> None:
    for _ in range(150):
        bench.put_away()
        bench.clock.now += 1
    bench.clock.now += 86400 - 50
    bench.spool.tick(idle=True)
    assert {loss.cause for loss in bench.losses} == {"spool_age"}
    lost = bench.lost()
    bench.crash()
    assert bench.drain() == [n for n in range(1, 151) if n not in lost]


def test_a_wrong_checksum_costs_one_batch(bench: Bench) -> None:
    for _ in range(50):
        bench.put()
    bench.crash()
    with sqlite3.connect(bench.only("*-data.db")) as db:
        (body,) = db.execute("SELECT body FROM batch WHERE id=20").fetchone()
        flipped = body[:500] + bytes([body[500] ^ 1]) + body[501:]
        db.execute("UPDATE batch SET body=? WHERE id=20", (flipped,))
    db.close()
    assert bench.drain() == [n for n in range(1, 51) if n != 20]
    (loss,) = bench.losses
    assert (loss.cause, loss.first_ns, loss.rows) == ("corrupt_segment", 20, 1)
    assert bench.only("*.db.corrupt-*[0-9]")


def damage(path: Path, how: str) -> None:
    data = bytearray(path.read_bytes())
    wal = path.with_name(path.name + "-wal")
    if how == "header":
        data[:100] = b"\xa5" * 100
    elif how == "text":
        data = bytearray(b"this is no database\n" * 100)
    elif how == "root page":
        data[4096:8192] = b"\x5a" * 4096
    elif how == "one page":
        at = len(data) // 8192 * 4096
        data[at : at + 4096] = b"\xc3" * 4096
    elif how == "half the file":
        del data[len(data) // 2 :]
    elif how == "empty":
        data.clear()
    path.write_bytes(data)
    if how == "deleted":
        path.unlink()
        wal.unlink(missing_ok=True)


DAMAGE = ["header", "text", "root page", "one page", "half the file", "empty", "deleted"]


@pytest.mark.parametrize("how", DAMAGE)
def test_damage_is_put_aside_salvaged_and_the_rest_told(bench: Bench, how: str) -> None:
    for _ in range(60):
        bench.put(size=3000)
    bench.spool.close(clean=True)
    oldest = min(bench.folder.glob("*-data.db"))
    damage(oldest, how)
    bench.open()
    bench.put()
    left = [*bench.drain(), 61]
    assert (lost := bench.lost())
    assert {loss.cause for loss in bench.losses} == {"corrupt_segment"}
    assert sorted([*left, *lost]) == list(range(1, 62))
    assert left == sorted(left)
    if how == "one page":
        assert len(lost) < 5


def test_a_lost_log_is_noticed(bench: Bench) -> None:
    for _ in range(20):
        bench.put(size=100)
    copy = {p: p.read_bytes() for p in bench.folder.iterdir() if not p.name.endswith("-wal")}
    bench.spool.close(clean=True)
    for path, data in copy.items():  # as a disk would show it whose log was never written
        path.write_bytes(data)
    bench.open()
    assert bench.drain() == []
    assert bench.lost() == set(range(1, 21))


def test_damage_while_running_loses_nothing_that_is_in_memory(bench: Bench) -> None:
    batches = [bench.put() for _ in range(20)]
    bench.spool.release(b.key for b in batches[:10] if b.key)
    bench.spool._shelves["data"]._seal()
    damage(bench.only("*-data.db"), "header")
    left = bench.drain()
    assert bench.lost() == set(range(1, 11)) - set(left)
    bench.spool.release(b.key for b in batches[10:] if b.key)
    assert bench.drain() == list(range(11, 21))


def test_a_torn_manifest_is_no_obstacle(bench: Bench) -> None:
    for _ in range(20):
        bench.put()
    bench.crash()
    manifest = bench.only("*-data.manifest")
    manifest.write_bytes(manifest.read_bytes()[:-7] + b'\xff\x00{"id":')
    bench.open()
    assert bench.drain() == list(range(1, 21))
    assert bench.losses == []


def test_a_write_that_fails_goes_to_a_new_segment(bench: Bench) -> None:
    bench.put()
    bench.spool._shelves["data"].segments[-1].db.execute("PRAGMA query_only=ON")
    bench.put()
    assert bench.spool.disk.error == ""
    assert len(list(bench.folder.glob("*-data.db"))) == 2
    bench.crash()
    assert bench.drain() == [1, 2]


def test_a_folder_that_takes_nothing_is_said(tmp_path: Path) -> None:
    bench = Bench(tmp_path / "spool")
    bench.put()
    for path in bench.folder.iterdir():
        path.unlink()
    bench.spool._shelves["data"]._seal()
    bench.folder.rmdir()
    bench.folder.write_text("a file")
    with pytest.raises(SpoolUnwritable):
        bench.put()
    assert bench.spool.disk.error
    bench.folder.unlink()
    bench.put()
    assert bench.spool.disk.error == ""
    bench.spool.close(clean=True)


def test_a_loss_is_told_again_if_its_row_was_not_spooled_before_the_crash(bench: Bench) -> None:
    for _ in range(300):
        bench.put_away(size=10_000)
    told = len(bench.losses)
    assert told
    bench.crash()
    assert len(bench.losses) == 2 * told
    bench.spool.begin_round()
    bench.put("events", told=bench.losses[-told:-1])
    bench.crash()
    assert len(bench.losses) == 2 * told + 1, "one row was still on its way"


@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.data())
def test_order_and_bound_hold_and_nothing_vanishes_whatever_happens(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    bench = Bench(tmp_path_factory.mktemp("spool") / "s", max_bytes=600_000, segment_bytes=20_000)
    try:
        _whatever(bench, data)
    finally:
        bench.spool.close(clean=True)


def _whatever(bench: Bench, data: st.DataObject) -> None:
    stored: set[int] = set()
    delivered: list[int] = []
    held: list[Batch] = []
    steps = st.sampled_from(["put"] * 6 + ["big", "event", "deliver", "release", "tick", "crash"])
    for step in data.draw(st.lists(steps, min_size=20, max_size=120)):
        if step in ("put", "big", "event"):
            family: Family = "events" if step == "event" else "data"
            batch = bench.put(family, 60_000 if step == "big" else 2_000)
            stored.add(number(batch))
            held.append(batch)
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
            bench.crash()
            held = []
        assert bench.disk() <= 600_000
    bench.crash()
    rest = bench.drain()
    assert set(rest) <= stored
    assert stored == set(rest) | set(delivered) | bench.lost()
    assert set(rest).isdisjoint(bench.lost())
    assert len(rest) == len(set(rest)), "a batch came twice"


def test_the_checksum_covers_the_manifest_too(bench: Bench) -> None:
    bench.put()
    bench.put()
    bench.crash()
    with sqlite3.connect(bench.only("*-data.db")) as db:
        db.execute('UPDATE batch SET manifest=\'[["d","t",9,1,1]]\' WHERE id=1')
    db.close()
    assert bench.drain() == [2]
    assert bench.lost() == {1}


def test_too_small_a_bound_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 16MB"):
        SpoolConfig.model_validate({"max_bytes": "1MB"})
    assert SpoolConfig.model_validate({"max_bytes": "4GB"}).max_bytes == 4_000_000_000
