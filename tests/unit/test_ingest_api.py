"""POST /v1/ingest over real sockets: who may send, and what is answered when."""

from __future__ import annotations

import gzip
import http.client
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from gateway.api import ingest as api
from gateway.api.client import Client, RequestFailed
from gateway.api.settings import ApiConfig
from gateway.api.tokens import write_tokens
from tests.support import free_port, until
from tests.unit.apikit import Plant, Served, served
from tests.unit.ingestkit import Line, values
from tests.unit.tokenkit import OPERATOR, VIEWER, bearer, listen, send, token

SENDER = "egw_sender-0123456789abcdef0123456789abcdef012"
TEXT = b"press,device=other force=1.5\n"


class Disk:
    """Stores what is published, as a writer would, while it is told to."""

    def __init__(self, line: Line) -> None:
        self.line = line
        self.rows: list[Any] = []
        self.lose = False
        self._stop = threading.Event()
        self._on = threading.Event()
        self._on.set()
        self._round = threading.Lock()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        queue = self.line.queue
        while not self._stop.is_set():
            if not self._on.wait(0.2):
                continue
            queue.wait(0.2)
            with self._round:
                if self._on.is_set():
                    self.rows += queue.drain()
                    queue.settle(queue.drained, lost=self.lose)

    def hold(self) -> None:
        """What is published from now on is not stored."""
        with self._round:
            self._on.clear()

    def go_on(self) -> None:
        self._on.set()
        self.line.queue.wake()

    def close(self) -> None:
        self._stop.set()
        self.line.queue.wake()
        self._thread.join()


@contextmanager
def door(folder: Path, **changes: Any) -> Iterator[tuple[Served, Disk]]:
    """The app with an intake, and tokens of alice (viewer), bob (operator) and box (ingest)."""
    tokens = folder / "tokens"
    write_tokens(tokens, [token("alice", "viewer", VIEWER), token("bob", "operator", OPERATOR),
                          token("box", "ingest", SENDER)])  # fmt: skip
    at = f"127.0.0.1:{free_port()}"
    config = ApiConfig(socket=folder / "gw.sock", listen=at, tokens_file=tokens, **changes)
    line = Line()
    plant = Plant(intake=line.intake)
    disk = Disk(line)
    try:
        with served(config, plant) as running:
            yield running, disk
    finally:
        disk.close()


def post(
    running: Served, body: bytes, text: str | None = SENDER, path: str = "/v1/ingest", **more: str
) -> tuple[int, Any]:
    given = {k.replace("_", "-"): v for k, v in more.items()}
    headers = {**(bearer(text) if text else {}), **given}
    status, _, told = send(listen(running), "POST", path, headers, body)
    return status, told


def test_rows_are_answered_when_they_are_on_disk(tmp_path: Path) -> None:
    with door(tmp_path) as (running, disk):
        disk.hold()
        answers: list[Any] = []
        thread = threading.Thread(target=lambda: answers.append(post(running, TEXT)))
        thread.start()
        until(lambda: len(disk.line.queue) == 1)
        assert answers == []
        disk.go_on()
        thread.join(10)
        assert answers == [(204, b"")]
        assert values(disk.rows[0]) == {"force": 1.5}
        assert disk.line.intake.status()["senders"]["box"]["rows"] == 1


def test_rows_that_were_given_up_or_wait_too_long_are_to_be_sent_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with door(tmp_path) as (running, disk):
        disk.lose = True
        status, told = post(running, TEXT)
        assert (status, told["expected"]) == (503, "send the same again")
        disk.lose = False
        disk.hold()
        monkeypatch.setattr(api, "STORED_S", 0.1)
        status, told = post(running, TEXT)
        assert (status, told["error"]) == (503, "the rows are not on disk after 0.1 s")
        disk.go_on()
        disk.line.intake.close()
        status, told = post(running, TEXT)
        assert (status, told["error"]) == (503, "the gateway is stopping")


def test_only_known_senders_are_let_in(tmp_path: Path) -> None:
    with door(tmp_path) as (running, disk):
        status, told = post(running, TEXT, None)
        assert (status, told["error"]) == (401, "rows are taken from known senders only")
        status, told = post(running, TEXT, VIEWER)
        assert (status, told["error"]) == (403, "'alice' is a viewer and may not send rows")
        assert post(running, TEXT, SENDER[:-1] + "x")[0] == 401
        assert disk.rows == []
        assert post(running, TEXT, OPERATOR)[0] == 204
        assert post(running, TEXT, None, Authorization=f"Token {SENDER}")[0] == 204
        # a page of another site, though somebody is signed in
        status, _ = post(running, TEXT, SENDER, Origin="http://evil.example")
        assert status == 403
        assert len(disk.rows) == 2


def test_the_token_of_a_sender_is_good_for_nothing_else(tmp_path: Path) -> None:
    with door(tmp_path) as (running, _):
        for method, path in (("GET", "/v1/status"), ("GET", "/"), ("POST", "/v1/devices/disable"),
                             ("GET", "/v1/ingest"), ("POST", "/v1/session")):  # fmt: skip
            status, _, told = send(listen(running), method, path, bearer(SENDER))
            assert status in (403, 405), (method, path, told)
        assert Client(listen(running), token=VIEWER).get_json("/v1/latest")["values"]
        with pytest.raises(RequestFailed, match="only sends rows"):
            Client(listen(running), token=SENDER).get_json("/v1/latest")


def test_on_the_unix_socket_no_token_is_needed(tmp_path: Path) -> None:
    with door(tmp_path) as (running, disk):
        sock = running.connect()
        head = f"POST /v1/ingest HTTP/1.1\r\nHost: x\r\nContent-Length: {len(TEXT)}\r\n\r\n"
        sock.sendall(head.encode() + TEXT)
        assert sock.recv(4096).startswith(b"HTTP/1.1 204")
        sock.close()
        assert len(disk.rows) == 1


def test_lines_that_are_wrong_are_named_and_the_others_stored(tmp_path: Path) -> None:
    with door(tmp_path) as (running, disk):
        status, told = post(running, TEXT + b"x y=\nz\n" + TEXT)
        assert status == 400
        assert told["error"] == "2 lines of 4 refused, the others are on disk"
        assert (told["rows"], told["refused"]) == (2, 2)
        assert [(f["line"], f["col"]) for f in told["lines"]] == [(2, 3), (3, 1)]
        assert "line 2:3: 'y='; expected COLUMN=VALUE" in told["message"]
        assert len(disk.rows) == 2


def test_bodies_come_in_several_forms(tmp_path: Path) -> None:
    item = b'{"table": "t", "values": {"a": 1}}'
    forms = [
        (TEXT, {}), (TEXT, {"Content_Type": "text/plain; charset=utf-8"}),
        (gzip.compress(TEXT), {"Content_Encoding": "gzip"}),
        (item, {"Content_Type": "application/json"}),
        (item + b"\n" + item, {"Content_Type": "application/x-ndjson"}),
        (gzip.compress(item), {"Content_Encoding": "gzip", "Content_Type": "application/json"}),
    ]  # fmt: skip
    with door(tmp_path) as (running, disk):
        for body, headers in forms:
            assert post(running, body, **headers) == (204, b"")
        assert len(disk.rows) == 7
        for path in ("/api/v2/write?org=o&bucket=b&precision=s", "/write?db=x&precision=s"):
            assert post(running, b"t a=1 1772000000", path=path) == (204, b"")
        assert post(running, b"t a=1 1772000000", path="/v1/ingest?precision=s") == (204, b"")
        assert len(disk.rows) == 10


@pytest.mark.parametrize(
    ("body", "path", "headers", "status", "words"),
    [
        (b"", "/v1/ingest", {}, 400, "the body is missing"),
        (TEXT, "/v1/ingest?precision=min", {}, 400, "precision 'min'"),
        (TEXT, "/v1/ingest?prec=s", {}, 400, "no parameter 'prec'"),
        (TEXT, "/write?precision=x", {}, 400, "precision 'x'"),
        (TEXT, "/v1/ingest", {"Content_Type": "image/png"}, 415, "a body of type 'image/png'"),
        (TEXT, "/v1/ingest", {"Content_Encoding": "br"}, 415, "packed as 'br'"),
        (TEXT, "/v1/ingest", {"Content_Encoding": "gzip"}, 413, "damaged gzip"),
        (gzip.compress(b"\n" * 40_000_000), "/v1/ingest", {"Content_Encoding": "gzip"}, 413,
         "unpacked it is longer than 33,554,432 bytes"),
        (b"#" * 4_194_305, "/v1/ingest", {}, 413, "the body is too large"),
    ],
    ids=["empty", "precision", "parameter", "write", "type", "coding", "gzip", "bomb", "large"],
)  # fmt: skip
def test_what_cannot_be_taken_is_refused(
    tmp_path: Path, body: bytes, path: str, headers: dict[str, str], status: int, words: str
) -> None:
    with door(tmp_path) as (running, disk):
        try:
            found, told = post(running, body, path=path, **headers)
        except (BrokenPipeError, ConnectionResetError):
            assert status == 413  # answered, and closed, before all of it was sent
            return
        assert (found, words in told["error"]) == (status, True), told
        assert disk.rows == []


def test_a_body_of_unknown_length_is_refused(tmp_path: Path) -> None:
    with door(tmp_path) as (running, _):
        host, port = listen(running).split(":")
        connection = http.client.HTTPConnection(host, int(port), timeout=10)
        connection.request("POST", "/v1/ingest", iter([TEXT]), bearer(SENDER), encode_chunked=True)
        assert connection.getresponse().status == 411
        connection.close()


def test_a_gateway_that_takes_no_rows_says_so(tmp_path: Path) -> None:
    with door(tmp_path) as (running, _):
        running.plant.intake = None
        status, told = post(running, TEXT)
        assert (status, told["error"]) == (403, "this gateway takes no rows")
        assert "ingest: {http: true}" in told["expected"]


def test_rows_are_no_actions_and_strangers_are_noted(tmp_path: Path) -> None:
    with door(tmp_path) as (running, disk):
        for _ in range(100):
            assert post(running, TEXT)[0] == 204, "there is no limit of actions a minute"
        assert len(disk.rows) == 100
        assert running.client.get_json("/v1/audit")["actions"] == []
        post(running, TEXT, None)
        (noted,) = running.client.get_json("/v1/audit")["actions"]
        assert (noted["action"], noted["ok"]) == ("ingest", False)


def test_too_many_bodies_at_once_are_turned_away(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(api, "MAX_IN_FLIGHT", 40)
    with door(tmp_path) as (running, disk):
        disk.hold()
        answers: list[Any] = []
        thread = threading.Thread(target=lambda: answers.append(post(running, TEXT)))
        thread.start()
        until(lambda: len(disk.line.queue) == 1)
        status, told = post(running, TEXT)
        assert (status, told["error"]) == (503, "too many bodies at once")
        disk.go_on()
        thread.join(10)
        assert answers == [(204, b"")]
        assert post(running, TEXT) == (204, b"")
