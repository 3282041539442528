"""The settings of a Modbus device, of a bus that several share, and of a tag."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, WithJsonSchema, model_validator

from drivers.modbus.frames import MAX_BITS, MAX_REGISTERS
from drivers.modbus.types import Order
from gateway.driver import BusConfig, DeviceConfig, HostName, Settings, TagConfig

Unit = Annotated[int, Field(ge=0, le=255)]
Pause = Annotated[float, Field(ge=0, le=10)]

_ONLY_HOST = frozenset({"port", "transport"})
_ONLY_SERIAL = frozenset({"baud", "parity", "stop_bits", "data_bits"})
_LINE = frozenset({"host", "serial"}) | _ONLY_HOST | _ONLY_SERIAL


class Line(Settings):
    """Where the units are: a TCP address or a serial port."""

    host: HostName | None = Field(
        None, description="Name or address of the device or of its gateway (TCP)."
    )
    port: Annotated[int, Field(ge=1, le=65535)] = Field(502, description="TCP port of `host`.")
    transport: Literal["tcp", "rtu_over_tcp"] = Field(
        "tcp",
        description="With `host`: tcp is Modbus/TCP; rtu_over_tcp is for converters that pass the "
        "serial bytes on as they are.",
    )
    serial: str | None = Field(
        None, min_length=1, description="Serial port that speaks RTU, e.g. /dev/ttyUSB0."
    )
    baud: Annotated[int, Field(ge=50, le=4_000_000)] = Field(
        19200, description="Bits per second of `serial`."
    )
    parity: Literal["none", "even", "odd"] = Field("even", description="Parity of `serial`.")
    stop_bits: Literal[1, 2] = Field(1, description="Stop bits of `serial`.")
    data_bits: Literal[8] = Field(8, description="Data bits of `serial`; RTU knows only 8.")
    pause_after_connect_s: Pause = Field(
        0.0, description="Wait this long after connecting before the first request, in seconds."
    )
    pause_between_requests_s: Pause = Field(
        0.0, description="Wait this long between an answer and the next request, in seconds."
    )

    @property
    def is_rtu(self) -> bool:
        """Whether frames carry a checksum and no transaction number."""
        return self.serial is not None or self.transport == "rtu_over_tcp"

    @property
    def endpoint(self) -> str:
        """Where it is, for people."""
        return self.serial or f"{self.host}:{self.port}"

    def check_line(self) -> None:
        """ValueError unless exactly one of host and serial is given, with its own settings."""
        given = self.model_fields_set
        if self.host is None and self.serial is None:
            raise ValueError("expected 'host' (Modbus/TCP) or 'serial' (RTU)")
        if self.host is not None and self.serial is not None:
            raise ValueError("'host' and 'serial' exclude each other; keep one")
        for field in sorted(given & (_ONLY_HOST if self.serial else _ONLY_SERIAL)):
            other = "host" if self.serial else "serial"
            raise ValueError(f"'{field}' belongs to '{other}', which is not given")


def check_unit(unit: int, line: Line) -> str:
    """Why that unit cannot be on that line; empty if it can."""
    if line.is_rtu and not 1 <= unit <= 247:
        return f"unit {unit} cannot be on a serial line; expected 1 to 247 (0 is broadcast)"
    return ""


class ModbusBusConfig(BusConfig, Line):
    """A line or a converter that several units share, polled by one thread."""

    timeout_s: Annotated[float, Field(gt=0, le=60)] = Field(
        3.0, description="Longest wait for a connection or one answer, in seconds."
    )

    @model_validator(mode="after")
    def _check(self) -> ModbusBusConfig:
        self.check_line()
        return self


class ModbusConfig(DeviceConfig, Line):
    """One unit: with a connection of its own, or on a bus."""

    bus: str | None = Field(
        None, description="Entry of `buses:` that the unit is on; instead of `host` and `serial`."
    )
    unit: Unit = Field(1, description="Unit (slave) number; 1 to 247 on serial lines.")
    order: Order = Field(
        "ABCD", description="Byte and word order of all tags that give none of their own."
    )
    max_registers: Annotated[int, Field(ge=1, le=MAX_REGISTERS)] = Field(
        MAX_REGISTERS, description="Most registers in one request."
    )
    max_coils: Annotated[int, Field(ge=1, le=MAX_BITS)] = Field(
        MAX_BITS, description="Most coils or discrete inputs in one request."
    )
    max_gap: Annotated[int, Field(ge=0, le=MAX_REGISTERS)] = Field(
        8,
        description="Unused registers that are read along to save a request; 16 times as many "
        "coils. 0: none.",
    )
    one_request_per_tag: bool = Field(
        False, description="Ask for every tag on its own, for devices that need it."
    )

    @model_validator(mode="after")
    def _check(self) -> ModbusConfig:
        if self.bus is None:
            if self.host is None and self.serial is None:
                raise ValueError("expected 'host' (Modbus/TCP), 'serial' (RTU) or 'bus'")
            self.check_line()
            fault = check_unit(self.unit, self)
            if fault:
                raise ValueError(fault)
            return self
        for field in sorted(self.model_fields_set & _LINE):
            raise ValueError(f"'{field}' belongs to the bus '{self.bus}'; set it there")
        return self


def _address(value: Any) -> Any:
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    if isinstance(value, float):
        raise ValueError(f"write the address in quotes: '{value}' (YAML drops a bit's last 0)")
    return value


def _at(value: Any) -> Any:
    if isinstance(value, float) and round(value % 1, 6) == 0.1:
        raise ValueError(
            f"{value}: bit 1 or bit 10 (YAML drops the last 0)? "
            f"write at: '{value}' or at: '{value}0'"
        )
    return value


class ModbusTag(TagConfig):
    """One tag of a map for Modbus devices."""

    address: Annotated[
        str | None,
        BeforeValidator(_address),
        WithJsonSchema({"anyOf": [{"type": "string"}, {"type": "integer"}, {"type": "null"}]}),
    ] = Field(
        None,
        description="holding:0, input:0, coil:0, discrete:0 (from 0), a bit as holding:5.3, or "
        "Modicon 40001 and 400001 (from 1).",
    )
    at: Annotated[str | float | int | None, BeforeValidator(_at)] = Field(
        None, description="In a module: registers from its start, e.g. 4, or '4.3' for a bit."
    )
    order: Order | None = Field(
        None, description="Byte and word order of this tag, where not the device's."
    )
