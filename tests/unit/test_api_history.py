"""History and trends over the real Unix socket: JSON and CSV, and heavy queries one at a time."""

from __future__ import annotations

import csv
import io
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from gateway.api import blocking, valueschemas
from gateway.api.client import RequestFailed
from gateway.api.settings import ApiConfig
from gateway.model import Column, Row, Table, bad_row, make_parts
from gateway.sinks import Selected
from gateway.sinks.historian import HistorianConfig, HistorianSink
from tests.support import free_port, until
from tests.unit.apikit import Plant, Served, ask, process_row, served

TREND = "/v1/trends?tag=hopper_4.process.pm10&tag=press_1.process.pm10"
SECOND = 10**9


@pytest.fixture
def begin_ns() -> int:
    return time.time_ns() - 60 * SECOND


@pytest.fixture
def api(tmp_path: Path, begin_ns: int) -> Iterator[Served]:
    """Ten values of each machine, one a second; the last of the hopper is BAD."""
    sink = HistorianSink("history", HistorianConfig(store_every_s=0), tmp_path)
    plant = Plant(sink)
    rows = []
    for device, offset in (("hopper_4", 0.0), ("press_1", 100.0)):
        table = plant.drivers[device].groups[0].tables[0]
        times = [begin_ns + i * SECOND for i in range(10)]
        rows += [process_row(table, offset + i, at) for i, at in enumerate(times[:9])]
        last = bad_row(table, times[9], "timeout")
        rows.append(last if device == "hopper_4" else process_row(table, 109.0, times[9]))
    sink.store([Selected(row) for row in rows])
    with served(listening_too(tmp_path), plant) as running:
        yield running
    sink.close()


def refusal(api: Served, path: str) -> tuple[int, str]:
    with pytest.raises(RequestFailed) as caught:
        api.client.get_json(path)
    return caught.value.status, str(caught.value)


def address(api: Served) -> str:
    assert api.api.listen is not None
    return api.api.listen


def listening_too(folder: Path) -> ApiConfig:
    return ApiConfig(socket=folder / "s", listen=f"127.0.0.1:{free_port()}")


def table_of(api: Served, path: str, accept: str = "text/csv") -> list[dict[str, str]]:
    status, headers, body = ask(address(api), path, {"Accept": accept})
    assert (status, headers["content-type"]) == (200, "text/csv; charset=utf-8; header=present")
    assert headers["vary"] == "accept"
    assert headers["content-disposition"].startswith("attachment")
    return list(csv.DictReader(io.StringIO(body.decode(), newline="")))


def test_trends_have_several_tags_of_several_devices_in_the_order_asked_for(api: Served) -> None:
    document = api.client.get_json(TREND)
    model = valueschemas.Trends.model_validate(document)
    assert [(s.device, s.table, s.tag, s.unit) for s in model.series] == [
        ("hopper_4", "process", "pm10", "ug/m3"),
        ("press_1", "process", "pm10", "ug/m3"),
    ]
    hopper, press = document["series"]
    assert [value for _, value, _ in press["points"]] == [100.0 + i for i in range(10)]
    assert hopper["points"][-1][1:] == [None, "BAD:timeout"]
    assert hopper["from_ns"] == document["from_ns"] < document["to_ns"] == press["to_ns"]


def test_trends_are_decimated_to_their_extremes(api: Served) -> None:
    document = api.client.get_json(f"{TREND}&max_points=6&from=-2m")
    for series in document["series"]:
        assert series["decimated"]
        assert 2 <= len(series["points"]) <= 6
    values = [value for _, value, _ in document["series"][1]["points"]]
    assert {100.0, 109.0} <= set(values)


@pytest.mark.parametrize(
    ("query", "status", "said"),
    [
        ("", 400, "the parameter 'tag' is missing"),
        (
            "tag=hopper_4.process.pm1",
            404,
            "no tag 'hopper_4.process.pm1'; did you mean 'hopper_4.p",
        ),
        ("tag=hopper_5.process.pm10", 404, "no tag 'hopper_5.process.pm10'; device.table.tag; of"),
        ("tag=pm10", 404, "no tag 'pm10'; device.table.tag"),
        ("tag=" + "x" * 401, 400, "the parameter 'tag' is wrong"),
        ("&".join(["tag=hopper_4.process.pm10"] * 17), 400, "the parameter 'tag' is wrong"),
        (
            "&".join(["tag=hopper_4.process.pm10"] * 8) + "&max_points=10000",
            400,
            "8 tags of 10000 points are too many; max_points up to 5000, or fewer tags",
        ),
        ("tag=hopper_4.process.pm10&from=now&to=-1h", 400, "'from' (now) is not before"),
        ("tag=hopper_4.process.pm10&max_points=6&max_points=7", 400, "'max_points' comes twice"),
        ("tags=hopper_4.process.pm10", 400, "no parameter 'tags'; did you mean 'tag'?"),
    ],
)
def test_trends_say_what_they_expected(api: Served, query: str, status: int, said: str) -> None:
    found, text = refusal(api, f"/v1/trends?{query}")
    assert found == status
    assert said in text


def test_a_table_has_a_line_for_each_point_with_all_that_it_means(
    api: Served, begin_ns: int
) -> None:
    lines = table_of(api, TREND)
    assert len(lines) == 20
    assert lines[1] == {
        "time": lines[1]["time"],
        "time_ns": str(begin_ns + SECOND),
        "device": "hopper_4",
        "table": "process",
        "tag": "pm10",
        "value": "1.0",
        "quality": "GOOD",
        "unit": "ug/m3",
    }
    whole, _, digits = lines[1]["time"].rstrip("Z").partition(".")
    assert int(digits) == (begin_ns + SECOND) % SECOND
    moment = time.strptime(whole, "%Y-%m-%dT%H:%M:%S")
    assert moment[:6] == time.gmtime((begin_ns + SECOND) // SECOND)[:6]
    assert (lines[9]["value"], lines[9]["quality"]) == ("", "BAD:timeout")


def test_the_history_of_one_tag_is_a_table_too(api: Served) -> None:
    path = "/v1/history?device=press_1&tag=pm10"
    lines = table_of(api, path, "text/csv, */*;q=0.1")
    assert [line["value"] for line in lines] == [str(100.0 + i) for i in range(10)]
    assert len(api.client.get_json(path)["points"]) == 10


@pytest.mark.parametrize(
    "accept",
    [
        *("*/*", "application/json", "text/html", "text/*;q=0.1, application/json"),
        *("text/csv;q=0, */*", "text/csv;q=0.5, application/json;q=0.6", "text/csv;q=x;q=0"),
    ],
)
def test_json_comes_where_a_table_is_not_liked_better(api: Served, accept: str) -> None:
    status, headers, _ = ask(address(api), TREND, {"Accept": accept})
    assert (status, headers["content-type"]) == (200, "application/json")


def test_errors_are_json_whatever_is_accepted(api: Served) -> None:
    status, headers, problem = ask(address(api), "/v1/trends?tag=x", {"Accept": "text/csv"})
    assert (status, headers["content-type"]) == (404, "application/json")
    assert problem["error"] == "no tag 'x'"


def test_a_text_is_no_formula_and_keeps_its_lines(tmp_path: Path, begin_ns: int) -> None:
    sink = HistorianSink("history", HistorianConfig(store_every_s=0), tmp_path)
    columns = [Column("text", "str"), Column("on", "b1"), Column("n", "i8")]
    table = Table("t", "d", columns, [("device", "d")])
    texts = ['=HYPERLINK("http://x")', "@a", "+1", '-2 "b", c', "two\nlines", "4号料仓"]
    rows = [
        Row(table, begin_ns + i * SECOND, make_parts(table, [text, True, -5]))
        for i, text in enumerate(texts)
    ]
    sink.store([Selected(row) for row in rows])
    with served(listening_too(tmp_path), Plant(sink)) as api:
        for row in rows:
            api.plant.hub.publish(row)
        lines = table_of(api, "/v1/trends?tag=d.t.text&tag=d.t.on&tag=d.t.n")
    sink.close()
    shown = [f"'{text}" for text in texts[:4]] + texts[4:]
    assert [line["value"] for line in lines[:6]] == shown
    assert {line["value"] for line in lines[6:12]} == {"true"}
    assert {line["value"] for line in lines[12:]} == {"-5"}


class Slow(Plant):
    """A plant whose historian answers when it is let."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.lets = threading.Event()
        self.running = self.most = 0
        self.lock = threading.Lock()

    def history(self, *args: Any) -> Any:
        with self.lock:
            self.running += 1
            self.most = max(self.most, self.running)
        try:
            assert self.lets.wait(20)
            return super().history(*args)
        finally:
            with self.lock:
                self.running -= 1


def test_one_heavy_query_runs_at_a_time_and_others_wait_for_their_turn(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(blocking, "WAIT_S", 60.0)  # none of them shall give up
    plant = Slow()
    said: list[str] = []

    def query() -> None:
        try:
            api.client.get_json("/v1/history", {"device": "hopper_4", "tag": "pm10"}, timeout_s=20)
        except RequestFailed as error:
            said.append(str(error))

    threads = [threading.Thread(target=query) for _ in range(blocking.WAITING + 3)]
    with served(ApiConfig(socket=tmp_path / "s"), plant) as api:
        threads[0].start()
        until(lambda: plant.running == 1)
        for thread in threads[1:]:
            thread.start()
        # one runs, WAITING wait, and those that are too many are told so at once
        until(lambda: len(said) == 2, 10)
        told = "the historian: 8 other queries wait already; try again when they are done"
        assert said == [told, told]
        assert api.client.get_json("/healthz", timeout_s=10) == {"alive": True}
        plant.lets.set()
        for thread in threads:
            thread.join(20)
    assert plant.most == 1
    assert len(said) == len(threads)  # this plant keeps no history, and says so
    assert sum("no history" in text for text in said) == blocking.WAITING + 1


def test_a_query_whose_turn_does_not_come_is_told_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(blocking, "WAIT_S", 0.2)
    plant = Slow()
    with served(ApiConfig(socket=tmp_path / "s"), plant) as api:
        question = "/v1/history?device=hopper_4&tag=pm10"
        first = threading.Thread(target=refusal, args=(api, question))
        first.start()
        until(lambda: plant.running == 1)
        status, text = refusal(api, question)
        assert (status, text.partition(";")[0]) == (
            503,
            "the historian: no turn within 0.2 s, others are asking",
        )
        plant.lets.set()
        first.join(10)
        assert refusal(api, question)[0] == 404


def test_a_tag_of_which_nothing_was_stored_so_far_has_no_points(tmp_path: Path) -> None:
    sink = HistorianSink("history", HistorianConfig(), tmp_path)
    with served(listening_too(tmp_path), Plant(sink)) as running:
        ask_for = {"device": "hopper_4", "tag": "pm10"}
        document = running.client.get_json("/v1/history", ask_for)
        assert (document["table"], document["unit"], document["points"]) == ("process", "ug/m3", [])
        full = running.client.get_json("/v1/history", {**ask_for, "tag": "process:pm10"})
        assert full["table"] == "process"
        both = running.client.get_json(TREND)
        assert [s["points"] for s in both["series"]] == [[], []]
        assert table_of(running, TREND) == []
        assert refusal(running, "/v1/history?device=hopper_4&tag=pm11")[0] == 404
        assert refusal(running, "/v1/history?device=hopper_5&tag=pm10")[0] == 404
    sink.close()
