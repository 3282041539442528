"""The spine: S7 and Modbus peers, the daemon as a process, a real Influx engine, the historian.

The peers' own log of requests is the ledger: what they answered must be in the store.
"""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from gateway.api.client import Client, NotRunning
from tests.sims.influx_peer import TOKEN, InfluxPeer, influx
from tests.sims.modbus_peer import ModbusPeer
from tests.sims.s7_peer import S7Peer, serve_s7
from tests.support import until

__all__ = ["influx"]

INTERVAL_S = 0.2
FLUSH_S = 0.5
s7 = pytest.fixture(serve_s7)


@pytest.fixture
def meter() -> Iterator[ModbusPeer]:
    with ModbusPeer("tcp", 0) as peer:
        yield peer


class Gateway:
    """The daemon in a process of its own."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        with (self.file.parent / "gateway.log").open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "gateway", "run", str(self.file)],
                stdout=log,
                stderr=log,
                env={**os.environ, "GATEWAY_DEBUG": "1"},
            )
        until(lambda: self.status() is not None, 20, "the daemon to answer")

    def status(self) -> dict[str, Any] | None:
        assert self.process is not None
        assert self.process.poll() is None, self.log()
        try:
            document: dict[str, Any] = Client(self.file.parent / "s").get_json("/v1/status")
        except NotRunning:
            return None
        return document

    def good(self) -> bool:
        """Whether all goes well; that this machine is busy and skips polls is not its fault."""
        status = self.status()
        return status is not None and all("polls skipped" in p for p in status["problems"])

    def batches(self) -> int:
        """How many wait on disk for Influx."""
        status = self.status()
        assert status is not None
        return int(status["sinks"]["influx"]["pending_batches"])

    def end(self, how: signal.Signals) -> int:
        assert self.process is not None
        self.process.send_signal(how)
        code = self.process.wait(20)
        self.process = None
        return code

    def log(self) -> str:
        return (self.file.parent / "gateway.log").read_text("utf-8")


@pytest.fixture
def gateway(tmp_path: Path, influx: InfluxPeer, s7: S7Peer, meter: ModbusPeer) -> Iterator[Gateway]:
    (tmp_path / "token").write_text(TOKEN)
    (tmp_path / "token").chmod(0o600)
    (tmp_path / "hopper.yaml").write_text(
        f"""
driver: s7
modules:
  electricity: {{Pt: {{at: 0.0, type: real, unit: kW}}, ImpEp: {{at: 4.0, type: lreal}}}}
groups:
  process:
    interval_s: {INTERVAL_S}
    tags:
      pm10: {{address: "DB{{db}}.DBD0", type: real, unit: ug/m3}}
      temperature: {{address: "DB{{db}}.DBW4", type: int, scale: 0.1, unit: degC}}
      running: {{address: "DB{{db}}.DBX6.0", type: bool}}
      name: {{address: "DB{{db}}.DBB8", type: "string[10]"}}
    modules: {{meter: {{use: electricity, at: "DB{{db}}.DBB20"}}}}
"""
    )
    (tmp_path / "meter.yaml").write_text(
        f"""
driver: modbus
groups:
  power:
    interval_s: {INTERVAL_S}
    tags: {{count: {{address: "holding:100", type: uint16, store: int}}}}
"""
    )
    file = tmp_path / "gateway.yaml"
    file.write_text(
        f"""
gateway: {{name: hall-3, labels: {{site: plant-1}}}}
state_dir: state
api: {{socket: s}}
writer: {{flush_interval_s: {FLUSH_S}}}
sinks:
  influx: {{type: influxdb, url: "{influx.url}", org: o, bucket: sensors, token_file: token}}
  history: {{type: sqlite, store_every_s: 0}}
devices:
  hopper_4: {{driver: s7, host: 127.0.0.1, port: {s7.port}, map: hopper.yaml, with: {{db: 4}},
             labels: {{line: kiln-2}}}}
  meter_1: {{driver: modbus, host: 127.0.0.1, port: {meter.port}, map: meter.yaml}}
"""
    )
    s7.db(4, 64)
    raw = struct.pack(">fhBx", 45.2, 285, 1) + b"\x0a\x05press" + bytes(5)
    s7.write(4, 0, raw + struct.pack(">fd", 5.6, 1234.5))
    meter.write("holding", 100, struct.pack(">H", 7))
    daemon = Gateway(file)
    yield daemon
    if daemon.process is not None:
        daemon.process.kill()
        daemon.process.wait()


def test_tags_of_real_peers_reach_influx_and_the_historian(
    gateway: Gateway, influx: InfluxPeer
) -> None:
    gateway.start()
    until(lambda: influx.count("power", "count") >= 3, 20, "rows in Influx")
    until(gateway.good, 10, "a good state")
    assert gateway.end(signal.SIGTERM) == 0, gateway.log()
    assert "Traceback" not in gateway.log()
    (first, *_) = influx.rows("process")
    assert first == {
        "time": first["time"],
        "gateway": "hall-3",
        "device": "hopper_4",
        "line": "kiln-2",
        "site": "plant-1",
        "pm10": pytest.approx(45.2, abs=1e-6),
        "temperature": 28.5,
        "running": True,
        "name": "press",
        "_quality": "",  # once after a start, because an earlier run may have left a mark
    }
    (module, *_) = influx.rows("electricity")
    assert module["module"] == "meter"
    assert (module["Pt"], module["ImpEp"]) == (5.6, 1234.5)
    assert module["time"] == first["time"], "a module is read in the same poll"
    assert influx.rows("power")[0]["count"] == 7
    with sqlite3.connect(gateway.file.parent / "state" / "history.db") as store:
        found = store.execute(
            "select device, tag, value, unit from history where tag in ('pm10', 'name')"
            " group by tag order by tag"
        ).fetchall()
    store.close()
    assert found == [("hopper_4", "name", "press", None), ("hopper_4", "pm10", 45.2, "ug/m3")]


def test_a_stop_stores_every_answer_even_if_it_is_asked_for_twice(
    gateway: Gateway, influx: InfluxPeer, meter: ModbusPeer
) -> None:
    for signals in ((signal.SIGTERM,), (signal.SIGINT, signal.SIGTERM, signal.SIGTERM)):
        gateway.start()
        stored = influx.count("power", "count")
        until(lambda before=stored: influx.count("power", "count") >= before + 3, 20, "rows")
        assert gateway.process is not None
        for number in signals[:-1]:
            gateway.process.send_signal(number)
        assert gateway.end(signals[-1]) == 0, gateway.log()
    answered = len(meter.log())
    assert influx.count("power", "count") == answered
    assert influx.rows("gateway_loss") == []


@pytest.mark.long
@pytest.mark.timeout(150)
def test_a_minute_without_server_and_a_kill_lose_nothing_that_was_spooled(
    gateway: Gateway, influx: InfluxPeer, meter: ModbusPeer
) -> None:
    meter.tell(f"move holding 100 1 {int(INTERVAL_S * 500)}")
    gateway.start()
    until(lambda: influx.count("power", "count") >= 3, 20, "rows in Influx")
    answered = [entry[0] for entry in meter.log()]
    influx.kill()
    down = time.monotonic()
    until(lambda: time.monotonic() - down > 30, 40, "half a minute without a server")
    assert "sink influx" in " ".join(gateway.status()["problems"])  # type: ignore[index]
    # after a flush: a busy machine may have held it up, and with it more rows than usual
    batches = gateway.batches()
    until(lambda: gateway.batches() > batches, 10, "a flush")
    gateway.end(signal.SIGKILL)
    killed = [entry[0] for entry in meter.log()]
    gateway.start()
    until(lambda: time.monotonic() - down > 60, 40, "a minute without a server")
    influx.start()
    until(gateway.good, 90, "the sink to be good again")
    # what waits for its flush is no backlog: three tables, two flushes
    fresh = 3 * (int(2 * FLUSH_S / INTERVAL_S) + 1)
    until(lambda: gateway.status()["sinks"]["influx"]["pending_rows"] <= fresh, 30, "no backlog")  # type: ignore[index]
    assert gateway.end(signal.SIGTERM) == 0
    answered += killed + [entry[0] for entry in meter.log()]
    rows = influx.rows("power")
    times = [row["time"] for row in rows]
    assert len(times) == len(set(times)), "every row once"
    unspooled = int(FLUSH_S / INTERVAL_S) + 2
    assert len(answered) - unspooled <= len(rows) <= len(answered)
    # a hole only where the gateway was killed and started again; where a busy machine polled
    # late, the meter has not answered either
    offset_ns = time.time_ns() - time.monotonic_ns()
    stamps = [int(1e9 * at_s) + offset_ns for at_s in answered]
    gaps = [
        b - a
        for a, b in pairwise(times)
        if b - a > 4e9 * INTERVAL_S and sum(a < stamp < b for stamp in stamps) >= 2
    ]
    assert len(gaps) <= 1, gaps
    losses = influx.rows("gateway_loss")
    told = [
        row for row in losses if row["cause"] == "unclean_stop" and row["table_lost"] == "power"
    ]
    assert told, losses
    assert told[0]["rows"] <= 2 * unspooled, "at most two flushes"
    stored = [json.dumps(row["count"]) for row in rows]
    assert len(set(stored)) > len(stored) * 0.9, "each poll saw another value"
