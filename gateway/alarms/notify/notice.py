"""One message: a transition, ready to be sent in any form."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import orjson

from gateway.alarms.model import Severity, State, Transition
from gateway.errors import GatewayError
from gateway.terminal import number, printable

MAX_TEXT = 2000
"""Characters of a text in a message: what a machine sends as a string has no end of its own."""

MAX_BODY_BYTES = 32_768
"""A message as JSON is never longer."""


class Undelivered(GatewayError):
    """The message is not out: try again, not before ``retry_after_s``.

    ``operator``: only a person can mend it (a password, an address), so tries come slowly.
    ``poison``: it may be this message alone, which is given up after that many tries.
    """

    def __init__(
        self,
        message: str,
        *,
        retry_after_s: float = 0.0,
        operator: bool = False,
        poison: int | None = None,
    ) -> None:
        self.retry_after_s = retry_after_s
        self.operator = operator
        self.poison = poison
        super().__init__(message)


class Refused(GatewayError):
    """The receiver refuses this message for good: give it up, and say so."""


@dataclass(slots=True, frozen=True)
class Notice:
    """A transition that is to be told. Made once, by the thread that sends it."""

    transition: Transition
    gateway: str
    is_test: bool = False
    is_late: bool = False
    """Not sent by the run of the gateway in which it came."""
    dropped: Mapping[str, int] = field(default_factory=dict)
    """Messages that this receiver did not get since the last that it got: cause -> how many."""

    @property
    def key(self) -> str:
        """The same for the same transition, in every try and after every restart."""
        t = self.transition
        return f"{re.sub(r'[^A-Za-z0-9_.-]', '_', self.gateway)}-{t.number}-{t.time_ns}"

    def document(self) -> dict[str, Any]:
        """The message as a JSON object; see docs/notifications.md."""
        t = self.transition
        out: dict[str, Any] = {
            "key": self.key,
            "gateway": bounded(self.gateway),
            "number": t.number,
            "time": time_text(t.time_ns),
            "time_ns": t.time_ns,
            "id": bounded(t.id),
            "device": bounded(t.device),
            "alarm": bounded(t.alarm),
            "severity": str(t.severity),
            "from_state": str(t.from_state),
            "state": str(t.state),
            "condition": bounded(t.condition),
            "message": bounded(t.message),
            "value": t.value,
            "limit": t.limit,
            "unit": bounded(t.unit),
            "who": bounded(t.who),
            "why": bounded(t.why),
            "first_out": t.first_out,
        }
        if self.is_test:
            out["test"] = True
        if self.is_late:
            out["late"] = True
        if self.dropped:
            out["dropped"] = dict(self.dropped)
        return out

    def body(self) -> bytes:
        """The document as JSON, at most MAX_BODY_BYTES."""
        document = self.document()
        raw = orjson.dumps(document)
        if len(raw) > MAX_BODY_BYTES:  # four bytes a character, all texts full
            raw = orjson.dumps({k: _short(v) for k, v in document.items()})
        return raw

    def fields(self) -> dict[str, str]:
        """What templates can name; each on one line, without control characters."""
        t = self.transition
        return {
            "gateway": bounded(self.gateway),
            "number": str(t.number),
            "time": time_text(t.time_ns),
            "id": bounded(t.id),
            "device": bounded(t.device),
            "alarm": bounded(t.alarm),
            "severity": str(t.severity),
            "state": str(t.state),
            "from_state": str(t.from_state),
            "condition": bounded(t.condition),
            "message": bounded(t.message),
            "value": "" if t.value is None else number(t.value),
            "limit": "" if t.limit is None else number(t.limit),
            "unit": bounded(t.unit),
        }


def trial_notice(name: str, gateway: str, who: str) -> Notice:
    """What `gateway alarms notify-test` sends."""
    message = f"Test of the notifier {name}, sent by {who}: no alarm"
    transition = Transition(
        0,
        time.time_ns(),
        "gateway",
        "notify-test",
        Severity.LOW,
        State.NORMAL,
        State.NORMAL,
        "test",
        message,
        who=who,
    )
    return Notice(transition, gateway, is_test=True)


def bounded(text: str) -> str:
    """The text on one line, without control characters, and not longer than MAX_TEXT."""
    text = printable(text[: MAX_TEXT + 1])
    return text if len(text) <= MAX_TEXT else f"{text[:MAX_TEXT]}..."


def _short(value: Any) -> Any:
    return value[:200] if isinstance(value, str) else value


def time_text(time_ns: int) -> str:
    """ISO 8601 in UTC, to the millisecond."""
    at = datetime.fromtimestamp(time_ns // 1_000_000_000, UTC)
    return f"{at:%Y-%m-%dT%H:%M:%S}.{time_ns // 1_000_000 % 1000:03d}Z"
