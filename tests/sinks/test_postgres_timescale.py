"""The schema where TimescaleDB is in the database: hypertable, policies, and each value once."""

from __future__ import annotations

import io
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import psycopg
import pytest

from gateway.model import Column, Row, Selected, Table, make_parts
from gateway.sinks.postgres import PostgresConfig, migrate
from gateway.sinks.postgres.client import Connection, connect
from gateway.sinks.postgres.registry import Registry
from gateway.sinks.postgres.schema import REVISION
from gateway.sinks.postgres.store import Store
from gateway.sinks.postgres.upkeep import Upkeep
from gateway.wire import decode_columns, encode_batch
from tests.sinks.postgreskit import DAY_NS
from tests.support import ROOT, free_port, missing, need_program, until

pytestmark = pytest.mark.xdist_group("timescale")  # one server for all

MODULES = ROOT / ".cache" / "timescale"
SERVE = ROOT / "tests" / "sims" / "timescale" / "serve.mjs"
FILE = "/tmp/copied"
JOBS = "SELECT proc_name, config FROM timescaledb_information.jobs WHERE hypertable_name = 'sample'"
SOME = (
    "INSERT INTO sample (series_id, time_ns, f8)"
    f" SELECT 1, to_ns(now()) - g * {DAY_NS}::bigint, g FROM generate_series(0, 60) AS g"
)


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PostgresConfig]:
    node = need_program("node", "nodejs")
    if not (MODULES / ".ready").exists():
        missing("TimescaleDB for node", "run `make timescale`")
    folder, port = tmp_path_factory.mktemp("timescale"), free_port()
    password = folder / "password"
    password.write_text("any")
    password.chmod(0o600)
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [node, str(SERVE), str(MODULES), str(port)], stdout=log, stderr=log
        )
    try:
        until(lambda: is_ready(process, folder / "log"), 50, "TimescaleDB")
        yield PostgresConfig.model_validate(
            {
                "type": "postgres",
                "host": "127.0.0.1",
                "port": port,
                "database": "postgres",
                "user": "postgres",
                "password_file": password,
                "tls": "off",
                "retention_days": 30,
                "compress_after_days": 7,
            }
        )
    finally:
        process.kill()
        process.wait()


def is_ready(process: subprocess.Popen[bytes], log: Path) -> bool:
    said = log.read_text("utf-8", "replace")
    assert process.poll() is None, said
    return "ready" in said


def ask(config: PostgresConfig, *texts: str) -> list[tuple[Any, ...]]:
    """The answer to the last one."""
    words = f"host=127.0.0.1 port={config.port} user=postgres password=any dbname=postgres"
    found: list[tuple[Any, ...]] = []
    with psycopg.connect(f"{words} sslmode=disable", autocommit=True) as db:
        db.execute("SET search_path TO gateway, public")
        for text in texts:
            cursor = db.execute(text)
            found = cursor.fetchall() if cursor.description else []
    return found


@pytest.fixture
def made(config: PostgresConfig) -> Iterator[PostgresConfig]:
    migrate.upgrade(config, config.user)
    yield config
    migrate.downgrade(config, "base")
    assert migrate.state(config) is None


def test_the_table_is_a_hypertable_with_its_policies(made: PostgresConfig) -> None:
    assert migrate.state(made) == REVISION
    assert ask(made, "SELECT kind, partition_ns FROM layout") == [("timescale", 7 * DAY_NS)]
    hypertables = (
        "SELECT hypertable_name, compression_enabled FROM timescaledb_information.hypertables"
    )
    assert ask(made, hypertables) == [("sample", True)]
    policies = {name: dict(settings) for name, settings in ask(made, JOBS)}
    assert policies["policy_compression"]["compress_after"] == 7 * DAY_NS
    assert policies["policy_retention"]["drop_after"] == 30 * DAY_NS


def test_an_upgrade_sets_the_policies_as_they_are_configured_now(made: PostgresConfig) -> None:
    changed = made.model_copy(update={"retention_days": 0, "compress_after_days": 14})
    migrate.upgrade(changed, made.user)
    ((name, settings),) = ask(made, JOBS)
    assert (name, settings["compress_after"]) == ("policy_compression", 14 * DAY_NS)


def test_old_chunks_go_and_compressed_ones_take_no_value_twice(made: PostgresConfig) -> None:
    (before,) = ask(made, SOME, "SELECT count(*) FROM show_chunks('sample')")[0]
    gone = ask(made, "SELECT drop_before(to_ns(now() - interval '30 days'))")
    (left,) = ask(made, "SELECT count(*) FROM show_chunks('sample')")[0]
    assert gone
    assert before == left + len(gone)
    count = "SELECT count(*), count(DISTINCT time_ns) FROM sample"
    (rows, times) = ask(made, count)[0]
    assert rows == times > 30
    compress = "SELECT count(compress_chunk(c)) FROM show_chunks('sample') AS c"
    again = "INSERT INTO sample SELECT * FROM sample ON CONFLICT DO NOTHING"
    assert ask(made, compress, again, count) == [(rows, rows)]


def test_the_views_work_there_too(made: PostgresConfig) -> None:
    for view in ("history", "latest", "latest_features", "active_alarms", "device_status"):
        assert ask(made, f"SELECT * FROM {view}") == []


class ByFile:
    """A connection whose COPY reads a file of the server: this build ends at any COPY by wire.

    The bytes, the columns and the target are the sink's.
    """

    def __init__(self, db: psycopg.Connection[Any]) -> None:
        self._db = db

    def __getattr__(self, name: str) -> Any:
        return getattr(self._db, name)

    def cursor(self) -> ByFile:
        return self

    @contextmanager
    def copy(self, text: str) -> Iterator[io.BytesIO]:
        assert text.count("FROM STDIN") == 1
        data = io.BytesIO()
        yield data
        made = self._db.execute("SELECT lo_from_bytea(0, %s)", (data.getvalue(),)).fetchone()
        assert made is not None
        self._db.execute("SELECT lo_export(%s, %s), lo_unlink(%s)", (made[0], FILE, made[0]))
        self._db.execute(text.replace("FROM STDIN", f"FROM '{FILE}'"))


def test_the_copy_of_the_sink_goes_into_a_hypertable_and_stores_a_row_once(
    made: PostgresConfig,
) -> None:
    columns = [Column("force", "f4", "kN"), Column("count", "i8"), Column("on", "b1"),
               Column("big", "u8"), Column("mode", "str")]  # fmt: skip
    table = Table("press", "press_1", columns, (("gateway", "hall-3"), ("device", "press_1")))
    now_ns = time.time_ns()
    rows = [
        Selected(Row(table, now_ns - day * DAY_NS, make_parts(table, (1 / 8, day, True, day, "a"))))
        for day in range(40)
    ]
    registry, upkeep = Registry(), Upkeep("plant", 0)
    store = Store(registry, upkeep)
    with connect(made, "edge-gateway test") as real:
        db = cast("Connection", ByFile(real))
        registry.begin(db)
        upkeep.begin(db)
        for first, last, known in ((0, 30, 0), (0, 30, 150), (20, 40, 200)):
            tables = list(decode_columns(encode_batch(rows[first:last])))
            registry.learn(db, (given.table for given in tables))
            store.store(db, tables)
            assert store.values_known == known
    count = "SELECT count(*), count(DISTINCT time_ns), count(f8), count(str) FROM sample"
    assert ask(made, count) == [(200, 40, 40, 40)]
    (chunks,) = ask(made, "SELECT count(*) FROM show_chunks('sample')")[0]
    assert chunks > 5
    assert ask(made, "SELECT DISTINCT number FROM history WHERE tag = 'force'") == [(0.125,)]
