"""Finds threads of buses that are stuck in a vendor's library, and gives their devices fresh ones.

The watchdog of systemd restarts the whole process; this one costs only the bus that is stuck.
"""

from __future__ import annotations

import logging
from collections import Counter
from typing import TYPE_CHECKING

from gateway.errors import GatewayError
from gateway.terminal import duration

if TYPE_CHECKING:
    from gateway.reload import Reloader
    from gateway.runtime import Runtime

log = logging.getLogger("gateway.watchdog")

RENEWALS = 3
"""A bus that is stuck once more after so many fresh threads ends the process: a new one may help,
and threads that are left behind are not for ever."""


class Watchdog:
    """Looks at the heartbeats of the buses; not for two threads at a time."""

    def __init__(self, runtime: Runtime, reloader: Reloader) -> None:
        self._runtime = runtime
        self._reloader = reloader
        self._renewed: Counter[str] = Counter()
        self._told: set[str] = set()

    def look(self) -> None:
        """Renew what is stuck. GatewayError where only a new process can help."""
        runtime = self._runtime
        silent = runtime.heartbeats.silent()
        self._told &= silent.keys()
        for name, worker in list(runtime.workers.items()):
            silent_s = silent.get(name)
            if silent_s is None:
                continue
            if name not in self._told:
                self._told.add(name)
                where = worker.stack()
                log.error("stuck", extra={"bus": name, "silent_s": round(silent_s, 1), "at": where})
                words = f"no sign of life for {duration(silent_s)}; at {where}"
                runtime.events.record("stuck", name, words)
            if self._renewed[name] >= RENEWALS:
                raise GatewayError(f"bus '{name}' is stuck after {RENEWALS} fresh threads")
            self._renewed[name] += 1
            try:
                self._reloader.renew(name)
            except GatewayError as error:
                raise GatewayError(
                    f"bus '{name}' is stuck and cannot be renewed: {error}"
                ) from error
            self._told.discard(name)
            log.warning("a stuck bus has a fresh thread", extra={"bus": name})
