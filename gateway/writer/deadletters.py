"""Dead letters: lines that a sink refused for good, kept with its words for a person to read."""

from __future__ import annotations

import hashlib
import sqlite3
import time
from contextlib import suppress
from pathlib import Path

MAX_LETTERS = 10_000
MAX_BYTES = 64_000_000

_SCHEMA = """
CREATE TABLE IF NOT EXISTS dead_letter (
    id INTEGER PRIMARY KEY, time TEXT NOT NULL, reason TEXT NOT NULL, line TEXT NOT NULL,
    digest BLOB NOT NULL UNIQUE
)
"""


class DeadLetters:
    """``dead_letters.db``, bounded: the oldest go first. Used by one thread, which opens it."""

    def __init__(
        self, path: Path, *, max_letters: int = MAX_LETTERS, max_bytes: int = MAX_BYTES
    ) -> None:
        self.path = path
        self._max_letters = max_letters
        self._max_bytes = max_bytes
        self._db: sqlite3.Connection | None = None
        self._count = 0
        self._bytes = 0

    def add(self, line: bytes, reason: str) -> bool:
        """Keep a line; the same line is kept once. False where the disk does not take it."""
        text = line.decode(errors="replace")[: self._max_bytes // 8]
        stamp = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        digest = hashlib.blake2b(line, digest_size=16).digest()
        try:
            db = self._open()
            added = db.execute(
                "INSERT OR IGNORE INTO dead_letter (time, reason, line, digest) VALUES (?,?,?,?)",
                (stamp, reason, text, digest),
            ).rowcount
            self._count += added
            self._bytes += added * (len(text) + len(reason))
            self._keep_bounds(db)
        except (sqlite3.Error, OSError):
            self.close()
            return False
        return True

    def _open(self) -> sqlite3.Connection:
        if self._db is None:
            self.path.parent.mkdir(parents=True, exist_ok=True, mode=0o750)
            db = self._db = sqlite3.connect(self.path, isolation_level=None)
            try:
                db.execute("PRAGMA journal_mode=WAL")
                db.execute(_SCHEMA)
                self._count, self._bytes = db.execute(
                    "SELECT count(*), coalesce(sum(length(line) + length(reason)), 0) "
                    "FROM dead_letter"
                ).fetchone()
            except sqlite3.DatabaseError as error:
                self.close()
                code = getattr(error, "sqlite_errorcode", 0) & 0xFF
                if code in (sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CORRUPT):
                    self.path.rename(self.path.with_name(f"{self.path.name}.corrupt"))
                raise
        return self._db

    def _keep_bounds(self, db: sqlite3.Connection) -> None:
        while self._count > self._max_letters or self._bytes > self._max_bytes:
            oldest, length = db.execute(
                "SELECT id, length(line) + length(reason) FROM dead_letter ORDER BY id LIMIT 1"
            ).fetchone()
            db.execute("DELETE FROM dead_letter WHERE id=?", (oldest,))
            self._count -= 1
            self._bytes -= length

    def close(self) -> None:
        """Close the file; a later `add` opens it again."""
        with suppress(sqlite3.Error):
            if self._db is not None:
                self._db.close()
        self._db = None
