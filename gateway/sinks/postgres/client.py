"""Connections to the server, and what its errors mean to a delivery."""

from __future__ import annotations

import logging
import os
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TypeAlias

import psycopg
from psycopg import errors

from gateway.errors import GatewayError, Rejected, SinkUnavailable
from gateway.logs import hide
from gateway.sinks.payload import TooSlow
from gateway.sinks.postgres.settings import PostgresConfig

log = logging.getLogger(__name__)

Connection: TypeAlias = psycopg.Connection[tuple[Any, ...]]

OLDEST_SERVER = 140_000
"""PostgreSQL 14: before it `extract` rounded times to what a double holds."""

_SOON = (
    errors.OperationalError,  # connection, disk full, out of memory, shutdown, deadlock, timeout
    psycopg.InterfaceError,
    errors.ReadOnlySqlTransaction,  # it is a standby now
)
_FOR_A_PERSON = ("authentication failed", "does not exist", "no pg_hba.conf entry", "certificate")
"""In the words of a connection that was refused: it has no code."""

_NOT_THE_SCHEMA = (
    errors.UndefinedTable,
    errors.UndefinedColumn,
    errors.UndefinedFunction,
    errors.InvalidSchemaName,
)
_OF_THE_ROWS = (errors.DataError, errors.IntegrityError, errors.ProgramLimitExceeded)


def password_of(config: PostgresConfig) -> str | None:
    """The password; None where none is configured. SinkUnavailable where it cannot be read."""
    path = config.password_file
    if config.password_credential is not None:
        folder = os.environ.get("CREDENTIALS_DIRECTORY")
        if not folder:
            text = "password_credential needs systemd's $CREDENTIALS_DIRECTORY, which is not set"
            raise SinkUnavailable(text, operator=True)
        path = Path(folder) / config.password_credential
    if path is None:
        return None
    try:
        if path.stat().st_mode & 0o004:
            log.warning("everybody on this machine can read the password in %s", path)
        password = path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise SinkUnavailable(f"no password: {error}", operator=True) from error
    if not password:
        raise SinkUnavailable(f"{path} holds no password", operator=True)
    hide(password)
    return password


def connect(config: PostgresConfig, program: str = "edge-gateway") -> Connection:
    """A connection whose names are those of the sink's schema; each statement commits.

    SinkUnavailable says why there is none.
    """
    words: dict[str, Any] = {
        "host": config.host,
        "port": config.port,
        "dbname": config.database,
        "user": config.user,
        "password": password_of(config),
        "sslmode": "disable" if config.tls == "off" else config.tls,
        "connect_timeout": max(2, round(config.timeout_s)),
        "application_name": program,
        "client_encoding": "UTF8",
    }
    if config.ca_file is not None:
        words["sslrootcert"] = str(config.ca_file)
    with translated():
        made: Connection = psycopg.connect("", autocommit=True, **words)
        # its own watch: a server that stops now would be waited for without end
        watch = Watch()
        try:
            with watch.over(made, config.timeout_s):
                _begin(made, config)
        except BaseException:
            made.close()
            raise
    return made


def _begin(db: Connection, config: PostgresConfig) -> None:
    if db.info.server_version < OLDEST_SERVER:
        found = db.info.server_version // 10_000
        text = f"the server is PostgreSQL {found}; expected 14 or newer"
        raise SinkUnavailable(text, operator=True)
    db.execute(f"SET search_path TO {config.schema_}, public")
    db.execute("SET timezone TO 'UTC'")
    time_ms = int(1000 * config.timeout_s)
    db.execute(f"SET statement_timeout TO {time_ms}")
    # a process that stands still in a transaction holds up whoever stores the same rows
    db.execute(f"SET idle_in_transaction_session_timeout TO {time_ms}")


_STANDING = (
    "SELECT pid, pg_terminate_backend(pid) FROM pg_stat_activity"
    " WHERE datname = current_database() AND usename = current_user AND pid <> pg_backend_pid()"
    " AND application_name LIKE 'edge-gateway%%' AND state IN ('active', 'idle in transaction')"
    " AND wait_event = 'ClientRead' AND state_change < now() - %s * interval '1 second'"
)


def end_standing(db: Connection, timeout_s: float) -> None:
    """End sessions of ours that stand still in a transaction, and with them what they lock.

    No time-out of the server ends one within a COPY, as it waits for more, nor (15.20, seen) one
    after a pipeline. A client that runs gives up after its own ``timeout_s``, so what is twice
    as old belongs to one that does not.
    """
    for pid, ended in db.execute(_STANDING, (2 * timeout_s,)).fetchall():
        if ended:
            log.warning("ended session %d, which stood still and held up others", pid)


class Watch:
    """Ends what a connection waits for when its time is up, or when the sink is closed."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._fd: int | None = None
        self.fired = False

    @property
    def is_busy(self) -> bool:
        """Whether a connection is being watched."""
        return self._fd is not None

    @contextmanager
    def over(self, connection: Connection, seconds: float) -> Iterator[None]:
        """The time that everything in the block has together."""
        timer = threading.Timer(seconds, self.interrupt)
        timer.daemon = True
        with self._lock:
            self._fd = connection.fileno()
            self.fired = False
        timer.start()
        try:
            yield
        finally:
            timer.cancel()
            with self._lock:
                self._fd = None
            timer.join()

    def interrupt(self) -> None:
        """The server gets no more time: a stopped one would never answer. From any thread."""
        with self._lock:
            if self._fd is None:
                return
            self.fired = True
            with suppress(OSError), socket.socket(fileno=os.dup(self._fd)) as same:
                same.shutdown(socket.SHUT_RDWR)


@contextmanager
def translated(watch: Watch | None = None) -> Iterator[None]:
    """What the server says no with, as errors of the sink contract."""
    try:
        yield
    except errors.QueryCanceled as error:
        raise TooSlow(words_of(error)) from error
    except psycopg.Error as error:
        if watch is not None and watch.fired:
            raise TooSlow("no answer in time") from error
        raise meaning(error) from error


def meaning(error: psycopg.Error) -> GatewayError:
    """SinkUnavailable or Rejected."""
    words = words_of(error)
    if isinstance(error, _NOT_THE_SCHEMA):
        text = f"{words}; the tables are not as `gateway db` made them, see `gateway db check`"
        return SinkUnavailable(text, operator=True)
    if isinstance(error, _OF_THE_ROWS):
        return Rejected(f"{error.sqlstate}: {words}")
    if isinstance(error, _SOON):
        return SinkUnavailable(words, operator=any(part in words for part in _FOR_A_PERSON))
    return SinkUnavailable(words, operator=True)


def words_of(error: psycopg.Error) -> str:
    """What the server said, on one line."""
    said = error.diag.message_primary or str(error) or type(error).__name__
    return " ".join(said.split())
