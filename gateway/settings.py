"""Settings of buses, devices, tags and channels: what every driver's own settings are based on."""

from __future__ import annotations

import re
from ipaddress import ip_address
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field


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


class ChannelConfig(Settings):
    """One channel of a device map's ``stream:``; each driver adds its own fields."""

    address: str | None = Field(None, description="Input in the driver's own notation.")
    unit: str = Field("g", description="Engineering unit of the samples, e.g. g, m/s2, V, degC.")
    full_scale: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = Field(
        None,
        description="Largest value the input can show, in the unit; samples at it are clipped. "
        "Left out: what the driver knows.",
    )
    noise_floor: Annotated[float, Field(ge=0, allow_inf_nan=False)] | None = Field(
        None,
        description="Less RMS than this, in the unit, means a shorted or dead sensor. "
        "Left out: 2e-6 of the full scale.",
    )
