"""A configuration is loaded in a process of its own, whatever lies in the working folder."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.config.export import load_elsewhere
from tests.support import ROOT


def test_files_of_the_working_folder_are_no_modules(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("yaml.py", "pickle.py", "gateway/__init__.py"):
        file = tmp_path / name
        file.parent.mkdir(exist_ok=True)
        file.write_text("raise SystemExit('this is no module')")
    monkeypatch.chdir(tmp_path)
    plant = load_elsewhere(ROOT / "tests" / "cases" / "good_minimal" / "gateway.yaml")
    assert plant.devices
