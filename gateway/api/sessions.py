"""Sessions of the live page: a cookie in the place of a token that a page would have to keep.

In memory only: after a restart everybody signs in again. A session is worth what its token is: it
ends with it, and has its role. One that began with a sign-in code has no token in the file.
"""

from __future__ import annotations

import hashlib
import secrets
import threading
import time
from collections.abc import Callable
from typing import NamedTuple

from gateway.api.tokens import Token, today

COOKIE = "gateway_session"
LIFE_S = 12 * 3600
MAX_SESSIONS = 256
MAX_OF_A_TOKEN = 16
"""So that nobody can push out the sessions of others by signing in again and again."""


class Session(NamedTuple):
    """Somebody who is signed in; ``ends`` by the monotonic clock, ``expires_ns`` by the wall's."""

    token: Token
    ends: float
    expires_ns: int
    by_code: bool = False


class Sessions:
    """All sessions, by the hash of their cookie: a look-up of it tells nothing by its time."""

    def __init__(
        self,
        *,
        clock: Callable[[], float] = time.monotonic,
        now_ns: Callable[[], int] = time.time_ns,
    ) -> None:
        self._clock = clock
        self._now_ns = now_ns
        self._lock = threading.Lock()
        self._known: dict[bytes, Session] = {}  # the oldest first

    def __len__(self) -> int:
        return len(self._known)

    def begin(self, token: Token) -> tuple[str, Session]:
        """The value of a new cookie, and its session."""
        return self._begin(token, by_code=False)

    def begin_by_code(self, who: str) -> tuple[str, Session]:
        """The same for somebody who had a code: an operator, until the session ends."""
        digest = secrets.token_bytes(32)  # of no token
        return self._begin(Token(who, "operator", digest, today(), None), by_code=True)

    def _begin(self, token: Token, *, by_code: bool) -> tuple[str, Session]:
        value = secrets.token_urlsafe(32)
        now = self._clock()
        expires_ns = self._now_ns() + LIFE_S * 1_000_000_000
        session = Session(token, now + LIFE_S, expires_ns, by_code)
        with self._lock:
            self._known = {k: s for k, s in self._known.items() if s.ends > now}
            same = [k for k, s in self._known.items() if s.token.digest == token.digest]
            for key in same[: max(0, len(same) + 1 - MAX_OF_A_TOKEN)]:
                del self._known[key]
            while len(self._known) >= MAX_SESSIONS:
                del self._known[next(iter(self._known))]
            self._known[_key(value)] = session
        return value, session

    def find(self, value: str) -> Session | None:
        """The session of a cookie, where it has not ended."""
        session = self._known.get(_key(value))
        return session if session is not None and session.ends > self._clock() else None

    def end(self, value: str) -> None:
        """Sign out."""
        with self._lock:
            self._known.pop(_key(value), None)


def _key(value: str) -> bytes:
    return hashlib.sha256(value.encode("utf-8", "surrogatepass")).digest()
