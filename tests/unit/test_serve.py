"""Parts of `gateway serve`: names, numbers of transitions, signed sessions, the merged status."""

from __future__ import annotations

import time
from datetime import date
from pathlib import Path
from typing import Any

import orjson
import pytest

from gateway.api.sessions import LIFE_S
from gateway.api.tokens import Token
from gateway.errors import GatewayError
from gateway.serve import status
from gateway.serve.feed import Known
from gateway.serve.names import fleet_name, own_name
from gateway.serve.sessions import SignedSessions
from gateway.serve.transitions import KEPT, Log, entry_of, number_of

TRANSITION = {
    "number": 7,
    "time_ns": 1_790_000_000_000_000_000,
    "id": "press/force.high",
    "device": "press",
    "alarm": "force.high",
    "severity": "high",
    "from_state": "normal",
    "state": "unacknowledged",
    "condition": "high",
    "message": "force is high",
    "value": 50.0,
    "limit": 30.0,
    "unit": "kN",
    "who": "",
    "why": "",
    "first_out": True,
}


def fields(gateway: str = "hall-1", **more: Any) -> dict[bytes, bytes]:
    return {b"g": gateway.encode(), b"t": orjson.dumps({**TRANSITION, **more})}


def test_a_name_leads_to_the_gateway_whose_name_fits_best() -> None:
    gateways = ["hall", "hall:2", "north"]
    assert own_name(fleet_name("hall", "press/x:y"), gateways) == ("hall", "press/x:y")
    assert own_name("hall:2:press", gateways) == ("hall:2", "press")
    assert own_name("south:press", gateways) is None


def test_numbers_rise_with_the_ids_of_redis_and_javascript_holds_them() -> None:
    ids = [b"1790000000000-0", b"1790000000000-1", b"1790000000001-0", b"1790000000010-999"]
    numbers = [number_of(id_) for id_ in ids]
    assert numbers == sorted(set(numbers))
    assert number_of(b"4102444800000-999") < 2**53  # the year 2100


def test_a_transition_that_was_sent_again_counts_once() -> None:
    log = Log()
    first = entry_of(b"1790000000000-0", fields())
    again = entry_of(b"1790000000500-0", fields())
    other = entry_of(b"1790000000500-1", fields("hall-2"))
    assert first is not None
    assert again is not None
    assert other is not None
    assert [log.add(e) for e in (first, again, other)] == [True, False, True]
    assert [e.document["id"] for e in log.newest()] == [
        "hall-2:press/force.high",
        "hall-1:press/force.high",
    ]
    assert log.find("hall-1", 7, TRANSITION["time_ns"]) == number_of(b"1790000000000-0")
    for n in range(KEPT + 10):
        entry = entry_of(b"1790000001000-%d" % n, fields(number=100 + n))
        assert entry is not None
        log.add(entry)
    assert len(log.newest()) == KEPT == len(log._known)


@pytest.mark.parametrize(
    "given",
    [
        {},
        {b"g": b"hall-1", b"t": b"no JSON"},
        {b"g": b"hall-1", b"t": b"[1]"},
        fields(state="on fire"),
        fields(number=None),
        {b"g": b"\xff", b"t": b"{}"},
    ],
)
def test_what_is_no_transition_is_none(given: dict[bytes, bytes]) -> None:
    assert entry_of(b"1-0", given) is None


def _sessions(folder: Path, key: str = "k" * 40) -> SignedSessions:
    path = folder / "key"
    path.write_text(key)
    return SignedSessions(path)


def test_a_session_of_one_node_is_known_at_another_until_it_ends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, two = _sessions(tmp_path), _sessions(tmp_path)
    token = Token("anna", "operator", b"d" * 32, date(2026, 1, 1), date(2027, 1, 1))
    cookie, begun = one.begin(token)
    found = two.find(cookie)
    assert found is not None
    assert (found.token, found.expires_ns, found.by_code) == (token, begun.expires_ns, False)
    by_code = two.find(one.begin_by_code("bob")[0])
    assert by_code is not None
    assert by_code.by_code
    assert by_code.token.name == "bob"
    payload, _, mac = cookie.partition(".")
    for forged in (payload, f"{payload}.", f"{payload}A.{mac}", f".{mac}", "ä.ö", mac * 100):
        assert two.find(forged) is None
    assert _sessions(tmp_path, "x" * 40).find(cookie) is None
    two.end(cookie)
    assert two.find(cookie) is None
    later_ns = time.time_ns() + LIFE_S * 10**9
    monkeypatch.setattr(time, "time_ns", lambda: later_ns)
    assert one.find(cookie) is None


def test_a_key_that_is_short_or_missing_is_no_key(tmp_path: Path) -> None:
    with pytest.raises(GatewayError, match="less than 32"):
        _sessions(tmp_path, "short")
    with pytest.raises(GatewayError, match="No such file"):
        SignedSessions(tmp_path / "none")


def test_the_status_of_all_names_each_part_and_what_is_gone() -> None:
    device = {"state": "good", "reason": None, "since_s": 1.0}
    document = {
        "state": "good",
        "problems": ["sink influx: refused"],
        "devices": {"press": device, "old": {**device, "state": "disabled"}},
        "sinks": {"influx": {"state": "retrying"}},
        "losses": {"spool_bound": 3},
    }
    merged = status.merged(
        {
            "hall-1": Known(document, b""),
            "hall-2": Known(document, b"", time.monotonic() - 60.0),
            "hall-3": Known({}, b"x"),
        }
    )
    states = {name: each["state"] for name, each in merged["devices"].items()}
    assert states == {
        "hall-1:press": "good",
        "hall-1:old": "disabled",
        "hall-2:press": "lost",
        "hall-2:old": "disabled",
    }
    assert merged["devices"]["hall-2:press"]["since_s"] >= 60.0
    assert merged["losses"] == {"spool_bound": 6}
    assert set(merged["sinks"]) == {"hall-1:influx", "hall-2:influx"}
    assert merged["problems"] == [
        "gateway hall-1: sink influx: refused",
        "gateway hall-2: no sign of life; its values are not known",
        "gateway hall-3: its status cannot be read",
    ]
    assert document["devices"]["press"]["state"] == "good"  # what was given is left alone
