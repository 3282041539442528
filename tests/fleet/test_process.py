"""`gateway writer` as a process: how it starts, what it tells, how it ends."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import redis

from gateway.api.client import Client, NotRunning
from tests.fleet import kit
from tests.sims.redis_server import RedisPeer
from tests.sinks.postgreskit import Plant
from tests.support import ROOT, free_port, until
from tests.system.cli_kit import called


@contextmanager
def process(file: Path, *more: str) -> Iterator[subprocess.Popen[str]]:
    made = subprocess.Popen(
        [sys.executable, "-m", "gateway", "writer", str(file), *more],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT), "GATEWAY_LOG": "json"},
    )
    try:
        yield made
    finally:
        made.kill()
        made.communicate()


def answers(api: Client) -> bool:
    """Whether somebody listens: the socket's file is there a moment before."""
    try:
        api.get_json("/healthz")
    except NotRunning:
        return False
    return True


@pytest.mark.timeout(240)
def test_it_runs_tells_and_ends(
    client: redis.Redis, plant: Plant, tmp_path: Path, peer: RedisPeer
) -> None:
    port = free_port()
    file = kit.write_file(
        tmp_path,
        peer.port,
        kit.to_postgres(plant),
        api=f"{{socket: s, listen: '127.0.0.1:{port}'}}",
    )
    kit.add(client, kit.rows(kit.table(), 0, 100))
    with process(file, "--worker", "w7") as made:
        api = Client(tmp_path / "s")
        until(lambda: answers(api), 120, "the socket")

        def stored() -> bool:
            return bool(api.get_json("/v1/status")["sink"]["rows_stored"] == 100)

        until(stored, 30, "the rows")

        def settled() -> bool:  # an older look at the streams may have found none, too
            return bool(api.get_json("/v1/status")["redis"]["entries_settled"] == 1)

        until(settled, 30, "the acknowledgement")

        def looked() -> bool:
            found = api.get_json("/v1/status")["redis"]
            return bool(found["lag_entries"] == found["pending_entries"] == 0)

        until(looked)
        status = api.get_json("/v1/status")
        assert status["worker"]["name"] == "w7"
        assert status["worker"]["ready"]
        assert api.get_json("/readyz") == {"ready": True, "reason": None}
        assert api.get_json("/healthz") == {"alive": True}
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
            text = answer.read().decode()
        assert 'gateway_writer_rows_stored_total{group="store",worker="w7"} 100' in text
        assert 'gateway_writer_pending_entries{group="store",worker="w7"} 0' in text
        made.send_signal(signal.SIGTERM)
        made.send_signal(signal.SIGTERM)
        out, err = made.communicate(timeout=40)
        assert made.returncode == 0, err
    assert out == ""
    lines = [json.loads(line) for line in err.splitlines()]
    # the second signal may come at any time until the end, and is told then
    lines = [line for line in lines if "already stopping" not in line["message"]]
    told = [line["message"] for line in lines]
    assert told[0] in ("listening", "worker")
    assert told[-1] == "stopped"
    assert lines[-1]["rows_stored"] == 100
    assert lines[-1]["left"] == 0


def test_a_file_that_cannot_be_used_is_exit_78(tmp_path: Path) -> None:
    file = kit.write_file(tmp_path, 1, "{type: postgers}")
    done = called("writer", file, expect=78)
    assert "did you mean 'postgres'" in done.stderr
    assert f"{file.name}:" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_file_is_looked_at_without_a_start(file: Path) -> None:
    assert "good; group store" in called("writer", file, "--check").stderr


@pytest.mark.timeout(240)
def test_without_a_redis_it_waits_and_says_so(plant: Plant, tmp_path: Path) -> None:
    file = kit.write_file(tmp_path, free_port(), kit.to_postgres(plant), api="{socket: s}")
    with process(file) as made:
        api = Client(tmp_path / "s")
        until(lambda: answers(api), 120, "the socket")
        until(lambda: "refused" in str(api.get_json("/v1/status")["worker"]["problem"]))
        made.send_signal(signal.SIGTERM)
        _, err = made.communicate(timeout=40)
        assert made.returncode == 0, err
    told = [json.loads(line)["message"] for line in err.splitlines()]
    assert sum("cannot read from Redis" in line for line in told) == 1
