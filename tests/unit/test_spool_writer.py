"""The writer above a spool whose disk fails, and beside a backlog that drains."""

from __future__ import annotations

import random
import shutil
import threading
import time
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gateway.hub import Hub
from gateway.losses import Loss
from gateway.model import Column, Row, Table
from gateway.sinks.influxdb import InfluxConfig, InfluxSink
from gateway.spool import Spool, SpoolConfig
from gateway.spool.manifest import Span
from gateway.spool.segment import Stored
from gateway.writer import Writer, WriterConfig
from gateway.writer.deliver import Backoff
from gateway.writer.lanes import LIVE_BYTES
from tests.faults import disks
from tests.sims import http_faults as hf
from tests.support import until

QUICK = Backoff(first_s=0.05, max_s=0.1, operator_s=0.05)
TABLE = Table("m", "d", [Column("v", "i8"), Column("s", "str")], [("device", "d")])
BUSY = hf.said("503 Busy")


class Store:
    """What a server has stored: the number of each row, and when it came."""

    def __init__(self, service_s: float = 0.0) -> None:
        self.arrived_s: dict[int, float] = {}
        self.times: dict[int, int] = {}
        self.batches: list[list[int]] = []
        self.bytes = 0
        self.is_up = True
        self._service_s = service_s
        self._never = threading.Event()

    def judge(self, body: bytes) -> bytes:
        """Store the rows of a request, in the time that this takes."""
        if not self.is_up:
            return BUSY
        self._never.wait(self._service_s)
        text = zlib.decompress(body, wbits=47) if body[:2] == b"\x1f\x8b" else body
        numbers = [
            int(line.split(b"v=")[1].split(b"i")[0].split(b",")[0].split(b" ")[0])
            for line in text.splitlines()
        ]
        now = time.monotonic()
        self.bytes += len(body)
        self.batches.append(numbers)
        for n in numbers:
            self.arrived_s.setdefault(n, now)
            self.times[n] = self.times.get(n, 0) + 1
        return hf.STORED


class Line:
    """A hub with one writer into a folder, as the daemon builds it."""

    def __init__(self, folder: Path, url: str, **writer: Any) -> None:
        self.folder = folder
        self.hub = Hub()
        self.losses: list[Loss] = []
        self.published_s: dict[int, float] = {}
        config = WriterConfig(**{"flush_interval_s": 0.05, **writer})
        document = {"type": "influxdb", "url": url, "bucket": "b", "timeout_s": 5.0}
        self.sink = InfluxSink("s", InfluxConfig.model_validate(document), folder)
        self.spool = Spool(folder / "spool", SpoolConfig(), "s", self.losses.append)
        self.writer = Writer(
            "s",
            self.sink,
            self.hub.subscribe("s", wake_at=config.batch_rows),
            config,
            self.spool,
            on_loss=self.losses.append,
            backoff=QUICK,
        )
        self.writer.start()

    def publish(self, text: str = "") -> int:
        """The next row."""
        n = len(self.published_s) + 1
        self.published_s[n] = time.monotonic()
        self.hub.publish(Row(TABLE, n, (np.array([n]), [text])))
        return n

    def accepted(self) -> bool:
        """Whether all rows are in batches."""
        return bool(self.writer.status()["rows_accepted"] == len(self.published_s))

    def settled(self) -> bool:
        """Whether all rows are on disk, and the round of the writer that did it is over."""
        return self.writer.subscription.settled == len(self.published_s)

    def publish_batch(self, text: str = "") -> None:
        """A row that is a batch of its own."""
        self.publish(text)
        until(self.accepted)

    def stop(self) -> None:
        """Idempotent."""
        assert self.writer.stop(5.0)
        self.sink.close()


@pytest.fixture
def store() -> Store:
    return Store()


@pytest.fixture
def server(store: Store) -> Iterator[hf.FaultServer]:
    with hf.faults(judge=store.judge) as made:
        yield made


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Path]:
    """A disk of 3 MB in memory."""
    with disks.in_memory(tmp_path / "disk", "size=3M") as place:
        yield place


def fill(place: Path) -> Path:
    """Another program takes all the room."""
    ballast = place / "ballast"
    with ballast.open("ab", buffering=0) as file, pytest.raises(OSError, match="No space"):
        while True:
            file.write(bytes(4096))
    return ballast


def left_on_disk(folder: Path, place: Path) -> int:
    """Rows that a kill at this moment would leave in the spool."""
    shutil.copytree(folder / "spool", place)
    spool = Spool(place, SpoolConfig(), "s", lambda loss: None)
    spool.open()
    rows = sum(batch.stored.rows for batch in spool.take(100_000, 1_000_000_000))
    spool.close(clean=True)
    return rows


FIRST_OLD = 1_000_000


def leave_backlog(folder: Path, batches: int, *, rows: int = 1, text: str = "") -> None:
    """What an earlier run could not deliver."""
    spool = Spool(folder / "spool", SpoolConfig(), "s", lambda loss: None)
    spool.open()
    for first in range(FIRST_OLD, FIRST_OLD + batches * rows, rows):
        numbers = range(first, first + rows)
        body = "".join(f'm,device=d v={n},s="{text}" {n}\n' for n in numbers).encode()
        span = Span("d", "m", rows, first, numbers[-1])
        made = spool.put("data", [Stored(body, "lp", rows, 2 * rows, (span,))])
        spool.release(batch.key for batch in made if batch.key)
    spool.close(clean=True)


def ages_s(line: Line, store: Store, since: int = 0) -> list[float]:
    """How old each live row was when it was stored; those that wait longest count, too."""
    until(lambda: line.published_s.keys() <= store.arrived_s.keys(), what="the last live rows")
    return [store.arrived_s[n] - at for n, at in line.published_s.items() if n > since]


@pytest.mark.parametrize(
    ("service_s", "flush_interval_s", "batches", "replay"),
    [(0.005, 0.5, 600, 10.0), (0.25, 0.5, 12, 0.5)],
    ids=["a sink that allows it", "a sink that is hardly fast enough"],
)
def test_live_rows_stay_young_while_a_backlog_drains(
    tmp_path: Path, service_s: float, flush_interval_s: float, batches: int, replay: float
) -> None:
    store = Store(service_s)
    leave_backlog(tmp_path, batches)
    with hf.faults(judge=store.judge) as server:
        line = Line(tmp_path, server.url, flush_interval_s=flush_interval_s)

        def drained() -> bool:
            line.publish()  # all the while
            return FIRST_OLD + batches - 1 in store.arrived_s

        try:
            until(drained, 45.0, "the backlog to drain")
            during = list(store.batches)
            young = ages_s(line, store)
        finally:
            line.stop()
    old = [numbers for numbers in during if numbers[0] >= FIRST_OLD]
    assert [numbers[0] for numbers in old] == list(range(FIRST_OLD, FIRST_OLD + batches))
    assert max(young) < 2.0
    assert len(old) > replay * (len(during) - len(old))
    print(
        f"oldest live row {max(young):.2f} s; {len(old)} old, {len(during) - len(old)} live batches"
    )
    assert set(store.arrived_s) >= set(line.published_s)
    assert line.losses == []


def test_live_rows_do_not_wait_for_the_end_of_a_long_batch_on_a_slow_line(tmp_path: Path) -> None:
    store = Store()
    rate, rows, batches = 150_000.0, 100, 3
    leave_backlog(tmp_path, batches, rows=rows, text="x" * 4_000)
    whole_s = rows * 4_000 / rate
    last = FIRST_OLD + batches * rows - 1
    with hf.faults(judge=store.judge, rate=rate) as server:
        line = Line(tmp_path, server.url, flush_interval_s=0.3)

        def drained() -> bool:
            line.publish()
            return last in store.arrived_s

        try:
            until(drained, 40.0, "the backlog to drain")
            young = ages_s(line, store)
        finally:
            line.stop()
    assert len(young) > 20
    assert max(young) < min(2.0, whole_s)
    assert sorted(n for n in store.arrived_s if n >= FIRST_OLD) == list(range(FIRST_OLD, last + 1))
    pieces = sum(numbers[0] >= FIRST_OLD for numbers in store.batches)
    assert pieces < 25 * batches, "each costs a round trip"
    assert set(store.times.values()) == {1}
    assert line.losses == []


def test_what_an_outage_has_left_in_memory_does_not_delay_live_rows(tmp_path: Path) -> None:
    store = Store(0.08)
    store.is_up = False
    with hf.faults(judge=store.judge) as server:
        line = Line(tmp_path, server.url, flush_interval_s=0.3)
        try:
            for _ in range(15):
                line.publish_batch()
            until(lambda: line.writer.status()["state"] == "retrying")
            away = len(line.published_s)
            line.writer.status()
            store.is_up = True
            until(lambda: line.publish() and len(store.arrived_s) > away + 20, 30.0)
            young = ages_s(line, store, since=away)
        finally:
            line.stop()
    assert max(young) < 2.0
    assert set(store.arrived_s) == set(line.published_s)
    assert line.losses == []


def test_a_full_disk_costs_nothing_while_the_sink_takes_rows(
    small: Path, store: Store, server: hf.FaultServer
) -> None:
    line = Line(small, server.url)
    try:
        line.publish_batch()
        ballast = fill(small)
        for _ in range(30):
            line.publish_batch("x" * 1000)
        fill(small)
        for _ in range(30):
            line.publish_batch(random.Random(1).randbytes(20_000).hex())
        until(lambda: len(store.arrived_s) == len(line.published_s))
        assert "full" in line.writer.status()["error"]
        assert line.writer.status()["state"] == "retrying"
        ballast.unlink()
        line.publish_batch()
        until(lambda: line.writer.status()["error"] is None)
        until(lambda: line.writer.status()["pending_rows"] == 0)
    finally:
        line.stop()
    assert set(store.times) == set(line.published_s)
    assert set(store.times.values()) == {1}
    assert line.losses == []


def test_what_memory_held_is_on_disk_once_there_is_room_though_the_sink_is_away(
    small: Path, tmp_path: Path, store: Store, server: hf.FaultServer
) -> None:
    store.is_up = False
    line = Line(small, server.url)
    try:
        for _ in range(10):
            line.publish_batch()
        line.spool.disk.error = ""
        ballast = fill(small)
        while "full" not in (line.writer.status()["error"] or ""):
            line.publish_batch(random.Random(2).randbytes(10_000).hex())
        fill(small)
        for _ in range(10):
            line.publish_batch()
        rows = len(line.published_s)
        until(lambda: line.writer.status()["pending_rows"] == rows)
        ballast.unlink()
        until(line.settled, what="all on disk")
        assert line.writer.status()["pending_batches"] == rows
        assert left_on_disk(small, tmp_path / "killed") == rows
        assert line.writer.status()["pending_rows"] == rows
        assert line.losses == []
        store.is_up = True
        until(lambda: line.writer.status()["pending_rows"] == 0)
    finally:
        line.stop()
    assert set(store.times) == set(line.published_s)
    assert set(store.times.values()) == {1}


def test_at_the_stop_what_memory_held_goes_to_disk_if_that_takes_it(
    small: Path, tmp_path: Path, store: Store, server: hf.FaultServer
) -> None:
    store.is_up = False
    line = Line(small, server.url, flush_interval_s=60.0, batch_rows=1)
    try:
        ballast = fill(small)
        line.publish_batch()
        until(lambda: (line.writer.status()["error"] or "").startswith("spool: "))
        assert line.writer.status()["pending_batches"] == 0
        ballast.unlink()
    finally:
        line.stop()
    assert left_on_disk(small, tmp_path / "stopped") == 1
    assert line.losses == []


def test_memory_is_bounded_and_what_it_cannot_hold_is_told(
    small: Path, store: Store, server: hf.FaultServer
) -> None:
    store.is_up = False
    line = Line(small, server.url, batch_rows=20)
    chance = random.Random(3)
    try:
        ballast = fill(small)
        while not line.losses:
            for _ in range(20):
                line.publish(chance.randbytes(25_000).hex())
            until(line.accepted)
            assert len(line.published_s) < 2000, "memory is not bounded"
        fill(small)
        line.publish_batch()
        ballast.unlink()
        store.is_up = True
        until(lambda: line.writer.status()["pending_rows"] == 0)
    finally:
        line.stop()
    assert LIVE_BYTES / 2 < store.bytes < LIVE_BYTES + 1_000_000
    lost = [loss for loss in line.losses if loss.table == "m"]
    assert {loss.cause for loss in lost} == {"spool_unwritable"}
    told = {n for loss in lost for n in range(loss.first_ns, loss.last_ns + 1)}
    assert sum(loss.rows for loss in lost) == len(told)
    assert told.isdisjoint(store.arrived_s)
    assert told.union(store.arrived_s) == set(line.published_s)


@pytest.mark.parametrize("how", ["file", "folder", "folder renamed"])
def test_what_is_deleted_is_there_again_within_a_second(
    tmp_path: Path, store: Store, server: hf.FaultServer, how: str
) -> None:
    store.is_up = False
    # however rarely rows are written
    line = Line(tmp_path, server.url, flush_interval_s=60.0, batch_rows=1)
    try:
        for _ in range(3):
            line.publish_batch()
        until(line.settled)  # nothing is being written now
        folder = tmp_path / "spool"
        (path,) = folder.glob("*-data.db")
        if how == "file":
            path.unlink()
        elif how == "folder":  # in one step: the writer would make it anew meanwhile
            shutil.rmtree(folder.rename(tmp_path / "deleted"))
        else:
            folder.rename(tmp_path / "elsewhere")
        until(path.exists, 5.0)  # long before rows are written the next time
        line.publish_batch()
        until(lambda: (line.writer.status()["error"] or "").startswith("503"))
        until(line.settled)
        assert left_on_disk(tmp_path, tmp_path / "killed") == 4
        store.is_up = True
        until(lambda: len(store.arrived_s) == 4)
    finally:
        line.stop()
    assert line.losses == []
