"""Merged reads of an independent server: plans, PDU lengths, bad tags, STOP, no torn value."""

from __future__ import annotations

import struct
import time

import numpy as np
import pytest

from drivers.s7 import driver as s7_driver
from drivers.s7.driver import S7Driver
from gateway import merged
from gateway.errors import DeviceUnavailable
from tests.sims.s7_peer import S7Peer, read_values, s7_device, serve_s7
from tests.support import until

peer = pytest.fixture(scope="module")(serve_s7)


def reals(count: int, db: int = 1) -> list[tuple[str, str, str]]:
    return [(f"r{i}", f"DB{db}.DBD{4 * i}", "real") for i in range(count)]


@pytest.mark.parametrize(("pdu", "block"), [(240, 222), (480, 462), (960, 942)])
def test_the_negotiated_pdu_is_filled_and_no_value_is_cut(
    peer: S7Peer, pdu: int, block: int
) -> None:
    peer.db(1, 4000)
    values = np.arange(1000, dtype="f4")
    peer.write(1, 0, values.astype(">f4").tobytes())
    driver = s7_device(reals(1000), peer.port, pdu=pdu)
    driver.connect()
    try:
        assert driver.status()["pdu_bytes"] == pdu
        per_request = block // 4
        assert [request.bytes for request in driver.plan(driver.groups[0])] == [
            4 * min(per_request, 1000 - i) for i in range(0, 1000, per_request)
        ]
        (row,) = driver.read(driver.groups[0])
        assert row.marks is None
        assert row.parts[0] == pytest.approx(values)
    finally:
        driver.close()


@pytest.mark.parametrize(("pdu", "at_most"), [(240, 19), (960, 20)])
def test_scattered_tags_share_requests_within_the_limits(
    peer: S7Peer, pdu: int, at_most: int
) -> None:
    peer.db(1, 4100)
    # 3 bytes: every block but the last is followed by a filler byte
    tags = [(f"v{i}", f"DB1.DBB{100 * i}", "byte[3]") for i in range(41)]
    for i in range(41):
        peer.write(1, 100 * i, bytes((i, i + 1, i + 2)))
    driver = s7_device(tags, peer.port, pdu=pdu)
    driver.connect()
    try:
        plan = driver.plan(driver.groups[0])
        assert [request.tags for request in plan] == [
            3 * min(at_most, 41 - i) for i in range(0, 41, at_most)
        ]
        assert list(read_values(driver).values()) == [
            (i + k, "GOOD") for i in range(41) for k in range(3)
        ]
    finally:
        driver.close()


def test_a_plan_before_connecting_assumes_the_usual_pdu() -> None:
    driver = s7_device(reals(200), 1)
    assert [r.text for r in driver.plan(driver.groups[0])] == [
        "DB1.DBB0..459", "DB1.DBB460..799",
    ]  # fmt: skip
    timers = s7_device([("a", "T3", "s5time[4]"), ("b", "Z9", "uint"), ("c", "M0.1", "bool")], 1)
    assert [r.text for r in timers.plan(timers.groups[0])] == ["T3..6, C9, MB0"]


def test_a_value_longer_than_a_request_is_read_and_marked_as_split(peer: S7Peer) -> None:
    text = "".join(chr(65 + i % 26) for i in range(250))
    peer.db(1, 600)
    peer.write(1, 0, struct.pack(">HH", 250, 250) + text.encode("utf-16-be"))
    peer.write(1, 510, struct.pack(">h", 7))
    driver = s7_device([("s", "DB1.DBB0", "wstring[250]"), ("i", "DB1.DBW510", "int")], peer.port)
    driver.connect()
    assert read_values(driver) == {"s": (text, "GOOD"), "i": (7, "GOOD")}
    driver.close()
    driver = s7_device(
        [("s", "DB1.DBB0", "wstring[250]"), ("i", "DB1.DBW510", "int")], peer.port, pdu=240
    )
    driver.connect()
    assert read_values(driver) == {"s": (text, "UNCERTAIN:split"), "i": (7, "GOOD")}
    driver.close()


def test_bad_tags_are_isolated_and_heal_while_the_others_stay_good_and_merged(
    peer: S7Peer, monkeypatch: pytest.MonkeyPatch
) -> None:
    peer.db(1, 400)
    peer.write(1, 0, np.arange(100, dtype=">f4").tobytes())
    tags = [*reals(100), ("beyond", "DB1.DBD404", "real"), ("nowhere", "DB77.DBW0", "int")]
    driver = s7_device(tags, peer.port)
    driver.connect()
    try:
        values = read_values(driver)
        until(lambda: len(driver.quarantined()) == 2 and read_values(driver)["r99"][1] == "GOOD")
        values = read_values(driver)
        assert values.pop("beyond") == (None, "BAD:address_out_of_range")
        assert values.pop("nowhere") == (None, "BAD:no_such_object")
        assert values == {f"r{i}": (float(i), "GOOD") for i in range(100)}
        assert sorted(driver.quarantined()) == [
            ("process", "beyond", "address_out_of_range"),
            ("process", "nowhere", "no_such_object"),
        ]
        assert [r.text for r in driver.plan(driver.groups[0])] == ["DB1.DBB0..399"]

        peer.db(1, 500)
        peer.write(1, 404, struct.pack(">f", 2.5))
        peer.db(77, 2)
        peer.write(77, 0, b"\x00\x09")
        assert read_values(driver)["nowhere"] == (None, "BAD:no_such_object")  # not yet retried
        driver._states[0].retry_at = 0.0
        monkeypatch.setattr(merged, "RETRY_S", 0.0)
        values = until(lambda: v if (v := read_values(driver))["beyond"][1] == "GOOD" else None)
        assert values["beyond"] == (2.5, "GOOD")
        assert values["nowhere"] == (9, "GOOD")
        assert not driver.quarantined()
        assert [r.text for r in driver.plan(driver.groups[0])] == ["DB1.DBB0..407, DB77.DBB0..1"]
    finally:
        driver.close()


def test_a_missing_data_block_costs_no_bisecting(peer: S7Peer) -> None:
    driver = s7_device(reals(1000, db=66), peer.port)
    driver.connect()
    try:
        sent = []
        exchange = driver.exchange
        driver.exchange = lambda prepared: sent.append(1) or exchange(prepared)  # type: ignore[method-assign]
        for _ in range(4):
            (row,) = driver.read(driver.groups[0])
            assert row.all_bad
        first = len(sent)
        assert first == 5
        driver.read(driver.groups[0])
        assert len(sent) == first
    finally:
        driver.close()


def test_stop_makes_every_value_uncertain_until_the_cpu_runs_again(
    peer: S7Peer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(s7_driver, "STATE_EVERY_S", 0.0)
    peer.db(1, 4)
    peer.write(1, 0, struct.pack(">f", 1.5))
    driver = s7_device([*reals(1), ("gone", "DB66.DBW0", "int")], peer.port)
    driver.connect()
    try:
        peer.cpu(running=False)
        values = read_values(driver)
        assert values == {"r0": (1.5, "UNCERTAIN:cpu_stop"), "gone": (None, "BAD:no_such_object")}
        assert driver.status()["cpu_state"] == "stop"
        peer.cpu(running=True)
        assert read_values(driver)["r0"] == (1.5, "GOOD")
        status = driver.status()
        assert (status["cpu_state"], status["pdu_bytes"]) == ("run", 960)
        assert status["connection"] == "basic"
    finally:
        peer.cpu(running=True)
        driver.close()


def test_the_state_is_asked_at_most_once_a_second(
    peer: S7Peer, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert s7_driver.STATE_EVERY_S == 1.0
    # else the second may be over on a busy machine
    monkeypatch.setattr(s7_driver, "STATE_EVERY_S", 600.0)
    peer.db(1, 4)
    driver = s7_device(reals(1), peer.port)
    driver.connect()
    try:
        begun = time.monotonic()
        read_values(driver)
        assert driver._link is not None
        first = driver._link._sequence
        while time.monotonic() < begun + 0.3:
            read_values(driver)
            first += 1
        assert driver._link._sequence == first
    finally:
        driver.close()


def test_10000_reads_of_a_changing_block_show_no_torn_value(peer: S7Peer) -> None:
    """The peer makes all bytes of the block equal to a number that changes every 50 ms."""
    size = 900
    peer.db(2, size)
    peer.move(2, "same")
    kinds = [("real", 4), ("lreal", 8), ("dint", 4), ("byte", 1), ("lint", 8), ("int", 2)]
    tags, at = [], 0
    while at + 8 <= size:
        kind, wide = kinds[len(tags) % len(kinds)]
        tags.append((f"v{len(tags)}", f"DB2.DBB{at}", kind))
        at += wide
    driver = s7_device(tags, peer.port, pdu=240, timeout_s=10.0)
    driver.connect()
    moves = peer.ticks()
    rows = []
    try:
        (group,) = driver.groups
        assert len(driver.plan(group)) >= 4
        for _ in range(10_000):
            rows += driver.read(group)
    finally:
        driver.close()
        peer.move(2, "none")
    assert not any(row.marks for row in rows)
    first, last = np.full(10_000, 255), np.zeros(10_000, int)
    for number, part in enumerate(driver.groups[0].tables[0].parts):
        values = np.array([row.parts[number] for row in rows])
        if part.kind[0] == "f":
            low = values.view("u1")[:, :: values.itemsize].astype(int)
            torn = values.view("u1") != np.repeat(low, values.itemsize, axis=1)
        else:
            low = values & 0xFF
            torn = ~np.any([values == low * int("01" * n, 16) for n in (1, 2, 4, 8)], axis=0)
        assert not torn.any(), f"torn: {values[torn.any(axis=1)][0]}"
        first, last = np.minimum(first, low.min(axis=1)), np.maximum(last, low.max(axis=1))
    assert peer.ticks() - moves > 10
    assert (first != last).any(), "no read met a change: the test proved nothing"


def test_tsaps_are_used_as_given(peer: S7Peer) -> None:
    peer.db(1, 4)
    driver = s7_device(reals(1), peer.port, local_tsap="03.00", remote_tsap="0301")
    driver.connect()
    assert read_values(driver)["r0"][1] == "GOOD"
    assert driver.status()["connection"] == "tsap"
    driver.close()


def test_a_connection_that_was_closed_can_be_made_again(peer: S7Peer) -> None:
    peer.db(1, 4)
    driver = s7_device(reals(1), peer.port)
    for _ in range(3):
        with pytest.raises(DeviceUnavailable, match="not connected"):
            driver.read(driver.groups[0])
    for _ in range(3):
        driver.connect()
        assert read_values(driver)["r0"][1] == "GOOD"
        assert driver.status()["cpu_state"] == "run"
    driver.close()
    driver.close()
    with pytest.raises(DeviceUnavailable):
        driver.read(driver.groups[0])


def test_probe_shows_raw_bytes_types_neighbours_and_swapped_words(peer: S7Peer) -> None:
    peer.db(1, 40)
    peer.write(1, 0, struct.pack(">5f", 1.5, 2.5, 3.5, 4.5, 5.5))
    peer.write(1, 20, b"\x0a\x03abc")
    driver = s7_device([("x", "DB1.DBD0", "real")], peer.port)

    def probed(address: str) -> dict[str, str]:
        found = driver.probe(address)
        return {"raw": found.raw.hex(), **dict(found.readings)}

    seen = probed("DB1.DBD8")  # not connected: it connects for this and closes again
    assert isinstance(driver, S7Driver)
    assert driver._link is None
    assert seen["raw"] == "40600000"
    assert (seen["real"], seen["dint"]) == ("3.5", "1080033280")
    assert (seen["DB1.DBD4 real"], seen["DB1.DBD12 real"]) == ("2.5", "4.5")
    assert seen["dint, words swapped"] == str(0x00004060)
    driver.connect()
    assert probed("DB1.DBB20")["string[10]"] == "'abc'"
    assert probed("DB1.DBB36")["dword"] == "0"  # the longer types would leave the block
    assert probed("DB1.DBX8.6")["bool 8.6"] == "true"
    assert driver._link is not None
    with pytest.raises(ValueError, match="no_such_object"):
        driver.probe("DB9.DBD0")
    with pytest.raises(ValueError, match=r"did you mean 'DB1\.DBD4'"):
        driver.probe("DB1,REAL4")
    driver.close()
