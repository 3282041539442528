"""Looks at an S7 CPU: does it answer, where, and which of the data blocks can be read."""

from __future__ import annotations

from gateway.commands.checks.advice import NOT_OPTIMIZED, PUT_GET
from gateway.commands.firststeps import trial
from gateway.commands.firststeps.found import Found, FoundDevice
from gateway.commands.firststeps.wishes import S7_PORT, S7At
from gateway.driver import Driver, PolledDriver
from gateway.errors import DeviceUnavailable
from gateway.model import Quality

TIMEOUT_S = 2.0
PLACES = ((0, 1), (0, 2), (0, 3))
"""Rack and slot: S7-1200 and S7-1500 have 1, S7-300 has 2, S7-400 often has 3."""

_NO_WAY_THERE = {"timeout", "unreachable", "unknown_host"}
"""Another slot would not answer either."""

NOBODY = (
    "is the address right, the CPU on, and the cable in? try: ping {host}",
    "does a firewall or router between here and there let TCP port {port} through?",
    "has the CPU a connection left? each panel and each TIA Portal takes one",
)


def look(wish: S7At, name: str) -> Found:
    """Connect, and read flag byte 0 and byte 0 of each data block."""
    places = (wish.rack_slot,) if wish.rack_slot else PLACES
    fault = DeviceUnavailable("timeout")
    for rack, slot in places:
        with trial.drivers({name: _settings(wish, rack, slot)}, _map(wish.blocks)) as made:
            driver = made[name]
            try:
                driver.connect()
                return _found(wish, name, (rack, slot), driver)
            except DeviceUnavailable as error:
                fault = error
                if error.reason in _NO_WAY_THERE:
                    break
    rack, slot = wish.rack_slot or PLACES[0]
    found = Found(wish.where, False, [f"no answer: {fault}"])
    found.hints += [hint.format(host=wish.host, port=wish.port) for hint in NOBODY]
    if wish.rack_slot:
        found.hints.append("is the slot right? 1 for S7-1200 and S7-1500, 2 for S7-300")
    return _written(found, wish, name, (rack, slot), dict.fromkeys(wish.blocks, ""))


def _settings(wish: S7At, rack: int, slot: int) -> dict[str, object]:
    return {
        "driver": "s7",
        "host": wish.host,
        **({} if wish.port == S7_PORT else {"port": wish.port}),
        "rack": rack,
        "slot": slot,
        "timeout_s": TIMEOUT_S,
    }


def _map(blocks: tuple[int, ...]) -> str:
    tags = ["flags: {address: MB0, type: byte}"]
    tags += [f"db{n}: {{address: DB{n}.DBB0, type: byte}}" for n in blocks]
    return "driver: s7\ngroups:\n  try:\n    interval_s: 1\n    tags:\n" + "".join(
        f"      {tag}\n" for tag in tags
    )


def _found(wish: S7At, name: str, place: tuple[int, int], driver: Driver) -> Found:
    """Of a CPU that accepted the connection; DeviceUnavailable where it does not read."""
    if not isinstance(driver, PolledDriver):
        raise TypeError(f"{name} has no groups")
    group = driver.groups[0]
    rows = driver.read(group)
    for _ in wish.blocks:  # each read sets one more refused block apart from the others
        rows = driver.read(group)
    marks = {tag: mark for row in rows for tag, _, mark in row.items()}
    facts = driver.status()
    said = [f"answers at rack {place[0]}, slot {place[1]}; PDU {facts.get('pdu_bytes')} bytes"]
    state = facts.get("cpu_state")
    if state in ("run", "stop"):
        said[0] += f"; the CPU is in {state.upper()}"
    found = Found(wish.where, True, said)
    refused: dict[int, str] = {}
    for block in wish.blocks:
        mark = marks[f"db{block}"]
        refused[block] = mark.reason if mark is not None and mark.quality is Quality.BAD else ""
        if refused[block]:
            found.faults.append(f"DB{block} cannot be read: {refused[block]}")
        else:
            said.append(f"DB{block} can be read")
    reasons = {
        mark.reason for mark in marks.values() if mark is not None and mark.quality is Quality.BAD
    }
    if "put_get_refused" in reasons:
        found.faults = ["it refuses all reads: PUT/GET access is not permitted"]
        found.hints.append(PUT_GET)
    elif any(refused.values()):
        found.hints.append(NOT_OPTIMIZED)
    return _written(found, wish, name, place, refused)


def _written(
    found: Found, wish: S7At, name: str, place: tuple[int, int], refused: dict[int, str]
) -> Found:
    settings = {**_settings(wish, *place), "map": f"maps/{name}.yaml"}
    found.devices.append(FoundDevice(name, settings))
    found.map_text = map_text(name, refused)
    return found


def map_text(name: str, blocks: dict[int, str]) -> str:
    """A starter map; ``blocks``: number -> why it was refused, empty where it can be read."""
    lines = [
        f"# Device map of {name}: which tags are read, and how often. A tag is one line:",
        "#",
        '#   level: {address: "DB4.DBD0", type: real, unit: "%"}',
        "#",
        "# DBX bit (DBX6.0), DBB byte, DBW 2 bytes, DBD 4 bytes; also M, I, Q, T, C: MW10, IW64.",
        "# Types: bool, int, dint, uint, real, lreal, string[20], date_and_time, time, ...",
        "# `gateway probe FILE DEVICE DB4.DBD0` shows what lies there under every type.",
        "# `gateway import DB4.db --db 4 -o FILE` makes a map of an export of TIA Portal.",
        "driver: s7",
        "",
        "groups:",
        "  process:",
        "    interval_s: 1 # seconds, from 0.005; a group is read in one go",
        "    tags:",
        "      # placeholders that were there to be read: put your own tags in their place",
        '      flags_0: {address: "MB0", type: byte}',
    ]
    for number, reason in blocks.items():
        tag = f'db{number}_byte_0: {{address: "DB{number}.DBB0", type: byte}}'
        lines.append(f"      # {tag} # refused: {reason}" if reason else f"      {tag}")
    if not blocks:
        lines.append('      # level: {address: "DB4.DBD0", type: real, unit: "%", deadband: 0.1}')
    return "\n".join(lines) + "\n"
