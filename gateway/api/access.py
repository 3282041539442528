"""Who is asking, and what they may: viewers look, operators change something.

On the Unix socket the file's permissions decide, and whoever may open it is an operator. On TCP a
token of `api.tokens_file` says who it is, or the cookie of a session that was begun with one or, at
this machine, with a sign-in code; from this machine itself anybody is a viewer, unless
`api.loopback_open` is false.
"""

from __future__ import annotations

import functools
import ipaddress
import pwd
from collections import OrderedDict
from typing import Any, Literal, NamedTuple, TypeAlias

from fastapi import Request
from starlette.types import Scope

from gateway.api.codes import SignInCodes
from gateway.api.headers import RequestHeaders
from gateway.api.problems import Problem
from gateway.api.ratelimit import RateLimit, key_of
from gateway.api.sessions import COOKIE, Session, Sessions
from gateway.api.settings import ApiConfig
from gateway.api.tokens import PREFIX, Token, TokenFile, digest_of

Via: TypeAlias = Literal["socket", "token", "cookie", "loopback", "fleet", "none"]

FAILURES_PER_MINUTE = 10
"""Wrong tokens and codes of one peer; of more, nothing is looked at that was not good before."""

MAX_SEEN = 1024

MAX_WHO_CHARS = 100


class Caller(NamedTuple):
    """Who asks: the role, the name, by what it is known, and where it comes from."""

    role: Literal["none", "viewer", "operator", "ingest"]
    who: str
    via: Via
    peer: str
    expires_ns: int | None = None
    token: Token | None = None
    cookie: str = ""


class WrongToken(Problem):
    """401: what was presented as a token or a sign-in code is none."""


class Access:
    """Tells who asks. GatewayError where the token file cannot be used."""

    def __init__(self, api: ApiConfig) -> None:
        self.tokens = None if api.tokens_file is None else TokenFile(api.tokens_file)
        self.sessions = Sessions()
        self.codes = SignInCodes()
        self.failures = RateLimit(FAILURES_PER_MINUTE)
        self._loopback_open = api.loopback_open
        self._seen: OrderedDict[tuple[str, bytes], None] = OrderedDict()
        """Tokens that were good, by the peer that had them."""

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
        if is_loopback(peer) and (self._loopback_open or self.tokens is None):
            return Caller("viewer", "", "loopback", peer)
        return Caller("none", "", "none", peer)

    def is_good(self, caller: Caller) -> bool:
        """Whether what was found out still holds: for connections that stay open."""
        if caller.token is None:
            return True
        if caller.via == "cookie":
            now = self._token_of(self.sessions.find(caller.cookie))
        else:
            now = None if self.tokens is None else self.tokens.still(caller.token)
        return now is not None and now.role == caller.role

    def begin_by_code(self, typed: str, caller: Caller) -> tuple[str, Caller]:
        """The cookie of a new session, and who has it. WrongToken, or Problem 403 or 429."""
        if caller.via != "socket" and not is_loopback(caller.peer):
            raise Problem(403, "a sign-in code is for people at the gateway itself", NEEDED)
        key = key_of(caller.peer)
        self._check_failures(key)
        who = self.codes.take(typed)
        if who is None:
            self.failures.take(key)
            raise WrongToken(
                401, "no such sign-in code; each counts once, and not for long", CODE_NEEDED
            )
        value, session = self.sessions.begin_by_code(who)
        peer, expires_ns = caller.peer, session.expires_ns
        return value, Caller("operator", who, "cookie", peer, expires_ns, session.token, value)

    def _by_token(self, given: str, peer: str) -> Caller:
        key = key_of(peer)
        scheme, _, presented = given.partition(" ")
        presented = presented.strip()
        # behind one address are many: who was right before is not locked out with who is wrong now
        seen = key, digest_of(presented)
        if seen not in self._seen:
            self._check_failures(key)
        fault = "a wrong token"
        token = None
        if scheme.lower() not in ("bearer", "token"):  # as clients of InfluxDB call it
            fault = "another authorization than by a token"
        elif self.tokens is None:
            fault = "a token, though the gateway has no api.tokens_file"
        else:
            token = self.tokens.find(presented)
        if token is None:
            self._seen.pop(seen, None)
            self.failures.take(key)
            raise WrongToken(401, fault, NEEDED, {"www-authenticate": "Bearer"})
        self._seen[seen] = None
        self._seen.move_to_end(seen)
        while len(self._seen) > MAX_SEEN:
            self._seen.popitem(last=False)
        return Caller(token.role, token.name, "token", peer, None, token)

    def _check_failures(self, key: str) -> None:
        if wait_s := self.failures.wait_s(key):
            raise too_many("too many wrong tokens or codes from this address", wait_s)

    def _token_of(self, session: Session | None) -> Token | None:
        if session is None or session.by_code:
            return None if session is None else session.token
        return None if self.tokens is None else self.tokens.still(session.token)


NEEDED = f"Authorization: Bearer {PREFIX}..., with a token made by `gateway token add`"
CODE_NEEDED = "the code that `gateway sign-in` prints at this machine"


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
            f"this is for operators, and '{caller.who}' is a viewer",
            "the token of an operator, or the gateway's Unix socket",
        )
    raise Problem(
        401,
        "this is for operators, and nobody knows who asks",
        f"the gateway's Unix socket; in a browser at this machine a sign-in with {CODE_NEEDED}; "
        f"or {NEEDED}",
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


def is_loopback(peer: str) -> bool:
    """Whether this address is the machine itself."""
    try:
        address = ipaddress.ip_address(peer.partition("%")[0])
    except ValueError:
        return False
    return (getattr(address, "ipv4_mapped", None) or address).is_loopback
