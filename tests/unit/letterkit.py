"""A writer to InfluxDB whose store of dead letters has some already."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from gateway.hub import Hub
from gateway.losses import Loss
from gateway.sinks.influxdb import InfluxConfig, InfluxSink
from gateway.spool import Spool, SpoolConfig
from gateway.writer import Writer, WriterConfig
from gateway.writer.deadletters import DeadLetters
from gateway.writer.deliver import Backoff
from gateway.writer.replay import LetterBox

QUICK = Backoff(first_s=0.02, max_s=0.1, operator_s=0.05)


class Line:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.losses: list[Loss] = []
        self.writer: Writer | None = None
        self._sink: InfluxSink | None = None
        self.path = folder / "spool" / "dead_letters.db"

    def start(self, url: str) -> LetterBox:
        document = {"type": "influxdb", "url": url, "bucket": "b", "timeout_s": 5.0}
        self._sink = InfluxSink("s", InfluxConfig.model_validate(document), self.folder)
        spool = Spool(self.path.parent, SpoolConfig(), "s", self.losses.append)
        queue = Hub().subscribe("s")
        config = WriterConfig(flush_interval_s=0.03)
        on_loss = self.losses.append
        self.writer = Writer("s", self._sink, queue, config, spool, on_loss=on_loss, backoff=QUICK)
        self.writer.start()
        assert self.writer.letters is not None
        return self.writer.letters

    def status(self, name: str) -> Any:
        assert self.writer is not None
        return self.writer.status()[name]

    def refused(self, count: int) -> None:
        """Letters of an earlier run."""
        letters = DeadLetters(self.path)
        for n in range(1, count + 1):
            assert letters.add(b"m,device=d v=%di %d\n" % (n, n), "422 old words")
        letters.close()

    def stop(self) -> None:
        if self.writer is not None and self._sink is not None:
            assert self.writer.stop(5.0)
            self._sink.close()
            self.writer = None
