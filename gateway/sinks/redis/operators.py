"""Commands of people at other nodes: taken from a stream, answered on a list of their own.

``commands:{gateway}`` has entries ``c``, a command as JSON with an ``id``; ``answers:{id}`` gets
what came of it. ``operators:{gateway}`` is there while somebody listens. An entry is deleted when
it is answered, so whatever is left was not done. What is older than a person waits is not done any
more, by Redis' clock alone: those of the two machines may differ.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any, Final

import orjson

from gateway.errors import GatewayError
from gateway.sinks.redis.client import Command, RedisClient, refused

log = logging.getLogger(__name__)

EXPIRE_S: Final = 10
"""A command that is older is not done: whoever gave it was told so."""

ANSWER_S: Final = 60
"""So long an answer waits for who asked."""

HERE_S: Final = 10
HERE_EVERY_S: Final = 2.0
MAX_BYTES: Final = 10_000
AT_ONCE: Final = 20
RETRY_S: Final = 1.0

Operate = Callable[[Mapping[str, Any]], Mapping[str, Any]]


class Operators:
    """Does what people at other nodes ask of one gateway, in a thread of its own."""

    def __init__(self, client: RedisClient, gateway: str, operate: Operate, wait_s: float) -> None:
        """``operate`` does a command and says what came of it; it never raises on purpose."""
        self.error: str | None = None
        self.done = 0
        self.expired = 0
        self._client = client
        self._gateway = gateway
        self._operate = operate
        self._block_ms = round(1000 * min(1.0, wait_s / 3))
        self._over = threading.Event()
        self._here_s = 0.0
        self._last = b"0-0"
        self._thread = threading.Thread(target=self._run, name="remote operators", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """End, at once. Never raises."""
        self._over.set()
        self._client.close()
        self._thread.join(3.0)

    def _run(self) -> None:
        while not self._over.is_set():
            try:
                self._look()
                self.error = None
            except Exception as error:
                if self._over.is_set():
                    return
                if self.error is None:
                    log.warning("commands cannot be taken", extra={"error": str(error)})
                    if not isinstance(error, GatewayError):
                        log.exception("a fault of the remote operators")
                self.error = str(error)
                self._here_s = 0.0
                self._over.wait(RETRY_S)

    def _look(self) -> None:
        now_s = time.monotonic()
        if now_s - self._here_s >= HERE_EVERY_S:
            self._client.call("SET", f"operators:{self._gateway}", 1, "EX", HERE_S)
            self._here_s = now_s
        stream = f"commands:{self._gateway}"
        found = self._client.call(
            "XREAD", "COUNT", AT_ONCE, "BLOCK", self._block_ms, "STREAMS", stream, self._last
        )
        if not found:
            return
        seconds, micros = self._client.call("TIME")
        now_ms = int(seconds) * 1000 + int(micros) // 1000
        for id_, fields in found[0][1]:
            self._handle(stream, id_, fields, now_ms)
            self._last = id_

    def _handle(self, stream: str, id_: bytes, fields: Any, now_ms: int) -> None:
        commands: list[Command] = [("XDEL", stream, id_)]
        body = dict(zip(fields[::2], fields[1::2], strict=True)).get(b"c", b"") if fields else b""
        if now_ms - int(id_.partition(b"-")[0]) > EXPIRE_S * 1000:
            self.expired += 1
        elif (command := _read(body)) is not None:
            answer = orjson.dumps(self._operate(command), default=str)
            self.done += 1
            key = f"answers:{command['id']}"
            commands = [("RPUSH", key, answer), ("EXPIRE", key, ANSWER_S), *commands]
        refused(self._client.run(commands, atomic=len(commands) > 1))


def _read(body: bytes) -> dict[str, Any] | None:
    """A command; None for what is none, which nobody can be answered."""
    try:
        command = orjson.loads(body) if len(body) <= MAX_BYTES else None
    except orjson.JSONDecodeError:
        return None
    if not isinstance(command, dict) or not isinstance(id_ := command.get("id"), str):
        return None
    return command if id_.isascii() and id_.isalnum() and len(id_) <= 64 else None
