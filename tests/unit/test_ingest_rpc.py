"""Rows by gRPC, real servers and clients: acknowledged when on disk, held back when not."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import grpc
import numpy as np
import pytest

from gateway.errors import GatewayError
from gateway.ingest import stream as stream_module
from gateway.ingest.client import Credentials, Encoder, Sender
from gateway.ingest.messages import METHOD, SERVICE, messages
from gateway.ingest.rpc import RpcServer
from gateway.ingest.settings import GrpcConfig, GrpcTlsConfig
from gateway.model import ALL, Column, Mark, Quality, Row, Table, bad, make_parts
from tests.support import free_port, until
from tests.unit.ingestkit import NOW_NS, Line, labels, times, values
from tests.unit.test_ingest_api import Disk

TABLE = Table(
    "press", "other",
    [Column("force", "f8", "kN"), Column("n", "i8", store_int=True), Column("u", "u8"),
     Column("on", "b1"), Column("mode", "str"), Column("small", "f4", "g")],
    [("gateway", "g"), ("device", "other"), ("module", "left"), ("line", "kiln")],
)  # fmt: skip
VALUES = (12.5, -7, 2**64 - 1, True, "Grüße", 0.1)


def a_row(number: int, marks: dict[int, Mark] | None = None) -> Row:
    return Row(TABLE, NOW_NS + number, make_parts(TABLE, VALUES), marks)


def identify(authorization: str, peer: str) -> str:
    assert peer == "127.0.0.1"
    if authorization != "Bearer good":
        raise PermissionError("a wrong token; expected another")
    return "box"


class Server:
    def __init__(self, tls: GrpcTlsConfig | None = None) -> None:
        self.port = free_port()
        self.line = Line()
        self.tls = tls
        self.rpc: RpcServer | None = None

    @property
    def at(self) -> str:
        return f"127.0.0.1:{self.port}"

    def start(self) -> None:
        config = GrpcConfig(listen=self.at, tls=self.tls)
        self.rpc = RpcServer(config, self.line.intake, identify)
        self.rpc.start()

    def stop(self) -> None:
        if self.rpc is not None:
            self.rpc.stop(0.2)
            self.rpc = None

    def send(self, groups: Sequence[Sequence[Row]], **more: Any) -> Any:
        return Sender(self.at, Credentials("good"), **more).send(iter(groups))


@contextmanager
def serving(tls: GrpcTlsConfig | None = None) -> Iterator[tuple[Server, Disk]]:
    server = Server(tls)
    disk = Disk(server.line)
    try:
        server.start()
        yield server, disk
    finally:
        server.stop()
        disk.close()


@contextmanager
def call(at: str, bodies: Any, token: str = "good") -> Iterator[Any]:
    """A call by hand: what it answers can be looped over."""
    with grpc.insecure_channel(at) as channel:
        method = channel.stream_stream(f"/{SERVICE}/{METHOD}")
        answers = method(bodies, metadata=[("authorization", f"Bearer {token}")])
        try:
            yield answers
        finally:
            answers.cancel()


def refusal(at: str, *bodies: bytes, token: str = "good") -> tuple[grpc.StatusCode, str]:
    with call(at, iter(bodies), token) as answers, pytest.raises(grpc.RpcError) as caught:
        list(answers)
    return caught.value.code(), caught.value.details()


def test_rows_of_every_kind_arrive_as_they_were() -> None:
    marks = {0: bad("timeout"), 4: Mark(Quality.UNCERTAIN, "cpu_stop")}
    whole = {ALL: Mark(Quality.UNCERTAIN, "clock")}
    with serving() as (server, disk):
        rows = [a_row(1), a_row(2, marks), a_row(3, whole)]
        nothing = Row(TABLE, NOW_NS + 4, (), {ALL: bad("closed")})
        sent = server.send([rows, [nothing]])
        assert (sent.rows, sent.refused, sent.words) == (4, 0, [])
        found = disk.rows
    assert times(found) == [NOW_NS + i for i in (1, 2, 3, 4)]
    assert found[0].values() == list(VALUES)
    assert found[1].values() == [None, *VALUES[1:]]
    assert [row.marks for row in found] == [None, marks, whole, {ALL: bad("closed")}]
    made = found[0].table
    assert (made.device, made.key, made.kinds, made.units) == (
        "other", "press.left", TABLE.kinds, TABLE.units
    )  # fmt: skip
    assert made.stores_int == {1}
    assert labels(found[0]) == {
        "gateway": "hall-3", "device": "other", "module": "left", "line": "kiln", "via": "ingest"
    }  # fmt: skip


def test_a_batch_is_acknowledged_when_it_is_on_disk_and_not_before() -> None:
    with serving() as (server, disk):
        disk.hold()
        gate = threading.Event()
        encoder = Encoder()

        def bodies() -> Iterator[bytes]:
            yield encoder.encode([a_row(1)])
            yield encoder.encode([a_row(2)])
            gate.wait(20)

        with call(server.at, bodies()) as answers:
            until(lambda: len(disk.line.queue) == 2)
            acks: list[int] = []
            ack = messages().ack
            thread = threading.Thread(target=lambda: acks.append(ack.FromString(next(answers)).seq))
            thread.start()
            assert acks == []
            disk.go_on()
            thread.join(10)
            assert acks in ([1], [2])
            gate.set()
        assert times(disk.rows) == [NOW_NS + 1, NOW_NS + 2]


def test_who_sends_faster_than_the_disk_takes_has_to_wait() -> None:
    taken = 0
    with serving() as (server, disk):
        disk.hold()
        encoder = Encoder()

        def bodies() -> Iterator[bytes]:
            nonlocal taken
            for number in range(400):
                taken = number + 1
                yield encoder.encode([a_row(number * 500 + i) for i in range(500)])

        seen: list[int] = []

        def read(answers: Any) -> None:
            seen.extend(messages().ack.FromString(body).seq for body in answers)

        with call(server.at, bodies()) as answers:
            thread = threading.Thread(target=read, args=(answers,))
            thread.start()
            until(lambda: server.line.intake.room.used > 1_500_000)
            stands = -1

            def still() -> bool:
                nonlocal stands
                before, stands = stands, taken
                return before == taken

            until(still, what="the sender to stand still")
            # about 45 are rows that wait; the others in a window of 256 KiB and in sockets
            assert taken < 250, "nothing more is read"
            assert disk.line.queue.dropped_rows == 0
            disk.go_on()
            thread.join(30)
        assert seen[-1] == 400
        assert len(disk.rows) == 200_000
        assert server.line.intake.room.used == 0


def test_rows_that_are_wrong_are_refused_and_the_others_taken() -> None:
    odd = Table("press", "press_1", [Column("v", "f8")])
    own = Table("gateway_loss", "d", [Column("v", "f8")])
    late = Row(TABLE, time.time_ns() * 2, make_parts(TABLE, VALUES))
    rows = [Row(t, NOW_NS + 1, (np.array([1.0]),)) for t in (odd, own)]
    with serving() as (server, disk):
        sent = server.send([rows, [a_row(1)], [late], [a_row(2)]])
        assert (sent.rows, sent.refused) == (5, 3)
        assert "read by this gateway itself" in sent.words[0]
        assert "names of the gateway's own begin so" in sent.words[1]
        assert "days ahead of this gateway's clock" in sent.words[2]
        assert times(disk.rows) == [NOW_NS + 1, NOW_NS + 2]
        assert server.line.intake.status()["senders"]["box"]["refused"] == 3


def batch(**fields: Any) -> bytes:
    """One batch with one shape (of a float and a text) and one Rows, some of it changed."""
    made = messages().batch(seq=fields.pop("seq", 1))
    shape = made.shapes.add(number=1, device="d", table="t")
    shape.columns.add(name="a", kind=fields.pop("kind", 2))
    shape.columns.add(name="b", kind=6)
    mark = fields.pop("mark", None)
    rows = made.rows.add(**{"shape": 1, "time_ns": [NOW_NS], "f8": [1.5], "text": ["x"], **fields})
    if mark:
        rows.marks.add(**mark)
    body: bytes = made.SerializeToString()
    return body


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        ({"shape": 2}, "shape 2 was not declared in this stream"),
        ({"f8": []}, "f8: 0 values; expected 1, 1 a row"),
        ({"f8": [1.0, 2.0]}, "f8: 2 values; expected 1"),
        ({"text": []}, "text: 0 values"),
        ({"i8": [1]}, "values of kinds that t has not declared"),
        ({"kind": 0}, "column 'a': no such kind: 0"),
        ({"kind": 9}, "no such kind: 9"),
        ({"time_ns": [-5]}, "expected one after 1970"),
        ({"time_ns": [NOW_NS, NOW_NS + 1]}, "f8: 1 values; expected 2"),
        ({"mark": {"row": 1, "quality": 2, "reason": "x"}}, "a mark of row 1"),
        ({"mark": {"row": 0, "column": 2, "quality": 2, "reason": "x"}}, "column 2, which there"),
        ({"mark": {"row": 0, "quality": 0, "reason": "x"}}, "expected UNCERTAIN or BAD"),
        ({"mark": {"row": 0, "quality": 2, "reason": ""}}, "expected a short word"),
    ],
)
def test_rows_that_do_not_fit_their_shape_are_refused(fields: dict[str, Any], why: str) -> None:
    with serving() as (server, disk):
        with call(server.at, iter([batch(**fields), batch(seq=7)])) as answers:
            acks = [messages().ack.FromString(body) for body in answers]
        told = [refused for ack in acks for refused in ack.refused]
        assert acks[-1].seq == 7
        assert len(told) == 1
        assert why in told[0].why
        assert (told[0].seq, times(disk.rows)) == (1, [NOW_NS])


def test_numbers_that_are_none_are_bad() -> None:
    body = batch(time_ns=[NOW_NS, NOW_NS + 1, NOW_NS + 2], f8=[float("nan"), 1, float("inf")],
                 text=["x", "y", "z"])  # fmt: skip
    with serving() as (server, disk):
        with call(server.at, iter([body])) as answers:
            list(answers)
        assert [row.marks for row in disk.rows] == [{0: bad("nan")}, None, {0: bad("infinite")}]
        assert values(disk.rows[0]) == {"a": None, "b": "x"}


def test_who_does_not_keep_to_the_protocol_is_hung_up_on() -> None:
    wrong = grpc.StatusCode.INVALID_ARGUMENT
    with serving() as (server, _):
        code, words = refusal(server.at, b"\xff\xff\xff")
        assert (code, words.startswith("no Batch")) == (wrong, True)
        code, words = refusal(server.at, batch(seq=2), batch(seq=2))
        assert (code, words) == (wrong, "batch 2 after batch 2; expected a higher number")
        many = messages().batch(seq=1)
        for number in range(10_001):
            many.shapes.add(number=number)
        assert refusal(server.at, many.SerializeToString()) == (wrong, "more than 10000 shapes")
        code, _ = refusal(server.at, b"x" * 600_000)
        assert code == grpc.StatusCode.RESOURCE_EXHAUSTED


def test_only_known_senders_are_let_in() -> None:
    with serving() as (server, disk):
        code, words = refusal(server.at, batch(), token="bad")
        assert (code, words) == (
            grpc.StatusCode.UNAUTHENTICATED, "a wrong token; expected another"
        )  # fmt: skip
        with pytest.raises(GatewayError, match="a wrong token"):
            Sender(server.at, Credentials("bad")).send(iter([[a_row(1)]]))
        assert disk.rows == []


def test_rows_that_were_given_up_are_sent_again_by_the_client(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("gateway.ingest.client.PAUSES_S", (0.01,))
    with serving() as (server, disk):
        disk.lose = True
        done: list[Any] = []
        thread = threading.Thread(target=lambda: done.append(server.send([[a_row(1)]])))
        thread.start()
        until(lambda: len(disk.rows) >= 2, what="it was sent twice")
        assert done == []
        disk.lose = False
        thread.join(20)
        assert done[0].rows == 1


def test_the_client_goes_on_where_the_gateway_was_away(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.ingest.client.PAUSES_S", (0.02,))
    with serving() as (server, disk):
        gate = threading.Event()

        def groups() -> Iterator[Sequence[Row]]:
            for number in range(100):
                if number == 50:
                    gate.wait(20)
                yield [a_row(number)]

        done: list[Any] = []
        thread = threading.Thread(
            target=lambda: done.append(Sender(server.at, Credentials("good")).send(groups()))
        )
        thread.start()
        until(lambda: len(disk.rows) == 50)
        server.stop()
        gate.set()
        server.start()
        thread.join(30)
        assert done[0].rows == 100
        assert {row.time_ns - NOW_NS for row in disk.rows} == set(range(100))


def test_the_client_gives_up_in_words_where_nobody_answers() -> None:
    port = free_port()
    with pytest.raises(GatewayError, match="given up after 0 s"):
        Sender(f"127.0.0.1:{port}", Credentials("good"), give_up_s=0.0).send(iter([[a_row(1)]]))


def test_a_stop_acknowledges_what_is_on_disk_and_ends_all_streams() -> None:
    with serving() as (server, disk):
        gate = threading.Event()
        encoder = Encoder()

        def bodies() -> Iterator[bytes]:
            yield encoder.encode([a_row(1)])
            gate.wait(20)

        with call(server.at, bodies()) as answers:
            assert messages().ack.FromString(next(answers)).seq == 1
            server.line.intake.close()
            with pytest.raises(grpc.RpcError) as caught:
                next(answers)
            gate.set()
        assert caught.value.code() == grpc.StatusCode.UNAVAILABLE
        assert caught.value.details() == "the gateway is stopping"
        assert len(disk.rows) == 1


def test_a_stream_whose_rows_do_not_get_on_disk_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream_module, "STORED_S", 0.1)
    monkeypatch.setattr(stream_module, "LOOK_S", 0.05)
    with serving() as (server, disk):
        disk.hold()
        code, words = refusal(server.at, Encoder().encode([a_row(1)]))
        assert code == grpc.StatusCode.UNAVAILABLE
        assert words == "rows are not on disk after 0.1 s; send them again"
        disk.go_on()


def test_a_port_that_is_taken_is_told() -> None:
    with serving() as (server, _):
        other = Server()
        other.port = server.port
        with pytest.raises(GatewayError, match="is it taken by another program"):
            other.start()
