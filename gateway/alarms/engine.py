"""The alarm engine: takes rows from the hub, judges them in a thread of its own, tells and keeps.

Nothing in here makes anybody who publishes a row wait: not a rule, not the disk, not a listener.
"""

from __future__ import annotations

import itertools
import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from gateway.alarms import again
from gateway.alarms.alarm import Alarm
from gateway.alarms.board import Board, Now
from gateway.alarms.captures import Captures
from gateway.alarms.inbox import Inbox
from gateway.alarms.model import State, Transition
from gateway.alarms.rows import AlarmRows
from gateway.alarms.rules import AlarmPlan
from gateway.alarms.store import Store
from gateway.alarms.words import cleaned
from gateway.errors import GatewayError
from gateway.health import Heartbeats, Rolling
from gateway.model import Row, Table

log = logging.getLogger("gateway.alarms")

NAME = "alarm engine"
"""Of its heartbeat."""
LOOK_S = 1.0
"""It looks around at least so often."""
BEAT_S = 30.0
BEAT_ROWS = 64
MOST_PROBLEMS = 10
LEARNED_EVERY_S = 60.0
"""What baselines have learned is kept so often: a crash costs at most this."""

OnEvent = Callable[[str, str, str], None]


class Publisher(Protocol):
    """Takes rows; as `Hub.publish`."""

    def __call__(self, row: Row) -> None:
        """Hand a row to everyone."""


class Engine:
    """`gateway.alarms.model.Alarms` over a `Board`; a receiver of the hub (`put`)."""

    def __init__(
        self,
        plan: AlarmPlan,
        publish: Publisher,
        gateway: str,
        state_dir: Path,
        captures: Captures,
        *,
        heartbeats: Heartbeats | None = None,
        on_event: OnEvent = lambda event, about, detail: None,
    ) -> None:
        self._plan = plan
        self._publish = publish
        self._rows = AlarmRows(gateway)
        self._store = Store(state_dir / "alarms.db", plan.history, on_event)
        self._captures = captures
        self._captures.on_stored = self._captured
        self._heartbeats = heartbeats or Heartbeats()
        self._lock = threading.RLock()
        """Held around all that changes the board."""
        self._board = Board(self)
        self._wanted: frozenset[Table] = frozenset()
        self._ingested = self._board.ingested
        self._inbox = Inbox()
        self._listeners: tuple[Callable[[Transition], None], ...] = ()
        self._listening = threading.Lock()
        """Around changes of that alone: a row that raises thousands of alarms holds the other lock
        for seconds, and the loop of the HTTP app does not wait for it."""
        self._came_s: float | None = None
        self._stopping = False
        self._learned_s = 0.0
        self.latency = Rolling()
        """From a row's publication until those who listen were told what it raised, in seconds."""
        self._thread = threading.Thread(target=self._run, name="alarms")

    # -- life ---------------------------------------------------------------------------------

    def start(self) -> None:
        """Read what was kept, and begin. Never fails: without a disk, alarms are judged too."""
        kept = self._store.load()
        self._store.start()
        self._captures.start(self._plan.captures)
        with self._lock:
            self._board.number = kept.number
            self._update(kept.alarms)
        self._thread.start()

    def stop(self, timeout_s: float) -> None:
        """Judge what has come, keep everything, and end."""
        end_s = time.monotonic() + timeout_s
        self._stopping = True
        self._inbox.wake()
        if self._thread.ident is not None:
            self._thread.join(timeout_s)
        self._captures.stop(max(0.1, end_s - time.monotonic()))
        self._store.stop(max(0.5, end_s - time.monotonic()))
        self._heartbeats.forget(NAME)

    def update(self, plan: AlarmPlan) -> None:
        """Have these rules from now on: alarms whose rule is the same go on."""
        with self._lock:
            self._plan = plan
            self._store.config = plan.history
            self._captures.configure(plan.captures)
            self._update()

    def disable(self, devices: frozenset[str]) -> None:
        """These devices are not asked, by somebody's will: their silence is no alarm."""
        with self._lock:
            self._board.disable(devices, _now())
            self._inbox.wake()

    def _update(self, saved: Mapping[str, Mapping[str, Any]] | None = None) -> None:
        self._rows.update(self._plan)
        self._board.update(self._plan, _now(), saved)
        self._wanted, self._ingested = self._board.tables, self._board.ingested
        self._inbox.wake()  # a look may be due earlier now

    # -- rows ---------------------------------------------------------------------------------

    def put(self, row: Row) -> None:
        """Take a row, as one of the hub's receivers."""
        table = row.table
        if table in self._wanted or self._ingested.wants(table):
            self._inbox.put(row)

    def _run(self) -> None:
        inbox, board = self._inbox, self._board
        while True:
            self._heartbeats.beat(NAME, BEAT_S)
            with self._lock:
                look_s = board.next_look_s
            wait_s = LOOK_S if look_s is None else min(LOOK_S, look_s - time.monotonic())
            if wait_s > 0:
                inbox.wait(wait_s)
            is_last = self._stopping
            for index, (row, came_s) in enumerate(inbox.drain()):
                if index % BEAT_ROWS == 0:
                    self._heartbeats.beat(NAME, BEAT_S)
                self._guarded(self._judge, row, came_s)
            self._guarded(self._tick, is_last)
            if is_last:
                return

    def _judge(self, row: Row, came_s: float) -> None:
        with self._lock:
            self._came_s = came_s
            try:
                # what is overdue is older than this row, and goes before it
                now = Now(came_s, time.time_ns())
                look_s = self._board.next_look_s
                if look_s is not None and look_s <= came_s:
                    self._board.tick(now)
                self._board.put(row, now)
            finally:
                self._came_s = None

    def _tick(self, is_last: bool) -> None:
        now = _now()
        with self._lock:
            self._board.tick(now)
            if is_last or now.s - self._learned_s >= LEARNED_EVERY_S:
                self._learned_s = now.s
                for alarm in self._board.learning():
                    self._store.put(None, alarm.rule.id, alarm.saved())

    def _guarded(self, work: Callable[..., None], *args: Any) -> None:
        try:
            work(*args)
        except Exception:  # a bug may cost a row, but not all alarms from now on
            log.exception("alarms failed, which is a bug")

    # -- what the board tells -----------------------------------------------------------------

    def told(self, alarm: Alarm, transition: Transition) -> None:
        """An alarm's state changed: publish it, tell who listens, keep it."""
        rule = alarm.rule
        if (
            rule.capture is not None
            and rule.channel is not None
            and transition.state is State.UNACKNOWLEDGED
            and transition.from_state is not State.SHELVED  # that began long ago
        ):
            self._captures.ask(rule.id, rule.channel.table, rule.capture, transition)
        self._store.put(transition, rule.id, alarm.saved())
        self._publish(self._rows.row_of(transition))
        for listener in self._listeners:
            try:
                listener(transition)
            except Exception:
                log.exception("a listener of alarms failed, which is a bug")
        if self._came_s is not None:
            self.latency.add(time.monotonic() - self._came_s)

    def changed(self, alarm: Alarm) -> None:
        """Something that is not told has to be kept."""
        self._store.put(None, alarm.rule.id, alarm.saved())

    def removed(self, alarm: str) -> None:
        """Its state is not kept any more."""
        self._store.remove(alarm)

    def _captured(self, id_: str, name: str) -> None:
        """A raw window was stored."""
        with self._lock:
            alarm = self._board.alarms.get(id_)
            if alarm is not None:
                alarm.capture = name
                alarm.renew_document()
                self._store.put(None, id_, alarm.saved())

    # -- `Alarms` -----------------------------------------------------------------------------

    def active(self) -> Sequence[Mapping[str, Any]]:
        """All alarms that are not normal."""
        return self._board.standing.documents()

    def rules(self) -> Sequence[Mapping[str, Any]]:
        """All alarms with their rule."""
        board, now_s = self._board, time.monotonic()
        return [board.rule_document(alarm, now_s) for alarm in list(board.alarms.values())]

    def history(
        self, from_ns: int, to_ns: int, most: int, alarm: str | None = None
    ) -> Sequence[Mapping[str, Any]]:
        """Transitions, the newest first."""
        return self._store.history(from_ns, to_ns, most, alarm)

    def rows_from(self, from_ns: int) -> list[Row]:
        """Rows of the transitions from then on, oldest first, as they were published. Blocks."""
        try:
            found = self._store.history(from_ns, 2**63 - 1, again.MOST)
            transitions = [again.transition_of(document) for document in reversed(found)]
        except (GatewayError, ValueError, KeyError) as error:
            log.warning("alarms cannot be sent again", extra={"error": str(error)})
            return []
        with self._lock:
            return [self._rows.row_of(transition) for transition in transitions]

    def acknowledge(self, alarm: str, who: str, why: str) -> Transition:
        """Acknowledge by id. GatewayError where it was, but is not on disk."""
        with self._lock:
            transition = self._board.acknowledge(alarm, cleaned(who), cleaned(why), _now())
        self._store.flush()
        return transition

    def shelve(self, alarm: str, for_s: float, who: str, why: str) -> Transition:
        """Put aside for so long. GatewayError where it was, but is not on disk."""
        with self._lock:
            transition = self._board.shelve(alarm, for_s, cleaned(who), cleaned(why), _now())
        self._inbox.wake()  # its end may come before the next look
        self._store.flush()
        return transition

    def unshelve(self, alarm: str, who: str, why: str) -> Transition:
        """Bring back. GatewayError where it was, but is not on disk."""
        with self._lock:
            transition = self._board.unshelve(alarm, cleaned(who), cleaned(why), _now())
        self._store.flush()
        return transition

    def captures(self) -> Sequence[Mapping[str, Any]]:
        """Stored windows, the newest first."""
        return self._captures.listed()

    def capture(self, name: str) -> bytes:
        """One stored window."""
        return self._captures.read(name)

    def listen(self, listener: Callable[[Transition], None]) -> Callable[[], None]:
        """Be told of every transition."""
        with self._listening:
            self._listeners = (*self._listeners, listener)

        def end() -> None:
            with self._listening:
                self._listeners = tuple(kept for kept in self._listeners if kept is not listener)

        return end

    def status(self) -> Mapping[str, Any]:
        """Counts for the status; no I/O."""
        board = self._board
        flood = board.flood
        return {
            "rules": len(board.alarms),
            **board.standing.counts(),
            "flood": flood is not None and flood.is_on,
            "rows_missed": self._inbox.missed,
            "faulty_rules": board.faults,
            "latency_ms": self.latency.milliseconds(),
            "database": self._store.status(),
            "captures": self._captures.status(),
        }

    def problems(self) -> list[str]:
        """What is wrong with the engine itself, in words for the status; alarms are no problem."""
        status, found = self.status(), []
        if (error := status["database"]["error"]) is not None:
            found.append(f"alarms: not kept on disk: {error}")
        if dropped := status["database"]["dropped"]:
            found.append(f"alarms: {dropped:,} transitions were not kept on disk")
        if missed := status["rows_missed"]:
            found.append(f"alarms: {missed:,} rows came too fast and were not judged")
        if faulty := status["faulty_rules"]:
            found.append(f"alarms: {faulty:,} rules failed, which is a bug; see the log")
        if (error := status["captures"]["error"]) is not None:
            found.append(f"alarms: raw windows are not stored: {error}")
        strange = itertools.islice(self._ingested.problems(), MOST_PROBLEMS)
        found += [f"alarms: {problem}" for problem in strange]
        return found


def _now() -> Now:
    return Now(time.monotonic(), time.time_ns())
