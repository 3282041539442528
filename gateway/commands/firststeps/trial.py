"""Drivers for probing: a throw-away configuration is loaded, so that what is tried is what runs."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from gateway.driver import Driver


@contextmanager
def drivers(
    devices: Mapping[str, Mapping[str, Any]],
    map_text: str,
    buses: Mapping[str, Mapping[str, Any]] | None = None,
) -> Iterator[dict[str, Driver]]:
    """The drivers of these devices, which all use the map; they are closed at the end.

    JSON is YAML: nothing needs quoting.
    """
    from gateway.config import load

    made: dict[str, Driver] = {}
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        (root / "map.yaml").write_text(map_text, "utf-8")
        document = {
            "gateway": {"name": "init"},
            "state_dir": "state",
            "api": {"socket": "s"},
            "sinks": {"history": {"type": "sqlite"}},
            "devices": {n: {**d, "map": "map.yaml"} for n, d in devices.items()},
            **({"buses": dict(buses)} if buses else {}),
        }
        (root / "gateway.yaml").write_text(json.dumps(document), "utf-8")
        made = load(root / "gateway.yaml").devices
    try:
        yield made
    finally:
        for driver in made.values():
            driver.close()
