"""The InfluxDB sink with all that stands before it, as tests start and stop it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from gateway.model import Column, Row, Table, make_parts
from gateway.sinks.influxdb import InfluxConfig, InfluxSink
from gateway.writer import Writer
from tests.sims.influx_peer import BUCKET, TOKEN
from tests.sinks.chainkit import SinkChain


class Gateway(SinkChain):
    """A chain to InfluxDB."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, "influx")
        self.token = folder / "token"
        self.token.write_text(TOKEN + "\n")
        self.token.chmod(0o600)

    def start(self, url: str, **more: Any) -> Writer:
        document = {"type": "influxdb", "url": url, "org": "plant", "bucket": BUCKET, **more}
        document["token_file"] = str(self.token)
        self.sink = InfluxSink("influx", InfluxConfig.model_validate(document), self.folder)
        return self.run(self.sink)

    def publish(self, table: Table, first_ns: int, *rows: list[Any]) -> None:
        """Rows of a table, a nanosecond apart, and wait until they are taken."""
        made = enumerate(rows, first_ns)
        self.publish_all(*(Row(table, at, make_parts(table, values)) for at, values in made))


@pytest.fixture
def gateway(tmp_path: Path) -> Iterator[Gateway]:
    made = Gateway(tmp_path)
    yield made
    made.stop()


def wide_table(columns: int) -> Table:
    return Table("wide", "d", [Column(f"c{i}", "f4") for i in range(columns)], [("device", "d")])
