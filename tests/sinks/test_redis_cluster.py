"""What the Redis sink and `gateway writer` say to a Redis Cluster, which they do not use."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from gateway.errors import SinkUnavailable
from gateway.sinks.redis import RedisConfig, RedisSink
from tests.fleet import kit
from tests.sims.redis_server import RedisPeer, redis_server
from tests.sinks.rediskit import Chain, in_stream, rows_of, selected, table_of
from tests.support import free_port, until

pytestmark = pytest.mark.servers
WORDS = "is one of a Redis Cluster; expected one Redis, or the master of replicas"
SLOTS = 16_384


def cluster(folder: Path, stack: ExitStack, nodes: int) -> list[RedisPeer]:
    """So many nodes, each with its part of the slots."""
    peers, ports = [], []
    for n in range(nodes):
        ports.append(free_port())
        more = ("--cluster-enabled", "yes", "--cluster-port", str(ports[-1]))
        peers.append(stack.enter_context(redis_server(folder / f"r{n}", *more)))
    for n, peer in enumerate(peers):
        with peer.client() as client:
            low, high = SLOTS * n // nodes, SLOTS * (n + 1) // nodes - 1
            command(client, "CLUSTER", "ADDSLOTSRANGE", low, high)
            if n:
                command(client, "CLUSTER", "MEET", "127.0.0.1", peers[0].port, ports[0])
    for peer in peers:
        with peer.client() as client:
            until(
                lambda c=client: b"cluster_state:ok" in command(c, "CLUSTER", "INFO"), 30, "slots"
            )
    return peers


def command(client: Any, *words: object) -> Any:
    return client.execute_command(*words)


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as made:
        yield made


@pytest.fixture
def chain(tmp_path: Path) -> Iterator[Chain]:
    made = Chain(tmp_path, "redis")
    yield made
    made.stop()


def test_one_node_that_has_all_slots_takes_batches_of_one_stream(
    tmp_path: Path, stack: ExitStack, chain: Chain
) -> None:
    (peer,) = cluster(tmp_path, stack, 1)
    chain.start(type="redis", host="127.0.0.1", port=peer.port, trim_every_s=0.1)
    tables = [table_of(f"press_{n}") for n in range(4)]
    chain.publish(*(row for table in tables for row in rows_of(table, 10)))
    status = chain.settled(40)
    assert (status["state"], status["rows_rejected"]) == ("good", 0)
    until(lambda: chain.sink.status()["streams"] == 1)
    assert chain.sink.status()["beside_error"] is None
    with peer.client() as client:
        assert len(in_stream(client)) == 40
        assert client.exists("latest:hall-3:press_0:press") == 1


def test_one_node_that_has_all_slots_takes_no_batch_of_several_streams(
    tmp_path: Path, stack: ExitStack, chain: Chain
) -> None:
    """They go in one transaction, which a cluster answers with CROSSSLOT."""
    (peer,) = cluster(tmp_path, stack, 1)
    chain.start(type="redis", host="127.0.0.1", port=peer.port, stream="readings:{device}")
    chain.publish(*(row for n in range(4) for row in rows_of(table_of(f"press_{n}"), 10)))
    chain.state("blocked", WORDS)
    assert chain.writer.status()["pending_rows"] == 40


def test_one_node_of_several_is_said_and_rows_stay_in_the_spool(
    tmp_path: Path, stack: ExitStack, chain: Chain
) -> None:
    peers = cluster(tmp_path, stack, 2)
    with peers[0].client() as client:
        slot = command(client, "CLUSTER", "KEYSLOT", "readings:hall-3")
    other = peers[0 if slot >= SLOTS // 2 else 1]
    chain.start(type="redis", host="127.0.0.1", port=other.port)
    chain.publish(*rows_of(table_of(), 10))
    chain.state("blocked", WORDS)
    assert chain.writer.status()["pending_rows"] == 10


def test_streams_on_two_nodes_are_said(tmp_path: Path, stack: ExitStack) -> None:
    """Nothing of a batch is added where a part of it belongs elsewhere."""
    peers = cluster(tmp_path, stack, 2)
    config = RedisConfig.model_validate(
        {"type": "redis", "host": "127.0.0.1", "port": peers[0].port, "stream": "r:{device}"}
    )
    sink = RedisSink("fleet", config, tmp_path)
    rows = [row for n in range(8) for row in rows_of(table_of(f"press_{n}"), 2)]
    try:
        (payload,) = sink.encode(selected(*rows))
        with pytest.raises(SinkUnavailable, match=WORDS) as told:
            sink.deliver(payload.body, payload.format)
        assert told.value.operator
    finally:
        sink.close()
    with peers[0].client() as client:
        assert client.dbsize() == 0


def test_a_writer_says_it_even_to_one_node_that_has_all_slots(
    tmp_path: Path, stack: ExitStack
) -> None:
    """It asks many streams in one command, which a cluster answers with CROSSSLOT."""
    (peer,) = cluster(tmp_path, stack, 1)
    with peer.client() as client:
        kit.add(client, kit.rows(kit.table(), 0, 10))
    file = kit.write_file(tmp_path, peer.port, "{type: sqlite}")
    with kit.running(file) as worker:
        until(lambda: WORDS in str(worker.ready()[1]), 20, "the words")
    with peer.client() as client:
        assert client.xlen("readings:hall-1") == 1
