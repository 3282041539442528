"""Signing in from a browser: by a token, and at this machine by a code for one use."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from gateway.api.access import FAILURES_PER_MINUTE, Caller
from gateway.api.app import make_app
from gateway.api.client import RequestFailed
from gateway.api.codes import ALPHABET, MAX_CODES, SignInCodes
from gateway.api.problems import Problem
from gateway.api.sessions import LIFE_S, MAX_OF_A_TOKEN, MAX_SESSIONS, Sessions
from gateway.api.settings import ApiConfig
from gateway.api.tokens import LOOK_S, write_tokens
from tests.support import free_port, until
from tests.unit.apikit import Plant, Served, ask, served
from tests.unit.tokenkit import (
    OPERATOR,
    VIEWER,
    actions,
    bearer,
    guarded,
    listen,
    post,
    send,
    token,
)

SESSION = "/v1/session"
DISABLE = "/v1/devices/disable"
WISH = {"device": "press_1", "why": "the pump is out"}


@pytest.fixture
def api(tmp_path: Path) -> Iterator[Served]:
    """The app on loopback, without tokens: what `make run` serves."""
    config = ApiConfig(socket=tmp_path / "gw.sock", listen=f"127.0.0.1:{free_port()}")
    with served(config) as running:
        yield running


@pytest.fixture
def with_tokens(tmp_path: Path) -> Iterator[Served]:
    folder = tmp_path / "guarded"
    folder.mkdir()
    with served(guarded(folder, f"127.0.0.1:{free_port()}", loopback_open=False)) as running:
        yield running


def new_code(running: Served) -> str:
    code: str = running.client.post_json("/v1/session/codes")["code"]
    return code


def page(running: Served, cookie: str = "") -> dict[str, str]:
    """What a browser sends with a request of the gateway's own page."""
    cookies = {"Cookie": cookie.partition(";")[0]} if cookie else {}
    own = f"http://{listen(running)}"
    return {"Origin": own, "Sec-Fetch-Site": "same-origin", "Sec-Fetch-Mode": "cors", **cookies}


def test_a_person_at_this_machine_signs_in_with_a_code_and_acknowledges(api: Served) -> None:
    api.plant.alarms.raise_one()
    wish = {"id": "hopper_4/pm10.high", "why": "filter is being changed"}
    assert post(listen(api), "/v1/alarms/acknowledge", page(api), wish)[0] == 401
    given = api.client.post_json("/v1/session/codes")
    assert given["url"] == f"http://{listen(api)}/"
    assert given["who"].startswith("uid ")
    status, headers, told = post(listen(api), SESSION, page(api), {"code": given["code"]})
    assert status == 200
    assert (told["role"], told["via"], told["who"]) == ("operator", "cookie", given["who"])
    assert told["expires_ns"] == pytest.approx(time.time_ns() + LIFE_S * 1e9, abs=60e9)
    cookie = headers["set-cookie"]
    for word in ("HttpOnly", "SameSite=strict", "Path=/"):
        assert word in cookie
    assert "Secure" not in cookie  # of plain HTTP it would not be kept
    status, _, body = post(listen(api), "/v1/alarms/acknowledge", page(api, cookie), wish)
    assert status == 200, body
    done, signed_in = actions(api)[0], actions(api)[1]
    assert (done["who"], done["via"], done["ok"]) == (given["who"], "cookie", True)
    assert (signed_in["action"], signed_in["who"], signed_in["ok"]) == (
        "session",
        given["who"],
        True,
    )


def test_a_code_counts_once_and_as_a_person_types_it(api: Served) -> None:
    code = new_code(api)
    typed = f" {code.lower().replace('-', ' ')} "
    assert post(listen(api), SESSION, page(api), {"code": typed})[0] == 200
    status, _, body = post(listen(api), SESSION, page(api), {"code": code})
    assert status == 401
    assert "gateway sign-in" in body["expected"]
    assert actions(api)[0]["error"] == f"401 {body['error']}"
    assert code not in str(actions(api))


def test_codes_are_given_out_on_the_unix_socket_only(api: Served, with_tokens: Served) -> None:
    cookie = post(listen(api), SESSION, page(api), {"code": new_code(api)})[1]["set-cookie"]
    assert post(listen(api), "/v1/session/codes", page(api, cookie))[0] == 403
    assert post(listen(api), "/v1/session/codes")[0] == 403
    assert post(listen(with_tokens), "/v1/session/codes", bearer(OPERATOR))[0] == 403


def test_a_gateway_without_a_page_gives_out_no_code(tmp_path: Path) -> None:
    said = "the gateway serves no page"
    only_socket = ApiConfig(socket=tmp_path / "s")
    with served(only_socket) as running, pytest.raises(RequestFailed, match=said) as caught:
        new_code(running)
    assert caught.value.status == 409


def test_codes_cannot_be_tried_without_end(api: Served) -> None:
    refused = 0
    while (answer := post(listen(api), SESSION, page(api), {"code": f"AAAA-{refused:04}"}))[
        0
    ] == 401:
        refused += 1
    assert (answer[0], refused) == (429, pytest.approx(FAILURES_PER_MINUTE, abs=3))
    # not even a right one
    assert post(listen(api), SESSION, page(api), {"code": new_code(api)})[0] == 429


def test_a_code_is_of_no_use_from_another_machine(tmp_path: Path) -> None:
    app = make_app(Plant(), guarded(tmp_path, "0.0.0.0:8080"))
    code = app.access.codes.give("uid 0 (root)")
    with pytest.raises(Problem) as caught:
        app.access.begin_by_code(code, Caller("none", "", "none", "10.0.0.9"))
    assert caught.value.status == 403
    local = Caller("none", "", "none", "127.0.0.1")
    assert app.access.begin_by_code(code, local)[1].role == "operator"


def test_another_site_cannot_sign_somebody_in(api: Served) -> None:
    code = new_code(api)
    foreign = {"Origin": "http://evil.example"}
    assert post(listen(api), SESSION, foreign, {"code": code})[0] == 403
    form = {"Content-Type": "text/plain"}
    assert post(listen(api), SESSION, form, b'{"code": "%s"}' % code.encode())[0] == 415
    assert post(listen(api), SESSION, page(api), {"code": code})[0] == 200


def test_only_a_gateway_without_tokens_has_a_first_code(tmp_path: Path) -> None:
    listening = {"socket": tmp_path / "s", "listen": "127.0.0.1:8080"}
    first = make_app(Plant(), ApiConfig(**listening)).first_code()  # type: ignore[arg-type]
    assert first is not None
    assert make_app(Plant(), guarded(tmp_path, "127.0.0.1:8080")).first_code() is None
    assert make_app(Plant(), ApiConfig(socket=tmp_path / "s")).first_code() is None


# -- sessions ---------------------------------------------------------------------------------


def signed_in(running: Served, text: str) -> str:
    status, headers, _ = post(listen(running), SESSION, {**page(running), **bearer(text)})
    assert status == 200
    return headers["set-cookie"]


def test_a_token_is_exchanged_for_a_cookie_that_has_its_role(with_tokens: Served) -> None:
    at = listen(with_tokens)
    cookie = signed_in(with_tokens, VIEWER)
    assert VIEWER not in cookie
    _, _, told = ask(at, SESSION, page(with_tokens, cookie))
    assert (told["who"], told["role"], told["via"]) == ("alice", "viewer", "cookie")
    assert ask(at, "/v1/status", page(with_tokens, cookie))[0] == 200
    assert post(at, DISABLE, page(with_tokens, cookie), WISH)[0] == 403
    cookie = signed_in(with_tokens, OPERATOR)
    assert post(at, DISABLE, page(with_tokens, cookie), WISH)[0] == 200


def test_a_cookie_alone_changes_nothing(with_tokens: Served) -> None:
    """A browser sends it whoever asks; the Origin says who does."""
    at, cookie = listen(with_tokens), signed_in(with_tokens, OPERATOR).partition(";")[0]
    for origin in ({}, {"Origin": "http://evil.example"}, {"Origin": "null"}):
        status, _, body = post(at, DISABLE, {"Cookie": cookie, **origin}, WISH)
        assert status == 403
        assert actions(with_tokens)[0]["error"] == f"403 {body['error']}"
    assert ask(at, "/v1/status", {"Cookie": cookie, "Host": "evil.example"})[0] == 403
    assert with_tokens.plant.switched == {}


def test_signing_out_ends_the_session(with_tokens: Served) -> None:
    at, cookie = listen(with_tokens), signed_in(with_tokens, OPERATOR)
    status, headers, told = send(at, "DELETE", SESSION, page(with_tokens, cookie))
    assert (status, told["role"]) == (200, "none")
    assert "Max-Age=0" in headers["set-cookie"]
    assert ask(at, "/v1/status", page(with_tokens, cookie))[0] == 401


def test_a_session_ends_with_its_token(with_tokens: Served) -> None:
    at, cookie = listen(with_tokens), signed_in(with_tokens, VIEWER)
    assert with_tokens.api.tokens_file is not None
    write_tokens(with_tokens.api.tokens_file, [token("bob", "operator", OPERATOR)])
    until(lambda: ask(at, "/v1/status", page(with_tokens, cookie))[0] == 401, 10 * LOOK_S)


def test_whoever_asks_learns_only_who_they_are(with_tokens: Served) -> None:
    at = listen(with_tokens)
    assert ask(at, SESSION)[2] == {"who": "", "role": "none", "via": "none", "expires_ns": None}
    assert post(at, SESSION)[0] == 401
    assert ask(at, SESSION, bearer(VIEWER))[2]["role"] == "viewer"


def test_a_person_without_a_token_is_asked_for_one(with_tokens: Served) -> None:
    at = listen(with_tokens)
    status, headers, body = ask(at, "/", {"Accept": "text/html,*/*"})
    assert status == 401
    assert headers["content-type"] == "text/html; charset=utf-8"
    assert b'<form id="sign-in"' in body
    assert b"<script>" not in body  # the policy allows none
    assert headers["content-security-policy"].startswith("default-src 'self';")
    status, headers, script = ask(at, "/sign-in.js")
    assert (status, headers["content-type"]) == (200, "text/javascript; charset=utf-8")
    assert b"/v1/session" in script
    assert ask(at, "/v1/status", {"Accept": "text/html"})[1]["content-type"] == "application/json"


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_a_session_ends_after_its_time() -> None:
    clock = Clock()
    sessions = Sessions(clock=clock)
    value, _ = sessions.begin(token("alice", "viewer", VIEWER))
    clock.now += LIFE_S - 1
    assert sessions.find(value) is not None
    assert sessions.find(value + "x") is None
    clock.now += 2
    assert sessions.find(value) is None


def test_sessions_are_bounded_and_one_token_cannot_push_out_the_others() -> None:
    sessions = Sessions()
    alice, _ = sessions.begin(token("alice", "viewer", VIEWER))
    mine = [sessions.begin(token("bob", "operator", OPERATOR))[0] for _ in range(100)]
    assert sessions.find(alice) is not None
    assert [sessions.find(v) is not None for v in mine] == [False] * (100 - MAX_OF_A_TOKEN) + [
        True
    ] * MAX_OF_A_TOKEN
    for number in range(2 * MAX_SESSIONS):
        sessions.begin(token(f"t{number}", "viewer", f"egw_{number}"))
    assert len(sessions) == MAX_SESSIONS


def test_codes_end_with_their_time_and_are_bounded() -> None:
    clock = Clock()
    codes = SignInCodes(clock=clock)
    early = codes.give("alice", 10.0)
    assert set(early.replace("-", "")) <= set(ALPHABET)
    clock.now += 11
    assert codes.take(early) is None
    first = codes.give("bob")
    others = [codes.give("carol") for _ in range(MAX_CODES)]
    assert codes.take(first) is None
    assert [codes.take(code) for code in others] == ["carol"] * MAX_CODES
    wrong: list[Any] = ["", "-", "\ud800", "é" * 8, "A" * 100]
    assert [codes.take(text) for text in wrong] == [None] * len(wrong)
