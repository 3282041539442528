"""`RemoteSink.check`: asks the real server whether it would take data, and stores nothing."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from gateway.errors import SinkUnavailable
from gateway.sinks import RemoteSink, find_sink
from tests.sims.influx_peer import BUCKET, TOKEN, InfluxPeer, VictoriaPeer, influx, victoria
from tests.sims.mosquitto import broker, heard
from tests.sims.postgres_server import PostgresServer
from tests.sims.redis_server import redis_server
from tests.sinks.postgreskit import Plant, server
from tests.support import free_port

__all__ = ["influx", "server", "victoria"]


@contextmanager
def sink_of(folder: Path, kind: str, **settings: Any) -> Iterator[RemoteSink]:
    found = find_sink(kind)
    sink = found("s", found.config_class.model_validate({"type": kind, **settings}), folder)
    assert isinstance(sink, RemoteSink)
    try:
        yield sink
    finally:
        sink.close()


def secret(folder: Path, text: str) -> Path:
    path = folder / "secret"
    path.write_text(text + "\n")
    path.chmod(0o600)
    return path


def test_influxdb_takes_a_comment_and_stores_nothing(influx: InfluxPeer, tmp_path: Path) -> None:
    settings = {"url": influx.url, "bucket": BUCKET, "token_file": secret(tmp_path, TOKEN)}
    with sink_of(tmp_path, "influxdb", **settings) as sink:
        assert sink.check()
    assert influx.query("SHOW SERIES") == []
    assert [path.name for path in tmp_path.glob("s.*")] == []
    secret(tmp_path, "wrong")
    with (
        sink_of(tmp_path, "influxdb", **settings) as sink,
        pytest.raises(SinkUnavailable, match="401"),
    ):
        sink.check()
    secret(tmp_path, TOKEN)
    with (
        sink_of(tmp_path, "influxdb", **{**settings, "bucket": "none"}) as sink,
        pytest.raises(SinkUnavailable, match="404"),
    ):
        sink.check()


def test_victoriametrics_takes_a_comment(victoria: VictoriaPeer, tmp_path: Path) -> None:
    with sink_of(tmp_path, "influxdb", url=victoria.url, bucket="any") as sink:
        assert sink.check()
    assert victoria.export('{__name__!=""}') == {}


def test_redis_with_and_without_its_password(tmp_path: Path) -> None:
    with redis_server(tmp_path, "--requirepass", "pw") as peer:
        path = secret(tmp_path, "pw")
        with sink_of(tmp_path, "redis", host="127.0.0.1", port=peer.port,
                     password_file=path) as sink:  # fmt: skip
            assert sink.check()
        with (
            sink_of(tmp_path, "redis", host="127.0.0.1", port=peer.port) as sink,
            pytest.raises(SinkUnavailable, match=r"NOAUTH|Authentication"),
        ):
            sink.check()


def test_mqtt_says_hello_and_publishes_nothing(tmp_path: Path) -> None:
    with broker(tmp_path) as peer, heard(peer.port) as messages:
        settings = {"host": "127.0.0.1", "port": peer.port, "status_topic": "gateways/{gateway}"}
        with sink_of(tmp_path, "mqtt", **settings) as sink:
            assert sink.check()
        with heard(peer.port) as later:  # nor has it left anything that is retained
            pass
    assert [*messages, *later] == []


def test_postgres_looks_for_its_tables(server: PostgresServer, tmp_path: Path) -> None:
    plant = Plant(server, tmp_path)
    settings = plant.config().model_dump(by_alias=True)
    with (
        sink_of(tmp_path, "postgres", **settings) as sink,
        pytest.raises(SinkUnavailable, match="gateway db upgrade"),
    ):
        sink.check()
    plant.upgrade()
    with sink_of(tmp_path, "postgres", **settings) as sink:
        assert sink.check()


@pytest.mark.parametrize(
    ("kind", "settings"),
    [
        ("influxdb", {"bucket": "b"}),
        ("redis", {}),
        ("mqtt", {}),
        ("postgres", {"database": "d", "user": "u"}),
    ],
)
def test_where_nobody_listens_it_says_so(kind: str, settings: Any, tmp_path: Path) -> None:
    port = free_port()
    where = {"host": "127.0.0.1", "port": port}
    if kind == "influxdb":
        where = {"url": f"http://127.0.0.1:{port}"}
    with (
        sink_of(tmp_path, kind, **where, **settings) as sink,
        pytest.raises(SinkUnavailable, match=r"(?i)refused"),
    ):
        sink.check()
