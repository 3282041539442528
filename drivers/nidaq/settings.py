"""The settings of an NI device and of its channels, and what NI-DAQmx is told of each channel."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any, Final, Literal, TypeAlias

from pydantic import Field, TypeAdapter, ValidationError, field_validator, model_validator

from gateway.driver import ChannelConfig, DeviceConfig, Endpoint, HostName

Kind: TypeAlias = Literal["accelerometer", "voltage", "iepe_voltage", "thermocouple", "rtd"]
Finite = Annotated[float, Field(allow_inf_nan=False)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]

G: Final = 9.80665
"""Standard gravity in m/s2 (ISO 80000-3)."""

_ADDRESS = re.compile(r"(?:\[([^\[\]]+)\]|([^:\[\]]+)):([0-9]{1,5})", re.ASCII)

_UNITS: Final[dict[str, tuple[str, ...]]] = {
    "accelerometer": ("g", "m/s2"),
    "thermocouple": ("degC",),
    "rtd": ("degC",),
}
"""What NI-DAQmx is asked to scale to; the first is the usual one. Volts are scaled here."""

_VOLTS: Final = ("voltage", "iepe_voltage")
_TYPES_OF: Final[dict[str, tuple[str, ...]]] = {
    "sensitivity_mv_per_g": ("accelerometer",),
    "excitation_ma": ("accelerometer", "iepe_voltage", "rtd"),
    "coupling": ("accelerometer", *_VOLTS),
    "terminal": ("accelerometer", *_VOLTS),
    "range_v": ("accelerometer", *_VOLTS),
    "min": (*_VOLTS, "thermocouple", "rtd"),
    "max": (*_VOLTS, "thermocouple", "rtd"),
    "scale": _VOLTS,
    "offset": _VOLTS,
    "thermocouple_type": ("thermocouple",),
    "cold_junction_degc": ("thermocouple",),
    "rtd_type": ("rtd",),
    "wires": ("rtd",),
    "r0_ohm": ("rtd",),
}
"""Which types a setting is for; those that are not here are for all."""

_THERMOCOUPLE_DEGC: Final[dict[str, tuple[float, float]]] = {
    "B": (250.0, 1820.0),
    "E": (-200.0, 1000.0),
    "J": (-200.0, 1200.0),
    "K": (-200.0, 1370.0),
    "N": (-200.0, 1300.0),
    "R": (-50.0, 1760.0),
    "S": (-50.0, 1760.0),
    "T": (-200.0, 400.0),
}
"""Usual limits, within the ranges of IEC 60584-1."""

_RTD_DEGC: Final = (-200.0, 850.0)
"""The range of IEC 60751."""


def parse_endpoint(text: str) -> Endpoint:
    """Where a gRPC server is: ``host:port``, or ``[address]:port`` for IPv6; else ValueError."""
    found = _ADDRESS.fullmatch(text)
    if found is None or not 1 <= int(found[3]) <= 65535:
        raise ValueError(
            f"'{text}' is not host and port; expected e.g. 'daq-pc:31763' or '[fd00::7]:31763'"
        )
    host: str = TypeAdapter(HostName).validate_python(found[1] or found[2])
    return Endpoint(host, int(found[3]))


class NidaqConfig(DeviceConfig):
    """One card, or one chassis with modules that are sampled together."""

    grpc: str | None = Field(
        None,
        description="NI gRPC Device Server that has the card, e.g. 'daq-pc:31763'. Left out: the "
        "NI-DAQmx runtime of this computer.",
    )
    grpc_ca_file: Path | None = Field(
        None,
        description="Certificate (PEM) to know the server by, if it speaks TLS. Left out: no TLS.",
        strict=False,
    )
    timeout_s: Annotated[float, Field(gt=0, le=60)] = Field(
        5.0,
        description="Longest wait for the card or its server, beyond what the samples take, "
        "in seconds.",
    )
    buffer_s: Annotated[float, Field(ge=5, le=600)] = Field(
        10.0, description="Samples that NI-DAQmx keeps until they are read, in seconds."
    )

    @field_validator("grpc")
    @classmethod
    def _check_grpc(cls, value: str | None) -> str | None:
        if value is not None:
            try:
                parse_endpoint(value)
            except ValidationError as error:
                found = error.errors()[0]
                raise ValueError(str(found.get("ctx", {}).get("error", found["msg"]))) from None
        return value

    @model_validator(mode="after")
    def _check_ca(self) -> NidaqConfig:
        if self.grpc_ca_file is not None and self.grpc is None:
            raise ValueError("'grpc_ca_file' belongs to 'grpc', which is not given")
        return self

    @property
    def endpoint(self) -> Endpoint | None:
        """Where the gRPC server is; None: the runtime of this computer."""
        return None if self.grpc is None else parse_endpoint(self.grpc)


class NidaqChannel(ChannelConfig):
    """One analogue input and the sensor at it."""

    address: str | None = Field(
        None, description="Physical channel, e.g. cDAQ1Mod1/ai0, as NI MAX or `nilsdev` shows it."
    )
    unit: str = Field(
        "", description="Unit of the samples. Left out: g, V or degC, as the type has it."
    )
    type: Kind = Field(
        description="accelerometer (IEPE), voltage, iepe_voltage (volts of a sensor that is fed by "
        "a constant current), thermocouple or rtd."
    )
    sensitivity_mv_per_g: Positive | None = Field(
        None, description="accelerometer: sensitivity from its calibration sheet, in mV/g."
    )
    excitation_ma: Annotated[float, Field(ge=0, le=100, allow_inf_nan=False)] | None = Field(
        None,
        description="Constant current that feeds the sensor, in mA. Left out: 2 for accelerometer "
        "and iepe_voltage, 1 for rtd. 0: fed by something else.",
    )
    coupling: Literal["ac", "dc"] | None = Field(
        None,
        description="Input coupling. Left out: ac where the sensor is fed by the input, else as "
        "the card has it.",
    )
    terminal: Literal["default", "differential", "pseudodifferential", "rse", "nrse"] = Field(
        "default", description="How the input is wired; default: as the card has it."
    )
    range_v: Positive | None = Field(
        None,
        description="Input range to both sides of zero, in V. Left out: 5 for accelerometer and "
        "iepe_voltage, 10 for voltage.",
    )
    min: Finite | None = Field(
        None, description="Lowest value to expect, in V or degC; with `max`, and not `range_v`."
    )
    max: Finite | None = Field(None, description="Highest value to expect, in V or degC.")
    scale: Finite = Field(1.0, description="voltage, iepe_voltage: value = V x scale + offset.")
    offset: Finite = Field(0.0, description="voltage, iepe_voltage: value = V x scale + offset.")
    thermocouple_type: Literal["B", "E", "J", "K", "N", "R", "S", "T"] | None = Field(
        None, description="thermocouple: its letter."
    )
    cold_junction_degc: Finite | None = Field(
        None,
        description="thermocouple: temperature of the terminals, in degC. Left out: the card "
        "measures it.",
    )
    rtd_type: Literal["pt3750", "pt3851", "pt3911", "pt3916", "pt3920", "pt3928"] = Field(
        "pt3851", description="rtd: its curve; pt3851 is the Pt100 and Pt1000 of IEC 60751."
    )
    wires: Literal[2, 3, 4] = Field(3, description="rtd: wires to the sensor.")
    r0_ohm: Positive = Field(100.0, description="rtd: resistance at 0 degC, in ohm.")

    @model_validator(mode="before")
    @classmethod
    def _usual_unit(cls, values: Any) -> Any:
        if (
            isinstance(values, dict)
            and "unit" not in values
            and isinstance(values.get("type"), str)
        ):
            return {**values, "unit": _UNITS.get(values["type"], ("V",))[0]}
        return values

    @model_validator(mode="after")
    def _check(self) -> NidaqChannel:
        for field in sorted(self.model_fields_set & _TYPES_OF.keys()):
            if self.type not in _TYPES_OF[field]:
                raise ValueError(f"'{field}' is for {' and '.join(_TYPES_OF[field])}")
        units = _UNITS.get(self.type)
        if units and self.unit not in units:
            raise ValueError(
                f"unit '{self.unit}' of type {self.type}; expected {' or '.join(units)}"
            )
        if self.type == "accelerometer" and self.sensitivity_mv_per_g is None:
            raise ValueError("'sensitivity_mv_per_g' is missing; it is on the calibration sheet")
        if self.type == "thermocouple" and self.thermocouple_type is None:
            raise ValueError("'thermocouple_type' is missing; expected its letter, e.g. K")
        if self.scale == 0:
            raise ValueError("'scale' is 0: every sample would be the same")
        self._check_limits()
        return self

    def _check_limits(self) -> None:
        if (self.min is None) != (self.max is None):
            raise ValueError("'min' and 'max' are given together or not at all")
        if self.min is None or self.max is None:
            return
        if self.range_v is not None:
            raise ValueError("'range_v' and 'min', 'max' exclude each other; keep one")
        if self.min >= self.max:
            raise ValueError(f"'min' {self.min:g} is not below 'max' {self.max:g}")

    # -- what follows from them ---------------------------------------------------------------

    @property
    def is_fed(self) -> bool:
        """Whether the input feeds the sensor with a constant current."""
        return self.current_a > 0

    @property
    def current_a(self) -> float:
        """The constant current, in A; 0 where there is none."""
        usual = {"accelerometer": 2.0, "iepe_voltage": 2.0, "rtd": 1.0}.get(self.type, 0.0)
        return (usual if self.excitation_ma is None else self.excitation_ma) / 1000

    @property
    def coupled(self) -> Literal["ac", "dc"] | None:
        """The coupling to set; None: as the card has it."""
        if self.coupling is None and self.type != "rtd" and self.is_fed:
            return "ac"
        return self.coupling

    @property
    def range_volts(self) -> float:
        """The range to both sides of zero, in V, where the type has one."""
        if self.range_v is not None:
            return self.range_v
        return 10.0 if self.type == "voltage" else 5.0

    @property
    def limits(self) -> tuple[float, float]:
        """Lowest and highest value for NI-DAQmx: in g, m/s2, V or degC."""
        if self.min is not None and self.max is not None:
            return self.min, self.max
        if self.type == "thermocouple":
            return _THERMOCOUPLE_DEGC[str(self.thermocouple_type)]
        if self.type == "rtd":
            return _RTD_DEGC
        top = self.range_volts
        if self.sensitivity_mv_per_g is not None:
            top *= 1000 / self.sensitivity_mv_per_g * (G if self.unit == "m/s2" else 1.0)
        return -top, top
