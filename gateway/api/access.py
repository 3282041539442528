"""Who is asking, and what they may: viewers look, operators change something.

On the Unix socket the file's permissions decide, and whoever may open it is an operator. On TCP a
token of `api.tokens_file` says who it is, or the cookie of a session that was begun with one; from
this machine itself anybody is a viewer, unless `api.loopback_open` is false.
"""

from __future__ import annotations

import functools
import ipaddress
import pwd
from typing import Any, Literal, NamedTuple, TypeAlias

from fastapi import Request
from starlette.types import Scope

from gateway.api.headers import RequestHeaders
from gateway.api.problems import Problem
from gateway.api.ratelimit import RateLimit, key_of
from gateway.api.sessions import COOKIE, Session, Sessions
from gateway.api.settings import ApiConfig
from gateway.api.tokens import PREFIX, Token, TokenFile

Via: TypeAlias = Literal["socket", "token", "cookie", "loopback", "none"]

FAILURES_PER_MINUTE = 10
"""Wrong tokens of one peer; more are not looked at."""

MAX_WHO_CHARS = 100


class Caller(NamedTuple):
    """Who asks: the role, the name, by what it is known, and where it comes from."""

    role: Literal["none", "viewer", "operator"]
    who: str
    via: Via
    peer: str
    expires_ns: int | None = None
    token: Token | None = None
    cookie: str = ""


class WrongToken(Problem):
    """401: what was presented as a token is none."""


class Access:
    """Tells who asks. GatewayError where the token file cannot be used."""

    def __init__(self, api: ApiConfig) -> None:
        self.tokens = None if api.tokens_file is None else TokenFile(api.tokens_file)
        self.sessions = Sessions()
        self.failures = RateLimit(FAILURES_PER_MINUTE)
        self._loopback_open = api.loopback_open

    def identify(self, scope: Scope, headers: RequestHeaders) -> Caller:
        """Who sends this request. WrongToken, or Problem 429 after too many of them."""
        state = scope.get("state", {})
        if state.get("is_local"):
            who = user_name(state.get("peer_uid"))
            return Caller("operator", who, "socket", who)
        client = scope.get("client")
        peer = str(client[0]) if client else ""
        given = headers.one("authorization")
        if given:
            return self._by_token(given, peer)
        cookie = headers.cookie(COOKIE)
        session = self.sessions.find(cookie) if cookie else None
        token = self._token_of(session)
        if session is not None and token is not None:
            expires_ns = session.expires_ns
            return Caller(token.role, token.name, "cookie", peer, expires_ns, token, cookie)
        if _is_loopback(peer) and (self._loopback_open or self.tokens is None):
            return Caller("viewer", "", "loopback", peer)
        return Caller("none", "", "none", peer)

    def is_good(self, caller: Caller) -> bool:
        """Whether what was found out still holds: for connections that stay open."""
        if caller.token is None:
            return True
        if caller.via == "cookie" and self.sessions.find(caller.cookie) is None:
            return False
        now = None if self.tokens is None else self.tokens.still(caller.token)
        return now is not None and now.role == caller.role

    def _by_token(self, given: str, peer: str) -> Caller:
        key = key_of(peer)
        if wait_s := self.failures.wait_s(key):
            raise too_many("too many wrong tokens from this address", wait_s)
        scheme, _, presented = given.partition(" ")
        fault = "a wrong token"
        token = None
        if scheme.lower() != "bearer":
            fault = "another authorization than by a token"
        elif self.tokens is None:
            fault = "a token, though the gateway has no api.tokens_file"
        else:
            token = self.tokens.find(presented.strip())
        if token is None:
            self.failures.take(key)
            raise WrongToken(401, fault, NEEDED, {"www-authenticate": "Bearer"})
        return Caller(token.role, token.name, "token", peer, None, token)

    def _token_of(self, session: Session | None) -> Token | None:
        if session is None or self.tokens is None:
            return None
        return self.tokens.still(session.token)


NEEDED = f"Authorization: Bearer {PREFIX}..., with a token made by `gateway token add`"


def no_token() -> Problem:
    """401: nobody is told anything here without a token."""
    return Problem(401, "no token", NEEDED, {"www-authenticate": "Bearer"})


def too_many(what: str, wait_s: int) -> Problem:
    """429, with the seconds to wait."""
    return Problem(429, what, f"try again in {wait_s} s", {"retry-after": str(wait_s)})


def caller_of(scope: Scope) -> Caller:
    """Who sends this request, as the guard has found out."""
    caller: Caller = scope["state"]["caller"]
    return caller


async def operator(request: Request) -> str:
    """A dependency of all that changes something: who does it. Problem 401 or 403 for others.

    On the Unix socket that is the ``who`` of the body, where it has one, else the user of the
    process that asks; a token's name cannot be given another one.
    """
    caller = caller_of(request.scope)
    if caller.role == "operator":
        claimed = request.scope["state"].get("claimed_who")
        return claimed if claimed and caller.via == "socket" else caller.who
    if caller.role == "viewer" and caller.via != "loopback":
        raise Problem(
            403,
            f"this changes something, and '{caller.who}' is a viewer",
            "the token of an operator, or the gateway's Unix socket",
        )
    raise Problem(
        401,
        "this changes something, and nobody knows who asks",
        f"the gateway's Unix socket; or {NEEDED}",
        {"www-authenticate": "Bearer"},
    )


def claimed_who(document: Any) -> str | None:
    """The ``who`` of a body. Problem 400 where it is not a name."""
    who = document.get("who") if isinstance(document, dict) else None
    if who is None:
        return None
    if not isinstance(who, str) or len(who) > MAX_WHO_CHARS or not who.isprintable():
        raise Problem(400, "'who' is no name", f"text of at most {MAX_WHO_CHARS} characters")
    return who.strip() or None


@functools.lru_cache(64)
def user_name(uid: int | None) -> str:
    """A user of this machine, in words."""
    if uid is None:
        return "socket"
    try:
        return f"uid {uid} ({pwd.getpwuid(uid).pw_name})"
    except KeyError:
        return f"uid {uid}"


def _is_loopback(peer: str) -> bool:
    try:
        address = ipaddress.ip_address(peer.partition("%")[0])
    except ValueError:
        return False
    return (getattr(address, "ipv4_mapped", None) or address).is_loopback
