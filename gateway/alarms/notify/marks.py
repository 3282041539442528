"""How far a receiver has been told, on disk: what came later is sent after a restart."""

from __future__ import annotations

import logging
import os
import time
from contextlib import suppress
from pathlib import Path

import orjson

log = logging.getLogger(__name__)

EVERY_S = 1.0
"""Saved at most so often: a crash repeats what was sent meanwhile, by the same key."""


class Mark:
    """The number of the last transition that one receiver got. Used by one thread at a time."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._saved: int | None = None
        self._saved_s = 0.0
        self._failed = False
        self.number: int | None = None
        """None: there was never one."""

    def load(self) -> None:
        """Read it; a file that cannot be read is as none."""
        try:
            document = orjson.loads(self._path.read_bytes())
            self.number = self._saved = int(document["number"])
        except FileNotFoundError:
            return
        except (OSError, ValueError, KeyError, TypeError) as error:
            extra = {"file": str(self._path), "error": str(error)}
            log.warning("what was not sent before the start is not known", extra=extra)

    def move(self, number: int) -> None:
        """All up to this transition was sent, or given up."""
        self.number = number
        if time.monotonic() - self._saved_s >= EVERY_S:
            self.save()

    def save(self) -> None:
        """Write it, if it differs; never raises."""
        if self.number is None or self.number == self._saved:
            return
        self._saved_s = time.monotonic()
        temporary = self._path.with_suffix(".new")
        try:
            self._path.parent.mkdir(mode=0o750, parents=True, exist_ok=True)
            with temporary.open("wb") as file:
                file.write(orjson.dumps({"number": self.number}))
                file.flush()
                os.fsync(file.fileno())
            temporary.rename(self._path)
        except OSError as error:
            if not self._failed:
                extra = {"file": str(self._path), "error": error.strerror}
                log.warning("a restart will send messages twice", extra=extra)
            self._failed = True
            with suppress(OSError):
                temporary.unlink(missing_ok=True)
            return
        self._saved = self.number
        self._failed = False
