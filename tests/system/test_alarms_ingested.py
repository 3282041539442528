"""Alarms over rows of other programs, with the daemon as a process: raised, told, and stale."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from gateway.api.client import Client
from tests.support import free_port, until
from tests.system.cli_kit import called, started
from tests.unit.tokenkit import bearer, post

CONFIG = """\
gateway: {name: hall-3}
state_dir: state
api: {socket: s, listen: "127.0.0.1:PORT", tokens_file: tokens}
writer: {flush_interval_s: 0.2}
sinks: {history: {type: sqlite, store_every_s: 0}}
notify:
  horn: {type: command, command: [/bin/sh, -c, "cat >> FOLDER/horn"], states: [unacknowledged]}
ingest:
  http: true
  devices:
    oven_7: {tables: {process: {interval_s: 0.5, tags: {temp: {unit: degC}, speed: {}}}}}
devices:
  pump: {driver: mock, map: pump.yaml}
alarms:
  rules:
    hot: {kind: limits, tag: oven_7.process.temp, unit: degC, high: 900, severity: high}
    pair: {kind: expression, device: oven_7, when: oven_7.process.temp > 9999}
    silent: {kind: stale, tag: oven_7.process.temp, after_s: 5.5}
"""
PUMP = """\
driver: mock
stream:
  rate_hz: 2560
  channels:
    de: {unit: g, signal: {kind: sines, tones: [{hz: 100, amplitude: 2}]}}
  analysis:
    window_s: 0.5
    hop_s: 0.1
    publish_every_s: 0.2
    features: [rms]
    states: {fast: oven_7.process.speed > 100}
    inputs_max_age_s: 3
    otherwise: slow
"""

pytestmark = pytest.mark.timeout(120)


class Hall:
    """A gateway to which the test sends."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.file = folder, folder / "gateway.yaml"
        port = free_port()
        self.http = f"127.0.0.1:{port}"
        self.file.write_text(CONFIG.replace("PORT", str(port)).replace("FOLDER", str(folder)))
        (folder / "pump.yaml").write_text(PUMP)
        (folder / "tokens").touch(0o600)
        made = called("token", "add", self.file, "box", "--role", "ingest")
        self.token = made.stdout.strip()
        self.client = Client(folder / "s")

    def send(self, line: str) -> None:
        status, _, told = post(self.http, "/v1/ingest", bearer(self.token), line.encode())
        assert status == 204, told

    def get(self, path: str) -> Any:
        return self.client.get_json(path)

    def rule(self, alarm: str) -> dict[str, Any]:
        (found,) = [r for r in self.get("/v1/alarms/rules")["rules"] if r["id"] == alarm]
        return dict(found)

    def state(self, alarm: str) -> str:
        return str(self.rule(alarm)["state"])

    def device(self) -> dict[str, Any]:
        return dict(self.get("/v1/status")["ingest"]["devices"]["oven_7"])

    def pump_state(self) -> Any:
        values = self.client.get_json("/v1/latest", {"device": "pump"})["values"]
        found = [v["value"] for v in values if v["tag"] == "state"]
        return found[0] if found else None


@pytest.fixture
def hall(tmp_path: Path) -> Iterator[Hall]:
    made = Hall(tmp_path)
    log = tmp_path / "log"
    with started("run", made.file, log=log) as process:

        def is_ready() -> bool:
            assert process.poll() is None, log.read_text("utf-8", "replace")
            return "Next, in another" in log.read_text("utf-8", "replace")

        until(is_ready, 60)
        yield made


def test_what_is_sent_raises_an_alarm_is_told_and_is_stale_when_it_stops(hall: Hall) -> None:
    assert hall.device()["state"] == "connecting"
    assert hall.rule("oven_7/hot.high")["not_known"] == "no_data"
    hall.send("process,device=oven_7 temp=901,speed=1480")
    until(lambda: hall.state("oven_7/hot.high") == "unacknowledged", 10)
    until(lambda: hall.get("/v1/status")["notifiers"]["horn"]["sent"] == 1, 20)
    assert "hot" in (hall.folder / "horn").read_text()
    (active,) = hall.get("/v1/alarms")["alarms"]
    assert (active["id"], active["value"], active["unit"]) == ("oven_7/hot.high", 901.0, "degC")
    (shape,) = [d for d in hall.get("/v1/devices")["devices"] if d["name"] == "oven_7"]
    assert (shape["driver"], shape["groups"][0]["interval_s"]) == ("ingest", 0.5)

    # another stretch of the same values, old ones in a row that came late, change nothing
    hall.send(f"process,device=oven_7 temp=1,other=1 {time.time_ns() - 3_600_000_000_000}")
    hall.send("process,device=oven_7 speed=1480")
    until(lambda: hall.pump_state() == "fast", 10)
    assert hall.state("oven_7/hot.high") == "unacknowledged"

    # nothing comes any more: the value is not GOOD, no rule decides by it, and one says so
    until(lambda: hall.state("oven_7/silent") == "unacknowledged", 20)
    # the age of its row is another measure than the silence of the tag
    until(lambda: hall.rule("oven_7/hot.high")["not_known"] == "stale", 10)
    rule = hall.rule("oven_7/hot.high")
    assert (rule["state"], rule["value"]) == ("unacknowledged", None)
    until(lambda: hall.pump_state() == "unknown", 10)
    until(lambda: hall.device()["state"] == "stale", 10)
    assert "process: the newest row is of" in hall.device()["reason"]

    hall.send("process,device=oven_7 temp=20")
    until(lambda: hall.state("oven_7/hot.high") == "returned", 10)
    until(lambda: hall.state("oven_7/silent") == "returned", 10)
    assert hall.device()["state"] == "good"


def test_declarations_are_reloaded_without_a_restart(hall: Hall) -> None:
    text = hall.file.read_text()
    hall.file.write_text(
        text.replace("speed: {}", "speed: {}, load: {type: bool}")
        + "    load: {kind: expression, when: oven_7.process.load}\n"
    )
    changes = called("reload", "--config", hall.file).stdout
    assert "settings ingest.devices: changed" in changes
    assert "needs a restart" not in changes
    hall.send("process,device=oven_7 load=true")
    until(lambda: hall.state("oven_7/load") == "unacknowledged", 10)
    hall.send("process,device=oven_7 load=0.5")
    until(lambda: hall.rule("oven_7/load")["not_known"] == "type", 10)
    told = "alarms: 'oven_7.process.load' does not come as declared: number"
    until(lambda: told in hall.get("/v1/status")["problems"], 10)
