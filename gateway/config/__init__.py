"""The configuration of a gateway: its file and its device maps become a `Plant`, or all faults."""

from __future__ import annotations

import gc
import os
import pickle
import signal
import traceback
from pathlib import Path
from typing import NoReturn

from gateway.config.plant import BusPlan, Plant
from gateway.driver import Driver, find_driver
from gateway.errors import ConfigError, GatewayError

__all__ = ["BusPlan", "Loading", "Plant", "load", "load_isolated"]


def load(path: Path, mock: bool = False) -> Plant:
    """Read a gateway's file and the maps that it names.

    ``mock``: a mock stands in for every device. ConfigError with all faults of all files.
    """
    # what reads YAML is needed by who loads, not by a daemon that has its plant from a child
    from gateway.config.loader import load_plant
    from gateway.yamlfile import gc_paused
    from gateway.yamlfile.document import tidy

    with gc_paused():
        plant = load_plant(tidy(Path(path).absolute()))
    if mock:
        stand_in = getattr(find_driver("mock"), "stand_in")  # noqa: B009 - only the mock has it
        plant.devices = {n: d if _is_mock(d) else stand_in(d) for n, d in plant.devices.items()}
        plant.buses = [
            BusPlan(b.name, None, [plant.devices[d.name] for d in b.devices]) for b in plant.buses
        ]
    return plant


def _is_mock(driver: Driver) -> bool:
    return isinstance(driver, find_driver("mock"))


class Loading:
    """A configuration that is being loaded in a forked child while this process does other things.

    To be made before this process has any thread. What 60,000 tags cost meanwhile (nodes and
    models, some 250 MB) a process never gives back.
    """

    def __init__(self, path: Path, mock: bool = False) -> None:
        self._path = path
        self._read_end, write_end = os.pipe()
        self._child = os.fork()
        if self._child == 0:
            os.close(self._read_end)
            _load_and_exit(path, mock, write_end)
        os.close(write_end)

    def plant(self) -> Plant:
        """Wait for it; to be called once. ConfigError as from `load`; GatewayError: it died."""
        answer: object = None
        with os.fdopen(self._read_end, "rb") as pipe:
            try:
                answer = pickle.load(pipe)
            except (EOFError, pickle.UnpicklingError):
                answer = None
            finally:
                pipe.close()  # a child that still writes must not wait for us
                _, status = os.waitpid(self._child, 0)
        if isinstance(answer, Plant):
            return answer
        if isinstance(answer, ConfigError):
            raise answer
        if isinstance(answer, str):
            raise GatewayError(f"loading {self._path} failed, which is a bug:\n{answer}")
        code = os.waitstatus_to_exitcode(status)
        how = f"by signal {signal.Signals(-code).name}" if code < 0 else f"with code {code}"
        raise GatewayError(f"the process that loads {self._path} ended {how}; out of memory?")


def load_isolated(path: Path, mock: bool = False) -> Plant:
    """Load in a forked child and wait for it; see `Loading`."""
    return Loading(path, mock).plant()


def _load_and_exit(path: Path, mock: bool, write_end: int) -> NoReturn:
    code = 1
    try:
        gc.disable()
        try:
            answer: object = load(path, mock)
        except ConfigError as error:
            answer = error
        except Exception:
            answer = traceback.format_exc()
        with os.fdopen(write_end, "wb") as pipe:
            pickle.dump(answer, pipe, pickle.HIGHEST_PROTOCOL)
        code = 0
    finally:
        os._exit(code)  # nothing of the parent's may be run at exit
