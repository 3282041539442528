"""A server, or what stands before it, that refuses whatever comes: it is not believed for long."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from gateway.errors import SinkUnavailable
from gateway.model import Column, Table
from gateway.writer.deliver import Backoff
from gateway.writer.doubt import MAX_BATCHES, MAX_LINES, MAX_PROBES
from tests.sims import http_faults as hf
from tests.sinks.chainkit import QUICK
from tests.sinks.influxkit import Gateway, gateway
from tests.support import until

__all__ = ["gateway"]

TABLE = Table("m", "d", [Column("a", "f4"), Column("bad", "f4")], [("device", "d")])
PROXY = hf.said("400 Bad Request", b"<html>the request could not be understood</html>")
CONFLICT = (
    b'{"message":"partial write: field type conflict: input field \\"a\\" on measurement \\"m\\" is'
    b' type float, already exists as type string dropped=%d"}'
)


class Judge:
    """What says no to everything, to what holds a word, or to nothing."""

    def __init__(self) -> None:
        self.no_to: bytes | None = b""
        self.no: Callable[[int], bytes] = lambda lines: PROXY
        self.stored: set[int] = set()
        self.refused = 0

    def __call__(self, body: bytes) -> bytes:
        if self.no_to is not None and self.no_to in body:
            self.refused += 1
            return self.no(body.count(b"\n"))
        self.stored |= {int(line.rsplit(b" ", 1)[1]) for line in body.splitlines()}
        return hf.STORED


@pytest.fixture
def judge() -> Judge:
    return Judge()


@pytest.fixture
def server(judge: Judge) -> Iterator[hf.FaultServer]:
    with hf.faults(judge=judge) as made:
        yield made


def publish(gateway: Gateway, *numbers: int, rows: int = 1) -> None:
    """Batches that begin at these numbers."""
    for n in numbers:
        gateway.publish(TABLE, n, *([[float(n + i), 1.0] for i in range(rows)]))


def numbers_lost(gateway: Gateway) -> set[int]:
    """Of rows whose times are numbers that follow each other."""
    return {n for loss in gateway.losses for n in range(loss.first_ns, loss.last_ns + 1)}


def test_a_proxy_that_refuses_everything_does_not_empty_the_spool(
    gateway: Gateway,
    judge: Judge,
    server: hf.FaultServer,
) -> None:
    writer = gateway.start(server.url, gzip=False)
    publish(gateway, *range(1, 31))
    until(lambda: writer.status()["state"] == "blocked")
    publish(gateway, *range(31, 41))
    before = judge.refused
    until(lambda: judge.refused > before + 3, what="it to be tried again")
    # a row that was taken just now may not be in the spool yet
    until(lambda: writer.status()["pending_rows"] == 40 - MAX_BATCHES, what="all in the spool")
    status = writer.status()
    assert status["state"] == "blocked"
    assert "refuses all rows" in status["error"]
    assert "400 Bad Request" in status["error"] or "could not be understood" in status["error"]
    assert status["rows_rejected"] == MAX_BATCHES
    assert status["dead_letters"] <= 3 * MAX_BATCHES, "a line for each column, and the quality"
    assert status["pending_rows"] == 40 - MAX_BATCHES
    judge.no_to = None
    status = gateway.settled(40)
    assert (status["state"], status["error"]) == ("good", None)
    assert status["rows_rejected"] == MAX_BATCHES
    gateway.stop()
    lost = numbers_lost(gateway)
    assert judge.stored == set(range(1, 41)) - lost
    assert {loss.cause for loss in gateway.losses} == {"rejected"}
    assert sum(loss.rows for loss in gateway.losses) == MAX_BATCHES


def test_of_large_batches_fewer_are_believed_and_a_probe_is_short(
    gateway: Gateway,
    judge: Judge,
    server: hf.FaultServer,
) -> None:
    refused: list[int] = []

    class Noting(Backoff):
        """Notes how much was refused when a try is put off; the next one comes soon."""

        def pause_s(self, failures: int, error: SinkUnavailable) -> float:
            refused.append(judge.refused)
            return super().pause_s(failures, error)

    gateway.backoff = Noting(*QUICK)
    writer = gateway.start(server.url, gzip=False)
    publish(gateway, 1, rows=MAX_LINES)
    until(lambda: writer.status()["rows_rejected"] == MAX_LINES, 60)
    before = judge.refused
    publish(gateway, 10_001, rows=MAX_LINES)
    until(lambda: writer.status()["state"] == "blocked")
    assert refused[0] - before <= 2 * MAX_PROBES
    judge.no_to = None
    gateway.settled(2 * MAX_LINES)
    assert judge.stored == set(range(10_001, 10_001 + MAX_LINES))
    gateway.stop()


def test_over_a_restart_what_was_held_is_kept(
    gateway: Gateway,
    judge: Judge,
    server: hf.FaultServer,
) -> None:
    writer = gateway.start(server.url, gzip=False)
    publish(gateway, *range(1, 11))
    until(lambda: writer.status()["state"] == "blocked")
    gateway.stop()
    judge.no_to = None
    gateway.start(server.url, gzip=False)
    until(lambda: len(judge.stored) == 10 - MAX_BATCHES)
    gateway.stop()
    assert len(numbers_lost(gateway)) == MAX_BATCHES
    assert judge.stored == set(range(1, 11)) - numbers_lost(gateway)


def test_one_good_row_among_the_bad_shows_that_the_server_judges(
    gateway: Gateway,
    judge: Judge,
    server: hf.FaultServer,
) -> None:
    judge.no_to = b" bad="
    only_bad = Table("m", "d", [Column("bad", "f4")], [("device", "d")])
    gateway.start(server.url, gzip=False)
    for n in range(1, 6):
        gateway.publish(only_bad, 10 * n, [1.0])
        publish(gateway, 10 * n + 1)
    status = gateway.settled(10)
    assert status["state"] == "good"
    assert judge.stored >= {10 * n + 1 for n in range(1, 6)}
    gateway.stop()
    first, *others = gateway.losses
    assert (first.first_ns, first.rows) == (10, 1)
    assert (others[0].first_ns, others[-1].last_ns, sum(x.rows for x in others)) == (11, 51, 9)


def test_a_store_that_says_what_it_dropped_is_believed_however_often(
    gateway: Gateway,
    judge: Judge,
    server: hf.FaultServer,
) -> None:
    judge.no = lambda lines: hf.said("422 Unprocessable", CONFLICT % lines)
    gateway.start(server.url, gzip=False)
    publish(gateway, *range(1, 21))
    status = gateway.settled(20)
    assert (status["state"], status["rows_rejected"]) == ("good", 20)
    gateway.stop()


def test_columns_that_are_refused_are_known_after_a_restart(
    gateway: Gateway,
    judge: Judge,
    server: hf.FaultServer,
    tmp_path: Path,
) -> None:
    judge.no_to = b"bad="
    gateway.start(server.url, gzip=False)
    publish(gateway, 1)
    gateway.settled(1)
    assert gateway.sink.status()["columns_refused"] == ["m.bad as float"]
    gateway.stop()
    before = len(server.requests)
    gateway.start(server.url, gzip=False)
    publish(gateway, 2)
    gateway.settled(1)
    bodies = [body for _, body in server.requests[before:]]
    assert [b"bad=" in body for body in bodies] == [False, True], "they were sent together once"
    assert gateway.sink.status()["columns_refused"] == ["m.bad as float"]
    judge.no_to = None
    publish(gateway, 3)
    until(lambda: gateway.sink.status()["columns_refused"] == [])
    gateway.stop()
    gateway.start(server.url, gzip=False)
    publish(gateway, 4)
    gateway.settled(1)
    assert gateway.sink.status()["columns_refused"] == []
    assert b"a=4" in server.requests[-1][1]
    assert b"bad=1" in server.requests[-1][1]
    gateway.stop()


def test_a_damaged_note_of_refused_columns_is_no_more_than_none(
    gateway: Gateway,
    judge: Judge,
    server: hf.FaultServer,
    tmp_path: Path,
) -> None:
    judge.no_to = None
    (tmp_path / "influx.refused.json").write_text('[["m","a","float",1],["m"]]')
    gateway.start(server.url, gzip=False)
    publish(gateway, 1)
    assert gateway.settled(1)["rows_stored"] == 1
    gateway.stop()
