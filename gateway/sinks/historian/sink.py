"""The embedded historian: every value in one SQLite file, durable when `store` returns."""

from __future__ import annotations

import logging
import os
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, ClassVar, Final, NoReturn

from pydantic import ByteSize, Field

from gateway.errors import GatewayError, SinkUnavailable
from gateway.model import Row
from gateway.sinks import DurableSink, Selected, SinkConfig
from gateway.sinks.historian.age import AgeClock
from gateway.sinks.historian.file import PAGE, is_damaged, open_file, put_aside
from gateway.sinks.historian.names import SeriesName, list_series
from gateway.sinks.historian.query import History, Reader
from gateway.sinks.historian.retention import (
    BYTES_PER_MINUTE,
    Retention,
    days_that_fit,
    minute_days_that_fit,
    used_pages,
)
from gateway.sinks.historian.store import Recorder, chunks

__all__ = ["HistorianConfig", "HistorianSink", "days_that_fit", "minute_days_that_fit"]
log = logging.getLogger(__name__)

_LOOK_AT_FILE_S: Final = 1.0
_COPY_PAGES: Final = 1024
_ENOUGH_TO_MEASURE: Final = 1000


class HistorianConfig(SinkConfig):
    """``type: sqlite``, a file that any SQLite tool can read."""

    type: str = Field("sqlite", description="sqlite")
    retention_days: float = Field(
        30.0,
        gt=0,
        le=36_500,
        description="Raw values older than this are deleted; one-minute roll-ups after ten times.",
    )
    max_bytes: ByteSize = Field(
        ByteSize(2_000_000_000),
        ge=8_000_000,
        description="Most bytes on disk, e.g. 2GB; the oldest go first, whatever their age.",
    )
    store_every_s: float = Field(
        1.0,
        ge=0,
        le=86_400,
        description="At most one row of a table is stored in this time, in seconds; 0: every row. "
        "A row whose quality changes is always stored, and the roll-ups count every row.",
    )
    path: Path | None = Field(
        None, strict=False, description="The file; by default <sink's name>.db in state_dir."
    )


class HistorianSink(DurableSink):
    """Stores rows in SQLite: one connection, shared under a lock by the writer and by queries."""

    config_class: ClassVar[type[SinkConfig]] = HistorianConfig

    def __init__(
        self,
        name: str,
        config: SinkConfig,
        state_dir: Path,
        *,
        clock: Callable[[], int] = time.time_ns,
        monotonic_ns: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        super().__init__(name, config, state_dir)
        if not isinstance(config, HistorianConfig):
            raise TypeError(f"a HistorianConfig is needed, not {type(config).__name__}")
        self.path = state_dir / (config.path or f"{name}.db")
        self._clock = clock
        age = AgeClock(name, monotonic_ns)
        self._retention = Retention(config.retention_days, config.max_bytes, age)
        self._recorder = Recorder(round(config.store_every_s * 1e9), self._retention)
        self._lock = threading.RLock()
        self._connection: sqlite3.Connection | None = None
        self._inode: tuple[int, int] | None = None
        self._looked_s = 0.0
        self._stored: list[Row] = []
        self._was_damaged = False
        self._put_aside: list[str] = []
        self._status: dict[str, Any] = {"path": str(self.path)}

    def store(self, rows: Sequence[Selected]) -> None:
        """Store the batch; it is on disk on return.

        After SinkUnavailable the same rows may be given again: those already stored are known.
        """
        with self._lock:
            try:
                connection = self._opened()
                stored = {id(row) for row in self._stored}
                wanted = [s for s in rows if id(s.row) not in stored]
                self._recorder.register(connection, {s.row.table: None for s in wanted})
                for chunk in chunks(wanted):
                    self._recorder.write(connection, chunk, self._clock())
                    self._stored += [s.row for s in chunk]
                self._retention.shrink(connection)
                self._note_status(connection)
            except (sqlite3.Error, OSError) as error:
                self._fail(error)
            except BaseException:
                self._shut()
                raise
            given = {id(s.row) for s in rows}
            self._stored = [row for row in self._stored if id(row) not in given]
            self._was_damaged = False

    def left(self) -> tuple[bool, dict[tuple[str, str], int]] | None:
        """Whether the file had been closed, and the last time of each (device, table), ns.

        As it was when it was first opened, which this does; None where that fails now.
        """
        with self._lock:
            if self._recorder.left is None:
                with suppress(sqlite3.Error, OSError, GatewayError):
                    self._opened()
            if self._recorder.left is None:
                return None
            return self._recorder.clean, self._recorder.left

    def close(self) -> None:
        """Write the open minutes and close the file. Idempotent, never raises."""
        with self._lock:
            if self._connection is None:
                return
            try:
                self._recorder.finish(self._connection, self._clock())
                self._note_status(self._connection)
            except (sqlite3.Error, OSError, GatewayError) as error:
                log.warning("historian %s: closing: %s", self.name, error)
            self._shut()
            self._recorder.forget()

    def query(
        self, device: str, tag: str, from_ns: int, to_ns: int, max_points: int = 1000
    ) -> History:
        """What was stored of a tag, see `query.Reader.query`. From any thread."""
        with self._reading() as reader:
            return reader.query(device, tag, from_ns, to_ns, max_points)

    def newest_rows(
        self, device: str, table: str, from_ns: int, max_rows: int
    ) -> list[tuple[int, dict[str, Any]]]:
        """Whole rows of a table of few rows, see `query.Reader.newest_rows`. From any thread."""
        with self._reading() as reader:
            return reader.newest_rows(device, table, from_ns, max_rows)

    def series(self) -> list[SeriesName]:
        """Every series in the file. From any thread."""
        with self._reading() as reader:
            return list_series(reader.connection)

    def copy_to(self, path: Path) -> None:
        """Write a consistent copy for other tools, while rows are stored. From any thread."""
        if path.exists():
            raise GatewayError(f"{path} exists; a copy is written to a new file")

        def let_others(*_: int) -> None:
            self._lock.release()
            time.sleep(0.002)
            self._lock.acquire()
            if self._connection is not reader.connection:
                raise GatewayError("the historian was closed while it was copied")

        with self._reading() as reader:
            copy = sqlite3.connect(path)
            try:
                reader.connection.backup(copy, pages=_COPY_PAGES, progress=let_others)
                copy.execute("PRAGMA journal_mode = DELETE").fetchall()
            except BaseException:
                path.unlink(missing_ok=True)
                raise
            finally:
                copy.close()

    def bytes_per_value(self) -> float | None:
        """Bytes of the file for one raw value, roll-ups apart; None before there are 1000."""
        value: float | None = self._status.get("bytes_per_value")
        return value

    def status(self) -> dict[str, Any]:
        """Bytes, values and the times that they span, as of the last store."""
        return dict(self._status)

    @contextmanager
    def _reading(self) -> Iterator[Reader]:
        with self._lock:
            try:
                yield Reader(self._opened(), self._recorder.minutes())
            except (sqlite3.Error, OSError) as error:
                raise SinkUnavailable(f"the historian cannot be read: {error}") from error

    def _opened(self) -> sqlite3.Connection:
        if self._connection is not None and self._is_gone():
            log.error(
                "historian %s: %s was removed or replaced while it was open; what it held is "
                "lost here, a new file is begun",
                self.name,
                self.path,
            )
            self._shut()
            self._recorder.forget()
        if self._connection is None:
            connection = self._open_or_put_aside()
            try:
                self._stored += self._recorder.attach(connection)
                self._note_status(connection)
            except BaseException:
                connection.close()
                raise
            self._connection = connection
            self._inode = _inode(self.path)
        return self._connection

    def _open_or_put_aside(self) -> sqlite3.Connection:
        # a file system in trouble makes a good file look damaged: it is opened twice
        for _ in range(2):
            try:
                return open_file(self.path)
            except sqlite3.DatabaseError as error:
                if not is_damaged(error):
                    raise
                why = str(error)
        self._begin_anew(why)
        return open_file(self.path)

    def _begin_anew(self, why: str) -> None:
        self._put_aside.append(str(put_aside(self.path, why)))
        self._recorder.forget()
        self._stored.clear()

    def _is_gone(self) -> bool:
        now_s = time.monotonic()
        if now_s - self._looked_s < _LOOK_AT_FILE_S:
            return False
        self._looked_s = now_s
        return _inode(self.path) != self._inode

    def _fail(self, error: sqlite3.Error | OSError) -> NoReturn:
        self._shut()
        if isinstance(error, sqlite3.Error) and is_damaged(error):
            if self._was_damaged:
                with suppress(OSError):
                    self._begin_anew(str(error))
            self._was_damaged = not self._was_damaged
        raise SinkUnavailable(f"{self.path}: {error}") from error

    def _shut(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            try:
                connection.close()
            except sqlite3.Error as error:
                log.warning("historian %s: closing the file: %s", self.name, error)

    def _note_status(self, connection: sqlite3.Connection) -> None:
        state = self._recorder.state
        if state is None:
            return
        span = connection.execute(
            "SELECT (SELECT time_ns FROM row_time ORDER BY id LIMIT 1),"
            " (SELECT time_ns FROM row_time ORDER BY id DESC LIMIT 1)"
        ).fetchone()
        (pages,) = connection.execute("PRAGMA page_count").fetchone()
        raw_bytes = used_pages(connection) * PAGE - state.minute_samples * BYTES_PER_MINUTE
        measurable = state.samples >= _ENOUGH_TO_MEASURE
        wal = self.path.with_name(f"{self.path.name}-wal")
        self._status = {
            "path": str(self.path),
            "bytes": pages * PAGE + (wal.stat().st_size if wal.exists() else 0),
            "raw_values": state.samples,
            "minute_values": state.minute_samples,
            "raw_from_ns": span[0],
            "raw_to_ns": span[1],
            "bytes_per_value": round(raw_bytes / state.samples, 1) if measurable else None,
            "rows_known_already": self._recorder.rows_known,
            "put_aside": list(self._put_aside),
        }


def _inode(path: Path) -> tuple[int, int] | None:
    try:
        found = os.stat(path)  # noqa: PTH116
    except FileNotFoundError:
        return None
    return found.st_dev, found.st_ino
