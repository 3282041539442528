"""Webhooks against servers that take, refuse, drip, redirect, hang and come back."""

from __future__ import annotations

import base64
import hashlib
import hmac
import http.server
import logging
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import orjson
import pytest

from gateway.alarms.model import Severity, State
from gateway.alarms.notify import waiting
from gateway.errors import GatewayError
from tests.sims.http_faults import (
    Answer,
    FaultServer,
    bomb,
    drip,
    drip_body,
    endless_head,
    faults,
    hang,
    huge_body,
    reset,
    said,
)
from tests.support import free_port, until
from tests.unit.notifykit import Certificates, config, make_certificates, running, transition

TAKEN = said("204 No Content")


def hook(server: FaultServer | str, **keys: object) -> Any:
    url = server if isinstance(server, str) else f"{server.url}/alarms?plant=3"
    return config("webhook", url=url, **keys)


def bodies(server: FaultServer) -> list[dict[str, Any]]:
    return [orjson.loads(body) for _, body in list(server.requests)]


def numbers(server: FaultServer) -> list[Any]:
    return [body["number"] for body in bodies(server)]


def head_of(server: FaultServer, request: int = 0) -> dict[str, str]:
    lines = server.requests[request][0].decode().split("\r\n")
    fields = (line.split(": ", 1) for line in lines[1:])
    return {"": lines[0]} | {name.lower(): value for name, value in fields}


def test_a_message_is_posted_and_signed(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("the secret of the hook\n")
    with faults(TAKEN) as server:
        with running(tmp_path, one=hook(server, secret_file=secret)) as run:
            run.put(1)
            run.wait_sent(1)
        head, (body,) = head_of(server), [body for _, body in server.requests]
    assert head[""] == "POST /alarms?plant=3 HTTP/1.1"
    assert head["host"] == f"127.0.0.1:{server.port}"
    assert head["content-type"] == "application/json"
    assert head["user-agent"].startswith("edge-gateway/")
    document = orjson.loads(body)
    assert document["id"] == "press_1/force.high"
    assert head["webhook-id"] == document["key"]
    assert abs(int(head["webhook-timestamp"]) - time.time()) < 60
    signed = f"{head['webhook-id']}.{head['webhook-timestamp']}.".encode() + body
    mac = hmac.new(b"the secret of the hook", signed, hashlib.sha256).digest()
    assert head["webhook-signature"] == f"v1,{base64.b64encode(mac).decode()}"


def test_only_those_are_told_who_want_to_know(tmp_path: Path) -> None:
    with faults(TAKEN) as server:
        one = hook(server, severity="high", devices=["press_*"], states=["unacknowledged"])
        with running(tmp_path, one=one) as run:
            put = run.notifiers.put
            put(transition(1, severity=Severity.MEDIUM))
            put(transition(2, device="hopper_4"))
            put(transition(3, state=State.ACKNOWLEDGED))
            put(transition(4, notify=("other",)))
            put(transition(5, notify=()))
            put(transition(6, notify=("one", "other")))
            put(transition(7, severity=Severity.CRITICAL))
            run.wait_sent(2)
        assert numbers(server) == [6, 7]


@pytest.mark.parametrize(
    "fault",
    [
        said("503 Service Unavailable"),
        said("500 Oops", b"\x1b[2J <html>" * 1000),
        said("429 Too Many", b"", "Retry-After: 0"),
        said("408 Timeout"),
        reset,
        b"what is this\r\n\r\n",
        b"",
        huge_body,
        bomb,
    ],
    ids=["503", "500", "429", "408", "reset", "garbage", "closed", "huge", "bomb"],
)
def test_a_message_that_is_not_taken_is_sent_again(tmp_path: Path, fault: Answer) -> None:
    with faults(fault, fault, TAKEN) as server:
        with running(tmp_path, one=hook(server)) as run:
            run.put(1)
            status = run.wait_sent(1)
        assert numbers(server) == [1, 1, 1]
        keys = {head_of(server, request)["webhook-id"] for request in range(3)}
    assert len(keys) == 1
    assert status["dropped"] == {}
    assert [event for event, _, _ in run.events] == ["notifier_failing", "notifier_good"]
    assert "\x1b" not in run.events[0][2]


@pytest.mark.parametrize("fault", [hang, drip, drip_body, endless_head])
def test_one_that_does_not_end_its_answer_is_cut_off(tmp_path: Path, fault: Answer) -> None:
    with (
        faults(fault, TAKEN) as server,
        running(tmp_path, one=hook(server, timeout_s=0.3)) as run,
    ):
        begun = time.monotonic()
        run.put(1)
        run.wait_sent(1)
        assert time.monotonic() - begun < 5
        until(lambda: len(run.events) >= 2)  # that it is good is told after it was counted
        assert [event for event, _, _ in run.events] == ["notifier_failing", "notifier_good"]


def test_a_message_that_is_refused_is_dropped_and_counted(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    refusal = said("422 Unprocessable", b"no such   plant")
    with faults(refusal, refusal, TAKEN) as server, running(tmp_path, one=hook(server)) as run:
        caplog.set_level(logging.INFO)
        run.put(1, 2)
        until(lambda: run.status()["dropped"] == {"refused": 2}, what="both refused")
        status = run.wait_error("HTTP 422")
        assert status["state"] == "refusing"
        assert "HTTP 422 Unprocessable: no such plant" in status["error"]
        assert "notifier one: " in run.notifiers.problems()[0]
        run.put(3)
        run.wait_sent(1)
        until(lambda: run.status()["state"] == "good")
        assert bodies(server)[-1]["dropped"] == {"refused": 2}
        assert numbers(server) == [1, 2, 3]
        assert [e for e, _, _ in run.events] == ["notification_refused"]
        said_ = [r.getMessage() for r in caplog.records if "refused" in r.getMessage()]
        assert said_ == ["messages are refused and dropped"]
        assert "dropped messages since the start: 2 refused" in run.notifiers.problems()[0]


@pytest.mark.parametrize("status", ["401 Unauthorized", "403 Forbidden", "404 Not Found"])
def test_what_a_person_must_mend_keeps_the_message(tmp_path: Path, status: str) -> None:
    with faults(said(status)) as server, running(tmp_path, one=hook(server)) as run:
        run.put(1)
        run.wait_error(f"HTTP {status}")
        server.answers[:] = [TAKEN]
        run.wait_sent(1)


def test_a_redirect_is_not_followed(tmp_path: Path) -> None:
    with (
        faults(TAKEN) as elsewhere,
        faults(said("302 Found", b"", f"Location: {elsewhere.url}/x")) as server,
    ):
        with running(tmp_path, one=hook(server)) as run:
            run.put(1)
            run.wait_error("which is not followed")
        assert elsewhere.requests == []


def test_one_line_is_logged_on_loss_and_one_on_recovery(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    port = free_port()
    with running(tmp_path, one=hook(f"http://127.0.0.1:{port}/")) as run:
        run.put(1, 2, 3)
        run.wait_error("refused")
        until(lambda: run.notifiers._by_name["one"]._health.failures >= 4, what="four tries")
        assert run.status()["waiting"] == 3
        assert "3 messages waiting" in run.notifiers.problems()[0]
        with receiver(port) as got:
            run.wait_sent(3)
            assert [orjson.loads(body)["number"] for body in got] == [1, 2, 3]
    lines = [r.getMessage() for r in caplog.records if r.name == "gateway.notify"]
    assert lines == ["a notifier does not get through", "a notifier gets through again"]


def test_the_queue_is_bounded_and_the_receiver_is_told_what_it_missed(tmp_path: Path) -> None:
    taken: list[dict[str, Any]] = []
    is_open = threading.Event()

    def judge(body: bytes) -> bytes:
        if not is_open.is_set():
            return said("503 No")
        taken.append(orjson.loads(body))
        return TAKEN

    with faults(judge=judge) as server, running(tmp_path, one=hook(server, queue=3)) as run:
        run.put(1)
        run.wait_error("503")
        run.put(*range(2, 103))
        assert run.status()["waiting"] <= 4
        is_open.set()
        run.wait_sent(3)
        until(lambda: not run.status()["waiting"], what="all sent")
        # before these three it may have had one more, which was on its way when it began to take
        assert [n["number"] for n in taken][-3:] == [100, 101, 102]
        dropped = run.status()["dropped"]["overflow"]
        assert dropped >= 98
        causes = [t["dropped"] for t in taken if t.get("dropped")]
        assert sum(cause["overflow"] for cause in causes) == dropped


def test_what_is_too_old_is_not_sent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ahead_s = 0.0
    clock = SimpleNamespace(monotonic=lambda: time.monotonic() + ahead_s, time_ns=time.time_ns)
    monkeypatch.setattr(waiting, "time", clock)
    with faults(hang) as server:
        one = hook(server, timeout_s=0.4, max_age_s=60.0)
        with running(tmp_path, one=one) as run:
            run.put(1)
            until(lambda: server.requests, what="the first try")
            ahead_s = 61.0
            run.wait_error("not done")
            until(lambda: run.status()["dropped"] == {"too_old": 1}, what="too old")
        assert run.status()["sent"] == 0


def test_a_put_never_waits_for_the_receiver(tmp_path: Path) -> None:
    with (
        faults(hang) as server,
        running(tmp_path, one=hook(server, timeout_s=60.0), stop_s=0.4) as run,
    ):
        run.put(1)
        until(lambda: server.requests, what="the first message")
        begun = time.monotonic()
        run.put(*range(2, 1002))
        assert time.monotonic() - begun < 10  # the receiver takes a minute for one of them


def test_a_stop_cuts_what_hangs_and_keeps_it_for_the_next_start(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with faults(hang) as server:
        with running(tmp_path, one=hook(server, timeout_s=60.0), stop_s=0.5) as run:
            run.put(1, 2)
            until(lambda: server.requests, what="the first message")
        assert run.status()["waiting"] == 2
    assert "messages wait for the next start" in caplog.text


def test_a_stop_sends_what_waits(tmp_path: Path) -> None:
    with faults(TAKEN) as server:
        with running(tmp_path, stop_s=20.0, one=hook(server)) as run:
            run.put(*range(1, 21))
        assert numbers(server) == list(range(1, 21))


def test_a_test_message_goes_first_and_says_that_it_is_one(tmp_path: Path) -> None:
    with faults(said("503 No")) as server, running(tmp_path, one=hook(server)) as run:
        run.put(1, 2)
        run.wait_error("503")
        with pytest.raises(GatewayError, match=r"notifier 'one': 127.0.0.1:\d+: HTTP 503 No"):
            run.notifiers.test("one", "anna")
        server.answers[:] = [TAKEN]
        run.notifiers.test("one", "anna")
        run.wait_sent(2)
        (test,) = [b for b in bodies(server)[-3:] if b.get("test")]
        assert "sent by anna: no alarm" in str(test["message"])
        with pytest.raises(GatewayError, match="there is no notifier 'two'"):
            run.notifiers.test("two", "anna")


def test_a_secret_that_is_changed_needs_no_reload(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("the first secret")
    with faults(TAKEN) as server, running(tmp_path, one=hook(server, secret_file=secret)) as run:
        run.put(1)
        run.wait_sent(1)
        secret.unlink()
        run.put(2)
        assert "the first secret" not in str(run.wait_error(f"the secret: {secret}: No such file"))
        secret.write_text("the second secret")
        run.wait_sent(2)
        assert numbers(server) == [1, 2]


@contextmanager
def receiver(port: int, certificates: Certificates | None = None) -> Iterator[list[bytes]]:
    """Python's own HTTP server; what it was sent."""
    got: list[bytes] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            got.append(self.rfile.read(int(self.headers["Content-Length"])))
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None: ...

    class Server(http.server.ThreadingHTTPServer):
        daemon_threads = False

        def handle_error(self, request: object, client_address: object) -> None: ...

    server = Server(("127.0.0.1", port), Handler)
    if certificates is not None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificates.cert, certificates.key)
        server.socket = context.wrap_socket(
            server.socket, server_side=True, do_handshake_on_connect=False
        )
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    try:
        yield got
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_tls_is_verified(tmp_path: Path) -> None:
    certificates, port = make_certificates(tmp_path / "tls"), free_port()
    url = f"https://127.0.0.1:{port}/"
    with (
        receiver(port, certificates) as got,
        running(
            tmp_path,
            good=hook(url, ca_file=certificates.ca),
            system=hook(url),
            wrong=hook(url, ca_file=certificates.other_ca),
            name=hook(f"https://localhost:{port}/", ca_file=certificates.ca),
            broken=hook(url, ca_file=certificates.key),
        ) as run,
    ):
        run.put(1)
        run.wait_sent(1, "good")
        run.wait_error("its certificate: ", "system")
        run.wait_error("its certificate: ", "wrong")
        run.wait_error("its certificate: Hostname mismatch", "name")
        run.wait_error("certificates: ", "broken")
        assert len(got) == 1


def test_plain_http_where_tls_is_expected(tmp_path: Path) -> None:
    with (
        faults(TAKEN, TAKEN) as server,
        running(tmp_path, one=hook(f"https://127.0.0.1:{server.port}/", timeout_s=1.0)) as run,
    ):
        run.put(1)
        until(lambda: run.status()["error"], what="an error")
        assert server.requests == []
