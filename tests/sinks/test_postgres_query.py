"""Reading back from PostgreSQL what its sink has stored."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from gateway.errors import GatewayError, SinkUnavailable
from gateway.losses import Loss, LossLedger
from gateway.model import Column, Row, Selected, bad
from gateway.sinks.postgres import PostgresSink
from gateway.sinks.postgres.query import Reader
from tests.sinks.postgreskit import DAY_NS, HOUR_NS, Plant, plant, row, send, server, sink, table_of

__all__ = ["plant", "server", "sink"]

pytestmark = pytest.mark.servers

T0 = 1_790_000_000_000_000_000
S = 1_000_000_000


@pytest.fixture
def reader(plant: Plant) -> Iterator[Reader]:
    made = Reader(plant.config(retention_days=30))
    yield made
    made.close()


def test_every_kind_reads_back_as_it_was_with_its_quality(
    reader: Reader, sink: PostgresSink
) -> None:
    table = table_of(
        Column("force", "f4", "kN"),
        Column("count", "u8"),
        Column("step", "i8"),
        Column("on", "b1"),
        Column("word", "str"),
    )
    send(sink, row(table, T0, 408.35, 2**64 - 1, -7, True, "auto"))
    send(sink, row(table, T0 + S, 1.5, 3, 8, False, "hand", marks={0: bad("timeout")}))
    found = {
        tag: reader.history("hall-3", "press_1", tag, T0, T0 + S, 100)
        for tag in ("force", "count", "step", "on", "press:word")
    }
    assert found["force"].points == [(T0, 408.35, "GOOD"), (T0 + S, None, "BAD:timeout")]
    assert (found["force"].unit, found["force"].table) == ("kN", "press")
    assert [v for _, v, _ in found["count"].points] == [2**64 - 1, 3]
    assert [v for _, v, _ in found["step"].points] == [-7, 8]
    assert [v for _, v, _ in found["on"].points] == [True, False]
    assert [v for _, v, _ in found["press:word"].points] == ["auto", "hand"]
    assert not any(history.decimated for history in found.values())
    asked = ("hall-3", "press_1", "force")
    now_ns = time.time_ns()
    assert reader.history(*asked, now_ns - 31 * DAY_NS, now_ns, 10).truncated
    assert not reader.history(*asked, now_ns - 29 * DAY_NS, now_ns, 10).truncated


def test_a_long_range_keeps_the_extremes_and_what_is_not_good(
    reader: Reader, sink: PostgresSink
) -> None:
    table = table_of(Column("force", "f8"))
    rows = [row(table, T0 + i * S, float(i % 10)) for i in range(5000)]
    rows[1234] = row(table, T0 + 1234 * S, 1e6)
    rows[2345] = row(table, T0 + 2345 * S, -1e6)
    rows[3456] = row(table, T0 + 3456 * S, 0.0, marks={0: bad("timeout")})
    send(sink, *rows)
    found = reader.history("hall-3", "press_1", "force", T0, T0 + 5000 * S, 60)
    assert found.decimated
    assert 20 < len(found.points) <= 60
    assert [t for t, _, _ in found.points] == sorted({t for t, _, _ in found.points})
    assert (T0 + 1234 * S, 1e6, "GOOD") in found.points
    assert (T0 + 2345 * S, -1e6, "GOOD") in found.points
    assert (T0 + 3456 * S, None, "BAD:timeout") in found.points
    whole = reader.history("hall-3", "press_1", "force", T0, T0 + 5000 * S, 10_000)
    assert len(whole.points) == 5000


def test_names_that_are_not_there_are_told_with_the_nearest(
    reader: Reader, sink: PostgresSink
) -> None:
    send(sink, row(table_of(Column("force", "f8")), T0, 1.0))
    send(sink, row(table_of(Column("force", "f8"), name="slow"), T0, 1.0))
    for device, tag, words in (
        ("press_1", "forc", "did you mean 'force'"),
        ("press_2", "force", "did you mean 'press_1'"),
        ("press_1", "force", "is in press, slow; say which"),
    ):
        with pytest.raises(GatewayError, match=words):
            reader.history("hall-3", device, tag, T0, T0 + S, 10)
    assert len(reader.history("hall-3", "press_1", "slow:force", T0, T0 + S, 10).points) == 1


def test_losses_come_newest_first_each_with_its_gateway(reader: Reader, sink: PostgresSink) -> None:
    kept: list[Row] = []
    ledger = LossLedger(kept.append, "hall-3")
    for n in range(5):
        ledger.record(Loss("influx", "press_1", "press", T0, T0 + n, n, "spool_bound"))
    send(sink, *map(Selected, kept))
    found = reader.newest("gateway_loss", 0, kept[-1].time_ns + HOUR_NS, 3)
    assert [r.columns["rows"] for r in found] == [4, 3, 2]
    assert {(r.gateway, r.device, r.columns["device_lost"]) for r in found} == {
        ("hall-3", "gateway", "press_1")
    }
    assert reader.newest("gateway_loss", 0, T0 * 2, 3, {"gateway": "hall-4"}) == []
    with pytest.raises(ValueError, match="no column"):
        reader.newest("gateway_loss", 0, T0, 3, {"x; drop table sample": "1"})


def test_it_only_reads_and_comes_back_after_the_server_was_restarted(
    reader: Reader, sink: PostgresSink, plant: Plant
) -> None:
    send(sink, row(table_of(Column("force", "f8")), T0, 1.0))
    asked = ("hall-3", "press_1", "force", T0, T0 + S, 10)
    assert len(reader.history(*asked).points) == 1
    with pytest.raises(GatewayError, match="read-only"):
        reader._asked(lambda db: db.execute("DELETE FROM sample"))
    plant.server.stop()
    with pytest.raises(SinkUnavailable):
        reader.history(*asked)
    assert reader.error is not None
    plant.server.start()
    assert len(reader.history(*asked).points) == 1
    assert reader.error is None
    plant.server.stop()
    plant.server.start()  # while nobody asked
    assert len(reader.history(*asked).points) == 1
