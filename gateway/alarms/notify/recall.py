"""Reads back from the alarm database what a receiver may not have been told."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from gateway.alarms.model import Severity, State, Transition

History = Callable[[int, int, int], Sequence[Mapping[str, Any]]]
"""Transitions from a time to a time, at most so many, the newest first: `Alarms.history`."""

PAGE = 1000


def newer_than(number: int, history: History, from_ns: int, to_ns: int) -> Iterator[Transition]:
    """Transitions after that number, the newest first; GatewayError where they cannot be read."""
    below: int | None = None
    while True:
        page = history(from_ns, to_ns, PAGE)
        fresh = [d for d in page if below is None or d["number"] < below]
        for document in fresh:
            if document["number"] <= number:
                return
            yield _transition(document)
        if len(page) < PAGE or not fresh:
            return
        below = fresh[-1]["number"]
        to_ns = fresh[-1]["time_ns"] + 1


def _transition(document: Mapping[str, Any]) -> Transition:
    return Transition(
        number=document["number"],
        time_ns=document["time_ns"],
        device=document["device"],
        alarm=document["alarm"],
        severity=Severity(document["severity"]),
        from_state=State(document["from_state"]),
        state=State(document["state"]),
        condition=document["condition"],
        message=document["message"],
        value=document["value"],
        limit=document["limit"],
        unit=document["unit"],
        who=document["who"],
        why=document["why"],
        first_out=bool(document["first_out"]),
    )
