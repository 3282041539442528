"""`gateway run` and `gateway sim`: the daemon, and simulated devices to rehearse a map with."""

from __future__ import annotations

import contextlib
import os
import shlex
import signal
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gateway.commands.console import (
    AsJson,
    ConfigFile,
    complain,
    flush,
    out,
    out_json,
    say,
    table,
)
from gateway.commands.service import run_gateway
from gateway.terminal import count

if TYPE_CHECKING:
    from gateway.config import Plant
    from gateway.sim import Simulators


def run(
    file: ConfigFile,
    mock: Annotated[
        bool, typer.Option("--mock", help="Replace every device by a mock with likely values.")
    ] = False,
    on_sim: Annotated[
        bool, typer.Option("--sim", help="Poll simulated devices: `gateway sim FILE`, or its own.")
    ] = False,
) -> None:
    """Run the gateway until SIGTERM or Ctrl-C."""
    raise typer.Exit(run_gateway(file, mock=mock, on_sim=on_sim))


def sim(
    file: ConfigFile,
    as_json: AsJson = False,
    attached: Annotated[
        bool, typer.Option("--attached", hidden=True, help="End when stdin closes.")
    ] = False,
) -> None:
    """Serve simulated devices, to rehearse a map.

    Every S7 and Modbus device of the file, on loopback ports that are printed, with values that
    move five times a second, until Ctrl-C.
    """
    from gateway.config import load
    from gateway.sim import Simulators, announced, usual_ports

    plant = load(file)
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    if attached:
        threading.Thread(target=_wait_for_end, args=(stop,), daemon=True).start()
    simulators = Simulators(plant.devices.values(), usual_ports(file, plant.devices))
    notice = contextlib.nullcontext() if attached else announced(file, simulators.endpoints)
    try:
        with notice:
            _tell(plant, file, simulators, as_json)
            simulators.serve(stop)
    finally:
        simulators.close()


def _wait_for_end(stop: threading.Event) -> None:
    while os.read(0, 4096):
        pass
    stop.set()


def _tell(plant: Plant, file: Path, simulators: Simulators, as_json: bool) -> None:
    endpoints = simulators.endpoints
    if as_json:
        from gateway.sim import as_objects

        out_json({"endpoints": as_objects(endpoints), "without": simulators.without})
        return
    rows = [
        [name, plant.devices[name].config.driver, f"{endpoint.host}:{endpoint.port}"]
        for name, endpoint in endpoints.items()
    ]
    if rows:
        out(table(rows, ("DEVICE", "DRIVER", "ENDPOINT")))
        flush()
    for name in simulators.without:
        driver = plant.devices[name].config.driver
        complain(f"device '{name}': driver {driver} has no simulator", "note")
    if not rows:
        say("nothing to serve")
        raise typer.Exit
    from gateway.commands.welcome import typed_command

    gateway, name = typed_command(), shlex.quote(str(file))
    first = shlex.quote(next(iter(endpoints)))
    say(
        f"\nServing {count(len(rows), 'device')} with moving values until Ctrl-C. "
        "In another terminal:\n"
        f"  {gateway} read --sim {name} {first}    read it once\n"
        f"  {gateway} run --sim {name}    run the gateway against it"
    )
