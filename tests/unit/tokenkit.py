"""Files of tokens, and whole requests, for the tests of who may do what."""

from __future__ import annotations

import http.client
import json
from collections.abc import Mapping
from datetime import date
from pathlib import Path
from typing import Any

from gateway.api.client import Client
from gateway.api.settings import ApiConfig
from gateway.api.tokens import Role, Token, digest_of, write_tokens
from tests.unit.apikit import Served

VIEWER = "egw_viewer-0123456789abcdef0123456789abcdef012"
OPERATOR = "egw_operator-0123456789abcdef0123456789abcdef0"


def token(name: str, role: Role, text: str, expires: date | None = None) -> Token:
    return Token(name, role, digest_of(text), date(2026, 11, 1), expires)


def tokens_file(folder: Path) -> Path:
    """A file with a viewer, alice, and an operator, bob."""
    path = folder / "tokens"
    write_tokens(path, [token("alice", "viewer", VIEWER), token("bob", "operator", OPERATOR)])
    return path


def guarded(folder: Path, listen: str, **settings: Any) -> ApiConfig:
    file = tokens_file(folder)
    return ApiConfig(socket=folder / "gw.sock", listen=listen, tokens_file=file, **settings)


def bearer(text: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {text}"}


def listen(running: Served) -> str:
    assert running.api.listen is not None
    return running.api.listen


def actions(running: Served) -> list[dict[str, Any]]:
    """The audit, the newest first, by the Unix socket."""
    found: list[dict[str, Any]] = Client(running.api.socket).get_json("/v1/audit")["actions"]
    return found


def post(
    at: str, path: str, headers: Mapping[str, str] | None = None, body: Any = None
) -> tuple[int, dict[str, str], Any]:
    """Status, headers and JSON of one POST on TCP; a body that is no bytes is sent as JSON."""
    return send(at, "POST", path, headers, body)


def send(
    at: str,
    method: str,
    path: str,
    headers: Mapping[str, str] | None = None,
    body: Any = None,
) -> tuple[int, dict[str, str], Any]:
    host, _, port = at.rpartition(":")
    given = dict(headers or {})
    raw = body
    if body is not None and not isinstance(body, bytes):
        raw = json.dumps(body).encode()
        given.setdefault("Content-Type", "application/json")
    connection = http.client.HTTPConnection(host.strip("[]"), int(port), timeout=10)
    try:
        connection.request(method, path, raw, given)
        response = connection.getresponse()
        answer = response.read()
    finally:
        connection.close()
    found = {k.lower(): v for k, v in response.getheaders()}
    is_json = found.get("content-type", "").startswith("application/json")
    return response.status, found, json.loads(answer) if answer and is_json else answer
