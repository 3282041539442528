"""Batches of entries between the reader and the deliverer, with a real Redis."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from gateway.relay.entries import Entry, Held, HeldBatch, InHand
from gateway.relay.loading import load_writer
from gateway.relay.settle import MOST, Settler
from gateway.relay.source import READY, StreamSource
from gateway.sinks.redis.client import RedisClient
from gateway.spool.segment import Stored
from tests.fleet import kit
from tests.sims.redis_server import RedisPeer

STREAM = b"readings:hall-1"


@pytest.fixture
def settler(peer: RedisPeer, tmp_path: Path) -> Iterator[Settler]:
    file = load_writer(kit.write_file(tmp_path, peer.port, "{type: sqlite}"))
    made = RedisClient(file.redis, "test", raw=True)
    yield Settler(made, file, InHand(), threading.Event())
    made.close()


def taken(client: redis.Redis, count: int) -> list[Entry]:
    """So many entries, read and not acknowledged."""
    with client.pipeline() as pipeline:
        for n in range(count):
            pipeline.xadd(STREAM, {"b": b"body %d" % n, "n": 1})
        pipeline.execute()
    client.xgroup_create(STREAM, "store", "0")
    ((_, listed),) = client.xreadgroup("store", "w1", {STREAM: ">"}, count=count)
    return [Entry(STREAM, id_, fields[b"b"], 1, "rows+json1") for id_, fields in listed]


def batches(entries: list[Entry], count: int, *, claimed: bool = False) -> list[HeldBatch]:
    held = Held(entries, is_claimed=claimed)
    stored = Stored(b"body", "rows+json1", 1, 1, ())
    return [HeldBatch(held, stored, 0.0) for _ in range(count)]


def test_entries_are_acknowledged_with_the_last_of_their_batches(
    client: redis.Redis, settler: Settler
) -> None:
    source = StreamSource(settler, "rows+json1")
    source.put(batches(taken(client, 3), 2, claimed=True), threading.Event())
    assert source.has_claimed
    for left in (3, 0):
        batch = source.next(1.0)
        assert batch is not None
        assert source.in_hand is batch
        assert source.add_all([b"a line"], "too old")
        source.finished(batch)
        assert kit.pending(client, STREAM.decode()) == left
        # the letters come with the acknowledgement, in the same step
        assert client.xlen("dead:store") == (0 if left else 2)
    assert not source.has_claimed
    assert source.next(0.0) is None


def test_what_was_put_back_is_the_next_one_and_its_letters_are_forgotten(
    client: redis.Redis, settler: Settler
) -> None:
    source = StreamSource(settler, "rows+json1")
    first, second = taken(client, 2)
    source.put(batches([first], 1), threading.Event())
    source.put(batches([second], 1), threading.Event())
    batch = source.next(1.0)
    assert batch is not None
    source.add_all([b"a line"], "no")
    source.put_back(batch)
    assert source.in_hand is None
    assert source.next(1.0) is batch
    source.finished(batch)
    assert client.xlen("dead:store") == 0
    assert kit.pending(client, STREAM.decode()) == 1


def test_the_reader_waits_for_room_and_not_beyond_the_stop(
    client: redis.Redis, settler: Settler
) -> None:
    source = StreamSource(settler, "rows+json1")
    stop = threading.Event()
    entries = taken(client, READY + 1)
    for entry in entries[:READY]:
        source.put(batches([entry], 1), stop)
    waiting = threading.Thread(target=source.put, args=(batches(entries[READY:], 1), stop))
    waiting.start()
    waiting.join(0.2)
    assert waiting.is_alive()
    stop.set()
    waiting.join(5)
    assert not waiting.is_alive()
    assert [source.next(0.0) is not None for _ in range(READY + 2)] == [True] * (READY + 1) + [
        False
    ]


def test_more_letters_and_entries_than_one_step_takes(
    client: redis.Redis, settler: Settler
) -> None:
    entries = taken(client, MOST + 7)
    source = StreamSource(settler, "rows+json1")
    source.put(batches(entries, 1), threading.Event())
    batch = source.next(1.0)
    assert batch is not None
    source.add_all([b"line %d" % n for n in range(2 * MOST + 3)], "refused")
    source.finished(batch)
    assert client.xlen("dead:store") == 2 * MOST + 3
    assert len({fields[b"b"] for _, fields in client.xrange("dead:store")}) == 2 * MOST + 3
    assert kit.pending(client, STREAM.decode()) == 0
    assert settler.letters_kept == 2 * MOST + 3
