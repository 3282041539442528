"""A worker that stands still for longer than `claim_after_s`, and then goes on."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import redis

from gateway.model import Column, Row, Selected, Table, make_parts
from tests.fleet import kit
from tests.fleet.rig import Process
from tests.sims.commit_door import CommitDoor, commit_door
from tests.sims.redis_server import RedisPeer
from tests.sinks.postgreskit import Plant
from tests.support import until

pytestmark = [pytest.mark.long, pytest.mark.timeout(240)]
STREAM = "readings:hall-1"
COUNT = "SELECT count(*), count(DISTINCT time_ns) FROM sample"
IN_TRANSACTION = (
    "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
    " AND state = 'idle in transaction'"
)
WAITING = (
    "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
    " AND wait_event_type = 'Lock'"
)
OF_EVENT = " AND query LIKE 'INSERT INTO gateway_event%'"
"""The session that stores; another of the same worker may be at its upkeep."""


@pytest.fixture
def door(plant: Plant) -> Iterator[CommitDoor]:
    with commit_door(plant.server.port) as made:
        yield made


@pytest.fixture
def frozen(
    file: Path, peer: RedisPeer, plant: Plant, door: CommitDoor, tmp_path: Path
) -> Iterator[Process]:
    """Worker `a`, a process of its own, ready; the worker `b` of a test is in this one."""
    own = tmp_path / "a"
    own.mkdir()
    sink = kit.to_postgres(plant, port=door.port, tls="off")
    kit.write_file(own, peer.port, sink, api="{socket: s}")
    made = Process("a", own, ["writer", "writer.yaml", "--worker", "a"], "s")
    try:
        made.launch()
        until(lambda: (status := made.status()) and status["worker"]["ready"], 180, "worker a")
        yield made
    finally:
        made.close()


@contextmanager
def locked(plant: Plant, table: str) -> Iterator[None]:
    """Nobody else can use a table."""
    with plant.server.connect(plant.database, autocommit=False) as db:
        db.execute(f"LOCK TABLE gateway.{table} IN ACCESS EXCLUSIVE MODE")
        yield
        db.rollback()


def in_hand(a: Process) -> int:
    status = a.status()
    return int(status["redis"]["entries_in_hand"]) if status else -1  # no answer is not "none"


def owners(client: redis.Redis) -> set[bytes]:
    return {e["consumer"] for e in client.xpending_range(STREAM, "store", "-", "+", 100)}


def all_is_once(client: redis.Redis, plant: Plant, a: Process, rows: int) -> None:
    """Worker `a` goes on: it has nothing more to do, and new rows get through."""
    a.thaw()
    until(lambda: in_hand(a) == 0, 60, "the thawed worker to be through")
    assert kit.pending(client, STREAM) == 0
    assert plant.ask(COUNT) == [(rows, rows)]
    kit.add(client, kit.rows(kit.table(), rows, 10))
    until(lambda: plant.ask(COUNT) == [(rows + 10, rows + 10)], 30, "new rows")
    until(lambda: kit.pending(client, STREAM) == 0)
    a.stop()
    assert client.xlen("dead:store") == 0


def test_frozen_before_it_stored(
    client: redis.Redis, plant: Plant, file: Path, frozen: Process
) -> None:
    with locked(plant, "sample"):
        for n in range(4):
            kit.add(client, kit.rows(kit.table(), 10 * n, 10))
        until(lambda: in_hand(frozen) == 4 and plant.one(WAITING) >= 1)
        frozen.freeze()
    with kit.running(file, "b") as b:
        status = kit.settled(b, 40)
        assert status["redis"]["entries_claimed"] == 4
        assert plant.ask(COUNT) == [(40, 40)]
    all_is_once(client, plant, frozen, 40)


def test_frozen_between_its_rows_and_their_commit(
    client: redis.Redis, plant: Plant, file: Path, frozen: Process
) -> None:
    """Its transaction has the rows' keys: whoever took over waits until the server ends it."""
    labels = (("gateway", "hall-1"), ("device", "gateway"))
    columns = [Column(name, "str") for name in ("event", "about", "detail")]
    events = Table("gateway_event", "gateway", columns, labels)
    event = Selected(Row(events, kit.T0, make_parts(events, ("started", "", ""))))
    with locked(plant, "gateway_event"):
        kit.add(client, [*kit.rows(kit.table(), 0, 40), event])
        until(lambda: plant.one(WAITING + OF_EVENT) == 1, 30)
        frozen.freeze()
    until(lambda: plant.one(IN_TRANSACTION + OF_EVENT) == 1, 30)
    with kit.running(file, "b") as b:
        kit.settled(b, 41, 60)
        assert b.status()["redis"]["entries_claimed"] == 1
        assert plant.ask(COUNT) == [(40, 40)]
    all_is_once(client, plant, frozen, 40)
    assert plant.one("SELECT count(*) FROM gateway_event") == 1


def test_frozen_after_it_stored(
    client: redis.Redis, plant: Plant, file: Path, frozen: Process, door: CommitDoor
) -> None:
    kit.add(client, kit.rows(kit.table(), 0, 10))  # after them the next COMMIT is that of rows
    until(lambda: plant.ask(COUNT) == [(10, 10)] and not kit.pending(client, STREAM), 30)
    with locked(plant, "sample"):
        kit.add(client, kit.rows(kit.table(), 10, 40))
        until(lambda: plant.one(WAITING) == 1, 30)
        door.hold.set()
    until(lambda: plant.ask(COUNT) == [(50, 50)] and door.held, 30)
    frozen.freeze()
    assert kit.pending(client, STREAM) == 1
    door.hold.clear()
    with kit.running(file, "b") as b:
        kit.settled(b, 40)
        assert b.status()["sink"]["facts"]["values_known_already"] == 40
    all_is_once(client, plant, frozen, 50)


def test_what_is_stored_nowhere_is_acknowledged_by_nobody(
    client: redis.Redis, plant: Plant, file: Path, frozen: Process
) -> None:
    """Both hold the same entries, the database is away: they stay pending until it is back."""
    plant.server.stop()
    try:
        for n in range(4):
            kit.add(client, kit.rows(kit.table(), 10 * n, 10))
        until(lambda: in_hand(frozen) == 4)
        frozen.freeze()
        with kit.running(file, "b") as b:
            until(lambda: b"b" in owners(client), 30, "worker b to take one over")
            frozen.thaw()
            clock = client.time()[0]
            until(lambda: client.time()[0] > clock + 3)
            assert kit.pending(client, STREAM) == 4
            plant.server.start()
            until(lambda: kit.pending(client, STREAM) == 0, 60, "the rows to be stored")
            assert plant.ask(COUNT) == [(40, 40)]
            until(lambda: len(b._in_hand) == 0, 30, "worker b to be through")
    finally:
        plant.server.start() if not plant.server.pids() else None
    all_is_once(client, plant, frozen, 40)


def test_rows_that_both_had_to_refuse_are_dead_letters_once(
    client: redis.Redis, plant: Plant, file: Path, frozen: Process
) -> None:
    kit.add(client, kit.rows(kit.table(), 0, 10))
    until(lambda: plant.ask(COUNT) == [(10, 10)])
    until(lambda: kit.pending(client, STREAM) == 0)
    with locked(plant, "sample"):
        kit.add(client, kit.rows(kit.table(), 10, 10))
        until(lambda: plant.one(WAITING) >= 1)
        kit.add(client, kit.rows(kit.table(kind="i8"), 20, 5))  # a series of floats
        until(lambda: in_hand(frozen) == 2)
        frozen.freeze()
    with kit.running(file, "b") as b:
        kit.settled(b, 15)
    assert client.xlen("dead:store") == 5
    frozen.thaw()
    until(lambda: in_hand(frozen) == 0, 60, "the thawed worker to be through")
    assert plant.ask(COUNT) == [(20, 20)]
    assert client.xlen("dead:store") == 5
    assert kit.pending(client, STREAM) == 0
    frozen.stop()
