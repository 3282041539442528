"""The Redis and MQTT sinks with all that stands before them, as tests start and stop them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from gateway.model import Column, Row, Selected, Table, make_parts
from gateway.sinks import RemoteSink, find_sink
from gateway.sinks.redis import RedisConfig, RedisSink
from gateway.wire import decode_batch
from gateway.writer import Writer
from tests.sims.redis_server import RedisPeer, redis_server
from tests.sinks.chainkit import SinkChain
from tests.support import free_port

T0 = 1_700_000_000_000_000_000


def table_of(device: str = "press_1", name: str = "press", interval_s: float = 1.0) -> Table:
    columns = [Column("force", "f4", "kN"), Column("count", "u8"), Column("mode", "str")]
    labels = (("gateway", "hall-3"), ("device", device))
    return Table(name, device, columns, labels, "fast", interval_s)


def rows_of(table: Table, count: int, first: int = 0) -> list[Row]:
    return [Row(table, T0 + i, make_parts(table, [i / 8, i, "auto"]))
            for i in range(first, first + count)]  # fmt: skip


def selected(*rows: Row) -> list[Selected]:
    return [Selected(row) for row in rows]


class Chain(SinkChain):
    """A chain to a sink of that kind, by its settings."""

    def __init__(self, folder: Path, kind: str) -> None:
        super().__init__(folder, "fleet")
        self.flush_interval_s = 0.02
        self._kind = find_sink(kind)

    def start(self, **settings: Any) -> Writer:
        sink = self._kind("fleet", self._kind.config_class.model_validate(settings), self.folder)
        assert isinstance(sink, RemoteSink)
        self.sink = sink
        return self.run(sink)

    def publish(self, *rows: Row) -> None:
        self.hub.publish_all(rows)


@pytest.fixture
def peer(tmp_path: Path) -> Iterator[RedisPeer]:
    # it is killed by some, and is to come back to the same port
    with redis_server(tmp_path / "redis", port=free_port()) as made:
        yield made


@pytest.fixture
def looker(peer: RedisPeer) -> Iterator[Any]:
    """A client for what a test looks at itself."""
    with peer.client() as client:
        yield client


@contextmanager
def sink_of(peer: RedisPeer, folder: Path, **settings: Any) -> Iterator[RedisSink]:
    keys = {"type": "redis", "host": "127.0.0.1", "port": peer.port, "timeout_s": 10.0, **settings}
    made = RedisSink("fleet", RedisConfig.model_validate(keys), folder)
    try:
        yield made
    finally:
        made.close()


def send(sink: RemoteSink, *rows: Row) -> None:
    """Encode and deliver, as a writer does."""
    for payload in sink.encode(selected(*rows)):
        sink.deliver(payload.body, payload.format)


def groups_read(looker: Any, stream: str, group: str, count: int) -> list[bytes]:
    """What a consumer group reads next: identities of entries, which are pending from now on."""
    ((_, entries),) = looker.xreadgroup(group, "c", {stream: ">"}, count=count)
    return [id_ for id_, _ in entries]


def in_stream(client: Any, stream: str = "readings:hall-3") -> list[Row]:
    """All rows of a stream, in the order of its entries."""
    out = []
    for _, fields in client.xrange(stream):
        rows = decode_batch(fields[b"b"])
        assert len(rows) == int(fields[b"n"])
        out += [s.row for s in rows]
    return out
