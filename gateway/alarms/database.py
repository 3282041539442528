"""The file of the alarm database: its tables, opened, checked, written and tidied.

One connection writes; whoever reads the history opens one of its own, which WAL lets them.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple
from urllib.parse import quote

import orjson

from gateway.alarms.model import Transition
from gateway.alarms.settings import HistoryConfig
from gateway.errors import GatewayError

SCHEMA: Final = 1
APPLICATION_ID: Final = 0x45474101

RESERVED = 1000
"""Numbers are reserved in blocks: after a crash none is used twice, though some were not stored."""
KEPT_ALWAYS = 1000
"""The newest transitions are kept however old they look: the clock may have been set."""
AT_ONCE = 2000
"""Most rows that one statement deletes."""
BUSY_MS = 2000

_COLUMNS = ("number", "time_ns", "id", "device", "alarm", "severity", "from_state", "state",
            "condition", "message", "value", "limit", "unit", "who", "why", "first_out",
            "notify")  # fmt: skip
_NAMES = ", ".join(f'"{name}"' for name in _COLUMNS)

_SETTINGS = (
    "PRAGMA journal_mode = WAL",
    "PRAGMA synchronous = FULL",
    f"PRAGMA busy_timeout = {BUSY_MS}",
    "PRAGMA journal_size_limit = 1048576",
    "PRAGMA wal_autocheckpoint = 256",
)
_TABLES = f"""
BEGIN IMMEDIATE;
CREATE TABLE meta (key TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE alarm (id TEXT PRIMARY KEY, state TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE transition (
    "number" INTEGER PRIMARY KEY, "time_ns" INTEGER NOT NULL, "id" TEXT NOT NULL,
    "device" TEXT NOT NULL, "alarm" TEXT NOT NULL, "severity" TEXT NOT NULL,
    "from_state" TEXT NOT NULL, "state" TEXT NOT NULL, "condition" TEXT NOT NULL,
    "message" TEXT NOT NULL, "value" REAL, "limit" REAL, "unit" TEXT NOT NULL,
    "who" TEXT NOT NULL, "why" TEXT NOT NULL, "first_out" INTEGER NOT NULL, "notify" TEXT);
CREATE INDEX transition_time ON transition (time_ns);
CREATE INDEX transition_alarm ON transition (id, number);
PRAGMA application_id = {APPLICATION_ID};
PRAGMA user_version = {SCHEMA};
COMMIT;
"""


class Kept(NamedTuple):
    """What was on disk at the start."""

    number: int
    """No transition has this number or a higher one."""
    alarms: Mapping[str, Mapping[str, Any]]


class NotOurs(GatewayError):
    """The file is of something else, or of a newer gateway: it is not touched."""


class Database:
    """One connection to the file; for one thread at a time. Its methods raise sqlite3.Error."""

    def __init__(self, path: Path) -> None:
        """Open, or create; OSError, NotOurs."""
        path.parent.mkdir(parents=True, exist_ok=True)
        self._last = self._reserved = 0
        self._connection = sqlite3.connect(
            path, timeout=BUSY_MS / 1e3, isolation_level=None, check_same_thread=False
        )
        try:
            self._claim(path)
        except BaseException:
            self._connection.close()
            raise

    def _claim(self, path: Path) -> None:
        connection = self._connection
        (tables,) = connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()
        (application,) = connection.execute("PRAGMA application_id").fetchone()
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        if tables and application != APPLICATION_ID:
            raise NotOurs(f"{path} is a database of something else")
        if version > SCHEMA:
            raise NotOurs(f"{path} was written by a newer gateway (schema {version})")
        for setting in _SETTINGS:
            connection.execute(setting).fetchall()
        if not tables:
            connection.executescript(_TABLES)

    def close(self) -> None:
        """The file is not used any more."""
        self._connection.close()

    def read(self, least: int) -> Kept:
        """All but the transitions; the number is at least ``least``."""
        connection = self._connection
        (check,) = connection.execute("PRAGMA quick_check(1)").fetchone()
        if check != "ok":
            raise sqlite3.DatabaseError(f"damaged: {check}")
        (newest,) = connection.execute("SELECT max(number) FROM transition").fetchone()
        reserved = connection.execute("SELECT value FROM meta WHERE key = 'number'").fetchone()
        self._last = max(least, newest or 0, reserved[0] if reserved else 0)
        self._reserved = self._last
        alarms = {}
        for alarm, text in connection.execute("SELECT id, state FROM alarm"):
            try:
                alarms[alarm] = orjson.loads(text)
            except orjson.JSONDecodeError:
                alarms[alarm] = {}
        return Kept(self._last, alarms)

    def write(
        self,
        transitions: Sequence[Transition],
        states: Mapping[str, bytes | None],
        *,
        is_last: bool = False,
    ) -> None:
        """Write all or nothing; a state of None is deleted. ``is_last``: no number is wasted."""
        connection = self._connection
        connection.execute("BEGIN IMMEDIATE")
        try:
            marks = ", ".join("?" * len(_COLUMNS))
            connection.executemany(
                f"INSERT OR REPLACE INTO transition ({_NAMES}) VALUES ({marks})",
                map(_row_of, transitions),
            )
            for alarm, text in states.items():
                if text is None:
                    connection.execute("DELETE FROM alarm WHERE id = ?", (alarm,))
                else:
                    values = (alarm, text.decode())
                    connection.execute("INSERT OR REPLACE INTO alarm VALUES (?, ?)", values)
            if transitions:
                self._last = transitions[-1].number
            self._reserve(is_last=is_last)
            connection.execute("COMMIT")
        except BaseException:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise

    def _reserve(self, *, is_last: bool) -> None:
        if not is_last and self._last <= self._reserved - RESERVED // 2:
            return
        self._reserved = self._last if is_last else self._last + RESERVED
        self._connection.execute(
            "INSERT OR REPLACE INTO meta VALUES ('number', ?)", (self._reserved,)
        )

    def tidy(self, config: HistoryConfig, wanted: Callable[[], bool]) -> bool:
        """Delete what is too old or too much, until ``wanted`` elsewhere; whether all is done."""
        connection = self._connection
        (newest,) = connection.execute("SELECT max(number) FROM transition").fetchone()
        oldest_ns = time.time_ns() - round(config.days * 86_400e9)
        while newest is not None:
            (rows,) = connection.execute("SELECT count(*) FROM transition").fetchone()
            deleted = 0
            if (surplus := rows - config.max_rows) > 0:
                deleted += connection.execute(
                    "DELETE FROM transition WHERE number IN"
                    " (SELECT number FROM transition ORDER BY number LIMIT ?)",
                    (min(AT_ONCE, surplus),),
                ).rowcount
            deleted += connection.execute(
                "DELETE FROM transition WHERE number IN (SELECT number FROM transition"
                " WHERE time_ns < ? AND number <= ? LIMIT ?)",
                (oldest_ns, newest - KEPT_ALWAYS, AT_ONCE),
            ).rowcount
            if not deleted:
                break
            if wanted():
                return False
        return True


def read_transitions(
    path: Path, from_ns: int, to_ns: int, most: int, alarm: str | None
) -> list[dict[str, Any]]:
    """Those of that time, the newest first; none where there is no file. GatewayError."""
    if not path.exists():
        return []
    condition = ' AND "id" = ?' if alarm is not None else ""
    query = (
        f"SELECT {_NAMES} FROM transition WHERE time_ns BETWEEN ? AND ?{condition}"
        " ORDER BY number DESC LIMIT ?"
    )
    last = 2**63 - 1
    values = (max(-last, from_ns), min(last, to_ns), *([alarm] if alarm is not None else []), most)
    try:
        connection = sqlite3.connect(f"file:{quote(str(path))}?mode=ro", uri=True)
        try:
            connection.execute(f"PRAGMA busy_timeout = {BUSY_MS}")
            return [_document(row) for row in connection.execute(query, values)]
        finally:
            connection.close()
    except sqlite3.Error as error:
        raise GatewayError(f"the history of alarms cannot be read: {error}") from error


def put_aside(path: Path) -> Path:
    """Rename a damaged file, and what SQLite keeps beside it; the new path. OSError."""
    aside = path.with_name(f"{path.name}.corrupt-{time.time_ns()}")
    path.rename(aside)
    for ending in ("-wal", "-shm"):
        beside = path.with_name(path.name + ending)
        if beside.exists():
            beside.rename(aside.with_name(aside.name + ending))
    return aside


def is_damaged(error: Exception) -> bool:
    """Whether it is the file itself that is at fault."""
    if not isinstance(error, sqlite3.DatabaseError):
        return False
    code = getattr(error, "sqlite_errorcode", None)
    if code is None:
        return str(error).startswith("damaged")
    return code & 0xFF in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)


def document_of(transition: Transition) -> dict[str, Any]:
    """In the shape of `alarmschemas.AlarmTransition`, with who is notified."""
    document = {name: getattr(transition, name) for name in _COLUMNS if name != "notify"}
    notify = transition.notify
    document["notify"] = None if notify is None else list(notify)
    return document


def _row_of(transition: Transition) -> tuple[Any, ...]:
    document = document_of(transition)
    notify = document["notify"]
    document["notify"] = None if notify is None else orjson.dumps(notify).decode()
    return tuple(document.values())


def _document(row: Sequence[Any]) -> dict[str, Any]:
    document = dict(zip(_COLUMNS, row, strict=True))
    document["first_out"] = bool(document["first_out"])
    notify = document["notify"]
    document["notify"] = None if notify is None else orjson.loads(notify)
    return document
