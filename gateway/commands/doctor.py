"""`gateway doctor`: looks at the PC, the files, the machines and the servers; says what to do."""

from __future__ import annotations

import os
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gateway.commands.client import DEFAULT_SOCKET, socket_of
from gateway.commands.console import (
    EXIT_BAD,
    AsJson,
    WrongUsage,
    coloured,
    flush,
    out,
    out_json,
)
from gateway.commands.wrapping import folded
from gateway.errors import ConfigError, GatewayError
from gateway.terminal import Colour, count, printable

if TYPE_CHECKING:
    from gateway.api.client import Client
    from gateway.commands.checks.report import Check
    from gateway.config import Plant

USUAL_FILE = Path("/etc/edge-gateway/gateway.yaml")
CREDENTIALS = Path("/run/credentials")

DEVICES_S = 30.0
SINKS_S = 15.0
RATE_S = 1.5
"""How long the running gateway is watched for the rate of its rows."""

_COLOURS: dict[str, Colour] = {"OK": "green", "WARN": "yellow", "FAIL": "red"}
_NAME_WIDTH = 14


def doctor(
    file: Annotated[
        Path | None,
        typer.Argument(
            metavar="[FILE]",
            readable=False,
            help=f"The configuration; left out: {USUAL_FILE} where there is one, else only the PC.",
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Find what is wrong, and say what to do.

    Clock, disk, rights, libraries, every machine and every server. Nothing is written to them; a
    machine that a running gateway polls is asked through it. Exit 1 if anything FAILs.
    """
    if file is None and _is_there(USUAL_FILE):
        file = USUAL_FILE
    if file is not None and not _is_there(file):
        raise WrongUsage(f"{file}: there is no such file; `gateway init {file}` makes one")
    shown = []
    for check in _checks(file):
        shown.append(check)
        if not as_json:
            _show(check)
    states = [check.state for check in shown]
    if as_json:
        out_json(
            {
                "file": None if file is None else str(file),
                "ok": "FAIL" not in states,
                "checks": [
                    {"name": c.name, "state": c.state, "found": c.found, "todo": c.todo or None}
                    for c in shown
                ],
            }
        )
    else:
        bad, doubtful = states.count("FAIL"), states.count("WARN")
        summary = f"{count(len(states), 'check')}: {bad} FAIL, {doubtful} WARN"
        out(coloured(summary, "red" if bad else "yellow" if doubtful else "green"))
    if "FAIL" in states:
        raise typer.Exit(EXIT_BAD)


def _is_there(file: Path) -> bool:
    """Also where we may not look at it: that is said by the check."""
    try:
        file.stat()
    except FileNotFoundError:
        return False
    except OSError:
        return True
    return True


def _show(check: Check) -> None:
    state = coloured(f"{check.state:<4}", _COLOURS[check.state])
    name = f"{printable(check.name):<{_NAME_WIDTH}}"
    margin = " " * (4 + 2 + _NAME_WIDTH + 2)
    lines = folded(printable(check.found), sys.stdout, first=f"XXXX  {name}  ", rest=margin)
    out([f"{state}{lines[0][4:]}", *lines[1:]])
    if check.todo:
        out(folded(printable(check.todo), sys.stdout, first=f"{margin}-> ", rest=f"{margin}   "))
    flush()


def _checks(file: Path | None) -> Iterator[Check]:
    """All of them, the quick ones first."""
    from gateway.commands.checks import machine
    from gateway.commands.checks.rate import shortest_s

    plant, faults = _loaded(file)
    client, document = _running(file, plant)
    yield machine.clock(plant is not None and plant.require_clock)
    yield machine.processor(None if plant is None else shortest_s(plant))
    yield machine.sqlite()
    yield from faults
    if plant is not None:
        yield from _of_files(plant, document)
        yield from _of_parts(plant)
    if client is not None and document is not None:
        yield from _of_gateway(file, document)
    yield from _of_devices(plant, client, document)
    yield from _of_sinks(plant, client, document)


def _loaded(file: Path | None) -> tuple[Plant | None, list[Check]]:
    from gateway.commands.checks.report import Check
    from gateway.config import load

    if file is None:
        return None, []
    _use_credentials(file)
    try:
        plant = load(file)
    except ConfigError as error:
        found = "; ".join(map(str, error.faults[:3]))
        if len(error.faults) > 3:
            found += f"; and {len(error.faults) - 3} more"
        todo = f"gateway check {file}"
        if not os.access(file, os.R_OK):
            todo = f"ask as root, or as the gateway's user: sudo gateway doctor {file}"
        if "CREDENTIALS_DIRECTORY" in found:
            todo = "credentials are only there while the service runs: start it, and ask as root"
        return None, [Check("configuration", "FAIL", found, todo)]
    warned = [Check("configuration", "WARN", text, "") for text in plant.warnings]
    return plant, warned or [Check("configuration", "OK", f"{file}: no faults")]


def _use_credentials(file: Path) -> None:
    """Those of the service that runs this file, where we may read them."""
    unit = "edge-gateway" if file.stem == "gateway" else f"edge-gateway@{file.stem}"
    folder = CREDENTIALS / f"{unit}.service"
    if "CREDENTIALS_DIRECTORY" not in os.environ and os.access(folder, os.R_OK | os.X_OK):
        os.environ["CREDENTIALS_DIRECTORY"] = str(folder)


def _running(file: Path | None, plant: Plant | None) -> tuple[Client | None, Any]:
    """The gateway that runs, and its status; None and None where none answers."""
    from gateway.api.client import Client

    try:
        if plant is not None:
            path = plant.api.socket
        else:
            path = DEFAULT_SOCKET if file is None else socket_of(file)
        client = Client(path, timeout_s=5.0)
        return client, client.get_json("/v1/status")
    except GatewayError:  # also a file that cannot be read at all: it has been said
        return None, None


def _of_files(plant: Plant, document: Any) -> Iterator[Check]:
    from gateway.commands.checks import disk, files

    pid = None if document is None else int(document["gateway"]["pid"])
    user = files.user_of(pid, plant.state_dir)
    wanted = sum(
        int(config.max_bytes if hasattr(config, "max_bytes") else plant.spool.max_bytes)
        for config in plant.sinks.values()
    )
    yield disk.space(plant.state_dir, wanted, disk.used(plant.state_dir))
    yield disk.speed(plant.state_dir)
    yield files.state_folder(plant.state_dir, user)
    yield files.status_socket(plant.api.socket, user, document is not None)
    if plant.api.address is not None:
        yield files.port(plant.api.address, document is not None)
    yield from files.secrets({"api": plant.api, **plant.sinks, **plant.notify}, user)


def _of_parts(plant: Plant) -> Iterator[Check]:
    from gateway.commands.checks.parts import part

    drivers = {driver.config.driver or "modbus" for driver in plant.devices.values()}
    yield from (part("driver", name) for name in sorted(drivers))
    sinks = {config.type for config in plant.sinks.values()}
    yield from (part("sink type", name) for name in sorted(sinks))


def _of_gateway(file: Path | None, document: Any) -> Iterator[Check]:
    from gateway.commands.checks.report import Check

    facts = document["gateway"]
    if file is not None and Path(facts["config"]) != file.absolute():
        found = f"the one that runs there has another file: {facts['config']}"
        yield Check("gateway", "WARN", found, f"gateway doctor {facts['config']}")
        return
    found = f"runs, version {facts['version']}, {document['state']}"
    others = [p for p in document["problems"] if not p.startswith(("device ", "sink "))]
    if others:
        yield Check("gateway", "WARN", f"{found}: {'; '.join(others[:3])}", "gateway status")
    else:
        yield Check("gateway", "OK", found)


def _of_devices(plant: Plant | None, client: Client | None, document: Any) -> Iterator[Check]:
    from gateway.commands.checks import devices
    from gateway.commands.checks.report import in_time

    polled = {} if document is None else document["devices"]
    questions = []
    if client is not None:
        questions += list(devices.running(client, document))
    if plant is not None:
        questions += list(devices.alone(plant, polled))
    yield from in_time(questions, DEVICES_S)
    if plant is not None:
        yield from devices.disabled(plant)


def _of_sinks(plant: Plant | None, client: Client | None, document: Any) -> Iterator[Check]:
    from gateway.commands.checks import sinks
    from gateway.commands.checks.report import Check, in_time

    told = {} if document is None else dict(sinks.running(document))
    yield from (check for check in told.values() if check is not None)
    unknown = {name for name, check in told.items() if check is None}
    if plant is None:
        for name in sorted(unknown):
            yield Check(f"sink {name}", "WARN", "has stored nothing yet", "ask again in a minute")
        return
    wanted = unknown | (plant.sinks.keys() - told.keys())
    yield from in_time(list(sinks.alone(plant, wanted)), SINKS_S)
    yield from _of_spools(plant, client)


def _of_spools(plant: Plant, client: Client | None) -> Iterator[Check]:
    from gateway.commands.checks import rate, sinks
    from gateway.sinks import RemoteSink, find_sink

    remote = {n: c for n, c in plant.sinks.items() if issubclass(find_sink(c.type), RemoteSink)}
    rows, how = dict.fromkeys(remote, rate.rows_per_s(plant)), "by the maps"
    used = dict.fromkeys(remote, 0)
    later = _later(client) if remote and client is not None else None
    if later is not None:
        before, document, past_s = later
        how = "now"
        for name in remote.keys() & document["sinks"].keys():
            first, last = before["sinks"][name], document["sinks"][name]
            rows[name] = max(0, last["rows_accepted"] - first["rows_accepted"]) / past_s
            used[name] = int(last["spool_bytes"] or 0)
    with tempfile.TemporaryDirectory() as folder:
        for name, config in remote.items():
            speed = rate.bytes_per_s(plant, name, config, Path(folder), rows[name])
            yield sinks.spool_time(name, int(plant.spool.max_bytes), speed, used[name], how)


def _later(client: Client) -> tuple[Any, Any, float] | None:
    """The status, the status a moment later, and the seconds between; None: it has ended."""
    try:
        before, begun = client.get_json("/v1/status"), time.monotonic()
        time.sleep(RATE_S)
        return before, client.get_json("/v1/status"), time.monotonic() - begun
    except GatewayError:
        return None
