"""One JSON line for each run of a fault: what was injected, and what it cost."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

from tests.support import ROOT

LONG = os.environ.get("GATEWAY_FAULTS") == "long"
FORM = "long" if LONG else "short"
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


def done() -> set[tuple[str, str]]:
    """File and name of each test whose run at this commit, in this form, is kept and held.

    Empty unless results are kept: elsewhere each run is to happen.
    """
    at = commit()
    if not at or "GATEWAY_FAULTS_RESULTS" not in os.environ or not RESULTS.exists():
        return set()
    ended: set[tuple[str, str]] = set()
    for line in RESULTS.read_text("utf-8").splitlines():
        run = json.loads(line)
        if (run["commit"], run["form"]) == (at, FORM):
            key = run["test"].partition("::")[0], run["name"]
            if run["result"] != "held":
                ended.discard(key)
            elif run.get("last"):
                ended.add(key)
    return ended


def commit() -> str:
    """Of the tree that is tested; empty where it is no checkout."""
    command = ["git", "-C", str(ROOT), "rev-parse", "--short", "HEAD"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.stdout.strip()
