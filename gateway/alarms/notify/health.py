"""Whether a receiver gets what it is told; said once when that changes, in the log and as a row."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence

from gateway.alarms.notify.waiting import Entry
from gateway.terminal import count, duration

log = logging.getLogger("gateway.notify")

OnEvent = Callable[[str, str, str], None]
"""An event of the gateway: a short word, what it is about, words for people."""


class Health:
    """How one receiver does. Changed by one thread, read by any."""

    def __init__(self, name: str, kind: str, on_event: OnEvent | None) -> None:
        self._name = name
        self._kind = kind
        self._on_event = on_event
        self._failed_s = 0.0
        self.failures = 0
        """Sends in a row that failed."""
        self.failures_total = 0
        """Since the start."""
        self.error: str | None = None
        """Why it does not get what waits; None: it does."""
        self.refusal: str | None = None
        """Why it refused the last message."""

    @property
    def state(self) -> str:
        """For the status: good, retrying or refusing."""
        if self.error is not None:
            return "retrying"
        return "good" if self.refusal is None else "refusing"

    def failed(self, words: str, *, is_stopping: bool) -> None:
        """A send failed; what is cut off by a stop is no news."""
        self.failures += 1
        self.failures_total += 1
        if self.error is None and not is_stopping:
            self._failed_s = time.monotonic()
            extra = {"notifier": self._name, "type": self._kind, "reason": words}
            log.warning("a notifier does not get through", extra=extra)
            self.tell("notifier_failing", words)
        self.error = words

    def answered(self, dropped: Mapping[str, int], *, took: bool) -> None:
        """It is there; ``took``: and took what it was sent."""
        self.failures = 0
        if took:
            self.refusal = None
        if self.error is None:
            return
        self.error = None
        after_s = time.monotonic() - self._failed_s
        extra = {"notifier": self._name, "after_s": round(after_s, 1), "dropped": dict(dropped)}
        log.info("a notifier gets through again", extra=extra)
        said = ", ".join(f"{number:,} {cause}" for cause, number in dropped.items())
        self.tell("notifier_good", f"after {duration(after_s)}; dropped so far: {said or 'none'}")

    def gave_up(self, entries: Sequence[Entry], words: str) -> None:
        """Messages were refused: the first time since it took one is told, the rest counted."""
        is_told, self.refusal = self.refusal is not None, words
        if is_told:
            return
        how_many = count(len(entries), "message")
        first = entries[0].transition.id
        extra = {"notifier": self._name, "first": first, "messages": len(entries), "reason": words}
        log.warning("messages are refused and dropped", extra=extra)
        self.tell("notification_refused", f"{how_many}: {words}")

    def tell(self, event: str, words: str) -> None:
        """An event about this receiver."""
        if self._on_event is not None:
            self._on_event(event, self._name, words)
