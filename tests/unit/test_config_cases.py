"""Every folder of tests/cases: a configuration, and what it says of it or what it becomes.

``expected.err`` has all faults in their order, ``expected.json`` the plant. A mistake of a user
that was badly reported becomes another folder.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from gateway.config import Plant, load
from gateway.errors import ConfigError
from tests.support import ROOT

CASES = sorted(p for p in (ROOT / "tests" / "cases").iterdir() if (p / "gateway.yaml").is_file())


def summary(plant: Plant, folder: Path) -> dict[str, Any]:
    """The plant as plain data, with paths relative to the folder."""
    return {
        "name": plant.name,
        "state_dir": str(plant.state_dir.relative_to(folder)),
        "socket": str(plant.api.socket.relative_to(folder)),
        "sinks": {name: sink.type for name, sink in plant.sinks.items()},
        "buses": {bus.name: [d.name for d in bus.devices] for bus in plant.buses},
        "files": [str(file.relative_to(folder)) for file in plant.files],
        "warnings": plant.warnings,
        "devices": {
            name: [
                {
                    "table": table.name,
                    "labels": [f"{key}={value}" for key, value in table.labels],
                    "columns": list(table.columns),
                    "interval_s": group.interval_s,
                }
                for group in device.groups
                for table in group.tables
            ]
            for name, device in plant.devices.items()
        },
    }


@pytest.mark.parametrize("folder", CASES, ids=lambda p: p.name)
def test_case(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    if (folder / "expected.json").exists():
        expected = json.loads((folder / "expected.json").read_text("utf-8"))
        assert summary(load(Path("gateway.yaml")), folder) == expected
        return
    with pytest.raises(ConfigError) as caught:
        load(Path("gateway.yaml"))
    said = str(caught.value).replace(f"{folder}/", "") + "\n"
    assert said == (folder / "expected.err").read_text("utf-8")


def test_there_are_cases() -> None:
    assert len(CASES) > 40
