"""Reads back from the alarm database what a receiver may not have been told."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from gateway.alarms.model import Severity, State, Transition

History = Callable[[int, int, int], Sequence[Mapping[str, Any]]]
"""Transitions from a time to a time, at most so many, the newest first: `Alarms.history`."""

PAGE = 1000


class Sent(NamedTuple):
    """A transition up to which a receiver was told."""

    number: int
    time_ns: int


class Recalled(NamedTuple):
    """What one receiver has not been told."""

    sent: Sent
    """Up to which it was."""
    newest_first: list[Transition]
    more: int
    """Older ones, for which there is no room."""


def recall(
    sent: Sent | None,
    history: History,
    wants: Callable[[Transition], bool],
    max_age_s: float,
    most: int,
) -> Recalled:
    """What came after ``sent`` and is wanted; nothing for one that was never told anything.

    Blocks; GatewayError where the history cannot be read.
    """
    to_ns = time.time_ns() + 1
    from_ns = max(0, to_ns - int(max_age_s * 1e9))
    ends = [Sent(d["number"], d["time_ns"]) for d in history(from_ns, to_ns, 1)]
    newest = ends[0] if ends else Sent(0, 0)
    if sent is None:  # a new receiver: what was before is not for it
        return Recalled(newest, [], 0)
    # in a new database, or where a crash cost its end, numbers begin anew below the last one sent
    key = "number" if sent.number <= newest.number else "time_ns"
    last = sent.number if key == "number" else sent.time_ns
    found: list[Transition] = []
    more = 0
    for transition in _newer_than(last, key, history, from_ns, to_ns):
        if wants(transition):
            if len(found) < most:
                found.append(transition)
            else:
                more += 1
    return Recalled(sent, found, more)


def _newer_than(
    last: int, key: str, history: History, from_ns: int, to_ns: int
) -> Iterator[Transition]:
    """Transitions whose number or time is greater, the newest first."""
    below: int | None = None
    while True:
        page = history(from_ns, to_ns, PAGE)
        fresh = [d for d in page if below is None or d["number"] < below]
        for document in fresh:
            if document[key] <= last:
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
        notify=None if (names := document.get("notify")) is None else tuple(names),
    )
