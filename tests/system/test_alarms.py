"""Alarms of the daemon as a process: kill, restart, reload, acknowledge; and rules tried first."""

from __future__ import annotations

import contextlib
import json
import signal
import sqlite3
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gateway.api.client import Client, NotRunning
from tests.support import until
from tests.system.cli_kit import called, objects, said, started

GATEWAY = """
gateway: {name: hall}
state_dir: state
api: {socket: s}
writer: {flush_interval_s: 0.2}
sinks: {history: {type: sqlite, store_every_s: 0}}
devices:
  press: {driver: mock, map: press.yaml}
  pump: {driver: mock, map: pump.yaml}
alarms:
  rules:
"""
FORCE = "    force: {kind: limits, tag: press.process.force, high: 30, latch: true}\n"
GUARD = "    guard: {kind: expression, when: press.process.open, severity: critical}\n"
LEVEL = "    level: {kind: limits, tag: pump.vibration.de.rms, high: %g, capture: {pre_s: 0.5}}\n"
PRESS = """
driver: mock
groups:
  process:
    interval_s: 0.1
    tags:
      force: {type: real, unit: kN, signal: {kind: constant, value: 50}}
      open: {type: bool, signal: {kind: constant, value: true}}
"""
PUMP = """
driver: mock
stream:
  rate_hz: 2560
  channels:
    de: {unit: g, signal: {kind: sines, tones: [{hz: 100, amplitude: 2}]}}
  analysis: {window_s: 0.5, hop_s: 0.1, publish_every_s: 0.2, features: [rms]}
"""


class Hall:
    """A gateway in a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.file, self.log = folder, folder / "gateway.yaml", folder / "log"
        (folder / "press.yaml").write_text(PRESS)
        (folder / "pump.yaml").write_text(PUMP)
        self.client = Client(folder / "s")

    def write(self, *rules: str) -> None:
        self.file.write_text(GATEWAY + "".join(rules))

    @contextlib.contextmanager
    def running(self, stop: int = signal.SIGTERM) -> Iterator[subprocess.Popen[bytes]]:
        with started("run", self.file, log=self.log, stop=stop) as process:
            until(lambda: self.polls() > 3, 20, "polls")
            yield process

    def polls(self) -> int:
        with contextlib.suppress(NotRunning):
            found: int = self.client.get_json("/v1/status")["devices"]["press"]["polls"]
            return found
        return 0

    def states(self) -> dict[str, str]:
        found = self.client.get_json("/v1/alarms")["alarms"]
        return {alarm["id"]: alarm["state"] for alarm in found}

    def history(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.client.get_json("/v1/alarms/history")["transitions"]
        return found[::-1]


@pytest.fixture
def hall(tmp_path: Path) -> Hall:
    return Hall(tmp_path)


def test_states_outlive_a_kill_and_a_reload_tells_what_it_takes_away(hall: Hall) -> None:
    hall.write(FORCE, GUARD)
    with hall.running(signal.SIGKILL):
        until(lambda: len(hall.states()) == 2)
        body = {"id": "press/guard", "why": "seen", "who": "anna"}
        hall.client.post_json("/v1/alarms/acknowledge", body=body)
    before = {"press/force.high": "unacknowledged", "press/guard": "acknowledged"}
    with started("run", hall.file, log=hall.log) as process:
        assert until(lambda: _answered(hall.states), 20, "an answer") == (before,)  # the first one
        until(lambda: hall.polls() > 3, 20, "polls")
        numbers = [t["number"] for t in hall.history()]
        assert len(numbers) == 3  # the restart itself changed nothing
        polls = hall.polls()
        hall.write(FORCE)
        process.send_signal(signal.SIGHUP)
        until(lambda: hall.states() == {"press/force.high": "unacknowledged"}, 30, "the reload")
        last = hall.history()[-1]
        assert (last["id"], last["why"]) == ("press/guard", "its rule was removed")
        assert last["number"] > max(numbers)
        # told when all of it is done, of which the alarms are a part
        until(lambda: hall.client.get_json("/v1/status")["reload"]["count"], what="its end")
        status = hall.client.get_json("/v1/status")
        assert status["reload"]["changes"] == ["alarm press/guard: removed"]
        assert status["devices"]["press"]["polls"] >= polls  # the device was not restarted
        assert status["devices"]["press"]["connects"] == 1
        # an alarm is no problem of the gateway
        assert not [text for text in status["problems"] if "alarm" in text]
        assert status["alarms"]["latency_ms"]["p50"] < 200
    with sqlite3.connect(hall.folder / "state" / "history.db") as database:
        rows = database.execute(
            "SELECT value FROM history WHERE table_name = 'gateway_alarm' AND tag = 'state'"
            " ORDER BY time_ns"
        ).fetchall()
    database.close()
    states = [state for (state,) in rows]  # a kill may cost the sinks the last flush_interval_s
    assert states[:2] == ["unacknowledged", "unacknowledged"]
    assert states[-1] == "normal"


def test_a_disabled_device_raises_no_alarm_by_its_silence_not_even_after_a_restart(
    hall: Hall,
) -> None:
    # longer than a busy machine lets them wait while they are switched on
    silent = "    silent: {kind: stale, tag: press.process.force, after_s: 3}\n"
    beside = "    beside: {kind: stale, tag: pump.vibration.de.rms, after_s: 3}\n"
    hall.write(silent, beside)
    with hall.running():
        for device in ("press", "pump"):
            body = {"device": device, "why": "the press is being mended"}
            hall.client.post_json("/v1/devices/disable", body=body)
        off = {"press/silent": "suppressed", "pump/beside": "suppressed"}
        assert hall.states() == off
        begun = hall.client.get_json("/v1/status")["gateway"]["uptime_s"]
        until(lambda: hall.client.get_json("/v1/status")["gateway"]["uptime_s"] > begun + 4)
        assert hall.states() == off
    with started("run", hall.file, log=hall.log) as process:
        said(hall.log, "Next, in another terminal", process)
        assert hall.states() == off
        hall.client.post_json("/v1/devices/enable", body={"device": "press", "why": "done"})
        until(lambda: hall.states() == {"pump/beside": "suppressed"})
        told = [(t["id"], t["state"], t["why"]) for t in hall.history()]
    assert told == [
        ("press/silent", "suppressed", "its device is disabled"),
        ("pump/beside", "suppressed", "its device is disabled"),
        ("press/silent", "normal", ""),
    ]


def test_a_restarted_device_is_judged_by_the_same_alarm(hall: Hall) -> None:
    hall.write(FORCE)
    with hall.running() as process:
        until(lambda: hall.states() == {"press/force.high": "unacknowledged"})
        (hall.folder / "press.yaml").write_text(PRESS.replace("value: 50", "value: 5"))
        process.send_signal(signal.SIGHUP)
        until(lambda: hall.states() == {"press/force.high": "latched"})
        assert [t["state"] for t in hall.history()] == ["unacknowledged", "latched"]


def test_an_alarm_of_a_stream_stores_its_samples(hall: Hall) -> None:
    hall.write(LEVEL % 0.5)
    with hall.running():
        (window,) = until(lambda: hall.client.get_json("/v1/alarms/captures")["captures"])
        until(lambda: hall.client.get_json("/v1/alarms")["alarms"][0]["capture"] == window["name"])
        target = hall.folder / "window.npz"
        called("alarms", "capture", window["name"], target, "--socket", hall.folder / "s")
    with np.load(target) as file:
        meta = json.loads(str(file["meta"]))
        assert len(file["de"]) > 0.4 * 2560
        assert np.abs(file["de"]).max() == pytest.approx(2.0, abs=0.1)
    assert meta["id"] == "pump/level.high"
    # the window is a recording: other limits are tried on it, or on what was stored
    hall.write(LEVEL % 1.0, FORCE)
    found = objects(called("alarms", "test", hall.file, "--recording", target, "--json").stdout)
    assert [t["id"] for t in found] == ["pump/level.high"]
    assert found[0]["value"] == pytest.approx(2**0.5, abs=0.05)
    found = objects(called("alarms", "test", hall.file, "--from", "-1h", "--json").stdout)
    assert {t["id"] for t in found} == {"pump/level.high", "press/force.high"}
    hall.write(LEVEL % 3.0)
    done = called("alarms", "test", hall.file, "--recording", target)
    assert "0 alarms raised" in done.stderr


def test_rules_are_tried_on_the_history_of_a_gateway_that_runs(hall: Hall) -> None:
    hall.write(LEVEL % 3.0)
    with hall.running() as process:
        said(hall.log, "device connected", process)
        tried = hall.folder / "tried.yaml"
        tried.write_text(GATEWAY + FORCE)

        def test() -> list[dict[str, Any]]:
            return objects(called("alarms", "test", tried, "--from", "-1h", "--json").stdout)

        until(lambda: _good(test), 20)
        assert [t["id"] for t in test()] == ["press/force.high"]
        assert hall.states() == {}  # it was only a test


def _answered(work: Callable[[], Any]) -> Any:
    """What it gives, as (found,); None where no gateway answers yet."""
    with contextlib.suppress(NotRunning):
        return (work(),)
    return None


def _good(work: Any) -> bool:
    try:
        return bool(work())
    except AssertionError:  # nothing is stored yet
        return False


@pytest.mark.parametrize(
    ("options", "said_"),
    [
        ((), "expected either --recording FILE or --from TIME"),
        (("--from", "-1h", "--recording", "x.npz"), "expected either"),
        (("--from", "yesterday"), "is no time"),
        (("--from", "-1h", "--to", "-2h"), "is not before"),
        (("--recording", "x.npz", "--device", "pmp"), "did you mean 'pump'?"),
        (("--recording", "x.npz", "--channel", "ed"), "there is: de"),
        (("--recording", "x.npz", "--state", "running"), "no operating states"),
    ],
)
def test_what_is_asked_wrongly_is_answered_with_words(
    hall: Hall, options: tuple[str, ...], said_: str
) -> None:
    hall.write(LEVEL % 3.0)
    np.savez(hall.folder / "x.npz", de=np.zeros(2560, np.float32), rate_hz=2560.0)
    words = [str(hall.folder / w) if w == "x.npz" else w for w in options]
    assert said_ in called("alarms", "test", hall.file, *words, expect=2).stderr
