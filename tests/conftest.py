"""Every test must leave the process as it found it."""

from __future__ import annotations

import gc
import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import CI

# they take minutes, and need root for disks, networks and containers of their own
collect_ignore = [] if CI else ["service", *([] if os.environ.get("GATEWAY_FAULTS") else ["faults"])]


def _descriptors() -> dict[str, str]:
    found = {}
    for link in Path("/proc/self/fd").iterdir():
        try:
            target = str(link.readlink())
        except OSError:
            continue
        if target.startswith(("socket:", "/")) and not target.startswith(("/dev", "/proc")):
            found[link.name] = target
    return found


@pytest.fixture(autouse=True)
def _no_leaks() -> Iterator[None]:
    threads = set(threading.enumerate())
    before = _descriptors()
    yield
    end = time.monotonic() + 3.0
    while True:
        left = [t for t in threading.enumerate() if t not in threads and not t.daemon]
        files = {k: v for k, v in _descriptors().items() if before.get(k) != v}
        if not left and not files:
            return
        if time.monotonic() > end:
            pytest.fail(f"left behind: threads {left}, descriptors {files}")
        gc.collect()  # 50 ms, so only when something is left
        time.sleep(0.01)
