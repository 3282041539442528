"""`gateway serve`: two nodes behind a load balancer, two gateways, one Redis and one PostgreSQL."""

from __future__ import annotations

import contextlib
import json
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect

from gateway.api.client import Client, NotRunning, RequestFailed
from tests.docs.kit import commands
from tests.fleet.kit import to_postgres
from tests.sims.postgres_server import PostgresServer, postgres_server
from tests.sims.redis_server import RedisPeer, redis_server
from tests.sims.round_robin import RoundRobin, round_robin
from tests.sinks.postgreskit import Plant
from tests.support import ROOT, free_port, until
from tests.system.cli_kit import called, started

pytestmark = [pytest.mark.servers, pytest.mark.timeout(400)]

GATEWAY = """
gateway: {{name: {name}}}
state_dir: state
api: {{socket: s}}
writer: {{flush_interval_s: 0.1}}
sinks:
  fleet: {{type: redis, host: 127.0.0.1, port: {redis}, timeout_s: 3, remote_operators: {remote}}}
devices:
  press: {{driver: mock, map: press.yaml}}
alarms:
  rules:
    force: {{kind: limits, tag: press.process.force, high: 30, latch: true}}
"""
PRESS = """
driver: mock
groups:
  process:
    interval_s: 0.05
    tags:
      force: {type: real, unit: kN, signal: {kind: sine, mean: 50, amplitude: 10, period_s: 1}}
      count: {type: udint, store: int, signal: {kind: constant, value: 7}}
"""


class Fleet:
    def __init__(self, folder: Path, redis: RedisPeer, plant: Plant) -> None:
        self.folder = folder
        self.redis = redis
        self.plant = plant
        self.stack = contextlib.ExitStack()
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        (folder / "key").write_text("k" * 40)
        file = folder / "tokens.yaml"
        file.write_text("redis: {host: r}\napi: {socket: s, tokens_file: tokens}\n")
        self.secret = called("token", "add", file, "anna", "--role", "operator").stdout.strip()

    def _folder(self, name: str) -> Path:
        made = self.folder / name
        made.mkdir(exist_ok=True)
        return made

    def start(self, name: str, *words: str | Path) -> None:
        log = self.folder / f"{name}.log"
        self.processes[name] = self.stack.enter_context(started(*words, log=log))

    def gateway(self, name: str, *, remote: bool = True) -> Client:
        folder = self._folder(name)
        (folder / "press.yaml").write_text(PRESS)
        file = folder / "gateway.yaml"
        given = {"name": name, "redis": self.redis.port, "remote": str(remote).lower()}
        file.write_text(GATEWAY.format(**given))
        self.start(name, "run", file)
        return Client(folder / "s")

    def writer(self) -> None:
        file = self._folder("writer") / "writer.yaml"
        file.write_text(
            f"redis: {{host: 127.0.0.1, port: {self.redis.port}, timeout_s: 2}}\ngroup: store\n"
            "batch: {max_wait_s: 0.05}\nfind_every_s: 0.2\nstate_dir: state\n"
            f"sink: {to_postgres(self.plant)}\n"
        )
        self.start("writer", "writer", file)

    def node(self, name: str, port: int) -> Client:
        folder = self._folder(name)
        file = folder / "serve.yaml"
        history = to_postgres(self.plant).replace("type: postgres, ", "")
        file.write_text(
            f"name: {name}\npoll_s: 0.1\nfind_every_s: 0.2\n"
            f"redis: {{host: 127.0.0.1, port: {self.redis.port}, timeout_s: 2}}\n"
            f"history: {history}\n"
            f"api: {{socket: s, listen: '127.0.0.1:{port}', tokens_file: ../tokens, "
            "session_key_file: ../key}\n"
        )
        self.start(name, "serve", file)
        return Client(folder / "s")

    def kill(self, name: str) -> None:
        self.processes[name].kill()
        self.processes[name].wait()


@pytest.fixture
def fleet(tmp_path: Path) -> Iterator[Fleet]:
    with redis_server(tmp_path / "redis") as redis, postgres_server() as server:
        made = Fleet(tmp_path, redis, _plant(server, tmp_path))
        with made.stack:
            yield made
        for name in made.processes:
            log = (tmp_path / f"{name}.log").read_text("utf-8", "replace")
            assert "Traceback" not in log, f"{name}: {log[-4000:]}"


def _plant(server: PostgresServer, folder: Path) -> Plant:
    made = Plant(server, folder)
    made.upgrade()
    return made


def patient(ask: Callable[[], Any]) -> Any:
    """What is answered; None while nobody is there, or what was asked for is not."""
    try:
        return ask()
    except (NotRunning, RequestFailed):
        return None


def device_states(node: Client) -> dict[str, str]:
    status = patient(lambda: node.get_json("/v1/status")) or {"devices": {}}
    return {name: device["state"] for name, device in status["devices"].items()}


def alarm_states(node: Client) -> dict[str, str]:
    found = patient(lambda: node.get_json("/v1/alarms")) or {"alarms": []}
    return {alarm["id"]: alarm["state"] for alarm in found["alarms"]}


def values(node: Client, device: str) -> dict[str, dict[str, Any]]:
    found = patient(lambda: node.get_json("/v1/latest", {"device": device})) or {"values": []}
    return {value["tag"]: value for value in found["values"]}


def message(socket: ClientConnection, kind: str) -> dict[str, Any]:
    """The next message of a kind."""
    end = time.monotonic() + 20
    while time.monotonic() < end:
        found: dict[str, Any] = json.loads(socket.recv(timeout=20))
        if found["type"] == kind:
            return found
    raise AssertionError(f"no {kind}")


def alarms_socket(balancer: RoundRobin, since: int | None = None) -> ClientConnection:
    query = "" if since is None else f"?since={since}"
    return connect(f"ws://127.0.0.1:{balancer.port}/ws/alarms{query}", proxy=None)


BOTH = {"hall-1:press", "hall-2:press"}


def test_two_nodes_show_all_and_a_client_goes_on_at_the_other(fleet: Fleet) -> None:
    one = fleet.gateway("hall-1")
    fleet.gateway("hall-2")
    fleet.writer()
    ports = free_port(), free_port()
    nodes = [fleet.node(f"node-{n}", port) for n, port in enumerate(ports)]
    for node in nodes:
        until(lambda node=node: device_states(node) == dict.fromkeys(BOTH, "good"), 120, "devices")
        until(lambda node=node: len(values(node, "hall-2:press")) == 2, 20, "values")
        found = values(node, "hall-2:press")
        assert found["count"]["value"] == 7
        assert found["force"]["unit"] == "kN"
        assert found["force"]["labels"]["gateway"] == "hall-2"
        until(lambda node=node: len(alarm_states(node)) == 2, 20, "alarms")
        asked = {"device": "hall-1:press", "tag": "force", "max_points": 60}
        history = until(
            lambda node=node, asked=asked: (
                h if len((h := patient(lambda: node.get_json("/v1/history", asked)) or {})
                         .get("points", ())) > 20 else None
            ), 90, "history",
        )  # fmt: skip
        assert history["unit"] == "kN"
        assert {quality for _, _, quality in history["points"]} == {"GOOD"}
        assert all(39.9 < value < 60.1 for _, value, _ in history["points"])
        assert 'gateway_device_state{device="hall-1:press",state="good"} 1' in node.get_text(
            "/metrics"
        )
        assert "<title>" in node.get_text("/")
    listed = nodes[0].get_json("/v1/devices")["devices"]
    assert {d["name"] for d in listed} == BOTH
    assert [g["tables"][0]["key"] for d in listed for g in d["groups"]] == ["process", "process"]

    with round_robin(*ports) as balancer:
        # rows come through, whichever node
        for _ in ports:
            url = f"ws://127.0.0.1:{balancer.port}/ws/live?tables=hall-1:press/process"
            with connect(url, proxy=None) as live:
                rows = [r for _ in range(2) for r in message(live, "values")["rows"]]
                assert {row["table"] for row in rows} == {"hall-1:press/process"}
                assert rows[-1]["time_ns"] > rows[0]["time_ns"]
        assert set(balancer.chosen) == set(ports)

        with alarms_socket(balancer) as socket:
            at = ports.index(balancer.chosen[-1])
            reset = message(socket, "reset")
            assert {a["id"] for a in reset["alarms"]} == {f"{d}/force.high" for d in BOTH}
            # acknowledged at the other node, by its gateway, seen everywhere
            there = Client(f"127.0.0.1:{ports[1 - at]}", token=fleet.secret)
            done = there.post_json(
                "/v1/alarms/acknowledge", body={"id": "hall-1:press/force.high", "why": "seen"}
            )["transition"]
            heard = message(socket, "alarm")
            assert heard == {**done, "type": "alarm"}
            assert (heard["state"], heard["who"]) == ("acknowledged", "anna")
            assert heard["number"] > reset["number"]
            for node in nodes:
                until(lambda n=node: alarm_states(n)["hall-1:press/force.high"] == "acknowledged")
                assert alarm_states(node)["hall-2:press/force.high"] == "unacknowledged"
            assert alarm_states(one) == {"press/force.high": "acknowledged"}
            (told,) = [
                a
                for a in one.get_json("/v1/audit")["actions"]
                if a["action"] == "alarms/acknowledge"
            ]
            assert (told["who"], told["via"], told["why"]) == ("anna", "fleet", "seen")
            # what its state does not allow is refused in the gateway's own words
            with pytest.raises(RequestFailed, match="hall-1") as refused:
                there.post_json(
                    "/v1/alarms/acknowledge", body={"id": "hall-1:press/force.high", "why": "twice"}
                )
            assert refused.value.status == 409

            fleet.kill(f"node-{at}")
            with pytest.raises((ConnectionClosed, EOFError)):
                for _ in range(100):
                    socket.recv(timeout=20)
        # while the client is away something happens
        shelved = there.post_json(
            "/v1/alarms/shelve",
            body={"id": "hall-2:press/force.high", "why": "repair", "for_s": 900},
        )["transition"]
        with alarms_socket(balancer, heard["number"]) as socket:
            assert balancer.chosen[-1] == ports[1 - at]
            assert message(socket, "hello")["gateway"] == f"node-{1 - at}"
            first = json.loads(socket.recv(timeout=10))
            assert (first["type"], first["number"]) == ("alarm", shelved["number"])
            assert (first["id"], first["state"]) == ("hall-2:press/force.high", "shelved")

    left = nodes[1 - at]
    found = left.get_json("/v1/alarms/history")["transitions"]
    times = [t["time_ns"] for t in found]  # of two gateways, so they may have come the other way
    assert times == sorted(times, reverse=True)
    assert len({t["number"] for t in found}) == len(found) == 4  # 2 came, 1 acknowledged, 1 shelved
    # a gateway that is gone: nothing of it is GOOD any more
    fleet.kill("hall-2")
    until(lambda: device_states(left)["hall-2:press"] == "lost", 30, "the gateway to be missed")
    until(lambda: values(left, "hall-2:press")["force"]["reason"] == "gateway_gone")
    assert values(left, "hall-2:press")["force"]["value"] is None
    assert values(left, "hall-1:press")["force"]["quality"] == "GOOD"
    assert any("hall-2" in words for words in left.get_json("/v1/status")["problems"])
    with pytest.raises(RequestFailed, match="takes no commands"):
        there.post_json(
            "/v1/alarms/unshelve", body={"id": "hall-2:press/force.high", "why": "is it back?"}
        )


def test_redis_away_and_back_and_who_signed_in_at_one_node_is_known_at_the_other(
    fleet: Fleet,
) -> None:
    fleet.gateway("hall-1", remote=False)
    ports = free_port(), free_port()
    nodes = [fleet.node(f"node-{n}", port) for n, port in enumerate(ports)]
    for node in nodes:
        until(lambda node=node: "force" in values(node, "hall-1:press"), 120, "values")
        until(lambda node=node: alarm_states(node), 20, "alarms")
    # the gateway that did not allow it is not asked
    there = Client(f"127.0.0.1:{ports[0]}", token=fleet.secret)
    with pytest.raises(RequestFailed, match="remote_operators: true"):
        there.post_json(
            "/v1/alarms/acknowledge", body={"id": "hall-1:press/force.high", "why": "x"}
        )
    assert fleet.redis.client().xlen("commands:hall-1") == 0

    cookie = _signed_in(ports[0], fleet.secret)
    assert _who(ports[0], cookie) == ("anna", "operator", "cookie")
    assert _who(ports[1], cookie) == ("anna", "operator", "cookie")
    forged = cookie[:-3] + ("aaa" if cookie[-3:] != "aaa" else "bbb")
    assert _who(ports[1], forged)[0] == ""

    fleet.redis.kill()
    node = nodes[1]
    until(lambda: values(node, "hall-1:press")["force"]["reason"] == "no_redis", 30, "BAD values")
    until(lambda: patient(lambda: node.get_json("/readyz")) is None, 20, "not ready")
    with pytest.raises(RequestFailed, match="Redis"):
        node.get_json("/readyz")
    assert node.get_json("/healthz") == {"alive": True}
    fleet.redis.start()
    until(lambda: values(node, "hall-1:press")["force"]["quality"] == "GOOD", 60, "GOOD values")
    until(lambda: patient(lambda: node.get_json("/readyz")), 20, "ready")
    fleet.processes["node-1"].send_signal(signal.SIGTERM)
    assert fleet.processes["node-1"].wait(15) == 0


def _signed_in(port: int, secret: str) -> str:
    import http.client

    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.request("POST", "/v1/session", headers={"Authorization": f"Bearer {secret}"})
        answer = connection.getresponse()
        assert answer.status == 200, answer.read()
        return str(answer.headers["Set-Cookie"]).partition(";")[0]
    finally:
        connection.close()


def _who(port: int, cookie: str) -> tuple[str, str, str]:
    import http.client

    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.request("GET", "/v1/session", headers={"Cookie": cookie})
        found = json.loads(connection.getresponse().read())
        return found["who"], found["role"], found["via"]
    finally:
        connection.close()


def test_all_faults_of_a_file_are_told_at_their_place(tmp_path: Path) -> None:
    file = tmp_path / "serve.yaml"
    (tmp_path / "short").write_text("short")
    file.write_text(
        "redis: {host: 'redis://r', port: 6379}\n"
        "history: {database: plant, user: u, tls: yes}\n"
        "api: {socket: s, session_key_file: short}\n"
        "gateway: ['*']\n"
    )
    said = called("serve", file, expect=78)
    text = said.stdout + said.stderr
    assert "serve.yaml:1:15: redis.host" in text
    assert "serve.yaml:2:42: history.tls" in text
    assert "serve.yaml:4:1: gateway" in text
    assert "gateways" in text
    file.write_text("redis: {host: r}\napi: {socket: s, session_key_file: short}\n")
    said = called("serve", file, expect=78)
    assert "serve.yaml:2:36: api.session_key_file" in said.stdout + said.stderr
    file.write_text("redis: {host: r}\n")
    assert (
        "no history"
        in called("serve", file, "--check").stderr + called("serve", file, "--check").stdout
    )


def test_the_file_of_the_page_is_good(tmp_path: Path) -> None:
    """docs/serve.md"""
    page = (ROOT / "docs/serve.md").read_text("utf-8")
    text = page.partition("```yaml\n")[2].partition("```")[0]
    file = tmp_path / "serve.yaml"
    file.write_text(text, "utf-8")
    for name in ("redis.password", "db.password"):
        (tmp_path / name).write_text("x")
    (tmp_path / "session.key").write_text("k" * 64)
    called("token", "add", file, "anna")
    (command,) = commands(
        "docs/serve.md", "run by tests/system/test_serve.py::test_the_file_of_the_page_is_good"
    )
    said = called(*command.replace("serve.yaml", str(file)).split()[1:])
    assert "postgresql://db.plant.example:5432/plant" in said.stdout + said.stderr
