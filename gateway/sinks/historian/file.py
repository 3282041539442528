"""The historian's file: opened by one connection, checked, put aside where it is damaged."""

from __future__ import annotations

import logging
import sqlite3
import time
from pathlib import Path
from typing import Final, NamedTuple

from gateway.errors import SinkUnavailable

log = logging.getLogger(__name__)

SCHEMA: Final = 1
APPLICATION_ID: Final = 0x45474801
SPAN: Final = 1_000_000
"""A sample's id is its row's times this, plus the series' position."""

PAGE: Final = 4096
WAL_BYTES: Final = 1_048_576

_SETTINGS = f"""
PRAGMA page_size = {PAGE};
PRAGMA auto_vacuum = INCREMENTAL;
PRAGMA locking_mode = EXCLUSIVE;
PRAGMA journal_mode = WAL;
PRAGMA synchronous = FULL;
PRAGMA secure_delete = OFF;
PRAGMA wal_autocheckpoint = {WAL_BYTES // PAGE};
PRAGMA journal_size_limit = {WAL_BYTES};
PRAGMA cache_size = -4096;
"""
# auto_vacuum stays off in a new file if it comes after journal_mode.
# EXCLUSIVE: a second process could let the WAL grow without bound (a reader), make a batch fail
# (a writer) and, up to SQLite 3.51.2, damage the file (two that checkpoint).


class State(NamedTuple):
    """The file's counters, as its table ``state`` keeps them."""

    next_row: int
    samples: int
    minute_samples: int
    rolled_from: int
    minutes_deleted_to: int
    trusted_ns: int
    doubted_ns: int
    doubted_for_ns: int


def primary_code(error: sqlite3.Error) -> int:
    """SQLite's primary result code, 0 where the error did not come from SQLite."""
    return int(getattr(error, "sqlite_errorcode", 0)) & 0xFF


def is_damaged(error: sqlite3.Error) -> bool:
    """Whether SQLite calls the file itself damaged."""
    return primary_code(error) in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)


def open_file(path: Path) -> sqlite3.Connection:
    """The one connection to the file, which is created where there is none.

    Raises sqlite3.Error, OSError, or SinkUnavailable where the file is not ours to write.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    connection = sqlite3.connect(
        path, timeout=0.5, isolation_level=None, check_same_thread=False, cached_statements=128
    )
    try:
        for setting in filter(None, map(str.strip, _SETTINGS.split(";"))):
            answer = connection.execute(setting).fetchall()
            if "journal_mode" in setting and answer != [("wal",)]:
                raise sqlite3.OperationalError(f"no WAL on this file system: {answer}")
        _claim(connection, path)
    except BaseException:
        connection.close()
        raise
    return connection


def _claim(connection: sqlite3.Connection, path: Path) -> None:
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    (application,) = connection.execute("PRAGMA application_id").fetchone()
    (tables,) = connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()
    if tables and application != APPLICATION_ID:
        raise SinkUnavailable(
            f"{path} is a database of something else; give the historian another path",
            operator=True,
        )
    if version > SCHEMA:
        raise SinkUnavailable(
            f"{path} was written by a newer gateway (schema {version}, this one knows {SCHEMA}); "
            "run the newer gateway or give the historian another path",
            operator=True,
        )
    if not tables:
        schema = Path(__file__).with_name("schema.sql").read_text("utf-8")
        connection.executescript(
            f"BEGIN IMMEDIATE; {schema} PRAGMA application_id = {APPLICATION_ID};"
            f"PRAGMA user_version = {SCHEMA}; COMMIT;"
        )
    _add_missing(connection)
    # each table is touched at both ends, so that a damaged file shows itself here
    for table in ("row_time", "sample", "minute_time", "minute_sample"):
        for end in ("min", "max"):  # both in one query would read the whole table
            connection.execute(f"SELECT {end}(id) FROM {table}").fetchone()


def _add_missing(connection: sqlite3.Connection) -> None:
    """Columns that files of schema 1 did not have at first."""
    there = {name for (name,) in connection.execute("SELECT name FROM pragma_table_info('state')")}
    for column in State._fields:
        if column not in there:
            connection.execute(f"ALTER TABLE state ADD COLUMN {column} INTEGER NOT NULL DEFAULT 0")


def read_state(connection: sqlite3.Connection) -> State:
    """The counters in the file."""
    row = connection.execute(
        "SELECT next_row, samples, minute_samples, rolled_from, minutes_deleted_to,"
        " trusted_ns, doubted_ns, doubted_for_ns FROM state"
    ).fetchone()
    if row is None:
        raise sqlite3.DatabaseError("table state is empty")
    return State(*row)


def write_state(connection: sqlite3.Connection, state: State) -> None:
    """Set the counters in the file."""
    connection.execute(
        "UPDATE state SET next_row = ?, samples = ?, minute_samples = ?, rolled_from = ?,"
        " minutes_deleted_to = ?, trusted_ns = ?, doubted_ns = ?, doubted_for_ns = ?",
        state,
    )


def put_aside(path: Path, why: str) -> Path:
    """Rename a damaged file and its WAL to ``<name>.corrupt-<ns>``; the new path."""
    aside = path.with_name(f"{path.name}.corrupt-{time.time_ns()}")
    path.rename(aside)
    wal = path.with_name(f"{path.name}-wal")
    if wal.exists():
        wal.rename(aside.with_name(f"{aside.name}-wal"))
    log.error(
        "historian: %s is damaged (%s); it was put aside as %s and a new file is begun: "
        "the history so far is only in that file",
        path,
        why,
        aside.name,
    )
    return aside
