"""The commands against a running gateway: status, tail, and read and probe that go through it."""

from __future__ import annotations

import contextlib
import re
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from gateway.api.client import Client, NotRunning
from gateway.commands.silence import why_silent
from tests.support import free_port, until
from tests.system.cli_kit import (
    METER,
    PRESS,
    called,
    environment,
    gateway,
    is_well,
    objects,
    plant,
    real_devices,
    said,
    started,
    state_of,
)


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, str]]:
    """A gateway on mocks of an S7 and a Modbus device, and what it said first."""
    folder = tmp_path_factory.mktemp("live")
    port = free_port()
    file = plant(folder, real_devices() + PRESS, listen=f"127.0.0.1:{port}")
    log = folder / "log"
    with started("run", "--mock", file, log=log) as process:
        text = said(log, "Next, in another terminal", process)
        until(lambda: is_well(file), 20)
        yield file, text


def test_the_first_message_says_what_runs_where_data_goes_and_what_to_type(
    running: tuple[Path, str],
) -> None:
    file, text = running
    assert "Gateway test is running: 3 devices, 8 tags" in text
    assert re.search(r"hopper +mock +4 tags +process every 100 ms", text)
    assert str(file.parent / "state" / "mock" / "history.db") in text
    assert "INVENTED VALUES" in text
    assert str(file.parent / "s") in text
    assert "http://127.0.0.1:" in text
    assert f"gateway status --config {file}" in text


def test_status_of_a_good_gateway_is_exit_0(running: tuple[Path, str]) -> None:
    file, _ = running
    # polls that were skipped at the start are told until there were a hundred times as many
    until(lambda: state_of(file) == "good", 50)
    text = called("status", "--config", file).stdout
    assert text.startswith("test: good, running for ")
    assert re.search(r"\nhopper +good +mock ", text)
    assert re.search(r"\nhistory +good +sqlite ", text)
    (document,) = objects(gateway("status", "--json", GATEWAY_SOCKET=str(file.parent / "s")).stdout)
    assert document["state"] == "good"
    assert set(document["devices"]) == {"hopper", "meter", "press"}


def test_watch_repeats_until_ctrl_c(running: tuple[Path, str], tmp_path: Path) -> None:
    file, _ = running
    log = tmp_path / "log"
    with started("status", "--watch", "--config", file, log=log, stop=signal.SIGINT) as process:
        until(lambda: log.read_text().count("test: good") >= 2, 20)
    assert process.returncode == 130
    assert "Traceback" not in log.read_text()


def test_tail_ends_after_n_lines(running: tuple[Path, str]) -> None:
    file, _ = running
    lines = gateway("tail", "-n", "5", "--device", "press", "--config", file).stdout.splitlines()
    assert len(lines) == 5
    for line in lines:
        assert re.fullmatch(
            r'\d\d:\d\d:\d\d\.\d{3} press/process (force [\d.]+ kN|text ".*")', line
        )
    values = objects(gateway("tail", "-n", "6", "--json", "--config", file).stdout)
    assert len(values) == 6
    assert {"table", "labels", "tag", "value", "quality", "reason", "unit", "time_ns"} == set(
        values[0]
    )
    done = gateway("tail", "--device", "prss", "--config", file, expect=2)
    assert "did you mean 'press'?" in done.stderr


def test_tail_into_a_reader_that_goes_away_is_quiet(running: tuple[Path, str]) -> None:
    file, _ = running
    with subprocess.Popen(
        [sys.executable, "-m", "gateway", "tail", "--config", str(file)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment(),
    ) as process:  # fmt: skip
        assert process.stdout is not None
        assert process.stderr is not None
        assert b"/" in process.stdout.readline()
        process.stdout.close()
        assert process.wait(20) == 141
        assert process.stderr.read() == b""


def test_snapshot_copies_the_history_of_the_running_gateway(
    running: tuple[Path, str], tmp_path: Path
) -> None:
    file, _ = running
    copy = tmp_path / "copy.db"

    def stored() -> int:
        copy.unlink(missing_ok=True)
        called("snapshot", copy, "--config", file)
        store = sqlite3.connect(copy)
        count = store.execute("select count(*) from history where device = 'press'").fetchone()[0]
        store.close()
        return int(count)

    until(stored, 10, "the first rows of the press")
    assert list((file.parent / "state" / "mock").glob("copy-*")) == []
    again = called("snapshot", copy, "--config", file, expect=2)
    assert "exists" in again.stderr


def test_read_goes_through_the_running_gateway(running: tuple[Path, str]) -> None:
    # the file's S7 device is not there: only the gateway's mock of it can answer
    file, _ = running
    done = called("read", file, "hopper", "--json")
    values = objects(done.stdout)
    assert "through the running gateway" in done.stderr
    assert [(v["table"], v["tag"]) for v in values] == [
        ("process", "level"),
        ("process", "running"),
        ("motor", "current"),
        ("motor", "starts"),
    ]
    assert {v["quality"] for v in values} == {"GOOD"}
    assert values[2]["labels"]["module"] == "pump"


def test_probe_goes_through_the_running_gateway(running: tuple[Path, str]) -> None:
    file, _ = running
    done = called("probe", file, "press", "force", "--json")
    assert "through the running gateway" in done.stderr
    (found,) = objects(done.stdout)
    assert found["device"] == "press"
    assert found["readings"]
    assert "no tag 'x'" in called("probe", file, "press", "x", expect=2).stderr
    near = called("probe", file, "press", "proces.force", expect=2).stderr
    assert near.endswith("did you mean 'process.force'?\n")


def test_a_second_gateway_on_the_same_state_is_refused(running: tuple[Path, str]) -> None:
    file, _ = running
    done = gateway("run", "--mock", file, expect=1)
    assert "is in use by another gateway (pid " in done.stderr


def test_ctrl_c_stops_it_well_and_ends_who_follows_it(tmp_path: Path) -> None:
    file = plant(tmp_path, PRESS)
    log = tmp_path / "log"
    with contextlib.ExitStack() as outlives:
        with started("run", file, log=log, stop=signal.SIGINT) as process:
            said(log, "Next, in another terminal", process)
            tail = outlives.enter_context(
                started("tail", "--config", file, log=tmp_path / "tail", stop=signal.SIGKILL)
            )
            said(tmp_path / "tail", "press/process force", tail)
        assert process.returncode == 0  # Ctrl-C is how a person stops it
        assert "Traceback" not in log.read_text()
        assert tail.wait(10) == 3
        assert (tmp_path / "tail").read_text().endswith("error: the gateway stopped\n")
    called("status", "--config", file, expect=3)


def test_a_device_that_is_gone_makes_it_degraded_and_stands_first(tmp_path: Path) -> None:
    file = plant(tmp_path, PRESS + METER % free_port())
    log = tmp_path / "log"
    log.touch()
    journal = f"{log.stat().st_dev}:{log.stat().st_ino}"
    with started("run", file, log=log, JOURNAL_STREAM=journal) as process:
        text = said(log, "run: running  config=", process)
        assert "Next, in another terminal" not in text  # the journal gets lines, no message
        # not only degraded: that it is by polls that a busy machine has skipped, too
        until(lambda: meter_of(file)["reason"] == "refused", 20)
        text = called("status", "--config", file, expect=1).stdout
        assert text.startswith("test: degraded")
        assert "! device meter: refused" in text
        assert text.index("\nmeter") < text.index("\npress")
        pattern = (
            r"error: device meter \(127\.0\.0\.1:\d+\) has been lost for [\d.]+ (ms|s): "
            r"it refuses the connection; is it on, and are its host and port right\?\n"
        )
        for command in (["read", file, "meter"], ["probe", file, "meter", "holding:0"]):
            assert re.search(pattern, called(*command, expect=1).stderr)
        tail_log = tmp_path / "tail"
        with started(
            "tail", "--device", "meter", "--config", file, log=tail_log, stop=signal.SIGINT
        ) as tail:
            said(tail_log, "s; see gateway status)", tail)
        (line,) = tail_log.read_text().splitlines()
        assert re.fullmatch(r"\(no values for \d+ s: meter lost: refused for [\d.]+ s; .*\)", line)
        assert tail.returncode == 130


def meter_of(file: Path) -> dict[str, Any]:
    try:
        found: dict[str, Any] = Client(file.parent / "s").get_json("/v1/status")["devices"]["meter"]
    except NotRunning:
        return {"reason": None}
    return found


def _device(state: str, reason: str | None = None) -> dict[str, object]:
    groups = [{"name": "a", "interval_s": 60.0}, {"name": "b", "interval_s": 300.0}]
    return {"state": state, "reason": reason, "since_s": 660.0, "groups": groups}


@pytest.mark.parametrize(
    ("devices", "device", "why"),
    [
        ({"a": _device("lost", "refused"), "b": _device("good")}, None,
         "a lost: refused for 11 min; see gateway status"),
        ({"a": _device("lost", "refused"), "b": _device("good")}, "b",
         "all devices answer; the shortest interval is 60 s"),
        ({n: _device("connecting") for n in "abcde"}, None,
         "a connecting, b connecting, c connecting and 2 more; see gateway status"),
        ({"a": _device("disabled")}, "a", "a disabled; see gateway status"),
        ({}, None, "no device is polled"),
    ],
)  # fmt: skip
def test_why_no_values_come(devices: dict[str, object], device: str | None, why: str) -> None:
    assert why_silent({"devices": devices}, device) == why


def test_an_address_that_is_taken_is_a_message_and_no_gateway(
    running: tuple[Path, str], tmp_path: Path
) -> None:
    _, text = running
    listen = re.search(r"http://(127\.0\.0\.1:\d+)", text)
    assert listen is not None
    other = plant(tmp_path, PRESS, listen=listen[1])
    done = gateway("run", other, expect=1)
    assert listen[1] in done.stderr
    assert "error: " in done.stderr
