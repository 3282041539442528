"""Acknowledges entries whose rows are stored, and keeps what was refused, in one step in Redis."""

from __future__ import annotations

import logging
import threading
from collections.abc import Sequence
from typing import Final

from gateway.errors import SinkUnavailable
from gateway.relay.entries import RAW, Entry, InHand, Letter
from gateway.relay.settings import WriterFile
from gateway.sinks.redis.client import Argument, Command, RedisClient, Refusal
from gateway.wire import FORMAT
from gateway.writer.deliver import Backoff

log = logging.getLogger(__name__)

MAX_WORDS: Final = 500

SCRIPT: Final = """
local before, at, added = redis.call('XLEN', KEYS[1]), 4, 0
local letters = {}
for i = 1, tonumber(ARGV[3]) do
  local size, fields = tonumber(ARGV[at]), {}
  for k = 1, size do fields[k] = ARGV[at + k] end
  letters[i] = fields
  at = at + size + 1
end
local wanted, from = #KEYS == 1, at
for k = 2, #KEYS do
  local size = tonumber(ARGV[from])
  for i = 1, wanted and 0 or size do
    local id = ARGV[from + i]
    local found = redis.pcall('XPENDING', KEYS[k], ARGV[1], id, id, 1)
    wanted = found.err ~= nil or #found > 0
    if wanted then break end
  end
  from = from + size + 1
end
for i = 1, wanted and #letters or 0 do
  redis.call('XADD', KEYS[1], 'MAXLEN', ARGV[2], '*', unpack(letters[i]))
  added = added + 1
end
local dropped = before + added - redis.call('XLEN', KEYS[1])
for k = 2, #KEYS do
  local size, ids = tonumber(ARGV[at]), {}
  for i = 1, size do ids[i] = ARGV[at + i] end
  redis.call('XACK', KEYS[k], ARGV[1], unpack(ids))
  at = at + size + 1
end
return {added, dropped}
"""
"""As MULTI, but where the letters cannot be added nothing is acknowledged either.

Where none of the entries is pending any more, another worker took them over while this one stood
still, and has kept its own letters of them.
"""

MOST: Final = 500
"""Letters or ids in one step: Lua's `unpack` has a bound."""


class Settler:
    """For one thread."""

    def __init__(
        self, client: RedisClient, file: WriterFile, in_hand: InHand, stop: threading.Event
    ) -> None:
        self.entries_settled = 0
        self.letters_kept = 0
        self.letters_dropped = 0
        """Dead letters that went because there were too many: gone for good."""
        self.error: str | None = None
        self._client = client
        self._file = file
        self._in_hand = in_hand
        self._stop = stop
        """Set: do not wait for Redis any longer."""
        self._backoff = Backoff(first_s=0.2, max_s=5.0, operator_s=5.0)

    def bury(self, entry: Entry, words: str) -> bool:
        """A whole entry is a dead letter."""
        format_ = RAW if entry.format == FORMAT else entry.format
        body = entry.body or b""
        letter = Letter(body, format_, words, entry.stream, entry.id, entry.rows)
        extra = {"stream": entry.stream.decode(errors="replace"), "id": entry.id.decode()}
        log.warning("an entry is a dead letter: %s", words, extra=extra)
        return self.settle([entry], [letter])

    def settle(self, entries: Sequence[Entry], letters: Sequence[Letter] = ()) -> bool:
        """Acknowledge; waits for Redis. False where it did not come back: they stay pending."""
        failures = 0
        while True:
            try:
                self._settle(entries, letters)
            except (SinkUnavailable, Refusal) as error:
                if isinstance(error, Refusal) and error.code == "NOGROUP":
                    break  # the group is gone: with it what was to be acknowledged
                failures += 1
                if failures == 1:
                    extra = {"error": str(error), "entries": len(entries)}
                    log.warning("entries cannot be acknowledged", extra=extra)
                self.error = str(error)
                is_refusal = isinstance(error, Refusal)
                asked = error if isinstance(error, SinkUnavailable) else SinkUnavailable("")
                pause_s = 5.0 if is_refusal else self._backoff.pause_s(failures, asked)
                if self._stop.wait(pause_s):
                    return False
            else:
                break
        self.error = None
        self._in_hand.remove(entries)
        self.entries_settled += len(entries)
        return True

    def _settle(self, entries: Sequence[Entry], letters: Sequence[Letter]) -> None:
        for at in range(0, len(letters) - MOST, MOST):  # the last ones go with the entries
            self._run((), letters[at : at + MOST])
        rest = letters[(len(letters) - 1) // MOST * MOST :] if letters else ()
        if rest:
            self._run(entries, rest)
            return
        commands: list[Command] = [
            ("XACK", stream, self._file.group, *ids) for stream, ids in _by_stream(entries)
        ]
        own = self._file.replay.encode()
        commands += [("XDEL", stream, *ids) for stream, ids in _by_stream(entries) if stream == own]
        for answer in self._client.run(commands):
            if isinstance(answer, Exception):
                raise answer

    def _run(self, entries: Sequence[Entry], letters: Sequence[Letter]) -> None:
        keys: list[Argument] = [self._file.dead]
        words: list[Argument] = [self._file.group, self._file.dead_letters.max_entries]
        words.append(len(letters))
        for letter in letters:
            fields = _fields(letter, self._file.worker_name)
            words += [len(fields), *fields]
        for stream, ids in _by_stream(entries):
            keys.append(stream)
            words += [len(ids), *ids]
        added, dropped = map(int, self._client.call("EVAL", SCRIPT, len(keys), *keys, *words))
        self.letters_kept += added
        if added < len(letters):
            log.info("another worker has settled these entries", extra={"letters": len(letters)})
        if dropped > 0:
            self.letters_dropped += dropped
            log.error("dead letters were dropped: too many", extra={"dropped": dropped})
        own = self._file.replay.encode()
        for stream, ids in _by_stream(entries):
            if stream == own:
                self._client.call("XDEL", stream, *ids)


def _fields(letter: Letter, worker: str) -> list[Argument]:
    return [
        *("b", letter.body, "f", letter.format, "e", letter.words[:MAX_WORDS]),
        *("s", letter.stream, "i", letter.id, "n", letter.rows, "w", worker),
    ]


def _by_stream(entries: Sequence[Entry]) -> list[tuple[bytes, list[bytes]]]:
    found: dict[bytes, list[bytes]] = {}
    for entry in entries:
        found.setdefault(entry.stream, []).append(entry.id)
    return [
        (stream, ids[at : at + MOST])
        for stream, ids in found.items()
        for at in range(0, len(ids), MOST)
    ]
