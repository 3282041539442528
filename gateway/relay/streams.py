"""Reads streams as one worker of a consumer group, and takes over what a dead one left."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final, NamedTuple

from gateway.relay.entries import Entry, entry_of
from gateway.relay.settings import WriterFile
from gateway.sinks.redis.client import Command, RedisClient, Refusal

log = logging.getLogger(__name__)

AT_ONCE: Final = 64
"""Streams asked in one command, and entries that it may give."""
MAX_STREAMS: Final = 10_000
_PIPELINE: Final = 500


class Claimed(NamedTuple):
    """An entry that was taken over."""

    entry: Entry
    deliveries: int
    """How often it was given to a worker, this time included."""


class Streams:
    """The streams of a group; for one thread. SinkUnavailable as `RedisClient`."""

    def __init__(self, client: RedisClient, file: WriterFile) -> None:
        self.names: list[bytes] = []
        self.deleted = 0
        """Entries that somebody removed while they were pending: their rows are lost here."""
        self._client = client
        self._file = file
        self._next = 0

    def find(self) -> None:
        """Look for streams, and make the group in new ones."""
        found = {self._file.replay.encode()}
        for pattern in self._file.streams:
            if not any(c in pattern for c in "*?["):
                found.add(pattern.encode())
                continue
            found.update(self._scan(pattern))
        if len(found) > MAX_STREAMS:
            text = "only some of the streams are read"
            log.error(text, extra={"streams": len(found), "read": MAX_STREAMS})
        names = sorted(found)[:MAX_STREAMS]
        known = set(self.names)
        self._make_group([name for name in names if name not in known])
        self.names = names

    def _scan(self, pattern: str) -> set[bytes]:
        found: set[bytes] = set()
        cursor: Any = 0
        while len(found) <= MAX_STREAMS:
            cursor, names = self._client.call(
                "SCAN", cursor, "MATCH", pattern, "COUNT", 1000, "TYPE", "stream"
            )
            found.update(names)
            if int(cursor) == 0:
                break
        return found

    def _make_group(self, names: Sequence[bytes]) -> None:
        """From the first entry: whoever is new gets all that is there."""
        for some in _chunks(names, _PIPELINE):
            commands: list[Command] = [
                ("XGROUP", "CREATE", name, self._file.group, "0", "MKSTREAM") for name in some
            ]
            for name, answer in zip(some, self._client.run(commands), strict=True):
                if isinstance(answer, Refusal) and answer.code == "BUSYGROUP":
                    continue
                if isinstance(answer, Exception):
                    raise answer
                log.info("stream", extra={"stream": name.decode(errors="replace")})

    def read(self, block_ms: int) -> list[Entry]:
        """New entries, the streams in turn; waits where none has any."""
        names = self.names
        if not names:
            return []
        for _ in range(0, len(names), AT_ONCE):
            first = self._next if self._next < len(names) else 0
            some = names[first : first + AT_ONCE]
            self._next = first + len(some)
            if found := self._read(some, max(1, AT_ONCE // len(some)), 0):
                return found
        return self._read(names, 1, block_ms) if block_ms else []

    def _read(self, names: Sequence[bytes], count: int, block_ms: int) -> list[Entry]:
        block = ("BLOCK", block_ms) if block_ms else ()
        try:
            answer = self._client.call(
                *("XREADGROUP", "GROUP", self._file.group, self._file.worker_name),
                *("COUNT", count, *block, "STREAMS", *names, *[">"] * len(names)),
            )
        except Refusal as error:
            if error.code != "NOGROUP":
                raise
            # a stream, or all of Redis, was emptied
            self.names = []
            self.find()
            return []
        return [entry_of(name, given) for name, listed in answer or () for given in listed]

    # -- what others left

    def claim(self) -> Iterator[Claimed]:
        """Entries that nobody gave a sign of life for, one at a time: take them or stop asking."""
        idle_ms = round(1000 * self._file.claim_after_s)
        for name, id_ in self._idle(idle_ms):
            start = id_
            while True:
                answer = self._client.call(
                    *("XAUTOCLAIM", name, self._file.group, self._file.worker_name, idle_ms),
                    *(start, "COUNT", 1),
                )
                start, listed = answer[0], answer[1]
                self._gone(name, answer[2] if len(answer) > 2 else ())
                for given in listed:
                    entry = entry_of(name, given)
                    yield Claimed(entry, self._deliveries(entry))
                if start == b"0-0":
                    break

    def _gone(self, name: bytes, ids: Sequence[bytes]) -> None:
        if ids:
            self.deleted += len(ids)
            text = "pending entries were deleted by somebody: their rows are lost"
            extra = {"stream": name.decode(errors="replace"), "entries": len(ids)}
            log.error(text, extra=extra)

    def _idle(self, idle_ms: int) -> Iterator[tuple[bytes, bytes]]:
        """Streams with the first entry that has been idle for so long."""
        for some in _chunks(self.names, _PIPELINE):
            asked: list[Command] = [
                ("XPENDING", name, self._file.group, "IDLE", idle_ms, "-", "+", 1) for name in some
            ]
            for name, answer in zip(some, self._client.run(asked), strict=True):
                if isinstance(answer, Refusal):
                    continue  # the stream has gone; it is found anew
                if isinstance(answer, Exception):
                    raise answer
                for id_, *_ in answer:
                    yield name, id_

    def _deliveries(self, entry: Entry) -> int:
        answer = self._client.call(
            "XPENDING", entry.stream, self._file.group, entry.id, entry.id, 1
        )
        return int(answer[0][3]) if answer else 1

    # -- what we hold

    def keep(self, held: dict[bytes, list[bytes]]) -> None:
        """A sign of life for these entries: nobody takes them over. It does not count as try."""
        group, worker = self._file.group, self._file.worker_name
        commands: list[Command] = [
            ("XCLAIM", name, group, worker, 0, *some, "JUSTID")
            for name, ids in held.items()
            for some in _chunks(ids, _PIPELINE)
        ]
        self._client.run(commands)

    def release(self, held: dict[bytes, list[bytes]]) -> None:
        """Give these back: others may take them at once, and it counts as if we never had them."""
        idle_ms = round(1000 * self._file.claim_after_s)
        for name, ids in held.items():
            for some in _chunks(ids, _PIPELINE):
                asked: list[Command] = [
                    ("XPENDING", name, self._file.group, id_, id_, 1) for id_ in some
                ]
                commands: list[Command] = []
                for answer in self._client.run(asked):
                    if isinstance(answer, Exception) or not answer:
                        continue
                    id_, worker, _, times = answer[0]
                    if worker.decode() == self._file.worker_name:
                        options = ("IDLE", idle_ms, "RETRYCOUNT", max(0, int(times) - 1), "JUSTID")
                        commands.append(
                            ("XCLAIM", name, self._file.group, worker, 0, id_, *options)
                        )
                self._client.run(commands)

    def leave(self) -> None:
        """Take this worker's name out of the groups where nothing is pending for it."""
        group, worker = self._file.group, self._file.worker_name
        for some in _chunks(self.names, _PIPELINE):
            asked: list[Command] = [("XPENDING", n, group, "-", "+", 1, worker) for n in some]
            free = [
                name
                for name, answer in zip(some, self._client.run(asked), strict=True)
                if isinstance(answer, list) and not answer
            ]
            self._client.run([("XGROUP", "DELCONSUMER", name, group, worker) for name in free])

    # -- how they are

    def look(self) -> dict[str, int]:
        """Entries that are not read yet, pending ones, and dead letters; of all streams."""
        lag = pending = 0
        for some in _chunks(self.names, _PIPELINE):
            for answer in self._client.run([("XINFO", "GROUPS", name) for name in some]):
                if isinstance(answer, Refusal):
                    continue
                if isinstance(answer, Exception):
                    raise answer
                for listed in answer:
                    group = dict(zip(listed[::2], listed[1::2], strict=True))
                    if group[b"name"].decode() == self._file.group:
                        lag += int(group.get(b"lag") or 0)
                        pending += int(group[b"pending"])
        letters = self._client.call("XLEN", self._file.dead)
        return {"lag_entries": lag, "pending_entries": pending, "dead_letters": int(letters)}


def _chunks(names: Sequence[bytes], size: int) -> Iterable[Sequence[bytes]]:
    return [names[at : at + size] for at in range(0, len(names), size)]
