"""What a daemon keeps in memory, with S7 and InfluxDB, its API in use: no more than it needs."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from gateway.api.client import Client, GatewayError
from tests.support import ROOT, free_port, until
from tests.system.cli_kit import MOCK_MAP, S7_MAP, environment

WATCHED = """\
import json, os, signal, sys
imported = []

def tell(*_):
    with open("/proc/self/statm") as file:
        rss = int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    told = {"imported": imported, "modules": sorted(sys.modules), "rss": rss}
    with open("told.new", "w") as file:
        json.dump(told, file)
    os.rename("told.new", "told")

signal.signal(signal.SIGUSR1, lambda *_: sys.addaudithook(
    lambda event, about: event == "import" and imported.append(about[0])
))
signal.signal(signal.SIGUSR2, tell)
sys.argv = ["gateway", *sys.argv[1:]]
from gateway.__main__ import main
main()
"""
"""`gateway` that says what was imported since SIGUSR1, and what it has, at SIGUSR2."""

CONFIG = """\
gateway: {{name: plant}}
state_dir: state
api: {{socket: s}}
sinks:
  influx: {{type: influxdb, url: 'http://127.0.0.1:{http}', org: o, bucket: b}}
devices:
  hopper: {{driver: s7, host: 127.0.0.1, port: {s7}, map: s7.yaml, with: {{db: 4}}}}
  press: {{driver: mock, map: mock.yaml}}
"""

NOT_NEEDED = (
    *("typer", "gateway.cli", "gateway.commands.console"),  # the command line
    *("yaml", "tomllib", "gateway.config.loader", "gateway.yamlfile"),  # loading is a child's
    *("scipy", "gateway.features.engine", "gateway.analysis.section"),  # no stream
    *("gateway.sinks.historian", "redis", "paho", "psycopg", "influxdb_client"),  # other sinks
    *("pymodbus", "serial", "nidaqmx"),  # other drivers
    *("grpc", "google.protobuf", "pydantic.v1", "rich", "jinja2", "multipart", "httpx"),
)
"""What such a gateway has no use for."""

MOST_BYTES = 82e6
"""78.7 MB where it was measured; what one of the larger parts above costs would be over it."""


@contextmanager
def watched(folder: Path) -> Iterator[subprocess.Popen[bytes]]:
    """The daemon, once its devices have been asked for the first time."""
    (folder / "s7.yaml").write_text(S7_MAP)
    (folder / "mock.yaml").write_text(MOCK_MAP)
    (folder / "g.yaml").write_text(CONFIG.format(http=free_port(), s7=free_port()))
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-c", WATCHED, "run", "g.yaml"],
            cwd=folder,
            env=environment(PYTHONPATH=str(ROOT)),
            stdout=log,
            stderr=log,
        )
    client = Client(folder / "s")

    def ready() -> bool:
        assert process.poll() is None, (folder / "log").read_text()
        with suppress(GatewayError):
            return bool(client.get_json("/readyz")["ready"])
        return False

    try:
        until(ready, 60)
        yield process
    finally:
        process.terminate()
        process.wait(30)


def told(process: subprocess.Popen[bytes], folder: Path) -> dict[str, Any]:
    (folder / "told").unlink(missing_ok=True)
    process.send_signal(signal.SIGUSR2)
    until((folder / "told").exists)
    found: dict[str, Any] = json.loads((folder / "told").read_text())
    return found


def use(folder: Path) -> None:
    """Ask what a person and Prometheus ask for, and for what there is not."""
    client = Client(folder / "s")
    for path in ("/", "/metrics", "/v1/status", "/v1/latest", "/v1/devices", "/v1/alarms", "/v1"):
        assert client.get_text(path)
    with pytest.raises(GatewayError, match="no path"):
        client.get_text("/favicon.ico")


def test_a_daemon_imports_nothing_it_has_no_use_for_and_nothing_while_it_polls(
    tmp_path: Path,
) -> None:
    with watched(tmp_path) as process:
        process.send_signal(signal.SIGUSR1)
        use(tmp_path)
        with (tmp_path / "g.yaml").open("a") as file:
            file.write("  press_2: {driver: mock, map: mock.yaml}\n")
        process.send_signal(signal.SIGHUP)
        client = Client(tmp_path / "s")
        until(lambda: client.get_json("/v1/status")["reload"]["count"], 30, "the reload")
        assert client.get_json("/v1/status")["reload"]["changes"] != []
        found = told(process, tmp_path)
    assert {"snap7", "urllib3", "fastapi"} < set(found["modules"])  # it is such a gateway
    assert [name for name in NOT_NEEDED if name in found["modules"]] == []
    assert found["imported"] == []


def test_a_daemon_with_s7_and_influxdb_whose_api_was_used_stays_under_82_mb(
    tmp_path: Path,
) -> None:
    with watched(tmp_path) as process:
        use(tmp_path)
        found = told(process, tmp_path)
    assert os.sysconf("SC_PAGE_SIZE") <= found["rss"] < MOST_BYTES
