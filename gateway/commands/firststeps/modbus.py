"""Looks at Modbus: which of the units 1 to 10 answer, and in which tables something lies."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gateway.commands.checks.advice import advice
from gateway.commands.firststeps import trial
from gateway.commands.firststeps.found import Found, FoundDevice
from gateway.commands.firststeps.wishes import ModbusAt, SerialAt
from gateway.driver import Driver
from gateway.errors import AddressRefused, DeviceUnavailable

UNITS = range(1, 11)
TABLES = ("holding", "input", "coil", "discrete")
TCP_S = 1.0
"""Wait for a unit: a converter needs most of a second to say that nobody is there."""
SERIAL_S = 0.3
SPEEDS = ((19200, "even"), (9600, "even"), (9600, "none"))
"""Bits a second and parity: the standard's default first, then what meters are delivered with."""

NOBODY_TCP = (
    "is the address right, the device on, and the cable in? try: ping {host}",
    "is Modbus/TCP switched on in the device, and port {port} not behind a firewall?",
    "many devices take one connection only: is another program reading it?",
)
NOBODY_SERIAL = (
    "are A and B the right way round, and is the line terminated?",
    "speed and parity: what does the device's manual say? tried: 19200 even, 9600 even, 9600 none",
    "only units 1 to 10 were asked; another unit goes into the file as `unit:`",
)
_MAP = "driver: modbus\ngroups: {try: {interval_s: 1, tags: {r: {address: 'holding:0', " \
    "type: uint16}}}}\n"  # fmt: skip


def look(wish: ModbusAt | SerialAt, name: str) -> Found:
    """Ask each unit for one register of each table."""
    if isinstance(wish, ModbusAt):
        line: dict[str, Any] = {"host": wish.host, "port": wish.port}
        tries = [line]
        timeout_s = TCP_S
    else:
        tries = [{"serial": wish.path, "baud": b, "parity": p} for b, p in SPEEDS]
        timeout_s = SERIAL_S
    fault = ""
    for line in tries:
        units, fault = _units(line, timeout_s)
        if units:
            return _found(wish, name, line, units)
        if fault.startswith(("no_port", "no_permission")):
            break  # the same at every speed
    found = Found(wish.where, False, [f"no answer: {fault or 'no unit from 1 to 10 answers'}"])
    if isinstance(wish, ModbusAt):
        found.hints += [h.format(host=wish.host, port=wish.port) for h in NOBODY_TCP]
    elif fault:
        found.hints.append(advice("modbus", fault.partition(":")[0]))
    else:
        found.hints += NOBODY_SERIAL
    return _written(found, name, tries[0], [1], {})


def _units(line: Mapping[str, Any], timeout_s: float) -> tuple[dict[int, dict[str, str]], str]:
    """Unit -> table -> why it refused register 0, of those that answer; why none could be asked."""
    devices = {str(unit): {"bus": "line", "unit": unit} for unit in UNITS}
    buses = {"line": {"driver": "modbus", **line, "timeout_s": timeout_s}}
    found: dict[int, dict[str, str]] = {}
    with trial.drivers(devices, _MAP, buses) as made:
        try:
            made["1"].connect()  # keeps the line open for the others
        except DeviceUnavailable as error:
            return {}, str(error)
        for unit in UNITS:
            try:
                found[unit] = _tables(made[str(unit)])
            except DeviceUnavailable as error:
                if error.reason in ("refused", "unreachable"):
                    return found, "" if found else str(error)
    return found, ""


def _tables(driver: Driver) -> dict[str, str]:
    """Table -> why the unit refused its first place, empty where it answered."""
    found = {}
    for table in TABLES:
        try:
            driver.probe(f"{table}:0")
            found[table] = ""
        except AddressRefused as error:
            found[table] = str(error).rpartition(": ")[2]
        except DeviceUnavailable:
            if not found:
                raise
            found[table] = "no answer"
    return found


def _found(
    wish: ModbusAt | SerialAt, name: str, line: dict[str, Any], units: dict[int, dict[str, str]]
) -> Found:
    numbers = list(units)
    tables = units[numbers[0]]
    found = Found(wish.where, True, [])
    if isinstance(wish, ModbusAt) and len(numbers) == len(UNITS):
        # Modbus/TCP devices often do not look at the unit at all
        found.said.append("answers as every unit that was asked: taken for one device, unit 1")
        numbers = [1]
    else:
        which = ", ".join(map(str, numbers))
        found.said.append(f"{'unit' if len(numbers) == 1 else 'units'} {which} of 1 to 10 answer")
    if "baud" in line:
        found.said[0] += f" at {line['baud']} baud, parity {line['parity']}"
    good = [table for table, fault in tables.items() if not fault]
    found.said.append(f"unit {numbers[0]} has something at 0 of: {', '.join(good) or 'no table'}")
    if not good:
        found.hints.append(
            "its registers begin elsewhere: take the addresses from the device's manual"
        )
    return _written(found, name, line, numbers, tables)


def _written(
    found: Found, name: str, line: dict[str, Any], units: list[int], tables: dict[str, str]
) -> Found:
    share = len(units) > 1
    if share:
        found.buses[f"{name}_line"] = {"driver": "modbus", **line, "timeout_s": TCP_S}
    for number, unit in enumerate(units, 1):
        own: dict[str, Any] = {"bus": f"{name}_line"} if share else {"driver": "modbus", **line}
        settings = {**own, "unit": unit, "map": f"maps/{name}.yaml"}
        found.devices.append(FoundDevice(name if number == 1 else f"{name}_unit_{unit}", settings))
    found.map_text = map_text(name, tables)
    return found


def map_text(name: str, tables: Mapping[str, str]) -> str:
    """A starter map; ``tables``: name -> why its place 0 was refused, empty where it was not."""
    lines = [
        f"# Device map of {name}: which tags are read, and how often. A tag is one line:",
        "#",
        '#   power: {address: "holding:3059", type: float32, unit: kW, scale: 0.001}',
        "#",
        "# Addresses count from 0 as on the wire: `holding:0` is what many manuals call 40001",
        '# (which may be written, too) or register 1. A bit of a register: "holding:11.3".',
        "# Types: bool, int16, uint16, int32, uint32, float32, uint64, string[20]. Where a number",
        "# makes no sense, its words may be swapped: order: CDAB.",
        "# `gateway probe FILE DEVICE holding:0` shows what lies there under every type and order.",
        "# `gateway import LIST.csv -o FILE` makes a map of a register list.",
        "driver: modbus",
        "",
        "groups:",
        "  values:",
        "    interval_s: 1",
        "    tags:",
        "      # placeholders that were there to be read: put your own tags in their place",
    ]
    written = False
    for table, fault in (tables or {"holding": ""}).items():
        kind = "bool" if table in ("coil", "discrete") else "uint16"
        tag = f'{table}_0: {{address: "{table}:0", type: {kind}}}'
        lines.append(f"      # {tag} # refused: {fault}" if fault else f"      {tag}")
        written = written or not fault
    if not written:
        lines.append('      holding_0: {address: "holding:0", type: uint16} # refused: change it')
    return "\n".join(lines) + "\n"
