"""`gateway read` and `gateway probe`: one look at one device, for commissioning.

While the gateway runs they go through it: a serial line or a small PLC allows no second master.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gateway.commands.console import (
    EXIT_BAD,
    AsJson,
    ConfigFile,
    DeviceName,
    OnSim,
    WrongUsage,
    nearest,
    out,
    out_json,
    say,
    table,
)
from gateway.commands.values import good, probe_object, value_tables
from gateway.commands.welcome import short, typed_command
from gateway.errors import AddressRefused, DeviceUnavailable, GatewayError
from gateway.terminal import printable

if TYPE_CHECKING:
    from gateway.api.client import Client
    from gateway.config import Plant
    from gateway.driver import Driver
    from gateway.model import Group, Row

MAX_ROUNDS = 8
"""Reads until the bad tags are told from the good ones of their request."""

ASK_S = 40.0
"""Longest wait for the running gateway: it waits up to 30 s for a turn on the bus."""


def read(
    file: ConfigFile,
    device: DeviceName,
    as_json: AsJson = False,
    group: Annotated[
        list[str] | None, typer.Option("--group", metavar="GROUP", help="Only this group.")
    ] = None,
    on_sim: OnSim = False,
) -> None:
    """Read all tags of a device once.

    With quality and units. Goes through the running gateway where one polls the device. Exit 1
    if any tag is BAD or the device does not answer.
    """
    plant, driver = _load(file, device)
    groups = _groups(driver, group)
    client = None if on_sim else _running(plant, device)
    if client is not None:
        keys = {table.key for each in groups for table in each.tables}
        answer = client.get_json("/v1/read", {"device": device}, timeout_s=ASK_S)
        values = [v for v in answer["values"] if _key(v) in keys]
    else:
        from gateway.driver import StreamDriver
        from gateway.rowjson import row_objects

        _use_simulator(driver, file, on_sim)
        if isinstance(driver, StreamDriver):
            from gateway.commands.streamread import read_stream

            rows = read_stream(driver, plant.streams[device])
        else:
            rows = read_once(driver, groups)
        values = [value for row in rows for value in row_objects(row)]
    if as_json:
        for value in values:
            out_json(value)
    else:
        out(value_tables(values))
    if not good(values):
        raise typer.Exit(EXIT_BAD)


def probe(
    file: ConfigFile,
    device: DeviceName,
    address: Annotated[str, typer.Argument(help="In the driver's notation, e.g. DB4.DBD0.")],
    as_json: AsJson = False,
    on_sim: OnSim = False,
) -> None:
    """Read one address of a device once.

    Raw bytes, all types and word orders, and what lies beside it. Goes through the running
    gateway where one polls the device.
    """
    plant, driver = _load(file, device)
    client = None if on_sim else _running(plant, device)
    if client is not None:
        answer = client.get_json(
            "/v1/probe", {"device": device, "address": address}, timeout_s=ASK_S
        )
    else:
        _use_simulator(driver, file, on_sim)
        answer = _probed(driver, address)
    if as_json:
        out_json(answer)
        return
    out(f"{printable(answer['address'])}  raw {answer['raw']}")
    rows = [[reading["as"], reading["value"]] for reading in answer["readings"]]
    out("  " + line for line in table(rows, ("READ AS", "VALUE")))


def _probed(driver: Driver, address: str) -> dict[str, Any]:
    try:
        found = driver.probe(address)
    except AddressRefused as error:
        raise GatewayError(f"device '{driver.name}': {error}") from error
    except ValueError as error:
        raise WrongUsage(str(error)) from error
    except DeviceUnavailable as error:
        raise GatewayError(f"device '{driver.name}' cannot be read: {error}") from error
    finally:
        driver.close()
    return probe_object(driver.name, found)


def read_once(driver: Driver, groups: Sequence[Group]) -> list[Row]:
    """Connect, read the groups and close. GatewayError where the device does not answer.

    A poll spends only so many requests on telling bad tags from good ones of the same request;
    here there is time, so it reads again as long as that brings good values.
    """
    from gateway.driver import PolledDriver

    if not isinstance(driver, PolledDriver):
        raise GatewayError(f"device '{driver.name}' streams; it has no groups to read")
    rows: list[Row] = []
    try:
        driver.connect()
        for group in groups:
            found = driver.read(group)
            left = len(driver.quarantined())
            for _ in range(MAX_ROUNDS):
                if not left:
                    break
                found = driver.read(group)
                before, left = left, len(driver.quarantined())
                if left >= before:
                    break
            rows += found
    except DeviceUnavailable as error:
        raise GatewayError(f"device '{driver.name}' cannot be read: {error}") from error
    finally:
        driver.close()
    return rows


def _load(file: Path, device: str) -> tuple[Plant, Driver]:
    from gateway.config import load

    plant = load(file)
    if device not in plant.devices:
        raise WrongUsage(f"{file} has no device '{device}'; {nearest(device, plant.devices)}")
    return plant, plant.devices[device]


def _key(value: dict[str, Any]) -> str:
    """The table's key, as `Table.key` has it."""
    part = value["labels"].get("module") or value["labels"].get("channel")
    return f"{value['table']}.{part}" if part else str(value["table"])


def _groups(driver: Driver, names: Sequence[str] | None) -> list[Group]:
    if not names:
        return list(driver.groups)
    known = {group.name: group for group in driver.groups}
    for name in names:
        if name not in known:
            raise WrongUsage(f"'{driver.name}' has no group '{name}'; {nearest(name, known)}")
    return [known[name] for name in names]


def _running(plant: Plant, device: str) -> Client | None:
    """The client of the gateway that polls this device now; None where there is none."""
    from gateway.api.client import Client, NotRunning

    client = Client(plant.api.socket)
    try:
        polled = client.get_json("/v1/status")["devices"]
    except NotRunning:
        return None
    if device not in polled:
        bus = getattr(plant.devices[device].config, "bus", None)
        if bus is not None and bus in {other["bus"] for other in polled.values()}:
            raise GatewayError(
                f"the running gateway polls bus '{bus}', but not '{device}': enable it there"
            )
        return None
    say(f"(through the running gateway at {short(plant.api.socket)})", "dim")
    return client


def _use_simulator(driver: Driver, file: Path, on_sim: bool) -> None:
    if not on_sim:
        return
    from gateway.sim import find_simulator, redirect

    endpoints = find_simulator(file)
    if endpoints is None:
        raise GatewayError(f"no simulator is running; start one: {typed_command()} sim {file}")
    redirect([driver], endpoints)
