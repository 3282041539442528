"""One JSON line for each run of a fault: what was injected, and what it cost."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

from tests.support import ROOT

LONG = os.environ.get("GATEWAY_FAULTS") == "long"
RESULTS = Path(os.environ.get("GATEWAY_FAULTS_RESULTS") or ROOT / "var" / "faults.jsonl")


def size(short: int, long: int) -> int:
    """How often: in CI, and under GATEWAY_FAULTS=long."""
    return long if LONG else short


def record(document: dict[str, Any]) -> None:
    """Append a line, in one piece: several processes do so at once."""
    RESULTS.parent.mkdir(parents=True, exist_ok=True)
    line = json.dumps(document, sort_keys=True).encode() + b"\n"
    fd = os.open(RESULTS, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    try:
        os.write(fd, line)
    finally:
        os.close(fd)


def commit() -> str:
    """Of the tree that is tested; empty where it is no checkout."""
    command = ["git", "-C", str(ROOT), "rev-parse", "--short", "HEAD"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.stdout.strip()
