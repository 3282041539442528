"""A hub with one writer on a folder, as the daemon builds it; a durable sink in memory."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gateway.health import Heartbeats
from gateway.hub import Hub
from gateway.losses import Loss
from gateway.model import Column, Row, Table
from gateway.sinks import DurableSink, Selected, Sink, SinkConfig
from gateway.sinks.influxdb import InfluxConfig, InfluxSink
from gateway.spool import Spool, SpoolConfig
from gateway.writer import Writer, WriterConfig
from gateway.writer.deliver import Backoff

QUICK = Backoff(first_s=0.02, max_s=0.1, operator_s=0.05)
TABLE = Table("m", "d", [Column("v", "i8")], [("device", "d")], interval_s=1.0)


class Line:
    """A hub with one writer, as the daemon builds it."""

    def __init__(self, folder: Path, **writer: Any) -> None:
        self.folder = folder
        self.hub = Hub()
        self.losses: list[Loss] = []
        self.heartbeats = Heartbeats()
        self.config = WriterConfig(**{"flush_interval_s": 0.03, **writer})
        self.sent = 0
        self.writer: Writer | None = None
        self._sink: Sink | None = None

    def start(self, sink: Sink) -> Writer:
        spool = Spool(self.folder / "spool", SpoolConfig(), "s", self.losses.append)
        self._sink = sink
        self.writer = Writer(
            "s",
            sink,
            self.hub.subscribe("s", wake_at=self.config.batch_rows),
            self.config,
            None if sink.durable else spool,
            on_loss=self.losses.append,
            heartbeats=self.heartbeats,
            backoff=QUICK,
        )
        self.writer.start()
        return self.writer

    def influx(self, url: str, **more: Any) -> Writer:
        document = {"type": "influxdb", "url": url, "bucket": "b", "timeout_s": 5.0, **more}
        return self.start(InfluxSink("s", InfluxConfig.model_validate(document), self.folder))

    def publish(self, count: int = 1, table: Table = TABLE) -> None:
        """Rows that the writer takes at once: its timer cannot part them."""
        numbers = range(self.sent + 1, self.sent + count + 1)
        self.sent += count
        self.hub.publish_all([Row(table, n, (np.array([n]),)) for n in numbers])

    def stop(self, deadline_s: float = 5.0) -> None:
        if self.writer is not None and self._sink is not None:
            assert self.writer.stop(deadline_s)
            self._sink.close()
            assert not self.heartbeats.silent()
            self.writer = None


@pytest.fixture
def line(tmp_path: Path) -> Iterator[Line]:
    made = Line(tmp_path)
    yield made
    made.stop()


def stored(writer: Writer, count: int) -> Callable[[], bool]:
    return lambda: bool(writer.status()["rows_stored"] >= count)


class Shelfless(DurableSink):
    """A durable sink in memory that fails as it is told."""

    def __init__(self, folder: Path) -> None:
        super().__init__("s", SinkConfig(type="memory"), folder)
        self.rows: list[int] = []
        self.failures: list[Exception] = []

    def store(self, rows: Sequence[Selected]) -> None:
        if self.failures:
            raise self.failures.pop(0)
        self.rows += [s.row.time_ns for s in rows]

    def close(self) -> None:
        pass


def leave_as_a_kill(folder: Path, killed_ns: int, begun_ns: int | None = None) -> None:
    """Make the spool of a writer that was stopped look like that of one that was killed."""
    (folder / "spool" / "stopped").unlink()
    alive = folder / "spool" / "alive"
    alive.touch() if begun_ns is None else alive.write_text(str(begun_ns))
    os.utime(alive, ns=(0, killed_ns))
