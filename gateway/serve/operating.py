"""Asks a gateway to acknowledge or shelve one of its alarms, and waits for its answer.

The gateway owns its alarms: nothing is changed here, so it is done once and seen everywhere.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Mapping
from typing import Any, Final

import orjson

from gateway.alarms.model import NotAllowed, UnknownAlarm
from gateway.errors import GatewayError
from gateway.sinks.redis.client import RedisClient, RedisServer

WAIT_S: Final = 5.0
"""Longest that a person waits; the gateway does nothing that is twice as old."""

KEPT: Final = 1_000


class Operating:
    """Sends commands, from any thread."""

    def __init__(self, server: RedisServer, node: str) -> None:
        self._server = server
        self._node = node

    def __call__(self, gateway: str, do: str, body: Mapping[str, Any]) -> dict[str, Any]:
        """The transition, as the gateway has it. UnknownAlarm, NotAllowed, GatewayError. Blocks."""
        client = RedisClient(self._server, f"gateway-serve:{self._node}:commands", raw=True)
        try:
            return self._ask(client, gateway, do, body)
        finally:
            client.close()

    def _ask(
        self, client: RedisClient, gateway: str, do: str, body: Mapping[str, Any]
    ) -> dict[str, Any]:
        if not client.call("EXISTS", f"operators:{gateway}"):
            raise NotAllowed(
                f"gateway {gateway} takes no commands of other nodes; it is off, or its sink of "
                "type redis lacks `remote_operators: true`"
            )
        id_ = secrets.token_hex(12)
        command = orjson.dumps({"id": id_, "do": do, "node": self._node, "body": dict(body)})
        stream = f"commands:{gateway}"
        entry = client.call("XADD", stream, "MAXLEN", "~", KEPT, "*", "c", command)
        end_s = time.monotonic() + WAIT_S
        while (left_s := end_s - time.monotonic()) > 0:
            # an answer that is waited for must not be taken for a server that has gone
            pause_s = max(0.05, min(left_s, self._server.timeout_s / 2))
            found = client.call("BLPOP", f"answers:{id_}", f"{pause_s:.3f}")
            if found:
                return _read(gateway, found[1])
        if client.call("XDEL", stream, entry):
            raise GatewayError(f"gateway {gateway} gives no answer; nothing was done")
        raise GatewayError(f"gateway {gateway} gives no answer; it may have been done")


def _read(gateway: str, text: bytes) -> dict[str, Any]:
    answer = orjson.loads(text)
    transition = answer.get("transition")
    if isinstance(transition, dict):
        return transition
    words, kind = str(answer.get("error")), answer.get("kind")
    if kind == "unknown":
        raise UnknownAlarm(f"gateway {gateway}: {words}")
    if kind == "not_allowed":
        raise NotAllowed(f"gateway {gateway}: {words}")
    raise GatewayError(f"gateway {gateway}: {words}")
