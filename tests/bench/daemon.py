"""One gateway process for a benchmark, and what it says of itself."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from gateway.api.client import Client, NotRunning
from tests.support import until


def status(folder: Path) -> dict[str, Any] | None:
    """The status document; None while it does not answer."""
    try:
        document: dict[str, Any] = Client(folder / "s").get_json("/v1/status")
    except NotRunning:
        return None
    return document


@contextmanager
def running(file: Path, polls: int) -> Iterator[subprocess.Popen[bytes]]:
    """The gateway of that file, once each device was polled more often than that."""
    gateway = subprocess.Popen(
        [sys.executable, "-m", "gateway", "run", str(file)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "OPENBLAS_NUM_THREADS": "1", "GATEWAY_LOG_LEVEL": "error"},
    )
    try:

        def all_polled() -> bool:
            assert gateway.poll() is None, "the gateway ended"
            found = status(file.parent)
            return found is not None and all(d["polls"] > polls for d in found["devices"].values())

        until(all_polled, 90, "the first polls")
        yield gateway
    finally:
        gateway.kill()
        gateway.wait()
