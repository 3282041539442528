"""A PostgreSQL with the gateway's tables, and a sink with all that stands before it."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from gateway.model import Column, Row, Selected, Table, make_parts
from gateway.sinks.postgres import PostgresConfig, PostgresSink, migrate
from gateway.writer import Writer
from tests.sims.postgres_server import OWNER, PostgresServer, postgres_server
from tests.sinks.chainkit import SinkChain

HOUR_NS = 3_600_000_000_000
DAY_NS = 24 * HOUR_NS
NOW = time.time_ns()


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


class Gateway(SinkChain):
    """A chain to PostgreSQL."""

    def __init__(self, plant: Plant, folder: Path) -> None:
        super().__init__(folder, "plant")
        self.plant = plant

    def start(self, **more: Any) -> Writer:
        self.sink = PostgresSink("plant", self.plant.config(**more), self.folder)
        return self.run(self.sink)

    def publish(self, table: Table, rows: Sequence[tuple[int, Sequence[Any]]]) -> None:
        """Rows, each a time and the values, and wait until they are taken."""
        self.publish_all(*(Row(table, at, make_parts(table, values)) for at, values in rows))


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresServer]:
    """One for the tests of a module; each has a database of its own."""
    with postgres_server() as made:
        yield made


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


TABLE = table_of(*(Column(f"c{i}", "f8") for i in range(20)))
VALUES = [float(i) for i in range(20)]


def rows_of(count: int, first: int = 0) -> list[tuple[int, list[float]]]:
    """Rows of TABLE, a nanosecond apart, to publish."""
    return [(NOW + first + i, VALUES) for i in range(count)]


def stored(plant: Plant) -> int:
    """Values in the database."""
    return int(plant.one("SELECT count(*) FROM sample"))
