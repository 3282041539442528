"""The Redis sink against a real redis-server: what it stores, how it trims, how it is refused."""

from __future__ import annotations

import contextlib
import re
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from gateway.errors import Rejected, SinkUnavailable
from gateway.model import ALL, Row, bad
from gateway.sinks.redis import RedisConfig, RedisSink
from gateway.sinks.redis.client import RedisClient
from gateway.sinks.redis.trim import trim
from gateway.wire import decode_batch
from tests.sims.redis_server import RedisPeer, redis_server
from tests.sinks.rediskit import T0, Chain, in_stream, rows_of, selected, table_of
from tests.support import free_port, until
from tests.unit.notifykit import make_certificates

pytestmark = pytest.mark.servers


@pytest.fixture
def peer(tmp_path: Path) -> Iterator[RedisPeer]:
    with redis_server(tmp_path / "redis") as made:
        yield made


@pytest.fixture
def looker(peer: RedisPeer) -> Iterator[Any]:
    with peer.client() as client:
        yield client


@contextlib.contextmanager
def sink_of(peer: RedisPeer, folder: Path, **settings: Any) -> Iterator[RedisSink]:
    keys = {"type": "redis", "host": "127.0.0.1", "port": peer.port, "timeout_s": 1.0, **settings}
    made = RedisSink("fleet", RedisConfig.model_validate(keys), folder)
    try:
        yield made
    finally:
        made.close()


def send(sink: RedisSink, *rows: Row) -> None:
    for payload in sink.encode(selected(*rows)):
        sink.deliver(payload.body, payload.format)


def test_a_batch_is_one_entry_with_its_rows(peer: RedisPeer, looker: Any, tmp_path: Path) -> None:
    table = table_of()
    with sink_of(peer, tmp_path) as sink:
        send(sink, *rows_of(table, 3), Row(table, T0 + 3, (), {ALL: bad("timeout")}))
    assert looker.xlen("readings:hall-3") == 1
    got = in_stream(looker)
    assert [row.values() for row in got] == [[i / 8, i, "auto"] for i in range(3)] + [[None] * 3]
    assert [row.time_ns for row in got] == [T0 + i for i in range(4)]
    assert got[0].table.units == ("kN", None, None)


def test_each_device_may_have_a_stream(peer: RedisPeer, looker: Any, tmp_path: Path) -> None:
    first, second = table_of("a"), table_of("b")
    with sink_of(peer, tmp_path, stream="r:{gateway}:{device}") as sink:
        rows = [r for pair in zip(rows_of(first, 4), rows_of(second, 4), strict=True) for r in pair]
        (payload,) = sink.encode(selected(*rows))
        assert payload.rows == 8
        sink.deliver(payload.body, payload.format)
    for device in "ab":
        got = in_stream(looker, f"r:hall-3:{device}")
        assert [row.time_ns for row in got] == [T0 + i for i in range(4)]
        assert {row.table.device for row in got} == {device}


def test_the_newest_row_is_a_hash_that_expires(
    peer: RedisPeer, looker: Any, tmp_path: Path
) -> None:
    quick, slow = table_of(), table_of(name="day", interval_s=3600.0)
    with sink_of(peer, tmp_path, latest_ttl_s=60) as sink:
        send(sink, *rows_of(quick, 5), *rows_of(slow, 1))
    found = looker.hgetall("latest:hall-3:press_1:press")
    assert found[b"time_ns"] == b"%d" % (T0 + 4)
    (got,) = decode_batch(found[b"row"])
    assert got.row.values() == [0.5, 4, "auto"]
    assert 50 < looker.ttl("latest:hall-3:press_1:press") <= 60
    assert looker.ttl("latest:hall-3:press_1:day") > 3 * 3600 - 10


def test_a_long_batch_is_several_payloads_in_order(peer: RedisPeer, tmp_path: Path) -> None:
    rows = rows_of(table_of(), 70_000)
    with sink_of(peer, tmp_path) as sink:
        payloads = sink.encode(selected(*rows))
    assert len(payloads) > 2
    assert sum(p.rows for p in payloads) == 70_000


# -- trimming


def groups_read(looker: Any, stream: str, group: str, count: int) -> list[bytes]:
    ((_, entries),) = looker.xreadgroup(group, "c", {stream: ">"}, count=count)
    return [id_ for id_, _ in entries]


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
            thread.join(30)
        assert faults == []
        for got in seen.values():
            assert sorted(got) == list(range(count))
        send(sink, *rows_of(table, 1, count))
        assert sink.status()["entries_trimmed"] == count - 1
        assert looker.xlen(stream) == 2


# -- refusals


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


def test_the_rights_that_the_readme_names_are_enough(tmp_path: Path) -> None:
    readme = Path(__file__).parents[2] / "gateway" / "sinks" / "redis" / "README.md"
    granted = readme.read_text().partition("own commands:\n")[2].partition("\n\n")[0]
    words = granted.replace("`", "").replace(" on ", " ").replace("and channels", "").split()
    rights = [word.rstrip(".") for word in words]
    secret = tmp_path / "password"
    secret.write_text("secret-of-hall-3\n")
    with redis_server(tmp_path / "redis") as peer, peer.client() as looker:
        looker.execute_command(
            "ACL", "SETUSER", "hall-3", "on", ">secret-of-hall-3", "+@connection", *rights
        )
        table = table_of()
        keys = {"user": "hall-3", "password_file": secret, "trim_every_s": 1e-9}
        with sink_of(peer, tmp_path, **keys) as sink:
            send(sink, *rows_of(table, 1))
            looker.xgroup_create("readings:hall-3", "writers", id="0")
            groups_read(looker, "readings:hall-3", "writers", 1)
            send(sink, *rows_of(table, 1, 1))
            assert sink.status()["beside_error"] is None
            assert sink.status()["entries_in_streams"] == 2
        with (
            sink_of(peer, tmp_path, **keys, stream="other:{gateway}") as sink,
            pytest.raises(SinkUnavailable, match="permissions") as raised,
        ):
            send(sink, *rows_of(table, 1))
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
    assert {(x.device, x.cause) for x in chain.losses} == {("b", "rejected")}
    assert sum(x.rows for x in chain.losses) == 11
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
        sink = RedisSink("fleet", RedisConfig.model_validate({**keys, "timeout_s": 1.0}), tmp_path)
        try:
            with pytest.raises(SinkUnavailable, match=words):
                send(sink, *rows_of(table_of(), 1))
        finally:
            sink.close()
            thread.join(10)


def test_tls_is_verified(tmp_path: Path) -> None:
    files = make_certificates(tmp_path / "tls")
    port = free_port()
    lines = ("--port", "0", "--tls-port", str(port), "--tls-auth-clients", "no", "--tls-cert-file",
             str(files.cert), "--tls-key-file", str(files.key), "--tls-ca-cert-file",
             str(files.ca))  # fmt: skip
    with redis_server(tmp_path / "redis", *lines, port=port) as peer:
        with sink_of(peer, tmp_path, tls=True, ca_file=files.ca) as sink:
            send(sink, *rows_of(table_of(), 500))
        for other, words in ((files.other_ca, "certificate"), (tmp_path / "none", "certificates")):
            with sink_of(peer, tmp_path, tls=True, ca_file=other) as sink:
                with pytest.raises(SinkUnavailable, match=words) as raised:
                    send(sink, *rows_of(table_of(), 1))
                assert raised.value.operator


def test_what_is_no_payload_of_ours_is_rejected(peer: RedisPeer, tmp_path: Path) -> None:
    with sink_of(peer, tmp_path) as sink:
        for body, format_, words in (
            (b"x", "lp", "format lp is not for Redis"),
            (b"x", "redis1", "its head is missing"),
            (b'[["s",1,9]]\nxx', "redis1", "2 bytes; expected 9"),
            (b"{", "rows+json1", "has no end"),
        ):
            with pytest.raises(Rejected, match=words):
                sink.deliver(body, format_)
            assert sink.split(body, format_, words) == [body]
            assert sink.describe_each(body, format_) == []


def test_what_is_too_much_at_once_is_halved_to_single_rows(
    peer: RedisPeer, looker: Any, tmp_path: Path
) -> None:
    with sink_of(peer, tmp_path, stream="r:{device}") as sink:
        (payload,) = sink.encode(selected(*rows_of(table_of("a"), 3), *rows_of(table_of("b"), 2)))
        waiting, singles = [payload.body], []
        while waiting:
            body = waiting.pop()
            pieces = sink.split(body, payload.format)
            (singles if len(pieces) == 1 else waiting).extend(pieces)
        assert len(singles) == 5
        for body in singles:
            sink.deliver(body, payload.format)
    assert sorted(r.time_ns - T0 for r in in_stream(looker, "r:a")) == [0, 1, 2]
    assert sorted(r.time_ns - T0 for r in in_stream(looker, "r:b")) == [0, 1]


# -- faults of the connection


def test_a_redis_that_hangs_is_given_up_in_time(peer: RedisPeer, tmp_path: Path) -> None:
    with sink_of(peer, tmp_path, timeout_s=0.3) as sink:
        send(sink, *rows_of(table_of(), 1))
        peer.pause()
        begun = time.monotonic()
        try:
            with pytest.raises(SinkUnavailable, match=r"no answer within 0\.3 s"):
                send(sink, *rows_of(table_of(), 1, 1))
        finally:
            peer.resume()
        assert time.monotonic() - begun < 3
        send(sink, *rows_of(table_of(), 1, 2))


def test_a_lost_answer_gives_a_batch_twice_with_the_same_identities(
    tmp_path: Path, peer: RedisPeer, looker: Any
) -> None:
    chain = Chain(tmp_path, "redis")
    chain.start(type="redis", host="127.0.0.1", port=peer.port, timeout_s=0.3)
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
            chain.settled(1)
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
        assert time.monotonic() - begun < 5
    finally:
        peer.resume()


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"stream": "r:{devise}"}, "'{devise}' is not known"),
        ({"stream": "r:{device"}, "braces do not match"),
        ({"host": "redis://x"}, "is a URL"),
        ({"ca_file": "x"}, "only with `tls: true`"),
        ({"tls": True, "cert_file": "x"}, "belong together"),
        ({"password_file": "x", "password_credential": "y"}, "exclude each other"),
    ],
)
def test_settings_that_do_not_fit_are_refused(settings: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        RedisConfig.model_validate({"type": "redis", "host": "h", **settings})
