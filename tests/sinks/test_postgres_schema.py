"""The schema's versions and rights, by `gateway db`, against a real server."""

from __future__ import annotations

import io
import json
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from gateway.analysis.looks import Waveform, capture
from gateway.errors import GatewayError
from gateway.model import Column
from gateway.sinks.postgres import PostgresSink, migrate
from gateway.sinks.postgres.schema import REVISION, TABLES
from tests.sims.postgres_server import OWNER, PostgresServer
from tests.sinks.postgreskit import DAY_NS, Plant, plant, row, send, server, table_of
from tests.system.cli_kit import called

__all__ = ["plant", "server"]

NOW = time.time_ns()


@pytest.fixture
def empty(server: PostgresServer, tmp_path: Path) -> Plant:
    """A database without tables."""
    return Plant(server, tmp_path)


def objects(plant: Plant) -> set[str]:
    """Everything in the schema but Alembic's own note."""
    return {
        name
        for (name,) in plant.ask(
            "SELECT relname FROM pg_class WHERE relnamespace = 'gateway'::regnamespace"
            " UNION SELECT proname FROM pg_proc WHERE pronamespace = 'gateway'::regnamespace"
        )
        if not name.startswith("schema_version")
    }


def test_the_sink_writes_to_the_newest_version() -> None:
    assert migrate.head() == REVISION


def test_up_down_and_up_again_leaves_nothing(empty: Plant) -> None:
    empty.upgrade()
    empty.upgrade()
    made = objects(empty)
    assert set(TABLES) <= made
    assert migrate.missing(empty.config()) == []
    migrate.downgrade(empty.config(), "base")
    assert objects(empty) == set()
    assert migrate.state(empty.config()) is None
    empty.upgrade()
    assert objects(empty) == made


def test_two_upgrades_at_once(empty: Plant) -> None:
    failures: list[BaseException] = []
    role = f"writer_{empty.database}"  # its rights are renewed by each
    empty.ask(f"CREATE ROLE {role}")
    start = threading.Barrier(4)

    def upgrade() -> None:
        try:
            start.wait(30)
            migrate.upgrade(empty.config(), role)
        except BaseException as error:
            failures.append(error)

    for _ in range(3):
        threads = [threading.Thread(target=upgrade) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        assert not failures
        assert migrate.state(empty.config()) == REVISION
        empty.ask("DROP SCHEMA gateway CASCADE")


def test_an_upgrade_that_fails_changes_nothing(empty: Plant) -> None:
    empty.ask("CREATE SCHEMA gateway")
    empty.ask("CREATE TABLE gateway.gateway_audit (mine integer)")
    with pytest.raises(GatewayError, match='relation "gateway_audit" already exists'):
        empty.upgrade()
    assert migrate.state(empty.config()) is None
    assert objects(empty) == {"gateway_audit"}


def test_a_role_that_only_writes_has_all_the_rights_it_needs(empty: Plant, tmp_path: Path) -> None:
    name = f"writer_{empty.database}"
    empty.ask(f"CREATE ROLE {name} LOGIN PASSWORD 'w'")
    password = tmp_path / "w"
    password.write_text("w")
    password.chmod(0o600)
    migrate.upgrade(empty.config(), name)
    sink = PostgresSink(
        "plant", empty.config(user=name, password_file=password, retention_days=30), tmp_path
    )
    table = table_of(Column("a", "f8"), Column("b", "str"))
    for again in range(2):
        send(sink, row(table, NOW - 10 * DAY_NS, 1.0, "x"), row(table, NOW, float(again), "x"))
    sink.close()
    assert empty.one("SELECT count(*) FROM history") == 4
    assert empty.one("SELECT last_ns FROM source") == NOW
    with empty.server.connect(empty.database, user=name, password="w") as db:
        for forbidden in ("DELETE FROM gateway.sample", "DROP TABLE gateway.sample",
                          "UPDATE gateway.sample SET f8 = 0"):  # fmt: skip
            with pytest.raises(Exception, match=r"permission denied|must be owner"):
                db.execute(forbidden)
    with empty.server.connect(empty.database) as db:
        db.execute(f"DROP OWNED BY {name}")
        db.execute(f"DROP ROLE {name}")


@pytest.fixture
def file(empty: Plant, tmp_path: Path) -> str:
    (tmp_path / "map.yaml").write_text(
        "driver: mock\ngroups: {g: {interval_s: 1, tags: {a: {type: real}}}}\n", "utf-8"
    )
    config = tmp_path / "gateway.yaml"
    config.write_text(
        "gateway: {name: test}\nstate_dir: state\napi: {socket: gateway.sock}\n"
        f"sinks:\n  plant: {{type: postgres, host: 127.0.0.1, port: {empty.server.port}, "
        f"database: {empty.database}, user: {OWNER}, password_file: {empty.password}}}\n"
        "  history: {type: sqlite}\n"
        "devices: {m: {driver: mock, map: map.yaml}}\n",
        "utf-8",
    )
    return str(config)


def test_the_command_line(file: str, empty: Plant, monkeypatch: pytest.MonkeyPatch) -> None:
    done = called("db", "check", file, expect=1)
    assert "run `gateway db upgrade`" in done.stderr
    done = called("db", "upgrade", file)
    assert f"from nothing to {REVISION}" in done.stderr
    done = called("db", "check", file, "--json")
    assert json.loads(done.stdout) == {
        "sink": "plant",
        "version": REVISION,
        "expected": REVISION,
        "missing": [],
        "ok": True,
    }
    done = called("db", "history", file)
    assert f"{REVISION}  " in done.stdout
    assert "this one is there" in done.stdout
    done = called("db", "upgrade", file, "--to", "7777", expect=1)
    assert "7777" in done.stderr
    assert "known versions" in done.stderr
    monkeypatch.setattr("sys.stdin", io.StringIO("n\n"))
    done = called("db", "downgrade", file, "--to", "base", expect=1)
    assert "delete all tables and their rows?" in done.stderr
    assert "nothing was changed" in done.stderr
    assert migrate.state(empty.config()) == REVISION
    empty.ask("DROP TABLE gateway_loss CASCADE")
    done = called("db", "check", file, expect=1)
    assert "gateway_loss missing" in done.stderr


def test_a_downgrade_that_was_agreed_to(file: str, empty: Plant) -> None:
    empty.upgrade()
    done = called("db", "downgrade", file, "--to", "base", "--yes", "--json")
    assert json.loads(done.stdout) == {"sink": "plant", "before": REVISION, "after": None}
    assert migrate.state(empty.config()) is None


def test_wrong_usage_is_told(file: str, empty: Plant) -> None:
    done = called("db", "check", file, "--sink", "plnt", expect=2)
    assert "did you mean 'plant'?" in done.stderr
    called("db", "check", file, "--sink", "history", expect=2)
    empty.password.write_text("wrong")
    done = called("db", "upgrade", file, expect=1)
    assert "password authentication failed" in done.stderr


def test_windows_are_stored_once(file: str, empty: Plant, tmp_path: Path) -> None:
    empty.upgrade()
    samples = np.sin(np.arange(1000, dtype="f4"))
    waveform = Waveform("pump", "DE", "g", 25_600.0, NOW, samples, {})
    capture_file = tmp_path / "DE.npz"
    capture_file.write_bytes(capture(waveform))
    for new in (1, 0):
        done = called("db", "windows", file, capture_file, "--json")
        assert json.loads(done.stdout) == {"windows": 1, "new": new}
    (found,) = empty.ask(
        "SELECT gateway, device, channel, rate_hz, samples, unit, t0_ns, data FROM raw_window"
    )
    assert found[:6] == ("test", "pump", "DE", 25_600.0, 1000, "g")
    assert found[6] == NOW - round(999 * 1e9 / 25_600)
    assert np.array_equal(np.frombuffer(found[7], "<f4"), samples)
    (tmp_path / "other.npz").write_bytes(b"PK")
    done = called("db", "windows", file, tmp_path / "other.npz", expect=1)
    assert "is no window of a gateway" in done.stderr


def test_the_file_of_a_writer_does_as_well(empty: Plant, tmp_path: Path) -> None:
    config = tmp_path / "writer.yaml"
    config.write_text(
        "redis: {host: 127.0.0.1}\nstreams: [readings]\ngroup: plant\n"
        f"sink: {{type: postgres, host: 127.0.0.1, port: {empty.server.port}, "
        f"database: {empty.database}, user: {OWNER}, password_file: {empty.password}}}\n",
        "utf-8",
    )
    called("db", "upgrade", config)
    assert migrate.state(empty.config()) == REVISION
    done = called("db", "windows", config, "x.npz", expect=2)
    assert "--gateway" in done.stderr
