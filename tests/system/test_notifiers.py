"""A running gateway tells of its alarms; its receivers hang, are killed, and so is it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson
import pytest

from gateway.api.client import Client, NotRunning
from tests.sims.http_faults import FaultServer, faults, hang, said
from tests.sims.mosquitto import Broker, broker, heard
from tests.support import free_port, until
from tests.system.cli_kit import called, started, state_of

TAKEN = said("204 No Content")

MAP = """\
driver: mock
groups:
  process:
    interval_s: 0.05
    tags:
      force: {type: real, unit: kN, signal: {kind: sine, mean: 50, amplitude: 10, period_s: 1}}
alarms:
  force: {kind: limits, tag: process.force, high: 55, message: "{value} above {limit} kN"}
"""

FILE = """\
gateway: {{name: hall-3}}
state_dir: state
api: {{socket: s}}
sinks: {{history: {{type: sqlite, retention_days: 1, max_bytes: 2GB}}}}
devices: {{press: {{driver: mock, map: map.yaml}}}}
notify:
{notify}"""


def write(folder: Path, *notifiers: str) -> Path:
    (folder / "map.yaml").write_text(MAP)
    file = folder / "gateway.yaml"
    file.write_text(FILE.format(notify="".join(f"  {line}\n" for line in notifiers)))
    return file


def hook(name: str, server: FaultServer, more: str = "") -> str:
    return f"{name}: {{type: webhook, url: '{server.url}/'{more}}}"


def notifier(file: Path, name: str) -> dict[str, Any]:
    try:
        status = Client(file.parent / "s").get_json("/v1/status")
    except NotRunning:
        return {"sent": -1, "waiting": -1, "error": None}
    found: dict[str, Any] = status["notifiers"][name]
    return found


def wait(file: Path, name: str, condition: Callable[[dict[str, Any]], Any]) -> dict[str, Any]:
    until(lambda: condition(notifier(file, name)), 30, f"notifier {name}")
    return notifier(file, name)


def bodies(server: FaultServer) -> list[dict[str, Any]]:
    return [orjson.loads(body) for _, body in list(server.requests)]


@pytest.mark.servers
def test_all_receivers_are_told_and_one_that_hangs_holds_up_nobody(tmp_path: Path) -> None:
    out = tmp_path / "out"
    script = tmp_path / "horn"
    script.write_text(f"#!/bin/sh\ncat >> {out}\necho >> {out}\n")
    script.chmod(0o755)
    with broker(tmp_path / "broker") as made, faults(TAKEN) as good, faults(hang) as stuck:
        file = write(
            tmp_path,
            hook("good", good),
            hook("stuck", stuck, ", timeout_s: 60, queue: 5"),
            f"scada: {{type: mqtt, host: 127.0.0.1, port: {made.port}}}",
            f"horn: {{type: command, command: [{script}], states: [unacknowledged]}}",
        )
        with heard(made.port) as messages, started("run", file, log=tmp_path / "log"):
            for name in ("good", "scada", "horn"):
                wait(file, name, lambda n: n["sent"] >= 2)
            status = wait(file, "stuck", lambda n: n["dropped"].get("overflow"))
            assert status["sent"] == 0
            document = Client(tmp_path / "s").get_json("/v1/status")
            assert document["devices"]["press"]["state"] == "good"
            assert (
                document["devices"]["press"]["late_ticks"] < document["devices"]["press"]["polls"]
            )
            assert any(text.startswith("notifier stuck: ") for text in document["problems"])
            done = called("alarms", "notify-test", "good", "--socket", tmp_path / "s")
            assert "good: taken after" in done.stderr
        told = {m.topic for m in messages}
        assert "hall-3/alarms/press/force.high" in told
    assert {"unacknowledged", "returned"} <= {body["state"] for body in bodies(good)}
    assert {orjson.loads(line)["state"] for line in out.read_text().splitlines()} == {
        "unacknowledged"
    }


def test_what_was_not_sent_when_the_gateway_was_killed_is_sent_by_the_next(
    tmp_path: Path,
) -> None:
    with faults(TAKEN) as server:
        file = write(tmp_path, hook("one", server))
        with started("run", file, log=tmp_path / "log") as process:
            wait(file, "one", lambda n: n["sent"] >= 2)
            server.answers[:] = [said("503 Later")]
            wait(file, "one", lambda n: n["waiting"] >= 2)
            # which is on disk when it is answered, and with it all that came before
            body = {"id": "press/force.high", "why": "seen"}
            answer = Client(tmp_path / "s").post_json("/v1/alarms/acknowledge", body=body)
            last = answer["transition"]["number"]
            process.kill()
            process.wait(10)
        server.answers[:] = [TAKEN]
        with started("run", file, log=tmp_path / "log2"):
            until(lambda: any(body.get("late") for body in bodies(server)), 30, "a late one")
            wait(file, "one", lambda n: n["sent"] >= 3 and not n["waiting"])
        numbers = {body["number"] for body in bodies(server)}
        assert set(range(1, last + 1)) <= numbers
        keys = {(body["number"], body["key"]) for body in bodies(server)}
        assert len(keys) == len(numbers)  # sent again by the same key


@pytest.mark.servers
def test_a_broker_that_is_killed_is_told_when_it_is_back(tmp_path: Path) -> None:
    made = Broker(tmp_path / "broker", port=free_port())
    made.start()
    try:
        file = write(tmp_path, f"scada: {{type: mqtt, host: 127.0.0.1, port: {made.port}}}")
        with started("run", file, log=tmp_path / "log"):
            wait(file, "scada", lambda n: n["sent"] >= 1)
            made.kill()
            wait(file, "scada", lambda n: n["waiting"] >= 2 and n["error"])
            assert state_of(file) == "degraded"
            made.start()
            with heard(made.port):
                wait(file, "scada", lambda n: n["sent"] >= 4 and not n["error"])
        log = (tmp_path / "log").read_text()
        assert log.count("a notifier does not get through") == 1
        assert log.count("a notifier gets through again") == 1
    finally:
        made.kill()


def test_a_stop_with_a_receiver_that_hangs_is_quick(tmp_path: Path) -> None:
    with faults(hang) as server:
        file = write(tmp_path, hook("one", server, ", timeout_s: 60"))
        with started("run", file, log=tmp_path / "log") as process:
            until(lambda: server.requests, 30, "the first message")
        assert process.returncode == 0
        assert "messages wait for the next start" in (tmp_path / "log").read_text()


def test_a_rule_that_names_who_is_not_there_is_a_fault(tmp_path: Path) -> None:
    with faults(TAKEN) as server:
        file = write(tmp_path, hook("shift", server))
    text = MAP.replace("high: 55,", "high: 55, notify: [shfit],")
    (tmp_path / "map.yaml").write_text(text)
    done = called("check", file, expect=78)
    assert "map.yaml:8:" in done.stderr
    assert "shift" in done.stderr
