"""Signing in from a browser: ``/v1/session``, and a page that asks for a token where one is needed.

A browser cannot send a token with the page that it opens, so it exchanges one for a cookie.
"""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Depends, Request
from starlette.responses import Response
from starlette.types import Scope

from gateway.api import accessschemas
from gateway.api.access import Access, Caller, caller_of, no_token
from gateway.api.answers import json_answer, only
from gateway.api.sessions import COOKIE, LIFE_S

SCRIPT_PATH = "/sign-in.js"
SESSION_PATH = "/v1/session"
OPEN_PATHS = frozenset({SESSION_PATH, SCRIPT_PATH})
"""Paths that answer whoever asks: they tell nothing, and let somebody in only with a token."""

PAGE = b"""<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>Sign in - edge-gateway</title>
<script src="/sign-in.js" defer></script>
<h1>edge-gateway</h1>
<form id="sign-in" autocomplete="off">
<p><label for="token">Token</label><br>
<input id="token" type="password" size="50" autocomplete="current-password" required autofocus></p>
<p><button>Sign in</button> <span id="said" role="alert"></span></p>
</form>
<p>Whoever runs this gateway makes a token for you with
<code>gateway token add FILE NAME</code>.</p>
<noscript><p>Signing in needs JavaScript.</p></noscript>
</html>
"""

SCRIPT = b"""'use strict';
document.getElementById('sign-in').addEventListener('submit', async (event) => {
  event.preventDefault();
  const said = document.getElementById('said');
  const field = document.getElementById('token');
  said.textContent = '';
  try {
    const headers = {Authorization: 'Bearer ' + field.value.trim()};
    const answer = await fetch('/v1/session', {method: 'POST', headers});
    if (answer.ok) {
      location.reload();
      return;
    }
    const told = await answer.json();
    said.textContent = answer.status === 401 ? 'This token is not known.' : told.error;
  } catch (error) {
    said.textContent = 'The gateway does not answer.';
  }
  field.select();
});
"""


def is_wanted(scope: Scope) -> bool:
    """Whether a person is waiting for a page, and not a program for data."""
    if scope["type"] != "http" or scope["method"] not in ("GET", "HEAD"):
        return False
    headers = dict(scope["headers"])
    is_program = b"authorization" in headers or scope["path"].startswith("/v1/")
    return not is_program and b"text/html" in headers.get(b"accept", b"")


def add_sessions(router: APIRouter, access: Access, errors: dict[int | str, Any]) -> None:
    """Add the routes."""

    @router.get(
        SESSION_PATH,
        dependencies=[Depends(only())],
        response_model=accessschemas.SessionDocument,
        responses=errors,
    )
    async def session(request: Request) -> Response:
        """Who you are to the gateway, and what you may: viewer, operator, or nothing."""
        return _told(caller_of(request.scope))

    @router.post(
        SESSION_PATH,
        dependencies=[Depends(only())],
        response_model=accessschemas.SessionDocument,
        responses=errors,
    )
    async def begin(request: Request) -> Response:
        """Exchange the token of the Authorization header for a cookie of 12 hours. No body."""
        caller = caller_of(request.scope)
        if caller.via != "token" or caller.token is None:
            raise no_token()
        value, session = access.sessions.begin(caller.token)
        answer = _told(caller._replace(via="cookie", expires_ns=session.expires_ns))
        _set_cookie(answer, request, value, LIFE_S)
        return answer

    @router.delete(
        SESSION_PATH,
        dependencies=[Depends(only())],
        response_model=accessschemas.SessionDocument,
        responses=errors,
    )
    async def end(request: Request) -> Response:
        """Sign out: the cookie counts no more."""
        caller = caller_of(request.scope)
        if caller.cookie:
            access.sessions.end(caller.cookie)
        answer = _told(Caller("none", "", "none", caller.peer))
        _set_cookie(answer, request, "", 0)
        return answer

    @router.get(SCRIPT_PATH, include_in_schema=False)
    async def script() -> Response:
        return Response(SCRIPT, media_type="text/javascript")


def _told(caller: Caller) -> Response:
    return json_answer(
        {
            "who": caller.who,
            "role": caller.role,
            "via": caller.via,
            "expires_ns": caller.expires_ns,
        }
    )


def _set_cookie(answer: Response, request: Request, value: str, life_s: int) -> None:
    answer.set_cookie(
        COOKIE,
        value,
        max_age=life_s,
        path="/",
        secure=request.scope["scheme"] == "https",
        httponly=True,
        samesite="strict",
    )
