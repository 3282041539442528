"""`gateway writer` between a real Redis and real stores: each row once, poison apart."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import redis

from gateway.relay.loading import load_writer
from gateway.relay.worker import Worker
from tests.fleet import kit
from tests.sims.redis_server import RedisPeer
from tests.sinks.postgreskit import Plant
from tests.support import until


def test_rows_of_all_streams_are_stored_and_acknowledged(
    client: redis.Redis, plant: Plant, file: Path
) -> None:
    for gateway in ("hall-1", "hall-2"):
        for first in range(0, 300, 100):
            kit.add(client, kit.rows(kit.table(gateway, 3), first, 100))
    with kit.running(file) as worker:
        kit.settled(worker, 600)
        # a stream that comes later is found by itself
        kit.add(client, kit.rows(kit.table("hall-3"), 0, 10))
        status = kit.settled(worker, 610)
        assert worker.ready() == (True, None)
        assert status["redis"]["streams"] == 3
        assert status["sink"]["rows_stored"] == 610
    assert plant.one("SELECT count(*) FROM sample") == 2 * 900 + 10
    assert plant.one("SELECT count(DISTINCT gateway) FROM source") == 3
    assert [kit.pending(client, f"readings:hall-{n}") for n in (1, 2, 3)] == [0, 0, 0]
    assert client.xinfo_consumers("readings:hall-1", "store") == []  # it has left


def test_the_same_entry_twice_is_stored_once(client: redis.Redis, plant: Plant, file: Path) -> None:
    for _ in range(2):
        kit.add(client, kit.rows(kit.table(), 0, 50))
    with kit.running(file) as worker:
        kit.settled(worker, 100)
    assert plant.one("SELECT count(*) FROM sample") == 50


def test_an_entry_that_was_not_acknowledged_in_time_is_in_a_historian_once(
    client: redis.Redis, peer: RedisPeer, tmp_path: Path
) -> None:
    """Stored, and then killed before Redis heard of it."""
    file = kit.write_file(tmp_path, peer.port, "{type: sqlite, store_every_s: 0}")
    kit.add(client, kit.rows(kit.table(), 0, 50))
    with kit.running(file, "w1") as worker:
        kit.settled(worker, 50)
    client.xgroup_setid("readings:hall-1", "store", "0")
    client.xreadgroup("store", "dead-one", {"readings:hall-1": ">"}, count=1)
    assert kit.pending(client, "readings:hall-1") == 1
    with kit.running(file, "w2") as worker:
        status = kit.settled(worker, 50)
        assert status["redis"]["entries_claimed"] == 1
        assert status["sink"]["facts"]["rows_known_already"] == 50
        kit.add(client, kit.rows(kit.table(), 50, 10))
        kit.settled(worker, 60)
    store = sqlite3.connect(next((tmp_path / "wstate").glob("*.db")))
    try:
        assert store.execute("SELECT count(*) FROM history").fetchone() == (60,)
    finally:
        store.close()


def test_poison_becomes_a_dead_letter_and_the_rest_is_stored(
    client: redis.Redis, plant: Plant, file: Path
) -> None:
    kit.add(client, kit.rows(kit.table(), 0, 10))
    client.xadd("readings:hall-1", {"b": b"no rows\n", "n": 1})
    client.xadd("readings:hall-1", {"b": b"\x1f\x8bdamaged", "n": 1})
    client.xadd("readings:hall-1", {"other": b"field"})
    kit.add(client, kit.rows(kit.table(), 10, 10))
    with kit.running(file) as worker:
        kit.settled(worker, 20)
        until(lambda: client.xlen("dead:store") == 3, what="three dead letters")
    assert plant.one("SELECT count(*) FROM sample") == 20
    assert kit.pending(client, "readings:hall-1") == 0
    words = [fields[b"e"].decode() for _, fields in client.xrange("dead:store")]
    assert "not JSON" in words[0] or "lines" in words[0]
    assert "gzip" in words[1]
    assert "no field `b`" in words[2]


def test_rows_the_store_refuses_go_apart_with_its_words(
    client: redis.Redis, plant: Plant, file: Path
) -> None:
    kit.add(client, kit.rows(kit.table(), 0, 10))
    with kit.running(file) as worker:
        kit.settled(worker, 10)
        # the same tag is text now: PostgreSQL's series stays a number
        kit.add(client, kit.rows(kit.table("hall-2"), 0, 5))
        kit.add(client, kit.rows(kit.table(kind="i8"), 10, 5))
        kit.settled(worker, 20)
        until(lambda: client.xlen("dead:store") == 5, what="five dead letters")
    fields = client.xrange("dead:store")[0][1]
    assert "is a series of float, not of integer" in fields[b"e"].decode()
    assert fields[b"s"] == b"readings:hall-1"
    assert fields[b"n"] == b"1"
    assert plant.one("SELECT count(*) FROM sample") == 15


def test_entries_of_a_dead_worker_are_taken_over(
    client: redis.Redis, plant: Plant, file: Path
) -> None:
    for n in range(5):
        kit.add(client, kit.rows(kit.table(), 10 * n, 10))
    client.xgroup_create("readings:hall-1", "store", "0")
    client.xreadgroup("store", "dead-one", {"readings:hall-1": ">"}, count=5)
    with kit.running(file) as worker:
        status = kit.settled(worker, 50)
        assert status["redis"]["entries_claimed"] == 5
        assert status["redis"]["entries_read"] == 0
    assert plant.one("SELECT count(*) FROM sample") == 50
    assert kit.pending(client, "readings:hall-1") == 0


def test_an_entry_that_ends_its_workers_is_a_dead_letter(
    client: redis.Redis, plant: Plant, tmp_path: Path, peer: RedisPeer
) -> None:
    limits = "{max_deliveries: 3}"
    file = kit.write_file(tmp_path, peer.port, kit.to_postgres(plant), dead_letters=limits)
    bad = kit.add(client, kit.rows(kit.table(), 0, 10))
    kit.add(client, kit.rows(kit.table(), 10, 10))
    client.xgroup_create("readings:hall-1", "store", "0")
    client.xreadgroup("store", "dead-one", {"readings:hall-1": ">"}, count=2)
    for _ in range(2):
        client.xclaim("readings:hall-1", "store", "dead-one", 0, [bad])
    with kit.running(file) as worker:
        kit.settled(worker, 10)
        until(lambda: client.xlen("dead:store") == 1, what="a dead letter")
    fields = client.xrange("dead:store")[0][1]
    assert fields[b"e"] == b"3 workers took it up, and none came to an end with it"
    assert fields[b"i"] == bad
    assert plant.one("SELECT min(f8) FROM sample") == 10.0
    assert kit.pending(client, "readings:hall-1") == 0


def test_an_outage_of_the_store_costs_nothing_and_no_try(
    client: redis.Redis, plant: Plant, file: Path
) -> None:
    """However long it takes: nobody takes over what a living worker waits with."""
    # a thread that stands still for a second must not look like a dead worker
    settings = load_writer(file).model_copy(update={"claim_after_s": 3.0})
    with kit.running(settings, "a") as a, kit.running(settings, "b") as b:
        until(lambda: a.ready()[0] and b.ready()[0])
        plant.server.stop()
        try:
            for n in range(40):
                kit.add(client, kit.rows(kit.table(), 10 * n, 10))
            until(lambda: any(w.status()["sink"]["state"] == "retrying" for w in (a, b)))
            # longer than claim_after_s
            idle = "readings:hall-1", "store", "-", "+", 40
            until(lambda: len(client.xpending_range(*idle)) > 1)
            first = client.xpending_range(*idle)[0]
            clock = client.time()[0]
            until(lambda: client.time()[0] > clock + 5, 20)
            again = client.xpending_range(*idle)[0]
            assert again["consumer"] == first["consumer"]
            assert again["times_delivered"] == 1
            assert again["time_since_delivered"] < 3000
        finally:
            plant.server.start()
        # they may have to wait for their next try
        until(
            lambda: a.status()["sink"]["rows_stored"] + b.status()["sink"]["rows_stored"] == 400, 60
        )
    assert plant.one("SELECT count(*) FROM sample") == 400
    assert client.xlen("dead:store") == 0
    assert kit.pending(client, "readings:hall-1") == 0


def test_a_stop_gives_back_what_could_not_be_stored(
    client: redis.Redis, plant: Plant, file: Path
) -> None:
    plant.server.stop()
    try:
        kit.add(client, kit.rows(kit.table(), 0, 10))
        settings = load_writer(file).model_copy(update={"claim_after_s": 60.0, "shutdown_s": 1.0})
        with kit.running(settings) as worker:
            until(lambda: worker.status()["sink"]["state"] == "retrying")
        (left,) = client.xpending_range("readings:hall-1", "store", "-", "+", 10)
        assert left["times_delivered"] == 0
        assert left["time_since_delivered"] >= 60_000
    finally:
        plant.server.start()
    with kit.running(settings, "w2") as worker:
        kit.settled(worker, 10)
    assert plant.one("SELECT count(*) FROM sample") == 10


def test_redis_may_go_and_come_back(peer: RedisPeer, plant: Plant, file: Path) -> None:
    with peer.client() as client:
        kit.add(client, kit.rows(kit.table(), 0, 10))
    with kit.running(file) as worker:
        kit.settled(worker, 10)
        peer.kill()
        until(lambda: not worker.ready()[0])
        assert "Redis" in str(worker.ready()[1])
        peer.start()
        with peer.client() as client:
            kit.add(client, kit.rows(kit.table(), 10, 10))
            kit.settled(worker, 20)
            until(lambda: worker.ready()[0])
            # emptied, as a Redis without a disk is after a restart
            client.flushall()
            kit.add(client, kit.rows(kit.table(), 20, 10))
            kit.settled(worker, 30)
    assert plant.one("SELECT count(*) FROM sample") == 30


def test_two_workers_share_and_a_second_group_gets_all_again(
    client: redis.Redis, plant: Plant, file: Path, tmp_path: Path, peer: RedisPeer
) -> None:
    total = 60
    for n in range(total):
        kit.add(client, kit.rows(kit.table(f"hall-{n % 4}"), 10 * n, 10))
    # else one that stands still for a second has its rows stored, and counted, by the other, too
    settings = load_writer(file).model_copy(update={"claim_after_s": 20.0})
    with kit.running(settings, "a") as a, kit.running(settings, "b") as b:

        def stored(worker: Worker) -> int:
            return int(worker.status()["sink"]["rows_stored"])

        until(lambda: stored(a) + stored(b) == 10 * total, 40)
    assert plant.one("SELECT count(*) FROM sample") == 10 * total
    (tmp_path / "two").mkdir()
    history = kit.write_file(
        tmp_path / "two", peer.port, "{type: sqlite, store_every_s: 0}", group="history"
    )
    with kit.running(history) as worker:
        kit.settled(worker, 10 * total)
    store = sqlite3.connect(next((tmp_path / "two" / "wstate").glob("*.db")))
    try:
        (count,) = store.execute("SELECT count(*) FROM history").fetchone()
    finally:
        store.close()
    assert count == 10 * total


def test_dead_letters_are_bounded_and_each_drop_is_counted(
    client: redis.Redis, plant: Plant, tmp_path: Path, peer: RedisPeer
) -> None:
    limits = "{max_entries: 3}"
    file = kit.write_file(tmp_path, peer.port, kit.to_postgres(plant), dead_letters=limits)
    for n in range(5):
        client.xadd("readings:hall-1", {"b": b"poison %d" % n, "n": 1})
    with kit.running(file) as worker:
        until(lambda: worker.status()["redis"]["dead_letters_dropped"] == 2)
        assert worker.status()["redis"]["dead_letters_made"] == 5
    assert client.xlen("dead:store") == 3
    assert client.xrange("dead:store")[0][1][b"b"] == b"poison 2"


def test_where_dead_letters_cannot_be_kept_nothing_is_acknowledged(
    client: redis.Redis, plant: Plant, file: Path
) -> None:
    client.set("dead:store", "not a stream")
    client.xadd("readings:hall-1", {"b": b"poison", "n": 1})
    with kit.running(load_writer(file).model_copy(update={"shutdown_s": 1.0})) as worker:
        until(lambda: "WRONGTYPE" in str(worker.ready()[1]))
        assert kit.pending(client, "readings:hall-1") == 1


def test_pending_entries_that_somebody_deleted_are_counted(
    client: redis.Redis, plant: Plant, file: Path
) -> None:
    """As a trim by length or age from elsewhere does: they would be gone in silence."""
    for n in range(4):
        kit.add(client, kit.rows(kit.table(), 10 * n, 10))
    client.xgroup_create("readings:hall-1", "store", "0")
    client.xreadgroup("store", "dead-one", {"readings:hall-1": ">"}, count=3)
    client.xtrim("readings:hall-1", maxlen=2, approximate=False)
    with kit.running(file) as worker:
        status = kit.settled(worker, 20)
        until(lambda: kit.pending(client, "readings:hall-1") == 0)
        status = worker.status()
    assert status["redis"]["entries_deleted"] == 2
    assert plant.one("SELECT count(*) FROM sample") == 20
