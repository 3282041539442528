"""Says why nothing comes: whoever follows values that do not come should not wait for nothing."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Any

from gateway.commands.console import say
from gateway.errors import GatewayError
from gateway.terminal import duration, printable

if TYPE_CHECKING:
    from gateway.api.client import Client

SILENCE_S = 3.0
REPEAT_S = 30.0
ASK_S = 2.0
SHOWN_DEVICES = 3


class Silence:
    """Watches, in a thread of its own, whether values come; says on stderr why they do not."""

    def __init__(self, client: Client, device: str | None) -> None:
        self._client = client
        self._device = device
        self._heard_at = time.monotonic()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="silence", daemon=True)

    def broken(self) -> None:
        """A value has come."""
        self._heard_at = time.monotonic()

    def __enter__(self) -> Silence:
        """Begin to watch."""
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """End, within the time of one question to the gateway."""
        self._ended.set()
        self._thread.join()

    def _watch(self) -> None:
        pause_s = SILENCE_S
        while not self._ended.wait(pause_s):
            silent_s = time.monotonic() - self._heard_at
            pause_s = SILENCE_S - silent_s
            if pause_s > 0:
                continue
            pause_s = REPEAT_S
            try:
                document = self._client.get_json("/v1/status", timeout_s=ASK_S)
                if not self._ended.is_set():
                    why = printable(why_silent(document, self._device))
                    say(f"(no values for {duration(round(silent_s))}: {why})", "yellow")
            except GatewayError:
                pass  # the stream itself will end, and its reader says why


def why_silent(document: Mapping[str, Any], device: str | None) -> str:
    """What the status says about devices, or one of them, of which no values come."""
    devices = {n: d for n, d in document["devices"].items() if device in (None, n)}
    away = [
        f"{name} {state['state']}: {state['reason']} for {duration(state['since_s'] or 0)}"
        if state["reason"]
        else f"{name} {state['state']}"
        for name, state in devices.items()
        if state["state"] in ("lost", "connecting", "disabled")
    ]
    if away:
        more = len(away) - SHOWN_DEVICES
        text = ", ".join(away[:SHOWN_DEVICES]) + (f" and {more} more" if more > 0 else "")
        return f"{text}; see gateway status"
    intervals = [group["interval_s"] for state in devices.values() for group in state["groups"]]
    if not intervals:
        return "no device is polled"
    return f"all devices answer; the shortest interval is {duration(min(intervals))}"
