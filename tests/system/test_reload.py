"""A changed file is applied by difference: only what differs restarts, and no row is lost."""

from __future__ import annotations

import contextlib
import signal
import sqlite3
import struct
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from gateway.api.client import Client, NotRunning
from tests.sims.influx_peer import TOKEN, InfluxPeer, influx
from tests.sims.modbus_peer import ModbusPeer
from tests.sims.s7_peer import S7Peer, serve_s7
from tests.support import until
from tests.system.cli_kit import called, said, started

__all__ = ["influx"]

s7 = pytest.fixture(serve_s7)

MAP = """
driver: modbus
groups:
  power:
    interval_s: 0.1
    tags: {{count: {{address: "holding:100", type: uint16, store: int}}{more}}}
"""

HOPPER = """
driver: s7
groups:
  process: {interval_s: 0.1, tags: {pm10: {address: "DB4.DBD0", type: real}}}
"""


@pytest.fixture
def meter() -> Iterator[ModbusPeer]:
    with ModbusPeer("tcp", 0) as peer:
        peer.write("holding", 100, struct.pack(">HH", 7, 8))
        yield peer


class Plant:
    """A running gateway with a PLC, a meter, a historian and InfluxDB."""

    def __init__(self, folder: Path, s7: S7Peer, meter: ModbusPeer, url: str) -> None:
        self.folder, self.file = folder, folder / "gateway.yaml"
        self.log = folder / "log"
        self.s7, self.meter, self.url = s7, meter, url
        self.process: subprocess.Popen[bytes] | None = None
        (folder / "token").write_text(TOKEN)
        (folder / "token").chmod(0o600)
        (folder / "hopper.yaml").write_text(HOPPER)
        (folder / "meter.yaml").write_text(MAP.format(more=""))
        self.write()

    def write(self, *, devices: str = "", sinks: str = "", meter: str = "", head: str = "") -> None:
        """The gateway's file, with more devices and sinks, and other settings of the meter."""
        self.file.write_text(
            f"""
gateway: {{name: hall}}
state_dir: state
api: {{socket: s}}
writer: {{flush_interval_s: 0.2}}
{head}
sinks:
  history: {{type: sqlite, store_every_s: 0}}
  influx: {{type: influxdb, url: "{self.url}", org: o, bucket: sensors, token_file: token{sinks}}}
devices:
  hopper: {{driver: s7, host: 127.0.0.1, port: {self.s7.port}, map: hopper.yaml}}
  meter: {{driver: modbus, host: 127.0.0.1, port: {self.meter.port}, map: meter.yaml{meter}}}
{devices}"""
        )

    def status(self) -> dict[str, Any]:
        with contextlib.suppress(NotRunning):
            found: dict[str, Any] = Client(self.folder / "s").get_json("/v1/status")
            return found
        return {"devices": {}, "sinks": {}}

    def polls(self, device: str) -> int:
        found: int = self.status()["devices"].get(device, {}).get("polls", 0)
        return found

    def reload(self, expect: int = 0) -> str:
        done = called("reload", "--socket", self.folder / "s", expect=expect)
        return done.stdout + done.stderr


@pytest.fixture
def plant(tmp_path: Path, s7: S7Peer, meter: ModbusPeer, influx: InfluxPeer) -> Iterator[Plant]:
    s7.db(4, 16)
    s7.write(4, 0, struct.pack(">f", 45.2))
    made = Plant(tmp_path, s7, meter, influx.url)
    with started("run", made.file, log=made.log) as process:
        made.process = process
        said(made.log, "Next, in another terminal", process)
        until(lambda: made.polls("hopper") > 3 and made.polls("meter") > 3)
        yield made
    assert "Traceback" not in made.log.read_text("utf-8")


def test_nothing_restarts_where_nothing_differs(plant: Plant) -> None:
    before = plant.status()["devices"]
    plant.file.write_text("# a comment\n" + plant.file.read_text())
    assert "nothing differs" in called("check", "--diff", plant.file).stdout
    assert plant.reload() == "nothing differs\n"
    after = plant.status()["devices"]
    assert [after[d]["connects"] for d in after] == [before[d]["connects"] for d in before]
    assert all(after[d]["polls"] >= before[d]["polls"] for d in after)


def test_a_changed_map_restarts_its_device_and_no_other(plant: Plant) -> None:
    hopper = plant.polls("hopper")
    more = ', next: {address: "holding:101", type: uint16}'
    (plant.folder / "meter.yaml").write_text(MAP.format(more=more))
    assert "device meter: changed" in called("check", "--diff", plant.file).stdout
    assert plant.reload() == "device meter: changed\n"
    until(lambda: plant.polls("meter") > 2)
    values = Client(plant.folder / "s").get_json("/v1/latest", {"device": "meter"})["values"]
    assert {v["tag"]: v["value"] for v in values} == {"count": 7, "next": 8}
    until(lambda: plant.polls("hopper") > hopper, what="its counters go on")
    status = plant.status()["devices"]
    assert (status["hopper"]["connects"], status["meter"]["connects"]) == (1, 1)


def test_devices_come_and_go(plant: Plant) -> None:
    plant.write(devices=f"  second: {{driver: modbus, host: 127.0.0.1, port: {plant.meter.port},"
                " map: meter.yaml}\n")  # fmt: skip
    assert plant.reload() == "device second: added\n"
    until(lambda: plant.polls("second") > 2)
    plant.write(meter=", enabled: false")
    assert sorted(plant.reload().splitlines()) == [
        "device meter: changed",
        "device second: removed",
    ]
    status = plant.status()
    assert set(status["devices"]) == {"hopper"}
    client = Client(plant.folder / "s")
    assert {v["labels"]["device"] for v in client.get_json("/v1/latest")["values"]} <= {
        "hopper", "gateway",
    }  # fmt: skip


def test_an_invalid_file_leaves_the_running_one_and_names_the_fault(plant: Plant) -> None:
    good = plant.file.read_text()
    plant.file.write_text(good.replace("hopper.yaml", "hoper.yaml").replace("port:", "prot:"))
    told = plant.reload(expect=78)
    assert "gateway.yaml:" in told
    assert "unknown key 'prot'; did you mean 'port'?" in told
    assert "the running configuration stays" in told
    polls = plant.polls("hopper")
    until(lambda: plant.polls("hopper") > polls)
    assert plant.status()["reload"]["ok"] is False
    plant.file.write_text(good)
    assert plant.reload() == "nothing differs\n"
    assert plant.status()["reload"]["ok"] is True


def test_what_needs_a_restart_is_said_and_not_half_applied(plant: Plant) -> None:
    plant.file.write_text(plant.file.read_text().replace("state_dir: state", "state_dir: other"))
    assert "'state_dir' changed: that needs a restart" in plant.reload(expect=78)
    assert not (plant.folder / "other").exists()
    plant.write(head="spool: {max_age_days: 3}")
    plant.file.write_text(plant.file.read_text().replace("{socket: s}", "{socket: s2}"))
    told = plant.reload().splitlines()
    assert "settings api: needs a restart" in told
    assert "settings spool: changed" in told


def test_a_sink_whose_url_and_token_change_keeps_what_waits_for_it(
    plant: Plant, influx: InfluxPeer
) -> None:
    until(lambda: influx.count("power", "count") > 2, 20, "rows in Influx")
    (plant.folder / "wrong").write_text("not-the-token-0123456789")
    (plant.folder / "wrong").chmod(0o600)
    good = plant.file.read_text()
    plant.file.write_text(good.replace("token_file: token", "token_file: wrong"))
    assert plant.reload() == "sink influx: changed\n"
    until(lambda: plant.status()["sinks"]["influx"]["state"] == "blocked", 20)
    polls = plant.polls("meter")
    until(lambda: plant.polls("meter") > polls + 20, 20, "rows that wait")
    plant.file.write_text(good)
    assert plant.reload() == "sink influx: changed\n"
    until(lambda: influx.count("power", "count") > 20, 20, "what waited")
    until(lambda: plant.status()["sinks"]["influx"]["pending_rows"] < 6, 20, "no backlog")
    assert plant.process is not None
    plant.process.send_signal(signal.SIGTERM)
    plant.process.wait(20)
    answered = len(plant.meter.log())
    assert influx.count("power", "count") == answered, "every answer of the meter once"
    assert influx.rows("gateway_loss") == []
    with contextlib.closing(sqlite3.connect(plant.folder / "state" / "history.db")) as store:
        (kept,) = store.execute("select count(*) from history where tag = 'count'").fetchone()
    assert kept == answered


def test_sinks_come_and_go_without_a_lost_row(plant: Plant) -> None:
    for round_ in range(4):
        name = f"more_{round_}"
        text = plant.file.read_text()
        added = f"sinks:\n  {name}: {{type: sqlite, path: {name}.db, store_every_s: 0}}\n"
        plant.file.write_text(text.replace("sinks:\n", added))
        assert plant.reload() == f"sink {name}: added\n"
        polls = plant.polls("hopper")
        until(lambda before=polls: plant.polls("hopper") > before + 5)
        plant.file.write_text(text)
        assert plant.reload() == f"sink {name}: removed\n"
        with contextlib.closing(sqlite3.connect(plant.folder / f"{name}.db")) as store:
            times = [t for (t,) in store.execute("select time_ns from history where tag = 'pm10'")]
        assert len(times) >= 5
    assert plant.status()["losses"] == {}
    assert set(plant.status()["sinks"]) == {"history", "influx"}


STREAMED = """
gateway: {name: g}
state_dir: state
api: {socket: s}
sinks: {history: {type: sqlite}}
devices:
  plc: {driver: mock, map: plc.yaml}
  press: {driver: mock, map: press.yaml}
  daq: {driver: mock, map: daq.yaml}
"""
POLLED = "driver: mock\ngroups: {p: {interval_s: 0.1, tags: {rpm: {type: real%s}}}}\n"
STREAM = """
driver: mock
stream:
  rate_hz: 2560
  channels: {a: {unit: g}}
  analysis: {window_s: 0.5, publish_every_s: 0.1, speed: plc.p.rpm}
"""


def test_a_stream_goes_on_and_reads_its_speed_from_a_device_that_was_changed(
    tmp_path: Path,
) -> None:
    file, log = tmp_path / "gateway.yaml", tmp_path / "log"
    file.write_text(STREAMED)
    constant = ", signal: {kind: constant, value: %s}"
    for name in ("plc", "press"):
        (tmp_path / f"{name}.yaml").write_text(POLLED % (constant % "1200.0"))
    (tmp_path / "daq.yaml").write_text(STREAM)
    client = Client(tmp_path / "s")

    def stream() -> dict[str, Any]:
        found: dict[str, Any] = client.get_json("/v1/status")["devices"]["daq"]
        return found

    def speed_hz() -> float | None:
        values = client.get_json("/v1/latest", {"device": "daq"})["values"]
        found = [v["value"] for v in values if v["tag"] == "speed_hz"]
        return found[0] if found else None

    with started("run", file, log=log) as process:
        said(log, "Next, in another terminal", process)
        until(lambda: speed_hz() == 20.0, 20)
        before = stream()
        (tmp_path / "press.yaml").write_text(POLLED % "")
        assert called("reload", "--config", file).stdout == "device press: changed\n"
        until(lambda: stream()["facts"]["stream"]["hops"] > before["facts"]["stream"]["hops"] + 3)
        assert stream()["connects"] == before["connects"]
        assert stream()["facts"]["stream"]["gaps"] == 0
        (tmp_path / "plc.yaml").write_text(POLLED % (constant % "1500.0"))
        told = called("reload", "--config", file).stdout.splitlines()
        assert told == ["device plc: changed", "device daq: changed"]
        until(lambda: speed_hz() == 25.0, 20, "the speed of the changed PLC")
    assert "Traceback" not in log.read_text("utf-8")
