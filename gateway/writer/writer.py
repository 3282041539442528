"""From the hub to one sink: drain, dead band, and out by way of an outlet."""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from pydantic import Field

from gateway.driver import Settings
from gateway.health import Heartbeats
from gateway.hub import Subscription
from gateway.losses import COUNTED_APART, Cause, Loss
from gateway.model import OWN_TABLES, Row
from gateway.sinks import DurableSink, RemoteSink, Selected, Sink
from gateway.spool import LOSS_TABLE, Spool
from gateway.spool.manifest import Span
from gateway.writer.deadband import Deadband
from gateway.writer.deliver import Backoff
from gateway.writer.interruption import Interruption, StoredAlarms
from gateway.writer.lastwords import told_in
from gateway.writer.outlets import DirectOutlet, Losing, Outlet, spans_of
from gateway.writer.replay import LetterBox
from gateway.writer.spooled import SpooledOutlet

log = logging.getLogger(__name__)

OPEN_S = 5.0
LOOK_S = 0.9
"""Longest time between two looks at the spool, however rarely rows are written."""
START_OVER_S = 60.0
"""Least time between two rounds of writing again what is only written on change."""
AFTER_FAULT_S = 1.0
HURRY_S = 0.1
"""Least time between two batches where somebody waits until rows are on disk."""
BEFORE_DISK = frozenset({"encode_fault", "spool_unwritable"})
"""Causes of losses of rows that were never on disk."""


class WriterConfig(Settings):
    """``writer:``, how rows become batches."""

    flush_interval_s: float = Field(
        1.0, gt=0, le=60, description="Longest time that a row waits for its batch, in seconds."
    )
    batch_rows: int = Field(
        5000, ge=1, le=100_000, description="Rows that make a batch before that time."
    )
    shutdown_s: float = Field(
        10.0, ge=0, le=300, description="Longest time that a stop may take, in seconds."
    )


class Writer:
    """Brings the rows of one subscription to one sink, in threads of its own."""

    def __init__(
        self,
        name: str,
        sink: Sink,
        subscription: Subscription,
        config: WriterConfig,
        spool: Spool | None = None,
        *,
        on_loss: Callable[[Loss], None],
        loss_row: Callable[[Loss], Row] | None = None,
        heartbeats: Heartbeats | None = None,
        backoff: Backoff | None = None,
    ) -> None:
        """``loss_row``: makes a row of a loss that was told before, for this sink alone."""
        self.name = name
        self._loss_row = loss_row
        self._type = sink.config.type
        self.subscription = subscription
        self._config = config
        self._spool = spool
        self._on_loss = on_loss
        self._heartbeats = heartbeats or Heartbeats()
        self._deadband = Deadband()
        self._handing_over = False
        self._reset = False
        self._start_over = False
        self._started_over_s = -math.inf
        self._faults = 0
        self._held_rows = 0
        self._dropped_before = 0
        self.alarms: StoredAlarms | None = None
        """After an unclean stop: which transitions of alarms are stored."""
        self._rows_accepted = 0
        self._rows_unchanged = 0
        self._rows_lost = 0
        self._flushed = subscription.drained
        """Position in the queue up to which rows were handed to the outlet."""
        self._gave_up = False
        """Some of them since the last ones that were on disk."""
        self._opened = threading.Event()
        self._stop = threading.Event()
        self._stop_at_s = math.inf
        pauses = backoff or Backoff()
        reset, beats = self._want_reset, self._heartbeats
        losing = Losing(self._lost, self._count, self._tell, self._tell_again)
        self._outlet: Outlet
        if isinstance(sink, RemoteSink) and spool is not None:
            ask = subscription.wake
            self._outlet = SpooledOutlet(name, sink, spool, losing, reset, ask, beats, pauses)
        elif isinstance(sink, DurableSink):
            self._outlet = DirectOutlet(name, sink, losing, reset, self._stop, beats, pauses)
        else:
            raise TypeError(f"sink '{name}': a remote sink needs a spool, any other is durable")
        self._interruption = Interruption(self._outlet.alive, config.flush_interval_s)
        self._thread = threading.Thread(target=self._run, name=f"write {name}", daemon=True)

    def start(self) -> None:
        """Start to write. Returns when what an earlier run left was found, or after 5 s.

        Rows must not be published before: if the spool did not know that the gateway runs, a
        kill at that moment would lose them in silence.
        """
        self._thread.start()
        self._opened.wait(OPEN_S)

    def stop(self, deadline_s: float) -> bool:
        """Spool all rows that were published, deliver what the time allows, close everything.

        What is not delivered stays on disk. False: the threads did not end in time.
        """
        self._stop_at_s = time.monotonic() + deadline_s
        self._stop.set()
        self.subscription.wake()
        if self._thread.ident is None:
            return True
        self._thread.join(deadline_s + 3.0)
        if self._thread.is_alive():
            waiting = int(self.status()["pending_rows"])
            text = "sink %s did not stop in time; up to %d rows waited"
            extra = {"sink": self.name, "rows": waiting}
            log.error(text, self.name, waiting, extra=extra)
            return False
        return True

    @property
    def letters(self) -> LetterBox | None:
        """The dead letters of the sink; None where it refuses nothing."""
        return self._outlet.letters

    def hand_over(self, deadline_s: float) -> Subscription:
        """Stop, and leave what is published meanwhile in the queue for a successor."""
        self._handing_over = True
        self.stop(deadline_s)
        return self.subscription

    def status(self) -> dict[str, Any]:
        """How the sink does; durations are seconds ago. From any thread, no I/O."""
        status = self._outlet.status()
        status["pending_rows"] += self._held_rows + len(self.subscription)
        return {
            "type": self._type,
            "rows_accepted": self._rows_accepted,
            "rows_unchanged": self._rows_unchanged,
            "rows_lost": self._all_lost(),
            "faults": self._faults,
            **status,
        }

    def _all_lost(self) -> int:
        lost = self._rows_lost + self.subscription.dropped_rows
        return lost if self._spool is None else lost + self._spool.rows_lost

    def _want_reset(self) -> None:
        self._reset = True

    def _lost(self, cause: Cause, span: Span, detail: str) -> None:
        self._count(cause, span)
        self._tell(cause, span, detail)

    def _count(self, cause: Cause, span: Span) -> None:
        if cause not in COUNTED_APART:
            self._rows_lost += span.rows
        if cause in BEFORE_DISK:
            self._gave_up = True

    def _tell(self, cause: Cause, span: Span, detail: str) -> None:
        if span.table != LOSS_TABLE:  # that would be told in a row of the same kind, without end
            self._on_loss(self._loss(cause, span, detail))

    def _tell_again(self, cause: Cause, span: Span, detail: str) -> None:
        """The other sinks have the row that told of it."""
        if self._loss_row is None:
            self._tell(cause, span, detail)
        else:
            self.subscription.put(self._loss_row(self._loss(cause, span, detail)))

    def _loss(self, cause: Cause, span: Span, detail: str) -> Loss:
        device, table, rows, first_ns, last_ns = span
        return Loss(self.name, device, table, first_ns, last_ns, rows, cause, detail)

    def _run(self) -> None:
        beat = f"sink {self.name}: write"
        interval_s = self._config.flush_interval_s
        self._heartbeats.beat(beat, 60.0)
        self._outlet.alive.begin(2.0 * interval_s)
        with self._no_end():
            self._outlet.open()
            nothing = self._outlet.stored_nothing()
            self._interruption.found(self._outlet.interrupted(), nothing=nothing)
            self.alarms = self._interruption.alarms()
        self._opened.set()
        held: list[Row] = []
        flushed_s = time.monotonic()
        flush_at = flushed_s + interval_s
        slowest_s = 0.0
        while True:
            self.subscription.wait(max(0.0, min(LOOK_S, flush_at - time.monotonic())))
            self._heartbeats.beat(beat, interval_s + 30.0)
            stopping = self._stop.is_set()
            with self._no_end():
                self._outlet.begin_round()
            held += self.subscription.drain()
            self._held_rows = len(held)
            if self.subscription.take_hurry():
                flush_at = min(flush_at, flushed_s + HURRY_S)
            due = len(held) >= self._config.batch_rows or time.monotonic() >= flush_at
            if due or stopping:
                # rows have the time of their reading, which is before they come here
                behind_s = time.monotonic() - flushed_s + interval_s
                flushed_s = time.monotonic()
                flush_at = flushed_s + interval_s
                self._outlet.alive.touch(2.0 * (interval_s + slowest_s), behind_s)
                self._flush(held)
                slowest_s = max(time.monotonic() - flushed_s, slowest_s / 2.0)
                held = []
                self._held_rows = 0
                self._flushed = self.subscription.drained
            else:
                self._guarded([])  # woken for backlog
            self._tell_stored()
            with self._no_end():
                self._outlet.tell(ending=stopping)
            if stopping and not len(self.subscription):
                break
        self._heartbeats.beat(beat, max(0.0, self._stop_at_s - time.monotonic()) + 30.0)
        with self._no_end():
            self._outlet.finish(self._stop_at_s)
            self._gave_up |= self._outlet.in_memory
            self._tell_stored(ending=True)
            self._say_last_words()
            self._outlet.ended()
        self._heartbeats.forget(beat)

    @contextmanager
    def _no_end(self) -> Iterator[None]:
        """A fault of ours must not end the thread: it is counted, and logged once."""
        try:
            yield
        except Exception:
            self._faults += 1
            if self._faults == 1:
                extra = {"sink": self.name}
                log.exception("fault in the writer of sink %s", self.name, extra=extra)
            self._stop.wait(AFTER_FAULT_S)

    def _tell_stored(self, *, ending: bool = False) -> None:
        """Say up to where rows are on disk, to those who wait for theirs."""
        if self._flushed == self.subscription.settled or (self._outlet.in_memory and not ending):
            return
        lost, self._gave_up = self._gave_up, False
        self.subscription.settle(self._flushed, lost=lost)

    def _say_last_words(self) -> None:
        """What nobody takes any more, and losses whose rows are lost themselves."""
        words = self._outlet.last_words
        rows = [] if self._handing_over else self.subscription.drain()
        words.add(told_in(rows, self.name))
        if rows:
            self.subscription.settle(self.subscription.drained, lost=True)
        for span in spans_of(Selected(row) for row in rows):
            if span.table == LOSS_TABLE:
                continue
            self._rows_lost += span.rows
            if span.table not in OWN_TABLES:
                words.add([("unclean_stop", span, "published after the stop")], own=True)
        for note in words.leave(self.name, self._outlet.notes_path):
            self._tell(*note)  # then at least the other sinks know

    def _flush(self, rows: list[Row]) -> None:
        self._rows_accepted += len(rows)
        with self._no_end():
            self._repeat_after_loss()
            self._interruption.found(self._outlet.interrupted())
            for note in self._interruption.missing(rows):
                # its row is on disk only after these rows are, and a kill may come in between
                self._outlet.note([note])
                self._lost(*note)
        size = self._config.batch_rows
        for at in range(0, len(rows), size) or (0,):
            batch = rows[at : at + size]
            self._held_rows = max(0, len(rows) - at - size)
            self._guarded(self._select(batch))

    def _repeat_after_loss(self) -> None:
        lost = self._all_lost()
        if self._reset or lost != self._dropped_before:
            self._reset, self._dropped_before = False, lost
            self._deadband.reset()
            self._start_over = True
        now = time.monotonic()
        # a sink that refuses a line in every batch must not make every row a long one
        if self._start_over and now - self._started_over_s >= START_OVER_S:
            self._start_over, self._started_over_s = False, now
            self._outlet.start_over()

    def _select(self, rows: list[Row]) -> list[Selected]:
        out: list[Selected] = []
        for row in rows:
            try:
                selected = self._deadband.select(row)
            except Exception as error:
                self._deadband.reset(row.table)
                self._fault([Selected(row)], error)
                continue
            if selected is None:
                self._rows_unchanged += 1
            else:
                out.append(selected)
        return out

    def _guarded(self, selected: list[Selected]) -> None:
        try:
            self._outlet.write(selected)
        except Exception as error:
            self._fault(selected, error)

    def _fault(self, selected: list[Selected], error: Exception) -> None:
        """A fault of ours must not end the thread, and what it costs is told."""
        self._faults += 1
        if self._faults == 1:
            extra = {"sink": self.name}
            log.error("fault in the writer of sink %s", self.name, extra=extra, exc_info=error)
        with self._no_end():
            self._outlet.lose_faulty(selected, error)
