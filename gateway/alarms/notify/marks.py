"""How far a receiver has been told, on disk: what came later is sent after a restart."""

from __future__ import annotations

import logging
import os
import time
from contextlib import suppress
from pathlib import Path

import orjson

from gateway.alarms.notify.recall import Sent

log = logging.getLogger(__name__)

EVERY_S = 1.0
"""Saved at most so often: a crash repeats what was sent meanwhile, by the same key."""


class Mark:
    """The last transition that one receiver got. Used by one thread at a time."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._saved: Sent | None = None
        self._saved_s = 0.0
        self._failed = False
        self.sent: Sent | None = None
        """None: there was never one."""

    def load(self) -> None:
        """Read it; a file that cannot be read is as none."""
        try:
            document = orjson.loads(self._path.read_bytes())
            number, time_ns = int(document["number"]), int(document["time_ns"])
            self.sent = self._saved = Sent(number, time_ns)
        except FileNotFoundError:
            return
        except (OSError, ValueError, KeyError, TypeError) as error:
            extra = {"file": str(self._path), "error": str(error)}
            log.warning("what was not sent before the start is not known", extra=extra)

    def move(self, sent: Sent) -> None:
        """All up to this transition was sent, or given up."""
        self.sent = sent
        if time.monotonic() - self._saved_s >= EVERY_S:
            self.save()

    def save(self) -> None:
        """Write it, if it differs; never raises."""
        if self.sent is None or self.sent == self._saved:
            return
        self._saved_s = time.monotonic()
        temporary = self._path.with_suffix(".new")
        try:
            self._path.parent.mkdir(mode=0o750, parents=True, exist_ok=True)
            with temporary.open("wb") as file:
                file.write(orjson.dumps(self.sent._asdict()))
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
        self._saved = self.sent
        self._failed = False
