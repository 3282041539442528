"""The Redis sink against a server that refuses, hangs or dies, and against what is none."""

from __future__ import annotations

import contextlib
import re
import socket
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from gateway.errors import SinkUnavailable
from gateway.sinks.redis import RedisConfig, RedisSink
from tests.sims.redis_server import RedisPeer, redis_server
from tests.sinks.rediskit import (
    T0,
    Chain,
    in_stream,
    looker,
    peer,
    rows_of,
    send,
    sink_of,
    table_of,
)
from tests.support import until

__all__ = ["looker", "peer"]

pytestmark = pytest.mark.servers


def test_a_full_redis_keeps_rows_in_the_spool(tmp_path: Path, peer: RedisPeer, looker: Any) -> None:
    chain = Chain(tmp_path, "redis")
    looker.config_set("maxmemory", 1)
    looker.config_set("maxmemory-policy", "noeviction")
    chain.start(type="redis", host="127.0.0.1", port=peer.port)
    chain.publish(*rows_of(table_of(), 500))
    chain.state("retrying", "Redis is full")
    chain.stop()
    assert in_stream(looker) == []
    looker.config_set("maxmemory", 0)
    chain.start(type="redis", host="127.0.0.1", port=peer.port)
    until(lambda: len(in_stream(looker)) == 500, what="the rows of the spool")
    chain.stop()
    assert sorted(r.time_ns for r in in_stream(looker)) == [T0 + i for i in range(500)]
    assert chain.losses == []


def test_a_full_redis_takes_none_of_several_streams(
    peer: RedisPeer, looker: Any, tmp_path: Path
) -> None:
    looker.config_set("maxmemory", 1)
    with (
        sink_of(peer, tmp_path, stream="r:{device}") as sink,
        pytest.raises(SinkUnavailable, match="Redis is full: command not allowed"),
    ):
        send(sink, *rows_of(table_of("a"), 1), *rows_of(table_of("b"), 1))
    assert looker.keys("r:*") == []


def test_a_wrong_password_is_for_a_person_and_is_read_again(tmp_path: Path) -> None:
    secret = tmp_path / "password"
    secret.write_text("wrong-secret\n")
    with (
        redis_server(tmp_path / "redis", "--requirepass", "right-secret") as peer,
        sink_of(peer, tmp_path, password_file=secret) as sink,
    ):
        with pytest.raises(SinkUnavailable, match="invalid username-password pair") as raised:
            send(sink, *rows_of(table_of(), 1))
        assert raised.value.operator
        assert "wrong-secret" not in str(raised.value)
        secret.write_text("right-secret\n")
        send(sink, *rows_of(table_of(), 1))
        with peer.client(password="right-secret") as looker:
            assert len(in_stream(looker)) == 1


def test_no_password_where_one_is_needed(tmp_path: Path) -> None:
    with (
        redis_server(tmp_path / "redis", "--requirepass", "right-secret") as peer,
        sink_of(peer, tmp_path) as sink,
        pytest.raises(SinkUnavailable, match="Authentication required") as raised,
    ):
        send(sink, *rows_of(table_of(), 1))
    assert raised.value.operator


def test_a_key_that_is_no_stream_blocks_where_all_rows_go_there(
    peer: RedisPeer, looker: Any, tmp_path: Path
) -> None:
    looker.set("readings:hall-3", "x")
    with (
        sink_of(peer, tmp_path) as sink,
        pytest.raises(SinkUnavailable, match="readings:hall-3: WRONGTYPE") as raised,
    ):
        send(sink, *rows_of(table_of(), 1))
    assert raised.value.operator


def test_a_key_that_is_no_stream_costs_only_its_own_rows_and_they_can_be_sent_again(
    peer: RedisPeer, looker: Any, tmp_path: Path
) -> None:
    looker.set("r:b", "x")
    chain = Chain(tmp_path, "redis")
    chain.start(type="redis", host="127.0.0.1", port=peer.port, stream="r:{device}")
    tables = [table_of(d) for d in "abc"]
    chain.publish(*[row for table in tables for row in rows_of(table, 10)])
    status = chain.settled(30)
    assert (status["rows_stored"], status["rows_rejected"]) == (20, 10)
    chain.publish(*[row for table in tables for row in rows_of(table, 1, 10)])
    assert chain.settled(33)["rows_rejected"] == 11
    for device in "ac":  # the first batch is there twice, those after it are not
        got = [r.time_ns - T0 for r in in_stream(looker, f"r:{device}")]
        assert (set(got), got.count(10)) == (set(range(11)), 1)
    until(lambda: sum(x.rows for x in chain.losses) == 11, 20, "the last loss to be told")
    assert {(x.device, x.cause) for x in chain.losses} == {("b", "rejected")}
    assert "WRONGTYPE" in chain.losses[0].detail
    box = chain.writer.letters
    assert box is not None
    assert (box.count, box.newest(1)[0].whole) == (11, True)
    about = box.describe(box.newest(1)[0].line)
    assert (about.device, about.table, about.values) == ("b", "press", 3)
    looker.delete("r:b")
    assert box.replay().spooled == 11
    until(lambda: box.count == 0, what="the letters to be stored")
    chain.stop()
    assert [r.time_ns for r in in_stream(looker, "r:b")] == [T0 + i for i in range(11)]


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        (("REPLICAOF", "127.0.0.1", "1"), "read only replica"),
        (("CONFIG", "SET", "min-replicas-to-write", "1"), "NOREPLICAS"),
    ],
)
def test_a_redis_that_takes_nothing_now_is_tried_again(
    peer: RedisPeer, looker: Any, tmp_path: Path, setting: tuple[str, ...], words: str
) -> None:
    looker.execute_command(*setting)
    for pattern in ("readings:{gateway}", "r:{device}"):
        with sink_of(peer, tmp_path, stream=pattern) as sink:
            with pytest.raises(SinkUnavailable, match=words) as raised:
                send(sink, *rows_of(table_of("a"), 1), *rows_of(table_of("b"), 1))
            assert not raised.value.operator
    looker.execute_command("REPLICAOF", "NO", "ONE")
    looker.config_set("min-replicas-to-write", 0)
    with sink_of(peer, tmp_path) as sink:
        send(sink, *rows_of(table_of(), 1))
    assert len(in_stream(looker)) == 1


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (b"HTTP/1.1 200 OK\r\n\r\n", "127.0.0.1"),
        (b"+OK\r\n", "not that of XADD"),
        (b"-MOVED 3999 127.0.0.1:6381\r\n", "is one of a Redis Cluster"),
        (b"-ERR unknown command 'XADD'\r\n", "unknown command"),
        (b"-LOADING Redis is loading the dataset in memory\r\n", "loading the dataset"),
        (b"$-5\r\nxx", "127.0.0.1"),
    ],
)
def test_whoever_else_answers_nothing_counts_as_stored(
    tmp_path: Path, answer: bytes, words: str
) -> None:
    def speak(sock: socket.socket) -> None:
        with sock, contextlib.suppress(OSError):
            while asked := sock.recv(65_536):
                sock.sendall(answer * len(re.findall(rb"(?:^|\r\n)\*\d+\r\n", asked)))

    with socket.create_server(("127.0.0.1", 0)) as listener:

        def accept() -> None:
            with contextlib.suppress(OSError):
                speak(listener.accept()[0])

        thread = threading.Thread(target=accept)
        thread.start()
        keys = {"type": "redis", "host": "127.0.0.1", "port": listener.getsockname()[1]}
        sink = RedisSink("fleet", RedisConfig.model_validate({**keys, "timeout_s": 5.0}), tmp_path)
        try:
            with pytest.raises(SinkUnavailable, match=words):
                send(sink, *rows_of(table_of(), 1))
        finally:
            sink.close()
            thread.join(10)


def test_a_redis_that_hangs_is_given_up_in_time(peer: RedisPeer, tmp_path: Path) -> None:
    with sink_of(peer, tmp_path, timeout_s=2.0) as sink:
        send(sink, *rows_of(table_of(), 1))
        peer.pause()
        begun = time.monotonic()
        try:
            with pytest.raises(SinkUnavailable, match="no answer within 2 s"):
                send(sink, *rows_of(table_of(), 1, 1))
        finally:
            peer.resume()
        assert time.monotonic() - begun < 8
        send(sink, *rows_of(table_of(), 1, 2))


def test_a_lost_answer_gives_a_batch_twice_with_the_same_identities(
    tmp_path: Path, peer: RedisPeer, looker: Any
) -> None:
    chain = Chain(tmp_path, "redis")
    chain.start(type="redis", host="127.0.0.1", port=peer.port, timeout_s=1.0)
    chain.publish(*rows_of(table_of(), 1))
    chain.settled(1)
    peer.pause()  # the request lies in its socket, and is done when it goes on
    chain.publish(*rows_of(table_of(), 10, 1))
    chain.state("retrying", "no answer")
    peer.resume()
    chain.settled(11)
    chain.stop()
    got = [r.time_ns for r in in_stream(looker)]
    assert len(got) > 11
    assert set(got) == {T0 + i for i in range(11)}


def test_nothing_is_lost_when_redis_is_killed_again_and_again(
    tmp_path: Path, peer: RedisPeer
) -> None:
    chain = Chain(tmp_path, "redis")
    chain.start(type="redis", host="127.0.0.1", port=peer.port, timeout_s=2.0)
    table = table_of()
    for at in range(0, 4000, 1000):
        for row in rows_of(table, 1000, at):
            chain.publish(row)
        if at == 1000:
            until(lambda: chain.writer.status()["rows_stored"] > 0)  # and others are under way
        peer.kill()
        chain.publish(*rows_of(table, 1, 10_000 + at))
        chain.state("retrying")
        peer.start()
    chain.settled(4004)
    chain.stop()
    with peer.client() as looker:
        got = {r.time_ns - T0 for r in in_stream(looker)}
    assert got == {*range(4000), 10_000, 11_000, 12_000, 13_000}
    assert chain.losses == []


def test_a_close_ends_a_wait_at_once(peer: RedisPeer, tmp_path: Path) -> None:
    chain = Chain(tmp_path, "redis")
    chain.start(type="redis", host="127.0.0.1", port=peer.port, timeout_s=60.0)
    chain.publish(*rows_of(table_of(), 1))
    chain.settled(1)
    peer.pause()
    try:
        chain.publish(*rows_of(table_of(), 1, 1))
        until(lambda: chain.writer.status()["pending_rows"] == 1)
        begun = time.monotonic()
        chain.writer.stop(1.0)
        assert time.monotonic() - begun < 20
    finally:
        peer.resume()
