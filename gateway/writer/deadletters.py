"""Dead letters: lines that a sink refused for good, kept with its words for a person to read."""

from __future__ import annotations

import hashlib
import logging
import os
import sqlite3
import threading
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

from gateway.losses import Cause

log = logging.getLogger(__name__)

MAX_LETTERS = 10_000
MAX_BYTES = 64_000_000
MAX_AGE_DAYS = 90.0
AGE_LOOK_S = 3600.0
AGE_LUMP = 100
"""Most letters that one look gives up by age: a clock that jumps must not empty the store."""

_SCHEMA = """
CREATE TABLE IF NOT EXISTS dead_letter (
    id INTEGER PRIMARY KEY, time TEXT NOT NULL, reason TEXT NOT NULL, line TEXT NOT NULL,
    digest BLOB NOT NULL UNIQUE
);
CREATE TABLE IF NOT EXISTS replay (letter INTEGER PRIMARY KEY, batch BLOB NOT NULL);
"""
_LETTER = (
    "SELECT d.id, d.time, d.reason, d.line, d.digest, r.batch IS NOT NULL"
    " FROM dead_letter d LEFT JOIN replay r ON r.letter = d.id"
)
_SIZE = "count(*), coalesce(sum(length(line) + length(reason)), 0)"


class Letter(NamedTuple):
    """A refused line: when (UTC, ISO 8601), with which words of the server, and itself."""

    id: int
    time: str
    reason: str
    line: str
    digest: bytes
    on_its_way: bool
    """It was put into the spool once more, and the sink has not answered yet."""

    @property
    def whole(self) -> bool:
        """Whether it is the line as it was refused, not cut and nothing replaced."""
        return _digest(self.line.encode()) == self.digest


class DeadLetters:
    """``dead_letters.db``, bounded: the oldest go first. From any thread: one connection, a lock.

    ``on_dropped`` gets the lines that are given up, before they are.
    """

    def __init__(
        self,
        path: Path,
        *,
        max_letters: int = MAX_LETTERS,
        max_bytes: int = MAX_BYTES,
        max_age_days: float = MAX_AGE_DAYS,
        wall: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self.path = path
        self.on_dropped: Callable[[Sequence[str], Cause], None] = lambda *_: None
        self.on_lost: Callable[[int, str], None] = lambda *_: None
        """Called with how many are gone with the file, and why."""
        self._max_letters = max_letters
        self._max_bytes = max_bytes
        self._max_age_s = max_age_days * 86_400.0
        self._wall = wall
        self._monotonic = monotonic
        self._looked_s: float | None = None
        self._lock = threading.RLock()
        self._db: sqlite3.Connection | None = None
        self._inodes: tuple[int, int] | None = None
        self._count = 0
        self._bytes = 0
        self._under_way: set[bytes] = set()
        self._not_kept = False
        self._ended = False

    @property
    def count(self) -> int:
        """Letters in the store, as far as it was opened; no I/O."""
        return self._count

    def add(self, line: bytes, reason: str) -> bool:
        """Keep a line, once; the same line again gets the new words. False where that fails."""
        return self.add_all([line], reason)

    def add_all(self, lines: Sequence[bytes], reason: str) -> bool:
        """Keep lines that were refused together. False where that fails: then none is kept."""
        with self._lock:
            try:
                db = self._open()
                with _transaction(db):
                    sizes = [self._put(db, line, reason) for line in lines]
                self._count += sum(new for new, _ in sizes)
                self._bytes += sum(size for _, size in sizes)
                self._keep_bounds(db)
            except (sqlite3.Error, OSError):
                self._not_kept = True
                self.close()
                return False
        return True

    def _put(self, db: sqlite3.Connection, line: bytes, reason: str) -> tuple[bool, int]:
        """Whether the line is new, and by how much the store grows."""
        text = line.decode(errors="replace")[: self._max_bytes // 8]
        digest = _digest(line)
        stamp = self._stamp(self._wall())
        query = "SELECT id, length(reason) FROM dead_letter WHERE digest=?"
        known = db.execute(query, (digest,)).fetchone()
        if known is None:
            query = "INSERT INTO dead_letter (time, reason, line, digest) VALUES (?,?,?,?)"
            db.execute(query, (stamp, reason, text, digest))
            return True, len(reason) + len(text)
        query = "UPDATE dead_letter SET time=?, reason=? WHERE id=?"
        db.execute(query, (stamp, reason, known[0]))
        db.execute("DELETE FROM replay WHERE letter=?", known[:1])
        return False, len(reason) - known[1]

    # -- reading

    def newest(self, limit: int) -> list[Letter]:
        """The letters refused last, newest first."""
        return self._read(f"{_LETTER} ORDER BY d.time DESC, d.id DESC LIMIT ?", limit)

    def get(self, letter_id: int) -> Letter | None:
        """One letter; None where there is none of that number."""
        return next(iter(self._read(f"{_LETTER} WHERE d.id=?", letter_id)), None)

    def ids(self) -> list[int]:
        """The numbers of all letters, oldest first."""
        with self._lock:
            if not self.look():
                return []
            return [i for (i,) in self._open().execute("SELECT id FROM dead_letter ORDER BY id")]

    def look(self) -> bool:
        """Open the store if there is one, so that `count` is known; whether there is one."""
        with self._lock:
            if self._db is None and not self.path.exists():
                if self._count:
                    self._gone("deleted by somebody")
                return False
            self._open()
            return True

    def _read(self, query: str, *values: int) -> list[Letter]:
        with self._lock:
            if not self.look():
                return []
            rows = self._open().execute(query, values).fetchall()
        return [Letter._make([*row[:5], bool(row[5])]) for row in rows]

    # -- replaying

    def mark(self, ids: Collection[int], body: bytes) -> None:
        """These letters are in the spool once more, in the batch with that body.

        sqlite3.Error or OSError where that cannot be noted.
        """
        batch = _digest(body)
        with self._lock:
            db = self._open()
            with _transaction(db):
                db.executemany(
                    "INSERT OR REPLACE INTO replay (letter, batch) VALUES (?,?)",
                    [(i, batch) for i in ids],
                )
            self._under_way.add(batch)

    def is_replay(self, body: bytes) -> bool:
        """Whether a batch with that body holds letters that are on their way."""
        return bool(self._under_way) and _digest(body) in self._under_way

    def finished(self, body: bytes) -> int:
        """A batch of letters is through: those not refused again leave. How many left."""
        batch = _digest(body)
        with self._lock:
            try:
                db = self._open()
                mine = "id IN (SELECT letter FROM replay WHERE batch=?)"
                with _transaction(db):
                    left, size = 0, 0
                    if not self._not_kept:  # else one that came back may not be noted
                        query = f"SELECT {_SIZE} FROM dead_letter WHERE {mine}"
                        left, size = db.execute(query, (batch,)).fetchone()
                        db.execute(f"DELETE FROM dead_letter WHERE {mine}", (batch,))
                    db.execute("DELETE FROM replay WHERE batch=?", (batch,))
            except (sqlite3.Error, OSError):
                self.close()
                return 0
            self._under_way.discard(batch)
            self._not_kept = False
            self._count -= left
            self._bytes -= size
        return int(left)

    @property
    def under_way(self) -> bool:
        """Whether any letters are on their way; no I/O."""
        return bool(self._under_way)

    def none_under_way(self) -> None:
        """The spool is empty: what was on its way is not any more, and stays. Never raises."""
        with self._lock:
            try:
                self._open().execute("DELETE FROM replay")
                self._under_way.clear()
            except (sqlite3.Error, OSError):
                self.close()

    # -- bounds

    def tidy(self) -> None:
        """Notice a file that was deleted or replaced; now and then give up what is too old.

        Never raises.
        """
        with self._lock, suppress(sqlite3.Error, OSError):
            if self._db is not None or self._count:
                self.look()
        now = self._monotonic()
        if self._looked_s is not None and now - self._looked_s < AGE_LOOK_S:
            return
        self._looked_s = now
        before = self._stamp(max(0.0, self._wall() - self._max_age_s))
        with self._lock, suppress(sqlite3.Error, OSError):
            if self.look():
                query = "SELECT id FROM dead_letter WHERE time<? ORDER BY time LIMIT ?"
                old = self._open().execute(query, (before, AGE_LUMP)).fetchall()
                self._give_up([i for (i,) in old], "dead_letter_age")

    def _keep_bounds(self, db: sqlite3.Connection) -> None:
        while self._count > self._max_letters or self._bytes > self._max_bytes:
            many = max(1, self._count - self._max_letters)
            query = "SELECT id FROM dead_letter ORDER BY id LIMIT ?"
            self._give_up([i for (i,) in db.execute(query, (many,))], "dead_letter_bound")

    def _give_up(self, ids: Sequence[int], cause: Cause) -> None:
        letters = [letter for i in ids if (letter := self.get(i)) is not None]
        if not letters:
            return
        # told first: a crash in between must not make it silent
        self.on_dropped([letter.line for letter in letters], cause)
        db = self._open()
        with _transaction(db):
            db.executemany("DELETE FROM dead_letter WHERE id=?", [(x.id,) for x in letters])
            db.executemany("DELETE FROM replay WHERE letter=?", [(x.id,) for x in letters])
        self._count -= len(letters)
        self._bytes -= sum(len(x.line) + len(x.reason) for x in letters)

    # -- the file

    @staticmethod
    def _stamp(time_s: float) -> str:
        return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time_s))

    def _open(self) -> sqlite3.Connection:
        if self._ended:
            raise sqlite3.ProgrammingError("the store is closed")
        if self._db is not None and self._inodes != self._seen():
            self._write_anew(self._db)
        if self._db is None:
            self.path.parent.mkdir(parents=True, exist_ok=True, mode=0o750)
            db = self._db = sqlite3.connect(
                self.path, isolation_level=None, check_same_thread=False
            )
            try:
                db.execute("PRAGMA journal_mode=WAL")
                db.executescript(_SCHEMA)
                query = f"SELECT {_SIZE} FROM dead_letter"
                self._count, self._bytes = db.execute(query).fetchone()
                found = db.execute("SELECT DISTINCT batch FROM replay").fetchall()
                self._under_way = {batch for (batch,) in found}
                self._inodes = self._seen()
            except sqlite3.DatabaseError as error:
                self.close()
                code = getattr(error, "sqlite_errorcode", 0) & 0xFF
                if code in (sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CORRUPT):
                    self.path.rename(self.path.with_name(f"{self.path.name}.corrupt"))
                    self._gone(f"damaged: {error}")
                raise
        return self._db

    def _seen(self) -> tuple[int, int] | None:
        """Which files have the names of the database and its log; None where one is missing."""
        try:
            log_file = self.path.with_name(f"{self.path.name}-wal")
            return self.path.stat().st_ino, log_file.stat().st_ino
        except FileNotFoundError:
            return None

    def _write_anew(self, db: sqlite3.Connection) -> None:
        """The file was deleted or replaced under us; the open one still has all letters."""
        new = self.path.with_name(f"{self.path.name}.new")
        new.unlink(missing_ok=True)
        self.path.parent.mkdir(parents=True, exist_ok=True, mode=0o750)
        try:
            db.execute("VACUUM INTO ?", (str(new),))
        except sqlite3.DatabaseError as error:
            if self._seen() is None:
                self._gone(f"deleted by somebody: {error}")
            self.close()
            return
        with new.open("rb+") as file:
            os.fsync(file.fileno())
        inodes = self._inodes
        self.close()
        for suffix in ("-wal", "-shm"):
            self.path.with_name(self.path.name + suffix).unlink(missing_ok=True)
        if self.path.exists() and (inodes is None or self.path.stat().st_ino != inodes[0]):
            self.path.rename(self.path.with_name(f"{self.path.name}.replaced"))
        new.rename(self.path)
        text = "%s was deleted or replaced by somebody; %d dead letters are written anew"
        log.error(text, self.path, self._count)

    def _gone(self, why: str) -> None:
        count, self._count, self._bytes = self._count, 0, 0
        self._under_way.clear()
        log.error("%s is lost with %d dead letters: %s", self.path, count, why)
        self.on_lost(count, f"{self.path.name}: {why}")

    def close(self, *, for_good: bool = False) -> None:
        """Close the file; whatever needs it later opens it again, unless it is ``for_good``.

        A store that begins in its place is to have the only connection.
        """
        with self._lock, suppress(sqlite3.Error):
            self._ended = self._ended or for_good
            db, self._db = self._db, None
            if db is not None:
                db.close()


def _digest(data: bytes) -> bytes:
    return hashlib.blake2b(data, digest_size=16).digest()


@contextmanager
def _transaction(db: sqlite3.Connection) -> Iterator[None]:
    db.execute("BEGIN IMMEDIATE")
    try:
        yield
        db.execute("COMMIT")
    except BaseException:
        with suppress(sqlite3.Error):
            db.execute("ROLLBACK")
        raise
