"""Who may open a WebSocket: every web page can try, and browsers send it cookies."""

from __future__ import annotations

import socket
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect

from gateway.api import guard
from gateway.api.tokens import write_tokens
from tests.support import free_port
from tests.unit.apikit import Served, served
from tests.unit.tokenkit import OPERATOR, VIEWER, bearer, guarded, listen, post, send, token

PATHS = ("/ws/live", "/ws/alarms")


@pytest.fixture
def api(tmp_path: Path) -> Iterator[Served]:
    with served(guarded(tmp_path, f"127.0.0.1:{free_port()}", loopback_open=False)) as running:
        yield running


@pytest.fixture
def open_api(tmp_path: Path) -> Iterator[Served]:
    with served(guarded(tmp_path, f"127.0.0.1:{free_port()}")) as running:
        yield running


def opened(at: str, path: str, headers: Mapping[str, str], name: str = "") -> Any:
    """A client, to be used in a `with`; ``name``: by which it asks, else the address."""
    given = {k: v for k, v in headers.items() if k != "Origin"}
    origin: Any = headers.get("Origin")
    host, _, port = at.partition(":")
    sock = socket.create_connection((host, int(port)), timeout=5)
    uri = f"ws://{name or at}{path}"
    return connect(uri, sock=sock, origin=origin, additional_headers=given, close_timeout=2)


def status_of(at: str, path: str, headers: Mapping[str, str], name: str = "") -> int:
    """What the gateway answers to the request to open it: 101 where it does."""
    try:
        with opened(at, path, headers, name):
            return 101
    except InvalidStatus as error:
        return error.response.status_code


def cookie_of(running: Served, text: str) -> str:
    own = {"Origin": f"http://{listen(running)}", **bearer(text)}
    return post(listen(running), "/v1/session", own)[1]["set-cookie"].partition(";")[0]


@pytest.mark.parametrize("path", PATHS)
def test_a_websocket_needs_what_every_question_needs(api: Served, path: str) -> None:
    at, own = listen(api), f"http://{listen(api)}"
    cookie = cookie_of(api, VIEWER)
    tries: list[tuple[dict[str, str], int]] = [
        ({}, 401),
        ({"Origin": own}, 401),
        (bearer("egw_wrong"), 401),
        (bearer(VIEWER), 101),
        ({**bearer(VIEWER), "Origin": own}, 101),
        ({**bearer(VIEWER), "Origin": "http://evil.example"}, 403),
        ({"Cookie": cookie, "Origin": own}, 101),
        ({"Cookie": cookie, "Origin": "http://evil.example"}, 403),
        ({"Cookie": cookie, "Origin": "null"}, 403),
        ({"Cookie": cookie}, 403),
        ({"Cookie": "gateway_session=wrong", "Origin": own}, 401),
    ]
    for headers, status in tries:
        assert status_of(at, path, headers) == status, headers


@pytest.mark.parametrize("path", PATHS)
def test_a_page_of_another_site_opens_none_at_this_machine(open_api: Served, path: str) -> None:
    at = listen(open_api)
    assert status_of(at, path, {}) == 101
    assert status_of(at, path, {"Origin": f"http://{at}"}) == 101
    assert status_of(at, path, {"Origin": "http://evil.example"}) == 403
    assert status_of(at, f"{path}?token={VIEWER}", {}) == 400


def test_a_rebound_name_opens_none(open_api: Served) -> None:
    assert status_of(listen(open_api), "/ws/live", {}, "evil.example") == 403
    assert status_of(listen(open_api), "/ws/live", {}, "localhost") == 101


@pytest.mark.parametrize("path", PATHS)
def test_a_revoked_token_ends_what_it_has_opened(
    api: Served, path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(guard, "CHECK_S", 0.05)
    with opened(listen(api), path, bearer(VIEWER)) as client:
        client.recv(5)
        assert api.api.tokens_file is not None
        write_tokens(api.api.tokens_file, [token("bob", "operator", OPERATOR)])
        with pytest.raises(ConnectionClosed) as caught:
            while True:
                client.recv(10)
    assert caught.value.rcvd is not None
    assert (caught.value.rcvd.code, caught.value.rcvd.reason) == (1008, "signed out")
    assert status_of(listen(api), path, bearer(VIEWER)) == 401


def test_signing_out_ends_what_the_session_has_opened(
    api: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(guard, "CHECK_S", 0.05)
    cookie = cookie_of(api, OPERATOR)
    own = {"Cookie": cookie, "Origin": f"http://{listen(api)}"}
    with opened(listen(api), "/ws/live", own) as client:
        assert send(listen(api), "DELETE", "/v1/session", own)[0] == 200
        with pytest.raises(ConnectionClosed):
            while True:
                client.recv(10)
