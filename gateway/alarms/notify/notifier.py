"""One receiver of alarms: its queue, its thread, and how it is tried again."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Sequence
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeout
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from gateway.alarms.model import ORDER, Transition
from gateway.alarms.notify.channel import Channel, Retry
from gateway.alarms.notify.health import Health, OnEvent
from gateway.alarms.notify.marks import Mark
from gateway.alarms.notify.notice import Notice, Refused, Undelivered, trial_notice
from gateway.alarms.notify.recall import History, Sent, recall
from gateway.alarms.notify.settings import NotifierConfig
from gateway.alarms.notify.waiting import Entry, Waiting
from gateway.errors import GatewayError
from gateway.terminal import count, duration

log = logging.getLogger("gateway.notify")

OUR_FAULT_TRIES = 3


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
        self._retry = retry or Retry()
        self._mark = Mark(state_dir / "notify" / f"{name}.json")
        self._wake = threading.Condition()
        self._waiting = Waiting(config.queue, config.max_age_s)
        self._tests: list[tuple[Notice, Future[None]]] = []
        self._in_hand: list[Entry] = []
        self._seen: Sent | None = None
        """The newest transition, also where the receiver does not want it."""
        self._finish = False
        self._not_before_s = 0.0
        self._head = 0
        self._head_tries = 0
        self._sent = 0
        self._sent_s: float | None = None
        self._health = Health(name, config.type, on_event)
        # a thread that a library holds must not keep the process from ending
        self._thread = threading.Thread(target=self._run, name=f"notify {name}", daemon=True)

    def start(self, first: Sequence[Entry] = ()) -> None:
        """Begin; ``first``: what another one of that name left."""
        self._waiting.put_first(e for e in first if self._wants(e.transition))
        self._thread.start()

    def put(self, transition: Transition) -> None:
        """Tell of it, if it is one that the receiver wants. Never waits."""
        wanted = self._wants(transition)
        with self._wake:
            self._seen = _sent(transition)
            if wanted:
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
            dropped, dropped_s = dict(self._waiting.dropped), self._waiting.dropped_s
            retry_in_s = max(0.0, self._not_before_s - time.monotonic())
        health, sent_s = self._health, self._sent_s
        state = health.state
        return {
            "type": self.config.type,
            "state": state,
            "error": health.error or health.refusal,
            "waiting": waiting,
            "sent": self._sent,
            "failed": health.failures_total,
            "dropped": dropped,
            "last_dropped_s": _ago_s(dropped_s),
            "last_sent_s": _ago_s(sent_s),
            "retry_in_s": round(retry_in_s, 1) if state == "retrying" else None,
        }

    def _wants(self, transition: Transition) -> bool:
        config = self.config
        if transition.state not in config.states:
            return False
        if ORDER[transition.severity] < ORDER[config.severity]:
            return False
        if config.devices is not None and not any(
            fnmatchcase(transition.device, pattern) for pattern in config.devices
        ):
            return False
        return transition.notify is None or self.name in transition.notify

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
                elif self._is_done():
                    return
        except Exception as error:  # its end must not be silent
            log.exception("a notifier ended, which is a bug", extra={"notifier": self.name})
            self._health.error = f"a bug in the gateway: {error!r}"
        finally:
            self._channel.idle()
            self._settle()
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
        config = self.config
        try:
            found = recall(
                self._mark.sent, self._history, self._wants, config.max_age_s, config.queue
            )
        except Exception as error:  # it tells of what comes, whatever the matter is with the past
            extra = {"notifier": self.name, "error": str(error)}
            is_bug = not isinstance(error, GatewayError)
            log.warning("what was not sent is not known", extra=extra, exc_info=is_bug)
            return
        self._mark.sent = found.sent
        with self._wake:
            late = self._waiting.recall(found.newest_first)
            if found.more:
                self._waiting.count("overflow", found.more)
        if late:
            words = f"{count(late, 'message')} from before the start"
            log.warning("not sent yet", extra={"notifier": self.name, "messages": late})
            self._health.tell("notifier_late", words)

    def _next(self) -> list[Entry]:
        """What to send now; none: something else is to be looked at first."""
        with self._wake:
            if not self._waiting:
                if self._finish:
                    return []
            else:
                wait_s = self._not_before_s - time.monotonic()
                if self._finish and self._health.error is not None:
                    self._in_hand = []
                    return []
                if self._finish or wait_s <= 0:
                    self._in_hand = self._waiting.take(self._channel.most_at_once)
                    return self._in_hand
                self._wake.wait_for(lambda: self._finish or self._tests, wait_s)
                return []
        self._channel.idle()
        self._settle()
        with self._wake:
            self._wake.wait_for(lambda: self._waiting or self._finish or self._tests)
        return []

    def _is_done(self) -> bool:
        with self._wake:
            return self._finish and not (self._waiting and self._health.error is None)

    def _settle(self) -> None:
        """Note how far it is told; what it did not want is not for it later either."""
        with self._wake:
            if self._seen is not None and not self._waiting and not self._in_hand:
                self._mark.sent = self._seen
        self._mark.save()

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
            if self._head != entries[0].transition.number:
                self._head, self._head_tries = entries[0].transition.number, 0
            self._head_tries += 1
            if error.poison is None or self._head_tries < error.poison:
                self._failed(error)
                with self._wake:
                    self._in_hand = []
                    self._waiting.put_first(entries)
                return
            self._failed(error)
            self._give_up(entries, str(error))
        except Refused as error:
            self._give_up(entries, str(error))
            self._answered(took=False)
        else:
            with self._wake:
                self._waiting.told(dropped)
            self._sent += len(entries)
            self._sent_s = time.monotonic()
            self._answered(took=True)
        self._not_before_s = time.monotonic() + self._channel.pace_s
        with self._wake:
            self._in_hand = []
        self._mark.move(_sent(entries[-1].transition))

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
        if self._health.error is not None:
            self._not_before_s = 0.0  # what waited need not wait for its next try
        self._answered(took=True)
        future.set_result(None)

    def _answered(self, *, took: bool) -> None:
        with self._wake:
            dropped = dict(self._waiting.dropped)
        self._health.answered(dropped, took=took)

    def _failed(self, error: Undelivered) -> None:
        self._health.failed(str(error), is_stopping=self._finish)
        pause_s = self._retry.pause_s(self._health.failures, error)
        self._not_before_s = time.monotonic() + pause_s

    def _give_up(self, entries: Sequence[Entry], words: str) -> None:
        with self._wake:
            self._waiting.count("refused", len(entries))
        self._health.gave_up(entries, words)


def _sent(transition: Transition) -> Sent:
    return Sent(transition.number, transition.time_ns)


def _ago_s(at_s: float | None) -> float | None:
    return None if at_s is None else round(time.monotonic() - at_s, 1)
