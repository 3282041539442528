"""The Redis sink against a real redis-server: what it stores, and what it asks for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from gateway.errors import Rejected, SinkUnavailable
from gateway.model import ALL, Row, bad
from gateway.sinks.redis import RedisConfig
from gateway.wire import decode_batch
from tests.sims.redis_server import RedisPeer, redis_server
from tests.sinks.rediskit import (
    T0,
    in_stream,
    looker,
    peer,
    rows_of,
    selected,
    send,
    sink_of,
    table_of,
)
from tests.support import free_port
from tests.unit.notifykit import make_certificates

__all__ = ["looker", "peer"]

pytestmark = pytest.mark.servers


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
