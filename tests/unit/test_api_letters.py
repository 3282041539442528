"""Dead letters over HTTP: who may see them, and who may send them once more."""

from __future__ import annotations

import http.client
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway.api.client import Client, RequestFailed
from gateway.api.settings import ApiConfig
from tests.sims import http_faults as hf
from tests.support import free_port, until
from tests.unit.apikit import Plant, Served, ask, served
from tests.unit.letterkit import Line
from tests.unit.tokenkit import OPERATOR, VIEWER, bearer, guarded


@pytest.fixture
def line(tmp_path: Path) -> Iterator[Line]:
    made = Line(tmp_path)
    yield made
    made.stop()


@pytest.fixture
def api(line: Line) -> Iterator[Served]:
    """The app over a writer with 3 letters, on the Unix socket and on TCP without a token."""
    line.refused(3)
    plant = Plant()
    config = ApiConfig(socket=line.folder / "gw.sock", listen=f"127.0.0.1:{free_port()}")
    with hf.faults(hf.STORED) as server, served(config, plant) as running:
        plant.boxes["influx"] = line.start(server.url)
        yield running
        line.stop()


def test_the_list_has_the_newest_first_with_what_they_are_about(api: Served) -> None:
    answer = api.client.get_json("/v1/dead-letters", {"max": 2})
    assert answer["counts"] == {"influx": 3}
    assert [letter["id"] for letter in answer["letters"]] == [3, 2]
    assert answer["letters"][0] == {
        "sink": "influx",
        "id": 3,
        "refused": answer["letters"][0]["refused"],
        "reason": "422 old words",
        "device": "d",
        "table": "m",
        "column": "v",
        "time_ns": 3,
        "on_its_way": False,
        "whole": True,
        "line": "m,device=d v=3i 3",
    }
    assert api.client.get_json("/v1/dead-letters", {"sink": "influx"})["counts"] == {"influx": 3}
    with pytest.raises(RequestFailed, match="did you mean 'influx'"):
        api.client.get_json("/v1/dead-letters", {"sink": "inflx"})


def test_the_export_has_all_of_them_oldest_first(api: Served) -> None:
    lines = api.client.get_text("/v1/dead-letters.ndjson").splitlines()
    assert [json.loads(text)["id"] for text in lines] == [1, 2, 3]


def test_replay_over_the_unix_socket(api: Served) -> None:
    answer = api.client.post_json("/v1/dead-letters/replay", {"sink": "influx", "ids": "1,3"})
    assert answer == {"sinks": {"influx": {"spooled": 2, "already": 0, "not_whole": 0}}}
    until(lambda: api.plant.boxes["influx"].count == 1)
    assert [x["id"] for x in api.client.get_json("/v1/dead-letters")["letters"]] == [2]


WRONG = [
    ({"ids": "1"}, 400, "'ids' without 'sink'"),
    ({"sink": "influx", "ids": "1,,2"}, 400, "'ids' are no numbers"),
    ({"sink": "influx", "ids": "-1"}, 400, "'ids' are no numbers"),
    ({"sink": "influx", "ids": ",".join(["1"] * 501)}, 400, "at most 500"),
    ({"sink": "influx", "ids": "9"}, 404, "no dead letter 9"),
    ({"sink": "history"}, 404, "no sink that refuses lines 'history'"),
    ({"snk": "influx"}, 400, "no parameter 'snk'"),
]


@pytest.mark.parametrize(("given", "status", "said"), WRONG)
def test_mistakes_are_told_in_words(
    api: Served, given: dict[str, str], status: int, said: str
) -> None:
    with pytest.raises(RequestFailed, match=said) as caught:
        api.client.post_json("/v1/dead-letters/replay", given)
    assert caught.value.status == status
    assert api.plant.boxes["influx"].count == 3


def test_without_a_token_nobody_replays_on_tcp(api: Served) -> None:
    assert api.api.listen is not None
    path = "/v1/dead-letters/replay"
    status, _, body = ask(api.api.listen, path, method="POST")
    assert status == 401
    assert "Unix socket" in body["expected"]
    status, headers, body = ask(api.api.listen, path)
    assert (status, headers["allow"]) == (405, "POST")
    assert body["expected"] == "POST; see /docs"
    assert [x["on_its_way"] for x in api.client.get_json("/v1/dead-letters")["letters"]] == (
        [False] * 3
    )


@pytest.mark.parametrize("at", ["127.0.0.1", "0.0.0.0"])
def test_with_a_token_a_program_may_on_tcp_and_a_web_page_may_not(tmp_path: Path, at: str) -> None:
    port = free_port()
    here = f"127.0.0.1:{port}"
    path = "/v1/dead-letters/replay"
    right = bearer(OPERATOR)
    with served(guarded(tmp_path, f"{at}:{port}")):
        assert ask(here, path, method="POST")[0] == 401
        assert ask(here, path, bearer("wrong"), method="POST")[0] == 401
        assert ask(here, path, bearer(VIEWER), method="POST")[0] == 403
        page = {**right, "Origin": "http://evil.example"}
        assert ask(here, path, page, method="POST")[0] == 403
        assert ask(here, path, {**right, "Content-Length": "2"}, method="POST")[0] == 415
        status, _, body = ask(here, path, right, method="POST")
        assert (status, body) == (200, {"sinks": {}})
        assert Client(here, token=OPERATOR).post_json(path) == {"sinks": {}}


def test_the_token_of_one_request_is_not_that_of_the_next_on_its_connection(
    tmp_path: Path,
) -> None:
    port = free_port()
    path = "/v1/dead-letters/replay"
    with served(guarded(tmp_path, f"0.0.0.0:{port}")):
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
        connection.request("POST", path, headers=bearer(OPERATOR))
        first = connection.getresponse()
        first.read()
        connection.request("POST", path)
        second = connection.getresponse()
        second.read()
        connection.close()
    assert (first.status, second.status) == (200, 401)
