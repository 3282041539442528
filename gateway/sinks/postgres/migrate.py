"""The schema's versions: brought up and down by Alembic, only where `gateway db` asks for it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import psycopg
import sqlalchemy
from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from alembic.util import CommandError

from gateway.errors import GatewayError
from gateway.sinks.postgres.client import Connection, connect, words_of
from gateway.sinks.postgres.schema import DAY_NS, missing_tables, version_of
from gateway.sinks.postgres.settings import PostgresConfig

FOLDER = Path(__file__).parent / "migrations"

_READS = ("source", "series", "quality", "sample", "layout", "schema_version", "raw_window")
_OWN = ("gateway_alarm", "gateway_loss", "gateway_event", "gateway_audit")
_VIEWS = ("tags", "history", "latest", "latest_features", "active_alarms", "device_status")
_LOCK = 0x6564_6765
"""Of the advisory lock that keeps two migrations apart."""


class Step(NamedTuple):
    """One version of the schema."""

    revision: str
    what: str


def steps() -> list[Step]:
    """All versions, oldest first."""
    script = ScriptDirectory(str(FOLDER))
    return [Step(s.revision, s.doc) for s in reversed(list(script.walk_revisions()))]


def head() -> str:
    """The newest version."""
    return steps()[-1].revision


def upgrade(config: PostgresConfig, role: str, to: str = "head") -> None:
    """Bring the schema up; then the policies and rights of ``role``, which writes, are renewed.

    ``config`` says who does it. GatewayError where it cannot be done; then nothing has changed but
    whole steps.
    """
    with _connected(config) as db, _alone(db):
        # even IF NOT EXISTS fails where another session makes it at the same moment
        db.execute(f"CREATE SCHEMA IF NOT EXISTS {config.schema_}")
        _run(config, db, "upgrade", to)
        if version_of(db) == head():
            _policies(config, db)
            _grant(config, db, role)


def downgrade(config: PostgresConfig, to: str) -> None:
    """Take the schema down to a version, or ``base``; what it does not know is deleted."""
    with _connected(config) as db, _alone(db):
        _run(config, db, "downgrade", to)


def state(config: PostgresConfig) -> str | None:
    """The version that the database has; None: none."""
    with _connected(config) as db:
        return version_of(db)


def missing(config: PostgresConfig) -> list[str]:
    """Tables of this gateway's version that are not there."""
    with _connected(config) as db:
        return missing_tables(db)


@contextlib.contextmanager
def _connected(config: PostgresConfig) -> Iterator[Connection]:
    db = connect(config, "gateway db")
    try:
        with _words():
            db.execute("SET statement_timeout TO 0")
            yield db
    finally:
        db.close()


@contextlib.contextmanager
def _words() -> Iterator[None]:
    try:
        yield
    except psycopg.Error as error:
        raise GatewayError(f"the server says: {words_of(error)}") from error


@contextlib.contextmanager
def _alone(db: Connection) -> Iterator[None]:
    """No other migration of this database runs meanwhile."""
    db.execute("SELECT pg_advisory_lock(%s)", (_LOCK,))
    try:
        yield
    finally:
        if not db.closed:
            db.execute("SELECT pg_advisory_unlock(%s)", (_LOCK,))


def _run(config: PostgresConfig, db: Connection, what: str, to: str) -> None:
    db.autocommit = False
    engine = sqlalchemy.create_engine(
        "postgresql+psycopg://", creator=lambda: db, poolclass=sqlalchemy.pool.StaticPool
    )
    alembic = Config()
    alembic.set_main_option("script_location", str(FOLDER).replace("%", "%%"))
    try:
        with engine.connect() as bound:
            alembic.attributes["connection"] = bound
            alembic.attributes["settings"] = {"partition_ns": config.partition_days * DAY_NS}
            getattr(command, what)(alembic, to)
    except CommandError as error:
        known = ", ".join(step.revision for step in steps())
        raise GatewayError(f"{error}; known versions: {known}") from error
    except (psycopg.Error, sqlalchemy.exc.DBAPIError) as error:
        cause = error.orig if isinstance(error, sqlalchemy.exc.DBAPIError) else error
        words = words_of(cause) if isinstance(cause, psycopg.Error) else str(cause)
        raise GatewayError(f"the server says: {words}") from error
    finally:
        if not db.closed:
            db.rollback()
            db.autocommit = True


def _policies(config: PostgresConfig, db: Connection) -> None:
    """Compression and retention of TimescaleDB, as configured now; nothing where it is not."""
    if _one(db, "SELECT kind FROM layout") != "timescale":
        return
    if _one(db, "SELECT current_setting('timescaledb.license', true)") == "apache":
        return  # that edition has no policies; the sink drops chunks itself
    db.execute("SELECT remove_compression_policy('sample', if_exists => true)")
    db.execute("SELECT remove_retention_policy('sample', if_exists => true)")
    if config.compress_after_days:
        db.execute(
            "ALTER TABLE sample SET (timescaledb.compress,"
            " timescaledb.compress_segmentby = 'series_id',"
            " timescaledb.compress_orderby = 'time_ns')"
        )
        after_ns = config.compress_after_days * DAY_NS
        db.execute(f"SELECT add_compression_policy('sample', BIGINT '{after_ns}')")
    if config.retention_days:
        after_ns = config.retention_days * DAY_NS
        db.execute(f"SELECT add_retention_policy('sample', BIGINT '{after_ns}')")


def _grant(config: PostgresConfig, db: Connection, role: str) -> None:
    if role == _one(db, "SELECT current_user"):
        return
    name = psycopg.sql.Identifier(role).as_string(db)
    schema = config.schema_
    reads = [*_READS, *_OWN, *_VIEWS, "partitions"]
    if _one(db, "SELECT to_regclass('sample_other')") is not None:
        reads.append("sample_other")
    for text in (
        f"GRANT USAGE ON SCHEMA {schema} TO {name}",
        f"GRANT SELECT ON {', '.join(reads)} TO {name}",
        f"GRANT INSERT ON source, series, quality, sample, raw_window, {', '.join(_OWN)} TO {name}",
        f"GRANT UPDATE (last_ns, interval_s) ON source TO {name}",
        f"GRANT UPDATE (unit) ON series TO {name}",
        f"GRANT EXECUTE ON FUNCTION make_partition, drop_before TO {name}",
    ):
        db.execute(text)


def _one(db: Connection, text: str) -> Any:
    row = db.execute(text).fetchone()
    return None if row is None else row[0]
