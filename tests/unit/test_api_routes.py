"""Every route of the HTTP app, asked over its real Unix socket."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import pytest
from pydantic import BaseModel

from gateway.api import lossschemas, schemas, valueschemas
from gateway.api.client import RequestFailed
from gateway.api.noanswer import no_answer
from gateway.api.settings import ApiConfig
from gateway.errors import AddressRefused, DeviceUnavailable, GatewayError
from gateway.model import Column, Row, Table, bad_row
from gateway.sinks import Selected
from gateway.sinks.historian import HistorianConfig, HistorianSink
from tests.support import until
from tests.unit.apikit import TIME_NS, Hopper, Plant, Served, process_row, served


@pytest.fixture
def api(tmp_path: Path) -> Iterator[Served]:
    with served(ApiConfig(socket=tmp_path / "gw.sock")) as running:
        yield running


def refusal(api: Served, path: str, params: dict[str, str | int | None]) -> tuple[int, str]:
    with pytest.raises(RequestFailed) as caught:
        api.client.get_json(path, params)
    return caught.value.status, str(caught.value)


def conforms(shape: type[BaseModel], document: Any) -> None:
    """The document has the described shape, and no member that is not described."""
    model = shape.model_validate(document, strict=False)
    extra = set(document) - {f.alias or n for n, f in type(model).model_fields.items()}
    assert not extra


def test_healthz_answers_without_looking_at_the_machines(api: Served) -> None:
    api.plant.not_ready = "no device answers"
    assert api.client.get_json("/healthz") == {"alive": True}


def test_readyz_gives_the_reason_while_no_data_flows(api: Served) -> None:
    assert api.client.get_json("/readyz") == {"ready": True, "reason": "ready"}
    api.plant.not_ready = "no device answers"
    assert refusal(api, "/readyz", {}) == (503, "no device answers; data from the devices")


def test_status_is_the_document_of_the_gateway(api: Served) -> None:
    document = api.client.get_json("/v1/status")
    assert document == api.plant.status()
    conforms(schemas.StatusDocument, document)


def test_latest_has_each_value_with_unit_quality_reason_and_time(api: Served) -> None:
    api.plant.poll()
    document = api.client.get_json("/v1/latest", {"device": "hopper_4", "table": "process"})
    conforms(valueschemas.Latest, document)
    assert abs(document["time_ns"] - time.time_ns()) < 10 * 10**9
    rows = [
        (v["tag"], v["value"], v["quality"], v["reason"], v["unit"]) for v in document["values"]
    ]
    assert rows == [
        ("pm10", 408.35, "GOOD", None, "ug/m3"),
        ("count", None, "BAD", "address", None),
        ("running", True, "UNCERTAIN", "cpu_stop", None),
        ("text", "Grüße, \n", "GOOD", None, None),
    ]
    assert {v["time_ns"] for v in document["values"]} == {TIME_NS}
    assert document["values"][0]["labels"]["line"] == 'kiln "2"'


def test_latest_takes_a_table_by_its_key_or_its_name(api: Served) -> None:
    api.plant.poll()
    for table, devices in (
        ("electricity.meter", {"hopper_4", "press_1"}),
        ("electricity", {"hopper_4", "press_1"}),
    ):
        values = api.client.get_json("/v1/latest", {"table": table})["values"]
        assert {v["labels"]["device"] for v in values} == devices
        assert {v["tag"] for v in values} == {"Pt"}


def test_latest_of_a_machine_that_gave_nothing_yet_is_empty(api: Served) -> None:
    assert api.client.get_json("/v1/latest", {"device": "press_1"})["values"] == []


def test_latest_shows_loss_rows_too(api: Served) -> None:
    api.plant.lose()
    values = api.client.get_json("/v1/latest", {"device": "gateway"})["values"]
    assert {v["tag"]: v["value"] for v in values}["cause"] == "spool_bound"


def test_latest_of_ten_thousand_tags_answers_quickly(api: Served) -> None:
    columns = [Column(f"tag_{i}", "f4", "kW") for i in range(10_000)]
    table = Table("big", "hopper_4", columns, [("gateway", "g"), ("device", "hopper_4")])
    api.plant.hub.publish(Row(table, TIME_NS, (np.random.rand(10_000).astype("f4"),)))
    took_s = []
    for _ in range(5):
        begun = time.perf_counter()
        text = api.client.get_text("/v1/latest", {"table": "big"})
        took_s.append(time.perf_counter() - begun)
        assert text.count('"tag":') == 10_000
    print(f"10,000 tags: best {min(took_s) * 1e3:.1f} ms, worst {max(took_s) * 1e3:.1f} ms")
    assert min(took_s) < 0.25


def test_devices_lists_every_tag_with_its_unit(api: Served) -> None:
    document = api.client.get_json("/v1/devices")
    conforms(schemas.Devices, document)
    hopper, press = document["devices"]
    assert (hopper["name"], hopper["driver"], hopper["state"]) == ("hopper_4", "hopper", "good")
    assert press["state"] == "lost"
    process, meter = hopper["groups"][0]["tables"]
    assert process["columns"][0] == {"name": "pm10", "kind": "f4", "unit": "ug/m3"}
    assert meter["key"] == "electricity.meter"


def test_read_reads_the_device_once(api: Served) -> None:
    document = api.client.get_json("/v1/read", {"device": "hopper_4"})
    conforms(valueschemas.ReadResult, document)
    assert document["device"] == "hopper_4"
    assert [v["tag"] for v in document["values"]] == ["pm10", "count", "running", "text", "Pt"]


def test_read_of_a_silent_device_says_why(api: Served) -> None:
    status, text = refusal(api, "/v1/read", {"device": "press_1"})
    assert status == 503
    assert text == (
        "device press_1 (127.0.0.1:102) has been lost for 12 s: it does not answer in time; "
        "is it on, and its network up?"
    )


@pytest.mark.parametrize(
    ("changed", "error", "said"),
    [
        ({"since_s": 0.0}, DeviceUnavailable("timeout", "no answer within 3 s"),
         "device press_1 (127.0.0.1:102): timeout: no answer within 3 s"),
        ({"state": "good"}, DeviceUnavailable("busy", "no turn"),
         "device press_1 (127.0.0.1:102): busy: no turn"),
        ({"state": "connecting", "endpoint": ""}, DeviceUnavailable("connecting", ""),
         "device press_1: the first connection is still being made"),
        ({"since_s": 660.0}, DeviceUnavailable("odd_one", ""),
         "device press_1 (127.0.0.1:102) has been lost for 11 min: odd one"),
        ({}, GatewayError("is disabled"), "device press_1: is disabled"),
    ],
)  # fmt: skip
def test_why_a_device_does_not_answer(
    changed: dict[str, Any], error: GatewayError, said: str
) -> None:
    class Changed(Plant):
        def status(self) -> dict[str, Any]:
            document = super().status()
            document["devices"]["press_1"].update(changed)
            return document

    problem = no_answer(Changed(), "press_1", error, time.monotonic())
    assert (problem.status, problem.error) == (503, said)


def test_healthz_answers_while_reads_hang_and_further_reads_are_refused(api: Served) -> None:
    api.plant.hold_reads.clear()
    results: list[Any] = []

    def read() -> None:
        results.append(api.client.get_json("/v1/read", {"device": "hopper_4"}))

    readers = [threading.Thread(target=read) for _ in range(2)]
    try:
        for reader in readers:
            reader.start()
        until(lambda: api.plant.reads_waiting == 2)
        assert api.client.get_json("/healthz", timeout_s=10) == {"alive": True}
        status, text = refusal(api, "/v1/read", {"device": "hopper_4"})
        assert (status, text.partition(";")[0]) == (
            503,
            "device hopper_4 is still busy with 2 requests like this one",
        )
        probe = {"device": "press_1", "address": "DB1.DBD0"}
        assert api.client.get_json("/v1/probe", probe)["raw"] == "43 cc 2c cd"
    finally:
        api.plant.hold_reads.set()
        for reader in readers:
            reader.join(10)
    assert len(results) == 2


def test_probe_shows_the_bytes_and_their_readings(api: Served) -> None:
    document = api.client.get_json("/v1/probe", {"device": "hopper_4", "address": "DB4.DBD0"})
    conforms(valueschemas.ProbeResult, document)
    assert document == {
        "device": "hopper_4",
        "address": "DB4.DBD0",
        "raw": "43 cc 2c cd",
        "readings": [{"as": "real ABCD", "value": "408.35"}],
    }


def test_probe_of_a_wrong_address_is_a_wrong_parameter(api: Served) -> None:
    status, text = refusal(api, "/v1/probe", {"device": "hopper_4", "address": "X"})
    # the driver's own words say what it expected
    assert (status, text) == (400, "address 'X': expected e.g. DB4.DBD0")


def test_an_address_that_the_machine_refuses_is_no_wrong_parameter(
    api: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(name: str, address: str) -> NoReturn:
        raise AddressRefused(f"{address}: the CPU refuses it")

    monkeypatch.setattr(api.plant, "probe_device", refuse)
    found = refusal(api, "/v1/probe", {"device": "hopper_4", "address": "DB99.DBD0"})
    assert found == (409, "device hopper_4: DB99.DBD0: the CPU refuses it")


@pytest.fixture
def historian(tmp_path: Path) -> Iterator[HistorianSink]:
    """Ten values of pm10, one a second until now, the last of them BAD."""
    sink = HistorianSink("history", HistorianConfig(store_every_s=0), tmp_path)
    table = Hopper("hopper_4").groups[0].tables[0]
    now_ns = time.time_ns()
    rows = [process_row(table, float(i), now_ns - (10 - i) * 10**9) for i in range(9)]
    rows.append(bad_row(table, now_ns - 10**9, "timeout"))
    sink.store([Selected(row) for row in rows])
    yield sink
    sink.close()


@pytest.fixture
def api_with_history(tmp_path: Path, historian: HistorianSink) -> Iterator[Served]:
    with served(ApiConfig(socket=tmp_path / "gw.sock"), Plant(historian)) as running:
        yield running


def test_history_gives_the_points_with_their_quality(api_with_history: Served) -> None:
    params = {"device": "hopper_4", "tag": "pm10", "from": "-1m"}
    document = api_with_history.client.get_json("/v1/history", params)
    conforms(valueschemas.History, document)
    assert (document["unit"], document["resolution"]) == ("ug/m3", "raw")
    assert (document["table"], document["truncated"]) == ("process", False)
    values = [(value, quality) for _, value, quality in document["points"]]
    assert values == [(float(i), "GOOD") for i in range(9)] + [(None, "BAD:timeout")]
    times = [time_ns for time_ns, _, _ in document["points"]]
    assert times == sorted(times)
    assert document["from_ns"] <= times[0] < times[-1] <= document["to_ns"]


def test_history_takes_the_range_and_the_number_of_points(api_with_history: Served) -> None:
    get = api_with_history.client.get_json
    params: dict[str, str | int | None] = {"device": "hopper_4", "tag": "process:pm10"}
    whole = get("/v1/history", params)["points"]
    some = get("/v1/history", {**params, "from": whole[2][0], "to": whole[4][0]})
    assert some["points"] == whole[2:5]
    few = get("/v1/history", {**params, "max_points": 6})
    assert few["decimated"] is True
    assert len(few["points"]) <= 6


@pytest.mark.parametrize(
    ("params", "status", "said"),
    [
        ({"from": "yesterday"}, 400, "'from' is no time: 'yesterday'; ISO 8601"),
        ({"to": "-1x"}, 400, "'to' is no time: '-1x'; ISO 8601"),
        ({"from": "now", "to": "-1h"}, 400, "'from' (now) is not before 'to' (-1h); from < to"),
        ({"max_points": "many"}, 400, "'max_points' is wrong: 'many'; a valid integer"),
        ({"max_points": 1}, 400, "'max_points' is wrong: '1'; greater than or equal to 6"),
        ({"tag": "pm11"}, 404, "unknown tag 'pm11'; did you mean 'pm10'?"),
        ({"device": "hoper_4"}, 404, "unknown device 'hoper_4'; did you mean 'hopper_4'?"),
        ({"tag": ""}, 400, "the parameter 'tag' is wrong"),
    ],
)
def test_history_says_what_it_expected(
    api_with_history: Served, params: dict[str, str | int | None], status: int, said: str
) -> None:
    asked = {"device": "hopper_4", "tag": "pm10", **params}
    found, text = refusal(api_with_history, "/v1/history", asked)
    assert found == status
    assert said in text


def test_history_without_a_historian_says_so(api: Served) -> None:
    status, text = refusal(api, "/v1/history", {"device": "hopper_4", "tag": "pm10"})
    assert (status, text) == (
        404,
        "no history is kept here; a sink of type sqlite, on a node `history`",
    )


def test_losses_are_told_with_cause_and_range(api: Served) -> None:
    api.plant.lose("spool_bound", 7)
    api.plant.lose("rejected", 2)
    document = api.client.get_json("/v1/losses")
    conforms(lossschemas.Losses, document)
    assert document["rows_by_cause"] == {"spool_bound": 7, "rejected": 2}
    assert [(e["sink"], e["rows"], e["cause"]) for e in document["recent"]] == [
        ("influx", 7, "spool_bound"),
        ("influx", 2, "rejected"),
    ]


@pytest.mark.parametrize(
    ("path", "params", "status", "said"),
    [
        ("/v1/lates", {}, 404, "no path '/v1/lates'; did you mean '/v1/latest'?"),
        ("/v1/latest", {"devic": "x"}, 400, "no parameter 'devic'; did you mean 'device'?"),
        ("/v1/latest", {"device": "hopper_5"}, 404, "no device 'hopper_5'; did you mean"),
        ("/v1/latest", {"table": "proces"}, 404, "no table 'proces'; did you mean 'process'?"),
        ("/v1/tail", {"device": "hopper_5"}, 404, "no device 'hopper_5'; did you mean"),
        ("/v1/read", {"device": "hopper_5"}, 404, "no device 'hopper_5'; did you mean"),
        ("/v1/read", {}, 400, "the parameter 'device' is missing"),
        ("/healthz", {"x": "1"}, 400, "no parameter 'x'"),
    ],
)
def test_a_misspelt_question_is_answered_with_the_nearest(
    api: Served, path: str, params: dict[str, str | int | None], status: int, said: str
) -> None:
    found, text = refusal(api, path, params)
    assert found == status
    assert said in text


def test_a_parameter_that_comes_twice_is_refused(api: Served) -> None:
    with pytest.raises(RequestFailed, match="'device' comes twice"):
        api.client.get_json("/v1/latest?device=hopper_4&device=press_1")


def test_the_index_names_every_route_and_escapes_the_name(api: Served) -> None:
    page = api.client.get_text("/v1")
    for path, operations in api.client.get_json("/openapi.json")["paths"].items():
        assert (f'href="{path}"' in page) == ("get" in operations)
    api.plant.name = "<script>alert(1)</script>"
    assert "<script>" not in api.client.get_text("/v1")


def test_openapi_describes_answers_and_errors_truthfully(api: Served) -> None:
    schema = api.client.get_json("/openapi.json")
    shapes = schema["components"]["schemas"]
    changing = {
        (path, method)
        for path, operations in schema["paths"].items()
        for method in operations
        if method != "get"
    }
    assert changing == {
        ("/v1/dead-letters/replay", "post"),
        *((f"/v1/alarms/{what}", "post") for what in ("acknowledge", "shelve", "unshelve")),
        ("/v1/alarms/notify-test", "post"),
        *((f"/v1/devices/{what}", "post") for what in ("enable", "disable")),
        *(("/v1/session", method) for method in ("post", "delete")),
        ("/v1/session/codes", "post"),
        ("/v1/ingest", "post"),
    }
    described = [
        (path, operation)
        for path, operations in schema["paths"].items()
        for operation in operations.values()
    ]
    assert len(described) > 30
    for path, operation in described:
        assert operation["description"], path
        assert "422" not in operation["responses"]
        assert {"200", "204"} & operation["responses"].keys()
        for parameter in operation.get("parameters", []):
            assert parameter["description"], (path, parameter["name"])
        for status, answer in operation["responses"].items():
            if status in ("200", "204"):
                continue
            shape = answer["content"]["application/json"]["schema"]
            names = [s["$ref"].rpartition("/")[2] for s in shape.get("anyOf", [shape])]
            is_partly = (path, status) == ("/v1/ingest", "400")
            assert names == ["PartlyRefused", "ErrorBody"] if is_partly else ["ErrorBody"]
            for name in names:  # a shape of its own has all that every error has
                assert {"error", "expected"} <= set(shapes[name]["required"])
    history = schema["paths"]["/v1/history"]["get"]["parameters"]
    assert {p["name"] for p in history} == {"device", "tag", "from", "to", "max_points"}
    assert "ValidationError" not in schema["components"]["schemas"]


def test_a_fault_of_the_gateway_is_logged_and_answered_without_details(
    api: Served, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken() -> dict[str, Any]:
        raise KeyError("secret")

    monkeypatch.setattr(api.plant, "status", broken)
    status, text = refusal(api, "/v1/status", {})
    assert (status, text) == (500, "a fault of the gateway (KeyError)")
    assert until(lambda: "secret" in caplog.text)  # it is logged after it is answered
