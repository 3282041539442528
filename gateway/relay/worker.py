"""One worker: reads, delivers, keeps its entries alive, and tells how it is."""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from typing import Any, Final

from gateway import __version__
from gateway.errors import GatewayError
from gateway.health import Heartbeats, process_status
from gateway.relay.entries import InHand
from gateway.relay.making import Maker, made_sink
from gateway.relay.reader import Reader
from gateway.relay.settings import WriterFile
from gateway.relay.settle import Settler
from gateway.relay.source import StreamSource
from gateway.relay.streams import Streams
from gateway.sinks.redis.client import RedisClient
from gateway.spool.manifest import Span
from gateway.writer.deliver import Backoff, Deliverer

log = logging.getLogger("gateway.relay")

LOOK_S: Final = 2.0
RATE_S: Final = 10.0


class Worker:
    """Between `start` and `stop` its threads run. GatewayError where the sink cannot be made."""

    def __init__(self, file: WriterFile) -> None:
        self.file = file
        self.name = file.worker_name
        self.heartbeats = Heartbeats()
        self.sink = made_sink(file.sink, file.state_dir)
        self._begun_s = time.monotonic()
        self._in_hand = InHand()
        self._stop_reading = threading.Event()
        self._give_up = threading.Event()
        """The time for a stop is up: what is not settled now stays pending."""
        self._over = threading.Event()
        self._clients = {
            what: RedisClient(file.redis, f"edge-gateway-writer:{self.name}:{what}", raw=True)
            for what in ("read", "settle", "keep")
        }
        self._settler = Settler(self._clients["settle"], file, self._in_hand, self._give_up)
        self._source = StreamSource(self._settler, self.sink.letter_format)
        self._reader = Reader(
            file,
            Streams(self._clients["read"], file),
            Maker(self.sink, file.batch.max_rows),
            self._source,
            Settler(self._clients["read"], file, self._in_hand, self._give_up),
            self._in_hand,
            self.heartbeats,
            self._stop_reading,
        )
        self._deliverer = Deliverer(
            file.sink.type,
            self.sink,
            self._source,
            self._source,
            self._on_rejected,
            lambda: None,
            self.heartbeats,
            Backoff(first_s=0.5, max_s=30.0),
        )
        self._look: dict[str, int] = {}
        self._look_error: str | None = None
        self._marks: deque[tuple[float, int]] = deque(maxlen=int(RATE_S / 0.5))
        self._told: set[str] = set()
        self._threads = [
            threading.Thread(target=run, name=name, daemon=True)
            for name, run in (
                ("read", self._reader.run),
                ("deliver", self._deliverer.run),
                ("keep", self._keep_all),
            )
        ]

    def start(self) -> None:
        """Start reading and storing."""
        about = {"worker": self.name, "group": self.file.group, "sink": self.file.sink.type}
        log.info("worker", extra={**about, "redis": self._clients["read"].where})
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Store what was read, give back what could not be stored, and end; within shutdown_s."""
        end_s = time.monotonic() + self.file.shutdown_s
        reader, deliverer, keeper = self._threads
        self._stop_reading.set()
        self._source.wake()
        reader.join(max(1.0, end_s - time.monotonic()))
        self._deliverer.finish()
        deliverer.join(max(0.5, end_s - time.monotonic()))
        self._give_up.set()
        self._over.set()
        for what in ("read", "settle"):
            self._clients[what].close()
        self.sink.close()
        for thread in (reader, deliverer):
            thread.join(2.0)
        keeper.join(self.file.redis.timeout_s + 2.0)
        self._clients["keep"].close()
        left = len(self._in_hand)
        log.info("stopped", extra={"rows_stored": self._deliverer.rows_stored, "left": left})

    def is_whole(self) -> bool:
        """Whether no thread has ended by itself."""
        return all(thread.is_alive() for thread in self._threads)

    def alive(self) -> bool:
        """Whether every thread runs and has given a sign of life in time."""
        return self.is_whole() and not self.heartbeats.silent()

    def ready(self) -> tuple[bool, str | None]:
        """Whether rows flow; why not, otherwise."""
        if not self.alive():
            return False, f"no sign of life: {', '.join(self.heartbeats.silent()) or 'a thread'}"
        if (error := self._redis_error) is not None:
            return False, f"Redis: {error}"
        if self._deliverer.state != "good":
            return False, f"sink {self.file.sink.type}: {self._deliverer.error}"
        if not self._reader.streams.names:
            return False, "the streams were not looked at yet"
        return True, None

    @property
    def _redis_error(self) -> str | None:
        return self._reader.error or self._settler.error or self._look_error

    def status(self) -> dict[str, Any]:
        """How the worker is, as JSON. No I/O."""
        ready, reason = self.ready()
        deliverer, settlers = self._deliverer, (self._settler, self._reader.settler)
        last_s = deliverer.last_stored_s
        now = time.monotonic()
        return {
            "worker": {
                "name": self.name,
                "group": self.file.group,
                "version": __version__,
                "uptime_s": round(now - self._begun_s, 3),
                "ready": ready,
                "problem": reason,
            },
            "redis": {
                "server": self._clients["read"].where,
                "error": self._redis_error,
                "streams": max(0, len(self._reader.streams.names) - 1),  # without the replays
                "entries_read": self._reader.entries_read,
                "entries_claimed": self._reader.entries_claimed,
                "entries_settled": sum(s.entries_settled for s in settlers),
                "entries_in_hand": len(self._in_hand),
                "entries_deleted": self._reader.streams.deleted,
                "lag_entries": self._look.get("lag_entries"),
                "pending_entries": self._look.get("pending_entries"),
                "dead_letters": self._look.get("dead_letters"),
                "dead_letters_made": sum(s.letters_kept for s in settlers),
                "dead_letters_dropped": sum(s.letters_dropped for s in settlers),
            },
            "sink": {
                "type": self.file.sink.type,
                "state": deliverer.state,
                "error": deliverer.error,
                "rows_stored": deliverer.rows_stored,
                "rows_rejected": deliverer.rows_rejected,
                "values_stored": deliverer.values_stored,
                "rows_per_s": self._rate(),
                "last_stored_s": None if last_s is None else round(now - last_s, 3),
                "facts": self.sink.status(),
            },
            "process": process_status(),
        }

    def _rate(self) -> float:
        marks = list(self._marks)
        if len(marks) < 2 or marks[-1][0] <= marks[0][0]:
            return 0.0
        (t0, rows0), (t1, rows1) = marks[0], marks[-1]
        return round((rows1 - rows0) / (t1 - t0), 1)

    def _on_rejected(self, spans: list[Span], words: str) -> None:
        if words not in self._told and len(self._told) < 1000:
            self._told.add(words)
            tables = ", ".join(f"{s.device}/{s.table}" for s in spans[:3])
            extra = {"rows": sum(s.rows for s in spans), "tables": tables, "words": words}
            log.warning("rows are dead letters", extra=extra)

    def _keep_all(self) -> None:
        """A sign of life for what is in hand, and a look at the streams; at the end, the rest."""
        streams = Streams(self._clients["keep"], self.file)
        every_s = min(self.file.claim_after_s / 5, LOOK_S)
        looked_s = float("-inf")
        while not self._over.wait(min(every_s, 0.5)):
            self._marks.append((time.monotonic(), self._deliverer.rows_stored))
            if time.monotonic() - looked_s < every_s:
                continue
            looked_s = time.monotonic()
            streams.names = list(self._reader.streams.names)
            try:
                if not self.heartbeats.silent():  # else others are to take it over
                    streams.keep(self._in_hand.all())
                self._look = streams.look()
                self._look_error = None
            except GatewayError as error:
                self._look_error = str(error)
        streams.names = list(self._reader.streams.names)
        try:
            streams.release(self._in_hand.all())
            streams.leave()
        except GatewayError as error:
            log.warning("entries were not given back: %s", error)
