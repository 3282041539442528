"""``/ws/live`` over its real Unix socket: choosing, pushing, limits, and clients that are slow."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from websockets.exceptions import ConnectionClosed

from gateway.api import server as server_module
from gateway.api import wsprotocol
from gateway.api.livetext import Pick
from gateway.api.settings import ApiConfig
from gateway.api.wsprotocol import LimitedWebSocket
from gateway.model import Column, Row, Table, bad_row
from tests.support import until
from tests.unit.apikit import TIME_NS, Plant, Served, process_row, served
from tests.unit.wskit import Listening, handshake, listening, refused

PM10 = "hopper_4.process.pm10"


@pytest.fixture
def api(tmp_path: Path) -> Iterator[Served]:
    with served(ApiConfig(socket=tmp_path / "s")) as running:
        yield running


@pytest.fixture
def client(api: Served) -> Iterator[Listening]:
    with listening(api.api.socket) as found:
        yield found


def subscribers(plant: Plant) -> int:
    return len(plant.hub._subscriptions)


def wide_table(name: str, columns: int, device: str = "hopper_4") -> Table:
    shape = [Column(f"t{i}", "f4") for i in range(columns)]
    return Table(name, device, shape, [("gateway", "g"), ("device", device)])


def test_the_first_messages_say_who_speaks_and_how_everything_is(client: Listening) -> None:
    hello = client.read()
    assert (hello["type"], hello["gateway"], hello["max_hz"]) == ("hello", "hall-3", 10.0)
    assert hello["heartbeat_s"] == wsprotocol.PING_S
    status = client.next("status")
    assert status["devices"]["press_1"]["state"] == "lost"
    assert status["problems"] == ["sink influx: HTTP 503"]
    assert status["alarms"]["unacknowledged"] == 0
    assert client.next("status")["time_ns"] > status["time_ns"]


def test_a_tag_comes_with_its_shape_its_quality_and_what_there_is_already(
    api: Served, client: Listening
) -> None:
    api.plant.poll()
    client.send(type="subscribe", tags=[PM10, "hopper_4.process.count", "hopper_4.process.running"])
    assert client.next("shape") == {
        "type": "shape",
        "table": "hopper_4/process",
        "columns": ["pm10", "count", "running"],
        "units": ["ug/m3", None, None],
    }
    row = client.row()
    assert (row["pm10"], row["count"], row["running"]) == (408.35, None, True)
    assert (row["bad"], row["uncertain"]) == ({"1": "address"}, {"2": "cpu_stop"})
    assert row["time_ns"] == TIME_NS
    api.plant.publish(pm10=1.5)
    assert client.row()["pm10"] == 1.5


def test_what_is_chosen_may_stand_in_the_address(api: Served) -> None:
    api.plant.poll()
    address = f"/ws/live?tables=press_1/*&tags={PM10},hopper_4.electricity.meter.Pt&max_hz=2"
    with listening(api.api.socket, address) as client:
        assert client.read()["max_hz"] == 2.0
        client.next("values")
        assert client.shapes == {
            "hopper_4/process": ["pm10"],
            "hopper_4/electricity.meter": ["Pt"],
            "press_1/process": ["pm10", "count", "running", "text"],
            "press_1/electricity.meter": ["Pt"],
        }


@pytest.mark.parametrize(
    ("address", "status", "said"),
    [
        ("/ws/live?max_hz=0", 400, "'max_hz' is wrong: '0'; a number from 0.1 to 10"),
        ("/ws/live?max_hz=nan", 400, "'max_hz' is wrong: 'nan'; a number from 0.1 to 10"),
        ("/ws/live?tag=x", 400, "no parameter 'tag'; did you mean 'tags'?"),
        ("/ws/lives", 404, "no WebSocket '/ws/lives'; did you mean '/ws/live'?"),
    ],
)
def test_what_is_wrong_in_the_address_is_refused_in_words(
    api: Served, address: str, status: int, said: str
) -> None:
    found, problem = refused(api.api.socket, address)
    assert found == status
    assert f"{problem['error']}; {problem['expected']}".startswith(said)


def test_names_that_there_are_not_are_told_and_the_others_come(
    api: Served, client: Listening
) -> None:
    api.plant.poll()
    client.send(type="subscribe", tables=["hopper_5/process"], tags=["hopper_4.process.pm1", PM10])
    assert client.next("error") == {
        "type": "error",
        "error": "no table 'hopper_5/process'",
        "expected": "did you mean 'hopper_4/process'?",
    }
    error = client.next("error")
    assert error["error"] == "no tag 'hopper_4.process.pm1'"
    assert error["expected"] == "did you mean 'hopper_4.process.pm10'?"
    assert client.row()["pm10"] == 408.35


def test_ten_thousand_names_that_there_are_not_are_answered_at_once(
    api: Served, client: Listening
) -> None:
    begun = time.monotonic()
    for part in range(4):
        client.send(type="subscribe", tags=[f"x{part}.y.{i}" for i in range(2500)])
    client.send(type="ping", id="after")
    told = [client.read()]
    while told[-1]["type"] != "pong":
        told.append(client.read())
    errors = [m["error"] for m in told if m["type"] == "error"]
    assert errors.count("2495 more tags that there are not") == 4
    assert len(errors) == 4 * 6
    assert time.monotonic() - begun < 10
    client.send(type="subscribe", tags=["one.too.many"])
    assert client.next("error")["error"] == "too many tables and tags"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{", "not JSON"),
        ("[1]", "no object with a 'type'"),
        ('{"type":"subscrib"}', "no type 'subscrib'"),
        ('{"type":"subscribe","tables":"x"}', "'tables' of subscribe is wrong"),
        ('{"type":"subscribe","tabels":[]}', "'tabels' of subscribe is wrong"),
        ('{"type":"rate","max_hz":50}', "'max_hz' of rate is wrong"),
        ('{"type":"ping","id":"' + "x" * 300 + '"}', "the 'id' of ping is too long"),
    ],
)
def test_a_wrong_message_is_answered_and_ends_nothing(
    client: Listening, text: str, said: str
) -> None:
    client.connection.send(text)
    assert client.next("error")["error"].startswith(said)
    client.send(type="ping", id=7)
    assert client.next("pong")["id"] == 7


def test_what_is_not_wanted_any_more_does_not_come(api: Served, client: Listening) -> None:
    api.plant.poll()
    client.send(type="subscribe", tables=["*"])
    client.row("press_1/process")
    client.send(type="unsubscribe", tables=["*"])
    client.send(type="subscribe", tags=[PM10])
    assert client.row()["values"] == [408.35]
    api.plant.publish("press_1")
    api.plant.publish("hopper_4", 2.0)
    assert client.row() | {"time_ns": 0} == {
        "table": "hopper_4/process",
        "time_ns": 0,
        "values": [2.0],
        "pm10": 2.0,
    }


def test_of_many_rows_the_newest_comes_ten_times_a_second(api: Served, client: Listening) -> None:
    client.send(type="subscribe", tags=[PM10])
    client.settle()  # a row of before comes at once, and starts no period
    begun = time.monotonic()
    done = threading.Event()

    def publish() -> None:
        at = 0
        while not done.wait(0.005):
            at += 1
            api.plant.publish(pm10=float(at))

    thread = threading.Thread(target=publish)
    thread.start()
    try:
        values = [client.row()["pm10"] for _ in range(15)]
    finally:
        done.set()
        thread.join()
    assert time.monotonic() - begun > 14 * 0.098
    assert values == sorted(set(values))
    assert client.dropped == 0  # left out as it should be, not for being slow


def test_a_row_of_one_machine_does_not_wait_for_the_period_of_another(
    api: Served, client: Listening
) -> None:
    client.send(type="rate", max_hz=0.1)
    client.send(type="subscribe", tables=["*"])
    client.settle()
    begun = time.monotonic()  # no later than the period of the other begins
    api.plant.publish("hopper_4")
    client.row("hopper_4/process")
    api.plant.publish("press_1")
    client.row("press_1/process")
    # a push bundles what comes within a fifth of the period of 10 s
    assert time.monotonic() - begun < 8


def test_every_row_comes_where_that_is_wanted_and_none_twice(
    api: Served, client: Listening
) -> None:
    table = api.plant.drivers["hopper_4"].groups[0].tables[0]
    api.plant.hub.publish(process_row(table, 0.0, TIME_NS))
    client.send(type="subscribe", tags=[PM10], history=True)
    assert client.row()["pm10"] == 0.0
    for i in range(1, 300):
        api.plant.hub.publish(process_row(table, float(i), TIME_NS + i))
    values: list[float] = []
    while len(values) < 299:
        values += [row["values"][0] for row in client.next("values")["rows"]]
    assert values == [float(i) for i in range(1, 300)]


def test_a_table_with_a_new_shape_is_told_before_its_values(api: Served, client: Listening) -> None:
    client.send(type="subscribe", tables=["hopper_4/late"])
    client.next("error")  # not there yet, and wanted as soon as it is
    client.settle()
    for columns in (2, 3):
        table = wide_table("late", columns)
        api.plant.hub.publish(Row(table, TIME_NS, (np.arange(columns, dtype="f4"),)))
        row = client.row()
        assert row["values"] == list(range(columns))
        assert len(client.shapes["hopper_4/late"]) == columns


def test_a_machine_that_is_lost_is_all_bad(api: Served, client: Listening) -> None:
    table = api.plant.drivers["hopper_4"].groups[0].tables[0]
    api.plant.hub.publish(bad_row(table, TIME_NS, "timeout"))
    client.send(type="subscribe", tables=["hopper_4/process"])
    row = client.row()
    assert (row["values"], row["bad"]) == ([None] * 4, {"*": "timeout"})


def test_numbers_that_json_has_not_are_null(api: Served, client: Listening) -> None:
    columns = [Column("a", "f4"), Column("b", "f8"), Column("n", "i8")]
    table = Table("odd", "hopper_4", columns, [("device", "hopper_4")])
    parts = (np.array([np.nan], "f4"), np.array([np.inf]), np.array([-(2**63)]))
    api.plant.hub.publish(Row(table, TIME_NS, parts))
    client.send(type="subscribe", tables=["*"])
    assert client.row()["values"] == [None, None, -(2**63)]


def test_a_row_of_ten_thousand_tags_comes_whole(api: Served, client: Listening) -> None:
    values = np.random.default_rng(1).random(10_000).astype("f4")
    api.plant.hub.publish(Row(wide_table("wide", 10_000), TIME_NS, (values,)))
    client.send(type="subscribe", tables=["hopper_4/wide"])
    assert np.array_equal(np.array(client.row()["values"], "f4"), values)


def test_a_row_is_made_text_once_for_all_who_want_the_same(
    api: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[Row] = []
    pieces = Pick.row_pieces

    def counted(self: Pick, row: Row) -> Any:
        made.append(row)
        return pieces(self, row)

    monkeypatch.setattr(Pick, "row_pieces", counted)
    with ExitStack() as stack:
        clients = [
            stack.enter_context(listening(api.api.socket, "/ws/live?tables=hopper_4/process"))
            for _ in range(12)
        ]
        for client in clients:
            client.settle()
        for turn in range(3):
            made.clear()
            api.plant.publish(pm10=float(turn))
            assert [client.row()["pm10"] for client in clients] == [turn] * 12
            assert len(made) == 1


def test_while_nobody_listens_no_row_is_looked_at(api: Served) -> None:
    before = subscribers(api.plant)
    with listening(api.api.socket, "/ws/live?tables=*") as client:
        client.next("status")
        assert subscribers(api.plant) == before + 1
    until(lambda: subscribers(api.plant) == before)
    api.plant.poll()
    with listening(api.api.socket, "/ws/live?tables=*") as client:
        assert client.row("hopper_4/process")["pm10"] == 408.35


def test_a_client_that_does_not_read_slows_nobody_and_is_told_what_it_missed(
    api: Served, client: Listening, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = wide_table("wide", 10_000)
    client.send(type="subscribe", tables=["hopper_4/wide"])
    client.settle()
    with listening(api.api.socket, "/ws/live?tables=hopper_4/wide") as slow:
        slow.settle()  # rows of before are none that it missed
        slow.connection.recv_messages.pause()  # websockets stops reading from the socket
        late_s = []
        for i in range(25):
            begun = time.monotonic()
            values = np.full(10_000, i + 0.12345, "f4")
            api.plant.hub.publish(Row(table, TIME_NS + i, (values,)))
            assert client.row()["time_ns"] == TIME_NS + i
            late_s.append(time.monotonic() - begun)
        print(f"others: {sorted(late_s)[12] * 1e3:.0f} ms, worst {max(late_s) * 1e3:.0f} ms")
        assert sorted(late_s)[12] < 2  # who waited for the slow one would be 10 s late
        slow.connection.recv_messages.resume()
        seen = 1
        while slow.row()["time_ns"] != TIME_NS + 24:
            seen += 1
        slow.send(type="ping", id=1)
        slow.next("pong")
        assert seen + slow.dropped == 25
        dropped = [c.dropped for c in api.connections if isinstance(c, LimitedWebSocket)]
        assert sorted(dropped) == [0, slow.dropped]


def test_a_client_that_never_reads_is_cut_off(api: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.api.protocol.STALL_S", 0.3)
    table = wide_table("wide", 10_000)
    address = "/ws/live?tables=hopper_4/wide"
    with handshake(api.api.socket, address):
        until(lambda: subscribers(api.plant) == 1)

        def is_gone() -> bool:
            api.plant.hub.publish(
                Row(table, time.time_ns(), (np.random.rand(10_000).astype("f4"),))
            )
            return subscribers(api.plant) == 0

        until(is_gone, 10)


def test_a_dead_client_is_dropped_after_two_heartbeats(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert wsprotocol.PING_S + wsprotocol.PONG_S == 45.0
    monkeypatch.setattr(server_module, "PING_S", 0.2)
    monkeypatch.setattr(server_module, "PONG_S", 2.0)  # long enough for one that is alive
    with served(ApiConfig(socket=tmp_path / "s")) as api, listening(api.api.socket) as alive:
        begun = time.monotonic()  # before its heartbeats begin
        with handshake(api.api.socket) as dead:
            while dead.recv(65536):
                pass
        assert 2.1 < time.monotonic() - begun < 8
        alive.send(type="ping", id=1)
        assert alive.next("pong")["id"] == 1


def test_one_client_too_many_is_refused_in_words(
    api: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wsprotocol, "MAX_WEBSOCKETS", 2)
    with listening(api.api.socket), listening(api.api.socket):
        status, problem = refused(api.api.socket, "/ws/live")
        assert status == 503
        assert problem["expected"] == "close one of them"
        assert api.client.get_json("/healthz") == {"alive": True}


def test_a_stop_ends_all_clients(tmp_path: Path) -> None:
    with served(ApiConfig(socket=tmp_path / "s")) as api, ExitStack() as stack:
        clients = [stack.enter_context(listening(api.api.socket)) for _ in range(3)]
        for client in clients:
            client.next("status")
        begun = time.monotonic()
        api.stop()
        for client in clients:
            with pytest.raises(ConnectionClosed, match="1012"):
                client.next("never")
        assert api.thread is not None
        api.thread.join(5)
        assert not api.thread.is_alive()
        assert time.monotonic() - begun < 5
