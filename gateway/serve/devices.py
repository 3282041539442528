"""Devices of other gateways, as far as their newest rows and their status show them."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from gateway.driver import DeviceConfig, DeviceMap, Driver
from gateway.errors import GatewayError
from gateway.model import Group, Table
from gateway.serve.names import ask_the, fleet_name


class RemoteDevice(Driver):
    """A device that another gateway reads."""

    def __init__(self, name: str, gateway: str, driver: str, tables: Iterable[Table]) -> None:
        config = DeviceConfig.model_validate({"driver": driver, "map": Path("-")})
        super().__init__(name, config, DeviceMap(gateway))
        self.gateway = gateway
        groups: dict[str, list[Table]] = {}
        for table in sorted(tables, key=lambda t: t.key):
            groups.setdefault(table.group, []).append(table)
        # no interval: here rows come when something changed, and what is too old is BAD by itself
        self.groups = tuple(
            Group(name, 0.0, tuple(its), index) for index, (name, its) in enumerate(groups.items())
        )

    def connect(self) -> None:
        """Only its own gateway speaks to it."""
        raise elsewhere(self.gateway)

    def close(self) -> None:
        """Nothing is open."""


def elsewhere(gateway: str) -> GatewayError:
    """What only the gateway of a device can do."""
    return GatewayError(f"no machine is read here; {ask_the([gateway])}")


def fleet_table(table: Table, gateway: str) -> Table:
    """The same table, with the device's name among those of all gateways."""
    made = copy.copy(table)
    made.device = fleet_name(gateway, table.device)
    return made


def devices_of(
    shown: Mapping[str, Mapping[str, Any]], tables: Iterable[Table]
) -> dict[str, Driver]:
    """All devices: by gateway the driver of each, and the tables of all as they are shown."""
    drivers: dict[str, tuple[str, str]] = {}
    for gateway, devices in shown.items():
        for name, driver in devices.items():
            drivers[fleet_name(gateway, name)] = (gateway, str(driver or "?"))
    found: dict[str, list[Table]] = {name: [] for name in drivers}
    for table in tables:
        if table.device in drivers:  # else what the gateway says of itself
            found[table.device].append(table)
    return {name: RemoteDevice(name, *drivers[name], its) for name, its in sorted(found.items())}
