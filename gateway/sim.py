"""Simulated devices of a whole plant, in this process or in a child of its own."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import select
import stat
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from gateway.driver import Driver, Endpoint, Simulation
from gateway.errors import GatewayError

STEP_HZ = 5.0
"""How often the simulated values move."""

PORTS = range(20_000, 30_000)
"""Below those that systems hand out by themselves."""


def usual_ports(config: Path, devices: Iterable[str]) -> dict[str, int]:
    """A port for each device, the same every time: who polls a simulator finds it again.

    Only a wish: another program may have taken it.
    """
    ports: dict[str, int] = {}
    taken: set[int] = set()
    for device in sorted(devices):
        digest = hashlib.sha256(f"{config.resolve()}\0{device}".encode()).digest()
        at = int.from_bytes(digest[:4], "big")
        while len(taken) < len(PORTS) and PORTS[at % len(PORTS)] in taken:
            at += 1
        ports[device] = PORTS[at % len(PORTS)]
        taken.add(ports[device])
    return ports


class Simulators:
    """The simulated devices of all drivers. They serve from the constructor on, until `close`."""

    def __init__(self, drivers: Iterable[Driver], ports: Mapping[str, int] | None = None) -> None:
        """``ports`` are wishes, by device: taken where they are free."""
        self.endpoints: dict[str, Endpoint] = {}
        self.without: list[str] = []
        """Devices whose driver has no simulator (the mock needs none)."""
        self._simulations: list[Simulation] = []
        kinds: dict[type[Driver], list[Driver]] = {}
        for driver in drivers:
            kinds.setdefault(type(driver), []).append(driver)
        try:
            for kind, devices in kinds.items():
                simulation = kind.simulate(devices, ports=ports)
                if simulation is None:
                    self.without += [device.name for device in devices]
                    continue
                self._simulations.append(simulation)
                self.endpoints.update(simulation.endpoints)
                simulation.step(0.0)
        except BaseException:
            self.close()
            raise

    def step(self, time_s: float) -> None:
        """Move every value to its state at ``time_s`` seconds after the start."""
        for simulation in self._simulations:
            simulation.step(time_s)

    def serve(self, stop: threading.Event, rate_hz: float = STEP_HZ) -> None:
        """Move the values, ``rate_hz`` times a second, until ``stop`` is set."""
        begun = time.monotonic()
        while not stop.wait(1.0 / rate_hz):
            self.step(time.monotonic() - begun)

    def close(self) -> None:
        """Stop serving; idempotent."""
        for simulation in self._simulations:
            simulation.close()
        self._simulations = []


def _notice(config: Path) -> Path:
    """Where a simulator of this configuration says how to reach it; only its user can write it."""
    runtime = os.environ.get("XDG_RUNTIME_DIR")
    folder = Path(runtime or tempfile.gettempdir()) / f"edge-gateway-sim-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    found = folder.lstat()
    if found.st_uid != os.getuid() or not stat.S_ISDIR(found.st_mode) or found.st_mode & 0o022:
        raise GatewayError(f"{folder} belongs to someone else; set XDG_RUNTIME_DIR")
    digest = hashlib.sha256(str(config.resolve()).encode()).hexdigest()
    return folder / f"{digest[:24]}.json"


@contextlib.contextmanager
def announced(config: Path, endpoints: Mapping[str, Endpoint]) -> Iterator[None]:
    """Let `find_simulator` find these endpoints while this lasts, and not after a crash either."""
    path = _notice(config)
    handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        if not _lock(handle):
            raise GatewayError(f"a simulator of {config} is running already")
        os.ftruncate(handle, 0)
        os.pwrite(handle, json.dumps(as_objects(endpoints)).encode(), 0)
        yield
    finally:
        os.close(handle)  # the lock goes with it: what the file says counts only under a lock


def _lock(handle: int) -> bool:
    for _ in range(5):
        with contextlib.suppress(BlockingIOError):
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        time.sleep(0.02)  # somebody who looks for a simulator holds it for an instant
    return False


def find_simulator(config: Path) -> dict[str, Endpoint] | None:
    """The endpoints of the running `gateway sim` of this configuration; None where none runs."""
    try:
        handle = os.open(_notice(config), os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    except FileNotFoundError:
        return None
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            text = os.pread(handle, 1 << 24, 0)
            return _endpoints(json.loads(text)) if text else None
        return None
    finally:
        os.close(handle)


def as_objects(endpoints: Mapping[str, Endpoint]) -> dict[str, dict[str, Any]]:
    """Endpoints as JSON has them."""
    return {name: asdict(endpoint) for name, endpoint in endpoints.items()}


def _endpoints(given: Mapping[str, dict[str, Any]]) -> dict[str, Endpoint]:
    return {name: Endpoint(**endpoint) for name, endpoint in given.items()}


class SimProcess:
    """`gateway sim` in a process of its own: it takes no time of the gateway's interpreter.

    It ends when its standard input closes, so it cannot outlive the gateway, not even one that
    was killed; being in a session of its own it does not get the terminal's Ctrl-C.
    """

    def __init__(self, config: Path, timeout_s: float = 60.0) -> None:
        command = [
            sys.executable,
            "-P",
            "-m",
            "gateway",
            "sim",
            str(config),
            "--json",
            "--attached",
        ]
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True
        )
        try:
            self.endpoints = _endpoints(json.loads(self._first_line(timeout_s))["endpoints"])
        except BaseException:
            self.close()
            raise

    def _first_line(self, timeout_s: float) -> bytes:
        pipe = self._process.stdout
        if pipe is None or not select.select([pipe], [], [], timeout_s)[0]:
            raise GatewayError(f"the simulator did not begin within {timeout_s:g} s")
        line = pipe.readline()
        if not line:
            raise GatewayError(f"the simulator ended at once, exit {self._process.wait()}")
        return line

    def close(self) -> None:
        """End it; idempotent."""
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()
        try:
            self._process.wait(5.0)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


def redirect(drivers: Iterable[Driver], endpoints: Mapping[str, Endpoint]) -> None:
    """Point each driver that is simulated at its simulation."""
    for driver in drivers:
        if endpoint := endpoints.get(driver.name):
            driver.redirect(endpoint)
