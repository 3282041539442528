"""From the hub to one sink: drain, dead band, and out by way of an outlet."""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Callable
from typing import Any

from pydantic import Field

from gateway.driver import Settings
from gateway.health import Heartbeats
from gateway.hub import Subscription
from gateway.losses import Cause, Loss
from gateway.model import Row
from gateway.sinks import DurableSink, RemoteSink, Selected, Sink
from gateway.spool import LOSS_TABLE, Spool
from gateway.spool.manifest import Span
from gateway.writer.deadband import Deadband
from gateway.writer.deliver import Backoff
from gateway.writer.outlets import OWN_TABLES, DirectOutlet, Outlet, spans_of
from gateway.writer.spooled import SpooledOutlet

log = logging.getLogger(__name__)


OPEN_S = 5.0


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
        heartbeats: Heartbeats | None = None,
        backoff: Backoff | None = None,
    ) -> None:
        self.name = name
        self._type = sink.config.type
        self._subscription = subscription
        self._config = config
        self._spool = spool
        self._on_loss = on_loss
        self._heartbeats = heartbeats or Heartbeats()
        self._deadband = Deadband()
        self._reset = False
        self._dropped_before = 0
        self._interrupted: dict[tuple[str, str], int] = {}
        self._rows_accepted = 0
        self._rows_unchanged = 0
        self._rows_lost = 0
        self._opened = threading.Event()
        self._stop = threading.Event()
        self._stop_at_s = math.inf
        pauses = backoff or Backoff()
        reset, beats = self._want_reset, self._heartbeats
        self._outlet: Outlet
        if isinstance(sink, RemoteSink) and spool is not None:
            ask = subscription.wake
            self._outlet = SpooledOutlet(name, sink, spool, self._lost, reset, ask, beats, pauses)
        elif isinstance(sink, DurableSink):
            self._outlet = DirectOutlet(name, sink, self._lost, reset, self._stop, beats, pauses)
        else:
            raise TypeError(f"sink '{name}': a remote sink needs a spool, any other is durable")
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
        self._subscription.wake()
        if self._thread.ident is None:
            return True
        self._thread.join(deadline_s + 3.0)
        if self._thread.is_alive():
            log.error("sink %s did not stop in time", self.name, extra={"sink": self.name})
            return False
        return True

    def status(self) -> dict[str, Any]:
        """How the sink does; durations are seconds ago. From any thread, no I/O."""
        lost = self._rows_lost + self._subscription.dropped_rows
        if self._spool is not None:
            lost += self._spool.rows_lost
        return {
            "type": self._type,
            "rows_accepted": self._rows_accepted,
            "rows_unchanged": self._rows_unchanged,
            "rows_lost": lost,
            **self._outlet.status(),
        }

    def _want_reset(self) -> None:
        self._reset = True

    def _lost(self, cause: Cause, span: Span, detail: str) -> None:
        if cause != "rejected":  # those are counted apart
            self._rows_lost += span.rows
        if span.table == LOSS_TABLE:
            return  # the loss of a loss would be told in a row of the same kind, without end
        device, table, rows, first_ns, last_ns = span
        self._on_loss(Loss(self.name, device, table, first_ns, last_ns, rows, cause, detail))

    def _run(self) -> None:
        beat = f"sink {self.name}: write"
        interval_s = self._config.flush_interval_s
        self._heartbeats.beat(beat, 60.0)
        self._outlet.open()
        self._opened.set()
        self._interrupted = self._outlet.interrupted()
        held: list[Row] = []
        flush_at = time.monotonic() + interval_s
        while True:
            self._subscription.wait(max(0.0, flush_at - time.monotonic()))
            self._heartbeats.beat(beat, interval_s + 30.0)
            stopping = self._stop.is_set()
            self._outlet.begin_round()
            held += self._subscription.drain()
            due = len(held) >= self._config.batch_rows or time.monotonic() >= flush_at
            if due or stopping:
                flush_at = time.monotonic() + interval_s
                self._flush(held)
                held = []
            else:
                self._guarded([])  # woken for backlog
            if stopping and not len(self._subscription):
                break
        self._heartbeats.beat(beat, max(0.0, self._stop_at_s - time.monotonic()) + 30.0)
        self._outlet.finish(self._stop_at_s)
        self._heartbeats.forget(beat)

    def _flush(self, rows: list[Row]) -> None:
        self._rows_accepted += len(rows)
        dropped = self._subscription.dropped_rows + self._rows_lost
        dropped += self._spool.rows_lost if self._spool is not None else 0
        if self._reset or dropped != self._dropped_before:
            self._reset, self._dropped_before = False, dropped
            self._deadband.reset()
        if self._interrupted:
            self._report_interruption(rows)
        size = self._config.batch_rows
        for at in range(0, len(rows), size) or (0,):
            batch = rows[at : at + size]
            selected = [s for s in map(self._deadband.select, batch) if s is not None]
            self._rows_unchanged += len(batch) - len(selected)
            self._guarded(selected)

    def _guarded(self, selected: list[Selected]) -> None:
        try:
            self._outlet.write(selected)
        except Exception as error:
            # a fault of ours must not end the thread, and what it costs is told
            log.exception("fault in the writer of sink %s", self.name, extra={"sink": self.name})
            for span in spans_of(selected):
                self._lost("encode_fault", span, repr(error)[:200])

    def _report_interruption(self, rows: list[Row]) -> None:
        """After an unclean stop: what each table may have lost before its first new row."""
        for row in rows:
            table = row.table
            last_ns = self._interrupted.pop((table.device, table.key), None)
            if last_ns is None or table.name.startswith(OWN_TABLES) or not table.interval_s:
                continue
            missing = int((row.time_ns - last_ns) / (table.interval_s * 1e9) - 0.5)
            at_most = min(missing, math.ceil(self._config.flush_interval_s / table.interval_s))
            if at_most > 0:
                span = Span(table.device, table.key, at_most, last_ns + 1, row.time_ns - 1)
                self._lost("unclean_stop", span, "at most; the gateway was not stopped cleanly")
