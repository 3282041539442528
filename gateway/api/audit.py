"""Who changed something, or tried to: each action as a row of table ``gateway_audit``.

The guard notes all requests that are not only questions, so that no route can forget it.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import orjson

from gateway.api.access import Caller
from gateway.logs import without_secrets
from gateway.model import Column, Row, Table, make_parts
from gateway.terminal import printable

log = logging.getLogger("gateway.audit")

KEPT = 1000
"""Actions that are listed without a historian: the last ones."""

MAX_CHARS = 500
"""Of each text; a `why` may be long, and is somebody else's words."""

_COLUMNS = ("who", "via", "peer", "action", "about", "why", "ok", "error")
_ABOUT = ("id", "device", "sink", "notifier", "name")
"""Members of a body, or parameters, that say what an action is about."""


class Action(NamedTuple):
    """What somebody did at ``time_ns``, or was refused; the fields are the columns of the row."""

    time_ns: int
    who: str
    via: str
    peer: str
    action: str
    about: str
    why: str
    ok: bool
    error: str


def action_of(time_ns: int, stored: Mapping[str, Any]) -> Action:
    """An action from the columns of its row; what a damaged row lacks is empty."""
    texts = {name: str(stored.get(name) or "") for name in _COLUMNS if name != "ok"}
    return Action(time_ns=time_ns, ok=bool(stored.get("ok")), **texts)


class AuditLog:
    """Publishes each action as a row, logs it, and keeps the last ones."""

    def __init__(self, publish: Callable[[Row], None], gateway: str) -> None:
        self._publish = publish
        self._lock = threading.Lock()
        self._last_ns = 0
        self._kept: deque[Action] = deque(maxlen=KEPT)
        columns = [Column(name, "b1" if name == "ok" else "str") for name in _COLUMNS]
        labels = (("gateway", gateway), ("device", "gateway"))
        self.table = Table("gateway_audit", "gateway", columns, labels)

    def record(
        self, caller: Caller, action: str, *, about: str = "", why: str = "", error: str = ""
    ) -> None:
        """Note an action; ``error``: why it was refused or failed. From any thread."""
        texts = [caller.who, caller.via, caller.peer, action, about, why, error]
        who, via, peer, what, about, why, error = map(_clean, texts)
        values = (who, via, peer, what, about, why, not error, error)
        with self._lock:
            self._last_ns = max(self._last_ns + 1, time.time_ns())  # one series: strictly rising
            self._kept.append(Action(self._last_ns, *values))
            row = Row(self.table, self._last_ns, make_parts(self.table, values))
        level = logging.WARNING if error else logging.INFO
        extra = {"action": what, "about": about, "who": who, "via": via, "peer": peer}
        if why:
            extra["why"] = why
        if error:
            extra["error"] = error
        log.log(level, "refused" if error else "done", extra=extra)
        self._publish(row)

    def kept(self) -> list[Action]:
        """The last actions of this run, oldest first."""
        with self._lock:
            return list(self._kept)


def _clean(text: str) -> str:
    text = printable(without_secrets(text[: 2 * MAX_CHARS]))
    return text if len(text) <= MAX_CHARS else f"{text[: MAX_CHARS - 3]}..."


class Watched:
    """One request that may change something: what it is, and what came of it."""

    def __init__(self, method: str, path: str, query: Mapping[str, str], document: Any) -> None:
        name = path.removeprefix("/v1/").strip("/")
        self.action = name if method == "POST" else f"{name} {method}"
        given: Mapping[str, Any] = document if isinstance(document, dict) else query
        self.about = next((str(given[key]) for key in _ABOUT if given.get(key)), "")
        self.why = str(given.get("why") or "")
        self.status = 0
        self._body = b""

    def see(self, message: Mapping[str, Any]) -> None:
        """Look at what is answered."""
        if message["type"] == "http.response.start":
            self.status = message["status"]
        elif self.status >= 400 and len(self._body) < MAX_CHARS:
            self._body += message.get("body", b"")

    @property
    def error(self) -> str:
        """Why it was refused or failed; empty where it was done."""
        if 200 <= self.status < 400:
            return ""
        try:
            return f"{self.status} {orjson.loads(self._body)['error']}"
        except (orjson.JSONDecodeError, KeyError, TypeError):
            return f"{self.status}" if self.status else "not answered"
