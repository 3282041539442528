"""THE driver contract: plain blocking code, and how an installed driver is found by name.

A driver author writes a constructor that parses every address, connect, close and read. The core
owns threads, schedules, backoff, reconnection, logging of outages and marking tags BAD.
"""

from __future__ import annotations

import contextlib
import re
import socket
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from ipaddress import ip_address
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from gateway import plugins
from gateway.errors import Fault, Place
from gateway.model import RESERVED, Column, Group, Row


class Settings(BaseModel):
    """Base of every settings class: unknown keys are errors, values are fixed after loading."""

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        strict=True,
        populate_by_name=True,
        # validators cost memory, and the daemon loads its configuration in a child process
        defer_build=True,
    )


_HOST = re.compile(r"[\w-]{1,63}(\.[\w-]{1,63})*\.?")


def _host_name(text: str) -> str:
    _, is_url, rest = text.partition("://")
    bare, colon, port = (rest if is_url else text).partition("/")[0].partition(":")
    if is_url:
        raise ValueError(
            f"'{text}' is a URL; expected a name or IP address, e.g. '{bare or 'plc-4'}'"
        )
    if bare and colon and port.isascii() and port.isdigit():
        raise ValueError(f"'{text}' names a port too; write '{bare}' here, and `port: {port}`")
    if re.fullmatch(r"[0-9.]+", text) or text.count(":") > 1:
        try:
            ip_address(text)
        except ValueError:
            expected = "an IPv6 address, without brackets or port"
            if not colon:
                expected = "four numbers from 0 to 255, without leading zeros"
            message = f"'{text}' is not an IP address; expected {expected}"
            raise ValueError(message) from None
        return text
    try:
        if _HOST.fullmatch(text) and len(text) < 254 and text.encode("idna"):
            return text
    except UnicodeError:
        pass
    raise ValueError(f"'{text}' is not a name or IP address; expected e.g. plc-4 or 192.168.0.1")


HostName = Annotated[str, Field(min_length=1), AfterValidator(_host_name)]
"""Setting for a peer: a name that can be looked up, or an IP address; the port is another."""


class BusConfig(Settings):
    """One entry of ``buses:``; the driver that owns it adds its own fields."""

    driver: str = Field(description="Driver that owns the bus, e.g. modbus.")


class DeviceConfig(Settings):
    """One entry of ``devices:``; each driver adds its own fields."""

    driver: str = Field(
        "", description="Driver of the device; may be left out where `bus` says it."
    )
    map: Path = Field(description="Device map, relative to this file.", strict=False)
    with_: dict[str, str | int] = Field(
        default_factory=dict, alias="with", description="Values of the {placeholders} in the map."
    )
    labels: dict[str, str] = Field(default_factory=dict, description="Labels of every row.")
    enabled: bool = Field(True, description="false: checked, but not polled.")
    timeout_s: Annotated[float, Field(gt=0, le=60)] = Field(
        3.0, description="Longest wait for a connection or one answer, in seconds."
    )


class TagConfig(Settings):
    """One tag of a device map; each driver adds its own fields."""

    address: str | None = Field(None, description="Address in the driver's own notation.")
    at: str | float | int | None = Field(
        None, description="In a module: address relative to where the module is placed."
    )
    type: str = Field(description="Type in the device, e.g. real, or real[8] for an array.")
    unit: str | None = Field(None, description="Engineering unit of the scaled value.")
    scale: float = Field(1.0, description="Value = raw x scale + offset.", allow_inf_nan=False)
    offset: float = Field(0.0, description="Value = raw x scale + offset.", allow_inf_nan=False)
    deadband: Annotated[float, Field(ge=0)] | None = Field(
        None, description="Send only changes greater than this, in the tag's unit. 0: any change."
    )
    max_silence_s: Annotated[float, Field(gt=0)] = Field(
        60.0, description="With a deadband: send at least this often, in seconds."
    )
    store: Literal["float", "int"] = Field(
        "float", description="int: keep integers as integers in the sink."
    )


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
class DeviceMap:
    """A device map applied to one device: placeholders filled, modules placed, labels added."""

    file: str
    groups: list[GroupSpec] = field(default_factory=list)


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
    tag_class: ClassVar[type[TagConfig]] = TagConfig
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
    def make_bus(cls, name: str, config: BusConfig) -> Any:
        """The shared connection of a bus; pure, like the constructor."""
        raise NotImplementedError  # only called where bus_class is set

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

    def probe(self, address: str) -> Probe:
        """Read one address once, connected or not yet; raises DeviceUnavailable or ValueError."""
        raise ValueError("this driver has no probe")

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

    def quarantined(self) -> list[tuple[str, str, str]]:
        """(table key, tag, reason) of tags that are left out of merged reads for now."""
        return []


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
