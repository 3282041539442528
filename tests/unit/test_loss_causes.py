"""Each cause of a loss, made by what makes it in a plant, is listed by `gateway losses`."""

from __future__ import annotations

import os
import random
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import cast

import numpy as np
import pytest

from gateway.api.client import Client
from gateway.config import load
from gateway.losses import CAUSES, Cause
from gateway.model import Column, Row, Table
from gateway.runtime import Runtime
from gateway.spool import Spool, SpoolConfig
from gateway.spool.manifest import Span
from gateway.spool.segment import Stored
from gateway.worker import Worker
from gateway.writer.deadletters import MAX_LETTERS, DeadLetters
from tests.sims import http_faults as hf
from tests.support import until
from tests.system.cli_kit import called, objects
from tests.unit.apikit import Plant, served

GATEWAY = """
gateway: {{name: g}}
state_dir: state
api: {{socket: s}}
writer: {{flush_interval_s: 0.05}}
sinks:
  influx: {{type: influxdb, url: '{url}', bucket: b}}
  history: {{type: sqlite}}
devices:
  daq: {{driver: mock, map: daq.yaml, dropout: {{every_s: 0.5, for_s: 0.2, reason: samples_lost}}}}
"""
STREAM = """
driver: mock
stream:
  rate_hz: 2560
  channels:
    a: {unit: g, signal: {kind: shaft, speed_rpm: 1480, imbalance: 0.08}}
"""
TABLE = Table("m", "d", [Column("v", "i8"), Column("s", "str")], [("device", "d")], interval_s=1.0)
AWAY = hf.said("503 Busy")
NO = hf.said("400 Bad", b'{"message":"no"}')
DAY_S = 86_400.0


class Rig:
    """The parts of the daemon in this process, on a folder of their own."""

    def __init__(self, folder: Path, url: str) -> None:
        self.folder = folder
        self.file = folder / "gateway.yaml"
        self.file.write_text(GATEWAY.format(url=url))
        (folder / "daq.yaml").write_text(STREAM)
        self.spool = folder / "state" / "spool" / "influx"
        self.plant = load(self.file)
        self.numbers = iter(range(1, 1_000_000))

    @contextmanager
    def running(self, before: Callable[[], None] = lambda: None) -> Iterator[None]:
        """Writers and socket; ``before``: once there is a hub, and nobody who takes from it."""
        self.runtime = Runtime(self.plant, self.file)
        self.started: list[Worker] = []
        before()
        for writer in self.runtime.writers.values():
            writer.start()
        try:
            with served(self.plant.api, cast(Plant, self.runtime)):
                yield
        finally:
            for worker in self.started:
                worker.request_stop()
                worker.interrupt()
                assert worker.join(5.0)
            for writer in self.runtime.writers.values():
                assert writer.stop(5.0)
            for sink in self.runtime.sinks.values():
                sink.close()

    def publish(self, rows: int = 1, text: str = "") -> None:
        """Rows that are batches of their own, as far as they can be."""
        writer = self.runtime.writers["influx"]
        for _ in range(rows):
            before = writer.status()["rows_accepted"]
            self.runtime.hub.publish(Row(TABLE, time.time_ns(), (np.array([1]), [text])))
            until(lambda before=before: writer.status()["rows_accepted"] > before)

    def told(self) -> set[tuple[str, str]]:
        """Cause and sink of each loss until now."""
        return {(t.loss.cause, t.loss.sink) for t in self.runtime.ledger.told()}

    def earlier(self, *, age_s: float = 60.0, size: int = 100) -> Spool:
        """The spool of an earlier run, which could not deliver."""
        spool = Spool(self.spool, SpoolConfig(), "influx", lambda loss: None)
        spool.open()
        first_ns = time.time_ns() - int(age_s * 1e9)
        for n in range(first_ns, first_ns + 10):
            body = b'm,device=d s="%b" %d\n' % (b"x" * size, n)
            spool.put("data", [Stored(body, "lp", 1, 2, (Span("d", "m", 1, n, n),))])
        return spool

    def letters(self, count: int, *, age_s: float = 0.0) -> None:
        """Dead letters of an earlier run."""
        letters = DeadLetters(self.spool / "dead_letters.db", wall=lambda: time.time() - age_s)
        lines = [b"m,device=d v=%d %d\n" % (n, n) for n in range(1, count + 1)]
        assert letters.add_all(lines, "400 no")
        letters.close()


def nothing(rig: Rig) -> None:
    """There is nothing to do."""


def overflow(rig: Rig) -> None:
    for _ in range(6):
        rig.runtime.hub.publish(Row(TABLE, time.time_ns(), (np.array([1]), ["x" * 1_500_000])))
    rig.runtime.hub.report_drops(ending=True)


def too_much(rig: Rig) -> None:
    rig.earlier(size=50_000).close(clean=True)
    whole = rig.plant.spool.model_dump()
    small = SpoolConfig.model_construct(**{**whole, "max_bytes": 400_000})
    rig.plant = replace(rig.plant, spool=small)


def too_old(rig: Rig) -> None:
    rig.earlier().close(clean=True)
    then_s = time.time() - 40 * DAY_S
    (path,) = rig.spool.glob("*-data.manifest")
    os.utime(path, (then_s, then_s))


def fill_memory(rig: Rig) -> None:
    chance = random.Random(2)
    for _ in range(200):
        rig.publish(1, chance.randbytes(29_000).hex())


def no_folder(rig: Rig) -> None:
    rig.spool.parent.mkdir(parents=True)
    rig.spool.write_text("a file")


def damage(rig: Rig) -> None:
    rig.earlier().close(clean=True)
    (path,) = rig.spool.glob("*-data.db")
    path.write_bytes(b"no database" * 1000)


def kill(rig: Rig) -> None:
    spool = rig.earlier()
    spool.close(clean=False)


def garble(rig: Rig) -> None:
    row = Row(TABLE, time.time_ns(), (np.array([1]),))
    rig.runtime.hub.publish(row)


def stream(rig: Rig) -> None:
    rig.started = [rig.runtime.workers["daq"]]
    rig.started[0].start()


def lose_letters(rig: Rig) -> None:
    rig.letters(3)
    (rig.spool / "dead_letters.db").write_bytes(b"no database" * 1000)


@dataclass(frozen=True)
class Case:
    """How a cause comes about: before the start, before rows are taken, and while it runs."""

    before: Callable[[Rig], None] = nothing
    queued: Callable[[Rig], None] = nothing
    act: Callable[[Rig], None] = nothing
    answer: bytes = hf.STORED
    least_rows: int = 1


CASES: dict[Cause, Case] = {
    "hub_overflow": Case(queued=overflow),
    "spool_bound": Case(too_much, answer=AWAY),
    "spool_age": Case(too_old, answer=AWAY),
    "rejected": Case(act=lambda rig: rig.publish(), answer=NO),
    "encode_fault": Case(act=garble),
    "corrupt_segment": Case(damage),
    "spool_unwritable": Case(no_folder, act=fill_memory, answer=AWAY),
    "unclean_stop": Case(kill, act=lambda rig: rig.publish()),
    "stream_gap": Case(act=stream),
    "dead_letter_bound": Case(
        lambda rig: rig.letters(MAX_LETTERS), act=lambda rig: rig.publish(), answer=NO
    ),
    "dead_letter_age": Case(lambda rig: rig.letters(3, age_s=100 * DAY_S)),
    "dead_letter_lost": Case(lose_letters, least_rows=0),  # how many there were is not known
}


def test_every_cause_has_its_case() -> None:
    assert tuple(CASES) == CAUSES


@pytest.mark.parametrize("cause", CAUSES)
def test_a_loss_is_listed_by_this_run_and_by_the_next(tmp_path: Path, cause: Cause) -> None:
    case = CASES[cause]
    with hf.faults(case.answer) as server:
        rig = Rig(tmp_path, server.url)
        case.before(rig)
        with rig.running(lambda: case.queued(rig)):
            case.act(rig)
            sink = "" if cause == "stream_gap" else "influx"
            # the historian may be told of its own loss before
            until(lambda: (cause, sink) in rig.told(), 20, cause)
            listed = objects(called("losses", "--json", "--config", rig.file).stdout)
            loss = next(x for x in listed if (x["cause"], x["sink"]) == (cause, sink))
            assert loss["rows"] >= case.least_rows
            assert loss["first_ns"] <= loss["last_ns"]
            assert cause in called("losses", "--config", rig.file).stdout
            metrics = Client(tmp_path / "s").get_text("/metrics")
            counted = re.search(rf'gateway_lost_rows_total{{cause="{cause}"}} (\d+)', metrics)
            assert counted is not None
            assert int(counted[1]) >= loss["rows"]
        # the rows of the ledger went the way of all rows
        again = Rig(tmp_path, server.url)
        with again.running():
            kept = objects(called("losses", "--json", "--config", again.file).stdout)
        assert loss in kept
