"""Calls, commands, keys and pages that the documents name are there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import typer.main

from gateway.api.settings import ApiConfig
from gateway.cli import app
from tests.support import ROOT
from tests.unit.apikit import served

DOCUMENTS = [ROOT / "docs" / name for name in ("coverage.md", "dashboards.md")]
SOCKETS = {"/ws/live", "/ws/alarms"}
"""OpenAPI does not list them."""


def words(path: Path) -> list[str]:
    """What is set as code, without what others promise."""
    text = path.read_text("utf-8")
    if path.stem == "coverage":
        rows = [line.split(" | ", 1)[-1] for line in text.splitlines() if line.startswith("| ")]
        text = "\n".join(rows)
    return re.findall(r"`([^`\n]+)`", text)


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.stem)
def test_every_call_is_one_of_the_api(path: Path, tmp_path: Path) -> None:
    named = {call for word in words(path) for call in re.findall(r"/(?:v1|ws)/[\w./-]+", word)}
    with served(ApiConfig(socket=tmp_path / "s")) as running:
        paths = set(running.client.get_json("/openapi.json")["paths"])
    assert named <= paths | SOCKETS, named - paths


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.stem)
def test_every_command_is_one_of_the_gateway(path: Path) -> None:
    commands = typer.main.get_command(app).commands  # type: ignore[attr-defined]
    named = [word.split()[1] for word in words(path) if re.match(r"gateway [a-z]", word)]
    assert named
    assert set(named) <= set(commands), set(named) - set(commands)


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.stem)
def test_every_file_that_is_named_or_linked_is_there(path: Path) -> None:
    text = path.read_text("utf-8")
    linked = [to.partition("#")[0] for to in re.findall(r"\]\(([^)\s]+)\)", text)]
    files = [path.parent / to for to in linked if to and "://" not in to]
    named = re.findall(r"\b(?:configs|tests|docs|systemd|package)/[\w./-]*", " ".join(words(path)))
    files += [ROOT / name for name in named]
    assert files
    assert [file for file in files if not file.exists()] == []
