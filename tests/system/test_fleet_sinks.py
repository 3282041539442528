"""The daemon as a process with Redis and MQTT: rows, newest rows, status, alarms; stop and kill."""

from __future__ import annotations

import contextlib
import signal
import time
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import orjson
import pytest

from gateway.api.client import Client, NotRunning
from gateway.model import OWN_TABLES
from tests.sims.mosquitto import broker, heard
from tests.sims.redis_server import redis_server
from tests.sinks.rediskit import in_stream
from tests.support import until
from tests.system.cli_kit import started

pytestmark = pytest.mark.servers

GATEWAY = """
gateway: {{name: hall-3}}
state_dir: state
api: {{socket: s}}
writer: {{flush_interval_s: 0.1}}
sinks:
  fleet: {{type: redis, host: 127.0.0.1, port: {redis}}}
  broker: {{type: mqtt, host: 127.0.0.1, port: {mqtt}}}
devices:
  press: {{driver: mock, map: press.yaml}}
alarms:
  rules:
    force: {{kind: limits, tag: press.process.force, high: 30, latch: true}}
"""
PRESS = """
driver: mock
groups:
  process:
    interval_s: 0.02
    tags:
      force: {type: real, unit: kN, signal: {kind: constant, value: 50}}
      count: {type: udint, store: int, signal: {kind: constant, value: 7}}
"""

TOPIC = "edge-gateway/hall-3/press/process"


class Hall:
    def __init__(self, folder: Path, redis: int, mqtt: int) -> None:
        self.folder = folder
        self.file = folder / "gateway.yaml"
        self.file.write_text(GATEWAY.format(redis=redis, mqtt=mqtt))
        (folder / "press.yaml").write_text(PRESS)
        self.client = Client(folder / "s")

    def status(self) -> dict[str, Any]:
        with contextlib.suppress(NotRunning):
            found: dict[str, Any] = self.client.get_json("/v1/status")
            return found
        return {}

    @contextlib.contextmanager
    def running(self, stop: int = signal.SIGTERM) -> Iterator[None]:
        with started("run", self.file, log=self.folder / "log", stop=stop):
            until(lambda: self.stored("fleet") > 20 and self.stored("broker") > 20, 30, "rows")
            yield

    def stored(self, sink: str) -> int:
        found = self.status().get("sinks", {}).get(sink, {})
        return int(found.get("rows_stored", 0))


def states_of(messages: Sequence[Any]) -> list[str]:
    """What the gateway said of itself."""
    told = [m for m in list(messages) if m.topic.endswith("/status")]
    return [orjson.loads(m.payload)["state"] for m in told]


def data(rows: list[Any]) -> list[Any]:
    return [row for row in rows if row.table.name not in OWN_TABLES]


def test_what_is_read_is_in_redis_and_at_the_broker(tmp_path: Path) -> None:
    with (
        redis_server(tmp_path / "redis") as peer,
        peer.client() as looker,
        broker(tmp_path / "broker") as made,
        heard(made.port, "edge-gateway/hall-3/#") as messages,
    ):
        hall = Hall(tmp_path, peer.port, made.port)
        with hall.running():
            status = until(lambda: looker.get("status:hall-3"), what="the status")
            assert orjson.loads(status)["gateway"]["name"] == "hall-3"
            (alarm,) = until(lambda: looker.hgetall("alarm:hall-3"), what="the alarm").items()
            assert alarm[0] == b"press/force.high"
            assert orjson.loads(alarm[1])["state"] == "unacknowledged"
            assert looker.hget("latest:hall-3:press:process", "time_ns")
        rows = data(in_stream(looker))
        times = [row.time_ns for row in rows]
        assert times == sorted(set(times))
        # what the broker has taken is on its way to the subscriber; this is the last of it
        until(lambda: states_of(messages) == ["online", "offline"], what="that it went offline")
        assert {tuple(row.values()) for row in rows} == {(50.0, 7)}
        assert rows[0].table.stores_int == {1}
        published = [m for m in messages if m.topic == TOPIC]
        assert {orjson.loads(m.payload)["time_ns"] for m in published} == set(times)
    log = (tmp_path / "log").read_text()
    assert "Traceback" not in log


def test_after_a_kill_no_row_that_was_spooled_is_missing(tmp_path: Path) -> None:
    with (
        redis_server(tmp_path / "redis") as peer,
        peer.client() as looker,
        broker(tmp_path / "broker") as made,
        heard(made.port, TOPIC) as messages,
    ):
        hall = Hall(tmp_path, peer.port, made.port)
        with hall.running(stop=signal.SIGKILL):
            peer.kill()
            until(lambda: hall.status()["sinks"]["fleet"]["state"] == "retrying", what="retrying")
            before = hall.status()["sinks"]["fleet"]["pending_batches"]
            until(lambda: hall.status()["sinks"]["fleet"]["pending_batches"] > before + 3, 20)
        peer.start()
        away_ns = time.time_ns()
        with hall.running():
            until(lambda: hall.status()["sinks"]["fleet"]["pending_rows"] < 20, 20, "the backlog")
        rows = data(in_stream(looker))
        losses = [row for row in in_stream(looker) if row.table.name == "gateway_loss"]
    times = sorted({row.time_ns for row in rows})
    (gap,) = [(a, b) for a, b in pairwise(times) if a < away_ns < b]
    # what the broker has, which was never away, is the ledger: a busy machine polls late, too
    at_broker = {orjson.loads(m.payload)["time_ns"] for m in list(messages)}
    assert len(at_broker) > 20
    assert [t for t in at_broker - set(times) if not gap[0] < t < gap[1]] == []
    # the process was away once; what it may have lost then is told
    told = [dict(zip(row.table.columns, row.values(), strict=True)) for row in losses]
    unclean = [t for t in told if t["cause"] == "unclean_stop" and t["sink"] == "fleet"]
    assert [(t["first_ns"] - 1, t["last_ns"] + 1) for t in unclean] == [gap]
