"""Every test must leave the process as it found it."""

from __future__ import annotations

import gc
import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from gateway import logs
from tests.support import CI

# how long an example takes says nothing here: other tests share the cores. CI asks the same of each
# commit, so that what it refuses can be seen again; elsewhere each run asks something new
settings.register_profile(
    "busy", deadline=None, suppress_health_check=[HealthCheck.too_slow], derandomize=CI
)
settings.load_profile("busy")

# they take minutes, and need root for disks, networks and containers of their own
collect_ignore = (
    [] if CI else ["service", *([] if os.environ.get("GATEWAY_FAULTS") else ["faults"])]
)


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests of one ``xdist_group`` go to one worker.

    xdist (3.8) puts the group into an attribute that pytest (9.2) does not read any more.
    """
    for item in items:
        grouped = getattr(item, "_nodeid", item.nodeid)
        if grouped != item.nodeid:
            item._id = type(item.id).parse(grouped)  # type: ignore[attr-defined]


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
def _secrets_of_its_own() -> Iterator[None]:
    """What a test has taken for a secret is an ordinary word in the next one."""
    before = set(logs._secrets)
    yield
    logs._secrets.intersection_update(before)


@pytest.fixture(autouse=True)
def _no_leaks() -> Iterator[None]:
    threads = set(threading.enumerate())
    before = _descriptors()
    yield
    end = time.monotonic() + 10.0
    while True:
        left = [t for t in threading.enumerate() if t not in threads and not t.daemon]
        files = {k: v for k, v in _descriptors().items() if before.get(k) != v}
        if not left and not files:
            return
        if time.monotonic() > end:
            pytest.fail(f"left behind: threads {left}, descriptors {files}")
        gc.collect()  # 50 ms, so only when something is left
        time.sleep(0.01)
