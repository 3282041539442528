"""Losses on disk until their own rows are: a crash in between must not make them silent."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Hashable, Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from gateway.spool.manifest import Note, dump_note, load_note, merge_notes

MAX_NOTES = 1_000
"""Above that those of one cause and table become one: they cannot be told for a long time."""


class LossNotes:
    """A file of losses, each of which the next start tells if this run has not done it by then.

    Those `add`-ed are told by this run, and leave with the rows that do so; those put off wait
    for a better time, as do those that grow, which nobody has counted as told yet; those of `hold`
    become losses only if this run ends by a kill. What is the end of a file is noted before it,
    and is no loss while that file is there.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._fd: int | None = None
        self._before: list[Note] = []
        self._fresh: list[Note] = []
        self._put_off: list[Note] = []
        self._growing: list[Note] = []
        self._waiting: list[Note] = []
        self._held: dict[Hashable, Sequence[Note]] = {}
        self._stale = False
        """The file has others than these."""

    def load(self) -> list[Note]:
        """Losses that an earlier run noted and may not have reported, each once."""
        found: list[Note] = []
        with suppress(OSError):
            for line in self._path.read_bytes().split(b"\n"):
                with suppress(TypeError, ValueError):
                    note, unless = load_note(line)
                    # the number of a file that is gone may be given to another one
                    self._stale = self._stale or bool(unless)
                    if not unless or not (self._path.parent / unless).exists():
                        found.append(note)
        found = list(dict.fromkeys(found))
        self._before, self._fresh, self._put_off, self._waiting = [], list(found), [], []
        self._growing = []
        self._held.clear()
        if self._stale:
            self.look()
        return found

    def to_tell(self, last_ns: Mapping[tuple[str, str], int]) -> list[Note]:
        """What a start has to tell; ``last_ns``: where it was killed, the last time stored of each
        table.

        Of an interruption after which nothing was stored yet, the first new row tells, and then
        for longer.
        """
        for note in self.load():
            cause, span, _ = note
            if cause == "unclean_stop" and last_ns.get(span[:2]) == span.first_ns - 1:
                self._fresh.remove(note)
                self._waiting.append(note)
        return list(self._fresh)

    def add(self, notes: Sequence[Note], *, unless: str = "") -> None:
        """Note losses before they happen. A full disk does not stop it: they are reported."""
        self._fresh += notes
        longer = {span[:2] for cause, span, _ in notes if cause == "unclean_stop"}
        if longer and self._waiting:
            self._waiting = [note for note in self._waiting if note[1][:2] not in longer]
            self._stale = True
            self.look()
        else:
            self._append(notes, unless)

    def take_back(self, notes: Sequence[Note]) -> None:
        """They did not happen after all."""
        self._fresh = [note for note in self._fresh if note not in notes]
        self._stale = True
        self.look()

    def hold(self, notes: Mapping[Hashable, Sequence[Note]], *, unless: str = "") -> None:
        """What is in memory only: lost if this run is killed before `let_go` of the key."""
        new = {key: mine for key, mine in notes.items() if mine and key not in self._held}
        self._held |= new
        self._append([note for mine in new.values() for note in mine], unless)

    def let_go(
        self,
        keys: Iterable[Hashable],
        *,
        add: Sequence[Note] = (),
        growing: Sequence[Note] = (),
        put_off: Sequence[Note] = (),
    ) -> None:
        """Delivered, on disk, or lost: then what they become is noted in the same moment.

        ``growing``: losses of which more will come. ``put_off``: losses that were told by rows
        which are lost themselves.
        """
        found = [self._held.pop(key) for key in keys if key in self._held]
        self._fresh += add
        if put_off:
            self._put_off = merge_notes([*self._put_off, *put_off])
        if growing:
            self._growing = merge_notes([*self._growing, *growing])
        if any(found) or add or put_off or growing:
            self._stale = True
            self.look()

    @property
    def grows(self) -> bool:
        """Whether there are losses to `take_growing`."""
        return bool(self._growing)

    def take_growing(self) -> list[Note]:
        """The losses that grew, merged: this run tells them now."""
        taken, self._growing = self._growing, []
        self._fresh += taken
        return taken

    def take_put_off(self) -> list[Note]:
        """The losses that were put off, merged: this run tells them now."""
        taken, self._put_off = self._put_off, []
        self._fresh += taken
        return taken

    def look(self) -> None:
        """Write the file anew where it was deleted or replaced under us, or is not up to date."""
        with suppress(OSError):
            if self._stale or self._vanished():
                self._write()

    def _vanished(self) -> bool:
        if not self._notes():
            return False
        there = self._path.stat().st_ino if self._path.exists() else None
        return there is None or (self._fd is not None and os.fstat(self._fd).st_ino != there)

    def begin_round(self) -> None:
        """What is noted by now has been published and is in the rows taken next."""
        self._before += self._fresh
        self._fresh = []
        if len(self._before) > MAX_NOTES:
            self._before = merge_notes(self._before)

    def settled(self, told: Iterable[Note]) -> None:
        """The rows that tell of these are on disk, or noted with a batch that is held."""
        on_disk = Counter(told)
        if not on_disk or not self._before:
            return
        left = []
        for note in self._before:
            if on_disk[note]:
                on_disk[note] -= 1
            else:
                left.append(note)
        if len(left) < len(self._before):
            self._before = left
            self._stale = True
            self.look()

    def close(self) -> None:
        """Close the file."""
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None

    def _notes(self) -> list[Note]:
        held = [note for notes in self._held.values() for note in notes]
        later = (*self._put_off, *self._growing, *self._waiting)
        return [*self._before, *self._fresh, *later, *held]

    def _append(self, notes: Sequence[Note], unless: str) -> None:
        if not notes:
            return
        try:
            if self._fd is None:
                self._fd = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o640)
            data = b"\n" * self._stale + _text(notes, unless)
            if os.write(self._fd, data) != len(data):
                self._stale = True  # a torn line: the next must not be joined to it
            os.fdatasync(self._fd)
        except OSError:
            self._stale = True

    def _write(self) -> None:
        self.close()
        temporary = self._path.with_suffix(".new")
        with temporary.open("wb") as file:
            file.write(_text(self._notes()))
            file.flush()
            os.fdatasync(file.fileno())
        temporary.replace(self._path)
        self._stale = False


def _text(notes: Iterable[Note], unless: str = "") -> bytes:
    return b"".join(dump_note(note, unless) + b"\n" for note in notes)
