"""A process that sends numbered rows through a writer until its standard input ends.

``python -m tests.sims.row_pump STATE_DIR URL FIRST``: prints each row's number before it is
published, and each loss as JSON. Row n has value n and time START_NS + n x STEP_NS.
"""

from __future__ import annotations

import json
import os
import sys
import threading
from pathlib import Path

import numpy as np

from gateway.hub import Hub
from gateway.losses import Loss
from gateway.model import Column, Row, Table
from gateway.sinks.influxdb import InfluxConfig, InfluxSink
from gateway.spool import Spool, SpoolConfig
from gateway.writer import Writer, WriterConfig
from tests.sims.influx_peer import BUCKET

START_NS = 1_700_000_000_000_000_000
STEP_NS = 2_000_000


def say(line: str) -> None:
    """One line in one piece, whichever thread says it."""
    os.write(1, f"{line}\n".encode())


def main(state_dir: Path, url: str, number: int) -> None:
    def tell(loss: Loss) -> None:
        say(json.dumps(loss._asdict()))

    columns = [Column("n", "i8", store_int=True)]
    table = Table("numbers", "pump", columns, [("device", "pump")], interval_s=STEP_NS / 1e9)
    document = {"type": "influxdb", "url": url, "bucket": BUCKET, "timeout_s": 2.0}
    document["token_file"] = str(state_dir / "token")
    sink = InfluxSink("influx", InfluxConfig.model_validate(document), state_dir)
    spool = Spool(state_dir / "spool" / "influx", SpoolConfig(), "influx", tell)
    hub = Hub()
    config = WriterConfig(flush_interval_s=0.05)
    writer = Writer("influx", sink, hub.subscribe("influx"), config, spool, on_loss=tell)
    writer.start()
    ended = threading.Event()
    threading.Thread(target=lambda: (sys.stdin.read(), ended.set()), daemon=True).start()
    while not ended.wait(STEP_NS / 1e9):
        say(str(number))
        hub.publish(Row(table, START_NS + number * STEP_NS, (np.array([number]),)))
        number += 1
    writer.stop(10.0)
    sink.close()


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]))
