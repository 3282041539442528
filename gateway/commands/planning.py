"""What a device's polls ask for and how long they will take, before anything is connected.

The estimate is arithmetic with stated assumptions, not a measurement: on a network every request
takes ROUND_TRIP_S, on a serial line the time of its characters and pauses.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

from gateway.driver import Driver, PlannedRequest, PolledDriver
from gateway.model import Group
from gateway.terminal import aligned, count, duration

ROUND_TRIP_S = 0.005
"""One request on a plant's LAN: network and the device's own time together."""

SERIAL_ANSWER_S = 0.01
"""Time that a serial device takes before it answers."""

CHARACTER_BITS = 11
"""Modbus over Serial Line V1.02, 2.5.1: start, eight data, parity (or a second stop), stop."""

SERIAL_EXTRA = 8 + 5
"""Characters besides the data: the request's 8; the answer's unit, function, length and CRC."""

SILENT_CHARACTERS = 3.5
"""Silence around each frame, in characters; at least 1.75 ms above 19200 baud (2.5.1.1)."""

CROWDED = 0.7
"""Share of the interval from which a poll is said to be too near to it."""


CONVERTER_BAUD = 9600
"""Baud rate behind a converter whose configuration does not say it."""


class Line(NamedTuple):
    """What a driver talks through, as far as the estimate needs it."""

    baud: int | None = None
    """None: no serial line."""
    network: bool = True
    pause_s: float = 0.0

    def request_s(self, request: PlannedRequest) -> float:
        """Estimated time of one request."""
        total_s = self.pause_s + (ROUND_TRIP_S if self.network else 0.0)
        if self.baud is not None:
            character_s = CHARACTER_BITS / self.baud
            silence_s = 0.00175 if self.baud > 19200 else SILENT_CHARACTERS * character_s
            characters = SERIAL_EXTRA + request.bytes
            total_s += characters * character_s + 2 * silence_s + SERIAL_ANSWER_S
        return total_s

    @property
    def assumption(self) -> str:
        """What the estimate takes for granted, in words."""
        said = []
        if self.network:
            said.append(f"{ROUND_TRIP_S * 1e3:g} ms for each request and its answer on a LAN")
        if self.baud is not None:
            said.append(
                f"{self.baud} baud{' behind the converter' if self.network else ''} at "
                f"{CHARACTER_BITS} bits a character, {SERIAL_ANSWER_S * 1e3:g} ms until the "
                "device answers"
            )
        if self.pause_s:
            said.append(f"the configured pause of {self.pause_s * 1e3:g} ms between requests")
        return "; ".join(said)


def line_of(driver: Driver) -> Line:
    """What the driver talks through, from its own settings or its bus's."""
    settings = getattr(driver.bus, "line", None) or driver.config
    pause_s = float(getattr(settings, "pause_between_requests_s", 0.0))
    if getattr(settings, "serial", None):
        return Line(int(getattr(settings, "baud", CONVERTER_BAUD)), False, pause_s)
    if getattr(settings, "transport", "") == "rtu_over_tcp":
        return Line(CONVERTER_BAUD, True, pause_s)
    return Line(None, True, pause_s)


class GroupPlan(NamedTuple):
    """The requests of one group and how long a poll is estimated to take."""

    group: Group
    requests: list[PlannedRequest]
    poll_s: float

    @property
    def tags(self) -> int:
        """Number of values that a poll gives."""
        return sum(len(table.columns) for table in self.group.tables)

    @property
    def share(self) -> float:
        """Part of the interval that a poll takes."""
        return self.poll_s / self.group.interval_s


class DevicePlan(NamedTuple):
    """The plans of all groups of one device."""

    driver: Driver
    line: Line
    groups: list[GroupPlan]

    @property
    def share(self) -> float:
        """Part of all time that its polls take."""
        return sum(group.share for group in self.groups)

    @property
    def tags(self) -> int:
        """Number of values of the device."""
        return sum(group.tags for group in self.groups)

    @property
    def values_per_s(self) -> float:
        """Values that the device gives in a second."""
        return sum(group.tags / group.group.interval_s for group in self.groups)


def plan_device(driver: Driver) -> DevicePlan:
    """The plan of a device that is not connected; the limits are the usual ones.

    A device that streams asks for nothing: its groups have no requests.
    """
    line = line_of(driver)
    groups = []
    for group in driver.groups:
        requests = driver.plan(group) if isinstance(driver, PolledDriver) else []
        groups.append(GroupPlan(group, requests, sum(line.request_s(r) for r in requests)))
    return DevicePlan(driver, line, groups)


def overloads(bus: str, plans: Sequence[DevicePlan]) -> list[str]:
    """Warnings where the polls of one bus do not, or hardly, fit into their intervals."""
    warnings = [
        f"device '{plan.driver.name}', group '{each.group.name}': a poll takes about "
        f"{duration(each.poll_s)} of its interval of {duration(each.group.interval_s)}; "
        f"try interval_s: {_round_up(each.poll_s / 0.5)}"
        for plan in plans
        for each in plan.groups
        if each.share > CROWDED
    ]
    total = sum(plan.share for plan in plans)
    if not warnings and total > CROWDED:
        warnings.append(
            f"bus '{bus}': its polls take about {total:.0%} of the time; poll less often, or "
            "move devices to a line of their own"
        )
    return warnings


def _round_up(seconds: float) -> str:
    step = 10.0 ** math.floor(math.log10(seconds))
    return f"{math.ceil(seconds / step) * step:g}"


def device_object(plan: DevicePlan) -> dict[str, Any]:
    """The plan of a device, as JSON has it."""
    return {
        "device": plan.driver.name,
        "driver": plan.driver.config.driver,
        "assumption": plan.line.assumption,
        "groups": [
            {
                "group": each.group.name,
                "interval_s": each.group.interval_s,
                "estimated_poll_s": round(each.poll_s, 6),
                "tags": each.tags,
                "requests": [
                    {"request": r.text, "tags": r.tags, "bytes": r.bytes} for r in each.requests
                ],
            }
            for each in plan.groups
        ],
    }


def device_lines(plan: DevicePlan) -> list[str]:
    """The plan of a device for people."""
    lines = [f"{plan.driver.name} ({plan.driver.config.driver}): {count(plan.tags, 'tag')}"]
    for each in plan.groups:
        size = sum(r.bytes for r in each.requests)
        lines.append(
            f"  {each.group.name}: {count(each.tags, 'tag')} every "
            f"{duration(each.group.interval_s)} in {count(len(each.requests), 'request')}, "
            f"{count(size, 'byte')}; about {duration(each.poll_s)}, {each.share:.1%} of the "
            "interval"
        )
        rows = [
            [str(i), r.text, count(r.tags, "tag"), count(r.bytes, "byte")]
            for i, r in enumerate(each.requests, 1)
        ]
        lines += ["    " + line for line in aligned(rows, right=(0, 2, 3))]
    lines.append(f"  estimated before connecting, with {plan.line.assumption}")
    return lines
