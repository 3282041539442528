"""One receiver of alarms: its queue, its thread, and how it is tried again."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeout
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from gateway.alarms.model import ORDER, Transition
from gateway.alarms.notify.channel import Channel, Retry
from gateway.alarms.notify.marks import Mark
from gateway.alarms.notify.notice import Notice, Refused, Undelivered, trial_notice
from gateway.alarms.notify.recall import History, newer_than
from gateway.alarms.notify.settings import NotifierConfig
from gateway.alarms.notify.waiting import Entry, Waiting
from gateway.errors import GatewayError
from gateway.terminal import count, duration

log = logging.getLogger("gateway.notify")

OUR_FAULT_TRIES = 3

OnEvent = Callable[[str, str, str], None]
"""An event of the gateway: a short word, what it is about, words for people."""


class Notifier:
    """Tells one receiver; `put` never waits, and nothing that the receiver does comes back."""

    def __init__(
        self,
        name: str,
        config: NotifierConfig,
        channel: Channel,
        gateway: str,
        state_dir: Path,
        *,
        history: History | None = None,
        on_event: OnEvent | None = None,
        retry: Retry | None = None,
    ) -> None:
        self.name = name
        self.config = config
        self._channel = channel
        self._gateway = gateway
        self._history = history
        self._on_event = on_event
        self._retry = retry or Retry()
        self._mark = Mark(state_dir / "notify" / f"{name}.json")
        self._wake = threading.Condition()
        self._waiting = Waiting(config.queue, config.max_age_s)
        self._tests: list[tuple[Notice, Future[None]]] = []
        self._in_hand: list[Entry] = []
        self._finish = False
        self._not_before_s = 0.0
        self._failures = 0
        self._head_tries = 0
        self._failed_s = 0.0
        self._sent = 0
        self._sent_s: float | None = None
        self.error: str | None = None
        """Why the receiver does not get what waits; None: it does."""
        # a thread that a library holds must not keep the process from ending
        self._thread = threading.Thread(target=self._run, name=f"notify {name}", daemon=True)

    def start(self, first: Sequence[Entry] = ()) -> None:
        """Begin; ``first``: what another one of that name left."""
        self._waiting.put_first(e for e in first if self._wants(e.transition))
        self._thread.start()

    def put(self, transition: Transition) -> None:
        """Tell of it, if it is one that the receiver wants. Never waits."""
        if self._wants(transition):
            with self._wake:
                self._waiting.put(transition)
                self._wake.notify()

    def test(self, who: str) -> None:
        """Send a test message now, whatever waits. GatewayError where it is not out in time."""
        future: Future[None] = Future()
        with self._wake:
            if self._finish or not self._thread.is_alive():
                raise GatewayError(f"notifier '{self.name}' is not running")
            self._tests.append((trial_notice(self.name, self._gateway, who), future))
            self._wake.notify()
        patience_s = 2 * self._channel.longest_s + 2.0
        try:
            future.result(patience_s)
        except FutureTimeout:
            future.cancel()
            raise GatewayError(
                f"notifier '{self.name}': not sent within {duration(patience_s)}"
            ) from None

    def request_stop(self) -> None:
        """Send what waits, as long as the receiver takes it, then end."""
        with self._wake:
            self._finish = True
            self._wake.notify()

    def join(self, timeout_s: float) -> bool:
        """Wait for the end; whether it came."""
        if self._thread.ident is not None:
            self._thread.join(max(0.0, timeout_s))
        return not self._thread.is_alive()

    def interrupt(self) -> None:
        """End what is under way; from another thread."""
        self._channel.interrupt()

    def leftover(self) -> list[Entry]:
        """What has not been sent, for the one that follows."""
        with self._wake:
            return [*self._in_hand, *self._waiting.take_all()]

    def status(self) -> dict[str, Any]:
        """Facts for the status; no I/O."""
        with self._wake:
            waiting = len(self._waiting) + len(self._in_hand)
            dropped = dict(self._waiting.dropped)
            retry_in_s = max(0.0, self._not_before_s - time.monotonic())
        error, sent_s = self.error, self._sent_s
        return {
            "type": self.config.type,
            "state": "good" if error is None else "retrying",
            "error": error,
            "waiting": waiting,
            "sent": self._sent,
            "dropped": dropped,
            "last_sent_s": None if sent_s is None else round(time.monotonic() - sent_s, 1),
            "retry_in_s": None if error is None else round(retry_in_s, 1),
        }

    def _wants(self, transition: Transition) -> bool:
        config = self.config
        return (
            ORDER[transition.severity] >= ORDER[config.severity]
            and transition.state in config.states
            and (
                config.devices is None
                or any(fnmatchcase(transition.device, pattern) for pattern in config.devices)
            )
        )

    # -- the thread ---------------------------------------------------------------------------

    def _run(self) -> None:
        try:
            self._recall()
            while True:
                with self._wake:
                    test = self._tests.pop(0) if self._tests else None
                if test is not None:
                    self._send_test(*test)
                elif entries := self._next():
                    self._send(entries)
                elif self._finish:
                    return
        except Exception as error:  # its end must not be silent
            log.exception("a notifier ended, which is a bug", extra={"notifier": self.name})
            self.error = f"a bug in the gateway: {error!r}"
        finally:
            self._channel.idle()
            self._mark.save()
            with self._wake:
                self._finish = True
                tests, self._tests = self._tests, []
            for _, future in tests:
                if future.set_running_or_notify_cancel():
                    future.set_exception(GatewayError(f"notifier '{self.name}' is stopping"))

    def _recall(self) -> None:
        """Let wait what was not sent before the restart."""
        self._mark.load()
        if self._history is None:
            return
        now_ns = time.time_ns()
        from_ns = max(0, now_ns - int(self.config.max_age_s * 1e9))
        try:
            newest = next((d["number"] for d in self._history(from_ns, now_ns + 1, 1)), 0)
            if self._mark.number is None:  # a new receiver: what was before is not for it
                self._mark.move(newest)
                return
            # numbers that begin anew are those of a new database: nothing of it was sent
            sent = self._mark.number if self._mark.number <= newest else 0
            found = newer_than(sent, self._history, from_ns, now_ns + 1)
            missed = [t for t in found if self._wants(t)]
        except GatewayError as error:
            extra = {"notifier": self.name, "error": str(error)}
            log.warning("what was not sent before the start is not known", extra=extra)
            return
        with self._wake:
            late = self._waiting.recall(missed)
        if late:
            words = f"{count(late, 'message')} from before the start"
            log.warning("not sent yet", extra={"notifier": self.name, "messages": late})
            self._event("notifier_late", words)

    def _next(self) -> list[Entry]:
        """What to send now; none: something else is to be looked at first."""
        with self._wake:
            if not self._waiting:
                if self._finish:
                    return []
            else:
                wait_s = self._not_before_s - time.monotonic()
                if self._finish and self.error is not None:
                    self._in_hand = []
                    return []
                if self._finish or wait_s <= 0:
                    self._in_hand = self._waiting.take(self._channel.most_at_once)
                    return self._in_hand
                self._wake.wait_for(lambda: self._finish or self._tests, wait_s)
                return []
        self._channel.idle()
        self._mark.save()
        with self._wake:
            self._wake.wait_for(lambda: self._waiting or self._finish or self._tests)
        return []

    def _send(self, entries: list[Entry]) -> None:
        with self._wake:
            dropped = self._waiting.untold()
        notices = [Notice(e.transition, self._gateway, is_late=e.is_late) for e in entries]
        notices[0] = Notice(
            notices[0].transition, self._gateway, is_late=notices[0].is_late, dropped=dropped
        )
        try:
            self._attempt(notices)
        except Undelivered as error:
            self._head_tries += 1
            if error.poison is None or self._head_tries < error.poison:
                self._failed(error)
                with self._wake:
                    self._in_hand = []
                    self._waiting.put_first(entries)
                return
            self._give_up(entries, str(error))
        except Refused as error:
            self._give_up(entries, str(error))
        else:
            with self._wake:
                self._waiting.told(dropped)
            self._sent += len(entries)
            self._sent_s = time.monotonic()
            self._recovered()
        self._head_tries = 0
        self._not_before_s = time.monotonic() + self._channel.pace_s
        with self._wake:
            self._in_hand = []
        self._mark.move(entries[-1].transition.number)

    def _attempt(self, notices: Sequence[Notice]) -> None:
        try:
            self._channel.send(notices)
        except (Undelivered, Refused):
            raise
        except Exception as error:
            log.exception("a notifier failed, which is a bug", extra={"notifier": self.name})
            raise Undelivered(f"a bug in the gateway: {error!r}", poison=OUR_FAULT_TRIES) from error

    def _send_test(self, notice: Notice, future: Future[None]) -> None:
        if not future.set_running_or_notify_cancel():
            return
        try:
            self._attempt([notice])
        except GatewayError as error:
            future.set_exception(GatewayError(f"notifier '{self.name}': {error}"))
            return
        self._not_before_s = time.monotonic() + self._channel.pace_s
        if self.error is not None:
            self._not_before_s = 0.0  # what waited need not wait for its next try
        self._recovered()
        future.set_result(None)

    def _failed(self, error: Undelivered) -> None:
        self._failures += 1
        self._not_before_s = time.monotonic() + self._retry.pause_s(self._failures, error)
        if self.error is None:
            self._failed_s = time.monotonic()
            log.warning(
                "a notifier does not get through",
                extra={"notifier": self.name, "type": self.config.type, "reason": str(error)},
            )
            self._event("notifier_failing", str(error))
        self.error = str(error)

    def _recovered(self) -> None:
        self._failures = 0
        if self.error is None:
            return
        self.error = None
        took_s = time.monotonic() - self._failed_s
        with self._wake:
            dropped = dict(self._waiting.dropped)
        log.info(
            "a notifier gets through again",
            extra={"notifier": self.name, "after_s": round(took_s, 1), "dropped": dropped},
        )
        self._event("notifier_good", f"after {duration(took_s)}; dropped so far: {dropped or 0}")

    def _give_up(self, entries: Sequence[Entry], words: str) -> None:
        with self._wake:
            self._waiting.count("refused", len(entries))
        extra = {
            "notifier": self.name,
            "first": entries[0].transition.id,
            "messages": len(entries),
            "reason": words,
        }
        log.warning("messages were refused and dropped", extra=extra)
        self._event("notification_refused", f"{count(len(entries), 'message')}: {words}")

    def _event(self, event: str, detail: str) -> None:
        if self._on_event is not None:
            self._on_event(event, self.name, detail)
