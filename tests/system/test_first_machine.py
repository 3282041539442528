"""The pages for newcomers: their commands run, and every reason is explained."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer.main

from drivers.modbus.frames import GATEWAY_EXCEPTIONS
from gateway.cli import app
from gateway.commands.checks import advice
from tests.sims.s7_peer import S7Peer, serve_s7
from tests.support import ROOT, until
from tests.system.cli_kit import gateway, started

peer = pytest.fixture(scope="module")(serve_s7)
FIRST = ROOT / "docs" / "first-machine.md"
TROUBLE = ROOT / "docs" / "troubleshooting.md"


def commands(page: Path) -> Iterator[list[str]]:
    """Those of its console blocks, without `gateway`."""
    for block in re.findall(r"```console\n(.*?)```", page.read_text("utf-8"), re.DOTALL):
        for line in block.splitlines():
            if line.startswith("$ gateway "):
                yield shlex.split(line)[2:]


def test_every_command_of_the_first_machine_runs(peer: S7Peer, tmp_path: Path) -> None:
    peer.area("MK", 0, 16)
    peer.db(4, 100)
    todo = [
        [word.replace("192.168.0.10", f"127.0.0.1:{peer.port}") for word in command]
        for command in commands(FIRST)
    ]
    assert [command[0] for command in todo] == [
        "init", "doctor", "read", "probe", "check", "plan", "run", "status", "tail",
    ]  # fmt: skip
    at = [command[0] for command in todo].index("run")
    for command in todo[:at]:
        gateway(*command, cwd=tmp_path)
    lines = re.findall(r"```yaml\n(.*?)```", FIRST.read_text("utf-8"), re.DOTALL)
    map_file = tmp_path / "maps" / "plc_1.yaml"
    text = re.sub(r"(?m)^ +(flags_0|db4_byte_0):.*\n", "", map_file.read_text()) + lines[0]
    map_file.write_text(text)
    with started("run", tmp_path / "gateway.yaml", log=tmp_path / "log"):
        until(lambda: gateway("status", cwd=tmp_path, expect=None,
                              GATEWAY_SOCKET=str(tmp_path / "var/gateway.sock")).returncode == 0,
              20)  # fmt: skip
        for command in todo[at + 1 :]:
            done = gateway(*command, cwd=tmp_path)
            assert "plc_1" in done.stdout
        assert "level" in done.stdout
        assert "running" in done.stdout


@pytest.mark.parametrize("page", [FIRST, TROUBLE], ids=lambda page: page.stem)
def test_every_command_and_link_is_there(page: Path) -> None:
    text = page.read_text("utf-8")
    known = typer.main.get_command(app).commands  # type: ignore[attr-defined]
    named = set(re.findall(r"[`$] ?gateway ([a-z][a-z-]*)", text))
    assert named
    assert named <= set(known), named - set(known)
    for link in re.findall(r"\]\(([^)\s#]+)\)", text):
        assert (page.parent / link).exists(), link
    for example in re.findall(r"`([a-z]+\.conf\.example)`", text):
        assert (ROOT / "systemd" / "edge-gateway.service.d" / example).exists(), example


def test_every_reason_is_explained() -> None:
    text = TROUBLE.read_text("utf-8")
    reasons = {*advice.REASONS, *GATEWAY_EXCEPTIONS.values()}
    assert [reason for reason in sorted(reasons) if f"`{reason}`" not in text] == []
