"""What the delivering thread tells of a batch, of which something or all was refused."""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway.health import Heartbeats
from gateway.sinks.influxdb import InfluxConfig, InfluxSink
from gateway.spool.batch import Batch
from gateway.spool.manifest import Span
from gateway.spool.segment import Stored
from gateway.writer.deadletters import DeadLetters
from gateway.writer.deliver import Deliverer
from gateway.writer.lanes import Lanes
from tests.sims import http_faults as hf
from tests.sinks.chainkit import QUICK
from tests.support import until


class Delivery:
    """A delivering thread with its lanes, and what it told."""

    def __init__(self, folder: Path, url: str) -> None:
        config = InfluxConfig(type="influxdb", url=url, bucket="b")
        self.sink = InfluxSink("influx", config, folder)
        self.lanes = Lanes(lambda: None)
        self.letters = folder / "dead_letters.db"
        self.told: list[tuple[Span, str]] = []
        self.doubts = 0
        self.deliverer = Deliverer(
            "influx",
            self.sink,
            self.lanes,
            DeadLetters(self.letters),
            lambda spans, words: self.told.extend((span, words) for span in spans),
            self._doubt,
            Heartbeats(),
            QUICK,
        )
        self._thread = threading.Thread(target=self.deliverer.run)
        self._thread.start()

    def _doubt(self) -> None:
        self.doubts += 1

    def send(self, text: bytes, rows: int, *spans: Span, format: str = "lp") -> None:
        """Deliver a batch, and wait until it is through."""
        stored = Stored(text, format, rows, 3 * rows, spans)
        self.lanes.add_live([Batch(None, stored, time.monotonic())])
        until(self.lanes.take_finished)

    def close(self) -> None:
        self.deliverer.finish()
        self._thread.join()
        self.sink.close()


def judge(body: bytes) -> bytes:
    """Takes no column ``b``, and nothing that is not a line."""
    bad = b"b=" in body or b"=" not in body
    return hf.said("400 Bad", b'{"message":"no"}') if bad else hf.STORED


@pytest.fixture
def delivery(tmp_path: Path) -> Iterator[Delivery]:
    with hf.faults(judge=judge) as server:
        made = Delivery(tmp_path, server.url)
        yield made
        made.close()


def test_a_column_refused_in_every_batch_is_told_each_time_but_is_no_new_doubt(
    delivery: Delivery,
) -> None:
    for n in range(4):
        delivery.send(b"m,device=d a=1,b=2,c=3 %d\n" % n, 1, Span("d", "m", 1, n, n))
    assert delivery.told == [(Span("d", "m", 1, n, n), "column b: 400 no") for n in range(4)]
    assert delivery.doubts == 1
    assert (delivery.deliverer.rows_rejected, delivery.deliverer.values_rejected) == (4, 4)
    assert (delivery.deliverer.rows_stored, delivery.deliverer.values_stored) == (0, 8)
    delivery.send(b"m,device=e a=1,b=2,c=3 1\n", 1, Span("e", "m", 1, 1, 1))
    assert delivery.doubts == 2, "of another device something else may be lost"


def test_a_batch_of_another_sink_is_told_by_its_spans(delivery: Delivery) -> None:
    spans = (Span("d", "m", 3, 1, 3), Span("e", "n", 1, 7, 7))
    delivery.send(b"\x80\x81", 4, *spans, format="cbor")
    words = "a payload of format cbor is not for InfluxDB"
    assert delivery.told == [(span, words) for span in spans]
    assert (delivery.deliverer.rows_rejected, delivery.deliverer.values_rejected) == (4, 12)
    assert (delivery.deliverer.rows_stored, delivery.deliverer.values_stored) == (0, 0)


def test_letters_that_are_refused_once_more_are_not_counted_twice(delivery: Delivery) -> None:
    line = b"m,device=d b=2 1\n"
    delivery.send(line, 1, Span("d", "m", 1, 1, 1))
    delivery.send(line, 0)
    assert delivery.deliverer.rows_rejected == 1
    assert delivery.deliverer.rows_stored == 0
    db = sqlite3.connect(delivery.letters)
    assert db.execute("SELECT line FROM dead_letter").fetchall() == [(line.decode(),)]
    db.close()


def test_many_refused_lines_are_kept_in_one_go(delivery: Delivery) -> None:
    text = b"".join(b"m,device=d a=1,b=2 %d\n" % n for n in range(3000))
    delivery.send(text, 3000, Span("d", "m", 3000, 0, 2999))
    assert delivery.told == [(Span("d", "m", 3000, 0, 2999), "column b: 400 no")]
    db = sqlite3.connect(delivery.letters)
    assert db.execute("SELECT count(*) FROM dead_letter").fetchall() == [(3000,)]
    db.close()
