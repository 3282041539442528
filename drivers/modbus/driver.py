"""The Modbus driver: where tags lie, how one block is asked for, and what refusals mean."""

from __future__ import annotations

from array import array
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from drivers.modbus.address import (
    LAST,
    REGISTERS,
    Address,
    TableName,
    parse_address,
    relative_address,
)
from drivers.modbus.bus import ModbusBus, Pace
from drivers.modbus.frames import GATEWAY_EXCEPTIONS, PASSING, Read, Refusal
from drivers.modbus.probe import probe_unit
from drivers.modbus.settings import ModbusBusConfig, ModbusConfig, ModbusTag, check_unit
from drivers.modbus.simulator import ModbusSimulation, Station
from drivers.modbus.types import COIL, Order, Type, bit_wire, parse_type, wire_of
from gateway.blocks import Block, Item, Limits, Refused
from gateway.decode import Wire
from gateway.driver import BusConfig, DeviceConfig, DeviceMap, Driver, Endpoint, Probe, Tag
from gateway.errors import ConfigError, DeviceUnavailable, Place
from gateway.merged import MergedDriver


class Space(NamedTuple):
    """What one request may not leave: a table, or one tag of it (`one_request_per_tag`)."""

    table: TableName
    tag: int = 0


class ModbusDriver(MergedDriver):
    """Reads one unit, over a connection of its own or on a bus that it shares."""

    config_class = ModbusConfig
    tag_class = ModbusTag
    bus_class = ModbusBusConfig
    config: ModbusConfig

    def __init__(
        self, name: str, config: DeviceConfig, device_map: DeviceMap, bus: Any = None
    ) -> None:
        if not isinstance(config, ModbusConfig):
            raise TypeError(f"expected a ModbusConfig, not {type(config).__name__}")
        self.cells: dict[tuple[TableName, Wire, int], array[int]] = {}
        self._tags = 0
        self._last_refusal = ""
        super().__init__(name, config, device_map, bus)
        if bus is None:
            if config.bus is not None:
                raise ValueError(f"{name}: the bus '{config.bus}' was not given")
            self.bus: ModbusBus = ModbusBus(name, config, config.timeout_s)
        elif fault := check_unit(config.unit, self.bus.line):
            raise ConfigError([Place(device_map.file, 0, 0, f"devices.{name}.unit").fault(fault)])
        self.bus.expect(config.unit)
        shared = bus is not None and "timeout_s" not in config.model_fields_set
        self._pace = Pace(
            self.bus.timeout_s if shared else config.timeout_s,
            config.pause_after_connect_s,
            config.pause_between_requests_s,
        )

    @classmethod
    def make_bus(cls, name: str, config: BusConfig) -> ModbusBus:
        """The connection that the devices of a bus share."""
        if not isinstance(config, ModbusBusConfig):
            raise TypeError(f"expected a ModbusBusConfig, not {type(config).__name__}")
        return ModbusBus(name, config, config.timeout_s)

    # -- where tags lie -----------------------------------------------------------------------

    def parse(self, tag: Tag) -> list[Item]:
        """One item for each element of the tag."""
        address, kind = _place_and_type(tag)
        given = tag.spec.order if isinstance(tag.spec, ModbusTag) else None
        self._tags += 1
        space = Space(address.table, self._tags if self.config.one_request_per_tag else 0)
        items = _items(space, address, kind, given or self.config.order)
        for item in items:
            key = (address.table, item.wire, item.size)
            self.cells.setdefault(key, array("l")).append(item.start)
        return items

    def limits(self, space: Space) -> Limits:
        """The protocol's limits or the device's lower ones; the same at all times."""
        config = self.config
        if space.table in REGISTERS:
            return Limits(block=2 * config.max_registers, gap=2 * config.max_gap)
        return Limits(block=config.max_coils, gap=16 * config.max_gap)

    def prepare(self, blocks: tuple[Block, ...]) -> Read:
        """The one request for the one block."""
        (block,) = blocks
        width = 2 if block.space.table in REGISTERS else 1
        return Read(self.config.unit, block.space.table, block.start // width, block.size // width)

    def describe(self, blocks: tuple[Block, ...]) -> str:
        """The request, e.g. ``unit 1 holding:0..124``."""
        return f"unit {self.config.unit} {self.prepare(blocks)}"

    # -- talking ------------------------------------------------------------------------------

    def exchange(self, prepared: Read) -> Sequence[bytes | Refused]:
        """The block's bytes, one a bit in coils and discrete inputs, or the unit's refusal."""
        found = self.bus.read(prepared, self._pace, self.name)
        if isinstance(found, Refusal):
            self._last_refusal = f"{found.reason} ({found.code}) for {prepared}"
            if found.code in GATEWAY_EXCEPTIONS:
                raise DeviceUnavailable(found.reason, f"unit {prepared.unit}")
            return [
                Refused(found.reason, all_of_space=found.code == 1, passing=found.code in PASSING)
            ]
        if prepared.table in REGISTERS:
            return [found]
        bits = np.unpackbits(np.frombuffer(found, "u1"), count=prepared.length, bitorder="little")
        return [bits.tobytes()]

    def connect(self) -> None:
        """Open the bus if it is closed; whether the unit is there, the first read tells."""
        self.bus.attach(self.name)

    def close(self) -> None:
        """Leave the bus; the last device closes it."""
        self.bus.detach(self.name)

    def interrupt(self) -> None:
        """Free a request that waits for its answer, in whichever device of the bus."""
        self.bus.interrupt()

    def status(self) -> dict[str, Any]:
        """Where the unit is, and what it refused last."""
        line = self.bus.line
        return {
            "endpoint": line.endpoint,
            "transport": "rtu" if line.serial else line.transport,
            "unit": self.config.unit,
            "last_exception": self._last_refusal,
            "bus_requests": self.bus.requests,
            "bus_connects": self.bus.connects,
        }

    def probe(self, address: str) -> Probe:
        """One place read once, under every type and order, with its neighbours."""
        place = parse_address(address)
        was_connected = self.bus.is_attached(self.name)
        self.connect()
        try:
            return probe_unit(self.bus, self.config.unit, place, self._pace, self.name)
        finally:
            if not was_connected:
                self.close()

    # -- simulation ---------------------------------------------------------------------------

    def redirect(self, endpoint: Endpoint) -> None:
        """Talk Modbus/TCP to this endpoint; the unit number stays."""
        self.bus.redirect(endpoint.host, endpoint.port)

    @classmethod
    def simulate(
        cls, devices: Sequence[Driver], *, ports: Mapping[str, int] | None = None
    ) -> ModbusSimulation:
        """Serve these devices; units behind one address or on one bus share a port."""
        return ModbusSimulation(
            [
                Station(d.name, d.bus.line.endpoint, d.config.unit, d.cells)
                for d in devices
                if isinstance(d, ModbusDriver)
            ],
            ports or {},
        )


def _place_and_type(tag: Tag) -> tuple[Address, Type]:
    """ValueError with all that is wrong with them."""
    faults: list[str] = []
    address = kind = None
    try:
        kind = parse_type(tag.spec.type)
    except ValueError as error:
        faults.append(str(error))
    try:
        if tag.base is None:
            address = parse_address(tag.address)
        else:
            address = relative_address(tag.base, tag.address)
    except ValueError as error:
        faults.append(str(error))
    if address is None or kind is None:
        raise ValueError("; ".join(faults))
    return address, kind


def _items(space: Space, address: Address, kind: Type, order: Order) -> list[Item]:
    number, bit = address.number, address.bit
    if kind.name != "bool" and not address.is_register:
        raise ValueError(f"a {address.table} is a single bit; expected type: bool")
    if kind.name == "bool" and address.is_register and bit is None:
        raise ValueError(
            f"'{address}' is a register of 16 bits; say which, e.g. '{address}.0', or give a "
            "number's type such as uint16"
        )
    if kind.name != "bool" and bit is not None:
        whole = Address(address.table, number)
        raise ValueError(f"a {kind.name} takes whole registers; write '{whole}' ({whole.modicon})")
    if not address.is_register:
        items = [Item(space, number + i, 1, COIL) for i in range(kind.elements)]
        last = items[-1].start
    elif bit is not None:
        places = range(bit, bit + kind.elements)
        items = [Item(space, 2 * (number + n // 16), 2, bit_wire(n % 16, order)) for n in places]
        last = items[-1].start // 2
    else:
        size, wire = 2 * kind.registers, wire_of(kind, order)
        items = [Item(space, 2 * number + i * size, size, wire) for i in range(kind.elements)]
        last = number + kind.registers * kind.elements - 1
    if last > LAST:
        raise ValueError(f"'{address}' would reach to {last}; a table ends at {LAST}")
    return items
