"""Sessions that every node knows: the cookie says itself who has signed in, and is signed.

So a browser may come to another node with each request, and nothing has to be asked of anyone. A
session is still worth what its token is: the token file is the same on all nodes.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import threading
import time
from collections import OrderedDict
from datetime import date
from pathlib import Path

import orjson

from gateway.api.sessions import LIFE_S, Session, Sessions
from gateway.api.tokens import ROLES, Token
from gateway.errors import GatewayError

MIN_KEY_BYTES = 32
MAX_ENDED = 10_000
MAX_COOKIE_CHARS = 2_000


class SignedSessions(Sessions):
    """In the place of `Sessions`; GatewayError where the key cannot be read."""

    def __init__(self, key_file: Path) -> None:
        super().__init__()
        try:
            key = key_file.read_bytes().strip()
        except OSError as error:
            raise GatewayError(f"session_key_file {key_file}: {error.strerror}") from error
        if len(key) < MIN_KEY_BYTES:
            raise GatewayError(f"session_key_file {key_file}: less than {MIN_KEY_BYTES} bytes")
        self._key = hashlib.sha256(b"gateway session" + key).digest()
        self._ended: OrderedDict[str, None] = OrderedDict()
        self._guard = threading.Lock()

    def _begin(self, token: Token, *, by_code: bool) -> tuple[str, Session]:
        expires_ns = time.time_ns() + LIFE_S * 1_000_000_000
        body = orjson.dumps(
            {
                "name": token.name,
                "role": token.role,
                "digest": token.digest.hex(),
                "created": token.created.isoformat(),
                "expires": token.expires and token.expires.isoformat(),
                "until_ns": expires_ns,
                "code": by_code,
            }
        )
        value = f"{_text(body)}.{_text(self._mac(body))}"
        return value, Session(token, time.monotonic() + LIFE_S, expires_ns, by_code)

    def find(self, value: str) -> Session | None:
        """The session of a cookie, where it is one of ours and has not ended."""
        payload, dot, mac = value.partition(".")
        if not dot or len(value) > MAX_COOKIE_CHARS or value in self._ended:
            return None
        try:
            body = _bytes(payload)
            if not hmac.compare_digest(_bytes(mac), self._mac(body)):
                return None
            given = orjson.loads(body)
            left_s = (given["until_ns"] - time.time_ns()) / 1e9
            if given["role"] not in ROLES or not 0 < left_s <= LIFE_S + 300:
                return None
            ends = given["expires"] and date.fromisoformat(given["expires"])
            digest, created = bytes.fromhex(given["digest"]), date.fromisoformat(given["created"])
            token = Token(given["name"], given["role"], digest, created, ends)
        except (binascii.Error, orjson.JSONDecodeError, KeyError, TypeError, ValueError):
            return None
        return Session(token, time.monotonic() + left_s, given["until_ns"], bool(given["code"]))

    def end(self, value: str) -> None:
        """Sign out: this node takes the cookie no more, and the browser forgets it."""
        if self.find(value) is None:
            return
        with self._guard:
            self._ended[value] = None
            while len(self._ended) > MAX_ENDED:
                self._ended.popitem(last=False)

    def _mac(self, body: bytes) -> bytes:
        return hmac.digest(self._key, body, "sha256")


def _text(body: bytes) -> str:
    return base64.urlsafe_b64encode(body).decode().rstrip("=")


def _bytes(text: str) -> bytes:
    return base64.b64decode(text + "=" * (-len(text) % 4), b"-_", validate=True)
