"""The client of the CLI against the real app, and rows as JSON."""

from __future__ import annotations

import json
import socket
import sys
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from subprocess import run

import numpy as np
import orjson
import pytest

from gateway.api.client import Client, NotRunning, RequestFailed
from gateway.api.settings import ApiConfig
from gateway.errors import GatewayError
from gateway.model import ALL, Column, Mark, Quality, Row, Table, bad, bad_row, make_parts
from gateway.rowjson import row_json, row_objects
from tests.support import ROOT, free_port
from tests.unit.apikit import Served, process_row, process_table, served


@pytest.fixture
def api(tmp_path: Path) -> Iterator[Served]:
    listen = f"127.0.0.1:{free_port()}"
    with served(ApiConfig(socket=tmp_path / "gw.sock", listen=listen)) as running:
        yield running


def test_the_client_speaks_to_the_unix_socket_and_to_tcp(api: Served) -> None:
    for client in (api.client, api.tcp):
        assert client.get_json("/v1/status")["gateway"]["name"] == "hall-3"
        assert client.get_text("/metrics").startswith("# HELP")


def test_parameters_are_escaped_and_none_is_left_out(api: Served) -> None:
    with pytest.raises(RequestFailed, match="no device 'a b&c=ü'") as caught:
        api.client.get_json("/v1/latest", {"device": "a b&c=ü", "table": None})
    assert caught.value.status == 404


def test_nobody_there_is_not_running(tmp_path: Path) -> None:
    stale = socket.socket(socket.AF_UNIX)
    stale.bind(str(tmp_path / "stale"))
    stale.close()
    for address in (tmp_path / "none", tmp_path / "stale", f"127.0.0.1:{free_port()}"):
        with pytest.raises(NotRunning, match="no gateway is running at"):
            Client(address).get_json("/healthz")
        with pytest.raises(NotRunning):
            next(Client(address).stream_lines("/v1/tail"))


def test_a_gateway_that_does_not_answer_is_told_from_one_that_is_not_there(tmp_path: Path) -> None:
    with closing(socket.socket(socket.AF_UNIX)) as deaf:
        deaf.bind(str(tmp_path / "s"))
        deaf.listen()
        with pytest.raises(GatewayError, match=r"does not answer within 0\.1 s") as caught:
            Client(tmp_path / "s", timeout_s=0.1).get_json("/healthz")
    assert not isinstance(caught.value, NotRunning)


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"nonsense\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{",
        b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 4\r\n\r\noops",
        b"HTTP/1.1 500 No\r\nContent-Length: 2\r\n\r\n[]",
    ],
)
def test_an_answer_that_is_none_is_an_error_in_words(tmp_path: Path, answer: bytes) -> None:
    with closing(socket.socket(socket.AF_UNIX)) as server:
        server.bind(str(tmp_path / "s"))
        server.listen()

        def serve() -> None:
            with server.accept()[0] as connection:
                connection.recv(4096)
                connection.sendall(answer)

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            with pytest.raises(GatewayError):
                Client(tmp_path / "s").get_json("/healthz")
        finally:
            thread.join()


def test_the_client_loads_neither_the_web_stack_nor_numpy() -> None:
    script = (
        "import sys, gateway.api.client\n"
        "print([m for m in ('fastapi', 'starlette', 'uvicorn', 'numpy', 'pydantic', 'anyio')"
        " if m in sys.modules])"
    )
    found = run([sys.executable, "-c", script], capture_output=True, text=True, cwd=ROOT)
    assert found.stdout == "[]\n", found.stderr


def test_settings_load_no_web_stack() -> None:
    script = (
        "import sys, gateway.api.settings, gateway.rowjson\n"
        "print([m for m in ('fastapi', 'starlette', 'uvicorn') if m in sys.modules])"
    )
    found = run([sys.executable, "-c", script], capture_output=True, text=True, cwd=ROOT)
    assert found.stdout == "[]\n", found.stderr


# -- rows as JSON -----------------------------------------------------------------------------


def test_the_fast_lines_say_the_same_as_the_objects() -> None:
    table = process_table("hopper_4")
    odd = [Column('a "b"\n', "f8", "°C"), Column("b", "i8", None), Column("c", "str", "\\")]
    other = Table("odd", "d", odd, [("device", "d\u2028")])
    values = [float("1e-7"), -(2**63), '\x00"\ud7ff']
    rows = [
        process_row(table),
        bad_row(table, 5, "timeout"),
        Row(other, 7, make_parts(other, values)),
        Row(other, 7, make_parts(other, values), {ALL: Mark(Quality.UNCERTAIN, "clock")}),
        Row(other, 7, make_parts(other, values), {ALL: bad('a "reason"'), 1: bad("other")}),
        Row(Table("none", "d", []), 1, ()),
    ]
    for row in rows:
        lines = row_json(row).splitlines()
        assert lines == [orjson.dumps(found) for found in row_objects(row)]
        assert len(lines) == len(row.table.columns)


def test_values_keep_their_exact_digits() -> None:
    shape = [Column("f4", "f4"), Column("f8", "f8"), Column("u8", "u8"), Column("i8", "i8")]
    table = Table("t", "d", shape)
    parts = (
        np.array([408.35], "f4"),
        np.array([0.1 + 0.2]),
        np.array([-(2**63)], "i8"),
        np.array([2**64 - 1], "u8"),
    )
    found = {v["tag"]: v["value"] for v in map(json.loads, row_json(Row(table, 1, parts)).split())}
    assert found == {"f4": 408.35, "f8": 0.1 + 0.2, "u8": 2**64 - 1, "i8": -(2**63)}


def test_a_bad_tag_has_no_value() -> None:
    found = {v["tag"]: v for v in row_objects(process_row(process_table("hopper_4")))}
    assert (found["count"]["value"], found["count"]["quality"]) == (None, "BAD")
    assert (found["running"]["value"], found["running"]["quality"]) == (True, "UNCERTAIN")
