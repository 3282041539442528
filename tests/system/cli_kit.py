"""The `gateway` command as a user's shell runs it, and a small plant to run it on."""

from __future__ import annotations

import contextlib
import io
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from gateway.api.client import Client, NotRunning
from gateway.cli import main
from tests.support import free_port, until

S7_MAP = """\
driver: s7
modules:
  motor:
    current: {at: 0.0, type: real, unit: A}
    starts:  {at: 4.0, type: dint}
groups:
  process:
    interval_s: 0.1
    tags:
      level:   {address: "DB{db}.DBD0", type: real, unit: "%"}
      running: {address: "DB{db}.DBX4.0", type: bool}
    modules:
      pump: {use: motor, at: "DB{db}.DBB20"}
"""
MODBUS_MAP = """\
driver: modbus
groups:
  power:
    interval_s: 0.2
    tags:
      voltage: {address: "holding:0", type: float32, unit: V}
      total:   {address: "holding:10", type: uint32, unit: kWh}
"""
MOCK_MAP = """\
driver: mock
groups:
  process:
    interval_s: 0.1
    tags:
      force: {type: real, unit: kN, signal: {kind: sine, mean: 50, amplitude: 10, period_s: 5}}
      text:  {type: string, signal: {kind: steps, values: ["a\\x1b[2Jb"], hold_s: 5}}
"""


def plant(folder: Path, devices: str, *, listen: str = "") -> Path:
    """A gateway's file with these devices and a historian; its socket is in the folder."""
    (folder / "s7.yaml").write_text(S7_MAP)
    (folder / "modbus.yaml").write_text(MODBUS_MAP)
    (folder / "mock.yaml").write_text(MOCK_MAP)
    file = folder / "gateway.yaml"
    api = f"{{socket: s, listen: '{listen}'}}" if listen else "{socket: s}"
    file.write_text(
        "gateway: {name: test}\n"
        f"state_dir: state\napi: {api}\n"
        "sinks:\n  history: {type: sqlite, retention_days: 1, max_bytes: 2GB}\n"
        f"devices:\n{devices}"
    )
    return file


HOPPER = "  hopper: {driver: s7, host: 127.0.0.1, port: %d, map: s7.yaml, with: {db: 4}}\n"
METER = "  meter: {driver: modbus, host: 127.0.0.1, port: %d, timeout_s: 1, map: modbus.yaml}\n"
PRESS = "  press: {driver: mock, map: mock.yaml}\n"


def real_devices() -> str:
    """An S7 and a Modbus device that are not there: nobody listens on their ports."""
    return HOPPER % free_port() + METER % free_port()


def environment(**more: str) -> dict[str, str]:
    """This process' environment without what changes the command's behaviour."""
    unwanted = (
        "GATEWAY_",
        "NO_COLOR",
        "FORCE_COLOR",
        "JOURNAL_STREAM",
        "NOTIFY_SOCKET",
        "MAKE",
        "MFLAGS",
    )
    kept = {k: v for k, v in os.environ.items() if not k.startswith(unwanted)}
    return {**kept, "COLUMNS": "100", **more}


def gateway(
    *arguments: str | Path, expect: int | None = 0, cwd: Path | None = None, **more: str
) -> subprocess.CompletedProcess[str]:
    """Run the command to its end; its exit code must be the expected one, without a traceback."""
    done = subprocess.run(
        [sys.executable, "-m", "gateway", *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=30,
        cwd=cwd,
        env=environment(**more),
        stdin=subprocess.DEVNULL,
    )
    assert "Traceback" not in done.stderr, done.stderr
    if expect is not None:
        assert done.returncode == expect, (done.returncode, done.stdout, done.stderr)
    return done


def called(*arguments: str | Path, expect: int = 0) -> subprocess.CompletedProcess[str]:
    """As `gateway`, but in this process, which is ten times as fast."""
    words = [*map(str, arguments)]
    out, errors = io.StringIO(), io.StringIO()
    before, sys.argv = sys.argv, ["gateway", *words]
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(errors):
            main()
    except SystemExit as end:
        code = end.code
    finally:
        sys.argv = before
    assert code == expect, (code, out.getvalue(), errors.getvalue())
    return subprocess.CompletedProcess(words, expect, out.getvalue(), errors.getvalue())


def objects(text: str) -> list[dict[str, Any]]:
    """The JSON objects of a text that has one a line."""
    return [json.loads(line) for line in text.splitlines()]


@contextlib.contextmanager
def started(
    *arguments: str | Path, log: Path, stop: int = signal.SIGTERM, **more: str
) -> Iterator[subprocess.Popen[bytes]]:
    """Run the command meanwhile, its output in the file ``log``; it must end when told to."""
    with log.open("wb") as out:
        process = subprocess.Popen(
            [sys.executable, "-m", "gateway", *map(str, arguments)],
            stdout=out,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            env=environment(**more),
        )
    try:
        yield process
    finally:
        if process.poll() is None:
            process.send_signal(stop)
        try:
            process.wait(15)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            raise


def said(log: Path, text: str, process: subprocess.Popen[bytes]) -> str:
    """Wait until the process has said so; all that it has said."""

    def heard() -> str | None:
        found = log.read_text("utf-8", "replace")
        if text not in found and process.poll() is not None:
            raise AssertionError(f"ended with {process.returncode}, saying: {found}")
        return found if text in found else None

    return str(until(heard, 40, f"{text!r} in {log}"))  # it may start beside much else


def state_of(file: Path) -> str:
    """The state that the gateway of this file has; empty while it does not answer."""
    try:
        return str(Client(file.parent / "s").get_json("/v1/status")["state"])
    except NotRunning:
        return ""


def is_well(file: Path) -> bool:
    """Whether the gateway of this file answers, and only this machine is to blame for problems.

    Polls that it skips again and again, as a busy one does, are told for 200 more.
    """
    try:
        problems = Client(file.parent / "s").get_json("/v1/status")["problems"]
    except NotRunning:
        return False
    return all(" polls skipped; " in problem for problem in problems)
