"""What others show of a gateway that they are not: its status and alarms, kept in Redis.

``status:{gateway}`` is the status document and expires soon after a gateway is gone.
``alarm:{gateway}`` is a hash of the alarms that are not normal, and ``alarms:{gateway}`` the
channel of transitions. Whoever hears one finds it in the hash already. The stream ``transitions``
has those of all gateways in one order, for those who must not miss one.
"""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Mapping
from typing import Any, Final

import orjson

from gateway.errors import GatewayError
from gateway.sinks.redis.client import Command, RedisClient, refused
from gateway.sinks.telling import Facts

log = logging.getLogger(__name__)

EVERY_S: Final = 2.0
STATUS_TTL_S: Final = 10
ALARMS_TTL_S: Final = 86_400
"""Alarms of a gateway that is gone can still be looked at; that it is gone the status tells."""
MAX_WAITING: Final = 1_000
KEPT: Final = 10_000
"""Transitions of all gateways that Redis keeps in order, about."""


class Mirror:
    """Keeps the documents of one gateway in Redis, in a thread of its own."""

    def __init__(self, client: RedisClient, facts: Facts, sink: str) -> None:
        self.error: str | None = None
        self.dropped = 0
        """Transitions that were not published: the hash tells what came of them."""
        self._client = client
        self._facts = facts
        self._sink = sink
        self._waiting: deque[Mapping[str, Any]] = deque()
        self._wake = threading.Event()
        self._over = False
        self._differs = True
        """The hash in Redis may be another."""
        self._end = facts.listen(self._heard)
        self._thread = threading.Thread(target=self._run, name=f"mirror {sink}", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Publish what waits, if Redis is there, and end. Never raises."""
        self._end()
        self._over = True
        self._wake.set()
        self._thread.join(1.0)
        self._client.close()
        self._thread.join(2.0)

    def _heard(self, transition: Mapping[str, Any]) -> None:
        if len(self._waiting) >= MAX_WAITING:
            self.dropped += 1
            return
        self._waiting.append(transition)
        self._wake.set()

    def _run(self) -> None:
        while True:
            over = self._over
            self._wake.clear()
            try:
                self._write()
            except GatewayError as error:
                self._failed(str(error))
            except Exception as error:
                self._failed(repr(error))
            if over:
                return
            # while Redis is away nothing that happens is a reason to hurry
            if self.error is None or self._over:
                self._wake.wait(EVERY_S)
            else:
                self._pause()

    def _pause(self) -> None:
        for _ in range(int(EVERY_S / 0.1)):
            if self._over:
                return
            self._wake.wait(0.1)
            self._wake.clear()

    def _failed(self, error: str) -> None:
        self._differs = True
        if self.error is None and not self._over:
            extra = {"sink": self._sink, "error": error}
            log.warning("status and alarms are not in Redis", extra=extra)
        self.error = error

    def _write(self) -> None:
        name = self._facts.name
        transitions = [self._waiting[i] for i in range(len(self._waiting))]
        commands: list[Command] = []
        if transitions or self._differs:
            key = f"alarm:{name}"
            commands.append(("DEL", key))
            if alarms := self._facts.alarms():
                pairs = [part for a in alarms for part in (str(a["id"]), _dumped(a))]
                commands.append(("HSET", key, *pairs))
        commands.append(("EXPIRE", f"alarm:{name}", ALARMS_TTL_S))
        refused(self._client.run(commands, atomic=True))
        commands = [("PUBLISH", f"alarms:{name}", _dumped(t)) for t in transitions]
        kept = ("XADD", "transitions", "MAXLEN", "~", KEPT, "*", "g", name, "t")
        commands += [(*kept, _dumped(t)) for t in transitions]
        status = _dumped(self._facts.status())
        commands.append(("SET", f"status:{name}", status, "EX", STATUS_TTL_S))
        refused(self._client.run(commands))
        for _ in transitions:
            self._waiting.popleft()
        self._differs = False
        self.error = None


def _dumped(document: Any) -> bytes:
    options = orjson.OPT_SERIALIZE_NUMPY | orjson.OPT_NON_STR_KEYS
    return orjson.dumps(document, default=str, option=options)
