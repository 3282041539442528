"""Devices that somebody has switched off while the gateway runs: which, by whom and why, on disk.

Such a device is not asked until it is switched on again, neither after a reload nor after a
restart: whoever works on a machine must not find it polled because of somebody else's edit.
"""

from __future__ import annotations

import json
import logging
import os
import threading
import time
from collections.abc import Collection
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeout
from pathlib import Path
from typing import Any, TypedDict

from gateway.errors import DeviceUnavailable, GatewayError
from gateway.worker import Worker

log = logging.getLogger("gateway.switching")

FILE = "switched_off.json"


class SwitchedOff(TypedDict):
    """Why a device is off."""

    who: str
    why: str
    time_ns: int


class Switches:
    """The devices that are switched off. Its file is read once; a damaged one is put aside."""

    def __init__(self, state_dir: Path) -> None:
        self._path = state_dir / FILE
        self._lock = threading.Lock()
        self._off: dict[str, SwitchedOff] | None = None

    def hold(self, worker: Worker) -> None:
        """Let a worker that is not started yet leave alone those of its devices that are off."""
        with self._lock:
            off = self._read()
            for device in worker.devices:
                if (about := off.get(device.name)) and device.state != "disabled":
                    device.attempted = True
                    device.turn("disabled", _reason(about))

    def names(self) -> frozenset[str]:
        """The devices that are off; not kept waiting by one that is being switched."""
        off = self._off
        if off is None:
            with self._lock:
                off = self._read()
        return frozenset(off)

    def switch(
        self,
        worker: Worker,
        name: str,
        enabled: bool,
        who: str,
        why: str,
        *,
        known: Collection[str],
        within_s: float,
    ) -> None:
        """Switch a device on or off, and wait until its thread has done it.

        ``known``: all devices that there are; what is noted of others is dropped.

        Raises:
            DeviceUnavailable: its thread had no time for that; nothing was changed.
            GatewayError: it cannot be noted on disk; nothing was changed.
        """
        about: SwitchedOff = {"who": who, "why": why, "time_ns": time.time_ns()}
        with self._lock:
            before = self._read()
            after = {n: a for n, a in before.items() if n != name and n in known}
            if not enabled:
                after[name] = about
            # on disk first: a worker that a reload makes meanwhile has to know of it
            self._write(after)
            self._off = after
            future = worker.switch(name, enabled, "" if enabled else _reason(about))
            try:
                _wait(future, within_s)
            except BaseException:
                self._write(before)
                self._off = before
                raise

    def _read(self) -> dict[str, SwitchedOff]:
        if self._off is None:
            self._off = {}
            try:
                document = json.loads(self._path.read_bytes())
                self._off = {str(name): _checked(about) for name, about in document.items()}
            except FileNotFoundError:
                pass
            except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
                detail = f"{self._path}: {error!r}; all devices are asked"
                log.error("it is not known which devices are off", extra={"detail": detail})
        return self._off

    def _write(self, off: dict[str, SwitchedOff]) -> None:
        made = self._path.with_suffix(".new")
        try:
            with made.open("w", encoding="utf-8") as file:
                json.dump(off, file, ensure_ascii=False, indent=1)
                file.flush()
                os.fsync(file.fileno())
            made.replace(self._path)
        except OSError as error:
            raise GatewayError(f"{self._path}: cannot be written: {error.strerror}") from error


def _checked(about: Any) -> SwitchedOff:
    who, why, time_ns = str(about["who"]), str(about["why"]), int(about["time_ns"])
    return {"who": who, "why": why, "time_ns": time_ns}


def _reason(about: SwitchedOff) -> str:
    return f"switched off by {about['who']}: {about['why']}"


def _wait(future: Future[None], within_s: float) -> None:
    try:
        future.result(within_s)
    except FutureTimeout:
        if not future.cancel():  # it has begun just now, and takes no time
            future.result(within_s)
            return
        raise DeviceUnavailable("busy", f"no turn on its bus within {within_s:g} s") from None
