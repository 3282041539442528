"""What people at other nodes may do to the alarms of this gateway: as its own API, noted the same.

Off unless a sink says ``remote_operators: true``. The gateway alone knows how its alarms stand, so
whoever shows them elsewhere asks it. Nothing here reaches a machine.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from gateway.alarms.model import Alarms, NotAllowed, Transition, UnknownAlarm
from gateway.api.access import MAX_WHO_CHARS, Caller
from gateway.api.alarms import as_document
from gateway.api.alarmschemas import Acknowledge, Shelve, Unshelve
from gateway.api.audit import AuditLog
from gateway.errors import GatewayError

log = logging.getLogger(__name__)

_SHAPES: dict[str, type[Acknowledge | Shelve | Unshelve]] = {
    "acknowledge": Acknowledge,
    "shelve": Shelve,
    "unshelve": Unshelve,
}
MAX_NODE_CHARS = 100


class RemoteOperators:
    """Does commands ``{do, body, node}``; ``body`` as of the route ``/v1/alarms/{do}``, with who.

    The answer has ``transition``, or ``error`` and its ``kind``: unknown, not_allowed, wrong or
    failed.
    """

    def __init__(self, alarms: Alarms, audit: AuditLog) -> None:
        self._alarms = alarms
        self._audit = audit

    def __call__(self, command: Mapping[str, Any]) -> Mapping[str, Any]:
        """Do one. Blocks until it is on disk; never raises."""
        do, node = str(command.get("do")), str(command.get("node") or "")[:MAX_NODE_CHARS]
        body = command.get("body")
        given = body if isinstance(body, dict) else {}
        who = str(given.get("who") or "")[:MAX_WHO_CHARS]
        try:
            answer = {"transition": as_document(self._do(do, given))}
        except UnknownAlarm as error:
            answer = _refused("unknown", error)
        except NotAllowed as error:
            answer = _refused("not_allowed", error)
        except ValueError as error:
            answer = _refused("wrong", error)
        except GatewayError as error:
            answer = _refused("failed", error)
        except Exception as error:
            log.exception("a command of another node failed, which is a bug")
            answer = _refused("failed", error)
        caller = Caller("operator", who, "fleet", node)
        about, why = str(given.get("id") or ""), str(given.get("why") or "")
        error_text = str(answer.get("error", ""))
        self._audit.record(caller, f"alarms/{do}", about=about, why=why, error=error_text)
        return answer

    def _do(self, do: str, body: dict[str, Any]) -> Transition:
        shape = _SHAPES.get(do)
        if shape is None:
            raise ValueError(f"no command '{do}'; expected {', '.join(_SHAPES)}")
        try:
            asked = shape.model_validate(body)
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            where = ".".join(str(part) for part in first["loc"])
            raise ValueError(f"'{where}' of {do} is wrong: {first['msg']}") from None
        if asked.who is None or not asked.who.isprintable():
            raise ValueError(f"'who' of {do} is missing")
        if isinstance(asked, Shelve):
            return self._alarms.shelve(asked.id, asked.for_s, asked.who, asked.why)
        act = self._alarms.acknowledge if do == "acknowledge" else self._alarms.unshelve
        return act(asked.id, asked.who, asked.why)


def _refused(kind: str, error: Exception) -> dict[str, Any]:
    return {"error": str(error) or type(error).__name__, "kind": kind}
