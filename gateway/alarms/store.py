"""Keeps alarms on disk: states, learned baselines and transitions, by a thread of its own.

Judging never waits for the disk. What could not be written yet waits in here, bounded, and is
written when the disk takes it again; whoever has to know that it is on disk calls `flush`.
"""

from __future__ import annotations

import logging
import sqlite3
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import orjson

from gateway.alarms.database import (
    Database,
    Kept,
    NotOurs,
    document_of,
    is_damaged,
    put_aside,
    read_transitions,
)
from gateway.alarms.model import Transition
from gateway.alarms.settings import HistoryConfig
from gateway.errors import GatewayError

log = logging.getLogger("gateway.alarms")

MOST_WAITING = 20_000
"""Transitions that wait for the disk; then the oldest are given up, and counted."""
GATHER_S = 0.05
"""What comes within this time is written together."""
FIRST_PAUSE_S, MAX_PAUSE_S = 1.0, 30.0
FLUSH_S = 10.0
TIDY_EVERY_S = 3600.0

_ERRORS = (sqlite3.Error, OSError, NotOurs)


class Store:
    """One database; all methods but `load`, `start` and `stop` from any thread."""

    def __init__(
        self,
        path: Path,
        config: HistoryConfig,
        on_event: Callable[[str, str, str], None] = lambda event, about, detail: None,
    ) -> None:
        self.path = path
        self.config = config
        self.error: str | None = None
        """Why what waits is not on disk; None: it is, or will be in a moment."""
        self.dropped = 0
        """Transitions that were given up because the disk took none for too long."""
        self._on_event = on_event
        self._database: Database | None = None
        self._change = threading.Condition()
        self._transitions: deque[Transition] = deque()
        self._states: dict[str, bytes | None] = {}
        self._texts: dict[str, bytes] = {}
        """The state of every alarm as it should be on disk, for a file that is begun anew."""
        self._asked = 0
        self._done = 0
        self._failures = 0
        self._urgent = False
        self._stopping = False
        self._tidy_s = 0.0
        self._thread = threading.Thread(target=self._run, name="alarm store")

    # -- from any thread ----------------------------------------------------------------------

    def load(self) -> Kept:
        """Open and read what was kept, before the start. Never raises.

        A damaged file is put aside. Where there is no database to be had, all is as if nothing
        had been kept, and `error` says why.
        """
        least = 0
        for _ in range(2):
            try:
                self._database = Database(self.path)
                kept = self._database.read(least)
            except _ERRORS as error:
                least = int(time.time())  # higher than all numbers that the file can have
                if not self._recover(error):
                    break
            else:
                self._texts = {alarm: orjson.dumps(state) for alarm, state in kept.alarms.items()}
                return kept
        return Kept(int(time.time()), {})

    def start(self) -> None:
        """Begin to write."""
        self._thread.start()

    def put(self, transition: Transition | None, alarm: str, state: Mapping[str, Any]) -> None:
        """Keep an alarm's state, and a transition of it. Never waits."""
        text = orjson.dumps(state)
        with self._change:
            if transition is not None:
                self._transitions.append(transition)
                if len(self._transitions) > MOST_WAITING:
                    self._transitions.popleft()
                    self.dropped += 1
            self._states[alarm] = self._texts[alarm] = text
            self._asked += 1
            self._change.notify_all()

    def remove(self, alarm: str) -> None:
        """Keep no state of an alarm; its transitions stay."""
        with self._change:
            self._states[alarm] = None
            self._texts.pop(alarm, None)
            self._asked += 1
            self._change.notify_all()

    def flush(self, timeout_s: float = FLUSH_S) -> None:
        """Wait until all so far is on disk; GatewayError where it is not."""
        with self._change:
            asked, failures = self._asked, self._failures
            self._urgent = True
            self._change.notify_all()
            self._change.wait_for(
                lambda: self._done >= asked or self._failures > failures
                or not self._thread.is_alive(), timeout_s
            )  # fmt: skip
            if self._done >= asked:
                return
            why = self.error or f"the disk did not answer within {timeout_s:g} s"
        raise GatewayError(f"not on disk: {why}")

    def history(
        self, from_ns: int, to_ns: int, most: int, alarm: str | None = None
    ) -> list[dict[str, Any]]:
        """Transitions of that time, the newest first. GatewayError where they cannot be read."""
        with self._change:
            waiting = list(self._transitions)
        found = {
            t.number: document_of(t)
            for t in waiting
            if from_ns <= t.time_ns <= to_ns and alarm in (None, t.id)
        }
        for document in read_transitions(self.path, from_ns, to_ns, most, alarm):
            found[document["number"]] = document
        return [found[number] for number in sorted(found, reverse=True)[:most]]

    def status(self) -> dict[str, Any]:
        """Facts for the status; no I/O."""
        return {
            "state": "good" if self.error is None else "failing",
            "error": self.error,
            "waiting": len(self._transitions),
            "dropped": self.dropped,
        }

    def stop(self, timeout_s: float) -> None:
        """Write what waits and end."""
        with self._change:
            self._stopping = True
            self._change.notify_all()
        if self._thread.ident is not None:
            self._thread.join(timeout_s)
            if self._thread.is_alive():
                log.error("the alarm database does not take what waits", extra=self.status())
                return
        if self._database is not None:
            self._database.close()
            self._database = None

    # -- the thread ---------------------------------------------------------------------------

    def _run(self) -> None:
        pause_s = 0.0
        while True:
            with self._change:
                if pause_s:
                    self._change.wait_for(lambda: self._urgent or self._stopping, pause_s)
                else:
                    self._change.wait_for(self._has_work, TIDY_EVERY_S)
                    if not self._urgent and not self._stopping:
                        self._change.wait_for(lambda: self._urgent or self._stopping, GATHER_S)
                self._urgent = False
                is_last = self._stopping
                transitions, states = list(self._transitions), dict(self._states)
                asked = self._asked
            is_good = self._attempt(transitions, states)
            with self._change:
                if is_good:
                    self._done = asked
                    gone = len(transitions)
                    while gone and self._transitions:
                        if self._transitions[0].number > transitions[-1].number:
                            break
                        self._transitions.popleft()
                    for alarm, text in states.items():
                        if self._states.get(alarm, b"") is text:
                            del self._states[alarm]
                else:
                    self._failures += 1
                self._change.notify_all()
            if is_last and (not is_good or self._done >= self._asked):
                return
            pause_s = 0.0 if is_good else min(MAX_PAUSE_S, max(FIRST_PAUSE_S, 2 * pause_s))

    def _has_work(self) -> bool:
        return self._done < self._asked or self._urgent or self._stopping

    def _attempt(
        self, transitions: Sequence[Transition], states: Mapping[str, bytes | None]
    ) -> bool:
        try:
            if self._database is None:
                self._database = Database(self.path)
            if transitions or states or self._stopping:
                self._database.write(transitions, states, is_last=self._stopping)
            if time.monotonic() >= self._tidy_s:
                is_done = self._database.tidy(self.config, self._has_work)
                self._tidy_s = time.monotonic() + (TIDY_EVERY_S if is_done else 0.0)
        except _ERRORS as error:
            self._recover(error)
            return False
        except Exception as error:  # its end must not be silent
            log.exception("the alarm database is not written, which is a bug")
            self._failed(error)
            return False
        if self.error is not None:
            log.info("the alarm database is written again", extra={"file": str(self.path)})
            self.error = None
        return True

    def _recover(self, error: Exception) -> bool:
        """After a failure: put a damaged file aside; whether another try can do better."""
        database, self._database = self._database, None
        if database is not None:
            database.close()
        if not is_damaged(error):
            self._failed(error)
            return False
        try:
            aside = put_aside(self.path)
        except OSError as failed:
            self._failed(failed)
            return False
        with self._change:
            self._states = {**self._texts, **self._states}
        detail = f"{self.path} is damaged ({error}); it was put aside as {aside.name}"
        log.error("the alarm database begins anew", extra={"detail": detail})
        self._on_event("alarms_begin_anew", "alarms", detail)
        return True

    def _failed(self, error: Exception) -> None:
        if self.error is None:
            extra = {"file": str(self.path), "error": str(error)}
            log.error("alarms are judged, but not kept on disk", extra=extra)
        self.error = str(error)
