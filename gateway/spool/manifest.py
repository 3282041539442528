"""What a batch holds, noted twice: with the batch, and in an append-only file beside its segment.

When the database can no longer be read, the file still says which rows were lost.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import orjson

from gateway.losses import Cause


class Span(NamedTuple):
    """Rows of one table in a batch: their number, first and last time."""

    device: str
    table: str
    rows: int
    first_ns: int
    last_ns: int


Note: TypeAlias = tuple[Cause, Span, str]
"""A loss: its cause, its rows, and more words."""


class Entry(NamedTuple):
    """What a batch holds."""

    spans: tuple[Span, ...]
    told: tuple[Note, ...] = ()
    """Losses that its rows tell of: if it is lost itself, somebody else has to."""


def merge_spans(spans: Iterable[Span]) -> list[Span]:
    """One span a table."""
    merged: dict[tuple[str, str], list[int]] = {}
    for device, table, rows, first_ns, last_ns in spans:
        found = merged.get((device, table))
        if found is None:
            merged[device, table] = [rows, first_ns, last_ns]
            continue
        found[0] += rows
        if first_ns < found[1]:
            found[1] = first_ns
        if last_ns > found[2]:
            found[2] = last_ns
    return [Span(*key, *numbers) for key, numbers in merged.items()]


def missing_spans(expected: Iterable[Span], known: Iterable[Span]) -> list[Span]:
    """Rows of each table that are expected and not among the known ones."""
    found = {span[:2]: span.rows for span in merge_spans(known)}
    left = [span._replace(rows=span.rows - found.get(span[:2], 0)) for span in expected]
    return [span for span in left if span.rows > 0]


class Counts:
    """What a segment holds, by table: known without a look at any file."""

    def __init__(self, spans: Iterable[Span] = ()) -> None:
        self._spans: dict[tuple[str, str], Span] = {span[:2]: span for span in merge_spans(spans)}

    def add(self, spans: Iterable[Span]) -> None:
        """These rows came."""
        for span in spans:
            old = self._spans.get(span[:2])
            self._spans[span[:2]] = span if old is None else merge_spans((old, span))[0]

    def subtract(self, spans: Iterable[Span]) -> None:
        """These rows went; of the rest the first and last time stay as they were."""
        for span in spans:
            old = self._spans.get(span[:2])
            if old is not None and old.rows > span.rows:
                self._spans[span[:2]] = old._replace(rows=old.rows - span.rows)
            else:
                self._spans.pop(span[:2], None)

    def spans(self) -> list[Span]:
        """One span a table."""
        return list(self._spans.values())


def merge_notes(notes: Iterable[Note]) -> list[Note]:
    """One note a cause and table, with the words of its last."""
    spans: dict[tuple[str, str, str], list[Span]] = {}
    last: dict[tuple[str, str, str], Note] = {}
    for note in notes:
        place = (note[0], *note[1][:2])
        spans.setdefault(place, []).append(note[1])
        last[place] = note
    return [
        (cause, merge_spans(spans[place])[0], detail) for place, (cause, _, detail) in last.items()
    ]


def dump_note(note: Note, unless: str = "") -> bytes:
    """A loss as JSON; ``unless``: the file whose end it is, of that folder."""
    return orjson.dumps([*_listed(note), unless] if unless else _listed(note))


def load_note(raw: bytes) -> tuple[Note, str]:
    """A loss from JSON, and the file whose end it is; ValueError or TypeError where it is none."""
    cause, span, detail, *unless = orjson.loads(raw)
    return _note((cause, span, detail)), unless[0] if unless else ""


def dump_entry(entry: Entry) -> bytes:
    """What a batch holds as JSON."""
    plain = _plain(entry)
    return orjson.dumps(plain if entry.told else plain["spans"])


def load_entry(raw: bytes) -> Entry:
    """What a batch holds from JSON; ValueError or TypeError where it is none."""
    parsed = orjson.loads(raw)
    return _entry(parsed if isinstance(parsed, dict) else {"spans": parsed})


def _plain(entry: Entry) -> dict[str, Any]:
    told = {"told": [_listed(note) for note in entry.told]} if entry.told else {}
    return {"spans": [list(span) for span in entry.spans], **told}


def _entry(raw: Mapping[str, Any]) -> Entry:
    spans = tuple(Span(*item) for item in raw.get("spans", ()))
    return Entry(spans, tuple(_note(item) for item in raw.get("told", ())))


def _listed(note: Note) -> list[Any]:
    return [note[0], list(note[1]), note[2]]


def _note(raw: Any) -> Note:
    cause, span, detail = raw
    return cause, Span(*span), detail


def sync_folder(folder: Path) -> None:
    """Make the names in a folder as durable as the files; OSError where the disk refuses."""
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


class Contents(NamedTuple):
    """What a manifest file says."""

    pending: dict[int, Entry]
    """Batches that were stored and not noted as delivered."""
    done: set[int]
    """Batches noted as delivered, or as lost and told."""
    last_ns: dict[tuple[str, str], int]
    """The last spooled time of each table, carried on from segment to segment."""


class Manifest:
    """The append-only file: a JSON line for each batch stored and each group delivered."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._fd: int | None = None
        self._new = path.with_suffix(".manifest-new")
        self._torn = False
        """The last line may have no end: the next one must not be joined to it."""
        self.is_stale = False
        """It has to be written anew."""

    def append(self, line: dict[str, Any], *, sync: bool = False) -> None:
        """Add a line; OSError where the disk refuses."""
        if self._fd is None:
            self._fd = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o640)
            self._torn = True  # perhaps: whoever wrote before may have been killed at it
        data = (b"\n" if self._torn else b"") + orjson.dumps(line) + b"\n"
        self._torn = True
        if os.write(self._fd, data) != len(data):
            raise OSError(28, "short write to the manifest", str(self.path))
        self._torn = False
        if sync:
            os.fdatasync(self._fd)

    def close(self) -> None:
        """Close the file; a later append opens it again."""
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None

    def lines(self) -> Iterator[dict[str, Any]]:
        """All whole lines; a torn or damaged one is passed over."""
        try:
            data = self.path.read_bytes()
        except OSError:
            return
        for line in data.split(b"\n"):
            with suppress(orjson.JSONDecodeError):
                parsed = orjson.loads(line) if line else None
                if isinstance(parsed, dict):
                    yield parsed

    def contents(self) -> Contents:
        """All that is readable of it; nothing where the file is gone."""
        found = Contents({}, set(), {})
        for line in self.lines():
            with suppress(KeyError, TypeError, ValueError, AttributeError):
                _read_line(line, found)
        return found

    def vanished(self) -> bool:
        """Whether the file was deleted or replaced under us."""
        try:
            inode = self.path.stat().st_ino
        except FileNotFoundError:
            return True
        except OSError:
            return False  # the disk is ill, which is another matter
        return self._fd is not None and inode != os.fstat(self._fd).st_ino

    def rewrite(
        self,
        pending: Mapping[int, Entry],
        last_ns: Mapping[tuple[str, str], int],
    ) -> None:
        """Make the file anew; OSError where the disk refuses."""
        self.prepare(pending, last_ns)
        self.exchange()

    def prepare(
        self,
        pending: Mapping[int, Entry],
        last_ns: Mapping[tuple[str, str], int],
    ) -> str:
        """Write what is to be the file beside it, and return its name, which ends at `exchange`.

        OSError where the disk refuses.
        """
        self.is_stale = True
        self.close()
        self._new.unlink(missing_ok=True)
        new = Manifest(self._new)
        try:
            new.append(last_line(last_ns))
            for batch_id, entry in pending.items():
                new.append(batch_line(batch_id, entry))
            new.append({"done": []}, sync=True)
        finally:
            new.close()
        return self._new.name

    def exchange(self) -> None:
        """Put what was prepared in the place of the file; OSError."""
        self.close()
        self._new.rename(self.path)
        self.is_stale = False

    def unlink(self) -> None:
        """Remove it from disk."""
        self.close()
        self.path.unlink(missing_ok=True)
        self._new.unlink(missing_ok=True)


def batch_line(batch_id: int, entry: Entry) -> dict[str, Any]:
    """The line of a batch."""
    return {"id": batch_id, **_plain(entry)}


def last_line(last_ns: Mapping[tuple[str, str], int]) -> dict[str, Any]:
    """The line with the last time of each table."""
    return {"last": [[*key, ns] for key, ns in last_ns.items()]}


def _read_line(line: dict[str, Any], found: Contents) -> None:
    last = found.last_ns
    for device, table, last_ns in line.get("last", ()):
        last[device, table] = last_ns
    entry = _entry(line)
    for span in entry.spans:
        last[span[:2]] = max(last.get(span[:2], 0), span.last_ns)
    if "id" in line:
        found.pending[line["id"]] = entry
    done = line.get("done", ())
    found.done.update(done)
    for gone in done:
        found.pending.pop(gone, None)
