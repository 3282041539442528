"""Losses of an outage are merged, told within a bounded time, and again where they were lost."""

from __future__ import annotations

import random
import re
import subprocess
import sys
import zlib
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway.hub import Hub
from gateway.losses import Loss, LossLedger
from gateway.model import Column, Row, Table
from gateway.sinks.influxdb import InfluxConfig, InfluxSink
from gateway.spool import Spool, SpoolConfig, SpoolUnwritable
from gateway.spool.manifest import Note, Span
from gateway.spool.notes import LossNotes
from gateway.writer import Writer, WriterConfig, repeats
from gateway.writer.lastwords import LastWords
from tests.sims import http_faults as hf
from tests.sims import writer_stop
from tests.support import ROOT, until
from tests.unit.spoolkit import Bench
from tests.unit.test_spool_evicted import numbers_in
from tests.unit.test_spool_writer import BUSY, QUICK

TABLE = Table("m", "d", [Column("s", "str")], [("device", "d")])
EVENT = Table("gateway_event", "gateway", [Column("s", "str")], [("device", "gateway")])
BATCHES = 400
"""More than memory holds."""


class Line:
    """Hub, ledger and one writer, as the daemon builds them; a spool that breaks when told to."""

    def __init__(self, folder: Path, url: str, **spool: int) -> None:
        self.broken = False
        self.told: list[Loss] = []
        self.sent: list[int] = []
        self.chance = random.Random(5)
        self.hub = Hub()
        self.ledger = LossLedger(self.hub.publish, "g")
        document = {"type": "influxdb", "url": url, "bucket": "b", "timeout_s": 5.0}
        self.sink = InfluxSink("s", InfluxConfig.model_validate(document), folder)
        self.spool = Spool(folder / "spool", SpoolConfig(), "s", self.tell, **spool)  # type: ignore[arg-type]
        self.writer = Writer(
            "s",
            self.sink,
            self.hub.subscribe("s", wake_at=1),
            WriterConfig(flush_interval_s=0.05, batch_rows=1),
            self.spool,
            on_loss=self.tell,
            loss_row=self.ledger.row_again,
            backoff=QUICK,
        )
        for shelf in self.spool._shelves.values():
            shelf.store = self._breaking(shelf.store)  # type: ignore[method-assign]
        self.writer.start()

    def _breaking(self, store):  # type: ignore[no-untyped-def]
        def stores(*args):  # type: ignore[no-untyped-def]
            if self.broken:
                raise OSError(5, "Input/output error")
            return store(*args)

        return stores

    def tell(self, loss: Loss) -> None:
        """Told, as a row too."""
        self.told.append(loss)
        self.ledger.record(loss)

    def publish(self, table: Table = TABLE, size: int = 30_000) -> None:
        """A row that is a batch of its own."""
        before = self.writer.status()["rows_accepted"]
        n = len(self.sent) + 1
        self.sent.append(n)
        self.hub.publish(Row(table, n, ([self.chance.randbytes(size).hex()],)))
        until(lambda: self.writer.status()["rows_accepted"] > before)

    def fill_memory(self) -> None:
        """The spool breaks, until memory can hold no more and a loss is told."""
        self.broken = True
        while not self.told:
            self.publish()
            assert len(self.sent) < BATCHES, "memory is not bounded"

    def stop(self) -> None:
        assert self.writer.stop(5.0)
        self.sink.close()


class Store:
    """What a server has stored: times of rows by table, and the losses that rows tell."""

    def __init__(self) -> None:
        self.times: Counter[int] = Counter()
        self.losses: list[tuple[str, int, int, str]] = []
        self.is_up = False

    def judge(self, body: bytes) -> bytes:
        """Store the rows of a request."""
        if not self.is_up:
            return BUSY
        for line in zlib.decompress(body, wbits=47).decode().splitlines():
            if not line.startswith("gateway_loss"):
                self.times[int(line.rsplit(" ", 1)[1])] += 1
                continue
            found = {
                key: re.search(rf'{key}="?([^",]*?)"?i?(,| )', line)
                for key in ("table_lost", "first_ns", "last_ns", "cause")
            }
            table, first, last, cause = (match[1] for match in found.values() if match)
            self.losses.append((table, int(first), int(last), cause))
        return hf.STORED


@pytest.fixture
def store() -> Store:
    return Store()


@pytest.fixture
def server(store: Store) -> Iterator[hf.FaultServer]:
    with hf.faults(judge=store.judge) as made:
        yield made


def test_what_memory_cannot_hold_is_told_at_once_and_then_merged(
    tmp_path: Path, store: Store, server: hf.FaultServer
) -> None:
    line = Line(tmp_path, server.url)
    try:
        line.fill_memory()
        counted = line.writer.status()["rows_lost"]
        for _ in range(50):
            line.publish()
        assert line.writer.status()["rows_lost"] >= counted + 45, "counted at once"
        assert len(line.told) == 1
        assert line.told[0].rows <= 2, "told at once"
    finally:
        line.stop()
    mine = [loss for loss in line.told if loss.table == "m"]
    assert len([loss for loss in mine if loss.rows > 40]) >= 1, "told at the stop"
    assert {loss.cause for loss in mine} == {"spool_unwritable"}
    bench = Bench(tmp_path / "spool")  # nothing could be stored: all is told by the next start
    bench.spool.close(clean=True)
    lost = [loss for loss in bench.losses if loss.table == "m"]
    assert sum(loss.rows for loss in lost) == len(line.sent)
    assert min(loss.first_ns for loss in lost) == 1
    assert max(loss.last_ns for loss in lost) == len(line.sent)


def test_the_rest_is_told_soon_after_the_outage(
    tmp_path: Path, store: Store, server: hf.FaultServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(repeats, "CALM_S", 0.2)
    line = Line(tmp_path, server.url)
    try:
        line.fill_memory()
        for _ in range(50):
            line.publish()
        store.is_up, line.broken = True, False
        until(lambda: len(line.told) == 2)
        until(lambda: line.writer.status()["pending_rows"] == 0)
    finally:
        line.stop()
    ranges = [(first, last) for table, first, last, _ in store.losses if table == "m"]
    assert len(ranges) == 2
    told = Counter(n for first, last in ranges for n in range(first, last + 1))
    times = {n: k for n, k in store.times.items() if n <= len(line.sent)}
    assert dict(told + Counter(times)) == dict.fromkeys(line.sent, 1)
    bench = Bench(tmp_path / "spool")
    bench.spool.close(clean=True)
    assert not bench.losses, "told once"


def test_a_loss_from_memory_says_why_it_was_there_though_the_disk_is_well_again(
    tmp_path: Path, store: Store, server: hf.FaultServer
) -> None:
    line = Line(tmp_path, server.url)
    try:
        line.fill_memory()
        keep = line.spool.keep
        line.spool.keep = lambda *_: _raise(SpoolUnwritable("not yet"))  # type: ignore[method-assign]
        line.broken = False
        for _ in range(5):  # each goes to disk, and pushes out one that is not
            line.publish()
        line.spool.keep = keep  # type: ignore[method-assign]
        store.is_up = True
        until(lambda: line.writer.status()["pending_rows"] == 0)
    finally:
        line.stop()
    assert sum(loss.rows for loss in line.told) >= 5
    assert {(loss.cause, loss.detail) for loss in line.told} == {
        ("spool_unwritable", "[Errno 5] Input/output error")
    }


def _raise(error: Exception) -> None:
    raise error


def test_a_loss_whose_row_was_lost_is_told_again_to_that_sink_when_it_is_back(
    tmp_path: Path, store: Store, server: hf.FaultServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(repeats, "CALM_S", 0.2)
    line = Line(tmp_path, server.url, max_bytes=900_000, segment_bytes=30_000)
    try:
        line.publish(EVENT, 10)
        until(lambda: server.requests, what="this one in the hands of who delivers")
        line.tell(Loss("s", "d", "m", 1, 7, 7, "hub_overflow", "first"))
        while not line.spool._notes._put_off:
            line.publish(EVENT, 20_000)
            assert len(line.sent) < BATCHES, "nothing was given up"
        counted = line.ledger.rows_by_cause["hub_overflow"]
        store.is_up = True
        until(lambda: ("m", 1, 7, "hub_overflow") in store.losses)
        until(lambda: line.writer.status()["pending_rows"] == 0)
    finally:
        line.stop()
    assert store.losses.count(("m", 1, 7, "hub_overflow")) == 1
    assert line.ledger.rows_by_cause["hub_overflow"] == counted == 7
    bench = Bench(tmp_path / "spool")
    bench.spool.close(clean=True)
    assert not [loss for loss in bench.losses if loss.cause == "hub_overflow"], "told once"


def test_a_kill_at_any_call_of_a_stop_tells_what_was_in_memory_once(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "tests.sims.writer_stop", str(tmp_path)]
    subprocess.run(command, cwd=ROOT, check=True, timeout=120)
    runs = [path for path in tmp_path.iterdir() if path.is_dir()]
    assert len(runs) > 3, "it was hardly killed"
    for folder in runs:
        bench = Bench(folder / "spool")
        bench.spool.close(clean=True)
        lost = numbers_in(bench.losses, "gateway_event")
        assert dict(lost) == dict.fromkeys(writer_stop.NUMBERS, 1), f"killed at call {folder.name}"


def test_last_words_are_noted_once_and_what_cannot_be_is_given_back(tmp_path: Path) -> None:
    own: Note = ("spool_unwritable", Span("d", "m", 3, 1, 3), "full")
    told: Note = ("hub_overflow", Span("d", "m", 1, 9, 9), "")
    for path, left in ((tmp_path / "notes", []), (tmp_path / "notes" / "no folder", [own])):
        words = LastWords()
        words.add([own], own=True)
        words.add([told, told, own])
        assert words.leave("s", path) == left
    assert LossNotes(tmp_path / "notes").load() == [own, told]
    words.add([told])
    assert words.leave("s", tmp_path / "notes") == []
    assert LossNotes(tmp_path / "notes").load() == [own, told]
