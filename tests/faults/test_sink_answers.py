"""Servers that answer wrongly, all at once: a gateway with a sink and a bucket for each fault."""

from __future__ import annotations

from typing import NamedTuple

import pytest

from tests.faults.conftest import Proof
from tests.faults.gate import Gate
from tests.faults.results import size
from tests.sims.http_faults import Answer, drip, drip_body, hang, huge_body, reset, said
from tests.support import until

TIMES = size(2, 8)
"""Wrong answers of each kind; the pause before the next try doubles."""


class Wrong(NamedTuple):
    """What a server says, whether it has stored the rows, and what the status must show."""

    answer: Answer
    stores: bool = False
    state: str = "retrying"


PORTAL = said("200 OK", b"<html>Please log in</html>", "Content-Type: text/html")
WRONG: dict[str, Wrong] = {
    "portal_200": Wrong(PORTAL),
    "accepted_202": Wrong(said("202 Accepted")),
    "moved_301": Wrong(said("301 Moved", b"", "Location: http://127.0.0.1:1/")),
    "found_302": Wrong(said("302 Found", b"", "Location: http://127.0.0.1:1/")),
    "temporary_307": Wrong(said("307 Temporary Redirect", b"", "Location: http://127.0.0.1:1/")),
    "timeout_408": Wrong(said("408 Request Timeout")),
    "early_425": Wrong(said("425 Too Early")),
    "busy_429": Wrong(said("429 Too Many Requests", b"", "Retry-After: 2")),
    "error_500": Wrong(said("500 Internal Server Error", b"oops"), stores=True),
    "latin_1_502": Wrong(said("502 Bad Gateway", "nicht verf\xfcgbar".encode("latin-1"))),
    "away_503": Wrong(said("503 Service Unavailable", b"", "Retry-After: 1")),
    "gateway_timeout_504": Wrong(said("504 Gateway Timeout"), stores=True),
    "revoked_401": Wrong(said("401 Unauthorized", b'{"message":"unauthorized"}'), state="blocked"),
    "forbidden_403": Wrong(said("403 Forbidden", b'{"message":"no"}'), state="blocked"),
    "bucket_gone_404": Wrong(said("404 Not Found", b'{"message":"bucket"}'), state="blocked"),
    "garbage": Wrong(b"\x00\xff\x17 no http at all\r\n\r\n"),
    "closed": Wrong(b""),
    "closed_after_storing": Wrong(b"", stores=True),
    "cut_status_line": Wrong(b"HTTP/1.1 50", stores=True),
    "torn_down": Wrong(reset),
    "torn_down_after_storing": Wrong(reset, stores=True),
    "no_answer": Wrong(hang),
    "no_answer_after_storing": Wrong(hang, stores=True),
    "dripping_head": Wrong(drip),
    "dripping_page": Wrong(drip_body),
    "page_of_100_mb": Wrong(huge_body),
}


@pytest.mark.timeout(size(180, 1200))
def test_wrong_answers(proof: Proof) -> None:
    """Server answers wrongly."""
    rig = proof.rig()
    assert rig.influx is not None
    gates = {name: Gate(rig.influx.url) for name in WRONG}
    for name, gate in gates.items():
        proof.cleanups.append(gate.close)
        rig.sinks[name] = gate.url
    rig.write_config()
    rig.start()
    rig.run_for(20)
    for name in gates:  # an illness of a busy machine would be taken for that of the fault
        rig.settled(60, name)
    for name, wrong in WRONG.items():
        gates[name].stores, gates[name].fault = wrong.stores, wrong.answer
    seen: dict[str, tuple[str, str]] = {}

    def all_seen() -> bool:
        faulted = {name: gate.faulted for name, gate in gates.items()}  # before the status
        status = rig.told()
        for name, gate in gates.items():
            sink = status["sinks"][name]
            if faulted[name] and sink["state"] != "good":
                seen[name] = sink["state"], sink["error"]
            enough = 1 if WRONG[name].state == "blocked" else TIMES
            if faulted[name] >= enough and name in seen:
                gate.fault = None
        return all(gate.fault is None for gate in gates.values())

    until(all_seen, size(60, 900), "every sink to have met its fault")
    for name in gates:
        rig.settled(90, name)
    rig.stop()
    for name, gate in gates.items():
        assert seen[name][0] == WRONG[name].state, seen[name]
        assert seen[name][1], "the status says why"
        case = name.replace("_", " ")
        proof.holds(gate.faulted, "wrong answers", rig.verdict(name), case=case)
