"""Peers that do wrong: no late, shifted, cut or foreign answer becomes a GOOD value."""

from __future__ import annotations

import random
import socket
import struct
import time
from collections.abc import Iterable, Iterator

import pytest

from drivers.s7.driver import S7Driver
from gateway import merged
from gateway.errors import DeviceUnavailable
from gateway.model import Quality
from tests.sims import s7_faults
from tests.sims.s7_faults import FaultProxy, Mangle, Piece
from tests.sims.s7_peer import S7Peer, read_values, s7_device, serve_s7
from tests.support import until

peer = pytest.fixture(scope="module")(serve_s7)
TIMEOUT_S = 1.0
"""Good answers must come in it, too: this machine may be busy."""

# four blocks far apart: one request of four items, the second of an odd length
TAGS = [
    ("a", "DB1.DBD0", "real"),
    ("b", "DB1.DBB100", "byte[3]"),
    ("c", "DB1.DBD200", "dint"),
    ("d", "DB1.DBB300", "string[8]"),
]
TRUE = {"a": 1.25, "b_0": 7, "b_1": 8, "b_2": 9, "c": -5, "d": "kiln"}


@pytest.fixture
def proxy(peer: S7Peer) -> Iterator[FaultProxy]:
    peer.db(1, 400)
    peer.write(1, 0, struct.pack(">f", 1.25))
    peer.write(1, 100, bytes((7, 8, 9)))
    peer.write(1, 200, struct.pack(">i", -5))
    peer.write(1, 300, b"\x08\x04kiln")
    with FaultProxy(peer.port) as proxy:
        yield proxy


@pytest.fixture
def driver(proxy: FaultProxy) -> Iterator[S7Driver]:
    driver = s7_device(TAGS, proxy.port, timeout_s=TIMEOUT_S)
    driver.connect()
    assert read_values(driver) == {name: (value, "GOOD") for name, value in TRUE.items()}
    yield driver
    driver.close()


def lost(driver: S7Driver) -> str:
    """Why the next poll fails. Afterwards the driver must not go on with that connection."""
    with pytest.raises(DeviceUnavailable) as caught:
        driver.read(driver.groups[0])
    with pytest.raises(DeviceUnavailable, match="closed"):
        driver.read(driver.groups[0])
    return caught.value.reason


def assert_healed(driver: S7Driver, proxy: FaultProxy) -> None:
    proxy.mangle = s7_faults.honest
    expected = {name: (value, "GOOD") for name, value in TRUE.items()}

    def heals() -> bool:
        driver.close()
        try:  # on a busy machine the short time-out may pass here, too
            driver.connect()
            return read_values(driver) == expected
        except DeviceUnavailable:
            return False

    until(heals)


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        (0x0A, "no_such_object"),
        (0x05, "address_out_of_range"),
        (0x03, "access_denied"),
        (0x06, "type"),
        (0x07, "type"),
        (0x77, "code_0x77"),
    ],
)
def test_one_refused_item_of_a_batch_is_bad_and_the_others_are_good(
    driver: S7Driver,
    proxy: FaultProxy,
    code: int,
    reason: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuse_c(request: bytes, answer: bytes) -> Iterable[Piece]:
        starts = [request[i + 9 : i + 12] for i in range(19, len(request), 12)]
        number = next((i for i, at in enumerate(starts) if at == bytes((0, 6, 64))), None)
        return [answer if number is None else s7_faults.refusing(answer, number, code)]

    proxy.mangle = refuse_c
    for _ in range(3):
        values = read_values(driver)
        assert values.pop("c") == (None, f"BAD:{reason}")
        assert values == {name: (v, "GOOD") for name, v in TRUE.items() if name != "c"}
    assert driver.quarantined() == [("process", "c", reason)]
    monkeypatch.setattr(merged, "RETRY_S", 0.0)
    driver._states[0].retry_at = 0.0
    assert_healed(driver, proxy)


def test_an_answer_that_comes_late_is_never_taken_for_the_next(
    driver: S7Driver, proxy: FaultProxy, peer: S7Peer
) -> None:
    proxy.mangle = lambda _, answer: [4 * TIMEOUT_S, answer]
    begun = time.monotonic()
    assert lost(driver) == "timeout"
    assert time.monotonic() - begun < 4 * TIMEOUT_S, "not until the answer came"
    assert_healed(driver, proxy)


def test_an_answer_to_the_request_before_is_refused(driver: S7Driver, proxy: FaultProxy) -> None:
    before: list[bytes] = []

    def delayed_by_one(_: bytes, answer: bytes) -> Iterable[Piece]:
        before.append(answer)
        return [before[-2]] if len(before) > 1 else [answer]

    proxy.mangle = delayed_by_one
    assert read_values(driver)["a"] == (1.25, "GOOD")
    assert lost(driver) == "protocol"
    assert_healed(driver, proxy)


@pytest.mark.parametrize("step", [-1, 1, 256])
def test_a_wrong_sequence_number_is_refused(driver: S7Driver, proxy: FaultProxy, step: int) -> None:
    proxy.mangle = lambda _, answer: [s7_faults.resequenced(answer, step)]
    assert lost(driver) == "protocol"
    assert_healed(driver, proxy)


def _changed(answer: bytes, order: list[int], count: int | None = None) -> bytes:
    found = s7_faults.items(answer)
    return s7_faults.with_items(answer, [found[i] for i in order], count)


MALFORMED: dict[str, Mangle] = {
    "items in another order": lambda _, a: [_changed(a, [1, 0, 2, 3])],
    "an item too few": lambda _, a: [_changed(a, [0, 1, 2])],
    "an item too few, counted": lambda _, a: [_changed(a, [0, 1, 2], 4)],
    "an item too many": lambda _, a: [_changed(a, [0, 1, 2, 3, 3])],
    "an item too many, not counted": lambda _, a: [_changed(a, [0, 1, 2, 3, 3], 4)],
    "last item cut short": lambda _, a: [s7_faults.with_items(a[:-4], s7_faults.items(a[:-4]))],
    "an answer twice": lambda _, a: [a + a],
    "another function": lambda _, a: [a[:19] + b"\x05" + a[20:]],
    "a job": lambda _, a: [a[:8] + b"\x01" + a[9:]],
    "another protocol": lambda _, a: [a[:7] + b"\x72" + a[8:]],
    "a COTP disconnect": lambda _, a: [bytes.fromhex("0300000b 06 80 0001 0001 00")],
    "an empty frame": lambda _, a: [bytes.fromhex("03000007 02f080")],
    "a frame shorter than its header": lambda _, a: [bytes.fromhex("03000003") + a],
    "an endless frame": lambda _, a: [bytes.fromhex("0300ffff 02f080") + bytes(65528)],
    "endless fragments": lambda _, a: [bytes.fromhex("03000007 02f000") * 2000],
    "an HTTP server": lambda _, a: [b"HTTP/1.1 400 Bad Request\r\n\r\n"],
    "zeros": lambda _, a: [bytes(500)],
}


@pytest.mark.parametrize("fault", MALFORMED)
def test_a_malformed_answer_gives_no_value(driver: S7Driver, proxy: FaultProxy, fault: str) -> None:
    proxy.mangle = MALFORMED[fault]
    assert lost(driver) == "protocol"
    assert_healed(driver, proxy)


@pytest.mark.parametrize("cut", [1, 5, 12, 20, 30, 58])
def test_a_truncated_answer_gives_no_value(driver: S7Driver, proxy: FaultProxy, cut: int) -> None:
    proxy.mangle = lambda _, answer: [answer[:cut]]
    assert lost(driver) == "timeout"
    assert_healed(driver, proxy)
    proxy.mangle = lambda _, answer: [answer[:cut], s7_faults.HANG_UP]
    assert lost(driver) == "closed"
    assert_healed(driver, proxy)


def test_garbage_in_the_headers_never_gives_a_wrong_good_value(
    driver: S7Driver, proxy: FaultProxy
) -> None:
    """One byte of the headers at a time becomes another: error, BAD, or the true value."""
    noise = random.Random(7)
    places = [*range(25), 29, 30, 31, 32]
    good = 0
    for place in places:
        for _ in range(4):
            value = noise.randrange(256)
            proxy.mangle = (
                lambda _, a, at=place, to=value: [  # type: ignore[misc]
                    a[:at] + bytes((to,)) + a[at + 1 :]
                ]
            )
            if driver._link is None or driver._link.socket is None:
                driver.connect()
            for state in driver._states:
                state.suspended.clear()
                state.suspects.clear()
                state.requests = None
            try:
                (row,) = driver.read(driver.groups[0])
            except DeviceUnavailable:
                continue
            for name, seen, mark in row.items():
                if mark is None or mark.quality is not Quality.BAD:
                    assert seen == TRUE[name], (place, value, name)
                    good += 1
    assert good, "nothing was read at all"
    driver.close()


def test_a_peer_that_drips_bytes_does_not_hold_longer_than_the_time_out(
    driver: S7Driver, proxy: FaultProxy
) -> None:
    def drip(_: bytes, answer: bytes) -> Iterable[Piece]:
        for byte in answer:
            yield bytes((byte,))
            yield 0.2

    proxy.mangle = drip
    begun = time.monotonic()
    assert lost(driver) == "timeout"
    assert TIMEOUT_S * 0.9 < time.monotonic() - begun < 4 * TIMEOUT_S
    assert_healed(driver, proxy)


def test_answers_in_pieces_of_tcp_or_cotp_are_put_together(
    driver: S7Driver, proxy: FaultProxy
) -> None:
    expected = {name: (value, "GOOD") for name, value in TRUE.items()}
    proxy.mangle = lambda _, answer: (
        piece for i in range(0, len(answer), 5) for piece in (answer[i : i + 5], 0.0005)
    )
    assert read_values(driver) == expected
    for size in (1, 7, 40):
        proxy.mangle = lambda _, answer, n=size: [s7_faults.fragmented(answer, n)]  # type: ignore[misc]
        assert read_values(driver) == expected
    proxy.mangle = lambda _, answer: (
        p for f in s7_faults.fragmented(answer, 9) for p in (bytes((f,)),)
    )
    assert read_values(driver) == expected


def test_without_put_get_access_every_tag_says_so(driver: S7Driver, proxy: FaultProxy) -> None:
    asked = []

    def refuse(request: bytes, _: bytes) -> Iterable[Piece]:
        asked.append(request)
        return [s7_faults.header_error(request, 0x8104)]

    proxy.mangle = refuse
    for _ in range(3):
        assert set(read_values(driver).values()) == {(None, "BAD:put_get_refused")}
    assert len(asked) == 1, "it is pointless to ask for each by itself"
    assert "PUT/GET" in driver.status()["hint"]


def test_a_refusal_of_the_whole_request_is_traced_to_the_tag_that_causes_it(
    driver: S7Driver, proxy: FaultProxy
) -> None:
    def refuse(request: bytes, answer: bytes) -> Iterable[Piece]:
        starts = [request[i + 9 : i + 12] for i in range(19, len(request), 12)]
        whole = bytes((0, 6, 64)) in starts
        return [s7_faults.header_error(request, 0x8500) if whole else answer]

    proxy.mangle = refuse
    for _ in range(2):
        values = read_values(driver)
        assert values.pop("c") == (None, "BAD:code_0x8500")
        assert values == {name: (v, "GOOD") for name, v in TRUE.items() if name != "c"}
    assert len(driver.plan(driver.groups[0])) == 1


@pytest.mark.parametrize("how", ["silent", "hangs up"])
def test_a_peer_that_knows_no_cpu_state_is_read_all_the_same(
    proxy: FaultProxy, how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    proxy.mangle_state = lambda *_: [] if how == "silent" else [s7_faults.HANG_UP]
    driver = s7_device(TAGS, proxy.port, timeout_s=TIMEOUT_S)
    for _ in range(2):
        driver.connect()
        with pytest.raises(DeviceUnavailable):
            driver.read(driver.groups[0])
    for _ in range(2):
        driver.connect()
        assert read_values(driver)["a"] == (1.25, "GOOD")
        assert driver.status()["cpu_state"] == "unknown"
    # it may have been busy starting: an hour later it is asked again
    proxy.mangle_state = s7_faults.honest
    monkeypatch.setattr(driver, "_state_again_at", 0.0)
    driver.connect()
    assert read_values(driver)["a"] == (1.25, "GOOD")
    assert driver.status()["cpu_state"] == "run"
    driver.close()


def test_a_refused_question_for_the_state_is_not_repeated(proxy: FaultProxy) -> None:
    asked = []

    def refuse(_: bytes, answer: bytes) -> Iterable[Piece]:
        asked.append(answer)
        # as CPUs do that lack the list: error 0xD401 in the parameters, nothing in the data
        pdu = answer[7:13] + struct.pack(">HH", 12, 4) + answer[17:27] + b"\xd4\x01\x0a\0\0\0"
        return [struct.pack(">BBHBBB", 3, 0, len(pdu) + 7, 2, 0xF0, 0x80) + pdu]

    proxy.mangle_state = refuse
    driver = s7_device(TAGS, proxy.port)
    driver.connect()
    for _ in range(3):
        assert read_values(driver)["a"] == (1.25, "GOOD")
        driver._ask_state_at = min(driver._ask_state_at, float("inf"))
    assert len(asked) == 1
    driver.close()
    driver.connect()
    read_values(driver)
    assert len(asked) == 2
    driver.close()


def test_a_host_whose_packets_vanish_is_given_up_within_the_time_out() -> None:
    with socket.create_server(("127.0.0.1", 0), backlog=0) as full:
        where = full.getsockname()
        waiting = []
        for _ in range(4):  # with its queue full, the kernel drops what comes
            waiting.append(socket.socket())
            waiting[-1].setblocking(False)
            waiting[-1].connect_ex(where)
        driver = s7_device(TAGS, where[1], timeout_s=TIMEOUT_S)
        begun = time.monotonic()
        with pytest.raises(DeviceUnavailable, match="timeout"):
            driver.connect()
        assert time.monotonic() - begun < TIMEOUT_S + 3, "the kernel alone tries for minutes"
        driver.close()
        for link in waiting:
            link.close()


def test_interrupt_frees_a_waiting_read(proxy: FaultProxy) -> None:
    driver = s7_device(TAGS, proxy.port, timeout_s=30)

    def interrupting(*_: bytes) -> Iterable[Piece]:
        driver.interrupt()  # in the proxy's thread, while the driver waits
        return []

    driver.connect()
    proxy.mangle = interrupting
    begun = time.monotonic()
    assert lost(driver) == "closed"
    assert time.monotonic() - begun < 15, "half the time-out"
