"""The dead letters of a group, in Redis: to be looked at, and tried once more."""

from __future__ import annotations

import base64
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any, Final, NamedTuple

from gateway.errors import GatewayError
from gateway.relay.settings import WriterFile
from gateway.sinks.redis.client import RedisClient, Refusal
from gateway.wire import unpack

AT_ONCE: Final = 100

REPLAY: Final = """
local moved = 0
for _, id in ipairs(ARGV) do
  local found = redis.call('XRANGE', KEYS[1], id, id)
  if found[1] then
    local keep = {}
    local fields = found[1][2]
    for i = 1, #fields, 2 do
      local name = fields[i]
      if name == 'b' or name == 'f' or name == 'n' then
        keep[#keep + 1] = name
        keep[#keep + 1] = fields[i + 1]
      end
    end
    redis.call('XADD', KEYS[2], '*', unpack(keep))
    redis.call('XDEL', KEYS[1], id)
    moved = moved + 1
  end
end
return moved
"""
"""In one step: a letter is among the dead ones or on its way, never both, never neither."""


class DeadLetter(NamedTuple):
    """One of them."""

    id: str
    refused: str
    """When, UTC, ISO 8601."""
    reason: str
    stream: str
    entry: str
    """Id of the entry it was in, or of the first one of its batch."""
    format: str
    """``entry``: a whole entry, which could not be read; else the sink's own format."""
    rows: int
    worker: str
    body: bytes

    def document(self) -> dict[str, Any]:
        """As JSON; a body that is no text as base64."""
        made: dict[str, Any] = self._asdict()
        del made["body"]
        try:
            made["line"] = unpack(self.body).decode()
        except ValueError:  # also UnicodeDecodeError
            made["base64"] = base64.b64encode(self.body).decode()
        return made


class GroupLetters:
    """For one thread. SinkUnavailable where Redis does not answer."""

    def __init__(self, client: RedisClient, file: WriterFile) -> None:
        self._client = client
        self._file = file

    def counts(self) -> tuple[int, int]:
        """How many there are, and how many are on their way once more."""
        dead, replayed = self._client.run([("XLEN", self._file.dead), ("XLEN", self._file.replay)])
        return _number(dead), _number(replayed)

    def newest(self, most: int) -> list[DeadLetter]:
        """The newest ones first."""
        answer = self._client.call("XREVRANGE", self._file.dead, "+", "-", "COUNT", most)
        return [_letter(given) for given in answer]

    def oldest(self) -> Iterator[DeadLetter]:
        """All that are there now, oldest first."""
        start = "-"
        last = self._client.call("XREVRANGE", self._file.dead, "+", "-", "COUNT", 1)
        if not last:
            return
        end = last[0][0]
        while True:
            found = self._client.call("XRANGE", self._file.dead, start, end, "COUNT", AT_ONCE)
            yield from map(_letter, found)
            if len(found) < AT_ONCE:
                return
            start = "(" + found[-1][0].decode()

    def replay(self, ids: Sequence[str] | None = None) -> int:
        """Try these once more, or all that are there now; how many are on their way."""
        chosen = [letter.id for letter in self.oldest()] if ids is None else list(ids)
        moved = 0
        for at in range(0, len(chosen), AT_ONCE):
            some = chosen[at : at + AT_ONCE]
            moved += int(
                self._client.call("EVAL", REPLAY, 2, self._file.dead, self._file.replay, *some)
            )
        return moved


@contextmanager
def letters_of(file: WriterFile) -> Iterator[GroupLetters]:
    """The letters of a writer's file. GatewayError where Redis says no."""
    client = RedisClient(file.redis, "edge-gateway:dead-letters", raw=True)
    try:
        yield GroupLetters(client, file)
    except Refusal as error:
        raise GatewayError(f"{client.where}: {error}") from error
    finally:
        client.close()


def _number(answer: Any) -> int:
    if isinstance(answer, Exception):
        raise answer
    return int(answer)


def _letter(given: Any) -> DeadLetter:
    id_, listed = given
    fields = dict(zip(listed[::2], listed[1::2], strict=True))

    def text(name: bytes) -> str:
        said: bytes = fields.get(name, b"")
        return said.decode("utf-8", "replace")

    ms = int(id_.partition(b"-")[0])
    refused = datetime.fromtimestamp(ms / 1000, UTC).isoformat(timespec="milliseconds")
    rows = int(text(b"n")) if text(b"n").isdigit() else 0
    names = (text(b"e"), text(b"s"), text(b"i"), text(b"f"))
    return DeadLetter(id_.decode(), refused, *names, rows, text(b"w"), fields.get(b"b", b""))
