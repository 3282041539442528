"""How the guard refuses: its answer is read even where the request's body was not."""

from __future__ import annotations

from starlette.types import Receive, Scope, Send

from gateway.api import signin
from gateway.api.bodies import read_away
from gateway.api.connections import ANSWERED
from gateway.api.problems import Problem

UNREAD = "is_unread"
"""In the state of a request: it has a body, which nobody has read."""


def has_body(scope: Scope) -> bool:
    """Whether a request announces a body."""
    names = (b"content-length", b"transfer-encoding")
    return any(name in names and value != b"0" for name, value in scope["headers"])


async def refuse(problem: Problem, scope: Scope, receive: Receive, send: Send) -> None:
    """Answer with the problem, or, where a person comes without a token, with a place for it.

    The answer goes out at once. A body that was not read is then read away, within bounds, before
    the connection is closed: else it would be reset, and the answer lost with it.
    """
    media, body = b"application/json", problem.body
    if problem.status == 401 and signin.is_wanted(scope):
        media, body = b"text/html; charset=utf-8", signin.PAGE
    headers: list[tuple[bytes, bytes]] = [
        (b"content-type", media),
        (b"content-length", b"%d" % len(body)),
        (b"connection", b"close"),  # whatever follows is not looked at
    ]
    headers += [(k.encode("ascii"), v.encode("ascii")) for k, v in problem.headers.items()]
    kind = "http" if scope["type"] == "http" else "websocket.http"
    if kind == "websocket.http" and kind + ".response" not in scope.get("extensions", {}):
        await send({"type": "websocket.close", "code": 1008, "reason": problem.error[:100]})
        return
    await send({"type": f"{kind}.response.start", "status": problem.status, "headers": headers})
    if scope["state"].get(UNREAD):
        await send({"type": f"{kind}.response.body", "body": body, "more_body": True})
        scope["state"][ANSWERED] = True
        await read_away(receive)
        body = b""
    await send({"type": f"{kind}.response.body", "body": body})
