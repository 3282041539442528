"""`/v1/tail`: rows as they come; a client that is slow, stuck or gone harms nobody."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gateway.api import protocol, tail
from gateway.api.client import RequestFailed
from gateway.api.settings import ApiConfig
from gateway.model import Column, Row, Table
from tests.support import until
from tests.unit.apikit import TIME_NS, Plant, Served, served


@pytest.fixture
def api(tmp_path: Path) -> Iterator[Served]:
    with served(ApiConfig(socket=tmp_path / "gw.sock")) as running:
        yield running


class Listening:
    """A client of /v1/tail that reads only when told."""

    def __init__(self, api: Served, query: str = "") -> None:
        listening = len(api.plant.hub._subscriptions)
        self.sock = api.connect()
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        self.sock.sendall(f"GET /v1/tail{query} HTTP/1.0\r\nHost: localhost\r\n\r\n".encode())
        self.file = self.sock.makefile("rb")
        until(lambda: len(api.plant.hub._subscriptions) > listening)
        while self.file.readline().strip():
            pass

    def next(self) -> Any:
        while True:
            line = self.file.readline()
            if not line:
                return None
            if line.strip():
                return json.loads(line)

    def close(self) -> None:
        self.file.close()
        self.sock.close()


@pytest.fixture
def listening(api: Served) -> Iterator[Any]:
    clients: list[Listening] = []

    def connect(query: str = "") -> Listening:
        clients.append(Listening(api, query))
        return clients[-1]

    yield connect
    for client in clients:
        client.close()


def big_row(number: int, columns: int = 10_000) -> Row:
    shape = [Column(f"tag_{i}", "f4", "kW") for i in range(columns)]
    table = BIG.setdefault(columns, Table("big", "hopper_4", shape, [("device", "hopper_4")]))
    return Row(table, TIME_NS + number, (np.full(columns, number, "f4"),))


BIG: dict[int, Table] = {}


def test_rows_come_as_they_are_published_in_order(api: Served, listening: Any) -> None:
    client = listening()
    for value in range(20):
        api.plant.publish(pm10=float(value))
    found = [client.next() for _ in range(20 * 4)]
    assert [v["value"] for v in found if v["tag"] == "pm10"] == [float(v) for v in range(20)]
    assert found[1] == {
        "table": "process",
        "labels": {"gateway": "hall-3", "device": "hopper_4", "line": 'kiln "2"'},
        "tag": "count",
        "value": None,
        "quality": "BAD",
        "reason": "address",
        "unit": None,
        "time_ns": TIME_NS,
    }


def test_only_the_rows_asked_for_come(api: Served, listening: Any) -> None:
    press = listening("?device=press_1")
    meters = listening("?table=electricity.meter")
    api.plant.publish("hopper_4")
    api.plant.poll()
    assert press.next()["labels"]["device"] == "press_1"
    assert [meters.next()["labels"]["device"] for _ in range(2)] == ["hopper_4", "press_1"]


def test_the_stream_ends_with_the_gateway(tmp_path: Path) -> None:
    with served(ApiConfig(socket=tmp_path / "s")) as api:
        lines = api.client.stream_lines("/v1/tail")
        api.plant.hub.publish(big_row(1, 1))
        client = Listening(api)
        api.plant.publish()
        assert client.next()["tag"] == "pm10"
        rest = []
        api.stop()
        while (found := client.next()) is not None:
            rest.append(found)
        client.close()
        del lines
    assert len(rest) == 3


def test_a_client_that_hangs_up_is_forgotten(api: Served, listening: Any) -> None:
    client = listening()
    assert len(api.plant.hub._subscriptions) == 1
    client.close()
    until(lambda: not api.plant.hub._subscriptions)


def test_a_slow_client_is_told_how_many_rows_it_missed(
    api: Served, listening: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tail, "MAX_CELLS", 20_000)
    client = listening()
    for number in range(200):
        api.plant.hub.publish(big_row(number, 1000))
    got, missed = [], 0
    while not got or got[-1] < 199 or len(got) + missed < 200:
        line = client.next()
        if "dropped_rows" in line:
            missed += line["dropped_rows"]
        elif line["tag"] == "tag_0":
            got.append(int(line["value"]))
    assert got == sorted(got)
    assert missed > 0
    assert len(got) + missed == 200
    assert api.plant.dropped == []  # what a slow client misses is no loss of the gateway's


def test_a_client_that_stops_reading_is_cut_off_and_slows_nobody(
    api: Served, listening: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(protocol, "STALL_S", 3.0)
    stuck, well = listening(), listening("?device=press_1")
    slowest_s = 0.0
    number = 0

    def publish() -> bool:
        nonlocal slowest_s, number
        number += 1
        row = big_row(number)  # takes a hundred times as long as to publish it
        begun = time.perf_counter()
        api.plant.hub.publish(row)
        slowest_s = max(slowest_s, time.perf_counter() - begun)
        api.plant.publish("press_1", pm10=float(number))
        seen = well.next()
        while seen["tag"] != "pm10":
            seen = well.next()
        assert seen["value"] == float(number)
        return len(api.plant.hub._subscriptions) == 1

    until(publish, deadline_s=20, what="the stuck client to be cut off")
    print(f"slowest publish {slowest_s * 1e3:.2f} ms, {number} rows")
    assert slowest_s < 2.5
    assert api.client.get_json("/healthz")
    while stuck.file.read(65536):
        pass


def test_only_so_many_may_listen(
    api: Served, listening: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tail, "MAX_CLIENTS", 1)
    listening()
    with pytest.raises(RequestFailed, match="1 clients listen already; close one of them"):
        next(api.client.stream_lines("/v1/tail"))


def test_silence_is_broken_by_a_heartbeat(
    api: Served, listening: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tail, "HEARTBEAT_S", 0.1)
    client = listening()
    assert client.file.readline() == b"\n"
    assert client.file.readline() == b"\n"


def test_the_client_of_the_cli_gets_lines_and_no_heartbeats(
    api: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tail, "HEARTBEAT_S", 0.05)
    plant: Plant = api.plant
    lines = api.client.stream_lines("/v1/tail", {"device": "hopper_4"})
    stop = threading.Event()

    def publish() -> None:
        while not stop.wait(0.1):
            plant.publish()

    publisher = threading.Thread(target=publish)
    publisher.start()
    try:
        found = [json.loads(next(lines)) for _ in range(4)]
    finally:
        stop.set()
        publisher.join()
        lines.close()  # type: ignore[attr-defined]
    assert [v["tag"] for v in found] == ["pm10", "count", "running", "text"]
    until(lambda: not plant.hub._subscriptions)
