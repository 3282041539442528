"""The thread that sends batches until the sink has stored them, or refused them for good."""

from __future__ import annotations

import logging
import random
import threading
import time
from collections.abc import Callable
from enum import Enum
from typing import NamedTuple

from gateway.errors import Rejected, SinkUnavailable, TooLarge
from gateway.health import Heartbeats
from gateway.sinks import RemoteSink
from gateway.sinks.payload import Describes, TooSlow, Vouches, plain_body
from gateway.spool.batch import Batch
from gateway.spool.manifest import Span
from gateway.writer.doubt import Doubt
from gateway.writer.pace import Pace
from gateway.writer.ports import Letters, Source
from gateway.writer.tally import Refused, Tally

log = logging.getLogger(__name__)

IDLE_S = 5.0
MAX_RETRY_AFTER_S = 300.0
STILL_S = 600.0
"""Refused again within this time: it is still the same refusal."""
MAX_KNOWN = 1_000


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


class _End(Enum):
    """How the sending of a batch ended."""

    THROUGH = 1
    PUT_BACK = 2
    AGAIN = 3
    """The server is believed again, but not in what it refused of this batch before."""
    STOP = 4
    """The thread is to end; the batch stays in hand."""


class Deliverer:
    """Delivers what stands in the lanes; its own thread runs `run`."""

    def __init__(
        self,
        name: str,
        sink: RemoteSink,
        lanes: Source,
        letters: Letters,
        on_rejected: Callable[[list[Span], str], None],
        on_doubt: Callable[[], None],
        heartbeats: Heartbeats,
        backoff: Backoff,
    ) -> None:
        self.state = "good"
        self.error: str | None = None
        self.rows_stored = 0
        self.rows_rejected = 0
        self.values_stored = 0
        self.values_rejected = 0
        self.last_stored_s: float | None = None
        self._name = name
        self._sink = sink
        self._lanes = lanes
        self._letters = letters
        self._on_rejected = on_rejected
        self._on_doubt = on_doubt
        """Called where something that is written only on change may not be stored."""
        self._heartbeats = heartbeats
        self._backoff = backoff
        timeout_s = float(getattr(sink.config, "timeout_s", 10.0))
        self._request_s = 2.0 * timeout_s + 30.0
        self._pace = Pace(timeout_s)
        self._doubt = Doubt()
        self._finish = threading.Event()
        self._failures = 0
        self._refused_s: dict[tuple[str, str, frozenset[str]], float] = {}
        self._lost_at = 0.0

    def finish(self) -> None:
        """End when no live batch waits, or at once where the sink does not answer."""
        self._finish.set()
        self._lanes.wake()

    @property
    def in_hand(self) -> Batch | None:
        """The batch that is being sent."""
        return self._lanes.in_hand

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
                if not self._deliver(batch, beat):
                    return
        finally:
            self._letters.close()
            self._heartbeats.forget(beat)

    def _deliver(self, batch: Batch, beat: str) -> bool:
        """See a batch through, or put it back; False where the thread is to end."""
        tally = Tally(batch.stored.spans)
        self._doubt.begin()
        while True:
            try:
                end = self._send(batch, tally, beat)
                if end is not _End.AGAIN:
                    break
                batch.unsent, tally = [batch.stored.body], Tally(batch.stored.spans)
            except Exception as error:  # must not end the thread, nor lose the batch
                if not self._our_fault(error, beat):
                    return False
        if end is _End.THROUGH:
            self._lanes.finished(batch)
        elif end is _End.PUT_BACK:
            batch.unsent = [batch.stored.body]
            self._lanes.put_back(batch)
            text = "refuses all rows; they are kept, and tried again now and then"
            return self._wait(SinkUnavailable(f"{text}: {self._doubt.words}"), beat, "blocked")
        return end is not _End.STOP

    def _send(self, batch: Batch, tally: Tally, beat: str) -> _End:
        """Send all of a batch."""
        format_ = batch.stored.format
        begun = False
        while batch.unsent:
            body = batch.unsent[-1]
            if self._divide(batch, self._pieces(batch, body)):
                continue
            if begun and batch.lane != "live" and not self._let_pass(beat):
                return _End.STOP
            begun = True
            self._heartbeats.beat(beat, self._request_s)
            begun_s = time.monotonic()
            try:
                self._sink.deliver(body, format_)
            except SinkUnavailable as error:
                if isinstance(error, TooSlow):
                    self._slower(len(body))
                if not self._wait(error, beat):
                    return _End.STOP
                continue
            except TooLarge as error:
                self._recovered()  # it answers
                self._pace.too_large(len(body))
                if self._divide(batch, self._sink.split(body, format_)):
                    continue
                self._refuse(batch, tally, body, str(error) or "too large")
            except Rejected as error:
                words = str(error) or "refused"
                self._judge(words)
                if self._doubt.is_enough and batch.stored.rows and not tally.any_stored:
                    return _End.PUT_BACK
                if self._divide(batch, self._sink.split(body, format_, words)):
                    continue
                self._refuse(batch, tally, body, words)
            except Exception as error:
                if not self._our_fault(error, beat):
                    return _End.STOP
                continue
            else:
                self._recovered()
                self._pace.stored(len(body), time.monotonic() - begun_s)
                tally.any_stored = True
                self._doubt.stored()
            batch.unsent.pop()
        return self._conclude(batch, tally)

    def _let_pass(self, beat: str) -> bool:
        """Between two pieces live batches go first; False where the thread is to end."""
        while (live := self._lanes.overtaker()) is not None:
            if not self._deliver(live, beat):
                return False
        self._lanes.goes_on()
        return True

    def _judge(self, words: str) -> None:
        """Something was refused: by the store, or by whoever stands before it."""
        if isinstance(self._sink, Vouches) and self._sink.vouches(words):
            self._doubt.stored()
        self._doubt.refused(words)
        if not self._doubt.is_in_doubt:
            self._recovered()  # it answers

    def _conclude(self, batch: Batch, tally: Tally) -> _End:
        """All of a batch was stored or refused: note it, unless the server is not believed.

        A batch without rows holds dead letters, which may be refused once more.
        """
        if batch.stored.rows and not tally.any_stored:
            if self._doubt.is_in_doubt:
                return _End.PUT_BACK
            if not tally.in_doubt:
                self._doubt.give_up(tally.lines)
        if batch.stored.rows and tally.in_doubt:
            return _End.AGAIN
        for lines, words in tally.letters:
            if not self._letters.add_all(lines, words):
                extra = {"sink": self._name, "line": lines[0][:500].decode(errors="replace")}
                text = "sink %s: %d dead letters could not be kept"
                log.error(text, self._name, len(lines), extra=extra)
        self._count(batch, tally)
        return _End.THROUGH

    def _pieces(self, batch: Batch, body: bytes) -> list[bytes]:
        """What goes one after another instead of a payload; mostly just itself.

        Of what is not live so little that live rows do not wait long for its end.
        """
        format_ = batch.stored.format
        pieces = self._sink.pieces(body, format_)
        is_long = batch.lane != "live" and len(body) > self._pace.quick_bytes
        if len(pieces) == 1 and (is_long or not self._pace.fits(len(body))):
            return self._sink.split(body, format_)
        return pieces

    @staticmethod
    def _divide(batch: Batch, pieces: list[bytes]) -> bool:
        """Send those instead of the next one; False where that is what it was."""
        if len(pieces) > 1:
            batch.unsent[-1:] = reversed(pieces)
        return len(pieces) > 1

    def _slower(self, size: int) -> None:
        if self._pace.too_slow(size):
            limit = self._pace.limit_bytes
            text = "sink %s: %d bytes were too much at once; next time at most %s"
            log.info(text, self._name, size, limit, extra={"sink": self._name, "bytes": limit})

    def _our_fault(self, error: Exception, beat: str) -> bool:
        """The batch is kept and tried again; False where the thread is to end."""
        if self._failures == 0:
            extra = {"sink": self._name}
            log.error("fault in sink %s", self._name, extra=extra, exc_info=error)
        return self._wait(SinkUnavailable(f"fault: {error!r}", operator=True), beat)

    def _refuse(self, batch: Batch, tally: Tally, body: bytes, words: str) -> None:
        """Note what was refused; it becomes dead letters when the batch is through."""
        stored = batch.stored
        found = []
        if isinstance(self._sink, Describes):
            found = self._sink.describe_each(body, stored.format)
        lines = [line for line, _ in found] or [plain_body(body, stored.format)]
        tally.letters.append((lines, words))
        tally.in_doubt = tally.in_doubt or self._doubt.is_in_doubt
        if found:
            tally.add((about for _, about in found), words)
        else:
            tally.add_all(stored.rows, stored.values, words)

    def _count(self, batch: Batch, tally: Tally) -> None:
        stored = batch.stored
        for refused in tally.refused():
            self._on_rejected([refused.span], refused.words)
            if self._is_new(refused):
                self._on_doubt()
        # a row of which a column was refused is not one that is stored; and a batch without
        # rows holds dead letters, which were counted when they were refused first
        rejected = min(tally.rows, stored.rows)
        values = min(tally.values, stored.values)
        self.rows_stored += stored.rows - rejected
        self.values_stored += stored.values - values
        self.rows_rejected += rejected
        self.values_rejected += values
        if values < stored.values or not tally.rows:
            self.last_stored_s = time.monotonic()

    def _is_new(self, refused: Refused) -> bool:
        """Whether what is written only on change may be lost with it.

        A column that is refused again and again must not make every row a whole one.
        """
        if not refused.columns:
            return True
        key = (*refused.span[:2], refused.columns)
        now = time.monotonic()
        before_s = self._refused_s.get(key)
        if len(self._refused_s) > MAX_KNOWN:
            self._refused_s.clear()
        self._refused_s[key] = now
        return before_s is None or now - before_s > STILL_S

    def _wait(self, error: SinkUnavailable, beat: str, state: str = "retrying") -> bool:
        """Note the failure and pause; False where the thread is to end."""
        self._failures += 1
        self.error = str(error)
        self.state = "blocked" if error.operator else state
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
            self._on_doubt()
        self.error = None
        self.state = "good"
