"""The shapes of the answers about the gateway itself, for /openapi.json.

The answers are not built from these. What is said of values: `valueschemas`; of alarms, losses and
access: their own modules.
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from gateway.api import alarmschemas, valueschemas


class _Shape(BaseModel):
    model_config = ConfigDict(extra="allow", defer_build=True)  # only described


class ErrorBody(_Shape):
    """Every answer that is an error."""

    error: str = Field(description="What is wrong.")
    expected: str | None = Field(description="What was expected, or the nearest spelling.")


class Alive(_Shape):
    """The process answers."""

    alive: Literal[True]


class Ready(_Shape):
    """Data flows."""

    ready: Literal[True]
    reason: str


class GatewayFacts(_Shape):
    """The gateway itself."""

    name: str
    version: str
    pid: int
    uptime_s: float
    config: str = Field(description="Path of the configuration.")
    state_dir: str
    cpu_s: float = Field(description="CPU time that the process has used, in seconds.")
    threads: int


class Spread(_Shape):
    """Durations in milliseconds: of the last polls, and the longest since the start."""

    p50: float
    p99: float
    max: float


class Quarantined(_Shape):
    """A tag that the device refuses: BAD, left out of merged reads, tried again slowly."""

    table: str
    tag: str
    reason: str


class GroupStatus(_Shape):
    """What is polled together."""

    name: str
    interval_s: float
    polls: int
    missed: int = Field(description="Polls that were skipped because the one before was late.")
    too_short: bool = Field(description="Lately again and again: the interval is too short.")


class DeviceStatus(_Shape):
    """One device."""

    driver: str
    bus: str
    state: Literal["connecting", "good", "degraded", "lost", "disabled"]
    reason: str | None
    since_s: float | None = Field(description="Seconds since it came into this state.")
    endpoint: str | None = Field(description="Address; empty where there is none.")
    connects: int = Field(description="Connections that were made.")
    polls: int
    errors: int
    late_ticks: int
    lateness_ms: Spread = Field(description="How late polls began.")
    read_ms: Spread = Field(description="How long polls took.")
    tags: int
    tags_bad: int
    quarantined: list[Quarantined]
    facts: dict[str, Any] = Field(description="What the driver tells, e.g. the CPU's state.")
    groups: list[GroupStatus]


class SinkStatus(_Shape):
    """One sink and what waits for it; and more, by its type: where it stores, and how much."""

    type: str
    rows_unchanged: int = Field(
        0, description="Rows that a dead band left out: nothing in them had changed."
    )
    faults: int = Field(0, description="Failures of the writer itself, which are bugs.")
    state: Literal["good", "retrying", "blocked"]
    error: str | None
    rows_accepted: int
    rows_stored: int
    rows_rejected: int
    values_rejected: int = 0
    rows_lost: int
    values_stored: int
    pending_rows: int
    pending_batches: int
    spool_bytes: int | None
    spool_age_s: float | None = Field(description="Age of the oldest batch, in seconds.")
    last_stored_s: float | None = Field(description="Seconds since something was stored.")
    dead_letters: int | None = Field(
        None, description="Refused lines that are kept; absent where nothing can be refused."
    )
    dead_letters_replayed: int | None = Field(
        None, description="Dead letters that the sink has stored after all, since the start."
    )


class Clock(_Shape):
    """The clock of the gateway's PC."""

    synchronised: bool | None = Field(description="By NTP or PTP; null: that cannot be told.")


class ReloadStatus(_Shape):
    """How the last reload of the configuration went."""

    count: int = Field(description="Reloads since the start.")
    ok: bool
    changes: list[str]
    faults: list[str] = Field(description="As `gateway check` prints them.")
    took_s: float | None = Field(None, description="Left out before the first.")


class SenderStatus(_Shape):
    """What came of one sender since the start."""

    messages: int = Field(description="Bodies, or batches.")
    rows: int
    refused: int = Field(description="Lines, or rows.")


class SentDeviceStatus(_Shape):
    """A device of which other programs send rows."""

    state: Literal["connecting", "good", "degraded", "stale"] = Field(
        description="stale: no row of any declared table is newer than 3 of its intervals."
    )
    reason: str | None
    newest_s: float | None = Field(description="Age of its newest row, by the row's own time.")
    tags: int
    tags_bad: int


class IngestStatus(_Shape):
    """Rows of other programs since the start, and what waits."""

    messages: int
    rows: int
    rows_late: int = Field(description="Not newer than what was there: for the sinks alone.")
    refused: int
    messages_by: dict[str, int] = Field(description="By http and grpc.")
    requests: dict[str, dict[str, int]] = Field(
        description="Bodies answered and streams ended, by http and grpc, then by outcome: stored; "
        "partly: some rows were refused; refused: all of it; again: to be sent again."
    )
    refused_by: dict[str, int] = Field(
        description="Of what was refused: form, name, device, time, quality or tables."
    )
    waiting_rows: int = Field(description="Not on disk yet.")
    waiting_batches: int = Field(description="By gRPC, not acknowledged yet.")
    streams: int = Field(description="By gRPC, open now.")
    tables: int = Field(description="Tables that senders have made.")
    max_tables: int
    waiting_cells: int = Field(description="What is not on disk yet, in cells of 4 bytes.")
    senders: dict[str, SenderStatus] = Field(description="By name of the token.")
    devices: dict[str, SentDeviceStatus] = Field(description="Of which rows came, or are to come.")


class StatusDocument(_Shape):
    """How everything is, at one moment."""

    gateway: GatewayFacts
    state: Literal["good", "degraded"]
    problems: list[str]
    devices: dict[str, DeviceStatus]
    sinks: dict[str, SinkStatus]
    alarms: alarmschemas.AlarmStatus
    notifiers: dict[str, alarmschemas.NotifierStatus] = Field(
        description="Those who are told of alarms, by name."
    )
    losses: dict[str, int] = Field(description="Rows lost since the start, by cause.")
    ingest: IngestStatus | None = Field(
        None, description="Rows of other programs; null: none are taken."
    )
    clock: Clock
    reload: ReloadStatus | None = Field(description="The last reload; null: none can be done.")


class ColumnShape(_Shape):
    """One tag."""

    name: str
    kind: Literal["f4", "f8", "i8", "u8", "b1", "str"] = Field(
        description="float32, float64, int64, uint64, bool or text."
    )
    unit: str | None


class TableShape(_Shape):
    """One table of a group."""

    key: str = Field(description="Unique within the device; what `table=` takes.")
    name: str
    labels: dict[str, str]
    columns: list[ColumnShape]


class GroupShape(_Shape):
    """What is polled together."""

    name: str
    interval_s: float
    tables: list[TableShape]


class DeviceShape(_Shape):
    """One device and its tags."""

    name: str
    driver: str
    state: str
    groups: list[GroupShape]


class Devices(_Shape):
    """All configured devices."""

    devices: list[DeviceShape]


def reference(shape: type[BaseModel]) -> dict[str, str]:
    """The reference to a shape among the components of /openapi.json."""
    return {"$ref": f"#/components/schemas/{shape.__name__}"}


TAIL_LINE = {"oneOf": [reference(valueschemas.TagValue), reference(valueschemas.Dropped)]}
"""A line of /v1/tail."""

ONLY_REFERRED: tuple[type[BaseModel], ...] = (ErrorBody, valueschemas.Dropped)
"""Shapes that no route returns as its whole answer."""


class RunningConfig(_Shape):
    """What the running configuration is made of."""

    fingerprints: dict[str, dict[str, str]] = Field(
        description="Kind (device, bus, sink, settings) -> name -> hash."
    )
    settings: dict[str, Any] = Field(
        description="Settings by section, with defaults, as they run; *** stands for a secret."
    )
