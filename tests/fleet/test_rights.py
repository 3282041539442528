"""The rights that docs/fleet.md and docs/serve.md give in Redis and PostgreSQL: enough, and needed.

Everything runs under the users of these pages, as their lines make them.
"""

from __future__ import annotations

import secrets
import shlex
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import redis

from gateway.api.client import Client, NotRunning, RequestFailed
from tests.docs.kit import blocks, clone, commands, typed
from tests.docs.servers import running
from tests.fleet import kit
from tests.sims.postgres_server import PostgresServer, postgres_server
from tests.sims.redis_server import RedisPeer, redis_server
from tests.support import ROOT, until

FLEET, SERVE = "docs/fleet.md", "docs/serve.md"
NAME = "test_all_runs_with_the_rights_of_the_pages_and_no_more"
NOTE = f"run by tests/fleet/test_rights.py::{NAME}"
PASSWORD = secrets.token_hex(8)

GATEWAY = """
gateway: {{name: hall-3}}
state_dir: state
api: {{socket: g}}
writer: {{flush_interval_s: 0.1}}
sinks:
  fleet: {{{redis}, user: hall-3, type: redis, remote_operators: true, trim_every_s: 1, keep_s: 1}}
  plant: {{{postgres}, type: postgres, retention_days: 30}}
devices:
  press: {{driver: mock, map: press.yaml}}
alarms:
  rules:
    force: {{kind: limits, tag: press.process.force, high: 30, latch: true}}
"""
PRESS = """
driver: mock
groups:
  process:
    interval_s: 0.05
    tags: {force: {type: real, unit: kN, signal: {kind: sine, mean: 50, amplitude: 10}}}
"""
WRITER = """
redis: {{{redis}, user: writer}}
group: postgres
claim_after_s: 1
batch: {{max_wait_s: 0.05}}
find_every_s: 0.2
state_dir: wstate
api: {{socket: w}}
sink: {{{postgres}, type: postgres}}
"""
NODE = """
name: node
poll_s: 0.1
find_every_s: 0.2
redis: {{{redis}, user: serve}}
history: {{{postgres}}}
api: {{socket: n}}
"""


def lines(page: str, kind: str) -> list[list[str]]:
    """The lines of each block of a page that this test runs, with a password in its place."""
    found = [b for b in blocks(ROOT / page) if b.note == NOTE and b.kind == kind]
    assert found, f"{page} has no such block"
    said = [b.text.replace(">PASSWORD", f">{PASSWORD}") for b in found]
    return [text.replace("'PASSWORD'", f"'{PASSWORD}'").splitlines() for text in said]


@pytest.fixture
def peer(tmp_path: Path) -> Iterator[RedisPeer]:
    """Whose users are those of the pages, and one who looks on."""
    with redis_server(tmp_path / "redis") as made:
        with made.client() as client:
            for line in [*lines(FLEET, "text")[0], *lines(SERVE, "text")[0]]:
                client.execute_command(*shlex.split(line))
            client.acl_setuser("onlooker", True, passwords=[f"+{PASSWORD}"], keys="*",
                               channels="*", commands=["+@all"])  # fmt: skip
            client.execute_command("ACL", "SETUSER", "default", "off")
            client.config_resetstat()
        yield made


@pytest.fixture
def onlooker(peer: RedisPeer) -> Iterator[redis.Redis]:
    with peer.client(username="onlooker", password=PASSWORD) as made:
        yield made


@pytest.fixture
def server() -> Iterator[PostgresServer]:
    with postgres_server() as made:
        yield made


def answer(ask: Callable[[], Any]) -> Any:
    """None while nobody is there, or what was asked for is not."""
    try:
        return ask()
    except (NotRunning, RequestFailed):
        return None


@pytest.mark.long
@pytest.mark.timeout(400)
def test_all_runs_with_the_rights_of_the_pages_and_no_more(
    peer: RedisPeer, onlooker: redis.Redis, server: PostgresServer, tmp_path: Path
) -> None:
    clone(tmp_path)
    for name in ("password", "owner.password"):
        (tmp_path / name).write_text(server.password if "x" in name else PASSWORD)
        (tmp_path / name).chmod(0o600)
    secret = "password_file: password"
    given = {
        "redis": f"host: 127.0.0.1, port: {peer.port}, timeout_s: 5, {secret}",
        "postgres": f"host: 127.0.0.1, port: {server.port}, database: plant, {secret}, user: ",
    }
    writes = {**given, "postgres": given["postgres"] + "edge_gateway"}
    reads = {**given, "postgres": given["postgres"] + "reader"}
    (tmp_path / "gateway.yaml").write_text(GATEWAY.format(**writes))
    (tmp_path / "press.yaml").write_text(PRESS)
    (tmp_path / "hall.writer.yaml").write_text(WRITER.format(**writes))
    (tmp_path / "serve.yaml").write_text(NODE.format(**reads))

    roles, rights = lines(FLEET, "sql")
    with server.connect("postgres") as db:
        for line in roles:
            db.execute(line)
    (upgrade,) = commands(FLEET, NOTE)
    typed(upgrade, tmp_path, {})
    with server.connect("plant", user="plant_owner", password=PASSWORD) as db:
        for line in rights:
            db.execute(line)
    typed("gateway db check hall.writer.yaml", tmp_path, {})

    gateway, writer, node = (Client(tmp_path / name) for name in "gwn")
    with (
        running("gateway run gateway.yaml", tmp_path, tmp_path / "g.log"),
        running("gateway writer hall.writer.yaml", tmp_path, tmp_path / "w.log"),
        running("gateway serve serve.yaml", tmp_path, tmp_path / "n.log"),
    ):
        until(lambda: answer(lambda: writer.get_json("/readyz")), 120, "the writer is ready")
        # by both ways: straight, and through Redis
        until(lambda: _stored(server) > 20, 90, "rows in the database")
        with server.stopped():  # who waits for the store tells that it is alive
            until(lambda: "cmdstat_xclaim" in onlooker.info("commandstats"), 60, "a sign of life")
        until(lambda: answer(lambda: node.get_json("/v1/alarms")["alarms"]), 60, "an alarm")
        # what another worker left, what is refused, and what is read again
        stream = "readings:hall-3"
        with onlooker.pipeline() as at_once:
            kit.add(at_once, kit.rows(kit.table("hall-3"), 0, 5), "readings:old")
            at_once.xgroup_create("readings:old", "postgres", "0")
            at_once.xreadgroup("postgres", "dead-one", {"readings:old": ">"}, count=1)
            at_once.execute()
        onlooker.xadd(stream, {"b": b"no rows", "n": 1})
        until(lambda: onlooker.xlen("dead:postgres") == 1, 60, "a dead letter")
        for command in ("list", "export letters.ndjson", "replay"):
            typed(f"gateway dead-letters {command} --writer hall.writer.yaml", tmp_path, {})
        until(lambda: onlooker.xlen("dead:postgres") == 1, 60, "refused again")
        until(lambda: _claimed(writer), 30, "what the dead one had is taken over")
        acknowledge = {"id": "hall-3:press/force.high", "who": "anna", "why": "seen"}
        done = node.post_json("/v1/alarms/acknowledge", body=acknowledge)["transition"]
        assert done["state"] == "acknowledged"
        asked = {"device": "hall-3:press", "tag": "force", "max_points": 60}
        until(lambda: answer(lambda: node.get_json("/v1/history", asked)["points"]), 60, "history")
        node.get_json("/v1/losses", {"from": "0"})
        node.get_json("/v1/audit")
        node.get_json("/v1/alarms/history", {"from": "0"})
        until(lambda: _trimmed(gateway), 30, "a trim")
        # who asks and is not answered takes the command back
        onlooker.set("operators:hall-9", 1)
        onlooker.hset("alarm:hall-9", "press/x", _alarm())
        until(lambda: len(node.get_json("/v1/alarms")["alarms"]) > 1, 30, "the other's alarm")
        with pytest.raises(RequestFailed, match="nothing was done"):
            node.post_json("/v1/alarms/acknowledge", body={**acknowledge, "id": "hall-9:press/x"})
        # after the stop of the database a sink may still wait for its next try
        until(lambda: _all_good(gateway), 90, "both sinks to be good")
    said = "".join((tmp_path / f"{name}.log").read_text("utf-8", "replace") for name in "gwn")
    for word in ("NOPERM", "permission", "denied"):
        assert word not in said.lower().replace("noperm", "NOPERM"), said[-3000:]
    assert onlooker.acl_log() == []
    assert "permission denied" not in server.log()
    _none_is_idle(onlooker)
    with server.connect("plant") as db:
        (partitions,) = db.execute("SELECT count(*) FROM gateway.partitions").fetchone() or (0,)
    assert partitions >= 3


def _stored(server: PostgresServer) -> int:
    with server.connect("plant") as db:
        (count,) = db.execute("SELECT count(*) FROM gateway.sample").fetchone() or (0,)
    return int(count)


def _claimed(writer: Client) -> bool:
    found = writer.get_json("/v1/status")["redis"]
    return bool(found["entries_claimed"])


def _trimmed(gateway: Client) -> bool:
    return bool(gateway.get_json("/v1/status")["sinks"]["fleet"]["entries_trimmed"])


def _all_good(gateway: Client) -> bool:
    sinks = gateway.get_json("/v1/status")["sinks"]
    states = {name: (sink["state"], sink["error"]) for name, sink in sinks.items()}
    both = {"fleet": ("good", None), "plant": ("good", None)}
    return states == both and sinks["fleet"]["beside_error"] is None


def _alarm() -> str:
    return (
        '{"id": "press/x", "device": "press", "alarm": "x", "severity": "high",'
        ' "state": "unacknowledged", "since_ns": 1, "number": 1, "time_ns": 1}'
    )


def _none_is_idle(onlooker: redis.Redis) -> None:
    """Each command that a page allows was run by somebody."""
    used = {name.removeprefix("cmdstat_") for name in onlooker.info("commandstats")}
    for page in (FLEET, SERVE):
        for line in lines(page, "text")[0]:
            allowed = [w[1:] for w in line.split() if w.startswith("+")]
            assert [c for c in allowed if c not in used] == [], line
