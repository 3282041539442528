"""Who may ask: any web page that a browser shows can reach 127.0.0.1, so Host and Origin count.

A page of another site may not read the app's answers, nor make it do costly reads, neither
directly (Origin, Fetch metadata) nor by pointing its own name at this machine (DNS rebinding,
seen by the Host header). Who asks is found out here (`gateway.api.access`), and every request that
is more than a question is noted (`gateway.api.audit`).
"""

from __future__ import annotations

import contextlib
import functools
import socket
from email.utils import formatdate
from urllib.parse import parse_qsl, unquote, urlsplit

import anyio
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from gateway.api import signin
from gateway.api.access import Access, Caller, WrongToken, claimed_who, no_token, too_many
from gateway.api.audit import AuditLog, Watched
from gateway.api.bodies import body_size, document_in, read_body
from gateway.api.headers import RequestHeaders
from gateway.api.hosts import is_ip, name_in
from gateway.api.ingest import PATHS, check_reach, check_sender, ingest_size
from gateway.api.problems import Problem
from gateway.api.ratelimit import RateLimit, key_of
from gateway.api.refusals import UNREAD, has_body, refuse
from gateway.api.settings import ApiConfig
from gateway.api.tokens import PREFIX

OPEN_PATH = "/healthz"
"""Tells nothing but that the process answers, so it asks for nothing."""

ACTIONS_PER_MINUTE = 60
"""Of one identity on TCP; on the Unix socket, where scripts work, ten times as many."""

HEADERS = [
    (b"x-content-type-options", b"nosniff"),
    (b"cache-control", b"no-store"),
    (
        b"content-security-policy",
        b"default-src 'self'; object-src 'none'; frame-ancestors 'none'; base-uri 'none'; "
        b"form-action 'self'",
    ),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"referrer-policy", b"no-referrer"),
]

_LOOPBACK_NAMES = ("localhost", "127.0.0.1", "::1")
_QUESTIONS = ("GET", "HEAD", "OPTIONS")
CHECK_S = 5.0
"""How often it is looked whether a WebSocket's token still holds."""


class Guard:
    """Checks each request before the app sees it, and adds the security headers to its answer."""

    def __init__(self, app: ASGIApp, api: ApiConfig, access: Access, audit: AuditLog) -> None:
        self._app = app
        self._access = access
        self._audit = audit
        self._actions = RateLimit(ACTIONS_PER_MINUTE)
        self._local_actions = RateLimit(10 * ACTIONS_PER_MINUTE)
        self._strangers = RateLimit(ACTIONS_PER_MINUTE)
        self._loopback_only = api.address is None or api.address.is_loopback
        name = socket.gethostname().lower()
        hosts = {*_LOOPBACK_NAMES, name, name.partition(".")[0], f"{name.partition('.')[0]}.local"}
        if api.address is not None:
            hosts.add(api.address.host.lower())
        self._hosts = frozenset(hosts | {host.lower() for host in api.hosts})
        self._headers = list(HEADERS)
        if api.tls is not None and api.tls.hsts_s:
            value = b"max-age=%d" % api.tls.hsts_s
            self._headers.append((b"strict-transport-security", value))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, or refuse it."""
        if scope["type"] not in ("http", "websocket"):
            raise ValueError(f"no {scope['type']} here")  # nothing may pass unchecked
        # a state of this request alone: the connection's serves the next one, too
        scope["state"] = {**scope.get("state", {})}
        answer = functools.partial(self._with_headers, send)
        try:
            if scope["type"] == "websocket":
                await self._websocket(scope, receive, send, answer)
            else:
                await self._http(scope, receive, answer)
        except Problem as problem:
            await refuse(problem, scope, receive, answer)

    async def _with_headers(self, send: Send, message: Message) -> None:
        if message["type"] in ("http.response.start", "websocket.http.response.start"):
            date = (b"date", formatdate(usegmt=True).encode("ascii"))
            own = {name.lower() for name, _ in message["headers"]}  # pages.py lets files be kept
            added = [header for header in self._headers if header[0] not in own]
            message = {**message, "headers": [*message["headers"], *added, date]}
        await send(message)

    async def _http(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = RequestHeaders(scope["headers"])
        is_ingest = scope["path"] in PATHS and scope["method"] == "POST"
        scope["state"][UNREAD] = has_body(scope)
        try:
            size = ingest_size(headers) if is_ingest else body_size(scope["method"], headers)
            caller = self._admit(scope, headers)
            if is_ingest:
                check_sender(caller)
        except Problem as problem:
            self._note_stranger(scope, problem)
            raise
        if scope["method"] == "HEAD":
            scope = {**scope, "method": "GET", "state": {**scope["state"], "is_head": True}}
        if is_ingest or scope["method"] in _QUESTIONS:
            # rows are no action of a person: the audit would have little else
            await self._app(scope, receive, send)
            return
        try:
            body = await read_body(receive, size)
        except Problem as problem:
            self._note_stranger(scope, problem)
            raise
        scope["state"][UNREAD] = False
        document = document_in(body)
        query = dict(parse_qsl(scope["query_string"].decode("latin-1")))
        watched = Watched(scope["method"], scope["path"], query, document)
        try:
            self._check_action(caller, headers)
            scope["state"]["claimed_who"] = claimed_who(document)
        except Problem as problem:
            self._note(caller, watched, f"{problem.status} {problem.error}")
            raise
        if caller.via == "socket":
            caller = caller._replace(who=scope["state"]["claimed_who"] or caller.who)

        async def replay() -> Message:
            nonlocal body
            if body is None:
                return await receive()
            message = {"type": "http.request", "body": body, "more_body": False}
            body = None
            return message

        is_noted = False

        def note() -> None:
            nonlocal is_noted
            if not is_noted:
                is_noted = True
                # who has just signed in with a code is known only now
                self._note(scope["state"].get("acted_as") or caller, watched, watched.error)

        async def watch(message: Message) -> None:
            watched.see(message)
            if message["type"] == "http.response.body" and not message.get("more_body", False):
                note()  # before the answer is out: who has it finds the action in the audit
            await send(message)

        try:
            await self._app(scope, replay, watch)
        finally:
            note()

    async def _websocket(self, scope: Scope, receive: Receive, send: Send, answer: Send) -> None:
        try:
            caller = self._admit(scope, RequestHeaders(scope["headers"]))
        except Problem as problem:
            self._note_stranger({**scope, "method": "GET"}, problem)
            raise
        if caller.token is None:
            await self._app(scope, receive, answer)
            return
        fault: Exception | None = None
        async with anyio.create_task_group() as group:
            group.start_soon(self._end_with_token, caller, answer)
            try:
                await self._app(scope, receive, answer)
            except Exception as error:
                fault = error  # to be raised as it is, not in a group
            group.cancel_scope.cancel()
        if fault is not None:
            raise fault

    async def _end_with_token(self, caller: Caller, answer: Send) -> None:
        """Close a WebSocket whose token was revoked, or whose session has ended."""
        while self._access.is_good(caller):  # noqa: ASYNC110 - the file's change wakes nobody
            await anyio.sleep(CHECK_S)
        with contextlib.suppress(OSError, RuntimeError):  # it has just been closed
            await answer({"type": "websocket.close", "code": 1008, "reason": "signed out"})

    def _admit(self, scope: Scope, headers: RequestHeaders) -> Caller:
        """Who asks, where that one may; Problem where not."""
        query = unquote(scope["query_string"].decode("latin-1"))
        if PREFIX in query or PREFIX in scope["path"]:
            raise Problem(
                400,
                "a token in the address, where logs and histories keep it: revoke it",
                "the header Authorization: Bearer TOKEN",
            )
        path = scope["path"]
        caller = self._access.identify(scope, headers)
        scope["state"] |= {
            "caller": caller,
            "role": caller.role,
            "who": caller.who,
            "via": caller.via,
        }
        if caller.via == "socket" or path == OPEN_PATH:
            return caller
        check_reach(caller, path)
        host = headers.one("host")
        _check_origin(headers, host)
        if caller.via != "token":
            self._check_host(host)
        if caller.via == "cookie" and scope["type"] == "websocket" and not headers.one("origin"):
            raise Problem(403, "a cookie without an Origin", "a page of the gateway, or a token")
        if caller.role == "none" and path not in signin.OPEN_PATHS:
            raise no_token()
        return caller

    def _check_action(self, caller: Caller, headers: RequestHeaders) -> None:
        """Whether this may change something at all; the route's `operator` looks at the role."""
        if caller.via == "cookie" and not headers.one("origin"):
            # any page can have a browser send its cookies, but none can leave this out or forge it
            raise Problem(403, "a cookie without an Origin", "a page of the gateway, or a token")
        limit = self._local_actions if caller.via == "socket" else self._actions
        who = caller.who or key_of(caller.peer)
        if wait_s := limit.take(f"{caller.via} {who}"):
            raise too_many(f"more than {limit.per_minute} actions a minute", wait_s)

    def _note(self, caller: Caller, watched: Watched, error: str) -> None:
        if watched.status == 405 or error.startswith("429"):
            return  # no action; and whoever tries too often must not fill the log with it
        about, why = watched.about, watched.why
        self._audit.record(caller, watched.action, about=about, why=why, error=error)

    def _note_stranger(self, scope: Scope, problem: Problem) -> None:
        """Note what was refused before it was an action: by its headers, or for its body."""
        is_action = scope["method"] not in _QUESTIONS
        is_wrong_token = isinstance(problem, WrongToken)
        if problem.status == 429 or not (is_action or is_wrong_token):
            return
        peer = _peer(scope)
        if self._strangers.take(key_of(peer)):
            return
        watched = Watched("POST", scope["path"], {}, None)
        action = "authenticate" if is_wrong_token else watched.action
        caller = scope["state"].get("caller") or Caller("none", "", "none", peer)
        error = f"{problem.status} {problem.error}"
        self._audit.record(caller, action, about=scope["path"], error=error)

    def _check_host(self, host: str) -> None:
        name = name_in(host)
        if name in self._hosts or (not self._loopback_only and is_ip(name)):
            return
        raise Problem(
            403,
            f"asked for by the name '{host}', which is not one of this gateway's",
            "its address, e.g. http://127.0.0.1:8080, or a name of api.hosts; "
            "with a token any name will do",
        )


def _check_origin(headers: RequestHeaders, host: str) -> None:
    origin = headers.one("origin")
    try:
        is_own = urlsplit(origin).netloc.lower() == host.lower()
    except ValueError:
        is_own = False
    if origin and not is_own:
        raise Problem(403, f"a page of '{origin}' may not ask", "no Origin, or the gateway's own")
    site, mode = headers.one("sec-fetch-site"), headers.one("sec-fetch-mode")
    if site not in ("", "same-origin", "none") and mode != "navigate":
        raise Problem(403, "a page of another site may not ask", "Sec-Fetch-Site: same-origin")


def _peer(scope: Scope) -> str:
    client = scope.get("client")
    return str(client[0]) if client else ""
