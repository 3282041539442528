"""Sign-in codes: short, for one use, by which a person at this machine becomes an operator.

A gateway without tokens would else know only viewers on TCP. Whoever may open its Unix socket is an
operator already and may ask for a code (`gateway sign-in`), to be typed into the page.
"""

from __future__ import annotations

import hmac
import secrets
import threading
import time
from collections.abc import Callable
from typing import NamedTuple

ALPHABET = "ABCDEFGHJKMNPQRSTVWXYZ23456789"
"""Without letters and digits that look alike."""

CHARS = 8
"""30**8 codes: at ten wrong ones a minute, one that lives 12 h is guessed once in 90 million."""

CODE_S = 600.0
START_S = 12 * 3600.0
"""Life of the code that is shown at the start: as long as a session."""

MAX_CODES = 16


class Code(NamedTuple):
    """A code that was given out; ``ends`` by the monotonic clock."""

    text: str
    who: str
    ends: float


class SignInCodes:
    """The codes that were given out and not used yet."""

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._open: list[Code] = []  # the oldest first

    def give(self, who: str, life_s: float = CODE_S) -> str:
        """A new code, e.g. ``K7QM-2XRD``; whoever types it acts as ``who``."""
        text = "".join(secrets.choice(ALPHABET) for _ in range(CHARS))
        now = self._clock()
        with self._lock:
            kept = [code for code in self._open if code.ends > now]
            self._open = [*kept[-(MAX_CODES - 1) :], Code(text, who, now + life_s)]
        return f"{text[:4]}-{text[4:]}"

    def take(self, typed: str) -> str | None:
        """Who a code stands for; it counts no more. None where it is none, or too old.

        All are compared, each in constant time: how long it takes tells nothing.
        """
        plain = "".join(typed.upper().replace("-", "").split())
        found = None
        with self._lock:
            for code in self._open:
                if hmac.compare_digest(code.text.encode(), plain.encode("utf-8", "replace")):
                    found = code
            if found is None:
                return None
            self._open.remove(found)
        return found.who if found.ends > self._clock() else None
