"""A remote sink with all that stands before it, as tests start and stop it: hub, writer, spool."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any

from gateway.hub import Hub
from gateway.losses import Loss
from gateway.model import Row
from gateway.sinks import RemoteSink
from gateway.spool import Spool, SpoolConfig
from gateway.writer import Writer, WriterConfig
from gateway.writer.deliver import Backoff
from tests.support import until

QUICK = Backoff(first_s=0.05, max_s=0.2, operator_s=0.1)


class SinkChain:
    """Hub, writer, spool and sink on one state folder; may be started again."""

    def __init__(self, folder: Path, name: str) -> None:
        self.folder = folder
        self.name = name
        self.losses: list[Loss] = []
        self.backoff = QUICK
        self.flush_interval_s = 0.05
        self._is_running = False

    def run(self, sink: RemoteSink) -> Writer:
        """Start a writer for the sink; ``stop`` closes both."""
        self.hub = Hub()
        self._sink = sink
        self.writer = Writer(
            self.name,
            sink,
            self.hub.subscribe(self.name),
            WriterConfig(flush_interval_s=self.flush_interval_s),
            Spool(self.folder / "spool", SpoolConfig(), self.name, self.losses.append),
            on_loss=self.losses.append,
            backoff=self.backoff,
        )
        self.writer.start()
        self._is_running = True
        return self.writer

    def stop(self) -> None:
        if self._is_running:
            assert self.writer.stop(5.0)
            self._sink.close()
            self._is_running = False

    def publish_all(self, *rows: Row) -> None:
        """Publish at once, so that they are one batch, and wait until the writer has taken them."""
        before = self.writer.status()["rows_accepted"]
        self.hub.publish_all(rows)
        until(lambda: self.writer.status()["rows_accepted"] == before + len(rows))

    def settled(self, rows: int) -> dict[str, Any]:
        """The status when so many rows were stored or refused since the start, and none waits."""

        def is_through() -> bool:
            found = self.writer.status()
            # a batch leaves the spool only when all that is counted of it was counted
            done = found["rows_stored"] + found["rows_rejected"] >= rows
            return done and not self.writer.status()["pending_batches"]

        try:
            until(is_through, 60, f"{rows} rows to be delivered")
        except AssertionError:
            raise AssertionError(self.writer.status()) from None
        return self.writer.status()  # a look of before may be older in one part than in another

    def state(self, state: str, words: str = "") -> dict[str, Any]:
        """The status when the sink is in that state, with these words."""

        def status() -> dict[str, Any] | None:
            found = self.writer.status()
            return found if found["state"] == state and words in (found["error"] or "") else None

        return until(status, 20, f"state {state} with '{words}'")

    def letters(self) -> list[tuple[str, str]]:
        """(line, words) of the dead letters, oldest first."""
        path = self.folder / "spool" / "dead_letters.db"
        if not path.exists():
            return []
        db = sqlite3.connect(path)
        try:
            return db.execute("SELECT line, reason FROM dead_letter ORDER BY id").fetchall()
        finally:
            db.close()
