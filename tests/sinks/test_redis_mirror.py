"""Status and alarms in Redis: what nodes that are not the gateway show of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import orjson
import pytest

from gateway.sinks.redis import RedisConfig, RedisSink
from gateway.sinks.telling import Facts
from tests.sims.redis_server import RedisPeer
from tests.sinks.rediskit import looker, peer
from tests.support import until

__all__ = ["looker", "peer"]

pytestmark = pytest.mark.servers


class Told:
    """A gateway with alarms, as far as a sink is told of them."""

    def __init__(self) -> None:
        self.alarms: dict[str, dict[str, Any]] = {}
        self.listeners: list[Callable[[Mapping[str, Any]], None]] = []
        self.facts = Facts("hall-3", lambda: {"state": "good"}, self._list, self._listen)

    def _list(self) -> list[Mapping[str, Any]]:
        return list(self.alarms.values())

    def _listen(self, to: Callable[[Mapping[str, Any]], None]) -> Callable[[], None]:
        self.listeners.append(to)
        return lambda: self.listeners.remove(to)

    def change(self, number: int, id_: str, state: str) -> None:
        self.alarms[id_] = {"id": id_, "state": state}
        if state == "normal":
            del self.alarms[id_]
        for to in self.listeners:
            to({"number": number, "id": id_, "state": state})


@pytest.fixture
def sink(peer: RedisPeer, tmp_path: Path) -> Iterator[RedisSink]:
    keys = {"type": "redis", "host": "127.0.0.1", "port": peer.port, "timeout_s": 5.0}
    made = RedisSink("fleet", RedisConfig.model_validate(keys), tmp_path)
    yield made
    made.close()


def alarms(looker: Any) -> dict[str, str]:
    found = looker.hgetall("alarm:hall-3")
    return {key.decode(): orjson.loads(value)["state"] for key, value in found.items()}


def test_transitions_are_published_and_the_hash_is_as_it_is(looker: Any, sink: RedisSink) -> None:
    told = Told()
    told.change(1, "press_1/force.high", "unacknowledged")
    looker.hset("alarm:hall-3", "gone/long_ago", b'{"state": "x"}')
    with looker.pubsub(ignore_subscribe_messages=True) as listener:
        listener.subscribe("alarms:hall-3")
        listener.get_message(timeout=5)
        sink.tell(told.facts)
        until(lambda: alarms(looker) == {"press_1/force.high": "unacknowledged"})
        told.change(2, "press_1/force.high", "acknowledged")
        told.change(3, "press_1/heat", "unacknowledged")
        got: list[Any] = []

        def heard() -> bool:
            message = listener.get_message(timeout=0.1)
            got.extend([orjson.loads(message["data"])] if message else [])
            return len(got) == 2

        until(heard, what="two transitions")
        assert [t["number"] for t in got] == [2, 3]
    assert alarms(looker) == {"press_1/force.high": "acknowledged",
                              "press_1/heat": "unacknowledged"}  # fmt: skip
    told.change(4, "press_1/force.high", "normal")
    told.change(5, "press_1/heat", "normal")
    until(lambda: not looker.exists("alarm:hall-3"), what="no alarms")


def test_the_status_expires_and_is_renewed(looker: Any, sink: RedisSink) -> None:
    sink.tell(Told().facts)
    until(lambda: looker.get("status:hall-3"), what="the status")
    assert orjson.loads(looker.get("status:hall-3")) == {"state": "good"}
    assert 0 < looker.ttl("status:hall-3") <= 10
    looker.delete("status:hall-3")
    until(lambda: looker.get("status:hall-3"), what="the status once more")


def test_after_an_outage_all_is_as_it_is_now(peer: RedisPeer, looker: Any, sink: RedisSink) -> None:
    told = Told()
    sink.tell(told.facts)
    until(lambda: looker.get("status:hall-3"), what="the status")
    peer.kill()
    told.change(1, "press_1/heat", "unacknowledged")
    until(lambda: sink.status()["beside_error"], what="the error")
    for number in range(2, 1500):
        told.change(number, "press_1/heat", "acknowledged")
    assert sink.status()["alarms_not_published"] == 499
    peer.start()
    until(lambda: sink.status()["beside_error"] is None, 20, "no error")
    assert alarms(looker) == {"press_1/heat": "acknowledged"}


def test_a_close_ends_it_and_nobody_is_listened_to_any_more(looker: Any, sink: RedisSink) -> None:
    told = Told()
    sink.tell(told.facts)
    sink.close()
    assert told.listeners == []
    assert looker.get("status:hall-3")


def test_who_does_not_want_it_has_nothing_of_it(peer: RedisPeer, tmp_path: Path) -> None:
    keys = {"type": "redis", "host": "127.0.0.1", "port": peer.port, "publish": False}
    sink = RedisSink("fleet", RedisConfig.model_validate(keys), tmp_path)
    told = Told()
    sink.tell(told.facts)
    assert told.listeners == []
    sink.close()
