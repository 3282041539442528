"""What `gateway run` does: loads the configuration, runs the daemon and says where it is.

Without the command line's own parts, so that a service is not made to keep them: see
`gateway.__main__`.
"""

from __future__ import annotations

import contextlib
import faulthandler
import gc
import logging
import os
import resource
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from gateway import logs
from gateway.commands.printing import WrongUsage, say

log = logging.getLogger("gateway.run")

if TYPE_CHECKING:
    from gateway.api.app import Api
    from gateway.config import Plant


def run_gateway(file: Path, *, mock: bool = False, on_sim: bool = False) -> int:
    """Run until SIGTERM or Ctrl-C; the exit code."""
    if mock and on_sim:
        raise WrongUsage("--mock and --sim exclude each other")
    # before numpy comes: its BLAS would start threads whose spinning costs more than they bring
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    logs.setup()
    # the watchdog of systemd ends a process that hangs with SIGABRT: it says where all threads are
    faulthandler.enable()
    # a core dump would hold tokens
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    # it would look through all that is installed for plugins, and there are none
    os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")
    gc.disable()  # what is imported stays: looking for garbage in it is a tenth of the start
    try:
        from gateway.config import Loading

        loading = Loading(file, mock=mock)
        # meanwhile all that is needed later: nothing is imported while machines are polled
        from gateway.commands.welcome import welcome
        from gateway.config.export import load_elsewhere
        from gateway.daemon import run as run_daemon
    finally:
        gc.enable()
    gc.freeze()
    plant = loading.plant()
    path = file.absolute()
    if mock or on_sim:
        how = "--mock" if mock else "--sim"
        plant.state_dir /= how.strip("-")  # what is invented stays out of the plant's history
        log.warning("the values are invented, but stored like real ones", extra={"by": how})
    with _simulated(plant, file) if on_sim else contextlib.nullcontext(None) as simulated:
        invented = mock or bool(simulated)
        return run_daemon(
            plant,
            config_path=file.resolve(),
            announce=lambda app: _announce(
                plant, file, app, lambda code: welcome(plant, file, invented=invented, code=code)
            ),
            load=None if on_sim else lambda: load_elsewhere(path, mock),
        )


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
