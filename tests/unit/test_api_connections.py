"""``/v1/connections``: who is connected, and how the connections to the machines do."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway.api.connectionroutes import Connections
from gateway.api.settings import ApiConfig
from tests.support import free_port, until
from tests.unit.apikit import Served, ask, served
from tests.unit.wskit import listening


@pytest.fixture
def api(tmp_path: Path) -> Iterator[Served]:
    api = ApiConfig(socket=tmp_path / "s", listen=f"127.0.0.1:{free_port()}")
    with served(api) as running:
        yield running


def test_each_open_connection_is_told_with_who_has_it(api: Served) -> None:
    with listening(api.api.socket, "/ws/live?tables=*") as client:
        client.next("status")
        assert api.api.listen is not None
        status, _, document = ask(api.api.listen, "/v1/connections")
        assert status == 200
        websocket, asking = Connections.model_validate(document).clients
        assert (websocket.kind, websocket.via, websocket.peer) == ("ws", "socket", None)
        assert (websocket.path, websocket.role) == ("/ws/live", "operator")
        assert websocket.who is not None
        assert websocket.who.startswith("uid ")
        assert websocket.sent >= 2
        assert (asking.kind, asking.via, asking.role) == ("http", "tcp", "viewer")
        assert asking.peer is not None
        assert asking.peer.startswith("127.0.0.1:")
        assert asking.since_ns > websocket.since_ns
    until(lambda: len(api.client.get_json("/v1/connections")["clients"]) == 1)


def test_the_connections_to_the_machines_are_told_with_errors_and_times(api: Served) -> None:
    devices = api.client.get_json("/v1/connections")["devices"]
    assert devices["press_1"]["state"] == "lost"
    hopper = devices["hopper_4"]
    assert (hopper["errors"], hopper["connects"], hopper["polls"]) == (1, 1, 12)
    assert hopper["read_ms"] == {"p50": 0.17, "p99": 0.25, "max": 2.0}
