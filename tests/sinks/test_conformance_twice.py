"""Every sink: a batch that is sent twice is stored once, or can be told to be the same.

A store keeps a row once, by table, labels and time. What only passes rows on (a stream, a broker)
has the batch twice; then both are the same to the byte, so that whoever stores them keeps one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from gateway.model import Column, Row, Selected, Table, make_parts
from gateway.sinks import DurableSink, RemoteSink, Sink, find_sink, installed_sinks
from gateway.wire import decode_batch
from tests.sims.influx_peer import BUCKET, TOKEN, InfluxPeer
from tests.sims.mosquitto import broker, heard
from tests.sims.postgres_server import postgres_server
from tests.sims.redis_server import redis_server
from tests.sinks.postgreskit import Plant
from tests.support import until

pytestmark = pytest.mark.servers
ROWS = 50
T0 = 1_795_000_000_000_000_000
Case = tuple[Sink, Callable[[], tuple[int, int]]]
"""A sink, and how many (rows, different rows) there are behind it."""


def batch() -> list[Selected]:
    columns = [Column("force", "f4", "kN"), Column("count", "i8"), Column("mode", "str")]
    table = Table("press", "press_1", columns, (("gateway", "hall-3"), ("device", "press_1")))
    return [Selected(Row(table, T0 + i, make_parts(table, (i / 8, i, "auto"))))
            for i in range(ROWS)]  # fmt: skip


def made(kind: str, folder: Path, **settings: object) -> Sink:
    sink = find_sink(kind)
    return sink("twice", sink.config_class.model_validate({"type": kind, **settings}), folder)


@contextmanager
def sqlite(folder: Path) -> Iterator[Case]:
    sink = made("sqlite", folder, store_every_s=0)

    def count() -> tuple[int, int]:
        sink.close()
        from tests.sinks.historykit import sql

        (folder / "twice.db").rename(folder / "history.db")
        text = "SELECT count(*), count(DISTINCT time_ns) FROM history WHERE tag = 'force'"
        (found,) = sql(folder, text)
        return found[0], found[1]

    yield sink, count


@contextmanager
def postgres(folder: Path) -> Iterator[Case]:
    with postgres_server() as server:
        plant = Plant(server, folder)
        plant.upgrade()
        text = "SELECT count(*), count(DISTINCT time_ns) FROM history WHERE tag = 'force'"
        sink = find_sink("postgres")("twice", plant.config(), folder)
        yield sink, lambda: tuple(plant.ask(text)[0])  # type: ignore[return-value]


@contextmanager
def influxdb(folder: Path) -> Iterator[Case]:
    peer = InfluxPeer(folder)
    peer.start()
    try:
        token = folder / "token"
        token.write_text(TOKEN)
        token.chmod(0o600)
        at = {"url": peer.url, "org": "plant", "bucket": BUCKET, "token_file": token}
        sink = made("influxdb", folder, **at)

        def count() -> tuple[int, int]:
            found = peer.rows("press")
            return len(found), len({row["time"] for row in found})

        yield sink, count
    finally:
        peer.kill()


@contextmanager
def redis(folder: Path) -> Iterator[Case]:
    with redis_server(folder / "redis") as peer, peer.client() as client:

        def count() -> tuple[int, int]:
            bodies = [fields[b"b"] for _, fields in client.xrange("readings:hall-3")]
            times = [row.time_ns for body in bodies for row, _ in decode_batch(body)]
            assert len(set(bodies)) == 1
            return len(times), len(set(times))

        yield made("redis", folder, host="127.0.0.1", port=peer.port), count


@contextmanager
def mqtt(folder: Path) -> Iterator[Case]:
    with broker(folder / "broker") as peer, heard(peer.port, "+/hall-3/+/+") as messages:

        def count() -> tuple[int, int]:
            until(lambda: len(messages) == 2 * ROWS, what="all messages")
            return len(messages), len({message.payload for message in messages})

        yield made("mqtt", folder, host="127.0.0.1", port=peer.port), count


STORES = {"sqlite": sqlite, "postgres": postgres, "influxdb": influxdb}
PASS_ON = {"redis": redis, "mqtt": mqtt}


def test_each_sink_is_one_of_them() -> None:
    assert {*STORES, *PASS_ON} == set(installed_sinks())


@pytest.mark.parametrize("name", [*STORES, *PASS_ON])
def test_a_batch_sent_twice(name: str, tmp_path: Path) -> None:
    with {**STORES, **PASS_ON}[name](tmp_path) as (sink, count):
        try:
            for _ in range(2):
                if isinstance(sink, DurableSink):
                    sink.store(batch())
                elif isinstance(sink, RemoteSink):
                    for payload in sink.encode(batch()):
                        sink.deliver(payload.body, payload.format)
            assert count() == (ROWS * (1 if name in STORES else 2), ROWS)
        finally:
            sink.close()
