"""What is sent at once follows the line and the server: less where it is slow, more where fast."""

from __future__ import annotations

import threading
import zlib

import numpy as np
import pytest

from gateway.errors import SinkUnavailable
from gateway.model import Column, Row, Table, make_parts
from gateway.sinks.payload import TooSlow
from gateway.writer.deliver import MAX_RETRY_AFTER_S, Backoff
from gateway.writer.pace import CEILING_BYTES, FLOOR_BYTES, Pace
from tests.sims import http_faults as hf
from tests.sims.row_pump import START_NS
from tests.sinks.influxkit import Gateway, gateway
from tests.support import until

__all__ = ["gateway"]

TABLE = Table("m", "d", [Column(f"c{i}", "f8") for i in range(10)], [("device", "d")])


def publish(gateway: Gateway, first: int, rows: int) -> None:
    """Rows that compress badly: about 100 bytes each."""
    values = np.random.default_rng(first).uniform(-1e9, 1e9, (rows, 10))
    # at once: how large the batches are must not hang on how fast this thread is
    gateway.hub.publish_all(
        [
            Row(TABLE, START_NS + first + n, make_parts(TABLE, row))
            for n, row in enumerate(values.tolist())
        ]
    )


def times(server: hf.FaultServer) -> set[int]:
    """Times of all lines that came whole."""
    return {
        int(line.rsplit(b" ", 1)[1]) - START_NS
        for _, body in server.requests
        for line in zlib.decompress(body, wbits=47).splitlines()
    }


def test_a_slow_line_gets_less_at_once_and_more_again_when_it_is_fast(
    gateway: Gateway,
) -> None:
    gateway.flush_interval_s = 0.5
    with hf.faults(hf.STORED, rate=150_000.0) as server:
        gateway.start(server.url, timeout_s=0.5)
        publish(gateway, 0, 4000)
        status = gateway.settled(4000)
        assert status["state"] == "good"
        assert times(server) == set(range(4000))
        through = [len(body) for _, body in server.requests]
        assert max(through[-2:]) < 75_000, "it did not fit into the time-out"
        assert len(through) < 60, "it became much too small"
        server.rate = None
        at = 4000
        while len(server.requests[-1][1]) < 150_000:
            publish(gateway, at, 4000)
            at += 4000
            gateway.settled(at)
            assert at < 100_000, "it stayed small for ever"
        gateway.stop()
    assert times(server) == set(range(at))
    assert gateway.losses == []


def test_after_a_hang_everything_arrives_once(gateway: Gateway) -> None:
    go_on = threading.Event()

    def hang(sock: object, stop: threading.Event) -> None:
        go_on.wait(30)

    with hf.faults(hang, hang, hang, hf.STORED) as server:
        gateway.start(server.url, timeout_s=0.3)
        publish(gateway, 0, 2000)
        until(lambda: len(server.requests) >= 3)
        go_on.set()
        status = gateway.settled(2000)
        assert (status["rows_stored"], status["rows_rejected"]) == (2000, 0)
        assert times(server) == set(range(2000))
        gateway.stop()


def test_what_a_server_finds_too_large_is_not_tried_with_every_batch(
    gateway: Gateway,
) -> None:
    refused: list[int] = []

    def judge(body: bytes) -> bytes:
        if len(body) > 50_000:
            refused.append(len(body))
            return hf.said("413 Too large", b"")
        return hf.STORED

    with hf.faults(judge=judge) as server:
        gateway.start(server.url)
        for n in range(5):
            publish(gateway, n * 2000, 2000)
            status = gateway.settled((n + 1) * 2000)
        assert (status["rows_stored"], status["rows_rejected"]) == (10_000, 0)
        assert times(server) == set(range(10_000))
        gateway.stop()
    assert 1 <= len(refused) <= 4
    assert gateway.losses == []


def test_one_value_that_is_too_large_is_a_dead_letter_and_its_row_stays(
    gateway: Gateway,
) -> None:
    stored: list[bytes] = []

    def judge(body: bytes) -> bytes:
        if len(body) > 2000:
            return hf.said("413 Too large", b'{"message":"too large"}')
        stored.append(body)
        return hf.STORED

    table = Table("m", "d", [Column("a", "f4"), Column("s", "str")], [("device", "d")])
    with hf.faults(judge=judge) as server:
        gateway.start(server.url, gzip=False)
        gateway.publish(table, START_NS, [1.5, "x" * 3000], [2.5, "y"])
        status = gateway.settled(2)
        gateway.stop()
    assert (status["rows_stored"], status["rows_rejected"], status["values_stored"]) == (1, 1, 3)
    (loss,) = gateway.losses
    assert loss[:6] == ("influx", "d", "m", START_NS, START_NS, 1)
    assert loss.detail == "column s: 413 too large"
    assert b"a=1.5" in b"".join(stored)
    assert [line[:20] for line, _ in gateway.letters()] == ['m,device=d s="xxxxxxx'[:20]]


BLOCKED = [hf.said(f"{status} No", b'{"message":"a person"}') for status in (401, 403, 404)]
KEPT = [
    hf.said("200 OK", b"<html>welcome</html>"),
    hf.said("202 Accepted"),
    hf.said("302 Found", b"", "Location: /"),
    hf.said("307 Temporary", b"", "Location: /"),
    *(hf.said(f"{status} No", b"\xe9") for status in (408, 425, 429, 500, 502, 503, 504)),
    b"HTTP/1.1 204 No Con",
    b"garbage\r\n\r\n",
    b"",
    hf.reset,
    hf.drip,
    hf.drip_body,
    hf.huge_body,
    hf.bomb,
    hf.endless_head,
]


@pytest.mark.parametrize(("answers", "state"), [(KEPT, "retrying"), (BLOCKED, "blocked")])
def test_rows_outlast_every_answer_that_is_not_204(
    gateway: Gateway,
    answers: list[hf.Answer],
    state: str,
) -> None:
    seen: list[tuple[str, bool]] = []

    class Noting(Backoff):
        """Notes the state at each pause: it lasts too short a time for another thread to see."""

        def pause_s(self, failures: int, error: SinkUnavailable) -> float:
            now = gateway.writer.status()
            seen.append((now["state"], bool(now["error"])))
            return super().pause_s(failures, error)

    gateway.backoff = Noting(first_s=0.001, max_s=0.001, operator_s=0.001)
    with hf.faults(*answers, hf.hang, hf.STORED) as server:
        gateway.start(server.url, timeout_s=1.0)
        publish(gateway, 0, 1)
        status = gateway.settled(1)
        assert seen == [(state, True)] * len(answers) + [("retrying", True)]
        assert (status["state"], status["error"]) == ("good", None)
        assert (status["rows_stored"], status["rows_rejected"]) == (1, 0)
        assert len(server.requests) == len(answers) + 2
        assert len({body for _, body in server.requests}) == 1, "not the same bytes"
        gateway.stop()
    assert gateway.losses == []
    assert gateway.letters() == []


@pytest.mark.parametrize(
    ("answer", "pause_s"),
    [
        (hf.said("503 Busy", b"", "Retry-After: 1"), 1.0),
        (hf.said("404 Not found", b'{"message":"no bucket"}'), 0.6),
    ],
)
def test_the_next_try_comes_when_it_was_asked_for(
    gateway: Gateway,
    answer: bytes,
    pause_s: float,
) -> None:
    gateway.backoff = Backoff(first_s=0.001, max_s=60.0, operator_s=0.8)
    with hf.faults(answer, hf.STORED) as server:
        gateway.start(server.url)
        publish(gateway, 0, 1)
        gateway.settled(1)
        asked, again = server.times_s
        assert again - asked >= pause_s
        gateway.stop()


def test_pace_halves_to_a_floor_and_grows_slowly_while_it_is_fast() -> None:
    pace = Pace(10.0)
    pace.stored(4_000_000, 0.1)
    assert pace.fits(4_000_000)
    assert pace.too_slow(100_000)
    assert (pace.fits(50_000), pace.fits(50_001)) == (True, False)
    pace.stored(40_000, 3.0)
    assert not pace.fits(50_001), "it grew although a request took a third of the time-out"
    pace.stored(20_000, 0.1)
    assert not pace.fits(50_001), "it grew although its room was not used"
    pace.stored(40_000, 0.1)
    assert (pace.fits(62_500), pace.fits(62_501)) == (True, False)
    while pace.too_slow(100_000):
        pass
    assert pace.limit_bytes == FLOOR_BYTES
    assert not pace.too_slow(100)
    while pace.limit_bytes is not None:
        pace.stored(pace.limit_bytes, 0.1)
    assert pace.fits(CEILING_BYTES * 2)


def test_pace_comes_back_to_what_was_too_large_only_now_and_then() -> None:
    pace = Pace(10.0)
    refused = 0
    for _ in range(1000):
        size = min(pace.limit_bytes or 200_000, 200_000)
        if size > 100_000:
            refused += 1
            pace.too_large(size)
        else:
            pace.stored(size, 0.01)
    assert 1 <= refused <= 4
    assert (pace.limit_bytes or 0) > 40_000


@pytest.mark.parametrize(
    ("asked_s", "low", "high"),
    [(None, 0.75, 1.25), (0.5, 0.75, 1.25), (7.0, 7.0, 7.0), (1e9, 300.0, 300.0)],
)
def test_retry_after_is_honoured_and_capped(asked_s: float | None, low: float, high: float) -> None:
    error = SinkUnavailable("503", asked_s)
    pauses = [Backoff().pause_s(1, error) for _ in range(100)]
    assert low <= min(pauses) <= max(pauses) <= high <= MAX_RETRY_AFTER_S
    assert asked_s in (7.0, 1e9) or len(set(pauses)) > 50, "no jitter"


def test_pauses_double_up_to_a_bound_and_are_slow_for_what_a_person_must_mend() -> None:
    def middle(failures: int, *, operator: bool = False) -> float:
        error = SinkUnavailable("", operator=operator)
        return float(np.mean([Backoff().pause_s(failures, error) for _ in range(300)]))

    for failures, expected_s in ((1, 1.0), (2, 2.0), (4, 8.0), (7, 60.0), (10_000, 60.0)):
        assert middle(failures) == pytest.approx(expected_s, rel=0.1)
    assert middle(1, operator=True) == pytest.approx(30.0, rel=0.1)


def test_too_slow_is_kept_as_what_is_unavailable() -> None:
    assert issubclass(TooSlow, SinkUnavailable)
