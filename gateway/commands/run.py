"""`gateway run` and `gateway sim`: the daemon, and simulated devices to rehearse a map with."""

from __future__ import annotations

import contextlib
import faulthandler
import logging
import os
import resource
import shlex
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gateway import logs
from gateway.commands.console import (
    AsJson,
    ConfigFile,
    WrongUsage,
    complain,
    flush,
    out,
    out_json,
    say,
    table,
)
from gateway.terminal import count

log = logging.getLogger("gateway.run")

if TYPE_CHECKING:
    from gateway.api.app import Api
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
    if mock and on_sim:
        raise WrongUsage("--mock and --sim exclude each other")
    # before numpy comes: its BLAS would start threads whose spinning costs more than they bring
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    logs.setup()
    # the watchdog of systemd ends a process that hangs with SIGABRT: it says where all threads are
    faulthandler.enable()
    # a core dump would hold tokens
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    # all that is needed later, too: nothing is imported while machines are polled
    from gateway.commands.welcome import welcome
    from gateway.config import load_isolated
    from gateway.config.export import load_elsewhere
    from gateway.daemon import run as run_daemon

    plant = load_isolated(file, mock=mock)
    path = file.absolute()
    if mock or on_sim:
        how = "--mock" if mock else "--sim"
        plant.state_dir /= how.strip("-")  # what is invented stays out of the plant's history
        log.warning("the values are invented, but stored like real ones", extra={"by": how})
    with _simulated(plant, file) if on_sim else contextlib.nullcontext(None) as simulated:
        invented = mock or bool(simulated)
        code = run_daemon(
            plant,
            config_path=file.resolve(),
            announce=lambda app: _announce(
                plant, file, app, lambda code: welcome(plant, file, invented=invented, code=code)
            ),
            load=None if on_sim else lambda: load_elsewhere(path, mock),
        )
    raise typer.Exit(code)


def _announce(plant: Plant, file: Path, app: Api, welcome: Callable[[str | None], str]) -> None:
    if not logs.in_journal(sys.stderr):
        # only to a terminal: whoever reads a log later is not asked to sign in
        say(welcome(app.first_code() if sys.stderr.isatty() else None))
        return
    where = {"socket": str(plant.api.socket), "listen": str(plant.api.address or "")}
    log.info("running", extra={"config": str(file), "devices": len(plant.devices), **where})


@contextlib.contextmanager
def _simulated(plant: Plant, file: Path) -> Iterator[bool]:
    from gateway.sim import SimProcess, find_simulator, redirect

    drivers = plant.devices.values()
    endpoints = find_simulator(file)
    if endpoints is not None:
        redirect(drivers, endpoints)
        yield True
        return
    process = SimProcess(file)
    try:
        redirect(drivers, process.endpoints)
        yield True
    finally:
        process.close()


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
