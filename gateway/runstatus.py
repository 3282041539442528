"""The status document of the running gateway: what `gateway status` and `/v1/status` tell."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol

from gateway import __version__
from gateway.config import Plant
from gateway.device import DeviceState, count_bad
from gateway.health import Heartbeats, process_status
from gateway.ingest.intake import Intake
from gateway.latest import Latest
from gateway.losses import LossLedger
from gateway.model import OWN_TABLES
from gateway.sinks import Sink
from gateway.streaming import StreamWorker
from gateway.terminal import duration
from gateway.worker import Worker
from gateway.writer import Writer


class Telling(Protocol):
    """A part that tells how it does."""

    def status(self) -> Mapping[str, Any]:
        """Its section of the document."""

    def problems(self) -> list[str]:
        """What a person has to look after."""


class Running(Protocol):
    """What is looked at of the running gateway: `gateway.runtime.Runtime`."""

    plant: Plant
    config_path: Path
    started: float
    clock_synchronised: bool | None
    reload_status: Callable[[], dict[str, Any]] | None
    workers: dict[str, Worker]
    writers: dict[str, Writer]
    sinks: dict[str, Sink]
    ledger: LossLedger
    intake: Intake | None
    heartbeats: Heartbeats

    @property
    def latest(self) -> Latest:
        """The latest row of every table."""

    @property
    def alarms(self) -> Telling:
        """The alarms."""

    @property
    def notifiers(self) -> Telling:
        """Those who are told of them."""


def status_of(runtime: Running) -> dict[str, Any]:
    """The status document; see `gateway.api.view`."""
    devices = {
        d.name: _device_status(runtime, worker, d)
        for worker in list(runtime.workers.values())
        for d in worker.devices
    }
    sinks = {
        name: {**writer.status(), **sink.status()}
        for name, writer in list(runtime.writers.items())
        if (sink := runtime.sinks.get(name)) is not None
    }
    problems = _problems(runtime, devices, sinks)
    return {
        "gateway": {
            "name": runtime.plant.name,
            "version": __version__,
            "pid": os.getpid(),
            "uptime_s": round(time.monotonic() - runtime.started, 1),
            "config": str(runtime.config_path),
            "state_dir": str(runtime.plant.state_dir),
            **process_status(),
        },
        "state": "degraded" if problems else "good",
        "problems": problems,
        "devices": devices,
        "sinks": sinks,
        "alarms": runtime.alarms.status(),
        "notifiers": runtime.notifiers.status(),
        "losses": runtime.ledger.status(),
        "ingest": runtime.intake.status() if runtime.intake else None,
        "clock": {"synchronised": runtime.clock_synchronised},
        "reload": runtime.reload_status() if runtime.reload_status else None,
    }


def _device_status(runtime: Running, worker: Worker, device: DeviceState) -> dict[str, Any]:
    tags = sum(len(t.columns) for g in device.driver.groups for t in g.tables)
    rows = (row for row in runtime.latest.rows(device.name) if row.table.name not in OWN_TABLES)
    tags_bad = sum(map(count_bad, rows))
    state: str = device.state
    if state == "good" and (tags_bad or device.quarantined):
        state = "degraded"
    facts = dict(device.facts)
    if isinstance(worker, StreamWorker):
        facts["stream"] = worker.status()
    return {
        "driver": device.driver.config.driver,
        "bus": worker.name,
        "state": state,
        "reason": device.reason,
        "since_s": round(time.monotonic() - device.since, 3),
        "endpoint": str(facts.pop("endpoint", "")),
        "connects": device.connects,
        "polls": device.polls,
        "errors": device.errors,
        "late_ticks": sum(c.missed for c in device.clocks),
        "lateness_ms": device.lateness.milliseconds(),
        "read_ms": device.reading.milliseconds(),
        "tags": tags,
        "tags_bad": tags_bad,
        "quarantined": [
            {"table": table, "tag": tag, "reason": reason}
            for table, tag, reason in device.quarantined[:100]
        ],
        "facts": facts,
        "groups": [
            {
                "name": c.group.name,
                "interval_s": c.group.interval_s,
                "polls": c.polls,
                "missed": c.missed,
                "too_short": c.is_too_short,
            }
            for c in device.clocks
        ],
    }


def _problems(runtime: Running, devices: dict[str, Any], sinks: dict[str, Any]) -> list[str]:
    problems = []
    for name, device in devices.items():
        if device["state"] == "lost":
            problems.append(f"device {name}: {device['reason']} for {device['since_s']:.0f} s")
        elif device["state"] == "degraded":
            problems.append(f"device {name}: {device['tags_bad']} of {device['tags']} tags bad")
        problems += [
            f"device {name}, group {group['name']}: {group['missed']} polls skipped; "
            f"its interval of {group['interval_s']:g} s is too short"
            for group in device["groups"]
            if group["too_short"]
        ]
    for name, sink in sinks.items():
        if sink["state"] != "good":
            problems.append(f"sink {name}: {sink['error'] or sink['state']}")
    problems += [
        f"sink {name}: damaged files were put aside: {', '.join(sink['put_aside'])}"
        for name, sink in sinks.items()
        if sink.get("put_aside")
    ]
    problems += runtime.alarms.problems()
    problems += runtime.notifiers.problems()
    if runtime.plant.require_clock and runtime.clock_synchronised is False:
        problems.append("the clock of this PC is not synchronised")
    problems += [
        f"{name} has been stuck for {duration(silent_s)}"
        for name, silent_s in runtime.heartbeats.silent().items()
    ]
    return problems
