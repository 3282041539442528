"""The thread that reads entries and makes batches of them."""

from __future__ import annotations

import logging
import threading
import time
from typing import Final

from gateway.errors import GatewayError, SinkUnavailable
from gateway.health import Heartbeats
from gateway.relay.entries import Entry, InHand
from gateway.relay.making import Maker, Opened, opened
from gateway.relay.settings import WriterFile
from gateway.relay.settle import Settler
from gateway.relay.source import StreamSource
from gateway.relay.streams import Streams
from gateway.sinks.redis.client import Refusal
from gateway.wire import FORMAT
from gateway.writer.deliver import Backoff

log = logging.getLogger(__name__)

BLOCK_S: Final = 0.5
BEAT: Final = "read"


class Reader:
    """Reads until `stop` is set; what it has collected by then is still handed on."""

    def __init__(
        self,
        file: WriterFile,
        streams: Streams,
        maker: Maker,
        source: StreamSource,
        settler: Settler,
        in_hand: InHand,
        heartbeats: Heartbeats,
        stop: threading.Event,
    ) -> None:
        self.error: str | None = None
        self.entries_read = 0
        self.entries_claimed = 0
        self.streams = streams
        self.settler = settler
        self._file = file
        self._maker = maker
        self._source = source
        self._in_hand = in_hand
        self._heartbeats = heartbeats
        self._stop = stop
        self._found_s = self._claimed_s = float("-inf")
        self._backoff = Backoff(first_s=0.2, max_s=5.0, operator_s=5.0)

    def run(self) -> None:
        """Read until the stop."""
        failures = 0
        try:
            while not self._stop.is_set():
                self._heartbeats.beat(BEAT, 2 * self._file.redis.timeout_s + 60.0)
                try:
                    self._round()
                except (SinkUnavailable, Refusal) as error:
                    failures += 1
                    self._failed(error, failures)
                except Exception as error:  # must not end the thread
                    failures += 1
                    if failures == 1:
                        log.exception("fault while reading")
                    self._failed(SinkUnavailable(f"fault: {error!r}", operator=True), failures)
                else:
                    if failures:
                        log.info("Redis is back", extra={"failures": failures})
                    failures, self.error = 0, None
            self._hand_on()
        finally:
            self._heartbeats.forget(BEAT)

    def _failed(self, error: GatewayError, failures: int) -> None:
        if failures == 1:
            log.warning("cannot read from Redis: %s", error, extra={"error": str(error)})
        self.error = str(error)
        self._hand_on()  # what was read before goes its way
        asked = error if isinstance(error, SinkUnavailable) else SinkUnavailable("", operator=True)
        self._stop.wait(self._backoff.pause_s(failures, asked))

    def _round(self) -> None:
        now = time.monotonic()
        if now - self._found_s >= self._file.find_every_s or not self.streams.names:
            self.streams.find()
            self._found_s = now
        self._take_over(now)
        since = self._maker.since_s
        left_s = min(BLOCK_S, self._file.redis.timeout_s / 2)
        if since is not None:
            left_s = min(left_s, since + self._file.batch.max_wait_s - now)
        entries = self.streams.read(round(1000 * left_s) if left_s > 0.001 else 0)
        self._in_hand.add(entries)
        self.entries_read += len(entries)
        for entry in entries:
            self._add(entry)
        since = self._maker.since_s
        if since is not None and time.monotonic() - since >= self._file.batch.max_wait_s:
            self._hand_on()

    def _add(self, entry: Entry) -> None:
        if entry.format != FORMAT:
            self._try_again(entry)
            return
        found = self._opened(entry)
        if found is None:
            return
        self._maker.add(found)
        if self._maker.is_full:
            self._hand_on()

    def _opened(self, entry: Entry) -> Opened | None:
        """None: it was empty, or it is a dead letter now."""
        try:
            found = opened(entry)
        except ValueError as error:
            self.settler.bury(entry, f"no rows: {error}")
            return None
        if not found.rows:
            self.settler.settle([entry])
            return None
        return found

    def _try_again(self, entry: Entry) -> None:
        try:
            batches = self._maker.again(entry)
        except ValueError as error:
            self.settler.bury(entry, str(error))
            return
        self._source.put(batches, self._stop)

    def _hand_on(self) -> None:
        self._source.put(self._maker.take(), self._stop)

    def _take_over(self, now: float) -> None:
        """One at a time: so it is the very entry that is at fault whose count goes up."""
        every_s = min(self._file.claim_after_s / 4, 5.0)
        if self._source.has_claimed or now - self._claimed_s < every_s:
            return
        for claimed in self.streams.claim():
            entry = claimed.entry
            self._in_hand.add([entry])
            self.entries_claimed += 1
            if claimed.deliveries > self._file.dead_letters.max_deliveries:
                times = f"{claimed.deliveries - 1} workers took it up"
                self.settler.bury(entry, f"{times}, and none came to an end with it")
                continue
            if entry.format != FORMAT:
                self._try_again(entry)
                continue
            if (found := self._opened(entry)) is not None:
                self._source.put(self._maker.batches([found], is_claimed=True), self._stop)
                return  # the next one when this one is through
        self._claimed_s = now
