"""Who may ask: any web page that a browser shows can reach 127.0.0.1, so Host and Origin count.

A page of another site may not read the app's answers, nor make it do costly reads, neither
directly (Origin, Fetch metadata) nor by pointing its own name at this machine (DNS rebinding,
seen by the Host header). On the Unix socket the file's permissions decide, and nothing else. What
changes something asks on TCP for the token, also of this machine (`gateway.api.letters`).
"""

from __future__ import annotations

import hmac
import ipaddress
import socket
from collections.abc import Iterable
from email.utils import formatdate
from typing import Any
from urllib.parse import urlsplit

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from gateway.api.address import Address
from gateway.api.problems import Problem

OPEN_PATH = "/healthz"
"""Tells nothing but that the process answers, so it asks for nothing."""

HEADERS = [
    (b"x-content-type-options", b"nosniff"),
    (b"cache-control", b"no-store"),
    (b"content-security-policy", b"default-src 'self'; frame-ancestors 'none'; base-uri 'none'"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"referrer-policy", b"no-referrer"),
]

_LOOPBACK_NAMES = ("localhost", "127.0.0.1", "::1")


class Guard:
    """Checks each request before the app sees it, and adds the security headers to its answer."""

    def __init__(self, app: ASGIApp, listen: Address | None, token: str | None) -> None:
        self._app = app
        self._token = None if token is None else token.encode("ascii")
        self._loopback_only = listen is None or listen.is_loopback
        name = socket.gethostname().lower()
        hosts = {*_LOOPBACK_NAMES, name, name.partition(".")[0], f"{name.partition('.')[0]}.local"}
        if listen is not None:
            hosts.add(listen.host.lower())
        self._hosts = frozenset(hosts)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, or refuse it."""
        if scope["type"] != "http":
            raise ValueError(f"no {scope['type']} here")  # nothing may pass unchecked
        is_head = scope["method"] == "HEAD"

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                date = (b"date", formatdate(usegmt=True).encode("ascii"))
                message = {**message, "headers": [*message["headers"], *HEADERS, date]}
            await send(message)

        try:
            self._check(scope)
        except Problem as problem:
            await _refuse(problem, send_with_headers)
            return
        if is_head:
            state = {**scope.get("state", {}), "is_head": True}
            scope = {**scope, "method": "GET", "state": state}
        await self._app(scope, receive, send_with_headers)

    def _check(self, scope: Scope) -> None:
        headers = _Headers(scope["headers"])
        if headers.one("transfer-encoding") or headers.one("content-length") not in ("", "0"):
            raise Problem(413, "a request with a body", "no body: parameters stand in the address")
        if scope.get("state", {}).get("is_local") or scope["path"] == OPEN_PATH:
            return
        host = headers.one("host")
        trusted = self._has_token(headers)
        _check_origin(headers, host)
        if trusted:
            # a state of this request alone: the connection's serves the next one, too
            scope["state"] = {**scope.get("state", {}), "has_token": True}
        else:
            self._check_host(host)
        if self._token is not None and not trusted and not self._is_exempt(scope):
            raise _no_token("no token")

    def _has_token(self, headers: _Headers) -> bool:
        given = headers.one("authorization")
        if self._token is None or not given:
            return False
        scheme, _, token = given.partition(" ")
        if scheme.lower() != "bearer":
            raise _no_token(f"authorization by '{scheme}'")
        if not hmac.compare_digest(token.strip().encode("latin-1"), self._token):
            raise _no_token("a wrong token")
        return True

    def _is_exempt(self, scope: Scope) -> bool:
        """From this machine itself, unless a token is asked for although nobody else can come."""
        if self._loopback_only or not scope.get("client"):
            return False
        peer = ipaddress.ip_address(str(scope["client"][0]).partition("%")[0])
        mapped = getattr(peer, "ipv4_mapped", None)
        return bool((mapped or peer).is_loopback)

    def _check_host(self, host: str) -> None:
        name = _host_name(host)
        if name in self._hosts or (not self._loopback_only and _is_ip(name)):
            return
        raise Problem(
            403,
            f"asked for by the name '{host}', which is not one of this gateway's",
            "its address, e.g. http://127.0.0.1:8080; elsewhere a token allows any name",
        )


class _Headers:
    def __init__(self, raw: Iterable[tuple[bytes, bytes]]) -> None:
        self._raw = list(raw)

    def one(self, name: str) -> str:
        """The header's value, empty where it is absent; refused where it comes twice."""
        key = name.encode("ascii")
        found = [value for k, value in self._raw if k == key]
        if len(found) > 1:
            raise Problem(400, f"the header '{name}' comes {len(found)} times", "once")
        return found[0].decode("latin-1").strip() if found else ""


def _check_origin(headers: _Headers, host: str) -> None:
    origin = headers.one("origin")
    if origin and urlsplit(origin).netloc.lower() != host.lower():
        raise Problem(403, f"a page of '{origin}' may not ask", "no Origin, or the gateway's own")
    site, mode = headers.one("sec-fetch-site"), headers.one("sec-fetch-mode")
    if site not in ("", "same-origin", "none") and mode != "navigate":
        raise Problem(403, "a page of another site may not ask", "Sec-Fetch-Site: same-origin")


def _host_name(host: str) -> str:
    """The name in a Host header: without port, brackets and final dot; empty where malformed."""
    try:
        parts = urlsplit(f"//{host}")
        if parts.username is not None or parts.path or parts.query or parts.fragment:
            return ""
        _ = parts.port
    except ValueError:
        return ""
    return (parts.hostname or "").rstrip(".").lower()


def _is_ip(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def _no_token(what: str) -> Problem:
    return Problem(
        401,
        what,
        "Authorization: Bearer TOKEN, with the token in the gateway's token_file",
        {"www-authenticate": "Bearer"},
    )


async def _refuse(problem: Problem, send: Send) -> None:
    body = problem.body
    headers: list[tuple[bytes, bytes]] = [
        (b"content-type", b"application/json"),
        (b"content-length", b"%d" % len(body)),
        (b"connection", b"close"),  # whatever follows is not looked at
    ]
    headers += [(k.encode("ascii"), v.encode("ascii")) for k, v in problem.headers.items()]
    start: dict[str, Any] = {
        "type": "http.response.start",
        "status": problem.status,
        "headers": headers,
    }
    await send(start)
    await send({"type": "http.response.body", "body": body})
