"""Applies a changed configuration to a running gateway by difference.

Only buses, devices and sinks that differ are restarted. Nothing is touched before the whole new
file is known to be good. Spools are keyed by the sink's name, so what waits for a sink survives any
change of its settings; rows that come while a sink is exchanged wait in its queue.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from gateway import memory
from gateway.config import BusPlan, Plant
from gateway.config.fingerprints import Changes, compare, fingerprint
from gateway.errors import ConfigError, GatewayError
from gateway.model import Table
from gateway.sinks import Sink, find_sink
from gateway.worker import Worker

if TYPE_CHECKING:
    from gateway.runtime import Runtime

log = logging.getLogger("gateway.reload")

STOP_S = 5.0
"""Longest that a worker may take to end before its driver is interrupted, and after that."""

NOTIFIERS_S = 2.0
"""Longest wait for messages that are under way, where a notifier is changed."""

KEPT = ("api", "ingest")
"""Settings that need a restart of the process; all others are applied without them."""

MAX_TOLD_ALARMS = 50

FIXED = ("gateway", "state_dir")
"""Settings on which everything rests: where they change, nothing is applied."""


class Reloader:
    """Loads the file again and applies what differs; one reload at a time."""

    def __init__(self, runtime: Runtime, load: Callable[[], Plant] | None) -> None:
        self._runtime = runtime
        self._load = load
        self.lock = threading.Lock()
        """Held while parts are exchanged; a stop waits for it."""
        self.stopped = False
        self._status: dict[str, Any] = {"count": 0, "ok": True, "changes": [], "faults": []}

    def status(self) -> dict[str, Any]:
        """How the last reload went."""
        return self._status

    def reload(self) -> None:
        """Load and apply. Never raises: how it went is in the status and in the log."""
        with self.lock:
            if self.stopped:
                return
            begun = time.monotonic()
            changes: list[str] = []
            faults: list[str] = []
            try:
                if self._load is None:
                    raise GatewayError("this run cannot be reloaded; restart it")
                changes = self._apply(self._load())
            except ConfigError as error:
                faults = [str(fault) for fault in error.faults]
            except GatewayError as error:
                faults = [str(error)]
            except Exception as error:
                log.exception("a reload failed, which is a bug")
                faults = [f"a bug in the gateway: {error!r}; restart it"]
            took_s = round(time.monotonic() - begun, 3)
            self._status = {
                "count": self._status["count"] + 1,
                "ok": not faults,
                "changes": changes,
                "faults": faults,
                "took_s": took_s,
            }
            if faults:
                log.error(
                    "reload refused, the running configuration stays",
                    extra={"faults": len(faults), "first": faults[0]},
                )
            else:
                text = ", ".join(changes) or "nothing differs"
                log.info("reloaded", extra={"changes": text, "took_s": took_s})

    def renew(self, bus: str) -> None:
        """Give a bus a fresh thread and fresh drivers; its stuck thread is left behind.

        GatewayError where that cannot be: the file is not good any more, or cannot be loaded.
        """
        with self.lock:
            if self.stopped:
                return
            if self._load is None:
                raise GatewayError("this run cannot load its configuration again")
            try:
                self._apply(self._load(), renewed=(bus,))
            except ConfigError as error:
                raise GatewayError(f"{len(error.faults)} faults in the configuration") from error

    def _apply(self, new: Plant, renewed: Sequence[str] = ()) -> list[str]:
        runtime, old = self._runtime, self._runtime.plant
        changes = compare(old.fingerprints, new.fingerprints)
        settings = changes.names("settings", changes.changed, changes.added, changes.removed)
        for key in FIXED:
            if key in settings and not _may_change(old, new, key):
                raise GatewayError(f"'{key}' changed: that needs a restart; nothing was applied")
        sinks = set(changes.names("sink", changes.changed))
        if {"writer", "spool"} & set(settings):
            sinks |= new.sinks.keys() & old.sinks.keys()
        made = {  # a sink that cannot be made stops the reload before anything is touched
            name: find_sink(new.sinks[name].type)(name, new.sinks[name], old.state_dir)
            for name in (*sinks, *changes.names("sink", changes.added))
        }
        kept = {k: v for k, v in old.fingerprints.get("settings", {}).items() if k in KEPT}
        new.fingerprints["settings"] |= kept
        new.api, new.state_dir = old.api, old.state_dir
        new.ingest = old.ingest.model_copy(update={"devices": new.ingest.devices})
        if runtime.intake is not None:
            runtime.intake.config = new.ingest
        stale, fresh = _units(old, new, renewed)
        for name in stale:
            self._end_worker(runtime.workers.pop(name))
        for bus in old.buses:
            for device in bus.devices if bus.name in stale else ():
                runtime.latest.forget(device.name)
        _keep_unchanged(old, new, {b.name for b in new.buses} - set(fresh))
        runtime.plant = new
        memory.tune(has_stream=bool(new.streams))
        runtime.latest_ingested.follow(new.streams.values())
        runtime.streams.update(new.streams)
        runtime.aggregator.update(new.aggregates)
        self._exchange_sinks(made, changes)
        runtime.notifiers.exchange(new.notify, NOTIFIERS_S)
        new.alarms.bind(_tables_of(new))
        runtime.alarms.disable(runtime.disabled())
        runtime.alarms.update(new.alarms)
        for bus in new.buses:
            if bus.name in fresh:
                runtime.add_worker(bus).start()
        told = _short([line for line in changes.lines() if not line.startswith("settings ")])
        told += [f"settings {key}: changed" for key in settings if key not in KEPT]
        return told + [f"settings {key}: needs a restart" for key in settings if key in KEPT]

    def _end_worker(self, worker: Worker) -> None:
        worker.request_stop()
        if not worker.join(1.0):
            worker.interrupt()
            if not worker.join(STOP_S):
                worker.abandon()
                extra = {"bus": worker.name, "at": worker.stack()}
                log.error("the thread of a bus does not end and is left behind", extra=extra)

    def _exchange_sinks(self, made: dict[str, Sink], changes: Changes) -> None:
        runtime = self._runtime
        for name in changes.names("sink", changes.removed):
            runtime.drop_sink(name, runtime.plant.writer.shutdown_s)
        for name, sink in made.items():
            runtime.exchange_sink(name, sink, runtime.plant.writer.shutdown_s)


def _short(lines: list[str]) -> list[str]:
    """The changes, many alarms as one."""
    alarms = [line for line in lines if line.startswith("alarm ")]
    if len(alarms) <= MAX_TOLD_ALARMS:
        return lines
    others = [line for line in lines if not line.startswith("alarm ")]
    return [*others, f"{len(alarms)} alarms: added, removed or changed"]


def _may_change(old: Plant, new: Plant, key: str) -> bool:
    """Whether of ``gateway:`` only that differs which devices carry or the clock asks for."""
    return key == "gateway" and old.name == new.name


def _print_of(plant: Plant, bus: BusPlan) -> str:
    """What the thread of a bus depends on."""
    prints = plant.fingerprints
    settings = prints.get("bus", {}).get(bus.name, "")
    devices = prints.get("device", {})
    return fingerprint(settings, [(d.name, devices.get(d.name)) for d in bus.devices])


def _units(old: Plant, new: Plant, renewed: Sequence[str]) -> tuple[list[str], list[str]]:
    """Buses whose threads are to end, and those whose threads are to begin."""
    before = {bus.name: _print_of(old, bus) for bus in old.buses}
    after = {bus.name: _print_of(new, bus) for bus in new.buses}
    stale = [name for name, its in before.items() if after.get(name) != its or name in renewed]
    fresh = [name for name, its in after.items() if before.get(name) != its or name in renewed]
    return stale, fresh


def _keep_unchanged(old: Plant, new: Plant, same: set[str]) -> None:
    """Put the running drivers, tables and plans into the new plant where nothing differs."""
    running = {bus.name: bus for bus in old.buses}
    new.buses = [running[bus.name] if bus.name in same else bus for bus in new.buses]
    kept = {device.name for name in same for device in running[name].devices}
    new.devices = {n: old.devices[n] if n in kept else d for n, d in new.devices.items()}
    tables = _tables_of(new)
    new.streams = {
        name: old.streams[name] if name in kept else plan.rebound(tables)
        for name, plan in new.streams.items()
    }
    new.aggregates = [
        *(plan for plan in old.aggregates if plan.source.device in kept),
        *(plan for plan in new.aggregates if plan.source.device not in kept),
    ]


def _tables_of(plant: Plant) -> dict[tuple[str, str], Table]:
    """(device, key) -> table, of all that is read and computed."""
    tables = [
        table
        for device in plant.devices.values()
        for group in device.groups
        for table in group.tables
    ]
    tables += [plan.target for plan in plant.aggregates]
    return {(table.device, table.key): table for table in tables}
