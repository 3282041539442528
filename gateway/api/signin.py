"""Signing in from a browser: ``/v1/session``, and a page that asks for a token where one is needed.

A browser cannot send a token with the page that it opens, so it exchanges one for a cookie. At this
machine a code of `gateway sign-in` does as well.
"""

from __future__ import annotations

import time
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request
from starlette.responses import Response
from starlette.types import Scope

from gateway.api import accessschemas
from gateway.api.access import Access, Caller, caller_of, no_token
from gateway.api.answers import json_answer, only
from gateway.api.bodies import body_of, described
from gateway.api.codes import CODE_S
from gateway.api.problems import Problem
from gateway.api.sessions import COOKIE, LIFE_S
from gateway.api.settings import ApiConfig

SCRIPT_PATH = "/sign-in.js"
SESSION_PATH = "/v1/session"
CODES_PATH = "/v1/session/codes"
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
<p><label for="token">Token, or sign-in code</label><br>
<input id="token" type="password" size="50" autocomplete="current-password" required autofocus></p>
<p><button>Sign in</button> <span id="said" role="alert"></span></p>
</form>
<p>Whoever runs this gateway makes a token for you with
<code>gateway token add FILE NAME</code>; at the gateway itself
<code>gateway sign-in</code> prints a code.</p>
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
    const text = field.value.trim();
    const request = {method: 'POST', headers: {}};
    if (text.startsWith('egw_')) {
      request.headers.Authorization = 'Bearer ' + text;
    } else {
      request.headers['Content-Type'] = 'application/json';
      request.body = JSON.stringify({code: text});
    }
    const answer = await fetch('/v1/session', request);
    if (answer.ok) {
      location.reload();
      return;
    }
    const told = await answer.json();
    said.textContent = answer.status === 401 ? 'This is not known.' : told.error;
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


async def local_operator(request: Request) -> str:
    """A dependency: who asks on the Unix socket. Problem 403 for all others."""
    caller = caller_of(request.scope)
    if caller.via != "socket":
        raise Problem(403, "codes are given out on the Unix socket only", "`gateway sign-in`")
    return caller.who


def add_sessions(
    router: APIRouter, access: Access, api: ApiConfig, errors: dict[int | str, Any]
) -> None:
    """Add the routes."""
    code_in = body_of(accessschemas.SignIn)

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
        openapi_extra=described(accessschemas.SignIn, required=False),
    )
    async def begin(request: Request) -> Response:
        """Exchange a token, or a sign-in code, for a cookie of 12 hours.

        The token stands in the Authorization header, and there is no body; or a JSON body has the
        code.
        """
        caller = caller_of(request.scope)
        if await request.body():
            given = await code_in(request)
            value, caller = access.begin_by_code(given.code, caller)
            request.scope["state"]["acted_as"] = caller
        elif caller.via == "token" and caller.token is not None:
            value, session = access.sessions.begin(caller.token)
            caller = caller._replace(via="cookie", expires_ns=session.expires_ns)
        else:
            raise no_token()
        answer = _told(caller)
        _set_cookie(answer, request, value, LIFE_S)
        return answer

    @router.post(
        CODES_PATH,
        dependencies=[Depends(only())],
        response_model=accessschemas.CodeDocument,
        responses=errors,
    )
    async def new_code(who: Annotated[str, Depends(local_operator)]) -> Response:
        """A sign-in code of 10 minutes for one use; on the Unix socket only. No body."""
        if api.address is None:
            raise Problem(409, "the gateway serves no page", "api.listen in the configuration")
        scheme = "http" if api.tls is None else "https"
        url = f"{scheme}://{api.address}/" if api.address.is_loopback else None
        expires_ns = time.time_ns() + int(CODE_S * 1e9)
        document = {"code": access.codes.give(who), "who": who, "expires_ns": expires_ns}
        return json_answer({**document, "url": url})

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
