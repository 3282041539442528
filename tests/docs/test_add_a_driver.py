"""docs/add-a-driver.md as a reader does it: write the files, install them, read from the driver."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.docs.kit import clone, commands, typed, written
from tests.support import free_port
from tests.system.cli_kit import environment

PAGE = "docs/add-a-driver.md"
FILE = re.compile(r"`([\w./-]+\.(?:py|toml|yaml))`")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The files of the page, each under the name that stands last before it."""
    port = str(free_port())
    names = []
    for before, _, text in written(PAGE):
        name = FILE.findall(before)[-1]
        file = tmp_path / name
        file.parent.mkdir(exist_ok=True)
        file.write_text(text.replace("port: 5025", f"port: {port}"), "utf-8")
        names.append(name)
    assert names == [
        "scpi-driver/pyproject.toml",
        "scpi-driver/gateway_scpi.py",
        "instrument.py",
        "bench.yaml",
        "supply.yaml",
    ]
    (tmp_path / "port").write_text(port)
    clone(tmp_path, PYTHONPATH=str(tmp_path / "site"))
    pip = tmp_path / ".venv/bin/pip"  # into a folder of the test, not into the tests' environment
    pip.write_text(
        f'#!/bin/sh\nexec "{sys.executable}" -m pip "$@" '
        "--quiet --no-deps --no-build-isolation --no-index --target site\n"
    )
    pip.chmod(0o755)
    return tmp_path


@pytest.mark.timeout(300)
def test_the_driver_of_the_page_reads(folder: Path) -> None:
    port = (folder / "port").read_text()
    shown = {}
    machine: subprocess.Popen[str] | None = None
    try:
        for command in commands(PAGE):
            if command.endswith(" &"):
                words = command.removesuffix(" &").replace("5025", port).split()
                machine = subprocess.Popen(
                    [sys.executable, *words[1:]],
                    cwd=folder, env=environment(), stdout=subprocess.PIPE, text=True,
                )  # fmt: skip
                assert machine.stdout is not None
                assert machine.stdout.readline() == "ready\n"
                continue
            shown[command] = typed(command, folder, {" read ": {1}}).stdout
    finally:
        _stop(machine)
    assert re.search(r"^scpi +map, host", shown[".venv/bin/gateway drivers"], re.MULTILINE)
    assert "in 2 requests" in shown[".venv/bin/gateway plan bench.yaml supply"]
    read = shown[".venv/bin/gateway read bench.yaml supply"]
    assert re.search(r"voltage +12\.034 +V +GOOD", read), read
    assert re.search(r"current +- +A +BAD: nan", read), read

    # "Then try what will happen to others"
    gone = typed(".venv/bin/gateway read bench.yaml supply", folder, {" read ": {1}})
    assert "refused" in gone.stdout + gone.stderr
    text = (folder / "supply.yaml").read_text()
    (folder / "supply.yaml").write_text(
        text.replace("VOLT?", "VOLT").replace("type: real, unit: A", "type: int, unit: A")
    )
    bad = typed(".venv/bin/gateway check bench.yaml", folder, {" check ": {78}})
    assert (
        "supply.yaml:6:26: groups.output.tags.voltage.address: 'MEAS:VOLT' is no query"
        in bad.stderr
    )
    assert "supply.yaml:7:" in bad.stderr, "all faults come at once"


def _stop(machine: subprocess.Popen[str] | None) -> None:
    if machine is not None and machine.stdout is not None:
        machine.terminate()
        machine.wait(10)
        machine.stdout.close()
