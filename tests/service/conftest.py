"""A fresh machine for each test, or one with the package on it for those that only look."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.service import packages
from tests.service.container import Machine, tree

DEMO = "/etc/edge-gateway/demo.yaml"
CONFIG = "/etc/edge-gateway/gateway.yaml"

OUTAGE = ("    disconnect: {every_s: 300, for_s: 20}\n", "")
"""The demo's dryer is away at times of the wall clock, and its gateway not good then."""


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Machine]:
    """A machine that sees the packages under /media.

    The limits of tests do not count this (``func_only``): the packages may have to be built.
    """
    booted = Machine(tree(), tmp_path, packages.deb(), packages.wheelhouse())
    try:
        yield booted
    finally:
        booted.close()


def install(machine: Machine, package: str = "edge-gateway_*.deb") -> None:
    """Install the Debian package."""
    machine.run("sh", "-c", f"dpkg -i /media/deb/{package}", timeout_s=120)


def write_config(machine: Machine, path: str, text: str) -> None:
    """Write a file as the package's own are: root's, readable for the service's group alone."""
    machine.write(path, text, "640")
    machine.run("chgrp", "edge-gateway", path)


def start_demo(machine: Machine, *changes: tuple[str, str]) -> None:
    """Let the service run the demo, with these texts replaced by others, until it is ready."""
    text = machine.out("cat", DEMO) + "\n"
    for old, new in (OUTAGE, *changes):
        assert old in text, old
        text = text.replace(old, new)
    write_config(machine, CONFIG, text)
    started = machine.run(
        "systemctl", "enable", "--now", "edge-gateway.service", check=False, timeout_s=90
    )
    assert started.returncode == 0, started.stderr + machine.said("edge-gateway.service")[-4000:]
