"""One segment of a spool: a small SQLite database of batches, and its manifest beside it."""

from __future__ import annotations

import sqlite3
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing, suppress
from pathlib import Path
from typing import NamedTuple

from gateway.spool.manifest import (
    Counts,
    Entry,
    Manifest,
    Note,
    Span,
    batch_line,
    dump_entry,
    load_entry,
)

SYNCHRONOUS = "FULL"
"""Every commit is on the disk: measured, NORMAL loses the last batches at a power cut."""

_SCHEMA = """
CREATE TABLE batch (
    id INTEGER PRIMARY KEY, crc INTEGER NOT NULL, format TEXT NOT NULL, rows INTEGER NOT NULL,
    count INTEGER NOT NULL, first_ns INTEGER NOT NULL, last_ns INTEGER NOT NULL,
    manifest BLOB NOT NULL, body BLOB NOT NULL
)
"""


class Stored(NamedTuple):
    """A batch as it lies on disk."""

    body: bytes
    format: str
    rows: int
    values: int
    spans: tuple[Span, ...]
    told: tuple[Note, ...] = ()
    """Losses that its rows tell of."""

    @property
    def entry(self) -> Entry:
        """What a manifest says of it."""
        return Entry(self.spans, self.told)


class Damaged(Exception):
    """What was read is not what was written."""


class Segment:
    """A database file, read and written through one connection by the thread that owns it."""

    def __init__(self, folder: Path, number: int, family: str) -> None:
        self.number = number
        self.family = family
        self.path = folder / f"{number:010d}-{family}.db"
        self.manifest = Manifest(self.path.with_suffix(".manifest"))
        self.written = 0
        """Bytes put into it so far by this process."""
        self.batches = 0
        """Batches not yet delivered; as the manifest has it until ``surveyed``."""
        self.rows = 0
        self.counts = Counts()
        """Rows not yet delivered, by table; from the manifest until ``surveyed``."""
        self.surveyed = False
        self.failed = False
        """A write to it failed: it is read, and not written to any more."""
        self.taken: set[int] = set()
        """Batches in memory on their way to the sink, until they are deleted here."""
        self.done: list[int] = []
        """Delivered batches still to be deleted."""
        self.gone: set[int] = set()
        """Delivered batches that stay in the database, and only its manifest says so."""
        self.cursor = 0
        """All batches up to this id were looked at, and taken or passed over."""
        self.bytes = 0
        """Bytes on disk when last looked at."""
        self.last_write_s = 0.0
        """Monotonic time of the last write; before a restart, reckoned from the file's time."""
        self._next_id = 1
        self._db: sqlite3.Connection | None = None
        self._inode = 0
        self._log_inode = 0

    def create(self) -> None:
        """A new, empty database."""
        self._db = self._connect("rwc")
        self._db.execute(_SCHEMA)

    def _connect(self, mode: str) -> sqlite3.Connection:
        uri = f"{self.path.absolute().as_uri()}?mode={mode}"
        db = sqlite3.connect(uri, isolation_level=None, uri=True)
        try:
            db.execute("PRAGMA journal_mode=WAL")
            db.execute(f"PRAGMA synchronous={SYNCHRONOUS}")
            # a small log: little is lost with it when it is damaged
            db.execute("PRAGMA wal_autocheckpoint=200")
            db.execute("PRAGMA journal_size_limit=1000000")
            self._inode = self.path.stat().st_ino
            self._log_inode = 0
        except BaseException:
            db.close()
            raise
        return db

    def vanished(self) -> bool:
        """Whether its file was deleted or replaced under us: what is written then goes nowhere."""
        try:
            inode = self.path.stat().st_ino
        except FileNotFoundError:
            return True
        except OSError:
            return False  # the disk is ill, which is another matter
        return self._inode not in (0, inode)

    def log_vanished(self) -> bool:
        """Whether the log of the open database was deleted or replaced: a kill would lose it."""
        if self._db is None or not self._log_inode:
            return False
        try:
            return _with_logs(self.path)[1].stat().st_ino != self._log_inode
        except FileNotFoundError:
            return True
        except OSError:
            return False

    def open_batches(self) -> dict[int, Stored]:
        """All that the open connection still reads, even of a file without a name."""
        if self._db is None:
            return {}
        with suppress(sqlite3.Error):
            return dict(self.salvage(self.after(0, 1_000_000)))
        return {}

    @property
    def untaken(self) -> int:
        """Batches that lie here and are not in memory."""
        return self.batches - len(self.taken) + len(self.done)

    @property
    def db(self) -> sqlite3.Connection:
        """The connection, opened when first needed."""
        if self._db is None:
            self._db = self._connect("rw")
        return self._db

    def next_ids(self, count: int) -> list[int]:
        """What the next batches are called; a write that failed does not use them up."""
        return list(range(self._next_id, self._next_id + count))

    def store(self, batches: Sequence[Stored], done: Sequence[int] = ()) -> list[int]:
        """Store batches and forget delivered ones in one transaction; ids of the new ones."""
        ids = self.next_ids(len(batches))
        rows = [(i, *_record(batch)) for i, batch in zip(ids, batches, strict=True)]
        if done:
            self.manifest.append({"done": list(done)}, sync=True)
        self.db.execute("BEGIN IMMEDIATE")
        try:
            self.db.executemany("DELETE FROM batch WHERE id=?", [(i,) for i in done])
            self.db.executemany("INSERT INTO batch VALUES (?,?,?,?,?,?,?,?,?)", rows)
            self.db.execute("COMMIT")
        except BaseException:
            with suppress(sqlite3.Error):
                self.db.execute("ROLLBACK")
            raise
        if not self._log_inode:
            with suppress(OSError):
                self._log_inode = _with_logs(self.path)[1].stat().st_ino
        self._next_id += len(batches)
        for i, batch in zip(ids, batches, strict=True):
            with suppress(OSError):  # the database has it; only the second copy is missing
                self.manifest.append(batch_line(i, batch.entry))
        self.written += sum(len(row[-1]) + 2 * len(row[-2]) + 64 for row in rows)
        return ids

    def forget(self) -> None:
        """Delete delivered batches, or only note it where the file takes no writes any more."""
        if self.failed:
            self.manifest.append({"done": self.done}, sync=True)
            self.gone.update(self.done)
        else:
            self.store((), self.done)
        self.forgotten()

    def forgotten(self) -> None:
        """The delivered batches were deleted."""
        self.taken.difference_update(self.done)
        self.done = []

    @property
    def delivered(self) -> set[int]:
        """Batches that may still be in the database, and must not be sent again."""
        return self.gone.union(self.done)

    def hold(self, batches: Mapping[int, Iterable[Span]]) -> None:
        """These batches are what it holds."""
        spans = [span for found in batches.values() for span in found]
        self.batches = len(batches)
        self.rows = sum(span.rows for span in spans)
        self.counts = Counts(spans)
        self.surveyed = True

    def after(self, last_id: int, limit: int) -> list[int]:
        """Ids of the next batches, oldest first."""
        found = self.db.execute(
            "SELECT id FROM batch WHERE id>? ORDER BY id LIMIT ?", (last_id, limit)
        )
        return [row[0] for row in found]

    def read(self, batch_id: int) -> Stored | None:
        """One batch, None where it is not there; Damaged where its checksum says so."""
        row = self.db.execute(
            "SELECT crc, format, rows, count, first_ns, last_ns, manifest, body "
            "FROM batch WHERE id=?",
            (batch_id,),
        ).fetchone()
        if row is None:
            return None
        if row[0] != _checksum(*row[1:]):
            raise Damaged(f"batch {batch_id} of {self.path.name} has another checksum")
        return Stored(row[7], row[1], row[2], row[3], *load_entry(row[6]))

    def pending(self) -> dict[int, Entry]:
        """The manifests of all batches in the database."""
        found = self.db.execute("SELECT id, manifest FROM batch ORDER BY id")
        try:
            return {i: load_entry(manifest) for i, manifest in found}
        except (ValueError, TypeError, AttributeError) as error:
            raise Damaged(f"a manifest in {self.path.name} cannot be read") from error

    def salvage(self, ids: Iterable[int]) -> Iterator[tuple[int, Stored]]:
        """Those of the batches that can still be read."""
        for batch_id in ids:
            try:
                stored = self.read(batch_id)
            except (sqlite3.Error, Damaged, OSError):
                self.close()
                continue
            if stored is not None:
                yield batch_id, stored

    def refill(self, batches: Sequence[tuple[int, Stored]]) -> None:
        """Make the database anew with these batches under their old ids, all or nothing."""
        temporary = self.path.with_suffix(".new")
        for path in _with_logs(temporary):
            path.unlink(missing_ok=True)
        with closing(sqlite3.connect(temporary)) as db:
            db.execute(_SCHEMA)
            rows = [(i, *_record(batch)) for i, batch in batches]
            db.executemany("INSERT INTO batch VALUES (?,?,?,?,?,?,?,?,?)", rows)
            db.commit()
        temporary.rename(self.path)
        self._inode = self.path.stat().st_ino

    def set_aside(self, stamp: int) -> Segment:
        """Rename the damaged database; the returned segment reads it under its new name."""
        self.close()
        aside = Segment(self.path.parent, self.number, self.family)
        aside.path = self.path.with_name(f"{self.path.name}.corrupt-{stamp}")
        for old, new in zip(_with_logs(self.path), _with_logs(aside.path), strict=True):
            with suppress(FileNotFoundError):
                old.rename(new)
        return aside

    def drop_logs(self) -> None:
        """The log of a file that is gone must not be taken for that of the next one."""
        self.close()
        for path in _with_logs(self.path)[1:]:
            path.unlink(missing_ok=True)

    def size(self) -> int:
        """Bytes on disk, log and manifest included."""
        total = 0
        for path in (*_with_logs(self.path), self.manifest.path):
            with suppress(OSError):
                total += path.stat().st_size
        return total

    def close(self) -> None:
        """Close what is open; never raises."""
        with suppress(sqlite3.Error):
            if self._db is not None:
                self._db.close()
        self._db = None
        with suppress(OSError):
            self.manifest.close()

    def unlink(self) -> None:
        """Remove it from disk."""
        self.close()
        # the manifest first: without it the rest is only sent once more, never reported as lost
        self.manifest.unlink()
        for path in _with_logs(self.path):
            path.unlink(missing_ok=True)


def _with_logs(path: Path) -> tuple[Path, Path, Path]:
    return path, path.with_name(path.name + "-wal"), path.with_name(path.name + "-shm")


def _record(batch: Stored) -> tuple[int, str, int, int, int, int, bytes, bytes]:
    first = min((s.first_ns for s in batch.spans), default=0)
    last = max((s.last_ns for s in batch.spans), default=0)
    manifest = dump_entry(batch.entry)
    fields = (batch.format, batch.rows, batch.values, first, last, manifest, batch.body)
    return (_checksum(*fields), *fields)


def _checksum(
    form: str, rows: int, values: int, first: int, last: int, manifest: bytes, body: bytes
) -> int:
    try:
        head = f"{form}|{rows}|{values}|{first}|{last}|".encode()
        return zlib.crc32(body, zlib.crc32(manifest, zlib.crc32(head)))
    except (TypeError, ValueError):  # damage may change a column's type
        return -1
