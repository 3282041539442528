"""``/ws/alarms`` over its real Unix socket: every transition once, also after a break."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway.alarms.machine import Machine
from gateway.api import alarmschemas, livealarms
from gateway.api.settings import ApiConfig
from gateway.errors import GatewayError
from tests.support import until
from tests.unit.apikit import Plant, Served, served
from tests.unit.wskit import Listening, handshake, listening, refused

ALARM = "hopper_4/pm10.high"


@pytest.fixture
def api(tmp_path: Path) -> Iterator[Served]:
    with served(ApiConfig(socket=tmp_path / "s")) as running:
        yield running


def read_number(client: Listening) -> int:
    number: int = client.next("alarm")["number"]
    return number


def test_first_comes_how_things_stand_then_every_change(api: Served) -> None:
    api.plant.alarms.raise_one()
    with listening(api.api.socket, "/ws/alarms") as client:
        hello = client.read()
        assert (hello["type"], hello["gateway"], hello["number"]) == ("hello", "hall-3", 1)
        reset = client.read()
        assert (reset["type"], reset["number"]) == ("reset", 1)
        (standing,) = reset["alarms"]
        alarmschemas.ActiveAlarm.model_validate(standing)
        assert (standing["id"], standing["state"]) == (ALARM, "unacknowledged")
        api.plant.alarms.acknowledge(ALARM, "Anna", "seen")
        told = client.read()
        assert (told.pop("type"), told["number"], told["who"]) == ("alarm", 2, "Anna")
        alarmschemas.AlarmTransition.model_validate(told)
        assert (told["from_state"], told["state"]) == ("unacknowledged", "acknowledged")


def test_what_a_client_missed_while_it_was_away_comes_in_order(api: Served) -> None:
    alarms = api.plant.alarms
    alarms.raise_one()
    alarms.acknowledge(ALARM, "Anna", "seen")
    alarms.change(ALARM, Machine.cleared)
    with listening(api.api.socket, "/ws/alarms?since=1") as client:
        assert client.read()["number"] == 3
        assert [read_number(client), read_number(client)] == [2, 3]
        alarms.raise_one()
        assert read_number(client) == 4
    with listening(api.api.socket, "/ws/alarms?since=4") as client:
        client.read()
        alarms.raise_one("press_1/stale")
        assert client.read()["number"] == 5


@pytest.mark.parametrize("since", [9, 0])
def test_who_missed_too_much_is_told_how_things_stand(
    api: Served, monkeypatch: pytest.MonkeyPatch, since: int
) -> None:
    monkeypatch.setattr(livealarms, "MAX_RESUMED", 2)
    for _ in range(2):
        api.plant.alarms.raise_one()
        api.plant.alarms.acknowledge(ALARM, "Anna", "seen")
        api.plant.alarms.change(ALARM, Machine.cleared)
    api.plant.alarms.raise_one()
    with listening(api.api.socket, f"/ws/alarms?since={since}") as client:
        assert client.read()["type"] == "hello"
        reset = client.read()
        assert (reset["type"], reset["number"], len(reset["alarms"])) == ("reset", 7, 1)


def test_a_history_that_cannot_be_read_is_no_end(
    api: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise GatewayError("the database is locked")

    api.plant.alarms.raise_one()
    monkeypatch.setattr(api.plant.alarms, "history", broken)
    with listening(api.api.socket, "/ws/alarms?since=0") as client:
        client.read()
        assert client.read()["type"] == "reset"
        api.plant.alarms.acknowledge(ALARM, "Anna", "seen")
        assert read_number(client) == 2


def test_a_slow_client_is_told_how_many_it_missed_and_how_things_stand(
    api: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(livealarms, "MAX_WAITING", 10)
    alarms = api.plant.alarms
    with (
        listening(api.api.socket, "/ws/alarms") as client,
        listening(api.api.socket, "/ws/alarms") as slow,
    ):
        client.next("reset")
        slow.next("reset")
        slow.connection.recv_messages.pause()

        def is_behind() -> bool:
            for _ in range(100):
                alarms.raise_one()
                read_number(client)
            return any(getattr(c, "dropped", 0) for c in api.connections)

        until(is_behind, 10)
        slow.connection.recv_messages.resume()
        numbers = []
        while (told := slow.read())["type"] == "alarm":
            numbers.append(told["number"])
        assert numbers == list(range(1, len(numbers) + 1))
        assert told["type"] == "reset"
        assert told["number"] == alarms.number == len(numbers) + told["dropped"]
        assert sum(getattr(c, "dropped", 0) for c in api.connections) == told["dropped"]
        alarms.raise_one()
        assert read_number(slow) == alarms.number


def test_a_client_that_goes_is_told_nothing_more(api: Served) -> None:
    with handshake(api.api.socket, "/ws/alarms"), listening(api.api.socket, "/ws/alarms") as one:
        one.next("reset")
        assert len(api.plant.alarms.listeners) == 1
    until(lambda: not api.plant.alarms.listeners)
    api.plant.alarms.raise_one()


def test_a_ping_is_answered_and_other_words_are_not(api: Served) -> None:
    with listening(api.api.socket, "/ws/alarms") as client:
        client.next("reset")
        client.send(type="ping", id=3)
        assert client.read() == {"type": "pong", "id": 3}
        client.send(type="acknowledge", id=ALARM)
        error = client.read()
        assert (error["error"], error["expected"]) == ("no type 'acknowledge'", "one of: ping")


@pytest.mark.parametrize("since", ["-1", "x", "1,2", "٣", "9" * 19])
def test_a_wrong_number_is_refused(api: Served, since: str) -> None:
    status, problem = refused(api.api.socket, f"/ws/alarms?since={since}")
    assert status == 400
    assert problem["error"].startswith("'since' is wrong")


def test_an_engine_that_ends_after_its_clients_tells_nobody(tmp_path: Path) -> None:
    plant = Plant()
    with (
        served(ApiConfig(socket=tmp_path / "s"), plant) as api,
        listening(api.api.socket, "/ws/alarms") as client,
    ):
        client.next("reset")
        (listener,) = plant.alarms.listeners
    listener(plant.alarms.raise_one())  # the loop is closed by now
