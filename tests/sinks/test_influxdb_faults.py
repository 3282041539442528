"""Each wrong answer of a server, and what the sink makes of it."""

from __future__ import annotations

import threading
import time
import tracemalloc
from collections.abc import Iterator
from email.utils import formatdate
from pathlib import Path

import pytest

from gateway.errors import Rejected, SinkUnavailable, TooLarge
from gateway.sinks.influxdb import InfluxConfig, InfluxSink
from gateway.sinks.payload import TooSlow
from tests.sims import http_faults as hf
from tests.support import free_port, until

BODY = b"m,device=d value=1 1\n"


class Sinks:
    """Makes sinks and closes them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.made: list[InfluxSink] = []

    def __call__(self, url: str, **more: object) -> InfluxSink:
        config = InfluxConfig.model_validate(
            {"type": "influxdb", "url": url, "org": "o", "bucket": "b", "timeout_s": 10.0, **more}
        )
        self.made.append(InfluxSink("influx", config, self.folder))
        return self.made[-1]


@pytest.fixture
def sinks(tmp_path: Path) -> Iterator[Sinks]:
    made = Sinks(tmp_path)
    yield made
    for sink in made.made:
        sink.close()


def test_204_is_stored_and_the_connection_is_kept(sinks: Sinks, tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text("secret\n")
    token.chmod(0o600)
    with hf.faults(hf.STORED) as server:
        sink = sinks(server.url, token_file=token)
        sink.deliver(BODY, "lp")
        sink.deliver(BODY, "lp+gzip")
        heads = [head.lower() for head, _ in server.requests]
    assert [body for _, body in server.requests] == [BODY, BODY]
    assert b"post /api/v2/write?org=o&bucket=b&precision=ns" in heads[0]
    assert b"authorization: token secret" in heads[0]
    assert b"content-encoding: gzip" in heads[1]
    assert b"content-encoding: gzip" not in heads[0]


KEEP = [
    hf.said("200 OK", b"<html>welcome, please log in</html>"),
    hf.said("202 Accepted"),
    hf.said("201 Created"),
    hf.said("301 Moved", b"", "Location: http://127.0.0.1:1/"),
    hf.said("302 Found", b"", "Location: /other"),
    hf.said("307 Temporary", b"", "Location: /other"),
    hf.said("308 Permanent", b"", "Location: /other"),
    hf.said("408 Timeout"),
    hf.said("425 Early"),
    hf.said("429 Slow down"),
    hf.said("500 Oops", b"\xff\xfe latin-1 \xe9"),
    hf.said("502 Bad", "Störung".encode("latin-1"), "Content-Type: text/html; charset=latin-1"),
    hf.said("503 Busy"),
    hf.said("418 Teapot"),
    b"HTTP/1.1 204 No Con",
    b"HTTP/1.1 204 No Content\r\nX-Some: th",
    b"\x16\x03\x01garbage\r\n\r\n",
    b"",
    hf.reset,
]


@pytest.mark.parametrize("answer", KEEP, ids=lambda a: getattr(a, "__name__", str(a))[:40])
def test_an_answer_that_is_not_204_keeps_the_payload(sinks: Sinks, answer: hf.Answer) -> None:
    with hf.faults(answer) as server:
        with pytest.raises(SinkUnavailable) as caught:
            sinks(server.url).deliver(BODY, "lp")
        assert len(server.requests) == 1, "followed a redirect or tried again by itself"
    assert not caught.value.operator


@pytest.mark.parametrize("status", ["401 Unauthorized", "403 Forbidden", "404 Not found"])
def test_what_only_a_person_can_mend_is_said_in_the_servers_words(
    sinks: Sinks, status: str
) -> None:
    answer = hf.said(status, b'{"code":"x","message":"bucket \\"b\\" is\\nnot yours"}')
    with hf.faults(answer) as server, pytest.raises(SinkUnavailable) as caught:
        sinks(server.url).deliver(BODY, "lp")
    assert caught.value.operator
    assert str(caught.value) == f'{status[:3]} bucket "b" is not yours'


@pytest.mark.parametrize("status", ["400 Bad", "422 Unprocessable"])
def test_a_refused_payload_is_rejected_in_the_servers_words(sinks: Sinks, status: str) -> None:
    answer = hf.said(status, b'{"message":"unable to parse \'m v=\'"}')
    with hf.faults(answer) as server, pytest.raises(Rejected, match="unable to parse 'm v='"):
        sinks(server.url).deliver(BODY, "lp")


def test_413_asks_for_smaller_payloads(sinks: Sinks) -> None:
    with hf.faults(hf.said("413 Too large")) as server, pytest.raises(TooLarge):
        sinks(server.url).deliver(BODY, "lp")


@pytest.mark.parametrize(
    ("value", "low", "high"),
    [("7", 7, 7), ("in 60 s", 40, 61), ("soon", None, None)],
)
def test_retry_after_is_read_as_seconds_or_date(
    sinks: Sinks, value: str, low: float | None, high: float | None
) -> None:
    if value == "in 60 s":
        value = formatdate(time.time() + 60, usegmt=True)
    answer = hf.said("503 Busy", b"", f"Retry-After: {value}")
    with hf.faults(answer) as server, pytest.raises(SinkUnavailable) as caught:
        sinks(server.url).deliver(BODY, "lp")
    asked = caught.value.retry_after_s
    assert asked == low if low is None or high is None else low <= (asked or 0) <= high


@pytest.mark.parametrize("answer", [hf.drip, hf.drip_body, hf.hang, hf.endless_head])
def test_the_time_of_a_request_is_bounded_in_all(sinks: Sinks, answer: hf.Answer) -> None:
    with hf.faults(answer) as server:
        start = time.monotonic()
        with pytest.raises(SinkUnavailable):
            sinks(server.url, timeout_s=1.0).deliver(BODY, "lp")
        assert time.monotonic() - start < 5.0  # the server goes on for more than that


def test_a_server_that_reads_too_slowly_or_says_nothing_asks_for_less_at_once(sinks: Sinks) -> None:
    with hf.faults(hf.STORED, rate=1.0) as server, pytest.raises(TooSlow):
        sinks(server.url, timeout_s=1.0).deliver(
            b"x" * 16_000_000, "lp"
        )  # more than the buffers hold
    with hf.faults(hf.hang) as server, pytest.raises(TooSlow, match="no answer within 1 s"):
        sinks(server.url, timeout_s=1.0).deliver(BODY, "lp")
    with hf.faults(hf.reset) as server, pytest.raises(SinkUnavailable) as caught:
        sinks(server.url).deliver(BODY, "lp")
    assert not isinstance(caught.value, TooSlow), "its size has nothing to do with it"


def test_what_was_given_up_is_not_sent_any_more(sinks: Sinks) -> None:
    with hf.faults(hf.STORED, rate=10_000.0) as server:
        with pytest.raises(TooSlow):
            sinks(server.url, timeout_s=0.3).deliver(b"x" * 1_000_000, "lp")
        server.rate = None
        until(lambda: server.ended, 5)
        assert server.requests == [], "the rest of it came after all"


def test_an_answer_too_many_is_not_taken_for_the_next_one(sinks: Sinks) -> None:
    with hf.faults(hf.STORED + hf.STORED, hf.said("503 Busy"), hf.STORED) as server:
        sink = sinks(server.url)
        sink.deliver(BODY, "lp")
        with pytest.raises(SinkUnavailable, match="503"):
            sink.deliver(BODY, "lp")
        sink.deliver(BODY, "lp")
        assert len(server.requests) == 3


@pytest.mark.parametrize("page", [hf.huge_body, hf.bomb])
def test_a_huge_error_page_is_not_read_into_memory(sinks: Sinks, page: hf.Answer) -> None:
    with hf.faults(page) as server:
        sink = sinks(server.url)
        tracemalloc.start()
        try:
            with pytest.raises(SinkUnavailable):
                sink.deliver(BODY, "lp")
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
    assert peak < 20_000_000


def test_after_a_fault_the_next_request_succeeds(sinks: Sinks) -> None:
    with hf.faults(hf.said("500 Oops", b"x" * 200_000), hf.reset, hf.STORED) as server:
        sink = sinks(server.url)
        for _ in range(2):
            with pytest.raises(SinkUnavailable):
                sink.deliver(BODY, "lp")
        sink.deliver(BODY, "lp")


def test_nobody_listens(sinks: Sinks) -> None:
    with pytest.raises(SinkUnavailable, match="Connection refused") as caught:
        sinks(f"http://127.0.0.1:{free_port()}").deliver(BODY, "lp")
    assert not caught.value.operator


def test_close_ends_a_request_that_hangs(sinks: Sinks) -> None:
    with hf.faults(hf.hang) as server:
        sink = sinks(server.url, timeout_s=60.0)
        ended: list[Exception] = []

        def deliver() -> None:
            try:
                sink.deliver(BODY, "lp")
            except SinkUnavailable as error:
                ended.append(error)

        thread = threading.Thread(target=deliver)
        thread.start()
        until(lambda: server.requests, 5)
        sink.close()
        sink.close()
        thread.join(5)
        assert ended
        with pytest.raises(SinkUnavailable, match="closed"):
            sink.deliver(BODY, "lp")


def test_a_proxy_of_the_environment_is_not_used(
    sinks: Sinks, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{free_port()}")
    with hf.faults(hf.STORED) as server:
        sinks(server.url).deliver(BODY, "lp")
        assert len(server.requests) == 1


def test_the_token_is_read_at_the_first_delivery_and_again_after_401(
    sinks: Sinks, tmp_path: Path
) -> None:
    token = tmp_path / "token"
    with hf.faults(hf.said("401 No"), hf.STORED) as server:
        sink = sinks(server.url, token_file=token)
        with pytest.raises(SinkUnavailable, match="No such file") as caught:
            sink.deliver(BODY, "lp")
        assert caught.value.operator
        token.write_text("old")
        with pytest.raises(SinkUnavailable):
            sink.deliver(BODY, "lp")
        token.write_text("new")
        sink.deliver(BODY, "lp")
        heads = [head.lower() for head, _ in server.requests]
    assert b"token old" in heads[0]
    assert b"token new" in heads[1]


def test_the_token_may_be_a_systemd_credential(
    sinks: Sinks, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with hf.faults(hf.STORED) as server:
        sink = sinks(server.url, token_credential="influx")
        monkeypatch.delenv("CREDENTIALS_DIRECTORY", raising=False)
        with pytest.raises(SinkUnavailable, match="CREDENTIALS_DIRECTORY"):
            sink.deliver(BODY, "lp")
        monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
        (tmp_path / "influx").write_text("s3cret\n")
        sink.deliver(BODY, "lp")
        assert b"token s3cret" in server.requests[0][0].lower()


def test_a_token_with_a_line_break_makes_no_request(sinks: Sinks, tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text("a\nX-Evil: 1")
    with hf.faults(hf.STORED) as server:
        with pytest.raises(SinkUnavailable, match="holds no token") as caught:
            sinks(server.url, token_file=token).deliver(BODY, "lp")
        assert caught.value.operator
        assert not server.requests


def test_a_payload_of_another_sink_is_rejected(sinks: Sinks) -> None:
    with pytest.raises(Rejected, match="cbor"):
        sinks("http://127.0.0.1:1").deliver(b"x", "cbor")


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"url": "localhost:8086"}, "no address"),
        ({"url": "ftp://x"}, "no address"),
        ({"url": "http://user:pw@x"}, "expected no more"),
        ({"url": "http://x", "token_file": "a", "token_credential": "b"}, "exclude each other"),
        ({"url": "http://x", "buckt": "b"}, "buckt"),
        ({"url": "http://x", "max_columns": -1}, "max_columns"),
    ],
)
def test_a_wrong_setting_is_named(more: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        InfluxConfig.model_validate({"type": "influxdb", "bucket": "b", **more})


def test_every_setting_is_described() -> None:
    assert all(field.description for field in InfluxConfig.model_fields.values())
