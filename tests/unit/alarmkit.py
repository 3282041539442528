"""Alarms for the tests of the API, without rules: a test raises them, and people change them."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from gateway.alarms.machine import Machine
from gateway.alarms.model import Severity, State, Transition, UnknownAlarm
from gateway.api.alarms import as_document
from gateway.errors import GatewayError


class StandingAlarms:
    """Two alarms with the states of the real ones (`gateway.alarms.model.Alarms`)."""

    def __init__(self, ids: Sequence[str] = ("hopper_4/pm10.high", "press_1/stale")) -> None:
        self.machines = {name: Machine() for name in ids}
        self.transitions: list[Transition] = []
        self.listeners: list[Callable[[Transition], None]] = []
        self.windows = {"hopper_4-pm10.high-1.npz": b"PK\x03\x04"}
        self.until_ns: dict[str, int] = {}
        self.number = 0

    def change(
        self, alarm: str, event: Callable[[Machine], None], who: str = "", why: str = ""
    ) -> Transition:
        """One event; it is told whatever came of it."""
        machine = self.machines.get(alarm)
        if machine is None:
            raise UnknownAlarm(f"no alarm '{alarm}'; one of: {', '.join(self.machines)}")
        before = machine.state
        event(machine)
        device, _, name = alarm.partition("/")
        self.number += 1
        told = Transition(
            self.number, time.time_ns(), device, name, Severity.HIGH, before, machine.state,
            "high", f"{name} is too high", 408.35, 300.0, "ug/m3", who, why,
        )  # fmt: skip
        self.transitions.append(told)
        for listener in list(self.listeners):
            listener(told)
        return told

    def raise_one(self, alarm: str = "hopper_4/pm10.high") -> Transition:
        return self.change(alarm, Machine.raised)

    def active(self) -> list[Mapping[str, Any]]:
        return [self._active(n) for n, m in self.machines.items() if m.state != State.NORMAL]

    def _active(self, name: str) -> dict[str, Any]:
        last = next(t for t in reversed(self.transitions) if t.id == name)
        document = as_document(last)
        kept = ("id", "device", "alarm", "severity", "state", "condition", "message", "value")
        return {key: document[key] for key in kept} | {
            "limit": last.limit,
            "unit": last.unit,
            "since_ns": last.time_ns,
            "active_since_ns": last.time_ns if self.machines[name].active else None,
            "first_out": False,
            "number": last.number,
            "shelved_until_ns": self.until_ns.get(name),
            "acknowledged_by": last.who,
            "why": last.why,
            "latch": False,
            "capture": None,
        }

    def rules(self) -> list[Mapping[str, Any]]:
        return [
            {
                "id": name,
                "device": name.partition("/")[0],
                "alarm": name.partition("/")[2],
                "severity": Severity.HIGH,
                "state": machine.state,
                "condition": "high",
                "text": "process.pm10 above 300 ug/m3",
                "tags": ["hopper_4.process.pm10"],
                "value": 408.35,
                "limit": 300.0,
                "unit": "ug/m3",
                "on_delay_s": 0.0,
                "off_delay_s": 0.0,
                "hysteresis": 0.0,
                "states": None,
                "baseline": None,
                "latch": False,
            }
            for name, machine in self.machines.items()
        ]

    def history(
        self, from_ns: int, to_ns: int, most: int, alarm: str | None = None
    ) -> list[Mapping[str, Any]]:
        found = [t for t in reversed(self.transitions) if from_ns <= t.time_ns <= to_ns]
        return [as_document(t) for t in found if alarm in (None, t.id)][:most]

    def acknowledge(self, alarm: str, who: str, why: str) -> Transition:
        return self.change(alarm, Machine.acknowledge, who, why)

    def shelve(self, alarm: str, for_s: float, who: str, why: str) -> Transition:
        done = self.change(alarm, Machine.shelve, who, why)
        self.until_ns[alarm] = done.time_ns + round(for_s * 1e9)
        return done

    def unshelve(self, alarm: str, who: str, why: str) -> Transition:
        self.until_ns.pop(alarm, None)
        return self.change(alarm, Machine.unshelve, who, why)

    def captures(self) -> list[Mapping[str, Any]]:
        return [
            {"name": n, "id": "hopper_4/pm10.high", "time_ns": 1, "bytes": len(b)}
            for n, b in self.windows.items()
        ]

    def capture(self, name: str) -> bytes:
        if name not in self.windows:
            raise UnknownAlarm(f"no capture '{name}'; one of: {', '.join(self.windows)}")
        return self.windows[name]

    def listen(self, listener: Callable[[Transition], None]) -> Callable[[], None]:
        self.listeners.append(listener)
        return lambda: self.listeners.remove(listener)

    def status(self) -> Mapping[str, Any]:
        states = [m.state for m in self.machines.values()]
        active = sum(m.active for m in self.machines.values())
        return {
            "active": {"high": active} if active else {},
            "unacknowledged": states.count(State.UNACKNOWLEDGED),
            "shelved": states.count(State.SHELVED),
        }


class Bell:
    """The only notifier (`gateway.api.view.Notifying`): it rings, or says why it cannot."""

    def __init__(self) -> None:
        self.rung: list[str] = []
        self.fault = ""

    def names(self) -> list[str]:
        return ["bell"]

    def test(self, name: str, who: str) -> None:
        if self.fault:
            raise GatewayError(self.fault)
        self.rung.append(who)
