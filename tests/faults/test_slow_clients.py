"""Every GET route, asked by clients that never read the answer or never end the question."""

from __future__ import annotations

import math
import select
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlencode

import anyio
import orjson
import pytest

from gateway.api.app import make_app
from gateway.api.protocol import MAX_CONNECTIONS, REQUEST_S, STALL_S
from gateway.api.settings import ApiConfig
from tests.faults.clients import Newcomers
from tests.faults.conftest import Proof
from tests.faults.results import size
from tests.faults.rig import Rig
from tests.unit.apikit import Plant

QUESTIONS = {
    "/v1/read": {"device": "load"},
    "/v1/probe": {"device": "load", "address": "T0"},
    "/v1/history": {"device": "plc", "tag": "n"},
    "/v1/trends": {"tag": "plc:n"},
    "/v1/features": {"device": "stream", "channel": "a"},
    "/v1/waveform": {"device": "stream", "channel": "a"},
    "/v1/spectrum": {"device": "stream", "channel": "a"},
    "/v1/capture.npz": {"device": "stream", "channel": "a"},
    "/v1/alarms/capture.npz": {"name": "none"},
}
"""Parameters for each route that must have some."""

AGAIN = 1500
"""So many questions on one connection fill every buffer with answers that nobody reads."""

FILLED_S = 60.0
"""Until the buffers of all connections are full, on a busy machine: thousands of answers."""

ANSWER_S = 0.75 * STALL_S
"""Who had to wait for one that does not read would wait until that is cut off."""

MEMORY_KB = 30_000
"""What waits for each client is bounded."""


def described() -> dict[str, Any]:
    """What the app says of itself, asked without a server."""
    app = make_app(Plant(), ApiConfig(socket=Path("s")))
    body = bytearray()

    async def receive() -> dict[str, Any]:
        return {"type": "http.request"}

    async def send(message: Any) -> None:
        body.extend(message.get("body", b""))

    scope = {"type": "http", "method": "GET", "path": "/openapi.json", "query_string": b""}
    scope |= {"headers": [], "state": {"is_local": True}}
    anyio.run(app, scope, receive, send)
    document: dict[str, Any] = orjson.loads(body)
    return document


ROUTES = {
    "/": [],
    "/openapi.json": [],
    **{
        path: [p["name"] for p in operations["get"].get("parameters", []) if p["required"]]
        for path, operations in described()["paths"].items()
        if "get" in operations
    },
}
"""Each GET route, and the parameters that it must have."""


class Outcome(NamedTuple):
    """What became of all the slow clients."""

    gone_s: dict[tuple[str, bool], list[float]]
    """By route, and whether they asked: when each was cut off; infinite where it was not."""
    rig: Rig
    newcomers: Newcomers
    memory_kb: tuple[int, int]
    """Before, and the most."""
    cut_off: dict[str, int]
    """What the gateway says of it."""


def _question(path: str) -> bytes:
    words = urlencode(QUESTIONS.get(path, {}))
    return f"GET {path}{words and '?' + words} HTTP/1.1\r\nHost: localhost\r\n".encode()


def _watch(rig: Rig, newcomers: Newcomers, links: dict[int, tuple[str, bool]]) -> Outcome:
    """Wait until all are cut off, or as long as that may take."""
    poll = select.poll()
    for fd in links:
        poll.register(fd, 0)  # that it was hung up is told unasked
    gone: dict[tuple[str, bool], list[float]] = {key: [] for key in links.values()}
    before = most = rig.uses()[0]
    begun = time.monotonic()
    end = begun + max(REQUEST_S, STALL_S) + FILLED_S
    while links and time.monotonic() < end:
        for fd, _ in poll.poll(200):
            poll.unregister(fd)
            gone[links.pop(fd)].append(time.monotonic() - begun)
        most = max(most, rig.uses()[0])
    for key in links.values():
        gone[key].append(math.inf)
    return Outcome(gone, rig, newcomers, (before, most), {})


@pytest.fixture(scope="module")
def outcome(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Outcome]:
    rig = Rig(tmp_path_factory.mktemp("slow"), load_tags=500, listens=True, streams=True)
    try:
        rig.start()
        rig.run_for(40)
        with ExitStack() as opened, Newcomers(rig) as newcomers:
            bound = (MAX_CONNECTIONS - 20) // (2 * len(ROUTES))  # none has to make way
            each = size(min(2, bound), bound)
            assert each > 0
            links: dict[int, tuple[str, bool]] = {}
            for path in ROUTES:
                for asks in (True, False) * each:
                    link = opened.enter_context(socket.socket(socket.AF_UNIX))
                    link.connect(str(rig.folder / "s"))
                    end = b"\r\n" if asks else b"X-Slow: "
                    link.setblocking(False)
                    link.send((_question(path) + end) * (AGAIN if asks else 1))
                    links[link.fileno()] = path, asks
            found = _watch(rig, newcomers, links)
        found = found._replace(cut_off=rig.ask("/v1/connections")["cut_off"])
        rig.run_for(20)
        rig.settled()
        rig.stop()
        yield found
    finally:
        rig.close()


@pytest.mark.timeout(300)
@pytest.mark.xdist_group("slow clients")
@pytest.mark.parametrize("path", ROUTES)
def test_slow_clients_of_each_route(proof: Proof, outcome: Outcome, path: str) -> None:
    """Clients of each GET route that never read, and such as send half a request."""
    absent = [name for name in ROUTES[path] if name not in QUESTIONS.get(path, {})]
    assert not absent, f"QUESTIONS needs {path} with {absent}"
    never_read, half_asked = outcome.gone_s[path, True], outcome.gone_s[path, False]
    proof.holds(len(never_read) + len(half_asked), "clients")
    assert max(half_asked) < REQUEST_S + FILLED_S, half_asked
    assert max(never_read) < STALL_S + FILLED_S, never_read


@pytest.mark.timeout(300)
@pytest.mark.xdist_group("slow clients")
def test_slow_clients_slow_down_nobody(proof: Proof, outcome: Outcome) -> None:
    """Slow clients of all GET routes at once: others are answered, memory stays."""
    rig, took_s = outcome.rig, outcome.newcomers.took_s
    before, most = outcome.memory_kb
    more: dict[str, Any] = {
        "rss_kb": [before, most],
        "newcomers": len(took_s),
        "slowest_s": round(max(took_s), 2),
    }
    more |= {"cut_off": outcome.cut_off}
    count = sum(map(len, outcome.gone_s.values()))
    proof.holds(count, "clients", rig.verdict(), rig.verdict("history"), **more)
    assert outcome.cut_off["no_request"] == count // 2, more
    assert outcome.cut_off["not_reading"] == count // 2, more
    assert not outcome.newcomers.faults, outcome.newcomers.faults[:5]
    assert max(took_s) < ANSWER_S, more
    assert most < before + MEMORY_KB, more
