"""What a node of `gateway serve` has not is answered with who has it, never with nothing."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from gateway.api.client import Client, NotRunning, RequestFailed
from tests.docs.kit import clone
from tests.docs.servers import running
from tests.sims.redis_server import RedisPeer
from tests.support import until
from tests.system.cli_kit import called

GATEWAY = """
gateway: {{name: hall-3}}
state_dir: state
api: {{socket: g}}
writer: {{flush_interval_s: 0.1}}
sinks: {{fleet: {{type: redis, host: 127.0.0.1, port: {port}}}}}
devices: {{press: {{driver: mock, map: press.yaml}}}}
alarms: {{rules: {{force: {{kind: limits, tag: press.process.force, high: 30}}}}}}
"""
PRESS = """
driver: mock
groups:
  process:
    interval_s: 0.1
    tags: {force: {type: real, signal: {kind: constant, value: 50}}}
"""
PRESS_THERE = {"device": "hall-3:press"}
CHANNEL = {**PRESS_THERE, "channel": "x"}
RULES, WINDOWS = "no alarm rules here", "no stored windows here"
LETTERS, MACHINE = "no dead letters here", "no machine is read here"
ASKED: list[tuple[str, dict[str, str], int, str]] = [
    ("/v1/alarms/rules", {}, 404, RULES),
    ("/v1/alarms/captures", {}, 404, WINDOWS),
    ("/v1/alarms/capture.npz", {"name": "w"}, 404, WINDOWS),
    ("/v1/dead-letters", {}, 404, LETTERS),
    ("/v1/dead-letters.ndjson", {}, 404, LETTERS),
    ("/v1/waveform", CHANNEL, 404, MACHINE),
    ("/v1/spectrum", CHANNEL, 404, MACHINE),
    ("/v1/capture.npz", CHANNEL, 404, MACHINE),
    ("/v1/read", PRESS_THERE, 503, MACHINE),
    ("/v1/probe", {**PRESS_THERE, "address": "a"}, 503, MACHINE),
]
DONE: list[tuple[str, dict[str, str], int, str]] = [
    ("/v1/devices/disable", {**PRESS_THERE, "why": "repair"}, 409, MACHINE),
    ("/v1/dead-letters/replay", {}, 404, LETTERS),
]


def answer(ask: Callable[[], Any]) -> Any:
    try:
        return ask()
    except (NotRunning, RequestFailed):
        return None


@pytest.mark.timeout(240)
def test_what_only_a_gateway_has(peer: RedisPeer, tmp_path: Path) -> None:
    clone(tmp_path)
    (tmp_path / "gateway.yaml").write_text(GATEWAY.format(port=peer.port))
    (tmp_path / "press.yaml").write_text(PRESS)
    (tmp_path / "serve.yaml").write_text(
        f"name: node\npoll_s: 0.1\nredis: {{host: 127.0.0.1, port: {peer.port}}}\n"
        "api: {socket: n}\n"
    )
    with (
        running("gateway run gateway.yaml", tmp_path, tmp_path / "g.log"),
        running("gateway serve serve.yaml", tmp_path, tmp_path / "n.log"),
    ):
        node = Client(tmp_path / "n")
        until(lambda: answer(lambda: node.get_json("/v1/alarms")["alarms"]), 120, "an alarm")
        until(lambda: "hall-3:press" in node.get_text("/v1/devices"), 60, "the gateway's device")
        for path, params, status, words in ASKED:
            with pytest.raises(RequestFailed, match=words) as refused:
                node.get_text(path, params)
            assert (refused.value.status, "ask hall-3" in str(refused.value)) == (status, True)
        for path, body, status, words in DONE:
            with pytest.raises(RequestFailed, match=words) as refused:
                node.post_json(path, body=body)
            assert (refused.value.status, "ask hall-3" in str(refused.value)) == (status, True)
        # what the shared store has is answered from there
        asked = {"alarm": "hall-3:press/force.high"}
        # the alarm itself is there before its transition is in the stream
        until(lambda: node.get_json("/v1/alarms/history", asked)["transitions"], 30, "its change")
        assert len(node.get_json("/v1/alarms/history", asked)["transitions"]) == 1
        asked = {"alarm": "hall-3:press/force.low"}
        assert node.get_json("/v1/alarms/history", asked)["transitions"] == []
        with pytest.raises(RequestFailed, match="did you mean 'hall-3:press/force"):
            node.get_json("/v1/alarms/history", {"alarm": "hall-2:press/force.high"})
        there = ("--socket", tmp_path / "n")
        said = called("alarms", "ack", "force", "--why", "x", *there, expect=2)
        assert "did you mean 'hall-3:press/force.high'" in said.stdout + said.stderr
        said = called("alarms", "list", "--rules", *there, expect=2)
        assert "ask hall-3" in said.stdout + said.stderr
