"""The writer: from the hub to a sink and through what can go wrong on the way."""

from __future__ import annotations

import logging
import sqlite3
import zlib
from pathlib import Path

import numpy as np
import pytest

from gateway.errors import SinkUnavailable
from gateway.hub import Hub
from gateway.losses import Loss
from gateway.model import Column, Row, Table, bad
from gateway.spool import SpoolConfig
from gateway.writer import WriterConfig, lanes
from tests.sims import http_faults as hf
from tests.support import free_port, until
from tests.unit.writerkit import Line, Shelfless, line, stored

__all__ = ["line"]


def numbers(server: hf.FaultServer, first: int = 0) -> list[int]:
    """Values of all lines that the server was asked to store, in order."""
    lines = [
        text
        for _, body in server.requests[first:]
        for text in zlib.decompress(body, wbits=47).decode().splitlines()
    ]
    return [int(text.split("v=")[1].split(" ")[0].split(",")[0]) for text in lines]


def test_rows_arrive_and_the_spool_is_empty_again(line: Line) -> None:
    with hf.faults(hf.STORED) as server:
        writer = line.influx(server.url)
        line.publish(100)
        until(stored(writer, 100))
        until(lambda: writer.status()["pending_batches"] == 0)
        status = writer.status()
        line.stop()
    assert numbers(server) == list(range(1, 101))
    assert status["type"] == "influxdb"
    assert (status["state"], status["error"]) == ("good", None)
    assert status["rows_accepted"] == status["values_stored"] == 100
    assert status["rows_lost"] == status["rows_rejected"] == status["pending_rows"] == 0
    assert status["spool_age_s"] is None
    assert status["last_stored_s"] < 5


def test_a_full_batch_goes_before_its_time(tmp_path: Path) -> None:
    line = Line(tmp_path, flush_interval_s=60.0, batch_rows=10)
    with hf.faults(hf.STORED) as server:
        writer = line.influx(server.url)
        line.publish(10)
        until(stored(writer, 10))
        line.stop()


def test_while_a_sink_is_away_rows_wait_and_are_told_of_once(
    line: Line, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "gateway")
    busy = hf.said("503 Busy", b'{"message":"later"}')
    with hf.faults(busy) as server:
        writer = line.influx(server.url)
        for n in range(5):
            line.publish(10)
            until(lambda n=n: writer.status()["rows_accepted"] == 10 * n + 10)
        until(lambda: len(server.requests) > 3)
        until(lambda: writer.subscription.settled == 50, what="the last of them in the spool")
        status = writer.status()
        assert status["state"] == "retrying"
        assert status["error"] == "503 later"
        assert status["pending_rows"] == 50
        assert status["spool_bytes"] > 0
        assert status["spool_age_s"] > 0
        tries = len(server.requests)
        server.answers[:] = [hf.STORED]
        until(stored(writer, 50))
        bodies = {body for _, body in server.requests[:tries]}
        line.stop()
    assert len(bodies) == 1, "the same bytes are sent again"
    assert sorted(set(numbers(server, tries))) == list(range(1, 51))
    told = [r for r in caplog.records if r.name == "gateway.writer.deliver"]
    assert [r.levelname for r in told] == ["WARNING", "INFO"]
    assert all(vars(r)["sink"] == "s" for r in told)
    assert line.losses == []


def test_what_a_person_must_mend_is_shown_as_blocked(line: Line) -> None:
    with hf.faults(hf.said("401 No", b'{"message":"unauthorized access"}')) as server:
        writer = line.influx(server.url)
        line.publish()
        until(lambda: writer.status()["state"] == "blocked")
        assert writer.status()["error"] == "401 unauthorized access"
        server.answers[:] = [hf.STORED]
        until(stored(writer, 1))
        assert writer.status()["state"] == "good"
        line.stop()


def test_a_stop_leaves_undelivered_rows_on_disk_and_the_next_start_sends_them(
    line: Line,
) -> None:
    line.influx(f"http://127.0.0.1:{free_port()}")
    line.publish(30)
    line.stop(0.5)
    line.hub = Hub()
    with hf.faults(hf.STORED) as server:
        writer = line.influx(server.url)
        until(stored(writer, 30))
        line.stop()
    assert numbers(server) == list(range(1, 31))
    assert line.losses == []


def test_a_stop_ends_in_time_though_a_request_hangs(line: Line) -> None:
    with hf.faults(hf.hang) as server:
        line.influx(server.url, timeout_s=60.0)
        line.publish()
        until(lambda: server.requests)
        line.stop(1.0)


def test_live_rows_go_before_the_backlog(line: Line, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lanes, "FRESH_S", 60.0)  # live however slow this machine is
    line.influx(f"http://127.0.0.1:{free_port()}")
    writer = line.writer
    assert writer is not None
    for n in range(40):
        line.publish()
        until(lambda n=n: writer.status()["pending_batches"] > n)
    line.stop(0.2)
    line.hub = Hub()
    gate = hf.said("503 Busy")
    with hf.faults(gate) as server:
        writer = line.influx(server.url)
        until(lambda: server.requests)  # the first of the backlog is in hand
        line.publish()
        until(lambda: writer.status()["pending_batches"] == 41)
        until(lambda: writer.subscription.settled == 1, what="the row in its lane")
        tries = len(server.requests)
        server.answers[:] = [hf.STORED]
        until(stored(writer, 41))
        line.stop()
    order = [n for n in numbers(server, tries) if n != 1]
    assert order.index(41) <= 5
    assert [n for n in order if n != 41] == list(range(2, 41))


def test_a_payload_too_large_goes_in_pieces(line: Line) -> None:
    large = hf.said("413 Too large")
    with hf.faults(large, large, hf.STORED) as server:
        writer = line.influx(server.url)
        line.publish(100)
        until(stored(writer, 100))
        assert numbers(server, 2) == list(range(1, 101))
        line.stop()


def test_a_refused_line_becomes_a_dead_letter_and_a_loss(line: Line) -> None:
    refuse = hf.said("400 Bad", b'{"message":"no such field"}')
    with hf.faults(refuse, hf.STORED, refuse, refuse, hf.STORED) as server:
        writer = line.influx(server.url, gzip=False)
        line.publish(4)  # 1-4 refused, 1-2 stored, 3-4 refused, 3 refused, 4 stored
        until(stored(writer, 3))
        until(lambda: line.losses)
        until(lambda: writer.status()["rows_rejected"])  # counted after those that are stored
        status = writer.status()
        line.stop()
    assert [len(body.splitlines()) for _, body in server.requests] == [4, 2, 2, 1, 1]
    assert status["rows_rejected"] == 1
    assert status["rows_lost"] == 0
    assert status["state"] == "good"
    assert line.losses == [Loss("s", "d", "m", 3, 3, 1, "rejected", "column v: 400 no such field")]
    letters = sqlite3.connect(line.folder / "spool" / "dead_letters.db")
    found = letters.execute("SELECT reason, line FROM dead_letter").fetchall()
    letters.close()
    assert found == [("400 no such field", "m,device=d v=3 3\n")]


def test_a_row_that_cannot_be_encoded_costs_its_table_only(
    line: Line, caplog: pytest.LogCaptureFixture
) -> None:
    broken = Table("broken", "d", [Column("s", "str")])
    with hf.faults(hf.STORED) as server:
        writer = line.influx(server.url)
        for n in range(3):
            line.publish(10)
            line.hub.publish(Row(broken, n, ([b"x"],)))  # type: ignore[list-item]
            until(stored(writer, 10 * n + 10))
        until(lambda: line.losses)
        until(lambda: writer.status()["rows_lost"] == 3)  # the last may come after the others
        line.stop()
    assert {(loss.table, loss.cause) for loss in line.losses} == {("broken", "encode_fault")}
    assert sum(loss.rows for loss in line.losses) == 3
    assert len([r for r in caplog.records if r.exc_info]) == 1


def test_the_dead_band_is_applied_and_unchanged_rows_are_counted(line: Line) -> None:
    table = Table("t", "d", [Column("v", "f4", deadband=1.0)], interval_s=0.01)
    with hf.faults(hf.STORED) as server:
        writer = line.influx(server.url)
        for n, value in enumerate([1.0, 1.5, 3.0, 3.0]):
            line.hub.publish(Row(table, n, (np.array([value], "f4"),)))
        until(stored(writer, 2))
        until(lambda: writer.status()["rows_unchanged"] == 2)  # the last may come alone
        line.hub.publish(Row(table, 9, (np.array([3.0], "f4"),), {0: bad("timeout")}))
        until(stored(writer, 3))
        text = zlib.decompress(server.requests[-1][1], wbits=47)
        assert text == b't _quality="v=BAD:timeout" 9\n'
        line.stop()


def test_a_durable_sink_gets_batches_directly_and_is_tried_again(line: Line) -> None:
    sink = Shelfless(line.folder)
    sink.failures = [SinkUnavailable("disk full")] * 3
    writer = line.start(sink)
    line.publish(20)
    until(stored(writer, 20))
    until(lambda: writer.status()["state"] == "good")  # it failed before it stored
    assert writer.status()["spool_bytes"] is None
    line.publish(5)
    line.stop()
    assert sink.rows == list(range(1, 26))
    assert not (line.folder / "spool").exists()
    assert line.losses == []


def test_what_a_durable_sink_never_stored_at_the_stop_is_told_by_the_next_start(line: Line) -> None:
    sink = Shelfless(line.folder)
    sink.failures = [SinkUnavailable("disk full")] * 10_000
    writer = line.start(sink)
    line.publish(5)
    until(lambda: writer.status()["state"] == "retrying")
    line.stop(1.0)
    assert writer.status()["rows_lost"] == 5
    assert not line.losses, "the next start tells, once"
    line.start(Shelfless(line.folder))
    assert sum(loss.rows for loss in line.losses) == 5
    assert {loss.cause for loss in line.losses} == {"spool_unwritable"}


def test_every_setting_is_described() -> None:
    for settings in (WriterConfig, SpoolConfig):
        assert all(field.description for field in settings.model_fields.values())
