"""The parts of an output, one for each file, and the manifest that says what each was made of.

A part is on disk under its name before the manifest names it, so an end at any moment loses at most
the work on the files that were at hand.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
from collections.abc import Collection, Iterator
from dataclasses import asdict, dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Any

from gateway.errors import GatewayError

MANIFEST = "_manifest.jsonl"
"""Parquet's readers pass over names that begin with ``_`` or ``.``."""


@dataclass(slots=True, frozen=True)
class Entry:
    """One file that was computed."""

    source: str
    mark: str
    """Of its content; see `SourceFile`."""
    recipe: str
    """Hash of all else that its rows depend on."""
    rows: int
    setups: list[str]
    """Hashes of the set-ups, as the rows carry them."""

    @property
    def part(self) -> str:
        """Name of the file of its rows."""
        return f"{blake2b(self.source.encode(), digest_size=10).hexdigest()}.parquet"


class Store:
    """The folder of parts; of one run at a time."""

    def __init__(self, folder: Path, origin: dict[str, str]) -> None:
        self.folder = folder
        self._origin = origin
        self.entries: dict[str, Entry] = {}
        """What is computed, by source."""

    @contextlib.contextmanager
    def opened(self) -> Iterator[Store]:
        """Lock the folder and read its manifest.

        GatewayError where it is another run's, or of another source or device.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        foreign = [p.name for p in self.folder.iterdir() if p.name != ".lock"]
        if foreign and MANIFEST not in foreign:
            raise GatewayError(f"{self.folder} holds other files, e.g. {foreign[0]}; expected a "
                               "folder that is new, empty or of a run before")  # fmt: skip
        with (self.folder / ".lock").open("a") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise GatewayError(f"another reprocess writes to {self.folder}") from None
            self._read()
            for left in self.folder.glob(".*.new"):
                left.unlink()
            yield self

    def keep(self, entries: Collection[Entry]) -> None:
        """Drop all but these: what is not true any more goes first from the manifest."""
        gone = [e for e in self.entries.values() if e not in entries]
        self.entries = {e.source: e for e in entries}
        lines = [self._origin, *(asdict(e) for e in entries)]
        text = "".join(f"{json.dumps(line)}\n" for line in lines)
        self._write(MANIFEST, text.encode())
        for entry in gone:
            if entry.source not in self.entries:
                (self.folder / entry.part).unlink(missing_ok=True)

    def add(self, entry: Entry, part: bytes) -> None:
        """Store the rows of a file, then say so."""
        self._write(entry.part, part)
        with (self.folder / MANIFEST).open("ab") as out:
            out.write(f"{json.dumps(asdict(entry))}\n".encode())
            out.flush()
            os.fsync(out.fileno())
        self.entries[entry.source] = entry

    def parts(self) -> list[Path]:
        """All parts, by the names of their sources."""
        return [self.folder / self.entries[name].part for name in sorted(self.entries)]

    def _read(self) -> None:
        try:
            lines = (self.folder / MANIFEST).read_bytes().splitlines(keepends=True)
        except FileNotFoundError:
            return
        for number, line in enumerate(lines):
            try:
                found: dict[str, Any] = json.loads(line) if line.endswith(b"\n") else {}
                entry = Entry(**found) if number and found else None
            except (ValueError, TypeError):  # the disk was full, or somebody wrote in it
                continue
            if not number and found and found != self._origin:
                told = ", ".join(f"{k} {v}" for k, v in found.items() if self._origin.get(k) != v)
                raise GatewayError(f"{self.folder} was made of {told}; choose another -o")
            if entry is not None and (self.folder / entry.part).is_file():
                self.entries[entry.source] = entry

    def _write(self, name: str, content: bytes) -> None:
        temporary = self.folder / f".{name}.new"
        with temporary.open("wb") as out:
            out.write(content)
            out.flush()
            os.fsync(out.fileno())
        temporary.replace(self.folder / name)
        handle = os.open(self.folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
