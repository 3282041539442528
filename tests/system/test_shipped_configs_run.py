"""Every shipped configuration runs as a daemon with mocks in place of its machines."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

from gateway.api.client import Client, NotRunning
from gateway.config import load
from tests.support import ROOT, gateway_configs, until
from tests.system.cli_kit import said, started

SHIPPED = [
    *gateway_configs(),
    *sorted(p for p in ROOT.glob("drivers/*/example*.yaml") if "map" not in p.stem),
]


@pytest.mark.parametrize("shipped", SHIPPED, ids=lambda path: str(path.relative_to(ROOT)))
def test_it_runs_with_mocks_and_every_table_has_a_row(shipped: Path, tmp_path: Path) -> None:
    folder = tmp_path / shipped.parent.name
    shutil.copytree(shipped.parent, folder, ignore=shutil.ignore_patterns("var", "__pycache__"))
    file = folder / shipped.name
    text = re.sub(r"^state_dir: \S+", f"state_dir: {tmp_path}/state", file.read_text("utf-8"),
                  flags=re.MULTILINE)  # fmt: skip
    api = re.compile(r"^api: \{.*\}|^api:\n(  .*\n)+", re.MULTILINE)
    text, found = api.subn(f"api: {{socket: {tmp_path}/s}}\n", text)
    assert found == 1
    file.write_text(text, "utf-8")
    plant = load(file)
    wanted = {
        (d.name, table.key)
        for d in plant.devices.values()
        if d.config.enabled
        for group in d.groups
        for table in group.tables
    }
    client = Client(tmp_path / "s")

    def seen() -> bool:
        try:
            values = client.get_json("/v1/latest")["values"]
        except NotRunning:
            return False
        keys = set()
        for value in values:
            part = value["labels"].get("module") or value["labels"].get("channel")
            key = f"{value['table']}.{part}" if part else value["table"]
            keys.add((value["labels"]["device"], key))
        return wanted <= keys

    log = tmp_path / "log"
    with started("run", "--mock", file, log=log) as process:
        said(log, "Next, in another terminal", process)
        until(seen, 20, "a row of every table")
    assert "Traceback" not in log.read_text("utf-8")
