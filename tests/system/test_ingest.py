"""Rows of other programs into a running gateway: what writes to InfluxDB can write to it."""

from __future__ import annotations

import random
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from gateway.api.client import Client, NotRunning
from tests.support import free_port, missing, need_program, until
from tests.system.cli_kit import called, environment, gateway, started
from tests.unit.tokenkit import bearer, post

CONFIG = """\
gateway: {{name: hall-3}}
state_dir: state
api: {{socket: s, listen: "127.0.0.1:{http}", tokens_file: tokens}}
ingest: {{http: true, grpc: {{listen: "127.0.0.1:{grpc}"}}}}
sinks:
  historian: {{type: sqlite, store_every_s: 0}}
devices:
  press: {{driver: mock, map: mock.yaml}}
"""
MAP = """\
driver: mock
groups:
  fast:
    interval_s: 0.1
    tags: {level: {type: real, unit: "%"}}
"""


pytestmark = pytest.mark.timeout(300)  # a gateway starts several times
PYTHON = [sys.executable, "-m", "gateway"]


BATCHING = """
import sys
from influxdb_client import InfluxDBClient, WriteOptions
url, token, begun_ns = sys.argv[1], sys.argv[2], int(sys.argv[3])
with InfluxDBClient(url, token=token, org="o") as client:
    with client.write_api(write_options=WriteOptions(batch_size=100)) as api:
        for i in range(1000):
            api.write("b", "o", f"oven,device=many v={i} {begun_ns + i}")
"""


class Hall:
    """A gateway that takes rows, as a process of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.file = folder / "gateway.yaml"
        self.log = folder / "log"
        self.http, self.grpc = f"127.0.0.1:{free_port()}", f"127.0.0.1:{free_port()}"
        ports = {"http": self.http.split(":")[1], "grpc": self.grpc.split(":")[1]}
        self.file.write_text(CONFIG.format(**ports))
        (folder / "mock.yaml").write_text(MAP)
        (folder / "tokens").touch(0o600)
        made = called("token", "add", self.file, "box", "--role", "ingest")
        self.token = made.stdout.strip()
        (folder / "token").write_text(self.token)

    @contextmanager
    def running(self, stop: int = signal.SIGTERM) -> Iterator[subprocess.Popen[bytes]]:
        with started("run", self.file, log=self.log, stop=stop) as process:

            def is_ready() -> bool:
                assert process.poll() is None, self.log.read_text("utf-8", "replace")
                return "Next, in another" in self.log.read_text("utf-8", "replace")

            until(is_ready, 60)
            yield process

    def status(self) -> dict[str, Any]:
        document: dict[str, Any] = Client(self.folder / "s").get_json("/v1/status")
        return document

    def latest(self, device: str) -> list[dict[str, Any]]:
        found = Client(self.folder / "s").get_json("/v1/latest")["values"]
        return [value for value in found if value["labels"]["device"] == device]

    def stored(self, device: str, tag: str) -> list[Any]:
        """The values of a tag in the file of the historian of a gateway that has ended."""
        file = sqlite3.connect(self.folder / "state" / "historian.db")
        try:
            return [
                value
                for (value,) in file.execute(
                    "SELECT value FROM history WHERE device = ? AND tag = ? ORDER BY time_ns",
                    (device, tag),
                )
            ]
        finally:
            file.close()

    def post(self, body: bytes, path: str = "/v1/ingest", **headers: str) -> tuple[int, Any]:
        status, _, told = post(self.http, path, {**bearer(self.token), **headers}, body)
        return status, told


@pytest.fixture
def hall(tmp_path: Path) -> Hall:
    return Hall(tmp_path)


def test_the_official_client_of_influxdb_writes_to_it(hall: Hall) -> None:
    from influxdb_client import InfluxDBClient, Point
    from influxdb_client.client.write_api import SYNCHRONOUS
    from influxdb_client.rest import ApiException

    url, begun_ns = f"http://{hall.http}", time.time_ns() - 10**9
    with hall.running(), InfluxDBClient(url, token=hall.token, org="o", enable_gzip=True) as client:
        with client.write_api(write_options=SYNCHRONOUS) as api:
            point = Point("oven").tag("device", "oven 7").field("temp", 850.5).field("n", 3)
            api.write("b", "o", point.field("say", 'a "b"\\ c').time(begun_ns))
            with pytest.raises(ApiException) as caught:
                api.write("b", "o", ["press,device=press a=1", "oven,device=ok a=2"])
        assert caught.value.status == 400
        assert "read by this gateway itself" in str(caught.value.body)
        # in a process of its own: its batching leaves a thread behind
        subprocess.run([sys.executable, "-c", BATCHING, url, hall.token, str(begun_ns)], check=True)
        assert [(v["tag"], v["value"]) for v in hall.latest("oven 7")] == [
            ("n", 3), ("say", 'a "b"\\ c'), ("temp", 850.5)
        ]  # fmt: skip
        history = Client(hall.folder / "s").get_json(
            "/v1/history", {"device": "oven 7", "tag": "temp", "from": "-1h"}
        )
        assert history["points"][0][1] == 850.5
    assert hall.stored("many", "v") == [float(i) for i in range(1000)]
    assert hall.stored("ok", "a") == [2.0]


def test_collectd_writes_to_it(hall: Hall) -> None:
    program = need_program("collectd", "collectd-core libyajl2")
    types = Path("/usr/share/collectd/types.db")
    if not types.exists():
        missing(str(types), "apt-get install collectd-core")
    conf = hall.folder / "collectd.conf"
    conf.write_text(f"""\
BaseDir "{hall.folder}"
PIDFile "{hall.folder}/collectd.pid"
TypesDB "{types}"
Hostname "pc9"
FQDNLookup false
Interval 0.5
LoadPlugin load
LoadPlugin memory
LoadPlugin write_http
<Plugin write_http>
  <Node "gateway">
    URL "http://{hall.http}/v1/ingest"
    Header "Authorization: Bearer {hall.token}"
    Format "JSON"
    BufferSize 1024
  </Node>
</Plugin>
""")
    with hall.running(), (hall.folder / "collectd.log").open("wb") as log:
        collectd = subprocess.Popen([program, "-f", "-C", conf], stdout=log, stderr=log)
        try:
            until(lambda: {"load", "memory"} <= {v["table"] for v in hall.latest("pc9")}, 30)
        finally:
            collectd.terminate()
            collectd.wait(20)
        (load,) = [v for v in hall.latest("pc9") if v["tag"] == "shortterm"]
        assert load["quality"] == "GOOD"
        assert 0 <= load["value"] < 1000
        assert load["labels"]["via"] == "ingest"
        assert hall.status()["ingest"]["refused"] == 0


def test_gateway_send_ends_when_all_rows_are_on_disk(hall: Hall) -> None:
    lines = hall.folder / "lines"
    lines.write_text("".join(f"t,device=d v={i} {1_772_000_000 + i}\n" for i in range(3000)))
    options = ["--to", hall.grpc, "--token-file", hall.folder / "token"]
    with hall.running():
        done = called("send", lines, *options, "--precision", "s")
        assert "3000 rows on the disk of" in done.stderr.replace(",", "")
        lines.write_text('{"table": "t", "values": {"w": 1}}\nno\n')
        done = called("send", lines, *options, "--form", "ndjson", "--device", "e", expect=1)
        assert f"{lines}:2:1: not JSON" in done.stderr
        lines.write_text("t,device=press v=1")
        done = called("send", lines, *options, "--json", expect=1)
        assert "read by this gateway itself" in done.stderr
        assert '"refused": 1' in done.stdout
    assert hall.stored("d", "v") == [float(i) for i in range(3000)]
    assert hall.stored("e", "w") == [1.0]
    wrong = called("send", lines, "--to", hall.grpc, "--give-up-s", "0", expect=1)
    assert "given up after 0 s" in wrong.stderr
    assert "expected e.g." in called("send", lines, "--to", "x", expect=2).stderr
    assert "No such file" in called("send", hall.folder / "nix", *options, expect=1).stderr


def test_rows_that_were_acknowledged_outlast_kill_9(hall: Hall) -> None:
    """By HTTP: each row that was answered with 204 is on disk, whenever the gateway is killed."""
    acknowledged: list[int] = []
    chance = random.Random(7)
    next_value = 0
    for _ in range(2):
        stop = threading.Event()

        def send(first: int = next_value, stop: threading.Event = stop) -> None:
            value = first
            while not stop.is_set():
                body = b"".join(b"t,device=d v=%d %d\n" % (value + i, 1_772_000_000_000_000_000
                                + value + i) for i in range(20))  # fmt: skip
                try:
                    if hall.post(body)[0] == 204:
                        acknowledged.extend(range(value, value + 20))
                except OSError:
                    return
                value += 20

        with hall.running(signal.SIGKILL) as process:
            before = len(acknowledged)
            thread = threading.Thread(target=send)
            thread.start()
            wanted = before + chance.randrange(40, 200)
            until(lambda wanted=wanted: len(acknowledged) > wanted, 30)
            process.kill()
            process.wait()
            stop.set()
            thread.join()
        next_value = acknowledged[-1] + 1000
    found = set(hall.stored("d", "v"))
    assert len(acknowledged) > 100
    assert set(map(float, acknowledged)) <= found


def test_a_pipe_goes_on_over_a_restart(hall: Hall) -> None:
    """By gRPC: `gateway send` sends again what it does not know to be on disk."""
    command = [
        "send", "-", "--to", hall.grpc, "--token-file", str(hall.folder / "token"), "--json"
    ]  # fmt: skip
    sender = subprocess.Popen(
        [*PYTHON, *command], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        stderr=subprocess.PIPE, text=True, env=environment(),
    )  # fmt: skip
    assert sender.stdin is not None
    try:
        for number in range(3):
            with hall.running(signal.SIGKILL) as process:
                for i in range(number * 50, number * 50 + 50):
                    sender.stdin.write(f"t,device=d v={i} {1_772_000_000_000_000_000 + i}\n")
                    sender.stdin.flush()
                until(lambda: rows_of(hall) >= 1, 60)
                if number == 2:
                    out, errors = sender.communicate(timeout=60)
                    process.send_signal(signal.SIGTERM)
                else:
                    process.kill()
                process.wait(20)
    finally:
        sender.kill()
        sender.wait()
    assert '"rows": 150' in out, (out, errors)
    assert set(hall.stored("d", "v")) == set(map(float, range(150)))


def rows_of(hall: Hall) -> int:
    try:
        return int(hall.status()["ingest"]["rows"])
    except NotRunning:
        return 0


def test_a_configuration_that_lets_nobody_send_is_refused(hall: Hall) -> None:
    text = hall.file.read_text()
    hall.file.write_text(text.replace(", tokens_file: tokens", ""))
    told = called("check", hall.file, expect=78).stderr
    assert "ingest.grpc: nobody could send: expected api.tokens_file" in told
    hall.file.write_text(text.replace(hall.grpc, "0.0.0.0:5"))
    told = called("check", hall.file, expect=78).stderr
    assert "'0.0.0.0:5' can be reached from other machines and needs tls" in told
    hall.file.write_text(text.replace(hall.grpc, "nowhere"))
    assert "'nowhere' is not an address" in called("check", hall.file, expect=78).stderr
    hall.file.write_text(text.replace("http: true", "htpp: true"))
    assert "did you mean 'http'?" in called("check", hall.file, expect=78).stderr


def test_a_port_that_is_taken_ends_the_start_in_words(hall: Hall) -> None:
    host, _, port = hall.grpc.partition(":")
    with socket.create_server((host, int(port))):
        done = gateway("run", hall.file, expect=1)
    assert "ingest.grpc.listen" in done.stderr
    assert "is it taken by another program?" in done.stderr
