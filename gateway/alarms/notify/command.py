"""A program that is run for each message: no shell, JSON on its stdin, ended when its time is over.

It runs in a process group of its own, and what it leaves behind in that group is ended with it.
"""

from __future__ import annotations

import os
import select
import signal
import subprocess
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from gateway.alarms.notify.channel import Channel
from gateway.alarms.notify.dial import said
from gateway.alarms.notify.notice import Notice, Undelivered
from gateway.alarms.notify.settings import CommandConfig
from gateway.alarms.notify.template import fill

GRACE_S = 1.0
"""Between the request to end and the end, when the time is over."""

REAP_S = 2.0
"""Longest wait for the end of what was killed."""

KEPT_BYTES = 2000
"""Of its output: the last ones, which say why it failed."""

PASSED_ON = ("PATH", "HOME", "LANG", "LC_ALL", "TZ")
"""All else of the gateway's environment may hold secrets."""


class CommandChannel(Channel):
    """Runs one program, never twice at a time."""

    def __init__(self, config: CommandConfig) -> None:
        self._config = config
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._over = False
        self.longest_s = config.timeout_s + GRACE_S

    def send(self, notices: Sequence[Notice]) -> None:
        """Run it; exit code 0 means that the message is out."""
        (notice,) = notices
        config = self._config
        fields = notice.fields()
        program = Path(config.command[0]).name
        arguments = [config.command[0], *(fill(part, fields) for part in config.command[1:])]
        try:
            process = self._start(arguments, notice.body())
            try:
                output, in_time = _watched(process, config.timeout_s)
            finally:
                with self._lock:  # until it is waited for, its number is that of no other process
                    self._process = None
                    _end(process)
        except OSError as error:
            what = f"{config.command[0]}: {error.strerror}"
            raise Undelivered(what, operator=True) from error
        code = process.returncode
        if code == 0 and in_time:
            return
        if not in_time or code is None:
            what = f"{program}: not done within {config.timeout_s:g} s"
        elif code < 0:
            what = f"{program}: ended by {_signal_name(-code)}"
        else:
            what = f"{program}: exit {code}"
        if words := said(output):
            what += f": {words}"
        raise Undelivered(what, poison=None if self._over else config.tries)

    def interrupt(self) -> None:
        """Kill what runs, and start nothing more."""
        with self._lock:
            self._over = True
            if self._process is not None:
                _kill_group(self._process, signal.SIGKILL)

    def _start(self, arguments: list[str], body: bytes) -> subprocess.Popen[bytes]:
        with self._lock:
            if self._over:
                raise Undelivered("the gateway is stopping")
            # a file in memory: a program that does not read cannot hold up the one that writes
            with os.fdopen(os.memfd_create("alarm", os.MFD_CLOEXEC), "w+b") as stdin:
                stdin.write(body)
                stdin.flush()
                stdin.seek(0)
                self._process = subprocess.Popen(
                    arguments,
                    stdin=stdin,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.STDOUT,
                    cwd="/",
                    env={k: os.environ[k] for k in PASSED_ON if k in os.environ},
                    start_new_session=True,
                )
            return self._process


def _watched(process: subprocess.Popen[bytes], timeout_s: float) -> tuple[bytes, bool]:
    """The end of its output, and whether it ended in time. It is not waited for yet."""
    if process.stdout is None:
        raise OSError("no output to read")
    output = process.stdout.fileno()
    os.set_blocking(output, False)
    tail = b""
    poll = select.poll()
    ended = os.pidfd_open(process.pid)
    try:
        poll.register(ended, select.POLLIN)
        poll.register(output, select.POLLIN)
        end_s = time.monotonic() + timeout_s
        was_told = False
        while True:
            left_s = end_s - time.monotonic()
            if left_s <= 0:
                if was_told:
                    return tail, False
                _kill_group(process, signal.SIGTERM)
                was_told, end_s = True, time.monotonic() + GRACE_S
                continue
            ready = {descriptor for descriptor, _ in poll.poll(left_s * 1000)}
            if output in ready:
                piece = _read(output)
                tail = (tail + (piece or b""))[-KEPT_BYTES:]
                if piece == b"":  # closed
                    poll.unregister(output)
            if ended in ready:
                return (tail + (_read(output) or b""))[-KEPT_BYTES:], not was_told
    finally:
        os.close(ended)


def _read(descriptor: int) -> bytes | None:
    try:
        return os.read(descriptor, 65_536)
    except BlockingIOError:
        return None


def _end(process: subprocess.Popen[bytes]) -> None:
    """Kill what is left of its group, then take its exit code."""
    _kill_group(process, signal.SIGKILL)
    if process.stdout is not None:
        process.stdout.close()
    with suppress(subprocess.TimeoutExpired):  # one that hangs in the kernel cannot be killed
        process.wait(REAP_S)


def _kill_group(process: subprocess.Popen[bytes], number: int) -> None:
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, number)


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
