"""The drivers and sinks that a configuration names: installed, and in which versions."""

from __future__ import annotations

import re
from collections.abc import Iterable
from importlib import metadata

from gateway.commands.checks.report import Check
from gateway.driver import find_driver
from gateway.errors import GatewayError
from gateway.sinks import find_sink

_EXTRA = re.compile(r"""^([A-Za-z0-9._-]+)[^;]*;.*\bextra == ['"]([^'"]+)['"]""")


def part(kind: str, name: str) -> Check:
    """One driver or sink; ``kind`` is which."""
    title = f"{kind} {name}"
    try:
        (find_driver if kind == "driver" else find_sink)(name)
    except GatewayError as error:
        words, _, todo = str(error).partition("; ")
        if "needs: " in words:
            words, _, todo = words.partition(" needs: ")
            words, todo = f"{words} cannot be used", todo or "install it"
        return Check(title, "FAIL", words, todo or "gateway drivers")
    missing, versions = [], []
    for package in libraries(name):
        try:
            versions.append(f"{package} {metadata.version(package)}")
        except metadata.PackageNotFoundError:
            missing.append(package)
    if missing:
        todo = f"pip install 'edge-gateway[{name}]'"
        return Check(title, "FAIL", f"not installed: {', '.join(missing)}", todo)
    return Check(title, "OK", ", ".join(versions) or "built in")


def libraries(extra: str) -> list[str]:
    """Names of the packages of an extra of our own distribution that are meant for this machine."""
    found = []
    for line in _requirements():
        match = _EXTRA.match(line)
        if match and match[2] == extra and "platform_machine" not in line:
            found.append(match[1])
    return found


def _requirements() -> Iterable[str]:
    try:
        return metadata.requires("edge-gateway") or ()
    except metadata.PackageNotFoundError:  # run from its source
        return ()
