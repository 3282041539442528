"""Who may ask on TCP: Host, Origin, token, bodies and headers."""

from __future__ import annotations

import http.client
import itertools
import json
import select
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import anyio
import pytest

from gateway.api import bodies
from gateway.api.access import Access
from gateway.api.audit import AuditLog
from gateway.api.client import Client, RequestFailed
from gateway.api.guard import Guard
from gateway.api.settings import ApiConfig
from tests.support import free_port
from tests.unit.apikit import Served, ask, served, unix_connection
from tests.unit.tokenkit import VIEWER, bearer, guarded, listen


@pytest.fixture(scope="module")
def open_tcp(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """The app on loopback, without a token."""
    folder = tmp_path_factory.mktemp("api")
    api = ApiConfig(socket=folder / "gw.sock", listen=f"127.0.0.1:{free_port()}")
    with served(api) as running:
        yield running


def test_the_machines_own_names_are_answered(open_tcp: Served) -> None:
    name = socket.gethostname()
    for host in ("localhost", "127.0.0.1:8080", "[::1]:8080", "LOCALHOST.:1", name, f"{name}:80"):
        assert ask(listen(open_tcp), "/v1/status", {"Host": host})[0] == 200, host


FOREIGN = [
    "evil.example",
    "evil.example:8080",
    "127.0.0.1.evil.example",
    "localhost@evil.example",
    "evil.example#localhost",
    "10.0.0.7",
    "localhost:port",
    "[::1",
]


def test_a_foreign_name_is_refused_against_dns_rebinding(open_tcp: Served) -> None:
    for host in FOREIGN:
        status, _, body = ask(listen(open_tcp), "/v1/status", {"Host": host})
        assert status == 403, host
        assert host in body["error"]
        assert body["expected"]


def test_a_request_without_a_name_is_refused(open_tcp: Served) -> None:
    host, _, port = listen(open_tcp).partition(":")
    connection = http.client.HTTPConnection(host, int(port), timeout=5)
    connection._http_vsn, connection._http_vsn_str = 10, "HTTP/1.0"  # type: ignore[attr-defined]
    connection.putrequest("GET", "/v1/status", skip_host=True)
    connection.endheaders()
    assert connection.getresponse().status == 403
    connection.close()


def test_the_name_of_the_request_does_not_matter_on_the_unix_socket(open_tcp: Served) -> None:
    with unix_connection(open_tcp.api.socket) as sock:
        sock.sendall(b"GET /v1/status HTTP/1.1\r\nHost: evil.example\r\n\r\n")
        assert sock.recv(12) == b"HTTP/1.1 200"


PAGES = [
    ({"Origin": "http://evil.example"}, 403),
    ({"Origin": "null"}, 403),
    ({"Origin": "http://127.0.0.1:1"}, 403),
    ({"Origin": "SELF"}, 200),
    ({"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "no-cors"}, 403),
    ({"Sec-Fetch-Site": "same-site", "Sec-Fetch-Mode": "cors"}, 403),
    ({"Sec-Fetch-Site": "same-origin", "Sec-Fetch-Mode": "cors"}, 200),
    ({"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"}, 200),
    ({"Sec-Fetch-Site": "none", "Sec-Fetch-Mode": "navigate"}, 200),
]


def test_only_pages_of_the_gateway_itself_may_ask(open_tcp: Served) -> None:
    for headers, status in PAGES:
        given = {k: v.replace("SELF", f"http://{listen(open_tcp)}") for k, v in headers.items()}
        assert ask(listen(open_tcp), "/v1/status", given)[0] == status, headers


def test_every_answer_has_the_security_headers_and_none_allows_other_sites(
    open_tcp: Served,
) -> None:
    for path, status in (("/v1/status", 200), ("/nothing", 404), ("/v1/read", 400), ("/", 200)):
        found, headers, _ = ask(listen(open_tcp), path)
        assert found == status
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["cache-control"] == "no-store"
        assert headers["content-security-policy"].startswith("default-src 'self';")
        assert headers["date"].endswith(" GMT")
        assert "server" not in headers
        assert not [name for name in headers if name.startswith("access-control")]
    refused = ask(listen(open_tcp), "/", {"Host": "evil.example"})
    assert refused[1]["x-content-type-options"] == "nosniff"


def test_nothing_but_reading_is_answered(open_tcp: Served) -> None:
    paths = ("/v1/status", "/v1/read?device=hopper_4", "/v1/tail")
    methods = ("POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE")
    for path, method in itertools.product(paths, methods):
        status, headers, body = ask(listen(open_tcp), path, method=method)
        assert (status, headers["allow"]) == (405, "GET, HEAD")
        assert body["error"] == f"the method {method} is not allowed"
        assert body["expected"].startswith("GET")


def test_head_is_answered_as_get_without_a_body_even_where_the_answer_is_endless(
    open_tcp: Served,
) -> None:
    for path in ("/healthz", "/v1/latest", "/v1/tail"):
        status, _, body = ask(listen(open_tcp), path, method="HEAD")
        assert (status, body) == (200, b"")


@pytest.mark.parametrize("headers", [{"Content-Length": "5"}, {"Transfer-Encoding": "chunked"}])
def test_a_body_where_none_belongs_is_refused_before_it_is_read(
    open_tcp: Served, headers: dict[str, str]
) -> None:
    for method in ("GET", "DELETE"):
        status, found, body = ask(listen(open_tcp), "/v1/status", headers, method=method)
        assert (status, found["connection"]) == (413, "close")
        assert body["error"] == "a request with a body"
    for method in ("PUT", "PATCH", "TRACE"):
        status, found, body = ask(listen(open_tcp), "/v1/status", headers, method=method)
        assert (status, found["allow"]) == (405, "GET, HEAD")
        assert body["error"] == f"the method {method} is not allowed"


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/v1/status", 413),
        ("POST", "/v1/devices/disable", 413),
        ("POST", "/v1/ingest", 401),
        ("PUT", "/v1/status", 405),
        ("TRACE", "/nothing", 404),
    ],
)
def test_a_refusal_is_read_by_who_sends_its_whole_body_first(
    open_tcp: Served,
    monkeypatch: pytest.MonkeyPatch,
    method: str,
    path: str,
    status: int,
) -> None:
    monkeypatch.setattr(bodies, "READ_AWAY_S", 20.0)  # this sender may be slow
    host, _, port = listen(open_tcp).partition(":")
    pieces = [b"x" * 100_000] * 10
    with socket.create_connection((host, int(port)), timeout=10) as sock:
        head = f"{method} {path} HTTP/1.1\r\nHost: {host}\r\nContent-Length: 1000000\r\n\r\n"
        sock.sendall(head.encode())
        assert select.select([sock], [], [], 10)[0]  # the answer is there, and not read yet
        for piece in pieces:
            sock.sendall(piece)
        assert sock.recv(12) == b"HTTP/1.1 %d" % status


# -- with tokens ------------------------------------------------------------------------------


def test_with_tokens_this_machine_may_look_unless_told_otherwise(tmp_path: Path) -> None:
    api = guarded(tmp_path, f"127.0.0.1:{free_port()}")
    assert api.listen is not None
    with served(api):
        assert ask(api.listen, "/v1/status")[0] == 200
        assert ask(api.listen, "/v1/dead-letters/replay", method="POST")[0] == 401


def test_behind_a_proxy_everything_but_healthz_asks_for_a_token(tmp_path: Path) -> None:
    api = guarded(tmp_path, f"127.0.0.1:{free_port()}", loopback_open=False)
    assert api.listen is not None
    with served(api) as running:
        assert ask(api.listen, "/healthz")[0] == 200
        schema = running.client.get_json("/openapi.json")
        paths = {p for p, operations in schema["paths"].items() if "get" in operations}
        for path in {"/", "/metrics", "/openapi.json", "/docs", "/nothing", *paths}:
            if path in ("/healthz", "/v1/session"):
                continue
            status, headers, body = ask(api.listen, path)
            assert (status, headers["www-authenticate"]) == (401, "Bearer"), path
            assert "gateway token add" in body["expected"]
        for wrong in (f"Bearer {VIEWER}x", f"Bearer {VIEWER[:-1]}", "Bearer", "Basic eDp5", "Bé"):
            given = {"Authorization": wrong.encode("utf-8").decode("latin-1")}
            status, _, body = ask(api.listen, "/v1/status", given)
            assert status == 401
            assert VIEWER[:-1] not in json.dumps(body)
        right = Client(api.listen, token=VIEWER)
        assert right.get_json("/v1/status")["state"] == "degraded"
        assert running.client.get_json("/v1/status")["state"] == "degraded"
        with pytest.raises(RequestFailed, match="no token; Authorization: Bearer egw_"):
            running.tcp.get_json("/v1/status")


def test_who_has_a_token_may_use_any_name(tmp_path: Path) -> None:
    api = guarded(tmp_path, f"127.0.0.1:{free_port()}")
    assert api.listen is not None
    given = {"Host": "hall-3.plant.example", **bearer(VIEWER)}
    with served(api):
        assert ask(api.listen, "/v1/status", given)[0] == 200
        assert ask(api.listen, "/v1/status", {**given, "Origin": "http://evil.example"})[0] == 403


def test_a_name_of_the_configuration_is_answered(tmp_path: Path) -> None:
    at = f"127.0.0.1:{free_port()}"
    with served(ApiConfig(socket=tmp_path / "s", listen=at, hosts=["Hall-3.plant.example"])):
        assert ask(at, "/v1/status", {"Host": "hall-3.plant.example:80"})[0] == 200
        assert ask(at, "/v1/status", {"Host": "hall-4.plant.example"})[0] == 403


def test_on_all_addresses_the_machine_itself_may_look_without_a_token(tmp_path: Path) -> None:
    port = free_port()
    here = f"127.0.0.1:{port}"
    with served(guarded(tmp_path, f"0.0.0.0:{port}")):
        assert ask(here, "/v1/status")[0] == 200
        assert ask(here, "/v1/status", {"Host": "evil.example"})[0] == 403
        assert ask(here, "/v1/status", bearer("wrong"))[0] == 401


def test_a_token_in_an_address_is_refused_and_said_to_be_lost(open_tcp: Served) -> None:
    hidden = "%65gw%5F" + VIEWER.removeprefix("egw_")
    for path in (f"/v1/status?token={VIEWER}", f"/{hidden}", f"/ws/live?x={hidden}"):
        status, _, body = ask(listen(open_tcp), path)
        assert status == 400
        assert body["error"].startswith("a token in the address")
        assert body["expected"] == "the header Authorization: Bearer TOKEN"


PEERS = [
    ("10.0.0.9", "10.0.0.7:8080", "", 401),
    ("10.0.0.9", "10.0.0.7:8080", VIEWER, 200),
    ("10.0.0.9", "hall-3.plant.example", VIEWER, 200),
    ("10.0.0.9", "evil.example", "", 403),
    ("fe80::1%eth0", "[fe80::7]:8080", "", 401),
    ("::ffff:127.0.0.1", "127.0.0.1:8080", "", 200),
    ("::ffff:10.0.0.9", "10.0.0.7:8080", "", 401),
    ("127.0.0.1", "10.0.0.7:8080", "", 200),
]


def test_other_machines_need_a_token(tmp_path: Path) -> None:
    api = guarded(tmp_path, "0.0.0.0:8080")
    for peer, host, text, status in PEERS:
        assert status_of(api, peer, host, text) == status, (peer, host)


def status_of(api: ApiConfig, peer: str, host: str, text: str) -> int:
    """The guard's answer to a request as it comes from that machine."""
    sent: list[Any] = []

    async def app(_scope: Any, _receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})

    async def receive() -> Any:
        return {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        sent.append(message)

    headers = [(b"host", host.encode())]
    if text:
        headers.append((b"authorization", f"bearer {text}".encode()))
    scope = {
        "type": "http",
        "method": "GET",
        "path": "/v1/status",
        "query_string": b"",
        "headers": headers,
        "client": (peer, 40000),
    }
    guard = Guard(app, api, Access(api), AuditLog(lambda _: None, "hall-3"))
    anyio.run(guard, scope, receive, send)
    status: int = sent[0]["status"]
    return status


def test_a_header_that_comes_twice_is_refused(open_tcp: Served) -> None:
    host, _, port = listen(open_tcp).partition(":")
    connection = http.client.HTTPConnection(host, int(port), timeout=5)
    connection.putrequest("GET", "/v1/status")
    connection.putheader("Origin", f"http://{listen(open_tcp)}")
    connection.putheader("Origin", "http://evil.example")
    connection.endheaders()
    assert connection.getresponse().status == 400
    connection.close()
