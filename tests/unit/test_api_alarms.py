"""Alarms over HTTP: the lists, acknowledge and shelve with who and why, and who may do so."""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import Any

import pytest

from gateway.alarms.model import State
from gateway.api.client import RequestFailed
from tests.support import free_port
from tests.unit.alarmkit import Bell, StandingAlarms
from tests.unit.apikit import Served, ask, served
from tests.unit.tokenkit import OPERATOR, VIEWER, actions, bearer, guarded, listen, post

PM10 = "hopper_4/pm10.high"


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("api")
    with served(guarded(folder, f"127.0.0.1:{free_port()}")) as made:
        made.client.get_json("/v1/alarms/history")  # begins the thread that blocking calls run in
        yield made


@pytest.fixture
def running(app: Served) -> Served:
    """The app with alarms that are all normal."""
    app.plant.alarms, app.plant.notifiers = StandingAlarms(), Bell()
    return app


def act(running: Served, what: str, **body: Any) -> Any:
    """By the Unix socket."""
    return running.client.post_json(f"/v1/alarms/{what}", body=body)


def test_alarms_that_stand_are_listed(running: Served) -> None:
    assert running.client.get_json("/v1/alarms")["alarms"] == []
    running.plant.alarms.raise_one()
    document = running.client.get_json("/v1/alarms")
    (alarm,) = document["alarms"]
    assert (alarm["id"], alarm["state"], alarm["severity"]) == (PM10, "unacknowledged", "high")
    assert document["status"]["unacknowledged"] == 1
    rules = running.client.get_json("/v1/alarms/rules")["rules"]
    assert [rule["id"] for rule in rules] == [PM10, "press_1/stale"]


def test_long_lists_come_whole_though_they_are_made_in_pieces(running: Served) -> None:
    ids = [f"press_1/rule_{i:03}" for i in range(100)]
    running.plant.alarms = alarms = StandingAlarms(ids)
    for id_ in ids:
        alarms.raise_one(id_)
    standing = running.client.get_json("/v1/alarms")
    assert [alarm["id"] for alarm in standing["alarms"]] == ids
    assert standing["status"]["unacknowledged"] == 100
    rules = running.client.get_json("/v1/alarms/rules")["rules"]
    assert [rule["id"] for rule in rules] == ids
    told = running.client.get_json("/v1/alarms/history")["transitions"]
    assert [transition["id"] for transition in told] == ids[::-1]


def test_an_acknowledgement_has_who_and_why(running: Served) -> None:
    running.plant.alarms.raise_one()
    done = act(running, "acknowledge", id=PM10, why="  filter is being changed ", who="anna")
    assert done["transition"]["state"] == "acknowledged"
    assert done["transition"]["who"] == "anna"
    assert done["transition"]["why"] == "filter is being changed"
    assert running.plant.alarms.machines[PM10].state is State.ACKNOWLEDGED
    (action, *_) = actions(running)
    assert (action["action"], action["about"], action["who"]) == (
        "alarms/acknowledge",
        PM10,
        "anna",
    )
    assert action["ok"]


def test_without_a_name_it_is_the_user_of_the_socket(running: Served) -> None:
    running.plant.alarms.raise_one()
    assert act(running, "acknowledge", id=PM10, why="x")["transition"]["who"].startswith("uid ")


def test_a_token_holder_cannot_act_by_another_name(running: Served) -> None:
    running.plant.alarms.raise_one()
    body = {"id": PM10, "why": "seen", "who": "the boss"}
    path = "/v1/alarms/acknowledge"
    status, _, answer = post(listen(running), path, bearer(OPERATOR), body)
    assert status == 200
    assert answer["transition"]["who"] == "bob"


def test_a_viewer_looks_and_changes_nothing(running: Served) -> None:
    running.plant.alarms.raise_one()
    assert ask(listen(running), "/v1/alarms", bearer(VIEWER))[0] == 200
    for what, more in (
        ("acknowledge", {}),
        ("shelve", {"for_s": 60}),
        ("unshelve", {}),
    ):
        body = {"id": PM10, "why": "x", **more}
        path = f"/v1/alarms/{what}"
        assert post(listen(running), path, bearer(VIEWER), body)[0] == 403
        assert post(listen(running), path, None, body)[0] == 401
    body = {"notifier": "bell"}
    assert post(listen(running), "/v1/alarms/notify-test", bearer(VIEWER), body)[0] == 403
    assert running.plant.alarms.machines[PM10].state is State.UNACKNOWLEDGED
    assert running.plant.notifiers.rung == []


def test_shelving_and_bringing_back(running: Served) -> None:
    alarms = running.plant.alarms
    alarms.raise_one()
    shelved = act(running, "shelve", id=PM10, why="sensor is changed", for_s=3600.0)
    assert shelved["transition"]["state"] == "shelved"
    (alarm,) = running.client.get_json("/v1/alarms")["alarms"]
    assert alarm["shelved_until_ns"] == shelved["transition"]["time_ns"] + 3600 * 10**9
    back = act(running, "unshelve", id=PM10, why="done")
    assert back["transition"]["state"] == "unacknowledged"


@pytest.mark.parametrize(
    ("what", "body", "status", "words"),
    [
        ("acknowledge", {"id": "hopper_4/pm1.high", "why": "x"}, 404, "no alarm"),
        ("acknowledge", {"id": PM10, "why": "x"}, 409, "there is nothing to acknowledge"),
        ("unshelve", {"id": PM10, "why": "x"}, 409, "it is not shelved"),
        ("acknowledge", {"id": PM10}, 400, "'why' is missing"),
        ("acknowledge", {"id": PM10, "why": "  "}, 400, "'why' is wrong"),
        ("acknowledge", {"id": "pm10", "why": "x"}, 400, "'id' is wrong"),
        ("acknowledge", {"id": PM10, "why": "x" * 501}, 400, "'why' is wrong"),
        ("acknowledge", {"id": PM10, "wy": "x", "why": "x"}, 400, "did you mean"),
        ("acknowledge", {"id": PM10, "why": "x", "who": 7}, 400, "'who' is"),
        ("shelve", {"id": PM10, "why": "x"}, 400, "'for_s' is missing"),
        ("shelve", {"id": PM10, "why": "x", "for_s": 0}, 400, "'for_s' is wrong"),
        ("shelve", {"id": PM10, "why": "x", "for_s": 1e9}, 400, "'for_s' is wrong"),
        ("shelve", {"id": PM10, "why": "x", "for_s": "1h"}, 400, "'for_s' is wrong"),
        ("notify-test", {"notifier": "bel"}, 404, "did you mean 'bell'"),
    ],
)
def test_what_is_wrong_is_told_with_what_was_expected(
    running: Served, what: str, body: dict[str, Any], status: int, words: str
) -> None:
    with pytest.raises(RequestFailed, match=words) as caught:
        act(running, what, **body)
    assert caught.value.status == status
    assert running.plant.alarms.machines[PM10].state is State.NORMAL


def test_a_body_that_is_a_form_is_refused(running: Served) -> None:
    running.plant.alarms.raise_one()
    headers = {**bearer(OPERATOR), "Content-Type": "application/x-www-form-urlencoded"}
    path = "/v1/alarms/acknowledge"
    assert post(listen(running), path, headers, b"id=a&why=b")[0] == 415
    assert post(listen(running), path, bearer(OPERATOR), b"{")[0] == 415


def test_the_history_has_all_transitions(running: Served) -> None:
    alarms = running.plant.alarms
    alarms.raise_one()
    act(running, "acknowledge", id=PM10, why="seen")
    alarms.raise_one("press_1/stale")
    get = running.client.get_json
    found = get("/v1/alarms/history")["transitions"]
    assert [t["number"] for t in found] == [3, 2, 1]
    assert get("/v1/alarms/history", {"max": 1})["transitions"] == found[:1]
    assert get("/v1/alarms/history", {"alarm": PM10})["transitions"] == found[1:]
    assert get("/v1/alarms/history", {"to": "-1h"})["transitions"] == []


@pytest.mark.parametrize(
    ("query", "status", "words"),
    [
        ({"from": "soon"}, 400, "'from' is no time"),
        ({"from": "now", "to": "-1h"}, 400, "is not before"),
        ({"max": 0}, 400, "'max' is wrong"),
        ({"max": 10_001}, 400, "'max' is wrong"),
        ({"alarm": "hopper_4/pm10.hihg"}, 404, "did you mean 'hopper_4/pm10.high'"),
        ({"alam": PM10}, 400, "alarm"),
    ],
)
def test_a_wrong_question_is_told(
    running: Served, query: dict[str, Any], status: int, words: str
) -> None:
    with pytest.raises(RequestFailed, match=words) as caught:
        running.client.get_json("/v1/alarms/history", query)
    assert caught.value.status == status


def test_windows_around_alarms(running: Served) -> None:
    (capture,) = running.client.get_json("/v1/alarms/captures")["captures"]
    target = io.BytesIO()
    params = {"name": capture["name"]}
    running.client.download("/v1/alarms/capture.npz", target, params, timeout_s=5)
    assert target.getvalue() == b"PK\x03\x04"
    with pytest.raises(RequestFailed, match=r"no capture '\.\./x'"):
        running.client.get_json("/v1/alarms/capture.npz", {"name": "../x"})


def test_a_test_message_says_whether_it_was_taken(running: Served) -> None:
    answer = act(running, "notify-test", notifier="bell", who="anna")
    assert answer["notifier"] == "bell"
    assert running.plant.notifiers.rung == ["anna"]
    assert actions(running)[0]["about"] == "bell"
    running.plant.notifiers.fault = "notifier 'bell': 127.0.0.1:25: Connection refused"
    with pytest.raises(RequestFailed, match="Connection refused") as caught:
        act(running, "notify-test", notifier="bell")
    assert caught.value.status == 503


def test_the_description_has_the_bodies(running: Served) -> None:
    paths = running.client.get_json("/openapi.json")["paths"]
    body = paths["/v1/alarms/shelve"]["post"]["requestBody"]["content"]["application/json"]
    assert set(body["schema"]["required"]) == {"id", "why", "for_s"}
    assert {"403", "404", "409", "415"} <= set(paths["/v1/alarms/shelve"]["post"]["responses"])
