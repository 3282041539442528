"""Each command of docs/fleet.md, docs/serve.md, docs/ingest.md and the sink postgres."""

from __future__ import annotations

import json
import re
import sqlite3
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway.api.client import Client, NotRunning, RequestFailed
from tests.docs.kit import clone, commands, indented, typed, written
from tests.docs.servers import file_of, here, owned_database, running
from tests.fleet import kit
from tests.sims.postgres_server import PostgresServer, postgres_server
from tests.sims.redis_server import RedisPeer, redis_server
from tests.support import ROOT, until
from tests.unit.test_api_tls import make_pair

pytestmark = [pytest.mark.long, pytest.mark.servers, pytest.mark.timeout(300)]

FLEET = "docs/fleet.md"
SERVE = "docs/serve.md"
INGEST = "docs/ingest.md"
POSTGRES = "gateway/sinks/postgres/README.md"
CHECK = "run by tests/system/test_serve.py::test_the_file_of_the_page_is_good"


@pytest.fixture(scope="module")
def postgres() -> Iterator[PostgresServer]:
    """With a database `plant` of the role `edge_gateway`, as the pages have it."""
    with postgres_server() as made:
        yield made


@pytest.fixture
def redis(tmp_path: Path) -> Iterator[RedisPeer]:
    """With a password, which lies where the pages say."""
    (tmp_path / "redis.password").write_text("r" * 12)
    (tmp_path / "redis.password").chmod(0o600)
    with redis_server(tmp_path / "redis", "--requirepass", "r" * 12) as made:
        yield made


def answers(socket: Path, path: str = "/readyz") -> bool:
    """Whether it says yes there."""
    try:
        Client(socket).get_text(path)
    except (NotRunning, RequestFailed):
        return False
    return True


def test_fleet_and_serve(tmp_path: Path, postgres: PostgresServer, redis: RedisPeer) -> None:
    """A writer, its dead letters, and a node that shows what it has stored."""
    clone(tmp_path)
    owned_database(postgres, tmp_path, "plant", "edge_gateway")
    (tmp_path / "hall.writer.yaml").write_text(
        here(file_of(FLEET, "# hall.writer.yaml"), tmp_path, redis=redis.port, db=postgres.port)
    )
    upgrade, write, *others = indented(FLEET)
    assert [upgrade.split()[1], write.split()[1]] == ["db", "writer"]
    typed(upgrade, tmp_path, {})
    shown = {}
    client = redis.client(password="r" * 12)
    try:
        kit.add(client, kit.rows(kit.table(), 0, 10))
        kit.add(client, kit.rows(kit.table("hall-2"), 0, 5))
        with running(write.partition("#")[0], tmp_path, tmp_path / "writer.log"):
            until(lambda: answers(tmp_path / "s"), 60, "the writer is ready")
            for _ in range(2):  # one is replayed by its number, then all
                client.xadd("readings:hall-1", {"b": b"no rows", "n": 1})
            until(lambda: client.xlen("dead:postgres") == 2, 60, "two dead letters")
            for command in others:
                ((number, _),) = client.xrange("dead:postgres", count=1)
                command = command.replace("1795669149595-0", number.decode())
                shown[command] = typed(command, tmp_path, {}).stdout
                until(lambda: client.xlen("dead:postgres") == 2, 60, "refused again")
    finally:
        client.close()
    assert "no rows" in next(text for command, text in shown.items() if " list " in command)
    lines = (tmp_path / "letters.ndjson").read_text().splitlines()
    assert [json.loads(line)["stream"] for line in lines] == ["readings:hall-1"] * 2
    assert sum(" replay " in command for command in shown) == 2
    with postgres.connect("plant") as db:
        stored = db.execute("SELECT count(*) FROM gateway.sample").fetchone()
    assert stored == (15,)
    _node(tmp_path, postgres, redis)


def _node(folder: Path, postgres: PostgresServer, redis: RedisPeer) -> None:
    """docs/serve.md, with the database that the writer has filled.

    What the role `reader` needs no more than is for tests/fleet.
    """
    text = file_of(SERVE, "# serve.yaml")
    key = text.partition("same on all nodes: ")[2].partition("\n")[0]
    assert key.endswith("> session.key")
    typed(key, folder, {})
    typed("chmod 600 session.key", folder, {})
    with postgres.connect("postgres") as db:
        password = (folder / "db.password").read_text()
        db.execute(f"CREATE ROLE reader LOGIN SUPERUSER PASSWORD '{password}'")
    text = here(text, folder, redis=redis.port, db=postgres.port)
    # neither server has a certificate, nor this Redis a user but the default one
    text = text.replace(", tls: verify-full", "").replace(", user: serve", "")
    (folder / "serve.yaml").write_text(
        text.replace("  listen:", f"  socket: {folder / 's'}\n  listen:")
    )
    typed("gateway token add serve.yaml anna", folder, {})
    for command in commands(SERVE, CHECK):
        assert "good" in typed(command, folder, {}).stderr
    with running("gateway serve serve.yaml", folder, folder / "serve.log"):
        until(lambda: answers(folder / "s"), 60, "the node is ready")
        asked = {"device": "hall-1:plc", "tag": "n0", "from": str(kit.T0), "max_points": 50}

        def history() -> int:
            return len(Client(folder / "s").get_json("/v1/history", asked)["points"])

        assert until(history, 30, "the history of the writer's rows") == 10


PLANT = """\
gateway: {name: hall-3}
state_dir: state
api: {socket: s}
ingest: {http: true}
writer: {flush_interval_s: 0.1}
devices: {press: {driver: mock, map: press.yaml}}
"""
PRESS = "driver: mock\ngroups: {g: {interval_s: 1, tags: {force: {type: real}}}}\n"


def test_postgres(tmp_path: Path, postgres: PostgresServer) -> None:
    """The tables by hand; and a tag whose kind was changed, with its letters sent again."""
    clone(tmp_path, GATEWAY_SOCKET=str(tmp_path / "s"))
    owned_database(postgres, tmp_path, "other", "owner")
    text = here(next(text for _, kind, text in written(POSTGRES) if kind == "yaml"), tmp_path,
                db=postgres.port).replace("database: plant", "database: other")  # fmt: skip
    text = text.replace("host: 127.0.0.1, port: ", "host: 127.0.0.1\n    port: ")
    text = text.replace("/etc/edge-gateway/postgres.password", "db.password")
    text = text.replace("user: edge_gateway", "user: owner").replace("    tls: verify-full\n", "")
    (tmp_path / "gateway.yaml").write_text(PLANT + text)
    (tmp_path / "press.yaml").write_text(PRESS)
    todo = {words[1] if (words := line.split())[0] == "UPDATE" else words[2]: line
            for line in indented(POSTGRES)}  # fmt: skip
    assert set(todo) == {
        "upgrade", "check", "history", "downgrade", "gateway.series", "replay"
    }  # fmt: skip
    refused = typed(todo["check"], tmp_path, {" check ": {1}})
    assert "upgrade" in refused.stdout + refused.stderr
    for name in ("upgrade", "check", "history"):
        done = typed(todo[name], tmp_path, {})
        assert done.stdout + done.stderr
    with (
        postgres.connect("other") as db,
        running("gateway run gateway.yaml", tmp_path, tmp_path / "log"),
    ):
        until(lambda: answers(tmp_path / "s"), 60, "the gateway is ready")
        send = "curl -sf --unix-socket s http://localhost/v1/ingest --data-binary"
        for value in ("1.5", '"on"'):
            typed(f"{send} 't,device=oven v={value}'", tmp_path, {})
        listed = "gateway dead-letters list --sink plant --json"
        until(lambda: typed(listed, tmp_path, {}).stdout, 60, "the letter to be listed")
        asked = "SELECT series_id FROM gateway.tags WHERE tag = 'v'"
        ((number,),) = db.execute(asked).fetchall()
        db.execute(todo["gateway.series"].partition(";")[0].replace("17", str(number)).encode())
        typed(todo["replay"], tmp_path, {})
        text_of = f"SELECT text FROM gateway.history WHERE series_id = {number} ORDER BY time_ns"
        until(lambda: db.execute(text_of.encode()).fetchall()[1:] == [("on",)], 30, "the letter")
    assert "delete all tables" in typed(f"echo y | {todo['downgrade']}", tmp_path, {}).stderr
    typed(todo["check"], tmp_path, {" check ": {1}})


def yaml_of(page: str) -> list[str]:
    """The indented blocks of a page that are settings, in order."""
    text = (ROOT / page).read_text("utf-8")
    found = re.findall(r"(?m)(?:^    .*\n)+", text)
    return [textwrap.dedent(block) for block in found if re.match(r" +(?:api|ingest):", block)]


def test_ingest(tmp_path: Path) -> None:
    """A token, rows by curl, and by `gateway send` in the clear and over TLS."""
    clone(tmp_path)
    plain, tls = (here(text, tmp_path) for text in yaml_of(INGEST))
    file = tmp_path / "gateway.yaml"
    rest = re.sub(r"(?m)^(?:api|ingest): .*\n", "", PLANT) + "sinks: {h: {type: sqlite}}\n"
    file.write_text(rest + plain.replace("{listen", "{socket: s, listen", 1))
    (tmp_path / "press.yaml").write_text(PRESS)
    (tmp_path / "tokens").touch(0o600)
    (tmp_path / "lines.txt").write_text("oven,device=oven_8 temp=1\n")
    program = tmp_path / ".venv/bin/my-program"
    program.write_text("#!/bin/sh\necho 'oven,device=oven_9 temp=2'\n")
    program.chmod(0o755)
    certificate, key = make_pair(tmp_path, "pair")
    key.rename(tmp_path / "key.pem")
    for name in ("cert.pem", "ca.pem"):
        (tmp_path / name).write_bytes(certificate.read_bytes())
    add, curl, send, pipe = indented(INGEST)
    token = typed(add, tmp_path, {}).stdout.strip()
    (tmp_path / "token").write_text(token)
    (tmp_path / "token").chmod(0o600)
    http, grpc = re.findall(r"127\.0\.0\.1:\d+", plain)
    with running("gateway run gateway.yaml", tmp_path, tmp_path / "log"):
        until(lambda: answers(tmp_path / "s"), 60, "the gateway is ready")
        curl = curl.replace("127.0.0.1:8080", http).replace("curl ", "curl -f ", 1)
        typed(curl, tmp_path, {}, TOKEN=token)
        typed(send.replace("127.0.0.1:50051", grpc), tmp_path, {})
    # a client's certificate in the place of a token is for tests/unit/test_ingest_tls.py
    tls = tls.replace(", client_ca_file: clients.pem", "")
    (grpc,) = re.findall(r"127\.0\.0\.1:\d+", tls)
    api = re.sub(r"(?m)^ingest:\n(?: .*\n)+", "", plain).replace("{listen", "{socket: s, listen")
    file.write_text(rest + api + tls)
    with running("gateway run gateway.yaml", tmp_path, tmp_path / "log"):
        until(lambda: answers(tmp_path / "s"), 60, "the gateway is ready")
        assert "hall-3:50051" in pipe
        typed(pipe.replace("hall-3:50051", grpc), tmp_path, {})
        found = {v["labels"]["device"]: v["value"] for v in
                 Client(tmp_path / "s").get_json("/v1/latest")["values"]}  # fmt: skip
    assert found["oven_9"] == 2.0
    stored = sqlite3.connect(tmp_path / "state/h.db")
    try:
        rows = stored.execute("SELECT device, value FROM history WHERE tag = 'temp'").fetchall()
    finally:
        stored.close()
    assert dict(rows) == {"oven_7": 850.5, "oven_8": 1.0, "oven_9": 2.0}
