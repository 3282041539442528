"""What /metrics says of rows of other programs and of notifiers, from the real parts."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest

from gateway.api.metrics import render
from gateway.ingest.client import Encoder
from gateway.ingest.counts import OUTCOMES
from gateway.ingest.messages import messages
from gateway.ingest.shapes import REASONS
from gateway.model import Column, Row, Table, make_parts
from tests.bench import h2_sender
from tests.sims.http_faults import faults, said
from tests.support import until
from tests.unit.apikit import Plant
from tests.unit.ingestkit import NOW_NS, Line
from tests.unit.notifykit import config, running
from tests.unit.test_ingest_api import SENDER, TEXT, door, post
from tests.unit.test_ingest_rpc import a_row, batch, call, refusal, serving
from tests.unit.test_metrics import Family, parse, value


def metrics(line: Line) -> dict[str, Family]:
    status = Plant().status()
    return parse(render({**status, "ingest": line.intake.status()}, True))


def requests(line: Line, via: str) -> dict[str, int]:
    samples = metrics(line)["gateway_ingest_requests_total"].samples
    found = {dict(labels)["outcome"]: int(n) for labels, n in samples.items()
             if dict(labels)["via"] == via}  # fmt: skip
    assert tuple(found) == OUTCOMES
    return {outcome: number for outcome, number in found.items() if number}


def refused(line: Line) -> dict[str, int]:
    samples = metrics(line)["gateway_ingest_refused_total"].samples
    found = {dict(labels)["reason"]: int(n) for labels, n in samples.items()}
    assert tuple(found) == REASONS
    return {reason: number for reason, number in found.items() if number}


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("x", "form"),
        ("t a=b", "form"),
        ("t,time=me a=1", "name"),
        ("t,label=1 a=1,a=2", "name"),
        ("t,device=press_1 a=1", "device"),
        ("t a=1 9223372036854775807", "time"),
        ('t,label=1 a=1,_quality="a=WORSE:x"', "quality"),
        ("t,label=2 a=1", "tables"),
    ],
)
def test_a_line_that_is_refused_is_counted_by_why(text: str, reason: str) -> None:
    line = Line(max_tables=1)
    line.take("t,label=1 a=1\n" + text)
    assert refused(line) == {reason: 1}
    found = metrics(line)
    assert value(found, "gateway_ingest_rows_total") == 1
    assert value(found, "gateway_ingest_tables") == 1
    assert value(found, "gateway_ingest_max_tables") == 1


def test_json_that_is_refused_is_counted_by_why() -> None:
    line = Line()
    line.take('{"table": "t", "values": {"a": 1}, "device": "press_1"}\nno\n[]\n', "ndjson")
    assert refused(line) == {"device": 1, "form": 2}


def test_rows_wait_until_they_are_on_disk() -> None:
    line = Line()
    line.take("t a=1 5\nt a=2 6\nt a=3 4")
    found = metrics(line)
    assert value(found, "gateway_ingest_waiting_rows") == 3
    assert value(found, "gateway_ingest_rows_late_total") == 1
    line.take("t a=1 5")
    assert value(metrics(line), "gateway_ingest_rows_late_total") == 2
    assert value(metrics(line), "gateway_ingest_waiting_rows") == 4
    line.rows()
    assert value(metrics(line), "gateway_ingest_waiting_rows") == 0
    assert value(metrics(line), "gateway_ingest_rows_total") == 4


def test_every_body_is_counted_by_what_was_answered(tmp_path: Path) -> None:
    with door(tmp_path) as (running_, disk):
        line = disk.line
        assert requests(line, "http") == {}
        assert post(running_, TEXT)[0] == 204
        assert requests(line, "http") == {"stored": 1}
        assert post(running_, TEXT + b"x\n")[0] == 400
        assert post(running_, b"")[0] == 400
        assert post(running_, TEXT, path="/v1/ingest?precision=q")[0] == 400
        # what vmagent sends: Prometheus' remote write
        assert post(running_, TEXT, content_type="application/x-protobuf")[0] == 415
        assert requests(line, "http") == {"stored": 1, "partly": 1, "refused": 3}
        disk.lose = True
        assert post(running_, TEXT)[0] == 503
        assert requests(line, "http") == {"stored": 1, "partly": 1, "refused": 3, "again": 1}
        assert post(running_, TEXT, SENDER[:-1] + "x")[0] == 401
        assert requests(line, "http")["refused"] == 3, "strangers do not get that far"
        found = metrics(line)
        assert value(found, "gateway_ingest_messages_total", via="http") == 3
        assert value(found, "gateway_ingest_messages_total", via="grpc") == 0


def test_streams_are_counted_while_open_and_by_how_they_end() -> None:
    with serving() as (server, disk):
        line, gate, encoder = server.line, threading.Event(), Encoder()
        disk.hold()

        def bodies() -> Iterator[bytes]:
            for number in range(3):
                yield encoder.encode([a_row(number * 2), a_row(number * 2 + 1)])
            gate.wait(20)

        with call(server.at, bodies()) as answers:
            until(lambda: value(metrics(line), "gateway_ingest_waiting_batches") == 3)
            until(lambda: value(metrics(line), "gateway_ingest_waiting_rows") == 6)
            assert value(metrics(line), "gateway_ingest_streams") == 1
            disk.go_on()
            while messages().ack.FromString(next(answers)).seq < 3:
                pass
            gate.set()
            assert list(answers) == []
        until(lambda: value(metrics(line), "gateway_ingest_streams") == 0)
        assert value(metrics(line), "gateway_ingest_waiting_batches") == 0
        assert value(metrics(line), "gateway_ingest_messages_total", via="grpc") == 3
        assert requests(line, "grpc") == {"stored": 1}
        with call(server.at, iter([batch(f8=[]), batch(seq=2)])) as answers:
            list(answers)
        assert refusal(server.at, b"\xff\xff")[0] == grpc.StatusCode.INVALID_ARGUMENT
        refusal(server.at, batch(), token="bad")
        disk.lose = True
        assert refusal(server.at, batch())[0] == grpc.StatusCode.UNAVAILABLE
        ends = {"stored": 1, "partly": 1, "refused": 2, "again": 1}
        until(lambda: requests(line, "grpc") == ends)
        assert refused(line) == {"form": 1}


def test_the_lean_client_of_the_benchmark_gets_all_of_its_rows_on_disk(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with serving() as (server, disk):
        for size in (1, 300):
            before = len(disk.rows)
            h2_sender.main(server.at, "good", size, 0.2)
            rows, took_s, refused_rows, _ = capsys.readouterr().out.split()
            assert int(rows) == len(disk.rows) - before
            assert int(rows) >= size
            assert float(took_s) >= 0.2
            assert refused_rows == "0"
        assert requests(server.line, "grpc") == {"stored": 2}


def test_a_shape_of_a_configured_device_is_refused_for_that() -> None:
    odd = Table("press", "press_1", [Column("v", "f8")])
    rows = [Row(odd, NOW_NS + i, make_parts(odd, (1.0,))) for i in range(4)]
    with serving() as (server, _):
        assert server.send([rows]).refused == 4
        assert refused(server.line) == {"device": 4}


def test_one_that_hangs_up_is_to_send_again() -> None:
    with serving() as (server, disk):
        disk.hold()
        with call(server.at, iter([batch()])):
            until(lambda: value(metrics(server.line), "gateway_ingest_waiting_batches") == 1)
        until(
            lambda: value(metrics(server.line), "gateway_ingest_streams") == 0,
            10,
            "the stream to end, though its rows are not on disk",
        )
        assert requests(server.line, "grpc") == {"again": 1}
        disk.go_on()


def test_a_gateway_that_takes_no_rows_says_nothing_of_them() -> None:
    assert not [name for name in parse(render(Plant().status(), True)) if "ingest" in name]


def test_names_say_their_unit_or_are_counts(tmp_path: Path) -> None:
    counts = ("streams", "tables", "max_tables", "waiting_rows", "waiting_batches")
    for name in metrics(Line()):
        if "ingest" in name:
            assert name.endswith("_total") or name.removeprefix("gateway_ingest_") in counts


def notifier(status: dict[str, Any], name: str, **labels: str) -> float:
    found = parse(render({**Plant().status(), "notifiers": status}, True))
    return value(found, f"gateway_notifier_{name}", notifier="one", **labels)


def test_a_notifier_tells_what_went_out_what_failed_and_what_waits(tmp_path: Path) -> None:
    with faults(said("503 No")) as server:
        one = config("webhook", url=server.url, queue=2)
        with running(tmp_path, one=one) as run:
            status = run.notifiers.status()
            assert notifier(status, "dropped_total", cause="refused") == 0
            assert notifier(status, "failed_total") == 0
            run.put(1)
            until(lambda: run.notifiers.status()["one"]["failed"] >= 2)
            status = run.notifiers.status()
            assert notifier(status, "failed_total") >= 2
            assert notifier(status, "waiting") == 1
            assert notifier(status, "sent_total") == 0
            assert notifier(status, "state", type="webhook", state="retrying") == 1
            run.put(2, 3)
            until(lambda: run.notifiers.status()["one"]["dropped"] == {"overflow": 1})
            server.answers[:] = [said("204 No Content")]
            run.wait_sent(2)
            until(lambda: run.notifiers.status()["one"]["state"] == "good")
            until(lambda: run.notifiers.status()["one"]["waiting"] == 0)
            status = run.notifiers.status()
            assert notifier(status, "sent_total") == 2
            assert notifier(status, "waiting") == 0
            assert notifier(status, "dropped_total", cause="overflow") == 1
            assert notifier(status, "last_sent_age_seconds") >= 0
