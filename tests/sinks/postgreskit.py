"""A PostgreSQL with the gateway's tables, and a sink with all that stands before it."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from gateway.hub import Hub
from gateway.losses import Loss
from gateway.model import Column, Row, Selected, Table, make_parts
from gateway.sinks.postgres import PostgresConfig, PostgresSink, migrate
from gateway.spool import Spool, SpoolConfig
from gateway.writer import Writer, WriterConfig
from gateway.writer.deliver import Backoff
from tests.sims.postgres_server import OWNER, PostgresServer
from tests.support import until

QUICK = Backoff(first_s=0.05, max_s=0.2, operator_s=0.1)
HOUR_NS = 3_600_000_000_000
DAY_NS = 24 * HOUR_NS


class Plant:
    """A database of a server, and the sink's settings for it."""

    def __init__(self, server: PostgresServer, folder: Path) -> None:
        self.server = server
        self.folder = folder
        self.database = server.new_database()
        self.password = folder / "postgres.password"
        self.password.write_text(server.password + "\n")
        self.password.chmod(0o600)

    def config(self, **more: Any) -> PostgresConfig:
        document = {
            "type": "postgres",
            "host": "127.0.0.1",
            "port": self.server.port,
            "database": self.database,
            "user": OWNER,
            "password_file": self.password,
            "timeout_s": 10.0,
            **more,
        }
        return PostgresConfig.model_validate(document)

    def upgrade(self, **more: Any) -> None:
        config = self.config(**more)
        migrate.upgrade(config, config.user)

    def ask(self, text: str, *arguments: object) -> list[tuple[Any, ...]]:
        """Ask as the superuser."""
        with self.server.connect(self.database) as db:
            db.execute("SET search_path TO gateway, public")
            cursor = db.execute(text, arguments or None)
            return cursor.fetchall() if cursor.description else []

    def one(self, text: str, *arguments: object) -> Any:
        return self.ask(text, *arguments)[0][0]


class Gateway:
    """Hub, writer, spool and sink on one state folder; may be started again."""

    def __init__(self, plant: Plant, folder: Path) -> None:
        self.plant = plant
        self.folder = folder
        self.losses: list[Loss] = []
        self._writer: Writer | None = None

    def start(self, **more: Any) -> Writer:
        self.hub = Hub()
        self.sink = PostgresSink("plant", self.plant.config(**more), self.folder)
        self.writer = self._writer = Writer(
            "plant",
            self.sink,
            self.hub.subscribe("plant"),
            WriterConfig(flush_interval_s=0.05),
            Spool(self.folder / "spool", SpoolConfig(), "plant", self.losses.append),
            on_loss=self.losses.append,
            backoff=QUICK,
        )
        self.writer.start()
        return self.writer

    def stop(self) -> None:
        if self._writer is not None:
            assert self._writer.stop(5.0)
            self.sink.close()
            self._writer = None

    def publish(self, table: Table, rows: Sequence[tuple[int, Sequence[Any]]]) -> None:
        """Rows, each a time and the values, and wait until they are taken."""
        before = self.writer.status()["rows_accepted"]
        for time_ns, values in rows:
            self.hub.publish(Row(table, time_ns, make_parts(table, values)))
        until(lambda: self.writer.status()["rows_accepted"] == before + len(rows))

    def settled(self, rows: int) -> dict[str, Any]:
        """The status when so many rows were stored or refused since the start."""

        def status() -> dict[str, Any] | None:
            found = self.writer.status()
            return found if found["rows_stored"] + found["rows_rejected"] >= rows else None

        return until(status, 30, f"{rows} rows to be delivered")

    def letters(self) -> list[tuple[str, str]]:
        """(line, words) of the dead letters, oldest first."""
        path = self.folder / "spool" / "dead_letters.db"
        if not path.exists():
            return []
        db = sqlite3.connect(path)
        try:
            return db.execute("SELECT line, reason FROM dead_letter ORDER BY id").fetchall()
        finally:
            db.close()


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresServer]:
    """One for the tests of a module; each has a database of its own."""
    made = PostgresServer()
    try:
        made.start()
        yield made
    finally:
        made.remove()


@pytest.fixture
def plant(server: PostgresServer, tmp_path: Path) -> Plant:
    """A database with the tables."""
    made = Plant(server, tmp_path)
    made.upgrade()
    return made


@pytest.fixture
def sink(plant: Plant, tmp_path: Path) -> Iterator[PostgresSink]:
    """A sink to it."""
    made = PostgresSink("plant", plant.config(), tmp_path)
    yield made
    made.close()


@pytest.fixture
def gateway(plant: Plant, tmp_path: Path) -> Iterator[Gateway]:
    """What stands before a sink to it; not started."""
    made = Gateway(plant, tmp_path)
    yield made
    made.stop()


def table_of(*columns: Column, name: str = "press", device: str = "press_1") -> Table:
    return Table(name, device, columns, (("gateway", "hall-3"), ("device", device)))


def row(table: Table, time_ns: int, *values: Any, **more: Any) -> Selected:
    return Selected(Row(table, time_ns, make_parts(table, values), **more))


def send(sink: PostgresSink, *rows: Selected) -> None:
    for payload in sink.encode(rows):
        sink.deliver(payload.body, payload.format)
