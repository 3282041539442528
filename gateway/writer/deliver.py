"""The thread that sends batches until the sink has stored them, or refused them for good."""

from __future__ import annotations

import logging
import random
import threading
import time
from collections.abc import Callable
from typing import NamedTuple

from gateway.errors import Rejected, SinkUnavailable, TooLarge
from gateway.health import Heartbeats
from gateway.sinks import RemoteSink
from gateway.sinks.payload import Described, Describes, plain_body
from gateway.spool.manifest import Span, merge_spans
from gateway.spool.shelf import Batch
from gateway.writer.deadletters import DeadLetters
from gateway.writer.lanes import Lanes

log = logging.getLogger(__name__)

IDLE_S = 5.0
MAX_RETRY_AFTER_S = 300.0


class Backoff(NamedTuple):
    """Pauses between tries: doubling, with jitter; slow where only a person can help."""

    first_s: float = 1.0
    max_s: float = 60.0
    operator_s: float = 30.0

    def pause_s(self, failures: int, error: SinkUnavailable) -> float:
        """The pause after the n-th failure in a row."""
        doubled = self.first_s * 2.0 ** min(failures - 1, 30)
        base = min(self.operator_s if error.operator else doubled, self.max_s)
        jittered = base * random.uniform(0.75, 1.25)
        asked = min(error.retry_after_s or 0.0, MAX_RETRY_AFTER_S)
        return max(jittered, asked)


class Deliverer:
    """Delivers what stands in the lanes; its own thread runs `run`."""

    def __init__(
        self,
        name: str,
        sink: RemoteSink,
        lanes: Lanes,
        letters: DeadLetters,
        on_rejected: Callable[[list[Span], str], None],
        on_recovered: Callable[[], None],
        heartbeats: Heartbeats,
        backoff: Backoff,
    ) -> None:
        self.state = "good"
        self.error: str | None = None
        self.rows_stored = 0
        self.rows_rejected = 0
        self.values_stored = 0
        self.last_stored_s: float | None = None
        self._name = name
        self._sink = sink
        self._lanes = lanes
        self._letters = letters
        self._on_rejected = on_rejected
        self._on_recovered = on_recovered
        self._heartbeats = heartbeats
        self._backoff = backoff
        self._request_s = 2.0 * float(getattr(sink.config, "timeout_s", 10.0)) + 30.0
        self._finish = threading.Event()
        self._failures = 0
        self._lost_at = 0.0
        self._in_hand: Batch | None = None

    def finish(self) -> None:
        """End when no live batch waits, or at once where the sink does not answer."""
        self._finish.set()
        self._lanes.wake()

    @property
    def in_hand(self) -> Batch | None:
        """The batch that is being sent."""
        return self._in_hand

    def run(self) -> None:
        """Deliver until `finish`."""
        beat = f"sink {self._name}: deliver"
        try:
            while True:
                self._heartbeats.beat(beat, IDLE_S + 30.0)
                finishing = self._finish.is_set()
                batch = self._lanes.next(0.0 if finishing else IDLE_S, live_only=finishing)
                if batch is None:
                    if finishing:
                        return
                    continue
                self._in_hand = batch
                while True:
                    try:
                        sent = self._send(batch, beat)
                        break
                    except Exception as error:  # must not end the thread, nor lose the batch
                        if not self._our_fault(error, beat):
                            return
                if not sent:
                    return
                self._lanes.finished(batch)
                self._in_hand = None
        finally:
            self._letters.close()
            self._heartbeats.forget(beat)

    def _send(self, batch: Batch, beat: str) -> bool:
        """Send all of a batch; False where the end came before."""
        stored = batch.stored
        refused: list[Described] = []
        words = ""
        while batch.unsent and not batch.cancelled:
            body = batch.unsent[-1]
            self._heartbeats.beat(beat, self._request_s)
            try:
                self._sink.deliver(body, stored.format)
            except SinkUnavailable as error:
                if not self._wait(error, beat):
                    return False
                continue
            except (TooLarge, Rejected) as error:
                self._recovered()  # it answers
                halves = self._sink.split(body, stored.format)
                batch.unsent[-1:] = reversed(halves)
                if len(halves) > 1:
                    continue
                words = str(error) or type(error).__name__
                refused.append(self._refuse(batch, body, words))
            except Exception as error:
                if not self._our_fault(error, beat):
                    return False
                continue
            else:
                self._recovered()
            batch.unsent.pop()
        self._count(batch, refused, words)
        return True

    def _our_fault(self, error: Exception, beat: str) -> bool:
        """The batch is kept and tried again; False where the thread is to end."""
        if self._failures == 0:
            extra = {"sink": self._name}
            log.error("fault in sink %s", self._name, extra=extra, exc_info=error)
        return self._wait(SinkUnavailable(f"fault: {error!r}", operator=True), beat)

    def _refuse(self, batch: Batch, body: bytes, words: str) -> Described:
        format_ = batch.stored.format
        line = plain_body(body, format_)
        if not self._letters.add(line, words):
            extra = {"sink": self._name, "line": line[:500].decode(errors="replace")}
            log.error("sink %s: a dead letter could not be kept", self._name, extra=extra)
        if isinstance(self._sink, Describes):
            return self._sink.describe(body, format_)
        device, table, _, first_ns, _ = batch.stored.spans[0]
        return Described(device, table, first_ns, 1)

    def _count(self, batch: Batch, refused: list[Described], words: str) -> None:
        stored = batch.stored
        if batch.cancelled and batch.unsent:
            return
        self.rows_stored += max(0, stored.rows - len(refused))
        self.values_stored += max(0, stored.values - sum(r.values for r in refused))
        if len(refused) < stored.rows:
            self.last_stored_s = time.monotonic()
        if refused:
            self.rows_rejected += len(refused)
            spans = merge_spans(Span(r.device, r.table, 1, r.time_ns, r.time_ns) for r in refused)
            self._on_rejected(spans, words)

    def _wait(self, error: SinkUnavailable, beat: str) -> bool:
        """Note the failure and pause; False where the thread is to end."""
        self._failures += 1
        self.error = str(error)
        self.state = "blocked" if error.operator else "retrying"
        if self._failures == 1:
            self._lost_at = time.monotonic()
            extra = {"sink": self._name, "state": self.state, "error": self.error}
            log.warning("sink %s lost: %s", self._name, self.error, extra=extra)
        pause_s = self._backoff.pause_s(self._failures, error)
        self._heartbeats.beat(beat, pause_s + 30.0)
        return not self._finish.wait(pause_s)

    def _recovered(self) -> None:
        if self._failures:
            away_s = round(time.monotonic() - self._lost_at, 1)
            extra = {"sink": self._name, "state": "good", "lost_s": away_s}
            log.info("sink %s is back after %s s", self._name, away_s, extra=extra)
            self._failures = 0
            self._on_recovered()
        self.error = None
        self.state = "good"
