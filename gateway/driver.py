"""THE driver contract: plain blocking code, and how an installed driver is found by name.

A driver author writes a constructor that parses every address, connect, close and read. The core
owns threads, schedules, backoff, reconnection, logging of outages and marking tags BAD.
"""

from __future__ import annotations

import contextlib
import socket
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

from gateway import plugins
from gateway.errors import Fault, GatewayError, Place
from gateway.model import RESERVED, Block, Channel, Column, Group, Row
from gateway.settings import (
    BusConfig,
    ChannelConfig,
    DeviceConfig,
    HostName,
    Settings,
    TagConfig,
)

__all__ = [
    "BusConfig",
    "ChannelConfig",
    "ChannelSpec",
    "DeviceConfig",
    "DeviceMap",
    "Driver",
    "Endpoint",
    "GroupSpec",
    "HostName",
    "PlannedRequest",
    "PolledDriver",
    "Probe",
    "Settings",
    "Simulation",
    "StreamDriver",
    "StreamSpec",
    "TableSpec",
    "Tag",
    "TagConfig",
    "check_columns",
    "find_driver",
    "installed_drivers",
    "loopback_listener",
]


@dataclass(slots=True)
class Tag:
    """One tag as a driver gets it: placeholders are filled, its module's place is ``base``."""

    name: str
    spec: TagConfig
    place: Place
    base: str | None = None
    """The ``at:`` of the placed module, in full notation; None for a tag of a group."""

    @property
    def address(self) -> str:
        """Absolute address, or the one relative to ``base`` (as text)."""
        given = self.spec.address if self.base is None else self.spec.at
        return "" if given is None else str(given)


@dataclass(slots=True)
class TableSpec:
    """A table to be: its name, its labels and its tags, not yet parsed by the driver."""

    name: str
    labels: tuple[tuple[str, str], ...]
    tags: list[Tag]
    place: Place


@dataclass(slots=True)
class GroupSpec:
    """A group to be: everything that one poll reads."""

    name: str
    interval_s: float
    tables: list[TableSpec]
    place: Place


@dataclass(slots=True)
class ChannelSpec:
    """One channel as a driver gets it: placeholders of its address are filled."""

    name: str
    spec: ChannelConfig
    place: Place


@dataclass(slots=True)
class StreamSpec:
    """A stream to be: the channels that are sampled together, all at one rate."""

    rate_hz: float
    block_s: float
    """How much a block should hold, in seconds; at least one sample."""
    channels: list[ChannelSpec]
    place: Place

    @property
    def block_samples(self) -> int:
        """Samples of each channel in one block, at the rate that is asked for."""
        return max(1, round(self.rate_hz * self.block_s))


@dataclass(slots=True)
class DeviceMap:
    """A device map applied to one device: placeholders filled, modules placed, labels added.

    It has either groups of tags or a stream of channels.
    """

    file: str
    groups: list[GroupSpec] = field(default_factory=list)
    stream: StreamSpec | None = None


@dataclass(slots=True, frozen=True)
class PlannedRequest:
    """One request of a poll, for `gateway plan`: what it asks for and how many bytes come back."""

    text: str
    tags: int
    bytes: int


@dataclass(slots=True, frozen=True)
class Probe:
    """What `gateway probe` found at one address: raw bytes and its readings under several types."""

    address: str
    raw: bytes
    readings: tuple[tuple[str, str], ...]
    """(how it was read, e.g. ``real ABCD``; value as text)."""


@dataclass(slots=True, frozen=True)
class Endpoint:
    """Where a simulated device listens."""

    host: str
    port: int


class Simulation(ABC):
    """Simulated devices of one driver on loopback ports, for `gateway sim`."""

    endpoints: dict[str, Endpoint]
    """Device name -> where it listens."""

    @abstractmethod
    def step(self, time_s: float) -> None:
        """Move every value to its state at ``time_s`` seconds after the start."""

    @abstractmethod
    def close(self) -> None:
        """Stop serving; idempotent."""


def loopback_listener(port: int | None = None) -> socket.socket:
    """Listen on 127.0.0.1: at that port, or at a free one where it is taken or not given."""
    if port is not None:
        with contextlib.suppress(OSError):
            return socket.create_server(("127.0.0.1", port))
    return socket.create_server(("127.0.0.1", 0))


class Driver(ABC):
    """Talks to one device. Never called in parallel, so it holds no lock, retry loop or sleep.

    The constructor is pure: it parses every address and builds ``groups``; it raises ConfigError
    with all faults and does no I/O. Until `connect` a driver can be pickled.
    """

    config_class: ClassVar[type[DeviceConfig]] = DeviceConfig
    tag_class: ClassVar[type[TagConfig] | None] = TagConfig
    """Settings of a tag; None where the driver only streams."""
    channel_class: ClassVar[type[ChannelConfig] | None] = None
    """Settings of a channel, where the driver streams."""
    bus_class: ClassVar[type[BusConfig] | None] = None
    """Set where several devices may share a bus; then ``make_bus`` must be given too."""

    groups: tuple[Group, ...]

    def __init__(
        self, name: str, config: DeviceConfig, device_map: DeviceMap, bus: Any = None
    ) -> None:
        self.name = name
        self.config = config
        self.bus = bus

    @classmethod
    def for_map(cls, device_map: DeviceMap) -> type[Driver]:
        """The class that drives a device of this map, where tags and channels need two."""
        return cls

    @classmethod
    def make_bus(cls, name: str, config: BusConfig) -> Any:
        """The shared connection of a bus; pure, like the constructor."""
        raise ValueError("this driver has no bus")

    @abstractmethod
    def connect(self) -> None:
        """Connect within ``timeout_s`` or raise DeviceUnavailable. May be called again."""

    @abstractmethod
    def close(self) -> None:
        """Drop the connection. Idempotent, safe after a failed connect, never raises."""

    def interrupt(self) -> None:  # noqa: B027 - most drivers need none
        """Free a call that blocks in another thread (socket shutdown). Never raises."""

    def status(self) -> dict[str, Any]:
        """Facts about the device (CPU state, negotiated PDU); no I/O."""
        return {}

    def quarantined(self) -> list[tuple[str, str, str]]:
        """(table key, tag, reason) of tags that are left out of merged reads for now."""
        return []

    def probe(self, address: str) -> Probe:
        """Read one address once, connected or not yet; raises DeviceUnavailable or ValueError."""
        raise ValueError("this driver has no probe; `gateway read` shows its values")

    def redirect(self, endpoint: Endpoint) -> None:
        """Before connect: talk to this endpoint instead of the configured one."""
        raise ValueError("this driver cannot be redirected")

    @classmethod
    def simulate(
        cls, devices: Sequence[Driver], *, ports: Mapping[str, int] | None = None
    ) -> Simulation | None:
        """Serve these devices (all of this driver) on loopback; None: there is no simulator.

        ``ports`` are wishes, by device: taken where they are free.
        """
        return None


class PolledDriver(Driver):
    """A driver whose groups are read one round at a time."""

    @abstractmethod
    def plan(self, group: Group) -> list[PlannedRequest]:
        """The requests of one poll, under the negotiated limits or else the usual ones."""

    @abstractmethod
    def read(self, group: Group) -> list[Row]:
        """Read one round: one row per table of the group, in that order, all with one time.

        A tag that could not be read is marked BAD, never an exception and never an old value.
        Raises DeviceUnavailable when the device is gone; each wait is bounded by ``timeout_s``.
        """


class StreamDriver(Driver):
    """A driver whose channels are sampled without a pause.

    The constructor fills ``channels``, in the order of the rows of a block. ``groups`` are not the
    driver's: the core fills them with the tables of what it makes of the blocks.
    """

    channels: tuple[Channel, ...]
    groups: tuple[Group, ...] = ()
    stream: StreamSpec

    def __init__(
        self, name: str, config: DeviceConfig, device_map: DeviceMap, bus: Any = None
    ) -> None:
        super().__init__(name, config, device_map, bus)
        if device_map.stream is None:
            raise GatewayError(f"driver '{config.driver}' streams; its map needs `stream:`")
        self.stream = device_map.stream

    @abstractmethod
    def read_block(self) -> Block:
        """Wait for the next samples, about ``block_s`` of them.

        Samples that were lost before it are told in ``Block.gap``; where the machine can go on
        after a loss (an overrun), the driver starts it again and goes on. Raises DeviceUnavailable
        when the device is gone or nothing comes within ``block_s`` + ``timeout_s``.
        """


def check_columns(
    spec: TableSpec, columns: Sequence[Column], places: Sequence[Place]
) -> list[Fault]:
    """Faults in the names of a table's columns: twice the same, reserved, or equal to a label."""
    faults: list[Fault] = []
    seen: dict[str, Place] = {}
    labels = {key for key, _ in spec.labels}
    for column, place in zip(columns, places, strict=True):
        if column.name in RESERVED:
            faults.append(place.fault(f"the name '{column.name}' is reserved; choose another"))
        elif column.name in labels:
            faults.append(place.fault(f"the column '{column.name}' has the name of a label"))
        elif column.name in seen:
            first = seen[column.name]
            faults.append(
                place.fault(f"the column '{column.name}' exists already (line {first.line})")
            )
        seen.setdefault(column.name, place)
    return faults


def installed_drivers() -> list[str]:
    """Names of the drivers whose entry points are installed."""
    return plugins.installed("drivers")


def find_driver(name: str) -> type[Driver]:
    """The driver class of that name; GatewayError says what to install or the nearest name."""
    found: type[Driver] = plugins.find("drivers", "driver", name)
    return found
