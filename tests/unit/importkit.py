"""Imports for tests: from text to a map, and from a map to drivers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from gateway.config import load
from gateway.driver import PolledDriver
from gateway.errors import ConfigError
from gateway.importers.convert import Imported, Options, convert
from tests.support import ROOT

FILES = ROOT / "tests" / "imports"


def imported(folder: Path, file: str, text: str | bytes, **options: Any) -> Imported:
    """The map of one file with this content."""
    path = folder / file
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return convert([path], Options(**options))


def refusals(folder: Path, file: str, text: str | bytes, **options: Any) -> list[str]:
    """The faults of a file that must be refused, each as ``line:col: message``."""
    try:
        made = imported(folder, file, text, **options)
    except ConfigError as error:
        return [f"{f.place.line}:{f.place.col}: {f.message}" for f in error.faults]
    raise AssertionError(f"not refused:\n{made.text}")


def tags(made: Imported) -> dict[str, str]:
    """Tag or module.tag -> ``where type``, over all groups and modules."""
    found = {}
    for module in made.made.modules:
        found.update({f"{module.name}.{t.name}": f"{t.where} {t.type}" for t in module.tags})
    for group in made.made.groups:
        found.update({t.name: f"{t.where} {t.type}" for t in group.tags})
        found.update({p.name: f"{p.at} {p.use}" for p in group.placed})
    return found


def device(folder: Path, made: Imported, **settings: Any) -> PolledDriver:
    """The driver of a device with this map, made by the loader as the daemon's are."""
    (folder / "map.yaml").write_text(made.text, "utf-8")
    given = {"driver": made.made.driver, "host": "127.0.0.1", "map": "map.yaml", **settings}
    words = ", ".join(f"{key}: {value}" for key, value in given.items())
    (folder / "gateway.yaml").write_text(
        "gateway: {name: test}\nstate_dir: state\napi: {socket: s}\n"
        f"sinks: {{history: {{type: sqlite}}}}\ndevices:\n  d: {{{words}}}\n",
        "utf-8",
    )
    driver = load(folder / "gateway.yaml").devices["d"]
    assert isinstance(driver, PolledDriver)
    return driver


def rows(driver: PolledDriver) -> dict[str, dict[str, Any]]:
    """One poll of every group: table key -> column -> value; all must be GOOD."""
    driver.connect()
    try:
        read = [row for group in driver.groups for row in driver.read(group)]
    finally:
        driver.close()
    assert [row.marks for row in read] == [None] * len(read)
    return {row.table.key: dict(zip(row.table.columns, row.values(), strict=True)) for row in read}
