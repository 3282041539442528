"""What a writer tells of rows that a fault, a stop or a kill cost."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from gateway.errors import SinkUnavailable
from gateway.losses import LossLedger
from gateway.model import Column, Row, Table
from gateway.sinks.historian import HistorianConfig, HistorianSink
from tests.sims import http_faults as hf
from tests.support import free_port, until
from tests.unit.writerkit import TABLE, Line, Shelfless, stored


class Told(Line):
    """A line whose losses become rows, as in the daemon."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        ledger = LossLedger(lambda row: self.hub.publish(row), "g")

        class Record(list):  # type: ignore[type-arg]
            def append(self, loss: object) -> None:
                super().append(loss)
                ledger.record(loss)  # type: ignore[arg-type]

        self.losses = Record()


@pytest.fixture
def line(tmp_path: Path) -> Iterator[Told]:
    made = Told(tmp_path)
    yield made
    made.stop()


def historian(folder: Path) -> HistorianSink:
    return HistorianSink("s", HistorianConfig(type="sqlite", store_every_s=0), folder)


def test_a_malformed_row_of_a_table_with_a_dead_band_costs_itself_only(line: Told) -> None:
    odd = Table("odd", "d", [Column("x", "f4", deadband=1.0), Column("y", "f4")])
    writer = line.start(historian(line.folder))
    line.publish()
    for n, width in enumerate((2, 3, 2)):
        line.hub.publish(Row(odd, n, (np.zeros(width, "f4"),)))
    until(lambda: line.losses)
    line.publish()
    until(stored(writer, 5))  # its loss is a row, too
    assert [(x.table, x.rows, x.cause) for x in line.losses] == [("odd", 1, "encode_fault")]
    assert writer.status()["rows_lost"] == 1


def test_rows_that_a_blocked_historian_loses_at_the_stop_are_told_by_the_next_start(
    line: Told, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.ERROR)
    sink = Shelfless(line.folder)
    sink.failures = [SinkUnavailable("disk full")] * 10_000
    writer = line.start(sink)
    line.publish(5)
    until(lambda: writer.status()["state"] == "retrying")
    line.publish(2)
    assert writer.status()["pending_rows"] == 7
    line.stop(1.0)
    assert writer.status()["rows_lost"] >= 7
    (text,) = [r.getMessage() for r in caplog.records if "at the stop" in r.getMessage()]
    assert "7 rows of 1 tables are lost (spool_unwritable: disk full)" in text
    line.losses.clear()
    writer = line.start(Shelfless(line.folder))
    until(lambda: sum(loss.rows for loss in line.losses) == 7)
    until(stored(writer, 1))
    line.stop()
    line.losses.clear()
    line.start(Shelfless(line.folder))
    line.stop()
    assert not line.losses, "told once"


def test_rows_lost_with_an_unwritable_spool_at_the_stop_are_counted_and_noted(
    line: Told, caplog: pytest.LogCaptureFixture
) -> None:
    writer = line.influx(f"http://127.0.0.1:{free_port()}")
    folder = line.folder / "spool"
    assert writer._spool is not None

    def full(*_: object) -> None:
        raise OSError(5, "Input/output error")

    for shelf in writer._spool._shelves.values():
        shelf.store = full  # type: ignore[method-assign,assignment]
    line.publish(4)
    until(lambda: writer.status()["pending_rows"] == 4)
    line.stop(0.5)
    assert writer.status()["rows_lost"] == 4
    assert "4 rows of 1 tables are lost (spool_unwritable" in caplog.text
    assert (folder / "losses.jsonl").read_bytes().count(b"spool_unwritable") == 1
    line.losses.clear()
    with hf.faults(hf.STORED) as server:
        writer = line.influx(server.url)
        until(stored(writer, 1))
        line.stop()
    assert [(x.table, x.rows, x.cause) for x in line.losses] == [("m", 4, "spool_unwritable")]


def test_a_killed_historian_tells_what_may_be_missing(line: Told) -> None:
    first = historian(line.folder)
    writer = line.start(first)
    line.hub.publish(Row(TABLE, 10**9, (np.array([1]),)))
    until(stored(writer, 1))
    alive = line.folder / "s.alive"
    assert alive.exists()
    line.stop()
    assert not alive.exists()
    second = historian(line.folder)
    writer = line.start(second)
    line.hub.publish(Row(TABLE, 2 * 10**9, (np.array([1]),)))
    until(stored(writer, 1))
    assert not line.losses
    writer.stop(5.0)
    assert second._connection is not None
    second._connection.close()  # as a kill leaves the file
    second._connection = None
    line.start(historian(line.folder))
    line.hub.publish(Row(TABLE, 60 * 10**9, (np.array([1]),)))
    until(lambda: line.losses)
    (loss,) = line.losses
    assert (loss.cause, loss.table) == ("unclean_stop", "m")
    assert (loss.first_ns, loss.last_ns) == (2 * 10**9 + 1, 60 * 10**9 - 1)
    assert loss.rows == 1
    assert loss.detail.startswith("at most")
