"""The gateway's file as settings, and the plant that it becomes."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from pydantic import BaseModel, Field

from gateway.alarms.notify import NotifierConfig
from gateway.alarms.notify.settings import NotifyConfig
from gateway.alarms.rules import AlarmPlan
from gateway.alarms.settings import AlarmsConfig
from gateway.analysis.aggregates import AggregatePlan
from gateway.analysis.plan import StreamPlan
from gateway.api.settings import ApiConfig
from gateway.config.fingerprints import Fingerprints
from gateway.driver import BusConfig, DeviceConfig, Driver, Settings
from gateway.ingest.settings import IngestConfig
from gateway.sinks import SinkConfig
from gateway.spool import SpoolConfig
from gateway.writer import WriterConfig


class GatewayConfig(Settings):
    """``gateway:``, what this gateway is called."""

    name: str = Field(description="Name of this gateway; the label `gateway` of every row.")
    labels: dict[str, str] = Field(
        default_factory=dict, description="Labels of every row of every device."
    )
    require_clock: bool = Field(
        False,
        description="true: values are UNCERTAIN `clock` while this PC's clock is not synchronised. "
        "The status tells the state of the clock either way.",
    )


class FileConfig(Settings):
    """The gateway's file."""

    gateway: GatewayConfig = Field(description="What this gateway is called.")
    state_dir: Path = Field(
        Path("/var/lib/edge-gateway"),
        description="Folder of spools, historian and alarm state; locked by the daemon.",
    )
    api: ApiConfig = Field(
        default_factory=partial(ApiConfig.model_validate, {}),
        description="Status socket, live page and metrics.",
    )
    writer: WriterConfig = Field(
        default_factory=partial(WriterConfig.model_validate, {}),
        description="How rows become batches.",
    )
    spool: SpoolConfig = Field(
        default_factory=partial(SpoolConfig.model_validate, {}),
        description="Bounds of what waits for each sink.",
    )
    ingest: IngestConfig = Field(
        default_factory=partial(IngestConfig.model_validate, {}),
        description="Rows from other programs.",
    )
    sinks: dict[str, SinkConfig] = Field(description="Where the data goes, by name.")
    buses: dict[str, BusConfig] = Field(
        default_factory=dict, description="Connections that several devices share, by name."
    )
    devices: dict[str, DeviceConfig] = Field(description="What is read, by name.")
    alarms: AlarmsConfig = Field(
        default_factory=partial(AlarmsConfig.model_validate, {}),
        description="Rules over live values, and how alarms are kept.",
    )
    notify: dict[str, NotifyConfig] = Field(
        default_factory=dict, description="Who is told of alarms, by name."
    )


@dataclass(slots=True)
class BusPlan:
    """What one thread polls: the enabled devices of a bus, or one device that has none."""

    name: str
    bus: Any
    devices: list[Driver]


@dataclass(slots=True)
class Plant:
    """A checked configuration, ready to run; can be pickled."""

    file: Path
    name: str
    labels: dict[str, str]
    state_dir: Path
    require_clock: bool
    api: ApiConfig
    writer: WriterConfig
    spool: SpoolConfig
    sinks: dict[str, SinkConfig]
    ingest: IngestConfig = field(default_factory=partial(IngestConfig.model_validate, {}))
    buses: list[BusPlan] = field(default_factory=list)
    devices: dict[str, Driver] = field(default_factory=dict)
    """All devices, those that are not enabled too."""
    streams: dict[str, StreamPlan] = field(default_factory=dict)
    """What becomes of the blocks of each device that streams."""
    aggregates: list[AggregatePlan] = field(default_factory=list)
    alarms: AlarmPlan = field(default_factory=AlarmPlan)
    notify: dict[str, NotifierConfig] = field(default_factory=dict)
    """Who is told of alarms, by name."""
    fingerprints: Fingerprints = field(default_factory=dict)
    """What each part depends on: a reload restarts only what differs."""
    files: list[Path] = field(default_factory=list)
    """All files that were read."""
    warnings: list[str] = field(default_factory=list)

    def settings(self) -> dict[str, Any]:
        """What was configured and by default, by section, as plain values."""

        def plain(config: Any) -> Any:
            return config.model_dump(mode="json") if isinstance(config, BaseModel) else str(config)

        return {
            "files": [str(path) for path in self.files],
            "gateway": {
                "name": self.name,
                "labels": self.labels,
                "require_clock": self.require_clock,
            },
            "state_dir": str(self.state_dir),
            "api": plain(self.api),
            "writer": plain(self.writer),
            "spool": plain(self.spool),
            "ingest": plain(self.ingest),
            "sinks": {name: plain(sink) for name, sink in self.sinks.items()},
            "devices": {name: plain(driver.config) for name, driver in self.devices.items()},
            "notify": {name: plain(config) for name, config in self.notify.items()},
        }
