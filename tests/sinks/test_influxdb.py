"""The InfluxDB sink on real servers, through outages and kills."""

from __future__ import annotations

import json
import random
import re
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from gateway.losses import Loss
from gateway.model import Column, Row, Table, bad_row, make_parts
from gateway.sinks import Selected
from gateway.sinks.influxdb import InfluxConfig, InfluxSink
from gateway.spool import Spool, SpoolConfig
from tests.sims.influx_peer import (
    BUCKET,
    TOKEN,
    InfluxPeer,
    VictoriaPeer,
    influx,
    victoria,
)
from tests.sims.row_pump import START_NS, STEP_NS
from tests.sinks.influxkit import Gateway, gateway, wide_table
from tests.support import ROOT, until

__all__ = ["gateway", "influx", "victoria"]

pytestmark = pytest.mark.servers


def test_rows_pass_through_an_outage_exactly_once(
    gateway: Gateway,
    influx: InfluxPeer,
) -> None:
    table = wide_table(450)
    writer = gateway.start(influx.url)
    values = np.random.default_rng(1).uniform(-1000, 1000, (300, 450)).astype("f4")

    def publish(first: int, end: int) -> None:
        for n in range(first, end):
            gateway.hub.publish(Row(table, START_NS + n, (values[n],)))
        until(lambda: writer.status()["rows_accepted"] == end)

    publish(0, 100)
    until(lambda: writer.status()["rows_stored"] == 100)
    influx.kill()
    for n in range(100, 300, 20):
        publish(n, n + 20)
    until(lambda: writer.status()["state"] == "retrying")
    until(lambda: writer.status()["pending_rows"] == 200)
    influx.start()
    until(lambda: writer.status()["rows_stored"] == 300, 20)
    until(lambda: writer.status()["pending_batches"] == 0)
    stored = np.zeros_like(values)
    for cut, name in enumerate(("wide", "wide_2", "wide_3")):
        rows = influx.rows(name)
        assert [r["time"] for r in rows] == [START_NS + n for n in range(300)]
        for n, row in enumerate(rows):
            for c in range(200 * cut, min(200 * cut + 200, 450)):
                stored[n, c] = row[f"c{c}"]
    assert stored.tobytes() == values.tobytes()
    assert gateway.losses == []


def test_only_the_lines_that_conflict_are_refused(
    gateway: Gateway,
    influx: InfluxPeer,
) -> None:
    status, _ = influx.write(BUCKET, "ns", None, b"clash,device=d v=1i %d\n" % START_NS)
    assert status == 204
    good = Table("good", "d", [Column("v", "f8")], [("device", "d")])
    clash = Table("clash", "d", [Column("v", "f8")], [("device", "d"), ("module", "a b")])
    gateway.start(influx.url)
    tables = {n: clash if n in (3, 250, 251) else good for n in range(1, 501)}
    # one batch, so that one loss names what was refused of it
    gateway.publish_all(*(Row(t, START_NS + n, (np.array([n / 4]),)) for n, t in tables.items()))
    status = gateway.settled(500)
    until(lambda: gateway.losses)
    assert influx.count("good", "v") == 497
    assert (status["rows_stored"], status["rows_rejected"]) == (497, 3)
    (loss,) = gateway.losses
    assert loss[:6] == ("influx", "d", "clash.a b", START_NS + 3, START_NS + 251, 3)
    assert loss.cause == "rejected"
    assert "field type conflict" in loss.detail


def test_a_changed_token_is_taken_up(
    gateway: Gateway,
    influx: InfluxPeer,
) -> None:
    influx.token = "another"
    writer = gateway.start(influx.url)
    gateway.hub.publish(Row(wide_table(2), START_NS, (np.array([1, 2], "f4"),)))
    until(lambda: writer.status()["state"] == "blocked")
    gateway.token.write_text("another")
    until(lambda: writer.status()["rows_stored"] == 1)


@pytest.mark.parametrize("layout", ["wide", "narrow"])
def test_victoriametrics_takes_every_number(
    gateway: Gateway,
    victoria: VictoriaPeer,
    layout: str,
) -> None:
    writer = gateway.start(victoria.url, layout=layout)
    columns = [Column("f", "f4"), Column("i", "i8"), Column("s", "str")]
    table = Table("vm", "d", columns, [("device", "d")])
    rng = np.random.default_rng(2).uniform(-1000, 1000, 50).astype("f4")
    start_ms = time.time_ns() // 1_000_000 - 100_000
    for n, value in enumerate(rng.tolist()):
        row = Row(table, (start_ms + n * 10) * 1_000_000, make_parts(table, [value, n, "x"]))
        gateway.hub.publish(row)
    gateway.hub.publish(bad_row(table, (start_ms + 1000) * 1_000_000, "timeout"))
    until(lambda: writer.status()["rows_stored"] == 51)
    names = ("vm_f", "vm_i") if layout == "wide" else ("f", "i")

    def stored() -> list[dict[int, float]]:
        found = victoria.export('{device="d"}')
        if layout == "wide":
            series = [found.get((name, "device=d"), {}) for name in names]
        else:
            keys = [("vm_value", "device=d", f"tag={name}") for name in names]
            series = [found.get(key, {}) for key in keys]
        return series if all(len(s) == 50 for s in series) else []

    floats, integers = until(stored, 10)
    times = [start_ms + n * 10 for n in range(50)]
    assert np.array([floats[t] for t in times], "f4").tobytes() == rng.tobytes()
    assert [integers[t] for t in times] == list(range(50))


class Pump:
    """A pumping process and what it said."""

    def __init__(self, module: str, *args: str) -> None:
        command = [sys.executable, "-m", f"tests.sims.{module}", *args]
        self.lines: list[str] = []
        self.process = subprocess.Popen(
            command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for text in self.process.stdout:
            if text.endswith("\n"):  # the last one may be torn
                self.lines.append(text.strip())

    def kill(self) -> list[int]:
        """End it at once; the numbers that it printed."""
        self.process.kill()
        return self.end()

    def end(self) -> list[int]:
        """Let it end in order; the numbers that it printed."""
        if self.process.stdin is not None:
            self.process.stdin.close()
        self.process.wait(20)
        self._reader.join()
        if self.process.stdout is not None:
            self.process.stdout.close()
        return [int(text) for text in self.lines if text.isdigit()]

    @property
    def losses(self) -> list[dict[str, Any]]:
        return [json.loads(text) for text in self.lines if text.startswith("{")]


Start = Callable[..., Pump]


@pytest.fixture
def start_pump() -> Iterator[Start]:
    pumps: list[Pump] = []

    def start(module: str, *args: object) -> Pump:
        pumps.append(Pump(module, *map(str, args)))
        return pumps[-1]

    yield start
    for pump in pumps:
        if pump.process.poll() is None:
            pump.kill()


def test_kill_9_loses_no_batch_that_was_acknowledged(tmp_path: Path, start_pump: Start) -> None:
    folder = tmp_path / "spool"
    acknowledged: list[int] = []
    chance = random.Random(3)
    for _ in range(4):
        before = acknowledged[-1] if acknowledged else 0
        # the number that was being written at the kill may be on disk too: leave it out
        pump = start_pump("spool_pump", folder, before + 2)
        wanted = chance.randint(5, 60)
        until(lambda pump=pump, wanted=wanted: len(pump.lines) >= wanted, 20)
        acknowledged += pump.kill()
    losses: list[Loss] = []
    spool = Spool(folder, SpoolConfig(), "sink", losses.append)
    spool.open()
    found: list[int] = []
    while batches := spool.take(100, 10_000_000):
        found += [batch.stored.spans[0].first_ns for batch in batches]
        spool.settle(batch.key for batch in batches if batch.key)
        spool.tick(idle=True)
    spool.close(clean=True)
    assert len(acknowledged) > 20
    assert set(acknowledged) <= set(found)
    assert len(found) <= len(acknowledged) + 4
    assert found == sorted(set(found))
    assert losses == []


def test_server_down_and_gateway_killed_meanwhile_everything_is_there_or_named(
    tmp_path: Path,
    influx: InfluxPeer,
    start_pump: Start,
) -> None:
    token = tmp_path / "token"
    token.write_text(TOKEN)
    token.chmod(0o600)
    published: list[int] = []
    lost: set[int] = set()
    told: dict[tuple[int, int], int] = {}

    def start() -> Pump:
        first = published[-1] + 200 if published else 0  # some time passes between two runs
        pump = start_pump("row_pump", tmp_path, influx.url, first)
        until(lambda: len(pump.lines) > 400, 20)
        return pump

    def numbers_of(loss: dict[str, Any]) -> range:
        return range(*((loss[k] - START_NS) // STEP_NS + 1 for k in ("first_ns", "last_ns")))

    def account(pump: Pump, numbers: list[int]) -> None:
        published.extend(numbers)
        for loss in pump.losses:
            assert loss["cause"] == "unclean_stop", loss
            lost.update(numbers_of(loss))
            # what a killed run had told, but not stored, the next one tells again
            told[loss["first_ns"], loss["last_ns"]] = loss["rows"]

    pump = start()
    account(pump, pump.end())
    influx.kill()
    for _ in range(2):
        pump = start()
        account(pump, pump.kill())
    influx.start()
    pump = start()
    account(pump, pump.kill())
    pump = start()

    def stored() -> list[int]:
        return [row["n"] for row in influx.rows("numbers")]

    def named() -> set[int]:
        """Also what this run tells of the kill before it, which is not accounted yet."""
        return lost.union(*(numbers_of(loss) for loss in pump.losses))

    older = set(published)
    until(lambda: older - set(stored()) <= named(), 40, "the backlog to arrive, or to be named")
    until(lambda: any(json.loads(t) for t in pump.lines if t.startswith("{")), 20)
    account(pump, pump.end())
    rows = influx.rows("numbers")
    numbers = [row["n"] for row in rows]
    assert [START_NS + n * STEP_NS for n in numbers] == [row["time"] for row in rows]
    assert len(numbers) == len(set(numbers))
    missing = set(published) - set(numbers)
    assert missing <= lost, "rows vanished in silence"
    # two flushes at each of three kills, or 0.4 s of a disk that was slow just then
    assert len(missing) <= sum(told.values()) <= 3 * 200
    assert len(numbers) > 1500


README = ROOT / "gateway" / "sinks" / "influxdb" / "README.md"


def test_the_example_of_the_readme_works(
    tmp_path: Path,
    influx: InfluxPeer,
) -> None:
    example = re.search(r"```yaml\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)
    assert example is not None
    document = yaml.safe_load(example.group(1))["sinks"]["influx"]
    (tmp_path / "token").write_text(TOKEN)
    document |= {"url": influx.url, "token_file": str(tmp_path / "token")}
    sink = InfluxSink("influx", InfluxConfig.model_validate(document), tmp_path)
    for payload in sink.encode([Selected(Row(wide_table(3), 7, (np.arange(3, dtype="f4"),)))]):
        sink.deliver(payload.body, payload.format)
    sink.close()
    assert [row["c2"] for row in influx.rows("wide")] == [2]


def test_the_readme_names_every_setting() -> None:
    text = README.read_text(encoding="utf-8")
    assert [name for name in InfluxConfig.model_fields if f"`{name}`" not in text] == []
