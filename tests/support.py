"""What tests need: deadlines instead of sleeps, free ports, servers that must exist."""

from __future__ import annotations

import contextlib
import itertools
import os
import random
import shutil
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

import pytest

T = TypeVar("T")
ROOT = Path(__file__).parent.parent
CI = os.environ.get("GATEWAY_CI") == "1"
S7_PEER_PACKAGE = ROOT / ".cache" / "snap7c"
"""The old wheel with the C library, an independent S7 server (`make peers` fetches it)."""


def missing(what: str, how: str) -> None:
    """Skip the test, or fail it where everything must be there."""
    message = f"{what} is not here; {how}"
    if CI:
        pytest.fail(message)
    pytest.skip(message)


def need_program(name: str, package: str) -> str:
    """Path of a program from apt."""
    found = shutil.which(name)
    if found is None:
        missing(name, f"apt-get install {package}")
    return str(found)


def _ports_of_this_worker() -> Iterator[int]:
    """One after the other, for ever; below those that the kernel gives to outgoing connections."""
    worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")) % 16
    first = 12_000 + 1_250 * worker
    return itertools.cycle(random.sample(range(first, first + 1_250), 1_250))


_ports = _ports_of_this_worker()


def free_port() -> int:
    """A TCP port on 127.0.0.1 that nobody listens on, or takes before the one who asked listens."""
    while True:
        port = next(_ports)
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


def until(condition: Callable[[], T], deadline_s: float = 20.0, what: str = "") -> T:
    """Wait until the condition gives something true; its value. Fails after the deadline."""
    end = time.monotonic() + deadline_s
    pause = 0.001
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > end:
            raise AssertionError(f"not within {deadline_s} s: {what or condition}")
        time.sleep(pause)  # the only pause of the suite: between two looks at a condition
        pause = min(pause * 2, 0.05)


def gateway_configs() -> list[Path]:
    """The shipped configurations of a gateway; those of other commands are not among them."""
    others = ("writer", "serve")
    return sorted(p for p in (ROOT / "configs").glob("*.yaml") if not p.name.startswith(others))
