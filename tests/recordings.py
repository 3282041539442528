"""Where the real recordings are, which the project does not contain."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from tests.support import missing


def recordings() -> Path:
    """The folder of bearing recordings: ``bearings`` in the one that GATEWAY_TEST_DATA names."""
    folder = os.environ.get("GATEWAY_TEST_DATA")
    found = Path(folder or "") / "bearings"
    if not folder or not found.is_dir():
        missing("GATEWAY_TEST_DATA", "set it to the folder of the real recordings")
    return found


def manifest() -> dict[str, dict[str, Any]]:
    """What is known of each recording: rate, speed, bearing, fault; by file name."""
    entries = json.loads((recordings() / "manifest.json").read_text("utf-8"))
    return {entry["file"]: entry for entry in entries}
