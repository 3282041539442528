"""Real servers for the InfluxDB sink: influxd 1.6 behind the v2 write API, and VictoriaMetrics.

influxd of Debian has no ``/api/v2``; a small front server translates, so that the unmodified
client meets a real Influx engine: strict parser, type conflicts, overwrite, nanoseconds.
"""

from __future__ import annotations

import http.client
import json
import subprocess
import threading
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from tests.support import free_port, need_program, until

TOKEN = "a-token"
BUCKET = "sensors"

_CONFIG = """
reporting-disabled = true
bind-address = "127.0.0.1:{rpc}"
[meta]
dir = "{folder}/meta"
[data]
dir = "{folder}/data"
wal-dir = "{folder}/wal"
index-version = "inmem"
query-log-enabled = false
[http]
bind-address = "127.0.0.1:{port}"
log-enabled = false
max-body-size = 25000000
[monitor]
store-enabled = false
"""


def _answers(url: str, timeout_s: float = 1.0) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=timeout_s) as answer:
            answer.read()
    except OSError:
        return False
    return True


class _Program:
    """A server process with its output in a file."""

    def __init__(self, command: list[str], log: Path, ready_url: str) -> None:
        self._command = command
        self._log = log
        self._ready_url = ready_url
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(self._command, stdout=log, stderr=log)

        def ready() -> bool:
            assert self._process is not None
            assert self._process.poll() is None, self._log.read_text()[-2000:]
            return _answers(self._ready_url)

        until(ready, 20, f"{self._command[0]} to answer")

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None


class HttpServer(ThreadingHTTPServer):
    """For tests with many sinks, which may all come at once after a pause of the machine."""

    allow_reuse_address = True
    request_queue_size = 128


class InfluxPeer:
    """influxd with a front server that speaks ``/api/v2/write``."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.bodies: list[bytes] = []
        """Every body that was asked to be stored, as it came."""
        self.token = TOKEN
        self.revoked: set[str] = set()
        """Buckets that the token may not write any more."""
        self.busy: set[int] = set()
        """Threads that have a write and have not answered it."""
        self._back = free_port()
        config = folder / "influxd.conf"
        config.write_text(_CONFIG.format(folder=folder, port=self._back, rpc=free_port()))
        program = need_program("influxd", "influxdb")
        ping = f"http://127.0.0.1:{self._back}/ping"
        self._influxd = _Program([program, "-config", str(config)], folder / "influxd.log", ping)
        self._front: HttpServer | None = None
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        self._influxd.start()
        self.query(f"CREATE DATABASE {BUCKET}", database="")
        peer = self

        class Front(_Front):
            owner = peer

        self._front = HttpServer(("127.0.0.1", self.port), Front)
        self._thread = threading.Thread(target=self._front.serve_forever, args=(0.02,))
        self._thread.start()

    @property
    def pid(self) -> int:
        """Process id of the engine, for a test that stops it."""
        return self._influxd.pid

    def kill(self) -> None:
        """Both servers are gone at once, as in a power cut."""
        self._influxd.kill()
        if self._front is not None and self._thread is not None:
            self._front.shutdown()
            self._thread.join()
            self._front.server_close()
            self._front = None

    def write(
        self, bucket: str, precision: str, encoding: str | None, body: bytes
    ) -> tuple[int, Any]:
        query = urllib.parse.urlencode({"db": bucket, "precision": precision})
        headers = {"Content-Encoding": encoding} if encoding else {}
        # http.client takes the control characters that influxd copies into a header
        back = http.client.HTTPConnection("127.0.0.1", self._back, timeout=30)
        try:
            back.request("POST", f"/write?{query}", body, headers)
            answer = back.getresponse()
            said = answer.read()
        finally:
            back.close()
        if answer.status == 204:
            return 204, None
        message = json.loads(said)["error"]
        partly = "beyond retention" in message or "field type conflict" in message
        return (422 if partly else answer.status), {"code": "invalid", "message": message}

    def query(self, text: str, database: str = BUCKET) -> list[dict[str, Any]]:
        """The series of an InfluxQL query; times in ns."""
        parameters = urllib.parse.urlencode({"db": database, "q": text, "epoch": "ns"})
        url = f"http://127.0.0.1:{self._back}/query?{parameters}"
        with urllib.request.urlopen(urllib.request.Request(url, b"", method="POST")) as answer:
            result = json.loads(answer.read())["results"][0]
        assert "error" not in result, result
        series: list[dict[str, Any]] = result.get("series", [])
        return series

    def rows(self, measurement: str) -> list[dict[str, Any]]:
        """All points of a measurement, labels and fields by name, oldest first."""
        quoted = measurement.replace("\\", "\\\\").replace('"', '\\"')
        found = self.query(f'SELECT * FROM "{quoted}"')
        return [
            dict(zip(series["columns"], values, strict=True))
            for series in found
            for values in series["values"]
        ]

    def count(self, measurement: str, field: str) -> int:
        found = self.query(f'SELECT count("{field}") FROM "{measurement}"')
        return int(found[0]["values"][0][1]) if found else 0


class _Front(BaseHTTPRequestHandler):
    owner: InfluxPeer
    protocol_version = "HTTP/1.1"
    timeout = 10

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        url = urllib.parse.urlsplit(self.path)
        query = dict(urllib.parse.parse_qsl(url.query))
        self.owner.busy.add(threading.get_ident())
        known = self.headers.get("Authorization") == f"Token {self.owner.token}"
        if not known or query.get("bucket") in self.owner.revoked:
            self._say(401, {"code": "unauthorized", "message": "unauthorized access"})
        elif url.path != "/api/v2/write":
            self._say(404, {"code": "not found", "message": f"path {url.path}"})
        else:
            self.owner.bodies.append(body)
            encoding = self.headers.get("Content-Encoding")
            encoding = encoding if encoding == "gzip" else None
            try:
                answer = self.owner.write(query["bucket"], query["precision"], encoding, body)
            except OSError:
                answer = (503, {"code": "unavailable", "message": "engine gone"})
            self._say(*answer)

    def _say(self, status: int, document: Any) -> None:
        self.owner.busy.discard(threading.get_ident())
        body = b"" if document is None else json.dumps(document).encode()
        self.send_response(status)
        if status != 204:
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        pass


class VictoriaPeer:
    """VictoriaMetrics: stores only numbers, in ms, but takes the write API as it is."""

    def __init__(self, folder: Path) -> None:
        port = free_port()
        self.url = f"http://127.0.0.1:{port}"
        command = [
            need_program("victoria-metrics", "victoria-metrics"),
            f"-storageDataPath={folder}",
            f"-httpListenAddr=127.0.0.1:{port}",
            "-retentionPeriod=100y",
            "-search.latencyOffset=0s",
            "-search.disableCache",
            "-memory.allowedBytes=256MB",
            "-dedup.minScrapeInterval=1ms",
            "-loggerLevel=ERROR",
        ]
        self._program = _Program(command, folder / "victoria.log", f"{self.url}/health")

    def start(self) -> None:
        self._program.start()

    def kill(self) -> None:
        self._program.kill()

    def export(self, match: str) -> dict[tuple[str, ...], dict[int, float]]:
        """(metric name, sorted labels as k=v...) -> time in ms -> value."""
        assert _answers(f"{self.url}/internal/force_flush", 20.0)  # it writes to the disk
        query = urllib.parse.urlencode({"match[]": match})
        with urllib.request.urlopen(f"{self.url}/api/v1/export?{query}") as answer:
            lines = answer.read().decode().splitlines()
        out = {}
        for line in map(json.loads, lines):
            labels = dict(line["metric"])
            key = (labels.pop("__name__"), *(f"{k}={v}" for k, v in sorted(labels.items())))
            out[key] = dict(zip(line["timestamps"], line["values"], strict=True))
        return out


@pytest.fixture
def influx(tmp_path: Path) -> Iterator[InfluxPeer]:
    folder = tmp_path / "influxd"
    folder.mkdir()
    peer = InfluxPeer(folder)
    peer.start()
    yield peer
    peer.kill()


@pytest.fixture
def victoria(tmp_path: Path) -> Iterator[VictoriaPeer]:
    folder = tmp_path / "victoria"
    folder.mkdir()
    peer = VictoriaPeer(folder)
    peer.start()
    yield peer
    peer.kill()
