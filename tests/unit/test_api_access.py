"""Who may change something over TCP, and what is noted of it."""

from __future__ import annotations

import http.client
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from gateway.api import bodies
from gateway.api.access import FAILURES_PER_MINUTE, Caller
from gateway.api.audit import AuditLog
from gateway.api.client import Client, RequestFailed
from gateway.api.guard import ACTIONS_PER_MINUTE
from gateway.api.settings import ApiConfig
from gateway.api.tokens import LOOK_S, write_tokens
from gateway.errors import DeviceUnavailable, GatewayError
from gateway.sinks import Selected
from gateway.sinks.historian import HistorianConfig, HistorianSink
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
    tokens_file,
)

DISABLE = "/v1/devices/disable"
WISH = {"device": "press_1", "why": "the pump is out"}


@pytest.fixture
def api(tmp_path: Path) -> Iterator[Served]:
    """The app on loopback, with alice, a viewer, and bob, an operator."""
    with served(guarded(tmp_path, f"127.0.0.1:{free_port()}")) as running:
        yield running


@pytest.fixture
def open_api(tmp_path: Path) -> Iterator[Served]:
    """The app on loopback, without tokens."""
    config = ApiConfig(socket=tmp_path / "gw.sock", listen=f"127.0.0.1:{free_port()}")
    with served(config) as running:
        yield running


def changing(running: Served) -> list[str]:
    paths = running.client.get_json("/openapi.json")["paths"]
    found = [p for p, operations in paths.items() if "post" in operations]
    return [p for p in found if p != "/v1/session"]


def test_an_operator_changes_something_and_it_is_noted(api: Served) -> None:
    status, _, body = post(listen(api), DISABLE, bearer(OPERATOR), WISH)
    assert status == 200
    assert body == {"device": "press_1", "enabled": False, "who": "bob", "why": WISH["why"]}
    assert api.plant.switched == {"press_1": False}
    (action,) = actions(api)
    assert action["time_ns"] == pytest.approx(time.time_ns(), abs=30e9)
    expected = {"who": "bob", "via": "token", "peer": "127.0.0.1", "action": "devices/disable"}
    expected |= {"about": "press_1", "why": WISH["why"], "error": ""}
    assert {key: action[key] for key in expected} == expected
    assert action["ok"] is True


def test_every_action_refuses_viewers_and_strangers_and_notes_them(api: Served) -> None:
    paths = changing(api)
    assert {DISABLE, "/v1/alarms/acknowledge", "/v1/dead-letters/replay"} <= set(paths)
    for path in paths:
        status, _, body = post(listen(api), path, bearer(VIEWER))
        assert status == 403, path
        newest = actions(api)[0]
        assert (newest["who"], newest["ok"]) == ("alice", False), path
        assert newest["error"].startswith("403 "), path
    for path in set(paths) - {"/v1/session/codes", "/v1/ingest"}:
        status, headers, body = post(listen(api), path)
        assert (status, headers["www-authenticate"]) == (401, "Bearer"), path
        for way in ("Unix socket", "gateway sign-in", "gateway token add"):
            assert way in body["expected"]
    assert api.plant.switched == {}


def test_the_audit_itself_is_for_operators(api: Served) -> None:
    assert ask(listen(api), "/v1/audit", bearer(OPERATOR))[0] == 200
    status, _, body = ask(listen(api), "/v1/audit", bearer(VIEWER))
    assert status == 403
    assert body["error"] == "this is for operators, and 'alice' is a viewer"
    assert ask(listen(api), "/v1/audit")[0] == 401


def test_an_action_is_a_row_like_any_other(api: Served) -> None:
    rows = api.plant.hub.subscribe("test")
    post(listen(api), DISABLE, bearer(OPERATOR), WISH)
    (row,) = rows.drain()
    assert row.table.name == "gateway_audit"
    values = dict(zip(row.table.columns, row.values(), strict=True))
    assert (values["who"], values["action"], values["ok"]) == ("bob", "devices/disable", True)


def test_on_the_unix_socket_people_may_say_who_they_are_and_tokens_may_not(api: Served) -> None:
    claimed = {"id": "hopper_4/pm10.high", "why": "seen", "who": "carol"}
    api.plant.alarms.raise_one()
    api.client.post_json("/v1/alarms/acknowledge", body=claimed)
    assert (actions(api)[0]["who"], actions(api)[0]["via"]) == ("carol", "socket")
    api.plant.alarms.raise_one()
    post(listen(api), "/v1/alarms/acknowledge", bearer(OPERATOR), claimed)
    assert (actions(api)[0]["who"], actions(api)[0]["via"]) == ("bob", "token")
    with pytest.raises(RequestFailed, match="'who' is no name") as caught:
        api.client.post_json("/v1/alarms/acknowledge", body={**claimed, "who": "a\x1b[2J"})
    assert caught.value.status == 400


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({"device": "press_1"}, "'why' is missing"),
        ({"device": "pres_1", "why": "x"}, "no device 'pres_1'"),
        ({"device": "press_1", "reason": "x", "why": "y"}, "unknown key 'reason'"),
        ({"device": "press_1", "why": ""}, "'why' is wrong"),
        ({"device": 7, "why": "x"}, "'device' is wrong"),
        (["press_1"], "the body is not an object"),
        (b"{", "the body is not JSON"),
        (None, "the body is missing"),
    ],
)
def test_mistakes_in_a_body_are_told_in_words(api: Served, body: Any, said: str) -> None:
    headers = {**bearer(OPERATOR), "Content-Type": "application/json"}
    status, _, told = post(listen(api), DISABLE, headers, body)
    assert status in (400, 404)
    assert told["error"].startswith(said)
    assert actions(api)[0]["error"].startswith(f"{status} {said}")


def test_why_a_device_cannot_be_switched_is_told_and_noted(
    api: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    for error, status in ((GatewayError("it is off"), 409), (DeviceUnavailable("busy", "b"), 503)):

        def refuse(*_: Any, error: GatewayError = error) -> None:
            raise error

        monkeypatch.setattr(api.plant, "switch_device", refuse)
        found, _, body = post(listen(api), DISABLE, bearer(OPERATOR), WISH)
        assert found == status
        assert str(error) in body["error"]
        assert actions(api)[0]["error"] == f"{status} {body['error']}"


# -- what other sites, and those who guess, may try -------------------------------------------


def test_a_form_of_another_site_changes_nothing(api: Served) -> None:
    right, raw = bearer(OPERATOR), b'{"device": "press_1", "why": "x"}'
    for media in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data", ""):
        status, _, body = post(listen(api), DISABLE, {**right, "Content-Type": media}, raw)
        assert status == 415, media
        assert body["expected"] == "Content-Type: application/json"
    assert send(listen(api), "OPTIONS", DISABLE, {"Origin": "http://evil.example"})[0] == 403
    for foreign in ({"Origin": "http://evil.example"}, {"Sec-Fetch-Site": "cross-site"}):
        assert post(listen(api), DISABLE, {**right, **foreign}, WISH)[0] == 403
    assert api.plant.switched == {}


def test_a_rebound_name_changes_nothing_and_is_noted(open_api: Served) -> None:
    given = {"Host": "evil.example", "Origin": "http://evil.example"}
    status, _, body = post(listen(open_api), DISABLE, given, WISH)
    assert status == 403
    assert "evil.example" in body["error"]
    newest = actions(open_api)[0]
    assert (newest["action"], newest["ok"]) == ("devices/disable", False)


def test_a_body_that_is_too_large_is_refused_before_it_comes(api: Served) -> None:
    host, _, port = listen(api).partition(":")
    connection = http.client.HTTPConnection(host, int(port), timeout=5)
    connection.putrequest("POST", DISABLE)
    for key, value in bearer(OPERATOR).items():
        connection.putheader(key, value)
    connection.putheader("Content-Type", "application/json")
    connection.putheader("Content-Length", str(bodies.MAX_BODY_BYTES + 1))
    connection.endheaders()
    response = connection.getresponse()
    assert response.status == 413
    connection.close()
    assert actions(api)[0]["error"] == "413 the body is too large"
    chunked = {**bearer(OPERATOR), "Transfer-Encoding": "chunked"}
    assert ask(listen(api), DISABLE, chunked, method="POST")[0] == 411


def test_a_body_that_drips_is_given_up(api: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bodies, "BODY_S", 0.2)
    host, _, port = listen(api).partition(":")
    with socket.create_connection((host, int(port)), timeout=5) as sock:
        sock.sendall(
            b"POST " + DISABLE.encode() + b" HTTP/1.1\r\nHost: " + listen(api).encode() + b"\r\n"
            b"Authorization: Bearer " + OPERATOR.encode() + b"\r\n"
            b"Content-Type: application/json\r\nContent-Length: 100\r\n\r\n{"
        )
        answer = b""
        while part := sock.recv(4096):
            answer += part
    assert answer.startswith(b"HTTP/1.1 408 ")
    assert b"the body did not come within 0.2 s" in answer
    assert api.plant.switched == {}
    newest = actions(api)[0]
    assert (newest["who"], newest["error"]) == ("bob", "408 the body did not come within 0.2 s")


def test_wrong_tokens_are_noted_and_soon_not_looked_at(api: Served) -> None:
    refused = 0
    while (answer := ask(listen(api), "/v1/status", bearer(f"egw_{refused}")))[0] == 401:
        assert answer[2]["error"] == "a wrong token"
        refused += 1
    status, headers, body = answer
    assert (status, refused) == (429, pytest.approx(FAILURES_PER_MINUTE, abs=3))
    assert 1 <= int(headers["retry-after"]) <= 60
    assert body["expected"] == f"try again in {headers['retry-after']} s"
    # nor is a right one that this address has not had before: it might have been guessed
    assert ask(listen(api), "/v1/status", bearer(OPERATOR))[0] == 429
    noted = [a for a in actions(api) if a["action"] == "authenticate"]
    assert len(noted) == refused
    assert {(a["via"], a["peer"], a["about"]) for a in noted} == {
        ("none", "127.0.0.1", "/v1/status")
    }


def test_wrong_tokens_do_not_lock_out_who_was_right_before(api: Served) -> None:
    assert ask(listen(api), "/v1/status", bearer(VIEWER))[0] == 200
    until(lambda: ask(listen(api), "/v1/status", bearer("egw_x"))[0] == 429, what="the limit")
    assert ask(listen(api), "/v1/status", bearer(VIEWER))[0] == 200
    assert ask(listen(api), "/v1/status")[0] == 200


def test_actions_of_one_identity_are_limited_and_those_of_others_are_not(api: Served) -> None:
    done = 0
    while (answer := post(listen(api), DISABLE, bearer(OPERATOR), WISH))[0] == 200:
        done += 1
    status, headers, body = answer
    # one more is allowed each second that this takes
    assert (status, done) == (429, pytest.approx(ACTIONS_PER_MINUTE, abs=20))
    assert int(headers["retry-after"]) >= 1
    assert body["error"] == f"more than {ACTIONS_PER_MINUTE} actions a minute"
    assert api.client.post_json(DISABLE, body=WISH)["enabled"] is False
    assert ask(listen(api), "/v1/status", bearer(OPERATOR))[0] == 200
    assert len([a for a in actions(api) if a["who"] == "bob"]) == done


# -- tokens come and go -----------------------------------------------------------------------


def test_a_revoked_token_counts_no_more_without_a_restart(api: Served) -> None:
    assert api.api.tokens_file is not None
    assert post(listen(api), DISABLE, bearer(OPERATOR), WISH)[0] == 200
    write_tokens(api.api.tokens_file, [token("alice", "viewer", VIEWER)])
    until(
        lambda: post(listen(api), DISABLE, bearer(OPERATOR), WISH)[0] == 401,
        10 * LOOK_S,
        "the token is refused",
    )
    assert ask(listen(api), "/v1/audit", bearer(VIEWER))[0] == 403
    write_tokens(api.api.tokens_file, [token("alice", "operator", VIEWER)])
    until(lambda: ask(listen(api), "/v1/audit", bearer(VIEWER))[0] == 200, 10 * LOOK_S)


def test_a_token_file_that_is_damaged_lets_nobody_in(
    api: Served, caplog: pytest.LogCaptureFixture
) -> None:
    assert api.api.tokens_file is not None
    assert ask(listen(api), "/v1/status", bearer(VIEWER))[0] == 200
    api.api.tokens_file.write_text(f"alice viewer {VIEWER} 2026-11-01 never\n")
    until(lambda: ask(listen(api), "/v1/status", bearer(VIEWER))[0] == 401, 10 * LOOK_S)
    (told,) = [r for r in caplog.records if "so none is good" in r.getMessage()]
    assert vars(told)["detail"].endswith("tokens:1:14: not a hash; expected sha256: and 64 "
                                         "hexadecimal digits")  # fmt: skip
    assert VIEWER not in str(vars(told))


def test_the_text_of_an_action_cannot_forge_a_log_or_carry_a_secret(
    caplog: pytest.LogCaptureFixture,
) -> None:
    log = AuditLog(lambda _: None, "hall-3")
    caller = Caller("operator", "bob\r\nlevel=info", "token", "10.0.0.9")
    log.record(caller, "x", why="token=abcdefgh12345678 \x1b[2J" + "y" * 5000)
    (kept,) = log.kept()
    for text in (kept.who, kept.why):
        assert "\n" not in text
        assert "\x1b" not in text
        assert len(text) <= 500
    assert "abcdefgh12345678" not in kept.why


def test_actions_of_earlier_runs_come_from_the_historian(tmp_path: Path) -> None:
    historian = HistorianSink("history", HistorianConfig(store_every_s=0), tmp_path)
    before = AuditLog(lambda row: historian.store([Selected(row)]), "hall-3")
    before.record(Caller("operator", "bob", "token", "10.0.0.9"), "alarms/shelve", about="a")
    with served(ApiConfig(socket=tmp_path / "gw.sock"), Plant(historian)) as running:
        running.client.post_json(DISABLE, body=WISH)
        document = running.client.get_json("/v1/audit")
    assert [a["action"] for a in document["actions"]] == ["devices/disable", "alarms/shelve"]
    assert document["notes"] == []
    historian.close()


def test_without_a_historian_the_audit_says_what_it_lacks(api: Served) -> None:
    post(listen(api), DISABLE, bearer(OPERATOR), WISH)
    post(listen(api), "/v1/devices/enable", bearer(OPERATOR), WISH)
    document = api.client.get_json("/v1/audit", {"max": 1})
    assert [a["action"] for a in document["actions"]] == ["devices/enable"]
    assert document["notes"] == ["no sink of type sqlite: actions of earlier runs are not listed"]


def test_a_client_with_the_wrong_role_is_told_what_to_do(api: Served) -> None:
    viewer = Client(listen(api), token=VIEWER)
    assert viewer.get_json("/v1/session")["role"] == "viewer"
    with pytest.raises(RequestFailed, match="'alice' is a viewer; the token of an operator"):
        viewer.post_json(DISABLE, body=WISH)


def test_a_token_file_that_cannot_be_used_stops_the_start(tmp_path: Path) -> None:
    file = tokens_file(tmp_path)
    file.chmod(0o644)
    config = ApiConfig(socket=tmp_path / "s", listen="127.0.0.1:8080", tokens_file=file)
    with (
        pytest.raises(GatewayError, match="others may read or change it") as caught,
        served(config),
    ):
        pass
    assert str(file) in str(caught.value)
