"""A writer whose spool takes nothing, killed at each call to the disk of its stop in turn.

``python -m tests.sims.writer_stop FOLDER``: folders as in `tests.sims.spool_evict`.
"""

from __future__ import annotations

import socket
import sys
from pathlib import Path

from gateway.hub import Hub
from gateway.losses import LossLedger
from gateway.model import Column, Row, Table
from gateway.sinks.influxdb import InfluxConfig, InfluxSink
from gateway.spool import Spool, SpoolConfig
from gateway.writer import Writer, WriterConfig
from tests.sims.spool_evict import at_each_call, kill_at_call
from tests.support import until

NUMBERS = range(1, 5)
EVENT = Table("gateway_event", "gateway", [Column("s", "str")], [("device", "gateway")])


def run(folder: Path, kill_at: int) -> None:
    """Rows in memory only, and the stop."""
    folder.mkdir()
    hub = Hub()
    ledger = LossLedger(hub.publish, "g")
    with socket.create_server(("127.0.0.1", 0)) as unheard:
        url = f"http://127.0.0.1:{unheard.getsockname()[1]}"
    document = {"type": "influxdb", "url": url, "bucket": "b", "timeout_s": 1.0}
    sink = InfluxSink("s", InfluxConfig.model_validate(document), folder)
    spool = Spool(folder / "spool", SpoolConfig(), "s", ledger.record)
    config = WriterConfig(flush_interval_s=0.01, batch_rows=1)
    writer = Writer("s", sink, hub.subscribe("s", wake_at=1), config, spool, on_loss=ledger.record)
    writer.start()

    def refuses(*_: object) -> None:
        raise OSError(5, "Input/output error")

    for shelf in spool._shelves.values():
        shelf.store = refuses  # type: ignore[method-assign,assignment]
    for n in NUMBERS:
        hub.publish(Row(EVENT, n, (["x"],)))
        until(lambda n=n: writer.status()["rows_accepted"] == n)
    # the last one is in memory once the writer looks around again
    until(lambda: (folder / "spool" / "losses.jsonl").read_bytes().count(b"\n") == len(NUMBERS))
    kill_at_call(folder, kill_at)
    writer.stop(0.5)
    sink.close()


if __name__ == "__main__":
    at_each_call(Path(sys.argv[1]), run)
