"""Each device, asked once: through the running gateway where one polls it, else by its driver."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from gateway.api.client import Client
from gateway.commands.checks.advice import advice
from gateway.commands.checks.report import Check, Question
from gateway.commands.device import read_once
from gateway.config import Plant
from gateway.driver import Driver, StreamDriver
from gateway.errors import DeviceUnavailable, GatewayError
from gateway.model import Quality
from gateway.terminal import count, duration

NAMED = 3
"""Tags that are named of those that are bad."""

ASK_S = 8.0
"""Wait for the running gateway to read a device between two polls."""


def running(client: Client, document: Mapping[str, Any]) -> Iterator[Question]:
    """One question for each device that the running gateway polls."""
    for name, status in document["devices"].items():
        yield Question(
            f"device {name}",
            lambda name=name, status=status: [_of_running(client, name, status)],  # type: ignore[misc]
        )


def alone(plant: Plant, polled: Mapping[str, Any]) -> Iterator[Question]:
    """One question for each bus that no running gateway polls; its devices in turn.

    ``polled``: the devices of the status of the running gateway, by name.
    """
    busy = {status["bus"] for status in polled.values()}
    for bus in plant.buses:
        drivers = [d for d in bus.devices if d.config.enabled and d.name not in polled]
        if not drivers:
            continue
        if bus.name in busy:
            found = "the running gateway polls this bus, but not this device"
            yield Question(
                f"device {drivers[0].name}",
                lambda drivers=drivers, found=found: [  # type: ignore[misc]
                    Check(f"device {d.name}", "WARN", found, "gateway reload") for d in drivers
                ],
            )
            continue
        title = f"device {drivers[0].name}" if len(drivers) == 1 else f"bus {bus.name}"
        yield Question(title, _asker(drivers), _ender(drivers))


def disabled(plant: Plant) -> Iterator[Check]:
    """Devices that nobody asks."""
    for driver in plant.devices.values():
        if not driver.config.enabled:
            yield Check(f"device {driver.name}", "OK", "not enabled; not asked")


def _asker(drivers: Sequence[Driver]) -> Any:
    return lambda: [_by_driver(driver) for driver in drivers]


def _ender(drivers: Sequence[Driver]) -> Any:
    def end() -> None:
        for driver in drivers:
            driver.interrupt()

    return end


def _by_driver(driver: Driver) -> Check:
    name, kind = f"device {driver.name}", driver.config.driver or "modbus"
    begun = time.monotonic()
    bad: list[tuple[str, str]] = []
    try:
        if isinstance(driver, StreamDriver):
            try:
                driver.connect()
                driver.read_block()
            finally:
                driver.close()
        else:
            rows = read_once(driver, driver.groups)
            bad = [
                (f"{row.table.key}.{tag}", mark.reason)
                for row in rows
                for tag, _, mark in row.items()
                if mark is not None and mark.quality is Quality.BAD
            ]
    except GatewayError as error:
        cause = error if isinstance(error, DeviceUnavailable) else error.__cause__
        if not isinstance(cause, DeviceUnavailable):
            return Check(name, "FAIL", str(error))
        return Check(name, "FAIL", f"no answer: {cause}", advice(kind, cause.reason))
    facts = driver.status()
    took = duration(time.monotonic() - begun)
    return _judged(name, kind, facts, bad, f"answers ({took})")


def _of_running(client: Client, name: str, status: Mapping[str, Any]) -> Check:
    title, kind = f"device {name}", status["driver"]
    if status["state"] == "disabled":
        return Check(title, "WARN", f"switched off: {status['reason']}", "gateway status")
    if status["state"] in ("lost", "connecting"):
        reason = str(status["reason"] or "not connected yet")
        words = f"no answer for {duration(float(status['since_s'] or 0))}: {reason}"
        return Check(title, "FAIL", words, advice(kind, reason.partition(":")[0]))
    try:
        answer = client.get_json("/v1/read", {"device": name}, timeout_s=ASK_S)
    except GatewayError as error:
        todo = "gateway status; does its poll take longer than its interval?"
        return Check(title, "WARN", f"polled, but had no time for a question: {error}", todo)
    bad = [
        (f"{v['table']}.{v['tag']}", str(v["reason"]))
        for v in answer["values"]
        if v["quality"] == "BAD"
    ]
    missed = sum(group["missed"] for group in status["groups"])
    found = f"answers; {count(status['polls'], 'poll')}, {missed:,} skipped"
    check = _judged(title, kind, status["facts"], bad, found)
    if check.state == "OK" and any(group["too_short"] for group in status["groups"]):
        return check._replace(state="WARN", todo="its intervals are too short: gateway plan FILE")
    return check


def _judged(
    title: str, kind: str, facts: Mapping[str, Any], bad: Sequence[tuple[str, str]], found: str
) -> Check:
    """A device that answers: are its tags readable, and does it run?"""
    if pdu := facts.get("pdu_bytes"):
        found += f", PDU {pdu} bytes"
    if bad:
        reasons = Counter(reason for _, reason in bad)
        reason, _ = reasons.most_common(1)[0]
        words = ", ".join(f"{n} {r}" for r, n in reasons.most_common(NAMED))
        named = ", ".join(_few(tag for tag, why in bad if why == reason))
        return Check(
            title,
            "FAIL",
            f"{found}, but {count(len(bad), 'tag')} BAD ({words}): {named}",
            advice(kind, reason),
        )
    if facts.get("cpu_state") == "stop":
        return Check(
            title, "WARN", f"{found}; the CPU is in STOP", "values are UNCERTAIN: start it"
        )
    if facts.get("hint"):
        return Check(title, "WARN", found, str(facts["hint"]))
    return Check(title, "OK", found)


def _few(names: Iterable[str]) -> list[str]:
    listed = list(names)
    return listed[:NAMED] + (["..."] if len(listed) > NAMED else [])
