"""`gateway reload`: apply a changed file to the running gateway, and say what came of it."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from gateway.commands.client import client_for
from gateway.commands.console import (
    EXIT_CONFIG,
    AsJson,
    ConfigOption,
    SocketOption,
    out,
    out_json,
    say,
)
from gateway.errors import GatewayError
from gateway.terminal import printable

if TYPE_CHECKING:
    from gateway.config import Plant

WAIT_S = 180.0
LOOK_S = 0.1


def reload(
    as_json: AsJson = False,
    socket: SocketOption = None,
    config: ConfigOption = None,
) -> None:
    """Apply the changed configuration.

    Only devices and sinks that differ restart. An invalid file changes nothing: its faults are
    printed, and the exit code is 78. The socket is found as by `gateway status`.
    """
    client = client_for(socket, config)
    before = client.get_json("/v1/status")
    done = int((before.get("reload") or {}).get("count", 0))
    try:
        os.kill(int(before["gateway"]["pid"]), signal.SIGHUP)
    except (PermissionError, ProcessLookupError) as error:
        raise GatewayError(f"the gateway cannot be signalled: {error.strerror}") from error
    end = time.monotonic() + WAIT_S
    while time.monotonic() < end:
        told = client.get_json("/v1/status").get("reload") or {}
        if int(told.get("count", 0)) > done:
            _tell(told, as_json)
            return
        time.sleep(LOOK_S)
    raise GatewayError(f"no reload within {WAIT_S:g} s; see the log of the gateway")


def _tell(told: Mapping[str, Any], as_json: bool) -> None:
    if as_json:
        out_json(told)
    elif told["ok"]:
        out([printable(line) for line in told["changes"]] or ["nothing differs"])
    for fault in () if as_json else told["faults"]:
        say(printable(fault))
    if not told["ok"]:
        if not as_json:
            say("the running configuration stays", "red")
        raise typer.Exit(EXIT_CONFIG)


def differences(plant: Plant, file: Path) -> Iterator[str]:
    """What a reload of this file would do to the running gateway, a line each."""
    from gateway.api.client import Client
    from gateway.config.fingerprints import compare

    running = Client(plant.api.socket).get_json("/v1/config")["fingerprints"]
    changes = compare(running, plant.fingerprints)
    if changes.nothing:
        yield f"{file}: nothing differs from what runs"
    yield from changes.lines()
