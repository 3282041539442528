"""The InfluxDB sink with all that stands before it, as tests start and stop it."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from gateway.hub import Hub
from gateway.losses import Loss
from gateway.model import Column, Row, Table, make_parts
from gateway.sinks.influxdb import InfluxConfig, InfluxSink
from gateway.spool import Spool, SpoolConfig
from gateway.writer import Writer, WriterConfig
from gateway.writer.deliver import Backoff
from tests.sims.influx_peer import BUCKET, TOKEN
from tests.support import until

QUICK = Backoff(first_s=0.05, max_s=0.2, operator_s=0.1)


class Gateway:
    """Hub, writer and sink on one state folder; may be started again."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.losses: list[Loss] = []
        self.backoff = QUICK
        self.flush_interval_s = 0.05
        self.token = folder / "token"
        self.token.write_text(TOKEN + "\n")
        self.token.chmod(0o600)

    def start(self, url: str, **more: Any) -> Writer:
        self.hub = Hub()
        document = {"type": "influxdb", "url": url, "org": "plant", "bucket": BUCKET, **more}
        document["token_file"] = str(self.token)
        self.sink = InfluxSink("influx", InfluxConfig.model_validate(document), self.folder)
        spool = Spool(self.folder / "spool", SpoolConfig(), "influx", self.losses.append)
        config = WriterConfig(flush_interval_s=self.flush_interval_s)
        subscription = self.hub.subscribe("influx")
        self.writer = Writer(
            "influx",
            self.sink,
            subscription,
            config,
            spool,
            on_loss=self.losses.append,
            backoff=self.backoff,
        )
        self.writer.start()
        return self.writer

    def stop(self) -> None:
        assert self.writer.stop(5.0)
        self.sink.close()

    def publish(self, table: Table, first_ns: int, *rows: list[Any]) -> None:
        """Rows of a table, a nanosecond apart, and wait until they are taken."""
        before = self.writer.status()["rows_accepted"]
        for n, values in enumerate(rows):
            self.hub.publish(Row(table, first_ns + n, make_parts(table, values)))
        until(lambda: self.writer.status()["rows_accepted"] == before + len(rows))

    def settled(self, rows: int) -> dict[str, Any]:
        """The status when so many rows were stored or refused since the start."""

        def status() -> dict[str, Any] | None:
            found = self.writer.status()
            return found if found["rows_stored"] + found["rows_rejected"] >= rows else None

        return until(status, 30, f"{rows} rows to be delivered")

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


@pytest.fixture
def gateway(tmp_path: Path) -> Iterator[Gateway]:
    made = Gateway(tmp_path)
    yield made
    made.stop()


def wide_table(columns: int) -> Table:
    return Table("wide", "d", [Column(f"c{i}", "f4") for i in range(columns)], [("device", "d")])
