"""Commands of other nodes, by a real Redis: done once, answered, and not too late."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import orjson
import pytest

from gateway.alarms.model import NotAllowed, Severity, State, Transition, UnknownAlarm
from gateway.api.audit import AuditLog
from gateway.errors import GatewayError
from gateway.fleet import RemoteOperators
from gateway.serve.operating import Operating
from gateway.sinks.redis import RedisConfig, RedisSink
from gateway.sinks.redis.client import RedisServer
from gateway.sinks.telling import Facts
from tests.sims.redis_server import RedisPeer
from tests.sinks.rediskit import looker, peer
from tests.support import until

__all__ = ["looker", "peer"]

pytestmark = pytest.mark.servers


class Plant:
    """A gateway's alarms, as far as somebody acts on them."""

    def __init__(self) -> None:
        self.done: list[tuple[Any, ...]] = []

    def _do(self, *what: Any) -> Transition:
        if what[1] == "press/none":
            raise UnknownAlarm("unknown alarm 'press/none'; there are none")
        if what[1] == "press/normal":
            raise NotAllowed("it is normal; nothing to acknowledge")
        self.done.append(what)
        states = State.UNACKNOWLEDGED, State.ACKNOWLEDGED
        return Transition(9, 5, "press", "x", Severity.HIGH, *states, "high", "words")

    def acknowledge(self, alarm: str, who: str, why: str) -> Transition:
        return self._do("acknowledge", alarm, who, why)

    def shelve(self, alarm: str, for_s: float, who: str, why: str) -> Transition:
        return self._do("shelve", alarm, for_s, who, why)

    def unshelve(self, alarm: str, who: str, why: str) -> Transition:
        return self._do("unshelve", alarm, who, why)


class Rig:
    def __init__(self, peer: RedisPeer, folder: Path) -> None:
        self.plant = Plant()
        self.audit = AuditLog(lambda _: None, "hall-3")
        self._peer = peer
        self._folder = folder
        self._sink: RedisSink | None = None
        server = {"host": "127.0.0.1", "port": peer.port, "timeout_s": 5.0}
        self.operating = Operating(RedisServer.model_validate(server), "node-1")

    def start(self, *, remote: bool = True) -> None:
        keys = {"type": "redis", "host": "127.0.0.1", "port": self._peer.port, "timeout_s": 5.0}
        config = RedisConfig.model_validate({**keys, "publish": False, "remote_operators": remote})
        self._sink = RedisSink("fleet", config, self._folder)
        operate = RemoteOperators(self.plant, self.audit)  # type: ignore[arg-type]
        self._sink.tell(Facts("hall-3", dict, list, lambda _: lambda: None, operate))

    def stop(self) -> None:
        if self._sink is not None:
            self._sink.close()

    def ask(self, do: str, **body: Any) -> Mapping[str, Any]:
        return self.operating("hall-3", do, {"who": "anna", "why": "seen", **body})


@pytest.fixture
def rig(peer: RedisPeer, tmp_path: Path) -> Iterator[Rig]:
    made = Rig(peer, tmp_path)
    yield made
    made.stop()


def test_each_command_is_done_once_answered_and_noted(rig: Rig, looker: Any) -> None:
    rig.start()
    until(lambda: looker.exists("operators:hall-3"), what="a sign that somebody listens")
    assert rig.ask("acknowledge", id="press/x")["number"] == 9
    rig.ask("shelve", id="press/x", for_s=60.0)
    rig.ask("unshelve", id="press/x")
    assert rig.plant.done == [
        ("acknowledge", "press/x", "anna", "seen"),
        ("shelve", "press/x", 60.0, "anna", "seen"),
        ("unshelve", "press/x", "anna", "seen"),
    ]
    assert looker.xlen("commands:hall-3") == 0
    actions = [(a.who, a.via, a.peer, a.action, a.about, a.ok) for a in rig.audit.kept()]
    assert actions[0] == ("anna", "fleet", "node-1", "alarms/acknowledge", "press/x", True)
    with pytest.raises(UnknownAlarm, match="hall-3: unknown alarm"):
        rig.ask("acknowledge", id="press/none")
    with pytest.raises(NotAllowed, match="it is normal"):
        rig.ask("acknowledge", id="press/normal")
    for do, body in (
        ("write", {"id": "press/x"}),
        ("acknowledge", {"id": "no alarm"}),
        ("acknowledge", {"id": "press/x", "who": ""}),
        ("acknowledge", {"id": "press/x", "value": 1}),
        ("shelve", {"id": "press/x", "for_s": 1e9}),
    ):
        with pytest.raises(GatewayError, match="hall-3"):
            rig.ask(do, **body)
    assert len(rig.plant.done) == 3
    assert [a.ok for a in rig.audit.kept()] == [True] * 3 + [False] * 7


def test_what_is_no_command_or_too_old_is_thrown_away(rig: Rig, looker: Any) -> None:
    old_ms = int(time.time() * 1000) - 60_000
    body = {"who": "anna", "why": "late", "id": "press/x"}
    command = {"do": "acknowledge", "node": "n", "body": body}
    late = orjson.dumps({**command, "id": "late"})
    looker.xadd("commands:hall-3", {"c": late}, id=f"{old_ms}-0")
    for poison in (b"no JSON", b"[]", b'{"id":"../x"}', b"{}", b"x" * 20_000):
        looker.xadd("commands:hall-3", {"c": poison})
    looker.xadd("commands:hall-3", {"other": b"x"})
    # given while the gateway was away, a moment ago: it is done when it is back
    looker.xadd("commands:hall-3", {"c": orjson.dumps({**command, "id": "now"})})
    rig.start()
    until(lambda: looker.llen("answers:now") == 1, what="the answer")
    until(lambda: looker.xlen("commands:hall-3") == 0, what="an empty stream")
    assert len(rig.plant.done) == 1
    assert looker.exists("answers:late") == 0
    assert 0 < looker.ttl("answers:now") <= 60


def test_nobody_is_asked_who_did_not_allow_it(rig: Rig, looker: Any) -> None:
    rig.start(remote=False)
    with pytest.raises(NotAllowed, match="remote_operators: true"):
        rig.ask("acknowledge", id="press/x")
    looker.set("operators:hall-3", 1)  # as of a gateway that has just gone
    with pytest.raises(GatewayError, match="nothing was done"):
        rig.ask("acknowledge", id="press/x")
    assert looker.xlen("commands:hall-3") == 0


def test_redis_may_go_and_come_back(rig: Rig, peer: RedisPeer) -> None:
    rig.start()
    with peer.client() as looker:
        until(lambda: looker.exists("operators:hall-3"))
    peer.kill()
    with pytest.raises(GatewayError):
        rig.ask("acknowledge", id="press/x")
    peer.start()
    with peer.client() as looker:
        until(lambda: looker.ttl("operators:hall-3") >= 8, 20, "a new sign")
    rig.ask("acknowledge", id="press/x")
    assert len(rig.plant.done) == 1
