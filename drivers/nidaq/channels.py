"""From the map's channels to what the core and the session need of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, TypeAlias

from drivers.nidaq.address import Address, parse
from drivers.nidaq.settings import NidaqChannel
from gateway.driver import ChannelSpec
from gateway.errors import ConfigError, Fault, Place
from gateway.model import Channel

Fact: TypeAlias = tuple[str, str | float | int | bool]

NOISE_SHARE = 2e-6
"""Less RMS than this share of the full scale means a shorted or dead sensor, unless given."""


class Input(NamedTuple):
    """One input of the task, in the order of the rows of a block."""

    address: Address
    spec: NidaqChannel


def read_channels(specs: Sequence[ChannelSpec]) -> tuple[tuple[Input, ...], tuple[Channel, ...]]:
    """The inputs and the channels; ConfigError with all faults."""
    faults: list[Fault] = []
    inputs: list[Input] = []
    channels: list[Channel] = []
    seen: dict[str, Place] = {}
    for spec in specs:
        given = spec.spec
        if not isinstance(given, NidaqChannel):
            raise TypeError(f"expected a NidaqChannel, not {type(given).__name__}")
        try:
            address = parse(given.address or "")
        except ValueError as error:
            faults.append(spec.place.fault(str(error)))
            continue
        if first := seen.get(address.key):
            faults.append(
                spec.place.fault(f"'{given.address}' is a channel already (line {first.line})")
            )
        seen.setdefault(address.key, spec.place)
        inputs.append(Input(address, given))
        channels.append(_channel(spec.name, address, given))
    if faults:
        raise ConfigError(faults)
    return tuple(inputs), tuple(channels)


def _channel(name: str, address: Address, spec: NidaqChannel) -> Channel:
    full = spec.full_scale or _full_scale(spec)
    floor = spec.noise_floor
    if floor is None and full is not None:
        floor = NOISE_SHARE * full
    return Channel(name, spec.unit, full, floor, _setup(address, spec))


def _full_scale(spec: NidaqChannel) -> float | None:
    """Largest magnitude in the channel's unit; None for temperatures, which never reach theirs."""
    low, high = spec.limits
    if spec.type == "accelerometer":
        return high
    if spec.type in ("voltage", "iepe_voltage"):
        return max(abs(spec.scale * volts + spec.offset) for volts in (low, high))
    return None


def _setup(address: Address, spec: NidaqChannel) -> tuple[Fact, ...]:
    """What a number depends on besides the machine."""
    facts: list[Fact] = [("address", str(address)), ("type", spec.type)]
    if spec.sensitivity_mv_per_g is not None:
        facts.append(("sensitivity_mv_per_g", spec.sensitivity_mv_per_g))
    if spec.type == "accelerometer":
        facts.append(("range_v", spec.range_volts))
    else:
        facts += [("min", spec.limits[0]), ("max", spec.limits[1])]
    if spec.type in ("accelerometer", "iepe_voltage", "rtd"):
        facts.append(("excitation_ma", round(spec.current_a * 1000, 6)))
    if spec.type in ("accelerometer", "voltage", "iepe_voltage"):
        facts += [("coupling", spec.coupled or "default"), ("terminal", spec.terminal)]
    if spec.type in ("voltage", "iepe_voltage"):
        facts += [("scale", spec.scale), ("offset", spec.offset)]
    if spec.type == "thermocouple":
        facts.append(("thermocouple_type", str(spec.thermocouple_type)))
        facts.append(
            ("cold_junction_degc", "built_in")
            if spec.cold_junction_degc is None
            else ("cold_junction_degc", spec.cold_junction_degc)
        )
    if spec.type == "rtd":
        facts += [("rtd_type", spec.rtd_type), ("wires", spec.wires), ("r0_ohm", spec.r0_ohm)]
    return tuple(facts)
