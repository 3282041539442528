"""What a spool says of its disk: once on loss, once on recovery, and now in the status."""

from __future__ import annotations

import errno
import logging
import math
import os
import sqlite3
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

log = logging.getLogger("gateway.spool")

REPEAT_LOG_S = 600.0
AGAIN_LOG_S = 60.0
MAX_LOGGED = 100


class DiskLog:
    """Faults of the disk below one sink's spool."""

    def __init__(self, sink: str, clock: Callable[[], float]) -> None:
        self.error = ""
        """Why the disk or a segment failed last; empty once a batch was stored again."""
        self._sink = sink
        self._clock = clock
        self._logged_s: dict[str, float] = {}
        """When what was logged."""
        self._refused_s: float | None = None
        """Since when the disk takes no batch."""

    def failed(self, error: str) -> None:
        """The disk did not do something; while it takes nothing at all, one line is enough."""
        self.error = error
        if self._refused_s is None:
            self._log(error)

    def damaged(self, error: str) -> None:
        """A file is not what was written."""
        self.error = error
        self._log(error)

    def refused(self, error: str) -> None:
        """A batch was not taken."""
        self.failed(error)
        if self._refused_s is None:
            self._refused_s = self._clock()

    def taken(self) -> None:
        """A batch was stored."""
        self.error = ""
        if self._refused_s is None:
            return
        now = self._clock()
        away_s, self._refused_s = round(now - self._refused_s, 1), None
        text = "spool of sink %s: the disk takes batches again after %s s"
        log.info(text, self._sink, away_s, extra={"sink": self._sink, "refused_s": away_s})
        # a new outage is told again, but not each of many short ones
        self._logged_s = {k: t for k, t in self._logged_s.items() if now - t < AGAIN_LOG_S}

    def _log(self, error: str) -> None:
        now = self._clock()
        if now - self._logged_s.get(error, -math.inf) > REPEAT_LOG_S:
            if len(self._logged_s) > MAX_LOGGED:
                self._logged_s.clear()
            self._logged_s[error] = now
            extra = {"sink": self._sink}
            log.error("spool of sink %s: %s", self._sink, error, extra=extra)


def is_full(error: Exception, folder: Path) -> bool:
    """Whether there is no room in the folder, or no name for another file."""
    if isinstance(error, sqlite3.Error):
        code = getattr(error, "sqlite_errorcode", 0) & 0xFF
        if code == sqlite3.SQLITE_FULL:
            return True
        if code == sqlite3.SQLITE_CANTOPEN:
            with suppress(OSError):
                disk = os.statvfs(folder)
                return disk.f_bavail == 0 or (disk.f_files > 0 and disk.f_favail == 0)
        return False
    return isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)
