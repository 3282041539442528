"""Streams are trimmed: never of what a consumer group still has to read or to acknowledge."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest

from gateway.sinks.redis import RedisConfig
from gateway.sinks.redis.client import RedisClient
from gateway.sinks.redis.trim import trim
from gateway.wire import decode_batch
from tests.sims.redis_server import RedisPeer
from tests.sinks.rediskit import (
    T0,
    groups_read,
    in_stream,
    looker,
    peer,
    rows_of,
    send,
    sink_of,
    table_of,
)

__all__ = ["looker", "peer"]

pytestmark = pytest.mark.servers


def test_trimming_leaves_what_is_pending_or_undelivered_in_any_group(
    peer: RedisPeer, looker: Any
) -> None:
    stream = "readings:hall-3"
    config = RedisConfig.model_validate({"type": "redis", "host": "127.0.0.1", "port": peer.port})
    client = RedisClient(config, "test")
    ids = [looker.xadd(stream, {"n": i}) for i in range(10)]
    assert trim(client, stream, 0.0) == (0, 10, 0, 0)  # nobody has read it
    for group in ("fast", "lags"):
        looker.xgroup_create(stream, group, id="0")
    read = groups_read(looker, stream, "fast", 10)
    looker.xack(stream, "fast", *read)
    assert trim(client, stream, 0.0).removed == 0  # the other group has not seen any
    assert groups_read(looker, stream, "lags", 6) == ids[:6]
    looker.xack(stream, "lags", ids[0], ids[1], ids[3])
    found = trim(client, stream, 0.0)
    assert (found.removed, found.length, found.groups, found.pending) == (2, 8, 2, 3)
    # what was pending can be claimed with its content: nothing was emptied in silence
    _, claimed, deleted = looker.xautoclaim(stream, "lags", "other", 0)
    assert [id_ for id_, _ in claimed] == [ids[2], ids[4], ids[5]]
    assert deleted == []
    looker.xack(stream, "lags", *ids[:6])
    assert trim(client, stream, 0.0).removed == 3  # to the last one delivered, which stays
    assert [id_ for id_, _ in looker.xrange(stream)] == ids[5:]
    looker.xack(stream, "lags", *groups_read(looker, stream, "lags", 10))
    assert trim(client, stream, 3600.0).removed == 0  # all of it is younger
    assert trim(client, stream, 0.0).length == 1
    client.close()


def test_the_sink_trims_by_itself(peer: RedisPeer, looker: Any, tmp_path: Path) -> None:
    stream = "readings:hall-3"
    table = table_of()
    with sink_of(peer, tmp_path, trim_every_s=1e-9) as sink:
        send(sink, *rows_of(table, 1))
        looker.xgroup_create(stream, "writers", id="0")
        for at in range(1, 5):
            send(sink, *rows_of(table, 1, at))
        assert sink.status()["entries_in_streams"] == 5
        looker.xack(stream, "writers", *groups_read(looker, stream, "writers", 3))
        groups_read(looker, stream, "writers", 1)
        send(sink, *rows_of(table, 1, 5))
        status = sink.status()
    assert (status["entries_trimmed"], status["entries_in_streams"]) == (3, 3)
    assert status["entries_pending"] == 1
    assert [row.time_ns for row in in_stream(looker)] == [T0 + 3, T0 + 4, T0 + 5]


def test_groups_that_read_while_it_is_trimmed_miss_nothing(
    peer: RedisPeer, looker: Any, tmp_path: Path
) -> None:
    stream, count = "readings:hall-3", 600
    table = table_of()
    seen: dict[str, list[int]] = {"fast": [], "slow": []}
    faults: list[BaseException] = []

    def consume(group: str, at_once: int) -> None:
        """Read and acknowledge; the first read is left pending, and claimed much later."""
        with peer.client() as client:
            left = groups_read(client, stream, group, at_once)
            while len(seen[group]) < count - len(left):
                found = client.xreadgroup(group, "c", {stream: ">"}, count=at_once, block=5000)
                for id_, fields in found[0][1] if found else []:
                    seen[group] += [s.row.time_ns - T0 for s in decode_batch(fields[b"b"])]
                    client.xack(stream, group, id_)
            _, claimed, deleted = client.xautoclaim(stream, group, "other", 0, count=count)
            assert deleted == []
            for id_, fields in claimed:
                seen[group] += [s.row.time_ns - T0 for s in decode_batch(fields[b"b"])]
                client.xack(stream, group, id_)

    def guarded(group: str, at_once: int) -> None:
        try:
            consume(group, at_once)
        except BaseException as error:
            faults.append(error)

    with sink_of(peer, tmp_path, trim_every_s=1e-9, latest_ttl_s=0) as sink:
        send(sink, *rows_of(table, 1))
        for group in seen:
            looker.xgroup_create(stream, group, id="0")
        threads = [threading.Thread(target=guarded, args=a) for a in (("fast", 50), ("slow", 1))]
        for thread in threads:
            thread.start()
        for at in range(1, count):
            send(sink, *rows_of(table, 1, at))
        for thread in threads:
            thread.join(50)  # each step is synced to the disk
        assert faults == []
        for got in seen.values():
            assert sorted(got) == list(range(count))
        send(sink, *rows_of(table, 1, count))
        assert sink.status()["entries_trimmed"] == count - 1
        assert looker.xlen(stream) == 2
